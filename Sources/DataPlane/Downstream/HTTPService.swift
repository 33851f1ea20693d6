import Forwarding
import HTTP
import HTTP1
import HTTP2
import Reactor
import TLS
import Time

/// What a filter chain that speaks HTTP does, as one worker does it: the settings made ready, and what changes with time.
/// All connections of the chain share it.
final class HTTPService {
    unowned let worker: Worker
    let settings: HTTPConnectionSettings
    let listener: String
    let counters: HTTPCounters
    let logger: AccessLogger
    /// Where spans go; nil: none are made.
    let spans: SpanQueue?
    /// Each try to have a host answer is a span of its own.
    let spansTries: Bool

    let http1Limits: HTTP1Limits
    let http2Limits: HTTP2Limits
    let clientHeaders: ClientHeaders
    let certificateHeader: ClientCertificateHeader
    /// The first URI of the certificate that this side shows.
    let ownURI: String?
    let serverName: String
    let idleTimeout: Duration?
    let headTimeout: Duration?
    let connectionAge: Duration?
    let streamIdleTimeout: Duration?
    let requestTimeout: Duration?
    let streamDuration: Duration?
    /// For the last bytes of connections that are to be closed.
    let closingTimeout: Duration
    let requestsPerConnection: Int?
    let passesTrailers: Bool
    /// On connections whose first bytes say so.
    let takesHTTP2: Bool
    /// Bytes of a body that wait here at most.
    let bufferLimit: Int

    private var filtersByOwner: [ObjectIdentifier: (owner: AnyObject, filters: [HTTPFilter?])] = [:]
    /// Of the request before, who is mostly the same.
    private var lastOwner: AnyObject?
    private var lastFilters: [HTTPFilter?] = []

    /// By the filter.
    private var keyRings: [ObjectIdentifier: TokenKeyRing]

    /// The routes in force, and of which of the worker's configurations they are.
    private var table: RouteTable?
    private var tableOf: UInt64?
    /// By the number of the cluster in the table.
    private var clustersOfTable: [WorkerCluster?] = []

    /// - Parameter keyRings: keys of tokens' issuers that are known already, by the filter.
    init(
        _ worker: Worker, _ settings: HTTPConnectionSettings, listener: String, bufferLimit: Int, ownURI: String?,
        keyRings: [ObjectIdentifier: TokenKeyRing] = [:]
    ) {
        (self.worker, self.settings, self.listener, self.ownURI) = (worker, settings, listener, ownURI)
        (self.bufferLimit, self.keyRings) = (bufferLimit, keyRings)
        counters = worker.counters.http(settings.statPrefix)
        logger = worker.logs.logger(settings.accessLogs)
        spans = settings.tracing?.provider.map { worker.spans.queue($0) }
        spansTries = spans != nil && (settings.tracing?.spansUpstream == true || settings.router.spansUpstream)
        http1Limits = HTTP1Limits(settings)
        http2Limits = HTTP2Limits(settings)
        clientHeaders = ClientHeaders(settings)
        certificateHeader = ClientCertificateHeader(settings.certificates)
        serverName = settings.serverName
        idleTimeout = settings.limits.idleTimeout
        headTimeout = settings.limits.headTimeout
        connectionAge = settings.limits.longestConnection
        streamIdleTimeout = settings.limits.streamIdleTimeout
        requestTimeout = settings.limits.requestTimeout
        streamDuration = settings.limits.longestStream
        closingTimeout = settings.limits.closingTimeout
        requestsPerConnection = settings.limits.requestsPerConnection.map { Int($0) }
        passesTrailers = settings.http1.passesTrailers
        takesHTTP2 = settings.codec != .http1
    }

    /// The route table in force; nil: it has not come yet.
    func routes() -> RouteTable? {
        if tableOf == worker.configurationNumber { return table }
        let configuration = worker.configuration
        tableOf = worker.configurationNumber
        let found: RouteTable?
        switch settings.routes {
        case .table(let table): found = table
        case .named(let name): found = configuration.routes[name]
        }
        if found !== table {
            table = found
            filtersByOwner = [:]
            lastOwner = nil
        }
        clustersOfTable = [WorkerCluster?](repeating: nil, count: found?.clusters.count ?? 0)
        return found
    }

    /// The cluster that a request goes to.
    func cluster(_ forward: Forward) -> WorkerCluster? {
        guard let number = forward.clusterNumber, number < clustersOfTable.count else {
            return worker.cluster(forward.cluster)
        }
        // A request that waited brings the number that its cluster had in an earlier table.
        if let cluster = clustersOfTable[number], !cluster.isRetired, cluster.name == forward.cluster { return cluster }
        let found = worker.cluster(forward.cluster)
        clustersOfTable[number] = found
        return found
    }

    /// Whether a connection may change to a protocol; `connect` for tunnels.
    func allows(_ upgrade: String, _ route: Route?) -> Bool {
        let ofRoute = route?.forwarded?.upgrades ?? UpgradeRules()
        return ofRoute.allows(upgrade, else: settings.upgrades)
    }

