import Forwarding
import Time

/// What a filter chain that leads bytes on does, as one worker does it.
final class TCPService {
    let settings: TCPProxySettings
    let listener: String
    var counters = TCPCounters()

    init(_ settings: TCPProxySettings, listener: String) {
        (self.settings, self.listener) = (settings, listener)
    }

    var idleTimeout: Duration? { .seconds(3600) }
    var connectionAge: Duration? { nil }
    var mostAttempts: Int { 1 }
    var subset: SubsetCriteria? { nil }

    func hash(_ facts: ConnectionFacts) -> UInt64? { nil }
    func cluster(_ facts: ConnectionFacts, random: UInt64) -> String? { settings.cluster }
    /// Whether the network filters let a connection pass.
    func admits(_ facts: ConnectionFacts, _ record: inout TCPRecord) -> Bool { true }

    func ended(_ record: TCPRecord, _ facts: ConnectionFacts) {
        counters.activeConnections -= 1
        counters.bytesReceived += record.bytesReceived
        counters.bytesSent += record.bytesSent
    }
}

/// What happened at one chain of a listener at one worker, under the names of Envoy's `tcp.PREFIX.` statistics.
struct TCPCounters {
    var connections: UInt64 = 0
    var activeConnections = 0
    var bytesReceived: UInt64 = 0
    var bytesSent: UInt64 = 0
}
