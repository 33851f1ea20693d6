import Forwarding
import HTTP
import HTTP1
import Reactor
import Time

// Sending the request to a host, and again to another.
extension Exchange {
    /// Picks a host and asks for a connection to it.
    func beginTry() {
        guard let cluster, stage != .ended else { return }
        stage = .waiting
        if namedHost == nil, let names = cluster.namedHosts { return findNamedHost(names, cluster) }
        tries += 1
        requestIsSent = false
        wentWell = false
        guard cluster.state.tryAcquire(.requests, priority) else { return tryFailed(.overflow) }
        holdsRequest = true
        guard let host = cluster.pick(question) else {
            releaseTry()
            return reply(
                503, "no healthy upstream", flag: .noHealthyUpstream, "no_healthy_upstream")
        }
        self.host = host
        if service.spansTries, trace.context != nil { beginTryTrace() }
        retryHosts?.note(host)
        cluster.state.begin(host)
        hostHasBegun = true
        let pool = cluster.pool(
            host, isHTTP2: protocolName == "HTTP/2", isRaw: endsTunnelHere, priority, asked: serverName)
        switch pool.acquire(self) {
        case .ready: sendRequest()
        case .waits: break
        case .refused(let failure): tryFailed(failure)
        }
    }

    /// Looks up the host that the request itself names, and begins then.
    private func findNamedHost(_ names: NamedHosts, _ cluster: WorkerCluster) {
        let (name, port) = NamedHosts.parts(of: outgoing[":authority"] ?? "")
        names.find(name) { [self] ip in
            guard stage == .waiting else { return }
            guard let ip else {
                return reply(503, "DNS resolution failure", flag: .noHealthyUpstream, "dns_resolution_failure")
            }
            namedHost = .ip(ip, port: port ?? (cluster.security(at: 0).settings == nil ? 80 : 443))
            beginTry()
        }
    }

    private var question: PickQuestion {
        // The session's host has had its try. Source: Envoy, `Router::Filter::overrideHostToSelect`.
        let preferred = tries == 1 ? sticky : nil
        return PickQuestion(
            hash: hash, subset: forward?.target.subset,
            destination: namedHost ?? cluster?.destination(of: outgoing, on: connection),
            preferred: preferred?.address ?? cluster?.preferred(by: outgoing),
            insistsOnPreferred: preferred?.isStrict ?? false, retry: retryHosts)
    }

    /// Gives back what the try under way holds.
    /// - Parameter endsTrace: false: its response may yet be the answer.
    func releaseTry(endsTrace: Bool = true) {
        guard let cluster else { return }
        if endsTrace, trace.ofTry != nil { endTryTrace() }
        if holdsRequest { cluster.state.release(.requests, priority) }
        if holdsRetry { cluster.state.release(.retries, priority) }
        if hostHasBegun, let host { cluster.state.end(host, isSuccess: wentWell) }
        (holdsRequest, holdsRetry, hostHasBegun) = (false, false, false)
    }

    /// The connection is there: the request goes out, as far as it has come.
    func sendRequest() {
        guard let upstream else { return }
        stage = .sending
        requestIsSent = true
        record.sent = now
        record.upstreamLocal = upstream.localAddress
        record.upstreamProtocolName = upstream.protocolName
        let isTunnelWish = asksForTunnel
        // A request without a body is whole with its head, though its end is told later.
        let isWhole = requestEnded || shape.framing == .none || shape.framing == .length(0)
        let ends = isWhole && held.isEmpty && requestTrailers == nil && !isTunnelWish
        var framing = isTunnelWish ? .none : shape.framing
        if requestEnded, case .chunked = framing, requestTrailers == nil { framing = .length(UInt64(held.count)) }
        switch upstream.send(tryHead(), framing, ends: ends, upgrade: shape.upgrade, for: self) {
        case .sent: break
        case .waits:
            (stage, requestIsSent) = (.waiting, false)
            return
        case .unsayable:
            // The fault is the request's: no host is blamed, and none is tried.
            upstream.giveBack(self)
            releaseTry()
            return reply(400, bytes: [], "request_cannot_be_forwarded")
        case .refused:
            upstream.giveBack(self)
            requestIsSent = false
            return tryFailed(.unsent)
        }
        if !ends, !isTunnelWish {
            if !held.isEmpty {
                held.withUnsafeBytes { upstream.sendData($0, for: self) }
                if !keepsBody { held = [] }
            }
            if requestEnded { upstream.sendEnd(changed(requestTrailers: requestTrailers), for: self) }
        }
        startTryTimer()
        if let limit = route?.forwarded?.retries?.perTryIdleTimeout { watchTryIdleness(limit) }
        if !isTunnelWish, upstream.isWritable(for: self) { resumeRequest() }
    }

