import Forwarding
import HTTP
import HTTP1
import Reactor
import Time

/// One request and its response, on their way through this proxy: it takes from the downstream connection, asks the
/// filters, finds the route and a host, sends, tries again, and answers.
///
/// It hears both sides by calls, and gives both sides orders; neither calls it from within an order.
final class Exchange: UpstreamUser {
    enum Stage {
        /// Filters are at work, or wait.
        case filtering
        /// A host is chosen; its connection, or the next try, is awaited.
        case waiting
        /// The request is on its way.
        case sending
        /// The response is on its way.
        case responding
        case ended
    }

    /// It outlives its connections, and their exchanges.
    unowned(unsafe) let worker: Worker
    let service: HTTPService
    /// Nil once the exchange has ended.
    private(set) var downstream: HTTPDownstream?
    let stream: Int32
    var shape: HTTP1Head
    var stage = Stage.filtering

    // The request.
    var head: HeaderList
    let protocolName: String
    let connection: ConnectionFacts
    /// Who called, as far as `x-forwarded-for` is believed.
    var remote: NetworkAddress
    var metadata = FilterMetadata()
    var requestEnded = false
    var requestTrailers: HeaderList?
    /// The body: all of it while it may have to be sent again, else what waits for a connection.
    var held: [UInt8] = []
    var keepsBody = false
    /// Times that the request was sent on a connection that turned out to be gone.
    var staleTries = 0
    var requestIsPaused = false

    // Where it goes.
    var filters = FilterProgress()
    var routing: Routing = .none
    var route: Route?
    var forward: Forward?
    var cluster: WorkerCluster?
    var host: UpstreamHost?
    var hash: UInt64?
    /// The same however often the request is routed.
    var routingNumber: UInt64 = 0
    var retry: RetryState?
    var retryHosts: RetryHosts?
    var limits: RequestTimeouts.Limits?
    /// The head that goes upstream, but for what is each try's own.
    var outgoing = HeaderList()
    /// The server that TLS asks for, where the cluster takes it from requests.
    var serverName: String?
    /// The session's host.
    var sticky: (address: NetworkAddress, isStrict: Bool)?
    /// Of clusters whose requests name their hosts.
    var namedHost: NetworkAddress?
    var tries = 0
    /// Tries that take too long go on beside the next one, and those that do.
    var hedgesOnTimeout = false
    var hedges: [HedgedTry] = []
    /// Besides them there is a try, or one will be.
    var hasTry = true
    /// That were followed here.
    var redirects = RedirectTrail()
    var lastTryTimedOut = false
    /// What the breakers count for this try.
    var holdsRequest = false
    var holdsRetry = false
    /// The host counts this try among its requests.
    var hostHasBegun = false
    var wentWell = false
    lazy var priority: RequestPriority = priorityOfRoute
    var requestIsSent = false

    /// CONNECT ends here: what follows goes to the host as it is.
    var endsTunnelHere = false

    // The response.
    var isTunnel = false
    var responseIsPaused = false
    var cookies: [[UInt8]] = []
    var mirrors = MirrorCopies()
    var record = ExchangeRecord()
    var trace = RequestTrace()

    var timers = ExchangeTimers()
    var lastActivity: Instant
    private var isCountedUpgrade = false

    init(_ downstream: HTTPDownstream, stream: Int32, _ head: consuming HeaderList, _ shape: HTTP1Head) {
        worker = downstream.worker
        service = downstream.service
        self.downstream = downstream
        self.stream = stream
        self.head = head
        self.shape = shape
        connection = downstream.facts
        remote = downstream.facts.source
        protocolName = downstream.protocolName
        record.start = .systemClock()
        record.began = downstream.worker.loop.now
        lastActivity = record.began
        super.init()
    }

    var now: Instant { worker.loop.now }
    override var breakerPriority: RequestPriority { priority }

    // MARK: What downstream tells

    /// - Parameter refusing: why the request is not to be worked on, as `%RESPONSE_CODE_DETAILS%` has it.
    func start(refusing problem: String? = nil) {
        service.began(self)
        if let problem { return reply(400, bytes: [], problem) }
        if let limit = service.streamDuration { set(.duration, after: limit) }
        if let limit = service.streamIdleTimeout { watchIdleness(limit) }
        if let limit = service.requestTimeout, shape.framing != .none {
            set(.request, after: limit)
        }
        guard prepare() else { return }
        route(again: false)
        // A tunnel that leads nowhere is answered as such.
        if asksForTunnel, route != nil || !shape.isConnect {
            guard service.allows(upgradeName, route) else { return reply(403, bytes: [], "upgrade_failed") }
            isCountedUpgrade = true
            service.counters.upgrades += 1
            service.counters.activeUpgrades += 1
        }
        if let tracing = service.settings.tracing { beginTrace(tracing) }
        runFilters()
    }

    func requestData(_ bytes: UnsafeRawBufferPointer) {
        record.bytesReceived += UInt64(bytes.count)
        lastActivity = now
        if filters.grpcWeb != nil { return requestTextData(bytes, isLast: false) }
        take(bytes)
    }

    /// A part of a gRPC-Web request becomes a part of gRPC.
    private func requestTextData(_ bytes: UnsafeRawBufferPointer, isLast: Bool) {
        guard let decoded = filters.grpcWeb?.requestBody(bytes, isLast: isLast) else {
            return reply(400, "Bad gRPC-web request, invalid base64 data.", "grpc_base_64_decode_failed")
        }
        if !decoded.isEmpty { decoded.withUnsafeBytes { take($0) } }
    }

