import Forwarding
import HTTP
import HTTP1

// From the request's head to the cluster.
extension Exchange {
    /// Makes of the head what everybody after this may rely on.
    /// - Returns: false if the request has been answered.
    func prepare() -> Bool {
        if !service.normalise(self) { return false }
        remote = service.clientHeaders.apply(
            to: &head, connection, internalOnly: service.routes()?.internalOnlyHeaders ?? [], random: &worker.random)
        service.certificateHeader.apply(to: &head, connection, ownURI: service.ownURI)
        return true
    }

    /// Finds the route; again, after a filter changed what it depends on.
    func route(again: Bool) {
        guard let table = service.routes() else {
            routing = .none
            return
        }
        if !again { routingNumber = worker.random.next() }
        routing = table.route(head, connection, remote: remote, metadata: metadata, random: routingNumber)
        route = routing.route
        if let limit = route?.forwarded?.timeouts.idle { watchIdleness(limit) }
    }

    /// The most bytes of the body that are kept for another try or a copy.
    var keptLimit: Int { min(service.bufferLimit, route?.bodyLimit ?? .max) }

    var requestFacts: RequestFacts {
        RequestFacts(
            connection: connection, head: head, remote: remote, metadata: metadata,
            routeMetadata: route?.metadata ?? FilterMetadata())
    }

    /// All filters have let the request pass: it goes where the route says.
    func actOnRoute() {
        switch routing {
        case .forward(let route, let forward): pass(on: route, to: forward)
        case .redirect(let route, let status, let location):
            route?.noteRedirection(in: &head, notesOriginal: !service.settings.router.suppressesHeaders)
            reply(Int(status), bytes: [], "direct_response") { head in
                location.withUnsafeBytes { head.append("location", value: $0) }
                route?.finish(&head, nil) { self.accessRecord() }
            }
        case .direct(let route, let status, let body):
            reply(Int(status), bytes: body, "direct_response") { head in
                route.finish(&head, nil) { self.accessRecord() }
            }
        // There is no cluster of no name. Source: Envoy, `non_forwarding_action`.
        case .nothing: reply(503, bytes: [], flag: .noCluster, "cluster_not_found")
        case .none: reply(404, bytes: [], flag: .noRoute, "route_not_found")
        }
    }

    private func pass(on route: Route, to forward: Forward) {
        guard let settings = route.forwarded else { return }
        self.forward = forward
        // A filter may have changed the route since the request came.
        if asksForTunnel, !service.allows(upgradeName, route) {
            return reply(403, bytes: [], "upgrade_failed")
        }
        guard let cluster = service.cluster(forward) else {
            return reply(Int(settings.missingClusterStatus), bytes: [], flag: .noCluster, "cluster_not_found")
        }
        self.cluster = cluster
        cluster.counters.requests += 1
        if cluster.state.drop(random: &worker.random) != nil {
            return reply(503, bytes: Array("unconditional drop overload".utf8), "drop_overload") { head in
                head.append("x-envoy-unconditional-drop-overload", "true")
            }
        }
        // Nobody else asks for the hash, and a cookie that nobody looks at is not given.
        if cluster.configuration.balancing.policy.hashes, !settings.hash.isEmpty {
            let outcome = settings.hash.hash(head, source: remote, connection: connection)
            hash = outcome.hash
            cookies += outcome.cookies
        }
        if let ending = settings.upgrades.ending {
            endsTunnelHere = shape.isConnect || (ending.takesPOST && head.value(of: ":method", equals: "POST"))
        }
        outgoing = head
        hedgesOnTimeout = settings.hedges(&outgoing)
        limits = settings.timeouts.limits(
            &outgoing, retries: settings.retries, isHedged: hedgesOnTimeout,
            tellsUpstream: !service.settings.router.suppressesHeaders)
        if let limit = limits?.stream { startDurationTimer(limit) }
        retry = RetryState(settings.retries, &outgoing)
        if retry != nil {
            retryHosts = settings.retries.map { RetryHosts(RetryHostPolicy($0)) }
            keepsBody = true
        }
        if settings.redirects != nil { keepsBody = true }
        // Who asks for the record while the head is being changed sees what it was.
        var changed = HeaderList()
        swap(&changed, &outgoing)
        route.prepare(&changed, for: forward) { accessRecord() }
        if service.settings.router.suppressesHeaders, !head.contains("x-envoy-original-path") {
            changed.remove("x-envoy-original-path")
        }
        swap(&changed, &outgoing)
        if let context = trace.context { tell(context) }
        serverName = cluster.configuration.http.serverName(outgoing, received: head)
        startWholeTimer()
        mirror(settings)
        beginTry()
    }
}

extension RetryHostPolicy {
    fileprivate init(_ rules: RetryRules) {
        self.init()
        avoidsTried = rules.avoidsPreviousHosts
        avoidsCanaries = rules.avoidsCanaries
        maximumAttempts = rules.mostPicks
        prioritiesAfter = rules.previousPrioritiesAfter
    }
}