    /// The head for this try.
    private func tryHead() -> HeaderList {
        var takesEndpointName = false
        if case .endpoint = route?.forwarded?.hostRewrite { takesEndpointName = true }
        let tellsTimeout = route?.tellsTimeoutRetries == true && tries > 1
        guard route?.countsAttempts.request == true || takesEndpointName || tellsTimeout || tries > 1 else {
            return outgoing
        }
        var head = outgoing
        if tries > 1, let whole = limits?.whole, !service.settings.router.suppressesHeaders {
            // What the tries before have taken is not left for this one.
            let left = whole - (record.requestEnded?.duration(to: now) ?? .zero)
            let expected = hedgesOnTimeout ? left : min(limits?.perTry ?? left, left)
            head.set("x-envoy-expected-rq-timeout-ms", "\(max(1, expected.nanoseconds / 1_000_000))")
        }
        if tellsTimeout { head.set("x-envoy-is-timeout-retry", lastTryTimedOut ? "true" : "false") }
        if route?.countsAttempts.request == true { head.set("x-envoy-attempt-count", "\(tries)") }
        if takesEndpointName, let name = host?.endpoint.hostname, !name.isEmpty {
            head.rewriteAuthority(
                to: Array(name.utf8), appendsForwardedHost: route?.forwarded?.appendsForwardedHost == true,
                keepsOriginal: true)
        }
        return head
    }

    // MARK: Failures

    func tryFailed(_ failure: UpstreamFailure) {
        guard stage != .ended else { return }
        let hadStarted = requestIsSent
        lastTryTimedOut = false
        trace.ofTry?.flags.insert(failure.flag)
        releaseTry()
        cancelTryTimer()
        if case .stale = failure, askAnew() { return }
        if let host, let cluster { cluster.failed(host, failure) }
        if let text = failure.transportFailure { record.transportFailure = text }
        guard stage != .responding else {
            record.flags.insert(failure.flag)
            record.details = "upstream_reset_after_response_started{\(failure.detail)}"
            downstream?.abort(self)
            return finish()
        }
        let kind: RetryState.Failure
        switch failure {
        case .connectFailed, .connectTimedOut, .tlsFailed: kind = .connect
        case .refused, .unsent: kind = .refused
        case .overflow: kind = .overflow
        case .terminated, .stale, .reset, .protocolError: kind = .reset(hadStarted: hadStarted)
        }
        if retry?.wants(retryOn: kind) == true, tryAgain(after: nil) { return }
        if hedges.isEmpty { answer(for: failure) } else { waitForHedges() }
    }

    /// There is no response, and no try that may bring one.
    func answer(for failure: UpstreamFailure) {
        var text = "upstream connect error or disconnect/reset before headers. "
        text += tries > 1 ? "retried and the latest reset reason: " : "reset reason: "
        text += failure.word
        if let reason = failure.transportFailure { text += ", transport failure reason: \(reason)" }
        let isOverflow = failure == .overflow && !service.settings.router.suppressesHeaders
        reply(
            failure.flag == .upstreamProtocolError ? 502 : 503, text, flag: failure.flag,
            "upstream_reset_before_response_started{\(failure.detail)}"
        ) { head in
            if isOverflow { head.append("x-envoy-overloaded", "true") }
        }
    }

