import Mesh

extension Translator {
    /// What a proxy asks of those who call one of its ports: STRICT, PERMISSIVE or DISABLE, never UNSET.
    public func mutualTLSMode(of proxy: ProxyClass, port: Int) -> Istio.PeerAuthentication.Mode {
        mutualTLS(of: proxy.labels, in: proxy.namespace, port: port).mode
    }

    /// What the sidecar of workloads with these labels takes at a port, and which object says so.
    public func mutualTLS(of labels: [String: String], in namespace: String, port: Int) -> MutualTLSDecision {
        MutualTLSDecision(
            mesh.policies(.peerAuthentication, selecting: labels, in: namespace), port: port, in: namespace,
            config: mesh.config)
    }
}
