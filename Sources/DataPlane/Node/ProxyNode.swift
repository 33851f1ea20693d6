import Identity
import XDS

/// What a proxy says of itself to the control plane, in Istio's words.
public struct ProxyNode: Hashable, Sendable {
    public enum Kind: String, Sendable {
        /// Beside a workload.
        case sidecar
        /// A gateway.
        case router
    }

    public enum Interception: String, CaseIterable, Sendable {
        /// Listeners at addresses of their own, which takes no privileges.
        case none = "NONE"
        /// The kernel leads connections here: `martinet intercept`.
        case redirect = "REDIRECT"
    }

    /// A port of the workload, for services that name it.
    public struct Port: Hashable, Sendable {
        public var name: String?
        public var number: UInt16

        public init(name: String?, number: UInt16) {
            self.name = name
            self.number = number
        }
    }

    public var kind = Kind.sidecar
    /// Of this one proxy, unique in its namespace: the pod.
    public var name: String
    /// Of what it is one of: the Deployment.
    public var workload: String
    public var namespace: String
    public var serviceAccount: String
    public var trustDomain: TrustDomain
    public var labels: [String: String] = [:]
    /// Addresses that others reach it by, the first one first.
    public var addresses: [String] = []
    public var ports: [Port] = []
    public var interception = Interception.none
    /// Without interception: where the application's calls are taken.
    public var outboundAddress: String?
    /// Where the application listens, if not on 127.0.0.1.
    public var applicationAddress: String?
    public var locality = Locality()
    /// The cluster of machines that it is in (`CLUSTER_ID`).
    public var clusterID: String?
    /// `node.cluster`; nil: the label `app`, else the workload, and the namespace.
    public var serviceCluster: String?
    /// Further metadata; the above wins.
    public var metadata: [String: MetadataValue] = [:]

    public init(
        name: String, workload: String, namespace: String, serviceAccount: String, trustDomain: TrustDomain
    ) {
        self.name = name
        self.workload = workload
        self.namespace = namespace
        self.serviceAccount = serviceAccount
        self.trustDomain = trustDomain
    }

    /// `sidecar~10.0.0.7~reviews-v1-x7k2p.default~default.svc.cluster.local`
    public var id: String {
        "\(kind.rawValue)~\(addresses.first ?? "0.0.0.0")~\(name).\(namespace)~\(namespace).svc.\(trustDomain.name)"
    }

    /// As the first request of a stream tells it.
    /// - Parameter version: of this program.
    public func node(version: String) -> XDS.Node {
        var fields = metadata
        fields["NAMESPACE"] = .string(namespace)
        fields["SERVICE_ACCOUNT"] = .string(serviceAccount)
        fields["WORKLOAD_NAME"] = .string(workload)
        fields["INTERCEPTION_MODE"] = .string(interception.rawValue)
        if !labels.isEmpty { fields["LABELS"] = .object(labels.mapValues { .string($0) }) }
        if !addresses.isEmpty { fields["INSTANCE_IPS"] = .string(addresses.joined(separator: ",")) }
        if let clusterID { fields["CLUSTER_ID"] = .string(clusterID) }
        if !ports.isEmpty {
            fields["POD_PORTS"] = .list(
                ports.map { port in
                    var entry: [String: MetadataValue] = [
                        "containerPort": .number(Double(port.number)), "protocol": .string("TCP"),
                    ]
                    if let name = port.name { entry["name"] = .string(name) }
                    return .object(entry)
                })
        }
        var own: [String: MetadataValue] = [:]
        if let outboundAddress { own["OUTBOUND_ADDRESS"] = .string(outboundAddress) }
        if let applicationAddress { own["APP_ADDRESS"] = .string(applicationAddress) }
        if !own.isEmpty { fields["MARTINET"] = .object(own) }
        return XDS.Node(
            id: id, cluster: serviceCluster ?? "\(labels["app"] ?? workload).\(namespace)", metadata: fields,
            locality: locality,
            userAgent: "martinet-proxy/\(version)")
    }
}
