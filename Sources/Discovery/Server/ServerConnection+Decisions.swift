import GRPC
import HTTP2
import Logging
import Reactor
import Time
import XDS

// What the protocol decides, done on the connection.

extension ServerConnection {
    /// - Parameter request: which has led to the actions; nil: none has.
    func perform(
        _ actions: [StreamAction], of call: DiscoveryCall, _ loop: Loop, upon request: DecodedRequest? = nil
    ) {
        for action in actions {
            switch action {
            case .send(let response): send(response, on: call, loop)
            case .opened(let node):
                call.node = node
                if let admission = home.configuration.admission {
                    ask(admission, about: call, request, loop)
                } else {
                    join(call, loop)
                }
            case .acknowledged(let type, _, _):
                if let latency = call.noteAnswered(type, at: loop.now) {
                    home.metrics.acknowledgeLatency.recordNanoseconds(latency.nanoseconds)
                }
                tellAnswer(of: call, type, isAccepted: true)
            case .rejected(let type, let version, _, let detail):
                _ = call.noteAnswered(type, at: loop.now)
                home.metrics[type].nacks.increment()
                log(
                    .error, "rejected", call,
                    ["type": "\(type)", "version": "\(version)", "detail": "\(detail.message)"])
                tellAnswer(of: call, type)
            case .ignoredStale(let type, let nonce, let detail):
                // A client's error is for the operator, whichever response it was for.
                log(
                    detail == nil ? .debug : .warning, detail == nil ? "stale answer" : "rejected something else", call,
                    [
                        "type": "\(type)", "nonce": "\(nonce.prefix(Self.longestWords))",
                        "detail": "\(detail?.message.prefix(Self.longestWords) ?? "")",
                    ])
            case .removalForced(let type, let count, let waited):
                home.metrics[type].forced.increment()
                log(
                    .warning, "removed before everything that may refer to it was acknowledged", call,
                    ["type": "\(type)", "count": "\(count)", "waited": "\(waited)"])
            case .additionForced(let type, let waited):
                home.metrics[type].forced.increment()
                log(
                    .warning, "sent before the clusters that it may refer to", call,
                    ["type": "\(type)", "waited": "\(waited)"])
            case .fail(let error):
                fail(call, GRPCStatus(error), loop)
            }
        }
        if call.owesHoldings { tellHoldings(of: call) }
    }

    /// A client that comes back with what is current still is sent nothing, and acknowledges nothing: what it holds is
    /// told all the same, or whoever waits for its ACK waits for ever.
    private func tellHoldings(of call: DiscoveryCall) {
        guard call.isKnownToAdmission, let holdings = call.holdings(of: .secret) else { return }
        let entries = holdings.entries(limit: Self.mostEntries)
        // Those that are not there yet are to come, and an ACK with them.
        guard entries.contains(where: { $0.state != .missing }) else { return }
        call.owesHoldings = false
        guard entries.allSatisfy({ $0.state != .pending }) else { return }
        home.configuration.admission?.answered(call.token, node: call.node, holdings: holdings)
    }

    private static let mostEntries = 64

    /// Admission follows secrets, which rotations wait for, and whether a proxy serves already.
    private func tellAnswer(of call: DiscoveryCall, _ type: ResourceType, isAccepted: Bool = false) {
        home.configuration.answers?.note()
        guard call.isKnownToAdmission else { return }
        if type == .listener, isAccepted, !call.isListening {
            call.isListening = true
            home.configuration.admission?.listening(call.token)
        }
        guard type == .secret, let holdings = call.holdings(of: type) else { return }
        home.configuration.admission?.answered(call.token, node: call.node, holdings: holdings)
    }

    func join(_ call: DiscoveryCall, _ loop: Loop) {
        let node = call.node
        let view = home.cache.view(of: node)
        home.join(call, view)
        log(.info, "proxy connected", call, ["view": "\(view)", "agent": "\(node.userAgent)"])
        guard let snapshot = home.cache.snapshot(of: view) else { return }
        perform(call.publish(snapshot, now: loop.now), of: call, loop)
    }

    private func send(_ response: PreparedResponse, on call: DiscoveryCall, _ loop: Loop) {
        call.waiting.append(response)
        call.noteSent(response.type, at: loop.now)
        sendWaiting(call)
    }

    /// Queues what the protocol has decided to send. At most one response per type waits, so this is bounded.
    func sendWaiting(_ call: DiscoveryCall) {
        while let response = call.waiting.first {
            let bytes = response.encoded(by: frame)
            switch grpc.send(bytes, on: call.id) {
            case .queued:
                call.waiting.removeFirst()
                home.metrics.sent(response, bytes: bytes.count)
            case .full: return
            case .closed:
                call.waiting = []
                return
            }
        }
    }

    /// Characters of a client's words that are logged where nothing has cut them yet.
    private static let longestWords = 1000

    func log(_ level: Logger.Level, _ text: String, _ call: DiscoveryCall, _ metadata: Logger.Metadata) {
        home.logger.log(
            level: level, "\(text)",
            metadata: metadata.merging(["peer": "\(origin.peer)", "node": "\(call.node.id)"]) { first, _ in first })
    }
}

extension GRPCStatus {
    fileprivate init(_ error: StreamError) {
        switch error.code {
        case .invalidArgument: self.init(.invalidArgument, error.message)
        case .resourceExhausted: self.init(.resourceExhausted, error.message)
        }
    }
}
