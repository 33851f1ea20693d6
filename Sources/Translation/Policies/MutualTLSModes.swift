import Mesh

extension Translator {
    /// What a proxy asks of those who call one of its ports: STRICT, PERMISSIVE or DISABLE, never UNSET.
    public func mutualTLSMode(of proxy: ProxyClass, port: Int) -> Istio.PeerAuthentication.Mode {
        mesh.mutualTLS(of: proxy.labels, in: proxy.namespace, port: port)
    }
}

extension MeshReader {
    /// As ``MeshIndex/mutualTLS(of:in:port:)``.
    public func mutualTLS(
        of labels: [String: String], in namespace: String, port: Int
    ) -> Istio.PeerAuthentication.Mode {
        // What the answer depends on.
        _ = config
        _ = policies(.peerAuthentication, selecting: labels, in: namespace)
        return index.mutualTLS(of: labels, in: namespace, port: port)
    }
}
