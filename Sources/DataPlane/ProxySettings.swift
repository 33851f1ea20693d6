import Agent
import Discovery
import Logging
import Reactor
import XDS

extension Proxy {
    /// Where configuration comes from.
    public enum ControlPlane: Sendable {
        /// Over TLS, with a certificate that the proxy gets for a key of its own.
        case enrolled(Enrolment.Terms)
        /// As it stands: in plaintext, or with certificates from elsewhere. Secrets come over SDS.
        case given(ServerAddress, name: String)
        /// Nowhere: static resources alone.
        case none
    }

    /// What a proxy is for.
    public struct Configuration: Sendable {
        public var node: Node
        public var control: ControlPlane
        public var variant = DiscoveryClient.Variant.delta
        /// Resources that the control plane does not change, packed.
        public var fixed: [(type: ResourceType, name: String, body: [UInt8])] = []
        /// Where to serve the admin interface; nil: nowhere.
        public var admin: SocketAddress?
        /// Where to serve metrics and readiness to others; nil: nowhere.
        public var metrics: SocketAddress?
        /// Threads that carry traffic.
        public var concurrency = 1
        /// How long connections may take to end when the proxy is told to, or a listener changes.
        public var drainTime = Duration.seconds(45)
        /// Where the last good resources are kept; nil: nowhere.
        public var cacheDirectory: String?
        /// Where this proxy takes the place of the one before it, and is found by the one after it; nil: nowhere.
        public var handOverDirectory: String?
        /// Whether signals of the process are for the proxy.
        public var takesSignals = true
        /// Changes what is logged, from any thread.
        public var setLogLevel: @Sendable (Logger.Level) -> Void = { _ in }
        public var version: String
        public var logger: Logger

        /// How long connections are still accepted once the proxy is told to end: until the control plane, whose stream
        /// ends at once, has taken it out of the others' endpoints, five seconds later, and told them. Of a short drain
        /// time half.
        var noticeTime: Duration { min(.seconds(6), drainTime / 2) }

        public init(node: Node, control: ControlPlane, version: String, logger: Logger) {
            self.node = node
            self.control = control
            self.version = version
            self.logger = logger
        }
    }
}

/// Why a proxy cannot run.
public enum ProxyError: Error, Hashable, Sendable, CustomStringConvertible {
    case cannotStart(String, hint: String)
    /// A resource of the command line or the bootstrap file.
    case badResource(String)
    /// The proxy before this one does not give its place.
    case noHandOver(String, hint: String)

    public var description: String {
        switch self {
        case .cannotStart(let problem, _), .noHandOver(let problem, _): problem
        case .badResource(let problem): problem
        }
    }

    public var hint: String {
        switch self {
        case .cannotStart(_, let hint), .noHandOver(_, let hint): hint
        case .badResource: "correct it in the bootstrap file, or leave it to Envoy"
        }
    }
}
