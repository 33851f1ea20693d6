import Forwarding
import HTTP
import HTTP1
import Reactor
import Time

/// A try that took too long and goes on beside the next one. Source: Envoy, `hedge_on_per_try_timeout`.
final class HedgedTry: UpstreamUser {
    private let exchange: Exchange
    let host: UpstreamHost
    let sent: Instant?
    let trace: TryTrace?

    init(_ exchange: Exchange, _ host: UpstreamHost) {
        (self.exchange, self.host, sent, trace) = (exchange, host, exchange.record.sent, exchange.trace.ofTry)
    }

    override var breakerPriority: RequestPriority { exchange.priority }
    override func upstreamHead(_ head: consuming HeaderList, _ shape: HTTP1Head) {
        exchange.answered(self, head, shape)
    }
    override func upstreamFailed(_ failure: UpstreamFailure) { exchange.failed(self, failure) }
    // Its head decides: it has been given up, or the exchange itself gets the rest.
    override func upstreamData(_ bytes: UnsafeRawBufferPointer) {}
    override func upstreamEnd(_ trailers: HeaderList?) {}
}

// Several tries at a time: the first good answer is the client's.
extension Exchange {
    /// The try under way goes on, and the next begins beside it, if there is one left. On which answers tries are
    /// repeated does not matter. Source: Envoy, `Filter::onSoftPerTryTimeout`.
    func hedge() {
        guard let cluster, let host, let upstream else { return }
        cluster.report(.timedOut, host)
        cancelTryTimer()
        // At most one place among the retries for a request.
        if holdsRetry { cluster.state.release(.retries, priority) }
        holdsRetry = false
        guard takeRetry() else { return }
        let slow = HedgedTry(self, host)
        upstream.handOver(self, to: slow)
        hedges.append(slow)
        trace.ofTry = nil
        (holdsRequest, hostHasBegun) = (false, false)
        lastTryTimedOut = true
        pauseBeforeNextTry(after: nil)
    }

    /// The last try has come to nothing, but others are on their way.
    func waitForHedges() {
        giveUpTry()
        hasTry = false
        stage = .waiting
    }

    /// Ends the try under way, or the wait for the next one.
    func giveUpTry() {
        cancelTryTimer()
        cancel(.pauseBeforeTry)
        waitingIn?.forget(self)
        upstream?.cancel(self)
        upstream = nil
        requestIsSent = false
        releaseTry()
    }

    func giveUpHedges() {
        for hedge in hedges {
            endTrace(of: hedge)
            hedge.upstream?.cancel(hedge)
            release(hedge, isSuccess: false)
        }
        hedges = []
    }

    private func release(_ hedge: HedgedTry, isSuccess: Bool) {
        guard let cluster else { return }
        cluster.state.release(.requests, priority)
        cluster.state.end(hedge.host, isSuccess: isSuccess)
    }

    private func endTrace(of hedge: HedgedTry) {
        guard let ofTry = hedge.trace else { return }
        endTrace(of: ofTry, hedge.host, isCancelled: hedge.upstream != nil)
    }

    fileprivate func answered(_ hedge: HedgedTry, _ head: HeaderList, _ shape: HTTP1Head) {
        guard let cluster, let place = hedges.firstIndex(where: { $0 === hedge }) else { return }
        hedges.remove(at: place)
        let isGood = shape.status < 500
        hedge.trace?.note(status: shape.status, now: now)
        cluster.responded(hedge.host, shape.status, head)
        let isLast = hedges.isEmpty && !hasTry
        if !isLast, retry?.wants(retryOn: head) == true {
            // Another try may bring a better one.
            endTrace(of: hedge)
            hedge.upstream?.cancel(hedge)
            return release(hedge, isSuccess: isGood)
        }
        giveUpTry()
        giveUpHedges()
        hedge.upstream?.handOver(hedge, to: self)
        guard let upstream else { return release(hedge, isSuccess: isGood) }
        host = hedge.host
        trace.ofTry = hedge.trace
        (holdsRequest, hostHasBegun, wentWell, requestIsSent) = (true, true, isGood, true)
        record.sent = hedge.sent
        record.upstreamLocal = upstream.localAddress
        record.upstreamProtocolName = upstream.protocolName
        stage = .sending
        if follow(head, shape) { return }
        takeResponse(head, shape)
    }

    fileprivate func failed(_ hedge: HedgedTry, _ failure: UpstreamFailure) {
        guard let cluster, let place = hedges.firstIndex(where: { $0 === hedge }) else { return }
        hedges.remove(at: place)
        hedge.trace?.flags.insert(failure.flag)
        endTrace(of: hedge)
        release(hedge, isSuccess: false)
        cluster.failed(hedge.host, failure)
        if let text = failure.transportFailure { record.transportFailure = text }
        if hedges.isEmpty, !hasTry { answer(for: failure) }
    }
}
