import Discovery
import GRPC
import Logging
import Metrics
import Reactor
import Synchronization
import Time

/// Refuses calls of the services for workloads: with a reason, a line in the log, a count, and, for those who cannot
/// prove who they are, later and later. Safe to use from any thread.
final class CallRefusals: Sendable {
    /// Refusals that are held back at the same time; those beyond are told at once.
    static let mostHeld = 1024
    /// Series of the metric.
    private static let mostReasons = 64

    private struct State {
        var delays = RefusalDelays()
        var logLimit = LogLimit()
        var held = 0
        var counters: [String: Counter] = [:]
    }

    private let mailbox: Mailbox<NoConnections>
    private let logger: Logger
    private let clock: @Sendable () -> Instant
    private let state = Mutex(State())
    private let factory = MetricsSystem.factory

    /// - Parameters:
    ///   - mailbox: of the loop that waits.
    ///   - clock: monotonic.
    init(
        _ mailbox: Mailbox<NoConnections>, logger: Logger,
        clock: @escaping @Sendable () -> Instant = { EventLoop<NoConnections>.readClock() }
    ) {
        self.mailbox = mailbox
        self.logger = logger
        self.clock = clock
    }

    /// Whether a call is refused unseen, since so many of its machine wait for their refusal.
    func isThrottled(_ call: ServiceCall) -> Bool {
        let now = clock()
        return state.withLock { $0.delays.isThrottled(call.origin.host, now: now) }
    }

    /// The caller has proved who it is, and asks for nothing that it must not have.
    func admit(_ call: ServiceCall) { state.withLock { $0.delays.admit(call.origin.host) } }

    /// - Parameters:
    ///   - what: is refused: for the log.
    ///   - identity: that was proved.
    func refuse(_ call: ServiceCall, _ refusal: StreamRefusal, what: String, identity: String? = nil) {
        let (host, now) = (call.origin.host, clock())
        // Whom a mistake in a request keeps out learns of it at once.
        let isSlowed = [.unauthenticated, .permissionDenied].contains(refusal.status.code)
        let (delay, withheld) = state.withLock { state in
            count(refusal.reason, in: &state)
            var delay = isSlowed ? state.delays.refuse(host, now: now) : .zero
            if delay > .zero {
                if state.held < Self.mostHeld { state.held += 1 } else { delay = .zero }
            }
            return (delay, state.logLimit.line(of: host, now: now))
        }
        if let withheld {
            var metadata: Logger.Metadata = [
                "peer": "\(call.origin.peer)", "identity": "\(identity ?? "not proved")",
                "reason": "\(refusal.reason)", "detail": "\(refusal.status.message)",
            ]
            if withheld > 0 { metadata["lines withheld"] = "\(withheld)" }
            logger.warning("\(what) refused", metadata: metadata)
        }
        guard delay > .zero else { return call.finish(refusal.status) }
        let isTaken = mailbox.submit { [self] loop in
            loop.schedule(after: delay) { [self] _ in
                state.withLock { $0.held -= 1 }
                call.finish(refusal.status)
            }
        }
        if !isTaken {
            state.withLock { $0.held -= 1 }
            call.finish(refusal.status)
        }
    }

    private func count(_ reason: String, in state: inout State) {
        let reason = state.counters[reason] != nil || state.counters.count < Self.mostReasons ? reason : "other"
        let counter =
            state.counters[reason]
            ?? Counter(
                label: "martinet_identity_calls_refused_total", dimensions: [("reason", reason)], factory: factory)
        state.counters[reason] = counter
        counter.increment()
    }
}