    /// Makes of path and host what everybody after this may rely on.
    /// - Returns: false if the request has been answered.
    func normalise(_ exchange: Exchange) -> Bool {
        if !exchange.shape.isConnect {
            switch exchange.head.withValue(of: ":path", { settings.paths.apply(to: $0) }) {
            case .unchanged?, nil: break
            case .changed(let path)?: path.withUnsafeBytes { exchange.head.set(":path", value: $0) }
            case .redirect(let path)?:
                exchange.reply(307, bytes: [], "path_normalization_failed") { head in
                    path.withUnsafeBytes { head.append("location", value: $0) }
                }
                return false
            case .rejected?:
                exchange.reply(400, bytes: [], "path_normalization_failed")
                return false
            }
        }
        switch settings.host.port {
        // Where a tunnel leads is not said without its port.
        case _ where exchange.shape.isConnect: break
        case .keep: break
        case .stripListeners: stripPort(&exchange.head, only: exchange.connection.destination.port)
        case .stripAny: stripPort(&exchange.head, only: nil)
        }
        if settings.host.stripsTrailingDot { stripTrailingDot(&exchange.head) }
        switch settings.limits.underscores {
        case .allow: break
        case .drop: exchange.head.removeAll { name, _ in name.contains(UInt8(ascii: "_")) }
        case .reject:
            var isFound = false
            exchange.head.forEachField { name, _ in isFound = isFound || name.contains(UInt8(ascii: "_")) }
            if isFound {
                exchange.reply(400, bytes: [], "http1.unexpected_underscore")
                return false
            }
        }
        return true
    }

    /// `shop.` and `shop.:80` are `shop` and `shop:80`. Source: Envoy, `HeaderUtility::stripTrailingHostDot`.
    private func stripTrailingDot(_ head: inout HeaderList) {
        guard var host = head.withValue(of: ":authority", { Array($0) }) else { return }
        let end = host.firstIndex(of: UInt8(ascii: ":")) ?? host.count
        guard end > 1, host[end - 1] == UInt8(ascii: ".") else { return }
        host.remove(at: end - 1)
        host.withUnsafeBytes { head.set(":authority", value: $0) }
    }

    private func stripPort(_ head: inout HeaderList, only port: UInt16?) {
        guard let host = head.withValue(of: ":authority", { Array($0) }),
            let colon = host.lastIndex(of: UInt8(ascii: ":")), !host[colon...].contains(UInt8(ascii: "]"))
        else { return }
        let digits = String(decoding: host[(colon + 1)...], as: UTF8.self)
        guard let number = UInt16(digits), port == nil || port == number else { return }
        host[..<colon].withUnsafeBytes { head.set(":authority", value: $0) }
    }

    // MARK: Filters

    /// The filters that a request passes, with what its route says to them; nil in the place of those that it does not
    /// pass.
    func filters(of routing: Routing) -> [HTTPFilter?] {
        let owner: AnyObject
        let said: FilterSettings
        switch routing {
        case .forward(_, let forward): (owner, said) = (forward.target, forward.target.filterSettings)
        case .direct(let route, _, _), .nothing(let route), .redirect(let route?, _, _):
            (owner, said) = (route, route.filterSettings)
        case .redirect(nil, _, _), .none: (owner, said) = (settings, .none)
        }
        if owner === lastOwner { return lastFilters }
        lastOwner = owner
        lastFilters = filters(of: owner, said)
        return lastFilters
    }

    private func filters(of owner: AnyObject, _ said: FilterSettings) -> [HTTPFilter?] {
        if let made = filtersByOwner[ObjectIdentifier(owner)] { return made.filters }
        let made = settings.filters.places(said, isForwarded: owner is Route.Target)
        filtersByOwner[ObjectIdentifier(owner)] = (owner, made)
        return made
    }

    func keyRing(of tokens: TokenAuthentication) -> TokenKeyRing {
        let key = ObjectIdentifier(tokens)
        if let ring = keyRings[key] { return ring }
        let made = TokenKeyRing(worker, tokens, listener: listener)
        keyRings[key] = made
        return made
    }

    // MARK: The head of every response

    /// What this proxy writes into every response.
    func finish(_ head: inout HeaderList, isLocal: Bool, request: HeaderList) {
        if !head.contains("date") { head.append("date", worker.date) }
        switch settings.serverHeader {
        case .overwrite: head.set("server", serverName)
        case .addIfAbsent: if !head.contains("server") { head.append("server", serverName) }
        case .pass: if isLocal { head.set("server", serverName) }
        }
        if !settings.via.isEmpty { head.append("via", settings.via) }
        if settings.requestID.answersWithIt {
            let id = request.withValue(of: "x-request-id") { Array($0) }
            id?.withUnsafeBytes { head.set("x-request-id", value: $0) }
        }
    }

    // MARK: Counting

    func began(_ exchange: Exchange) {
        counters.requests += 1
        counters.activeRequests += 1
    }

