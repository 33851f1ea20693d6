import Forwarding
import HTTP
import HTTP1

// From an upstream's head to the client.
extension Exchange {
    func responseBegan(_ head: consuming HeaderList, _ shape: HTTP1Head) {
        guard stage == .sending, let cluster, let host else { return }
        cancelTryTimer()
        let status = shape.status
        wentWell = status < 500
        trace.ofTry?.note(status: status, now: now)
        cluster.responded(host, status, head)
        if retry?.wants(retryOn: head) == true {
            lastTryTimedOut = false
            releaseTry(endsTrace: false)
            if tryAgain(after: head) { return }
            if follow(head, shape) { return }
            if !hedges.isEmpty { return waitForHedges() }
        } else if follow(head, shape) {
            return
        }
        giveUpHedges()
        takeResponse(head, shape)
    }

    /// The response is the client's: no other try is left.
    func takeResponse(_ head: consuming HeaderList, _ shape: HTTP1Head) {
        let status = shape.status
        isTunnel = status == 101 && self.shape.upgrade != nil || self.shape.isConnect && (200..<300).contains(status)
        if asksForTunnel, !isTunnel, protocolName == "HTTP/2", (200..<300).contains(status) {
            // To a client that asked by extended CONNECT that would say that the tunnel is open.
            upstream?.cancel(self)
            upstream = nil
            return tryFailed(.protocolError("the upstream did not change the protocol"))
        }
        stage = .responding
        retry = nil
        keepsBody = false
        if requestIsSent, !isTunnel { held = [] }
        record.status = status
        record.details = "via_upstream"
        var response = consume head
        if let forward, let route {
            let told = response
            route.finish(&response, forward) { accessRecord(with: told) }
        }
        if !service.settings.router.suppressesHeaders, let ended = record.requestEnded {
            response.set("x-envoy-upstream-service-time", "\(ended.duration(to: now).nanoseconds / 1_000_000)")
        }
        if route?.countsAttempts.response == true { response.set("x-envoy-attempt-count", "\(tries)") }
        var framing = shape.framing
        // What gRPC-Web adds is not in the length.
        if filters.grpcWeb != nil, framing != .none { framing = .chunked }
        respond(response, isTunnel ? .untilClose : framing, isLocal: false)
        if isTunnel { openTunnel() }
    }

    /// What is known of the request now that this is its response.
    func accessRecord(with response: HeaderList) -> AccessRecord {
        let known = accessRecord()
        known.response = response
        return known
    }

    /// gRPC says in the trailers how it went.
    func noteTrailers(_ trailers: HeaderList?) {
        record.trailers = trailers
        record.responseEnded = now
    }
}
