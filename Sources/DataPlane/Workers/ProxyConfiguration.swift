import Forwarding
import Reactor
import TLS

/// Everything that the workers serve at one moment, ready for use. It never changes: a new one replaces it as a whole, and
/// what did not change is shared by identity (`===`), so that workers touch only what did.
///
/// It is complete: what a listener or route names and the control plane has not sent is absent on purpose, and requests
/// for it are answered as Envoy answers them (503, or 404 for routes).
public final class ProxyConfiguration: Sendable {
    /// By name.
    public let listeners: [String: ServedListener]
    /// Routes that listeners name (RDS), by name.
    public let routes: [String: RouteTable]
    /// By name.
    public let clusters: [String: ServedCluster]

    public init(
        listeners: [String: ServedListener] = [:], routes: [String: RouteTable] = [:],
        clusters: [String: ServedCluster] = [:]
    ) {
        self.listeners = listeners
        self.routes = routes
        self.clusters = clusters
    }
}

/// A listener, and what its chains secure connections with.
public final class ServedListener: Sendable {
    public let name: String
    public let configuration: ListenerConfiguration
    /// By the identity of the chain; chains without an entry take plaintext.
    private let settings: [ObjectIdentifier: TLSSettings]

    /// - Parameter tls: of each chain with a transport socket the settings that its secrets make. When a secret changes,
    ///   make a new `ServedListener` around the same `configuration`: connections that are open go on.
    public init(
        name: String, configuration: ListenerConfiguration, tls: [(chain: FilterChain, settings: TLSSettings)] = []
    ) {
        self.name = name
        self.configuration = configuration
        settings = Dictionary(tls.map { (ObjectIdentifier($0.chain), $0.settings) }) { first, _ in first }
    }

    /// What a chain's connections are secured with; nil for plaintext.
    public func tls(of chain: FilterChain) -> TLSSettings? { settings[ObjectIdentifier(chain)] }
}

/// A cluster, its endpoints, and what connections to them are secured with.
public final class ServedCluster: Sendable {
    public let name: String
    public let configuration: ClusterConfiguration
    /// Nil while the control plane has named none, which is served like an empty set.
    public let endpoints: EndpointSet?
    /// By the position in the configuration's list of transports, which hosts refer to; nil, or no entry: plaintext.
    public let tls: [TLSSettings?]

    /// Settings that are equal should be the same object: connections and their TLS sessions are kept by its identity.
    public init(
        name: String, configuration: ClusterConfiguration, endpoints: EndpointSet?, tls: [TLSSettings?] = []
    ) {
        self.name = name
        self.configuration = configuration
        self.endpoints = endpoints
        self.tls = tls
    }
}

/// A listener that could not be opened: the text of a NACK.
public struct ListenerFailure: Error, Sendable, CustomStringConvertible {
    public let listener: String
    public let error: ReactorError

    public var description: String { "listener \(listener): \(error)" }
}
