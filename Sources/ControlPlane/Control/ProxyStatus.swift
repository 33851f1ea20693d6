import Discovery
import EnvoyAPI
import Protobuf
import Time
import XDS

/// One connected stream of a proxy, as an operator sees it. Source: martinet.control.v1.ProxyStatus.
public struct ProxyStatus: Hashable, Sendable {
    /// What the stream was sent of one type, and what the proxy said.
    public struct OfType: Hashable, Sendable {
        public var typeURL: String
        public var sentVersion: String
        public var acknowledgedVersion: String
        /// Empty unless the proxy refused something that it was not sent a replacement for.
        public var rejectedVersion: String
        /// The proxy's own words.
        public var errorDetail: String
        /// nil: nothing was sent.
        public var secondsSinceSent: Double?
        /// Since the last ACK or NACK; nil: there was none.
        public var secondsSinceAnswer: Double?
        public var subscribedNames: Int
        public var isWildcard: Bool

        public var isRejected: Bool { !rejectedVersion.isEmpty || !errorDetail.isEmpty }

        /// The facts in one word: `waiting` (subscribed, nothing sent), `pending` (sent, no answer yet), `synced`,
        /// `rejected`.
        public var state: String {
            if isRejected { return "rejected" }
            if sentVersion.isEmpty { return acknowledgedVersion.isEmpty ? "waiting" : "synced" }
            return sentVersion == acknowledgedVersion ? "synced" : "pending"
        }
    }

    public var nodeID: String
    public var nodeCluster: String
    /// For example `envoy/1.40.0`.
    public var userAgent: String
    public var view: String
    /// Address and port, or `unix`.
    public var peer: String
    /// `plaintext`, `tls`, `mtls` or `unix`.
    public var transport: String
    /// `delta` or `sotw`.
    public var variant: String
    public var connectedSeconds: Double
    /// In the order in which one stream sends them.
    public var types: [OfType]

    public var isRejected: Bool { types.contains(where: \.isRejected) }
}

extension ProxyStatus {
    public init(_ report: DiscoveryServer.StreamReport) {
        self.init(
            nodeID: report.node.id, nodeCluster: report.node.cluster, userAgent: report.node.userAgent,
            view: report.status.view?.text ?? "", peer: report.origin?.peer ?? "",
            transport: report.origin?.transport.rawValue ?? "", variant: report.status.isDelta ? "delta" : "sotw",
            connectedSeconds: report.age.seconds,
            types: report.status.types.map { OfType($0, report.times[$0.type], now: report.now) })
    }
}

extension ProxyStatus.OfType {
    fileprivate init(_ status: TypeStatus, _ times: DiscoveryServer.TypeTimes?, now: Instant) {
        self.init(
            typeURL: status.type.typeURL, sentVersion: status.sentVersion ?? "",
            acknowledgedVersion: status.acknowledgedVersion ?? "",
            rejectedVersion: status.rejection?.version ?? "",
            errorDetail: status.rejection.map { $0.detail.message.isEmpty ? "(no words)" : $0.detail.message } ?? "",
            secondsSinceSent: times?.sentAt?.duration(to: now).seconds,
            secondsSinceAnswer: times?.answeredAt?.duration(to: now).seconds,
            subscribedNames: status.nameCount, isWildcard: status.isWildcard)
    }
}

extension Duration {
    fileprivate var seconds: Double { Double(nanoseconds) / 1e9 }
}

/// The connected proxies and what is wrong with the configuration. Source: martinet.control.v1.StatusResponse.
public struct MeshStatus: Hashable, Sendable {
    /// By node id.
    public var proxies: [ProxyStatus]
    /// Dangling references, and files that could not be read, in words.
    public var problems: [String]

    public init(proxies: [ProxyStatus], problems: [String]) {
        self.proxies = proxies
        self.problems = problems
    }

    /// How many proxies one answer tells of.
    public static let proxyLimit = 100_000

    public init(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let limits = DecodingLimits(depth: 100, elements: 20_000_000, memory: 1 << 30)
        let response = try arena.decode(ControlStatusResponse.self, from: bytes, limits: limits).pointee
        proxies = response.proxies_list.map { ProxyStatus($0.pointee) }
        problems = Array(response.problems_list)
    }

    public func encoded() -> [UInt8] {
        let arena = Arena()
        let message = arena.make(ControlStatusResponse.self) { response in
            (response.n_proxies, response.proxies) = arena.list(proxies.map { $0.message(in: arena) })
            (response.n_problems, response.problems) = arena.strings(problems.map(\.withoutNUL))
        }
        return encode(message)
    }
}

extension ProxyStatus {
    fileprivate init(_ message: ControlProxyStatus) {
        self.init(
            nodeID: message.node_id.string, nodeCluster: message.node_cluster.string,
            userAgent: message.user_agent.string, view: message.view.string, peer: message.peer.string,
            transport: message.transport.string, variant: message.variant.string,
            connectedSeconds: message.connected_seconds,
            types: message.types_list.map { OfType($0.pointee) })
    }

    fileprivate func message(in arena: Arena) -> UnsafeMutablePointer<ControlProxyStatus> {
        arena.make {
            $0.node_id = arena(nodeID.withoutNUL)
            $0.node_cluster = arena(nodeCluster.withoutNUL)
            $0.user_agent = arena(userAgent.withoutNUL)
            $0.view = arena(view.withoutNUL)
            $0.peer = arena(peer)
            $0.transport = arena(transport)
            $0.variant = arena(variant)
            $0.connected_seconds = connectedSeconds
            ($0.n_types, $0.types) = arena.list(types.map { $0.message(in: arena) })
        }
    }
}

extension ProxyStatus.OfType {
    /// A moment that never was is left out, so one that is now is told as a nanosecond ago.
    private static let now = 1e-9

    fileprivate init(_ message: ControlTypeStatus) {
        self.init(
            typeURL: message.type_url.string, sentVersion: message.sent_version.string,
            acknowledgedVersion: message.acked_version.string, rejectedVersion: message.nacked_version.string,
            errorDetail: message.error_detail.string,
            secondsSinceSent: message.seconds_since_sent == 0 ? nil : message.seconds_since_sent,
            secondsSinceAnswer: message.seconds_since_answer == 0 ? nil : message.seconds_since_answer,
            subscribedNames: Int(message.subscribed_names), isWildcard: message.wildcard != 0)
    }

    fileprivate func message(in arena: Arena) -> UnsafeMutablePointer<ControlTypeStatus> {
        arena.make {
            $0.type_url = arena(typeURL)
            $0.sent_version = arena(sentVersion.withoutNUL)
            $0.acked_version = arena(acknowledgedVersion.withoutNUL)
            $0.nacked_version = arena(rejectedVersion.withoutNUL)
            $0.error_detail = arena(errorDetail.withoutNUL)
            $0.seconds_since_sent = secondsSinceSent.map { max($0, Self.now) } ?? 0
            $0.seconds_since_answer = secondsSinceAnswer.map { max($0, Self.now) } ?? 0
            $0.subscribed_names = UInt32(clamping: subscribedNames)
            $0.set(wildcard: isWildcard)
        }
    }
}
