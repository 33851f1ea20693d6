import Discovery
import EnvoyAPI
import Forwarding
import GRPC
import Logging
import Protobuf
import Time
import XDS

/// Tells the control plane how much goes where, as often as it wants to hear, over a stream that is opened again when it
/// ends. On the control loop's thread. Source: Envoy, load reporting service (LRS).
final class LoadReporter {
    /// Asks for the load since the last time; answers on the control loop's thread.
    typealias Gathering = (_ answer: @escaping ([ClusterLoad]) -> Void) -> Void

    private static let path = LoadReportingService.streamLoadStats
    private static let longestWait = Duration.seconds(60)

    private unowned let runner: DiscoveryClientRunner
    private let node: [UInt8]
    private let gather: Gathering
    private let logger: Logger
    private var call: StreamingClientCall?
    private var orders: LoadOrders?
    private var reported: Instant
    private var failures = 0
    /// Of the timer that counts: those before are out of date.
    private var turn = 0
    private var hasEnded = false
    private(set) var reports = 0

    init(_ runner: DiscoveryClientRunner, node: XDS.Node, logger: Logger, gather: @escaping Gathering) {
        var node = node
        node.clientFeatures.append("envoy.lrs.supports_send_all_clusters")
        let arena = Arena()
        self.node = withExtendedLifetime(arena) { encode(arena.node(node)) }
        (self.runner, self.logger, self.gather) = (runner, logger, gather)
        reported = runner.now
    }

    /// Opens the stream, now and whenever it ends.
    func begin() {
        guard !hasEnded else { return }
        call = runner.stream(Self.path) { [weak self] in
            self?.take($0)
        } ended: { [weak self] in
            self?.ended($0)
        }
        call?.send(LoadReport.opening(node: node))
    }

    /// Reports what there is, and no more after it.
    func end() {
        report { [weak self] in
            self?.hasEnded = true
            self?.call?.halfClose()
        }
    }

    private func take(_ message: [UInt8]) {
        do throws(ConfigurationError) {
            orders = try LoadOrders(message)
            failures = 0
            wait()
        } catch {
            logger.warning("the orders for load reports are not understood", metadata: ["reason": "\(error)"])
        }
    }

    private func wait() {
        guard let orders, !hasEnded else { return }
        after(orders.interval) { $0.report { [weak self] in self?.wait() } }
    }

    private func after(_ delay: Duration, _ work: @escaping (LoadReporter) -> Void) {
        turn += 1
        runner.schedule(after: delay) { [weak self, turn] in
            guard let self, self.turn == turn else { return }
            work(self)
        }
    }

    /// Sends what went out since the last report; nothing while nobody wants to hear, so that nothing is lost.
    func report(then done: @escaping () -> Void = {}) {
        guard call != nil, orders != nil, !hasEnded else { return done() }
        gather { [weak self] loads in
            guard let self, let call, let orders else { return done() }
            let now = runner.now
            call.send(LoadReport.message(loads, orders, elapsed: reported.duration(to: now)))
            reported = now
            reports += 1
            done()
        }
    }

    private func ended(_ status: GRPCStatus) {
        (call, orders) = (nil, nil)
        guard !hasEnded else { return }
        failures += 1
        let wait =
            status.code == .unimplemented ? Self.longestWait : min(Self.longestWait, .seconds(1 << min(failures, 6)))
        if failures == 1 {
            logger.info("the stream for load reports has ended", metadata: ["reason": "\(status)"])
        }
        after(wait) { $0.begin() }
    }
}

/// Who waits for the workers' loads, by number. Unchecked: the boxes are opened on the thread of the proxy's loop alone.
final class LoadAnswers: @unchecked Sendable {
    private var waiting: [Int: ([ClusterLoad]) -> Void] = [:]
    private var last = 0

    func add(_ answer: @escaping ([ClusterLoad]) -> Void) -> Int {
        last += 1
        waiting[last] = answer
        return last
    }

    func take(_ number: Int) -> (([ClusterLoad]) -> Void)? { waiting.removeValue(forKey: number) }
}
