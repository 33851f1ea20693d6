import Forwarding
import Reactor
import Time

/// What an exchange waits for, each at most once at a time.
enum ExchangeTimer: UInt64 {
    /// The response is to be whole.
    case whole
    case perTry
    case tryIdleness
    case pauseBeforeTry
    case idleness
    /// Both messages are to be over.
    case duration
    /// The request is to be whole.
    case request
    /// A fault that was injected.
    case fault
}

/// The timers of an exchange that are set, and how long its silences may be.
struct ExchangeTimers {
    private var timers = InlineArray<8, TimerID?>(repeating: nil)
    fileprivate var idleness = Duration.zero
    fileprivate var tryIdleness = Duration.zero

    fileprivate subscript(_ timer: ExchangeTimer) -> TimerID? {
        get { timers[Int(timer.rawValue)] }
        set { timers[Int(timer.rawValue)] = newValue }
    }

    fileprivate mutating func takeAll(_ body: (TimerID) -> Void) {
        for place in timers.indices {
            if let timer = timers[place].take() { body(timer) }
        }
    }
}

// Time that passes.
extension Exchange: TimerTarget {
    func set(_ timer: ExchangeTimer, after delay: Duration) {
        cancel(timer)
        timers[timer] = worker.loop.setTimer(after: delay, for: self, token: timer.rawValue)
    }

    func cancel(_ timer: ExchangeTimer) {
        guard let set = timers[timer] else { return }
        worker.loop.cancelTimer(set)
        timers[timer] = nil
    }

    func cancelTimers() {
        timers.takeAll { worker.loop.cancelTimer($0) }
    }

    func timerFired(_ token: UInt64) {
        guard stage != .ended, let timer = ExchangeTimer(rawValue: token) else { return }
        timers[timer] = nil
        switch timer {
        case .whole: wholeTimedOut()
        case .perTry: tryTimedOut()
        case .pauseBeforeTry: beginTry()
        case .tryIdleness:
            if stillBusy(timer, timers.tryIdleness) { return }
            tryTimedOut(flag: .streamIdleTimeout, "upstream_per_try_idle_timeout")
        case .idleness:
            if stillBusy(timer, timers.idleness) { return }
            timedOut(.streamIdleTimeout, lateStatus, "stream_idle_timeout", "stream timeout", by: .manager)
        case .duration:
            timedOut(.durationTimeout, lateStatus, "max_duration_timeout", "downstream duration timeout", by: .manager)
        case .request: timedOut([], 408, "request_overall_timeout", "request timeout", by: .manager)
        case .fault: faultIsOver()
        }
    }

    /// Waits for what is left of a silence that something has broken.
    private func stillBusy(_ timer: ExchangeTimer, _ limit: Duration) -> Bool {
        let silent = lastActivity.duration(to: now)
        if silent < limit { set(timer, after: limit - silent) }
        return silent < limit
    }

    /// The client's fault while its request is not whole, the upstream's afterwards.
    /// Source: Envoy, `Utility::maybeRequestTimeoutCode`.
    private var lateStatus: Int { requestEnded ? 504 : 408 }

    func startWholeTimer() {
        guard timers[.whole] == nil, let limit = limits?.whole, requestEnded, stage != .filtering else { return }
        set(.whole, after: limit)
    }

    func startTryTimer() {
        guard timers[.perTry] == nil, let limit = limits?.perTry, requestEnded, requestIsSent else { return }
        set(.perTry, after: limit)
    }

    func startDurationTimer(_ limit: Duration) {
        cancel(.duration)
        if limit > .zero { set(.duration, after: limit) }
    }

    func cancelTryTimer() {
        cancel(.perTry)
        cancel(.tryIdleness)
    }

    /// From here on the upstream, and who sends to it, may not be silent for so long.
    func watchTryIdleness(_ limit: Duration) {
        lastActivity = now
        timers.tryIdleness = limit
        set(.tryIdleness, after: limit)
    }

    func watchIdleness(_ limit: Duration) {
        cancel(.idleness)
        timers.idleness = limit
        if limit > .zero { set(.idleness, after: limit) }
    }
}
