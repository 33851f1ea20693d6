import EnvoyAPI
import HTTP

/// A match and what becomes of requests that match, with all that the levels above it say, compiled.
/// Source: Envoy, `config.route.v3.Route`.
public final class Route: Sendable {
    public enum Action: Sendable {
        case forward(Forwarded)
        case redirect(Redirection)
        case respond(status: UInt16, body: [UInt8])
        /// The request stays with a filter that answers it.
        case nothing
    }

    /// A cluster with what is said to it alone.
    public final class Target: Sendable {
        /// Empty: the first value of `clusterHeader` says it.
        public let cluster: String
        /// Of the cluster in ``RouteTable/clusters``; nil: a header says it.
        public let clusterNumber: Int?
        let clusterHeader: [UInt8]
        let weight: UInt32
        /// Under `envoy.lb`, the route's merged with the cluster's own.
        public let metadataMatch: [StructureValue.Field]
        /// What that asks of hosts.
        public let subset: SubsetCriteria?
        let authority: [UInt8]?
        /// What is said to this cluster alone: it comes first, and the authority before the rest.
        let ownRequestHeaders: HeaderOperations
        public let requestHeaders: HeaderOperations
        public let responseHeaders: HeaderOperations
        public let filterSettings: FilterSettings

        init(
            cluster: String, number: Int?, header: [UInt8] = [], weight: UInt32 = 1,
            metadataMatch: [StructureValue.Field] = [], authority: [UInt8]? = nil,
            ownRequest: HeaderOperations, request: HeaderOperations,
            response: HeaderOperations, settings: FilterSettings
        ) {
            (self.cluster, clusterNumber, clusterHeader, self.weight) = (cluster, number, header, weight)
            (self.metadataMatch, self.authority, requestHeaders, responseHeaders) = (
                metadataMatch, authority, request, response
            )
            (ownRequestHeaders, filterSettings) = (ownRequest, settings)
            subset = SubsetCriteria(metadataMatch)
        }
    }

    /// How requests are passed on. Source: Envoy, `config.route.v3.RouteAction`.
    public final class Forwarded: Sendable {
        let targets: [Target]
        let totalWeight: UInt64
        /// A header with a number that chooses among the targets; in lower case.
        let weightHeader: [UInt8]
        let hashChoosesTarget: Bool
        /// What a request gets whose cluster is not there.
        public let missingClusterStatus: UInt16
        let pathRewrite: PathRewrite?
        public let hostRewrite: HostRewrite?
        public let appendsForwardedHost: Bool
        public let timeouts: RequestTimeouts
        public let retries: RetryRules?
        /// A try that takes too long goes on while the next one begins.
        let hedgesOnTimeout: Bool
        /// Nil: every redirect is the client's to follow.
        public let redirects: InternalRedirects?
        public let mirrors: [MirrorRule]
        public let isHighPriority: Bool
        public let hash: HashRules
        public let upgrades: UpgradeRules

        init(
            targets: [Target], totalWeight: UInt64, weightHeader: [UInt8], hashChoosesTarget: Bool,
            missingClusterStatus: UInt16, pathRewrite: PathRewrite?, hostRewrite: HostRewrite?,
            appendsForwardedHost: Bool, timeouts: RequestTimeouts, retries: RetryRules?, hedgesOnTimeout: Bool,
            redirects: InternalRedirects?, mirrors: [MirrorRule], isHighPriority: Bool, hash: HashRules,
            upgrades: UpgradeRules
        ) {
            (self.targets, self.totalWeight, self.weightHeader) = (targets, totalWeight, weightHeader)
            (self.hashChoosesTarget, self.missingClusterStatus) = (hashChoosesTarget, missingClusterStatus)
            (self.pathRewrite, self.hostRewrite) = (pathRewrite, hostRewrite)
            (self.appendsForwardedHost, self.timeouts, self.retries) = (appendsForwardedHost, timeouts, retries)
            (self.hedgesOnTimeout, self.redirects, self.mirrors) = (hedgesOnTimeout, redirects, mirrors)
            (self.isHighPriority, self.hash, self.upgrades) = (isHighPriority, hash, upgrades)
        }
    }

