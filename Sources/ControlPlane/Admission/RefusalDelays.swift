import Identity
import Time

/// How long refused peers wait for their status, and how many of one machine wait. A value with bounds.
struct RefusalDelays: Sendable {
    /// Refusals of one machine that may be pending; while there are as many, its tokens are not looked at.
    static let mostPending = 256
    /// Machines whose pending refusals are counted; those beyond share one count.
    static let mostHosts = 4096

    private var throttle = RefusalThrottle()
    /// When the refusals are told that are held back now, by machine.
    private var pending: [String: [Instant]] = [:]
    /// What is past is swept out of a full table once a second, not for each that finds it full.
    private var nextSweep: Instant?

    /// - Returns: how long the peer is to wait for its status.
    mutating func refuse(_ host: String, now: Instant) -> Duration {
        let delay = throttle.refused(host, now: now)
        guard delay > .zero else { return delay }
        if pending.count >= Self.mostHosts, nextSweep.map({ $0 <= now }) ?? true {
            nextSweep = now.advanced(by: .seconds(1))
            pending = pending.compactMapValues { times in
                let left = times.filter { $0 > now }
                return left.isEmpty ? nil : left
            }
        }
        let key = pending[host] != nil || pending.count < Self.mostHosts ? host : ""
        let due = now.advanced(by: delay)
        pending[key, default: []].add(due, atMost: Self.mostPending, now: now)
        return delay
    }

    mutating func admit(_ host: String) { throttle.admitted(host) }

    /// Whether so many refusals of a machine are held back that nothing more of it is looked at.
    func isThrottled(_ host: String, now: Instant) -> Bool {
        let times = pending[host] ?? (pending.count >= Self.mostHosts ? pending[""] : nil) ?? []
        return times.count >= Self.mostPending && times.count { $0 > now } >= Self.mostPending
    }

    /// How many machines are remembered, for tests of the bound.
    var counts: (throttled: Int, pending: Int) { (throttle.count, pending.count) }
}

extension [Instant] {
    fileprivate mutating func add(_ due: Instant, atMost bound: Int, now: Instant) {
        if count >= bound { removeAll { $0 <= now } }
        if count < bound { append(due) }
    }
}
