import Forwarding
import HTTP
import HTTP1
import Reactor
import Time

/// A client's HTTP/1.1 connection: one exchange at a time; requests that come early wait in the socket, but for the bytes
/// that were read already.
final class HTTP1Downstream: HTTPDownstream {
    private enum Timer {
        // Not HTTP/2's: these may be on the socket still when it turns out to speak that.
        static let idle: UInt64 = 11
        static let head: UInt64 = 12
        static let age: UInt64 = 13
        static let lull: UInt64 = 14
    }

    private var receiver: HTTP1Receiver
    private var exchange: Exchange?
    private var shape = HTTP1Head()
    /// The request under way is whole; what follows is the next one, or a tunnel's.
    private var requestEnded = false
    /// Input that waits for the exchange under way, at most one read.
    private var held: [UInt8] = []
    private var isTaking = false
    private var responseStarted = false
    private var isChunked = false
    /// The response under way has no body, whatever comes.
    private var isBodiless = false
    private var isTunnel = false
    private var closesAfterwards = false
    private var isSuperseded = false
    private var waitsToContinue = false
    private var requests = 0
    private static let mostDiscarded = 256 << 10
    private var discarded = 0
    private var idleSince: Instant
    private var headTimer: TimerID?

    init(
        _ worker: Worker, _ id: ConnectionID, _ service: HTTPService, _ facts: ConnectionFacts,
        _ tracker: ConnectionTracker, isSecure: Bool
    ) {
        receiver = HTTP1Receiver(role: .server, limits: service.http1Limits, scheme: isSecure ? .https : .http)
        idleSince = worker.loop.now
        super.init(worker, id, service, facts, tracker)
        if let limit = service.idleTimeout { worker.loop.setTimer(after: limit, for: id, token: Timer.idle) }
        if let limit = service.connectionAge { worker.loop.setTimer(after: limit, for: id, token: Timer.age) }
    }

    override var protocolName: String { shape.isHTTP10 ? "HTTP/1.0" : "HTTP/1.1" }

    // MARK: Requests

    override func received(_ bytes: UnsafeRawBufferPointer) {
        if requests == 0, exchange == nil, !held.isEmpty || bytes[0] == UInt8(ascii: "P"), !facts.isTLS,
            receiver.isBetweenMessages, service.takesHTTP2
        {
            return takeFirst(bytes)
        }
        if !held.isEmpty { return held.append(contentsOf: bytes) }
        take(bytes)
    }

    /// A client that knows that HTTP/2 is spoken here begins with it, in as many parts as it likes. No method begins so.
    private func takeFirst(_ bytes: UnsafeRawBufferPointer) {
        held.append(contentsOf: bytes)
        let count = min(held.count, 3)
        let isPreface = held.prefix(count).elementsEqual(HTTPInspection.preface.prefix(count))
        if isPreface, count < 3 { return limitHead() }
        let all = held
        held = []
        guard isPreface else { return all.withUnsafeBytes { take($0) } }
        if let timer = headTimer { loop.cancelTimer(timer) }
        let next = HTTP2Downstream(worker, id, service, facts, tracker)
        successor = next
        next.begin(all)
    }

    private func limitHead() {
        guard headTimer == nil, let limit = service.headTimeout else { return }
        headTimer = loop.setTimer(after: limit, for: id, token: Timer.head)
    }

    private func take(_ bytes: UnsafeRawBufferPointer) {
        isTaking = true
        defer { isTaking = false }
        var rest = bytes
        while !rest.isEmpty, loop.isOpen(id), !closesAfterwards || exchange != nil {
            if requestEnded, exchange != nil, !isTunnel {
                // The next request, or a tunnel's first bytes: they wait for the answer to this one.
                held = Array(rest)
                loop.pauseReading(id)
                return
            }
            var count = 0
            worker.withHTTP1Events { events in
                count = receiver.receive(rest, events: &events)
                for place in events.indices { take(events.takeOut(at: place)) }
            }
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            if count == 0 { break }
        }
        if receiver.isInHead { limitHead() }
    }

    private func take(_ event: consuming HTTP1Event) {
        switch event {
        case .head(let head, let shape):
            if let timer = headTimer {
                loop.cancelTimer(timer)
                headTimer = nil
            }
            begin(head, shape)
        case .informational: break
        case .data(let bytes):
            guard let exchange else { return discard(bytes.count) }
            exchange.requestData(bytes)
        case .end(let trailers):
            requestEnded = true
            waitsToContinue = false
            guard let exchange else { return finishRequest() }
            // What follows the head of an upgrade or CONNECT is known with the answer.
            if isTunnel || (shape.upgrade == nil && !shape.isConnect) { exchange.requestEnd(trailers) }
        case .failed(let failure): refuse(failure)
        }
    }

    /// The rest of a body whose answer is out. A little of it is cheaper to read than a new connection.
    private func discard(_ count: Int) {
        discarded += count
        guard discarded > Self.mostDiscarded, !closesAfterwards else { return }
        closesAfterwards = true
        loop.closeAfterFlush(id, within: service.closingTimeout)
    }

