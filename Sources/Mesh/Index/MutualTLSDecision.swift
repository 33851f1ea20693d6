/// The mode of mutual TLS of a workload's port, and what says so.
public struct MutualTLSDecision: Hashable, Sendable {
    /// STRICT, PERMISSIVE or DISABLE, never UNSET.
    public var mode: Istio.PeerAuthentication.Mode
    /// The PeerAuthentication, or the mesh's own configuration.
    public var object: ObjectKey
    /// Where in it: `spec.portLevelMtls["8080"].mode`.
    public var path: String

    /// What the workload says for the port, else for itself, else its namespace, else the mesh. Of several at one level
    /// the oldest alone counts. Source: Istio, PeerAuthentication.
    /// - Parameter policies: the PeerAuthentications for the workload, as ``MeshIndex/policies(_:selecting:in:)``.
    public init(_ policies: [MeshObject], port: Int, in namespace: String, config: MeshConfig) {
        func oldest(_ isLevel: (MeshObject) -> Bool) -> MeshObject? {
            policies.filter(isLevel).min { $0.isOlder(than: $1) }
        }
        func isWide(_ object: MeshObject) -> Bool { object.policyScope?.isWide == true }
        let levels = [
            oldest { !isWide($0) }, oldest { isWide($0) && $0.key.namespace == namespace },
            oldest { isWide($0) && $0.key.namespace == config.rootNamespace },
        ]
        for object in levels.compactMap({ $0 }) {
            guard case .peerAuthentication(let policy) = object.body else { continue }
            if let mode = policy.ports[port], mode != .unset {
                (self.mode, self.object, path) = (mode, object.key, "spec.portLevelMtls[\"\(port)\"].mode")
                return
            }
            if policy.mode != .unset {
                (mode, self.object, path) = (policy.mode, object.key, "spec.mtls.mode")
                return
            }
        }
        (mode, object, path) = (config.mutualTLS, MeshConfig.key, "spec.mtls")
    }
}

extension MeshIndex {
    /// The mode of mutual TLS of a workload's port.
    public func mutualTLS(of labels: [String: String], in namespace: String, port: Int) -> Istio.PeerAuthentication.Mode
    {
        MutualTLSDecision(
            policies(.peerAuthentication, selecting: labels, in: namespace), port: port, in: namespace, config: config
        ).mode
    }
}
