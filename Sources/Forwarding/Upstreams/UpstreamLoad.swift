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
    /// Of the hosts that are there, those that have something to tell.
    public var hosts: [HostLoad] = []

    public var isEmpty: Bool { totals == HostTotals() && activeRequests == 0 }

    /// Adds what another worker knows of the same place.
    public mutating func add(_ other: LocalityLoad) {
        totals.add(other.totals)
        activeRequests += other.activeRequests
        for host in other.hosts {
            if let index = hosts.firstIndex(where: { $0.address == host.address }) {
                hosts[index].totals.add(host.totals)
                hosts[index].activeRequests += host.activeRequests
            } else {
                hosts.append(host)
            }
        }
    }
}

/// What went to one host since the last report.
public struct HostLoad: Sendable {
    public var address: NetworkAddress
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

    /// Requests that were dropped since the last call.
    public func takeDropped() -> UInt64 {
        defer { unreportedDrops = 0 }
        return unreportedDrops
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
            let own = HostLoad(
                address: host.address, totals: host.takeUnreported(), activeRequests: host.activeRequests)
            var load = loads[place] ?? LocalityLoad(place: place, totals: HostTotals(), activeRequests: 0)
            load.totals.add(own.totals)
            load.activeRequests += own.activeRequests
            if own.totals != HostTotals() || own.activeRequests > 0 { load.hosts.append(own) }
            loads[place] = load
        }
        return loads.values.sorted {
            ($0.place.priority, $0.place.locality) < ($1.place.priority, $1.place.locality)
        }
    }
}