    private func take(_ bytes: UnsafeRawBufferPointer) {
        copyToMirrors(bytes)
        switch stage {
        case .filtering, .waiting: hold(bytes)
        case .sending, .responding:
            if asksForTunnel, !isTunnel { return holdForTunnel(bytes) }
            if keepsBody { hold(bytes) }
            guard requestIsSent, let upstream else { return }
            upstream.sendData(bytes, for: self)
            if !upstream.isWritable(for: self) { pauseRequest() }
        case .ended: break
        }
    }

    private func hold(_ bytes: UnsafeRawBufferPointer) {
        if held.count + bytes.count > keptLimit, keepsBody, stage != .filtering {
            // Too long to be sent again. What no connection has taken yet is still owed.
            keepsBody = false
            retry = nil
            if requestIsSent {
                held = []
                return
            }
        }
        held.append(contentsOf: bytes)
        if stage == .filtering {
            filtersGotBody()
        } else if held.count >= service.bufferLimit, !requestIsSent {
            pauseRequest()
        }
    }

    /// The request is whole; in a tunnel, the client has no more to say.
    func requestEnd(_ trailers: HeaderList?) {
        guard stage != .ended, !requestEnded else { return }
        if filters.grpcWeb != nil {
            requestTextData(UnsafeRawBufferPointer(start: nil, count: 0), isLast: true)
            guard stage != .ended else { return }
        }
        requestEnded = true
        cancel(.request)
        if !mirrors.targets.isEmpty { sendMirrors() }
        requestTrailers = trailers
        record.requestEnded = now
        switch stage {
        case .filtering: filtersGotWholeRequest()
        case .waiting: startWholeTimer()
        case .sending, .responding:
            if requestIsSent, isTunnel || !asksForTunnel {
                upstream?.sendEnd(changed(requestTrailers: trailers), for: self)
            }
            startWholeTimer()
            startTryTimer()
        case .ended: break
        }
    }

    /// The client has gone, or what it sends is no HTTP.
    func requestAborted(_ flag: ResponseFlag, details: String) {
        guard stage != .ended else { return }
        record.flags.insert(flag)
        record.details = details
        if record.status == 0, flag == .downstreamProtocolError { record.status = 400 }
        if flag == .downstreamProtocolError { downstream?.abort(self) }
        finish()
    }

    /// The response may go on.
    func downstreamWritable() {
        guard responseIsPaused else { return }
        responseIsPaused = false
        upstream?.resumeResponse(for: self)
    }

    func pauseRequest() {
        guard !requestIsPaused else { return }
        requestIsPaused = true
        downstream?.pauseRequest(of: self)
    }

    func resumeRequest() {
        guard requestIsPaused else { return }
        requestIsPaused = false
        downstream?.resumeRequest(of: self)
    }

    // MARK: What upstream tells

    override func upstreamReady() { sendRequest() }

    override func upstreamInformational(_ head: HeaderList) {
        lastActivity = now
        guard stage == .sending, !head.value(of: ":status", equals: "100") || shape.expectsContinue else { return }
        downstream?.sendInformational(head, for: self)
    }

    override func upstreamHead(_ head: consuming HeaderList, _ shape: HTTP1Head) {
        lastActivity = now
        responseBegan(head, shape)
    }

    override func upstreamData(_ bytes: UnsafeRawBufferPointer) {
        guard stage == .responding, let downstream else { return }
        lastActivity = now
        if let web = filters.grpcWeb {
            let text = web.responseBody(Array(bytes))
            record.bytesSent += UInt64(text.count)
            text.withUnsafeBytes { downstream.sendData($0, for: self) }
        } else {
            record.bytesSent += UInt64(bytes.count)
            downstream.sendData(bytes, for: self)
        }
        if !responseIsPaused, !downstream.isWritable(for: self) {
            responseIsPaused = true
            upstream?.pauseResponse(for: self)
        }
    }

    override func upstreamEnd(_ trailers: HeaderList?) {
        guard stage == .responding else { return }
        record.responseEnded = now
        releaseTry()
        let trailers = changed(responseTrailers: trailers)
        noteTrailers(trailers)
        if let web = filters.grpcWeb, let trailers {
            web.responseEnd(trailers).withUnsafeBytes { downstream?.sendData($0, for: self) }
            downstream?.sendEnd(nil, for: self)
        } else {
            downstream?.sendEnd(trailers, for: self)
        }
        finish()
    }

    override func upstreamFailed(_ failure: UpstreamFailure) { tryFailed(failure) }

    override func upstreamWritable() {
        lastActivity = now
        if isTunnel || !asksForTunnel { resumeRequest() }
    }

    // MARK: The end

    /// Ends the exchange on both sides: what upstream still does for it is cancelled, and it is logged.
    func finish() {
        guard stage != .ended else { return }
        stage = .ended
        cancelTimers()
        releaseTry()
        giveUpHedges()
        releaseFilters()
        waitingIn?.forget(self)
        upstream?.cancel(self)
        record.ended = now
        if isCountedUpgrade { service.counters.activeUpgrades -= 1 }
        service.ended(self)
        let last = downstream
        downstream = nil
        last?.ended(self)
    }
}
