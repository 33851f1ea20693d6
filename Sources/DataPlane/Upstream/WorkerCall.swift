import Forwarding
import HTTP
import HTTP1
import Reactor
import Time

/// A request of the proxy's own to a cluster: a question to an authorization service, keys of a token's issuer, a copy
/// for a mirror. The response is collected, up to a bound.
final class WorkerCall: WorkerRequest {
    enum Outcome {
        case response(HeaderList, body: [UInt8], trailers: HeaderList?)
        case failed(UpstreamFailure)
        case timedOut
        /// Nobody can answer: no cluster, no host.
        case noHost
        /// The response is longer than the bound.
        case tooLong
    }

    private let body: [UInt8]
    private let bodyLimit: Int
    private var completion: ((Outcome) -> Void)?
    private var timer: TimerID?
    private var responseHead = HeaderList()
    private var received: [UInt8] = []

    /// Sends a request.
    /// - Parameters:
    ///   - head: with pseudo-header fields.
    ///   - limit: until the response is whole.
    ///   - bodyLimit: of the response, in bytes; 0: nobody reads it.
    ///   - completion: called once, never from within this call.
    /// - Returns: for `cancel`; nil if there is no such cluster: `completion` hears of that too.
    @discardableResult
    static func send(
        _ head: HeaderList, body: [UInt8], to cluster: WorkerCluster?, within limit: Duration,
        bodyLimit: Int, worker: Worker, completion: @escaping (Outcome) -> Void
    ) -> WorkerCall? {
        guard let cluster else {
            worker.later { completion(.noHost) }
            return nil
        }
        let call = WorkerCall(worker, cluster, head, body, bodyLimit, completion)
        call.timer = worker.loop.schedule(after: limit) { _ in
            if let host = call.host { call.cluster.timedOut(host) }
            call.end(.timedOut)
        }
        worker.later { if call.completion != nil { call.begin() } }
        return call
    }

    private init(
        _ worker: Worker, _ cluster: WorkerCluster, _ head: HeaderList, _ body: [UInt8], _ bodyLimit: Int,
        _ completion: @escaping (Outcome) -> Void
    ) {
        (self.body, self.bodyLimit, self.completion) = (body, bodyLimit, completion)
        super.init(worker, cluster, head)
    }

    func cancel() {
        completion = nil
        end(.timedOut)
    }

    override func upstreamReady() {
        guard let upstream else { return }
        let framing: HTTP1Framing = body.isEmpty ? .none : .length(UInt64(body.count))
        guard case .sent = upstream.send(head, framing, ends: body.isEmpty, upgrade: nil, for: self) else {
            upstream.giveBack(self)
            return end(.failed(.protocolError("the request cannot be said to this upstream")))
        }
        guard !body.isEmpty else { return }
        body.withUnsafeBytes { upstream.sendData($0, for: self) }
        upstream.sendEnd(nil, for: self)
    }

    override func upstreamHead(_ head: consuming HeaderList, _ shape: HTTP1Head) {
        responseHead = head
        super.upstreamHead(head, shape)
    }

    override func upstreamData(_ bytes: UnsafeRawBufferPointer) {
        guard bodyLimit > 0 else { return }
        guard received.count + bytes.count <= bodyLimit else { return end(.tooLong) }
        received += bytes
    }

    override func upstreamEnd(_ trailers: HeaderList?) {
        end(.response(responseHead, body: received, trailers: trailers))
    }

    override func couldNot(_ failure: UpstreamFailure?) { end(failure.map { .failed($0) } ?? .noHost) }

    private func end(_ outcome: Outcome) {
        if let timer { worker.loop.cancelTimer(timer) }
        timer = nil
        letGo()
        guard let completion else { return }
        self.completion = nil
        completion(outcome)
    }
}