    private func begin(_ head: consuming HeaderList, _ shape: HTTP1Head) {
        self.shape = shape
        requests += 1
        requestEnded = false
        responseStarted = false
        isTunnel = false
        discarded = 0
        if !shape.keepsAlive || isDraining { closesAfterwards = true }
        if let most = service.requestsPerConnection, requests >= most { closesAfterwards = true }
        let exchange = Exchange(self, stream: 0, head, shape)
        self.exchange = exchange
        waitsToContinue = shape.expectsContinue
        exchange.start()
        if waitsToContinue, self.exchange === exchange, !responseStarted {
            waitsToContinue = false
            worker.withScratch { bytes in
                HTTP1Writer.appendContinue(to: &bytes)
                loop.write(bytes, to: id)
            }
        }
    }

    /// A malformed request is answered, and the connection given up.
    private func refuse(_ failure: HTTP1Failure) {
        closesAfterwards = true
        if let exchange {
            if failure.problem == .closedEarly {
                exchange.requestAborted(.downstreamTermination, details: "downstream_remote_disconnect")
            } else {
                exchange.requestAborted(.downstreamProtocolError, details: "http1.codec_error")
            }
            return
        }
        guard failure.problem != .closedEarly else { return loop.close(id) }
        service.refused(failure, facts, protocolName)
        worker.withScratch { bytes in
            let head = HeaderList([
                (":status", "\(failure.status)"), ("content-type", "text/plain"), ("date", worker.date),
                ("server", service.serverName),
            ])
            let body = Array(failure.reasonPhrase.utf8)
            do throws(HTTP1WriteError) {
                try HTTP1Writer.appendResponse(
                    head, framing: .length(UInt64(body.count)), persistence: .close, to: &bytes)
                bytes += body
                loop.write(bytes, to: id)
            } catch {
                // Nothing in it can be wrong.
            }
        }
        loop.closeAfterFlush(id, within: service.closingTimeout)
    }

    override func peerEnded() {
        worker.withHTTP1Events { events in
            receiver.endOfInput(events: &events)
            for place in events.indices {
                if case .failed = events[place], exchange == nil { continue }
                take(events.takeOut(at: place))
            }
        }
        // The rest of an answer may still be on its way to who has ended his side.
        guard let exchange else { return loop.closeAfterFlush(id, within: service.closingTimeout) }
        // The end of a tunnel's input was told to it; a client that ends anything else has gone.
        if isTunnel { return }
        closesAfterwards = true
        exchange.requestAborted(.downstreamTermination, details: "downstream_remote_disconnect")
    }

    // MARK: Responses

    override func sendInformational(_ head: HeaderList, for exchange: Exchange) {
        guard self.exchange === exchange, !responseStarted, !shape.isHTTP10 else { return }
        worker.withScratch { bytes in
            do throws(HTTP1WriteError) {
                try HTTP1Writer.appendInformational(head, to: &bytes)
                loop.write(bytes, to: id)
            } catch {
                // It tells nothing that the response needs.
            }
        }
    }

    override func sendHead(_ head: HeaderList, _ framing: HTTP1Framing, for exchange: Exchange) {
        guard self.exchange === exchange else { return }
        responseStarted = true
        var framing = framing
        var persistence = HTTP1Persistence.implied
        if framing == .untilClose, exchange.isTunnel {
            if let upgrade = shape.upgrade { persistence = .upgrade(upgrade) }
            closesAfterwards = true
            isBodiless = false
        } else {
            // Where HTTP/1 knows of no body there is none, however its end was told; everywhere else its length is said,
            // or the client would read on. Source: RFC 9112, section 6.3.
            isBodiless = shape.method == .head || Self.isBodiless(head)
            if isBodiless { framing = .none } else if framing == .none { framing = .length(0) }
            if shape.isHTTP10 {
                if framing == .chunked || framing == .untilClose {
                    framing = .untilClose
                    closesAfterwards = true
                } else if !closesAfterwards {
                    persistence = .keepAlive
                }
            } else if framing == .untilClose {
                framing = .chunked
            }
            // What the client has said into a tunnel that stays shut would be another request.
            if exchange.asksForTunnel { closesAfterwards = true }
            // The rest of a request that nobody wants to read cannot be told from the next one.
            if !requestEnded, waitsToContinue { closesAfterwards = true }
            if isDraining || worker.isEnding { closesAfterwards = true }
            if closesAfterwards { persistence = .close }
        }
        isChunked = framing == .chunked
        worker.withScratch { bytes in
            do throws(HTTP1WriteError) {
                try HTTP1Writer.appendResponse(head, framing: framing, persistence: persistence, to: &bytes)
            } catch {
                bytes.removeAll(keepingCapacity: true)
                closesAfterwards = true
                bytes += Array("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".utf8)
            }
            loop.write(bytes, to: id)
        }
        if framing == .untilClose, exchange.isTunnel { openTunnel() }
    }

