import Forwarding
import Time

/// What a filter chain that leads bytes on does, as one worker does it.
final class TCPService {
    unowned let worker: Worker
    let settings: TCPProxySettings
    let listener: String
    let counters: TCPCounters
    let logger: AccessLogger
    /// The first URI of the certificate that is shown here.
    let ownURI: String?

    init(_ worker: Worker, _ settings: TCPProxySettings, listener: String, ownURI: String? = nil) {
        (self.worker, self.settings, self.listener, self.ownURI) = (worker, settings, listener, ownURI)
        counters = worker.counters.tcp(settings.statPrefix)
        logger = worker.logs.logger(settings.accessLogs)
    }

    var idleTimeout: Duration? { settings.idleTimeout }
    var connectionAge: Duration? { settings.longestConnection }
    var mostAttempts: Int { Int(settings.connectAttempts) }

    func hash(_ facts: ConnectionFacts) -> UInt64? {
        settings.hashesSource ? facts.source.ip.map { KeyHash.xx("\($0)") } : nil
    }

    func ended(_ record: TCPRecord, _ facts: ConnectionFacts) {
        counters.activeConnections -= 1
        counters.bytesReceived += record.bytesReceived
        counters.bytesSent += record.bytesSent
        if !logger.isEmpty { logger.log(record.accessRecord(facts, hostName: worker.hostName, ownURI: ownURI ?? "")) }
    }
}

/// What happened at the chains of one `stat_prefix` at one worker, under the names of Envoy's `tcp.PREFIX.` statistics.
final class TCPCounters {
    var connections: UInt64 = 0
    var activeConnections = 0
    var bytesReceived: UInt64 = 0
    var bytesSent: UInt64 = 0
}
