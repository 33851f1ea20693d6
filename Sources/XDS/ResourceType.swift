/// One of the resource types that a stream can subscribe to.
/// Source: Envoy, "xDS REST and gRPC protocol", Resource Types.
public struct ResourceType: Hashable, Sendable {
    /// Position in ``all``: also the order in which one aggregated stream sends additions, so that what is
    /// referred to comes before what refers to it.
    public let order: Int

    /// For example `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
    public var typeURL: String { Self.catalog[order].typeURL }
    /// The name people use: `CDS`, `EDS`, `LDS`, …
    public var shortName: String { Self.catalog[order].shortName }
    /// Whether a state-of-the-world response is the full set, so that absence deletes (LDS and CDS).
    public var isFullState: Bool { self == .cluster || self == .listener }

    private init(order: Int) {
        self.order = order
    }

    /// - Returns: nil for a type URL that this library does not serve.
    public init?(typeURL: String) {
        guard let order = Self.orderByURL[typeURL] else { return nil }
        self.order = order
    }

    /// - Parameter shortName: `CDS`, `eds`, …; the case does not matter.
    public init?(shortName: String) {
        let wanted = shortName.uppercased()
        guard let order = Self.catalog.firstIndex(where: { $0.shortName == wanted }) else { return nil }
        self.order = order
    }

    /// Secrets come first: clusters and listeners name them.
    public static let secret = ResourceType(order: 0)
    public static let cluster = ResourceType(order: 1)
    public static let endpoints = ResourceType(order: 2)
    public static let extensionConfig = ResourceType(order: 3)
    public static let listener = ResourceType(order: 4)
    public static let scopedRoute = ResourceType(order: 5)
    public static let route = ResourceType(order: 6)
    public static let virtualHost = ResourceType(order: 7)
    public static let runtime = ResourceType(order: 8)

    public static let all = catalog.indices.map(ResourceType.init(order:))

    private static let catalog: [(shortName: String, typeURL: String)] = [
        ("SDS", "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"),
        ("CDS", "type.googleapis.com/envoy.config.cluster.v3.Cluster"),
        ("EDS", "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"),
        ("ECDS", "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"),
        ("LDS", "type.googleapis.com/envoy.config.listener.v3.Listener"),
        ("SRDS", "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"),
        ("RDS", "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"),
        ("VHDS", "type.googleapis.com/envoy.config.route.v3.VirtualHost"),
        ("RTDS", "type.googleapis.com/envoy.service.runtime.v3.Runtime"),
    ]
    private static let orderByURL = Dictionary(
        uniqueKeysWithValues: catalog.enumerated().map { ($1.typeURL, $0) })
}

extension ResourceType: Comparable, CustomStringConvertible {
    public static func < (left: ResourceType, right: ResourceType) -> Bool { left.order < right.order }
    public var description: String { shortName }
}