    /// As it is written; empty: it has none.
    public let name: String
    public let virtualHost: String
    let condition: RouteCondition
    /// Whether nothing but the path counts.
    let isPathOnly: Bool
    public let action: Action
    public let metadata: FilterMetadata
    /// For actions that have no target: a target has its own.
    public let requestHeaders: HeaderOperations
    public let responseHeaders: HeaderOperations
    public let filterSettings: FilterSettings
    /// The most bytes of a request's body that are kept for another try or a mirror; nil: no word on it.
    public let bodyLimit: Int?
    /// The name of the operation in traces; empty: it has none.
    public let operation: [UInt8]
    /// The other side hears of that name.
    public let tellsOperation: Bool
    /// Nil: as the connection manager says.
    public let tracing: RouteTracingRules?
    /// Requests, and responses, say how many tries there were.
    public let countsAttempts: (request: Bool, response: Bool)
    /// Requests that are sent again say whether that is because of a timeout.
    public let tellsTimeoutRetries: Bool

    init(
        name: String, virtualHost: String, condition: RouteCondition, action: Action, metadata: FilterMetadata,
        requestHeaders: HeaderOperations, responseHeaders: HeaderOperations, filterSettings: FilterSettings,
        bodyLimit: Int?, operation: [UInt8] = [], tellsOperation: Bool = true, tracing: RouteTracingRules? = nil,
        countsAttempts: (request: Bool, response: Bool) = (false, false), tellsTimeoutRetries: Bool = false
    ) {
        (self.name, self.virtualHost, self.condition, self.action) = (name, virtualHost, condition, action)
        isPathOnly = condition.isPathOnly
        (self.metadata, self.requestHeaders, self.responseHeaders) = (metadata, requestHeaders, responseHeaders)
        (self.filterSettings, self.bodyLimit, self.operation) = (filterSettings, bodyLimit, operation)
        (self.tellsOperation, self.tracing, self.countsAttempts) = (tellsOperation, tracing, countsAttempts)
        self.tellsTimeoutRetries = tellsTimeoutRetries
    }

    /// The settings of the action that passes requests on; nil for others.
    public var forwarded: Forwarded? {
        if case .forward(let forwarded) = action { forwarded } else { nil }
    }
}

/// What a route wants of a request besides its path.
struct RouteCondition: Sendable {
    var path: PathCondition
    var share: Fraction?
    var headers: [HeaderCondition] = []
    var parameters: [QueryCondition] = []
    var isGRPC = false
    /// Whether the client showed a certificate, and whether it is verified.
    var presentsCertificate: Bool?
    var verifiesCertificate: Bool?
    var metadata: [MetadataCondition] = []

    /// Whether nothing but the path counts.
    var isPathOnly: Bool {
        share == nil && headers.isEmpty && parameters.isEmpty && !isGRPC && presentsCertificate == nil
            && verifiesCertificate == nil && metadata.isEmpty
    }
}

/// Where a request goes: one of the route's targets.
public struct Forward: Sendable {
    public let target: Route.Target
    /// Of the target, or what the request's header says.
    public let cluster: String

    /// Of the cluster in ``RouteTable/clusters``; nil: a header named it.
    public var clusterNumber: Int? { target.clusterNumber }
}

/// What becomes of a request.
public enum Routing: Sendable {
    case forward(Route, Forward)
    case redirect(Route?, status: UInt16, location: [UInt8])
    case direct(Route, status: UInt16, body: [UInt8])
    /// A route that leaves the request to filters.
    case nothing(Route)
    /// No route matches: 404.
    case none

    public var route: Route? {
        switch self {
        case .forward(let route, _), .direct(let route, _, _), .nothing(let route): route
        case .redirect(let route, _, _): route
        case .none: nil
        }
    }
}

extension Route {
    /// Makes the request what the upstream gets: header operations of all levels, authority and path.
    /// - Parameters:
    ///   - notesOriginal: `x-envoy-original-path` and `-host` say what was there before.
    ///   - facts: asked for only where a header's value depends on them; its request is this head.
    /// Source: Envoy, `RouteEntryImplBase::finalizeRequestHeaders`.
    public func prepare(
        _ head: inout HeaderList, for forward: Forward, notesOriginal: Bool = true, facts: () -> AccessRecord
    ) {
        guard case .forward(let forwarded) = action else { return }
        let target = forward.target
        target.ownRequestHeaders.apply(to: &head, isResponse: false, facts)
        if let authority = target.authority { authority.withUnsafeBytes { head.set(":authority", value: $0) } }
        target.requestHeaders.apply(to: &head, isResponse: false, facts)
        if let authority = forwarded.hostRewrite?.authority(head) {
            head.rewriteAuthority(
                to: authority, appendsForwardedHost: forwarded.appendsForwardedHost, keepsOriginal: notesOriginal)
        }
        guard let rewrite = forwarded.pathRewrite, let old = head.withValue(of: ":path", { Array($0) }) else { return }
        guard let new = old.withUnsafeBytes({ rewrite.target($0, condition.path) }) else { return }
        if notesOriginal { old.withUnsafeBytes { head.set("x-envoy-original-path", value: $0) } }
        new.withUnsafeBytes { head.set(":path", value: $0) }
    }

