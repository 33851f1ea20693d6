import Time

/// Slows peers that are refused again and again: the first refusal is told at once, each further one later, up to half
/// a minute. What a machine was refused is forgotten after a few quiet minutes. A value with bounds.
struct RefusalDelays: Sendable {
    private struct Record: Sendable {
        var strikes: Int
        var last: Instant
        /// When the refusals are told that are held back now.
        var pending: [Instant] = []
    }

    static let longest = Duration.seconds(30)
    static let first = Duration.milliseconds(250)
    static let quiet = Duration.seconds(300)
    /// Machines that are told apart; those beyond share one record.
    static let mostHosts = 4096
    /// Refusals of one machine that may be pending; while there are more, its tokens are not looked at.
    static let mostPending = 256

    private var records: [String: Record] = [:]

    /// - Returns: how long the peer is to wait for its status.
    mutating func refuse(_ host: String, now: Instant) -> Duration {
        let key = key(for: host, now: now)
        var record = records[key] ?? Record(strikes: 0, last: now)
        if record.last.duration(to: now) >= Self.quiet { record.strikes = 0 }
        let delay =
            record.strikes == 0 ? .zero : min(Self.longest, Self.first * (1 << min(record.strikes - 1, 10)))
        record.strikes += 1
        record.last = now
        record.pending.removeAll { $0 <= now }
        if delay > .zero, record.pending.count < Self.mostPending { record.pending.append(now.advanced(by: delay)) }
        records[key] = record
        return delay
    }

    /// Whether so many refusals of a machine are held back that nothing more of it is looked at.
    func isThrottled(_ host: String, now: Instant) -> Bool {
        let record = records[host] ?? (records.count >= Self.mostHosts ? records[""] : nil)
        guard let record, record.pending.count >= Self.mostPending else { return false }
        return record.pending.count { $0 > now } >= Self.mostPending
    }

    private mutating func key(for host: String, now: Instant) -> String {
        if records[host] != nil || records.count < Self.mostHosts { return host }
        records = records.filter { $0.value.last.duration(to: now) < Self.quiet }
        return records.count < Self.mostHosts ? host : ""
    }

    /// How many records there are, for tests of the bound.
    var count: Int { records.count }
}
