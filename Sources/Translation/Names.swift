/// Names of resources, as users of Istio know them from `/clusters` and statistics.
public enum ResourceNames {
    public static let passthrough = "PassthroughCluster"
    public static let blackHole = "BlackHoleCluster"
    public static let inboundPassthrough = "InboundPassthroughCluster"
    public static let virtualOutbound = "virtualOutbound"
    public static let virtualInbound = "virtualInbound"

    /// `outbound|9080|v1|reviews.default.svc.cluster.local`
    public static func outbound(_ port: Int, subset: String = "", _ host: String) -> String {
        "outbound|\(port)|\(subset)|\(host)"
    }

    /// `inbound|9080||`: the application behind a sidecar. The number is the workload's port.
    public static func inbound(_ port: Int) -> String { "inbound|\(port)||" }

    /// A route configuration for all HTTP services on a port: `9080`.
    public static func routes(_ port: Int) -> String { "\(port)" }

    /// An explicit or service listener: `127.3.0.1_9080`.
    public static func listener(_ address: String, _ port: Int) -> String { "\(address)_\(port)" }
}
