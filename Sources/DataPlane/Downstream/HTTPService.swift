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
    var counters = HTTPCounters()

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
    let streamDuration: Duration?
    let requestsPerConnection: Int?
    let passesTrailers: Bool
    /// On connections whose first bytes say so.
    let takesHTTP2 = true
    /// Bytes of a body that wait here at most.
    let bufferLimit: Int

    /// The routes in force, and of which configuration they are.
    private var table: RouteTable?
    private weak var tableOf: ProxyConfiguration?
    /// By the number of the cluster in the table.
    private var clustersOfTable: [WorkerCluster?] = []

    init(_ worker: Worker, _ settings: HTTPConnectionSettings, listener: String, ownURI: String?) {
        (self.worker, self.settings, self.listener, self.ownURI) = (worker, settings, listener, ownURI)
        http1Limits = HTTP1Limits()
        http2Limits = HTTP2Limits()
        clientHeaders = ClientHeaders()
        certificateHeader = ClientCertificateHeader()
        serverName = "envoy"
        idleTimeout = .seconds(3600)
        headTimeout = nil
        connectionAge = nil
        streamIdleTimeout = .seconds(300)
        streamDuration = nil
        requestsPerConnection = nil
        passesTrailers = false
        bufferLimit = 1 << 20
    }

    /// The route table in force; nil: it has not come yet.
    func routes() -> RouteTable? {
        let configuration = worker.configuration
        if tableOf === configuration { return table }
        tableOf = configuration
        let found = settings.routes
        if found !== table { table = found }
        clustersOfTable = [WorkerCluster?](repeating: nil, count: found?.clusters.count ?? 0)
        return found
    }

    /// The cluster that a request goes to.
    func cluster(_ forward: Forward) -> WorkerCluster? {
        guard let number = forward.clusterNumber, number < clustersOfTable.count else {
            return worker.cluster(forward.cluster)
        }
        if let cluster = clustersOfTable[number], !cluster.isRetired { return cluster }
        let found = worker.cluster(forward.cluster)
        clustersOfTable[number] = found
        return found
    }

    func allows(_ upgrade: String, _ route: Route) -> Bool { upgrade == "websocket" }

    /// - Returns: false if the request has been answered.
    func normalise(_ exchange: Exchange) -> Bool { true }

    // MARK: The head of every response

    /// What this proxy writes into every response.
    func finish(_ head: inout HeaderList, isLocal: Bool, requestID: HeaderList) {
        if !head.contains("date") { head.append("date", worker.date) }
        head.set("server", serverName)
    }

    // MARK: Counting

    func began(_ exchange: Exchange) {
        counters.requests += 1
        counters.activeRequests += 1
    }

    func ended(_ exchange: Exchange) {
        counters.activeRequests -= 1
        counters.count(exchange.record.status)
    }

    /// A request that was no HTTP, and no exchange.
    func refused(_ failure: HTTP1Failure, _ facts: ConnectionFacts, _ protocolName: String) {
        counters.protocolErrors += 1
        counters.count(failure.status)
    }

    func connectionEnded(_ connection: HTTPDownstream) {
        counters.activeConnections -= 1
    }
}

/// What happened at one chain of a listener at one worker, under the names of Envoy's `http.PREFIX.` statistics.
struct HTTPCounters {
    var connections: UInt64 = 0
    var activeConnections = 0
    var requests: UInt64 = 0
    var activeRequests = 0
    var protocolErrors: UInt64 = 0
    var tooLargeHeads: UInt64 = 0
    /// Responses by the first digit of their status, 1 to 5.
    var classes: (UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0)

    mutating func count(_ status: Int) {
        switch status / 100 {
        case 1: classes.0 += 1
        case 2: classes.1 += 1
        case 3: classes.2 += 1
        case 4: classes.3 += 1
        case 5: classes.4 += 1
        default: break
        }
    }
}