    func ended(_ exchange: Exchange) {
        counters.activeRequests -= 1
        counters.responses.count(exchange.record.status)
        let ended = exchange.record.ended ?? worker.loop.now
        counters.times.note(exchange.record.began.duration(to: ended))
        // As Envoy's router has it: from the last byte of the request to the last one of the response.
        if let whole = exchange.record.requestEnded, exchange.record.sent != nil, exchange.record.responded != nil {
            exchange.cluster?.counters.times.note(whole.duration(to: ended))
        }
        tell(of: exchange)
    }

    /// Writes logs and spans of a request that is over.
    func tell(of exchange: Exchange) {
        let isSampled = exchange.trace.context?.isSampled == true
        guard isSampled || !logger.isEmpty else { return }
        let record = exchange.accessRecord()
        if isSampled { exchange.endTrace(record) }
        logger.log(record)
    }

    /// A request that was no HTTP, and no exchange.
    func refused(_ failure: HTTP1Failure, _ facts: ConnectionFacts, _ protocolName: String) {
        counters.protocolErrors += 1
        counters.responses.count(failure.status)
        guard !logger.isEmpty else { return }
        let now = worker.loop.now
        let entry = AccessRecord(.request, facts, start: .systemClock(), began: now, ended: now)
        (entry.protocolName, entry.status, entry.hostName) = (protocolName, failure.status, worker.hostName)
        entry.flags = .downstreamProtocolError
        entry.details = "http1.\(failure.problem.rawValue)"
        logger.log(entry)
    }

    func connectionEnded(_ connection: HTTPDownstream) {
        counters.activeConnections -= 1
    }

    /// It began with another service.
    func connectionMoved(_ connection: HTTPDownstream) {
        counters.activeConnections += 1
    }

    /// Whether a connection sees no difference, but for what becomes of its requests.
    func offersSameTerms(as other: HTTPService) -> Bool {
        http1Limits == other.http1Limits && http2Limits == other.http2Limits && settings.codec == other.settings.codec
            && idleTimeout == other.idleTimeout && connectionAge == other.connectionAge
    }
}

/// What happened at the chains of one `stat_prefix` at one worker, under the names of Envoy's `http.PREFIX.` statistics.
final class HTTPCounters {
    var connections: UInt64 = 0
    var activeConnections = 0
    /// Of requests, from the first byte to the last one of the response.
    var times = Histogram()
    var requests: UInt64 = 0
    var activeRequests = 0
    /// Requests that asked for another protocol or a tunnel, and might.
    var upgrades: UInt64 = 0
    var activeUpgrades = 0
    var protocolErrors: UInt64 = 0
    var tooLargeHeads: UInt64 = 0
    var delaysInjected: UInt64 = 0
    var abortsInjected: UInt64 = 0
    var denied: UInt64 = 0
    var allowed: UInt64 = 0
    var rateLimited: UInt64 = 0
    /// Decisions of where traces are made.
    var traces = TraceCounts()
    var responses = StatusCounters()
}

/// Why requests were traced, or that they were not.
struct TraceCounts {
    var sampled: UInt64 = 0
    var forcedByService: UInt64 = 0
    var forcedByClient: UInt64 = 0
    var notTraced: UInt64 = 0

    mutating func note(_ reason: TraceReason) {
        switch reason {
        case .sampled: sampled += 1
        case .forcedByService: forcedByService += 1
        case .forcedByClient: forcedByClient += 1
        case .notTraced: notTraced += 1
        }
    }
}

extension HTTP1Limits {
    init(_ settings: HTTPConnectionSettings) {
        self.init()
        headBytes = settings.limits.headBytes
        lineBytes = settings.limits.headBytes
        fields = settings.limits.headFields
        acceptsHTTP10 = settings.http1.acceptsHTTP10
        hostForHTTP10 = settings.http1.hostForHTTP10.isEmpty ? nil : settings.http1.hostForHTTP10
    }
}

extension HTTP2Limits {
    init(_ settings: HTTPConnectionSettings) {
        self.init()
        concurrentStreams = Int(settings.http2.concurrentStreams)
        headerListSize = settings.limits.headBytes
        takesExtendedConnect = settings.http2.takesExtendedConnect
        // A window of Envoy's default would let one stream hold 16 MiB here: what is asked for beyond 1 MiB is not given.
        streamWindow = Int(min(settings.http2.streamWindow, 1 << 20))
        connectionWindow = Int(min(settings.http2.connectionWindow, 4 << 20))
        receivingHeaderTableSize = Int(min(settings.http2.tableSize, 64 << 10))
        sendingHeaderTableSize = Int(min(settings.http2.tableSize, 64 << 10))
        keepaliveInterval = settings.http2.keepAlive?.interval
        keepaliveTimeout = settings.http2.keepAlive?.timeout ?? .seconds(20)
        idleTimeout = settings.limits.idleTimeout
        // The windows bound it; what does not fit would be lost.
        unsentBytesPerStream = .max
        drainNotice = settings.limits.drainTimeout
        drainTimeout = .seconds(3600)
    }
}
