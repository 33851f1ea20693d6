import Forwarding
import HTTP
import HTTP1
import Reactor
import TLS
import Time

/// A downstream connection that speaks HTTP: where exchanges get their requests from and answer on.
class HTTPDownstream: SocketUser {
    /// What is done with the requests that come from now on.
    private(set) final var service: HTTPService
    final let facts: ConnectionFacts
    final let tracker: ConnectionTracker
    final let opened: Instant
    /// No more requests are taken than those that have begun.
    final var isDraining = false

    init(
        _ worker: Worker, _ id: ConnectionID, _ service: HTTPService, _ facts: ConnectionFacts,
        _ tracker: ConnectionTracker
    ) {
        (self.service, self.facts, self.tracker) = (service, facts, tracker)
        opened = worker.loop.now
        super.init(worker, id)
    }

    /// With the limit, so that no other one comes to be at its address.
    private final var buckets: [ObjectIdentifier: (of: LocalRateLimit, bucket: TokenBucket?)] = [:]

    /// The connection's own bucket of a rate limit.
    final func bucket(of limit: LocalRateLimit) -> TokenBucket? {
        if let bucket = buckets[ObjectIdentifier(limit)] { return bucket.bucket }
        let made = limit.makeBucket()
        buckets[ObjectIdentifier(limit)] = (limit, made)
        return made
    }

    /// The requests that come from now on are another service's: the rules that are in force are for them too.
    /// - Returns: false if the connection began on terms that this one does not offer.
    final func move(to next: HTTPService) -> Bool {
        guard !isDraining, service.offersSameTerms(as: next) else { return false }
        service.connectionEnded(self)
        service = next
        service.connectionMoved(self)
        buckets = [:]
        return true
    }

    /// As access logs have it.
    var protocolName: String { preconditionFailure() }

    /// An informational response; before the head alone.
    func sendInformational(_ head: HeaderList, for exchange: Exchange) { preconditionFailure() }
    /// The head of the response.
    /// - Parameter framing: `.none` ends the response; `.untilClose` opens a tunnel if the request asked for one.
    func sendHead(_ head: HeaderList, _ framing: HTTP1Framing, for exchange: Exchange) { preconditionFailure() }
    func sendData(_ bytes: UnsafeRawBufferPointer, for exchange: Exchange) { preconditionFailure() }
    func sendEnd(_ trailers: HeaderList?, for exchange: Exchange) { preconditionFailure() }
    /// The response cannot be finished: the client is not to take it for whole.
    func abort(_ exchange: Exchange) { preconditionFailure() }
    /// The exchange has ended, on this side too.
    func ended(_ exchange: Exchange) { preconditionFailure() }
    /// Whether more of the response may be sent now; if not, `downstreamWritable` comes.
    func isWritable(for exchange: Exchange) -> Bool { preconditionFailure() }
    func pauseRequest(of exchange: Exchange) { preconditionFailure() }
    func resumeRequest(of exchange: Exchange) { preconditionFailure() }
}