    /// Sends the request again, on another connection: a host that ends one that is idle cannot know that a request is on
    /// its way. No policy is asked, as long as nothing can be done twice by it.
    /// Source: RFC 9112, section 9.3.1; RFC 9110, section 9.2.2.
    private func askAnew() -> Bool {
        guard stage == .sending, staleTries < Self.mostStaleTries, shape.upgrade == nil,
            keepsBody || (held.isEmpty && record.bytesReceived == 0),
            ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"].contains(outgoing[":method"] ?? "")
        else { return false }
        staleTries += 1
        // It is the same try.
        tries -= 1
        upstream = nil
        requestIsSent = false
        stage = .waiting
        set(.pauseBeforeTry, after: .zero)
        return true
    }

    /// Connections of a host that ends all of its own may be found to be gone one after another.
    private static let mostStaleTries = 4

    /// Begins another try after a pause, if there is one left.
    /// - Returns: false if there is none: what the last try brought is the answer.
    func tryAgain(after response: HeaderList?) -> Bool {
        guard takeRetry() else { return false }
        if trace.ofTry != nil { endTryTrace() }
        upstream?.cancel(self)
        upstream = nil
        pauseBeforeNextTry(after: response)
        return true
    }

    func pauseBeforeNextTry(after response: HeaderList?) {
        requestIsSent = false
        stage = .waiting
        let pause = retry?.pause(
            after: response, now: record.start.nanoseconds / 1_000_000_000, random: worker.random.next())
        set(.pauseBeforeTry, after: pause ?? .milliseconds(25))
    }

    /// Takes one of the tries that are left, if the breakers allow it.
    func takeRetry() -> Bool {
        guard retry != nil, let cluster else { return false }
        // What was not kept cannot be sent again.
        guard keepsBody || (held.isEmpty && record.bytesReceived == 0) || !requestIsSent else { return false }
        guard retry?.take() == true else {
            record.flags.insert(.upstreamRetryLimit)
            return false
        }
        guard cluster.state.tryAcquire(.retries, priority) else {
            record.flags.insert(.upstreamOverflow)
            return false
        }
        holdsRetry = true
        cluster.counters.retries += 1
        return true
    }

    // MARK: Time

    func wholeTimedOut() {
        cluster?.counters.timeouts += UInt64(1 + hedges.count)
        // Between two tries no host is at work.
        if hostHasBegun, let host, let cluster { cluster.timedOut(host) }
        timedOut(.upstreamTimeout, 504, "upstream_response_timeout", "upstream request timeout")
    }

    func tryTimedOut(flag: ResponseFlag = .upstreamTimeout, _ details: String = "upstream_per_try_timeout") {
        guard stage == .sending, let cluster else { return }
        // What of the request is still to come could not go to two hosts at a time.
        if hedgesOnTimeout, requestEnded { return hedge() }
        cluster.counters.perTryTimeouts += 1
        lastTryTimedOut = true
        trace.ofTry?.flags.insert(flag)
        if let host { cluster.timedOut(host) }
        if retry?.wants(retryOn: .timeout) == true {
            releaseTry()
            cancelTryTimer()
            if tryAgain(after: nil) { return }
        }
        timedOut(flag, 504, details, "upstream request timeout")
    }

    func timedOut(
        _ flag: ResponseFlag, _ status: Int, _ details: String, _ text: String, by author: ReplyAuthor = .router
    ) {
        trace.ofTry?.flags.insert(flag)
        releaseTry()
        waitingIn?.forget(self)
        upstream?.cancel(self)
        upstream = nil
        reply(status, text, flag: flag, details, by: author)
    }
}

extension UpstreamFailure {
    /// As `%RESPONSE_CODE_DETAILS%` has it.
    var detail: String { word.split(separator: " ").joined(separator: "_") }
}