    /// Notes in a request's head that the client is sent to another path: responses and logs tell of it as if the
    /// request had gone there. Source: Envoy, `DirectResponseEntry::rewritePathHeader`.
    /// - Parameter notesOriginal: `x-envoy-original-path` says what was there before.
    public func noteRedirection(in head: inout HeaderList, notesOriginal: Bool = true) {
        guard case .redirect(let redirection) = action, case .rewritten(let rewrite)? = redirection.path,
            let old = head.withValue(of: ":path", { Array($0) }),
            let new = old.withUnsafeBytes({ rewrite.target($0, condition.path) })
        else { return }
        if notesOriginal { old.withUnsafeBytes { head.set("x-envoy-original-path", value: $0) } }
        new.withUnsafeBytes { head.set(":path", value: $0) }
    }

    /// Makes the response what the client gets. Also for redirects and answers of the route itself.
    /// - Parameters:
    ///   - forward: nil where the request was not passed on.
    ///   - isLocal: it does not come from the upstream.
    ///   - facts: its response is this head.
    public func finish(
        _ head: inout HeaderList, _ forward: Forward?, isLocal: Bool = false, facts: () -> AccessRecord
    ) {
        if forward == nil, let location = locationOfAnswer(facts) {
            location.withUnsafeBytes { head.set("location", value: $0) }
        }
        let status = forward == nil || isLocal ? 0 : Int(head.withValue(of: ":status") { $0.integer ?? 0 } ?? 0)
        (forward?.target.responseHeaders ?? responseHeaders).apply(to: &head, isResponse: true) {
            let asked = facts()
            asked.status = status
            return asked
        }
    }

    /// An answer of the route itself that says "created", or that there is more elsewhere, names the request's own URI.
    /// Source: RFC 9110, section 10.2.2; Envoy does so.
    private func locationOfAnswer(_ facts: () -> AccessRecord) -> [UInt8]? {
        guard case .respond(let status, _) = action, status == 201 || (300...399).contains(status) else { return nil }
        return Redirection.unchanged.location(facts().request, condition.path)
    }
}

extension Route.Forwarded {
    /// Whether tries of one request that take too long go on beside the next one; a header that asks for it, or for the
    /// contrary, is taken out. Source: Envoy, `FilterUtility::finalHedgingParams`.
    public func hedges(_ head: inout HeaderList) -> Bool {
        let name: StaticString = "x-envoy-hedge-on-per-try-timeout"
        guard head.contains(name) else { return hedgesOnTimeout }
        let (asks, refuses) = (head.value(of: name, equals: "true"), head.value(of: name, equals: "false"))
        head.remove(name)
        return asks || (hedgesOnTimeout && !refuses)
    }

    /// The target of one request.
    /// - Parameters:
    ///   - random: the request's random number.
    ///   - hash: what the hash policies say, where they choose.
    func choose(_ head: HeaderList, random: UInt64, hash: () -> UInt64?) -> Forward {
        let target = targets.count == 1 ? targets[0] : weighted(head, random: random, hash: hash)
        guard target.clusterNumber == nil else { return Forward(target: target, cluster: target.cluster) }
        let name = target.clusterHeader.withUnsafeBytes { head.withValue(ofBytes: $0) { $0.text } }
        return Forward(target: target, cluster: name ?? "")
    }

    private func weighted(_ head: HeaderList, random: UInt64, hash: () -> UInt64?) -> Route.Target {
        var number = (hashChoosesTarget ? hash() : nil) ?? random
        if !weightHeader.isEmpty {
            weightHeader.withUnsafeBytes { name in
                // Several values would choose differently from proxy to proxy.
                guard head.count(ofBytes: name) == 1 else { return }
                if let text = head.withValue(ofBytes: name, { $0.text }), let chosen = UInt64(text) { number = chosen }
            }
        }
        return targets.chosen(by: number, of: totalWeight) { $0.weight }
    }
}
