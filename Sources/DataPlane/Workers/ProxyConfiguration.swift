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

/// What one of a cluster's transports secures connections with.
public enum TransportSecurity: Sendable {
    case plaintext
    case tls(TLSSettings, ServerNaming)
    /// It is meant to be TLS and cannot be made, for the lack of a secret: there are no connections.
    case unusable

    /// What names of servers are sent and checked, beside those in the settings.
    public struct ServerNaming: Sendable, Hashable {
        /// The endpoint's host name is sent.
        public var sendsEndpointName: Bool
        /// The certificate must be for the name that is sent, whatever other names the settings accept.
        public var checksSentName: Bool
        /// Nothing of certificates is checked.
        public var acceptsUntrusted: Bool

        public init(sendsEndpointName: Bool = false, checksSentName: Bool = false, acceptsUntrusted: Bool = false) {
            self.sendsEndpointName = sendsEndpointName
            self.checksSentName = checksSentName
            self.acceptsUntrusted = acceptsUntrusted
        }
    }

    /// nil: it is plaintext, or no connection may be made.
    var settings: TLSSettings? {
        if case .tls(let settings, _) = self { settings } else { nil }
    }

    /// Whether connections of the one may serve in place of the other's.
    func isSame(as other: TransportSecurity) -> Bool {
        switch (self, other) {
        case (.plaintext, .plaintext), (.unusable, .unusable): true
        case (.tls(let one, let naming), .tls(let another, let otherNaming)): one === another && naming == otherNaming
        case (.plaintext, _), (.tls, _), (.unusable, _): false
        }
    }
}

/// A cluster, its endpoints, and what connections to them are secured with.
public final class ServedCluster: Sendable {
    public let name: String
    public let configuration: ClusterConfiguration
    /// Nil while the control plane has named none, which is served like an empty set.
    public let endpoints: EndpointSet?
    /// By the position in the configuration's list of transports, which hosts refer to; no entry: plaintext.
    public let security: [TransportSecurity]

    /// Settings that are equal should be the same object: connections and their TLS sessions are kept by its identity.
    public init(
        name: String, configuration: ClusterConfiguration, endpoints: EndpointSet?, security: [TransportSecurity] = []
    ) {
        self.name = name
        self.configuration = configuration
        self.endpoints = endpoints
        self.security = security
    }
}

/// A listener that could not be opened: the text of a NACK.
public struct ListenerFailure: Error, Sendable, CustomStringConvertible {
    public let listener: String
    public let error: ReactorError

    public var description: String { "listener \(listener): \(error)" }
}