    private static func isBodiless(_ head: HeaderList) -> Bool {
        head.value(of: ":status", equals: "204") || head.value(of: ":status", equals: "304")
    }

    private func openTunnel() {
        isTunnel = true
        guard requestEnded else { return }
        requestEnded = false
        receiver.becomeOpaque()
        takeHeld()
    }

    override func sendData(_ bytes: UnsafeRawBufferPointer, for exchange: Exchange) {
        guard self.exchange === exchange, !bytes.isEmpty, !isBodiless else { return }
        writeBody(bytes, isChunked: isChunked)
    }

    override func sendEnd(_ trailers: HeaderList?, for exchange: Exchange) {
        guard self.exchange === exchange, isChunked else { return }
        worker.withScratch { scratch in
            HTTP1Writer.appendLastChunk(trailers: service.passesTrailers ? trailers : nil, to: &scratch)
            loop.write(scratch, to: id)
        }
    }

    override func abort(_ exchange: Exchange) {
        guard self.exchange === exchange else { return }
        closesAfterwards = true
        loop.flush(id)
        loop.close(id)
    }

    override func ended(_ exchange: Exchange) {
        guard self.exchange === exchange else { return }
        self.exchange = nil
        idleSince = loop.now
        if closesAfterwards || isSuperseded || isTunnel {
            closesAfterwards = true
            return loop.closeAfterFlush(id, within: service.closingTimeout)
        }
        // The answer that began before has not told the client.
        if isDraining { endAfterLull() }
        if requestEnded { finishRequest() } else { loop.resumeReading(id) }
    }

    private func finishRequest() {
        receiver.startNext()
        requestEnded = false
        takeHeld()
    }

    /// What waited is taken, here or by the loop that is taking already.
    private func takeHeld() {
        loop.resumeReading(id)
        guard !held.isEmpty else { return }
        if isTaking {
            worker.later { [weak self] in self?.takeHeld() }
            return
        }
        let bytes = held
        held = []
        bytes.withUnsafeBytes { take($0) }
    }

    override func isWritable(for exchange: Exchange) -> Bool { loop.isWritable(id) }
    override func pauseRequest(of exchange: Exchange) { loop.pauseReading(id) }
    override func resumeRequest(of exchange: Exchange) { if held.isEmpty { loop.resumeReading(id) } }

    // MARK: The socket

    override func writable() { exchange?.downstreamWritable() }

    override func timerFired(_ token: UInt64) {
        switch token {
        case Timer.head:
            headTimer = nil
            if receiver.isInHead || requests == 0 && !held.isEmpty { refuse(HTTP1Failure(.timeout, .server)) }
        case Timer.age: drain(.ending)
        case Timer.lull: endAfterLull()
        default:
            guard let limit = service.idleTimeout else { return }
            let due = idleSince.advanced(by: limit)
            if exchange == nil, due <= loop.now { return loop.closeAfterFlush(id, within: service.closingTimeout) }
            loop.setTimer(at: exchange == nil ? due : loop.now.advanced(by: limit), for: id, token: Timer.idle)
        }
    }

    override func closed(_ reason: CloseReason) {
        if let exchange {
            self.exchange = nil
            exchange.requestAborted(.downstreamTermination, details: "downstream_remote_disconnect")
        }
        service.connectionEnded(self)
        tracker.ended(id)
    }

    /// A request that is on its way when an idle connection is closed fails, or is sent twice; the first one of a
    /// connection fails for certain.
    override func drain(_ reason: DrainReason) {
        isDraining = true
        isSuperseded = reason == .superseded && requests > 0
        guard exchange == nil, receiver.isBetweenMessages else { return }
        if isSuperseded { loop.closeAfterFlush(id, within: service.closingTimeout) } else { endAfterLull() }
    }

    /// The next answer tells the client that the connection ends. It ends without one if none is asked for.
    private func endAfterLull() {
        guard exchange == nil, !receiver.isInHead else { return }
        let due = idleSince.advanced(by: Self.lull)
        if due <= loop.now { return loop.closeAfterFlush(id, within: service.closingTimeout) }
        loop.setTimer(at: due, for: id, token: Timer.lull)
    }

    /// Since the connection began, or the last answer.
    private static let lull = Duration.seconds(1)
}

extension HTTP1Failure {
    /// The body of the answer. Source: Envoy sends the reason of the status alone.
    var reasonPhrase: String {
        switch status {
        case 400: "Bad Request"
        case 408: "Request Timeout"
        case 413: "Payload Too Large"
        case 414: "URI Too Long"
        case 417: "Expectation Failed"
        case 426: "Upgrade Required"
        case 431: "Request Header Fields Too Large"
        case 501: "Not Implemented"
        case 505: "HTTP Version Not Supported"
        default: "Bad Request"
        }
    }
}
