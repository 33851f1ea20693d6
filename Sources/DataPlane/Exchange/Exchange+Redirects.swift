import Forwarding
import HTTP
import HTTP1

// Redirects that are followed here. Source: Envoy, `Filter::setupRedirect`.
extension Exchange {
    /// Sends the request where the upstream's response leads, through all filters again.
    /// - Returns: false: the response is the client's.
    func follow(_ head: HeaderList, _ shape: HTTP1Head) -> Bool {
        guard let route, let rules = route.forwarded?.redirects, rules.follows(shape.status), let cluster else {
            return false
        }
        guard let next = redirected(head, route, rules) else {
            cluster.counters.redirectsFailed += 1
            return false
        }
        cluster.counters.redirectsFollowed += 1
        record.status = shape.status
        record.details = "internal_redirect"
        record.response = head
        releaseTry()
        giveUpHedges()
        // The rest of the response, if it is short, is cheaper to read than a new connection.
        upstream?.handOver(self, to: UnwantedResponse())
        startAgain(next)
        return true
    }

    /// The request becomes another one, of which all is there: it goes through the filters as the first one did.
    private func startAgain(_ next: HeaderList) {
        service.tell(of: self)
        cancel(.whole)
        cancelTryTimer()
        releaseFilters()
        if head[":method"] != next[":method"] {
            // It has become a GET.
            held = []
            requestTrailers = nil
            shape.framing = .none
        }
        head = next
        (filters, metadata, mirrors, cookies) = (FilterProgress(), FilterMetadata(), MirrorCopies(), [])
        (forward, cluster, host, hash, retry, retryHosts) = (nil, nil, nil, nil, nil, nil)
        (limits, serverName, sticky, namedHost, upstream) = (nil, nil, nil, nil, nil)
        (tries, lastTryTimedOut, requestIsSent, hasTry, keepsBody) = (0, false, false, true, false)
        let received = record.bytesReceived
        (record, trace) = (ExchangeRecord(), RequestTrace())
        (record.start, record.began, record.requestEnded) = (.systemClock(), now, now)
        record.bytesReceived = received
        stage = .filtering
        // Not from within a call of the upstream.
        worker.later { [self] in
            guard stage == .filtering, service.normalise(self) else { return }
            route(again: false)
            if let tracing = service.settings.tracing { beginTrace(tracing) }
            priority = priorityOfRoute
            runFilters()
        }
    }

    var priorityOfRoute: RequestPriority { route?.forwarded?.isHighPriority == true ? .high : .normal }

    private func redirected(_ response: HeaderList, _ route: Route, _ rules: InternalRedirects) -> HeaderList? {
        // What was not kept cannot be sent again.
        guard requestEnded, keepsBody || record.bytesReceived == 0, filters.grpcWeb == nil,
            let next = rules.request(after: outgoing, response, redirects), let table = service.routes()
        else { return nil }
        let routing = table.route(next, connection, remote: remote, metadata: metadata, random: routingNumber)
        guard let target = routing.route else { return nil }
        let isSecure = (
            before: outgoing.value(of: ":scheme", equals: "https"), after: next.value(of: ":scheme", equals: "https")
        )
        return rules.accepts(from: route.name, to: target.name, isSecure: isSecure, &redirects) ? next : nil
    }
}

/// Reads what is left of a response, up to a bound, so that its connection may be used again.
private final class UnwantedResponse: UpstreamUser {
    private static let most = 64 << 10
    private var count = 0

    override func upstreamHead(_ head: consuming HeaderList, _ shape: HTTP1Head) {}
    override func upstreamData(_ bytes: UnsafeRawBufferPointer) {
        count += bytes.count
        if count > Self.most { upstream?.cancel(self) }
    }
    override func upstreamEnd(_ trailers: HeaderList?) {}
    override func upstreamFailed(_ failure: UpstreamFailure) {}
}
