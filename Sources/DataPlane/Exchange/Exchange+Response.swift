import Forwarding
import HTTP
import HTTP1

// From an upstream's head to the client.
extension Exchange {
    func responseBegan(_ head: HeaderList, _ shape: HTTP1Head) {
        guard stage == .sending, let cluster, let host else { return }
        cancelTryTimer()
        let status = shape.status
        wentWell = status < 500
        cluster.responded(host, status, head)
        if retry?.wants(retryOn: head) == true {
            lastTryTimedOut = false
            releaseTry()
            if tryAgain(after: head) { return }
        }
        stage = .responding
        retry = nil
        keepsBody = false
        if requestIsSent { held = [] }
        record.status = status
        record.details = "via_upstream"
        isTunnel = status == 101 && self.shape.upgrade != nil || self.shape.isConnect && (200..<300).contains(status)
        var response = head
        if let forward, let route { route.finish(&response, forward) { accessRecord(with: head) } }
        if !service.settings.router.suppressesHeaders, let ended = record.requestEnded {
            response.set("x-envoy-upstream-service-time", "\(ended.duration(to: now).nanoseconds / 1_000_000)")
        }
        if route?.countsAttempts.response == true { response.set("x-envoy-attempt-count", "\(tries)") }
        var framing = shape.framing
        // What gRPC-Web adds is not in the length.
        if filters.grpcWeb != nil, framing != .none { framing = .chunked }
        respond(response, isTunnel ? .untilClose : framing, isLocal: false)
    }

    /// What is known of the request now that this is its response.
    func accessRecord(with response: HeaderList) -> AccessRecord {
        var known = accessRecord()
        known.response = response
        return known
    }

    /// gRPC says in the trailers how it went.
    func noteTrailers(_ trailers: HeaderList?) {
        record.trailers = trailers
        record.responseEnded = now
    }
}
