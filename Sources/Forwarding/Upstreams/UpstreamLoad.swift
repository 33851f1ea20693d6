/// Where load is reported by: `config.endpoint.v3.UpstreamLocalityStats`.
public struct LoadPlace: Hashable, Sendable {
    public var locality: EndpointLocality
    public var priority: Int

    init(_ host: UpstreamHost) {
        locality = host.locality
        priority = host.priority
    }
}

/// What went to one locality since the last report.
public struct LocalityLoad: Sendable {
    public var place: LoadPlace
    public var totals: HostTotals
    public var activeRequests: Int
}

extension HostTotals {
    mutating func add(_ other: HostTotals) {
        requests += other.requests
        successes += other.successes
        errors += other.errors
        timeouts += other.timeouts
        connections += other.connections
        connectFailures += other.connectFailures
    }
}

extension UpstreamHost {
    func takeUnreported() -> HostTotals {
        defer { unreported = HostTotals() }
        return unreported
    }

    fileprivate func count(_ body: (inout HostTotals) -> Void) {
        body(&totals)
        body(&unreported)
    }
}

extension UpstreamCluster {
    /// A request goes to a host. Each needs an ``end(_:isSuccess:)``.
    public func begin(_ host: UpstreamHost) {
        activeRequests += 1
        counts.requests += 1
        host.activeRequests += 1
        host.count { $0.requests += 1 }
    }

    /// A request at a host is over.
    /// - Parameter isSuccess: a response came whose status is under 500.
    public func end(_ host: UpstreamHost, isSuccess: Bool) {
        precondition(host.activeRequests > 0, "more requests ended than began")
        activeRequests -= 1
        host.activeRequests -= 1
        host.count { totals in
            if isSuccess {
                totals.successes += 1
            } else {
                totals.errors += 1
            }
        }
        if host.isGone, configuration.reportsLoad {
            departedLoads[LoadPlace(host), default: HostTotals()].add(host.takeUnreported())
        }
    }

    /// A connection to a host is being made. Each needs a ``connectionEnded(_:)``.
    public func connectionBegan(_ host: UpstreamHost) {
        counts.connections += 1
        host.activeConnections += 1
        host.count { $0.connections += 1 }
    }

    public func connectionEnded(_ host: UpstreamHost) {
        precondition(host.activeConnections > 0, "more connections ended than began")
        host.activeConnections -= 1
    }

    /// A connection could not be made.
    public func connectFailed(_ host: UpstreamHost) {
        counts.connectFailures += 1
        host.count { $0.connectFailures += 1 }
    }

    /// A try at a host took too long.
    public func timedOut(_ host: UpstreamHost) {
        host.count { $0.timeouts += 1 }
    }

    /// The load since the last call, sorted by priority and locality.
    public func takeLoads() -> [LocalityLoad] {
        var loads: [LoadPlace: LocalityLoad] = [:]
        for (place, totals) in departedLoads {
            loads[place] = LocalityLoad(place: place, totals: totals, activeRequests: 0)
        }
        departedLoads = [:]
        for host in hosts {
            let place = LoadPlace(host)
            loads[place, default: LocalityLoad(place: place, totals: HostTotals(), activeRequests: 0)].totals
                .add(host.takeUnreported())
            loads[place]?.activeRequests += host.activeRequests
        }
        return loads.values.sorted {
            ($0.place.priority, $0.place.locality) < ($1.place.priority, $1.place.locality)
        }
    }
}
