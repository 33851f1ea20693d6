import Time

/// What a request or connection wants of a pick.
public struct PickQuestion {
    /// What routes hash; nil: no key, any host.
    public var hash: UInt64?
    public var subset: SubsetCriteria?
    /// Where the client meant to go, or the address of the host that its request names: for clusters without hosts of
    /// their own.
    public var destination: NetworkAddress?
    /// A session's host: taken if it is healthy enough.
    public var preferred: NetworkAddress?
    /// No host rather than another than the preferred one.
    public var insistsOnPreferred = false
    /// What a retry avoids.
    public var retry: RetryHosts?

    public init(
        hash: UInt64? = nil, subset: SubsetCriteria? = nil, destination: NetworkAddress? = nil,
        preferred: NetworkAddress? = nil, insistsOnPreferred: Bool = false, retry: RetryHosts? = nil
    ) {
        self.hash = hash
        self.subset = subset
        self.destination = destination
        self.preferred = preferred
        self.insistsOnPreferred = insistsOnPreferred
        self.retry = retry
    }
}

/// Which hosts came and which went.
public struct HostChanges {
    public var added: [UpstreamHost] = []
    public var removed: [UpstreamHost] = []

    public var isEmpty: Bool { added.isEmpty && removed.isEmpty }
}

/// What happened to a host that the world may log, or close connections for.
public enum UpstreamEvent {
    case ejected(UpstreamHost, OutlierReason)
    /// It would have been ejected, but the settings enforce that in a part of the cases only, or enough are ejected.
    case notEjected(UpstreamHost, OutlierReason)
    case returned(UpstreamHost)
    case checkPassed(UpstreamHost)
    case checkFailed(UpstreamHost)
    /// A host that its resource no longer named has failed its checks and is gone.
    case left(UpstreamHost)
}

/// Numbers of a cluster, for statistics.
public struct ClusterCounts: Sendable, Equatable {
    public var panicPicks: UInt64 = 0
    public var dropped: UInt64 = 0
    public var connections: UInt64 = 0
    public var connectFailures: UInt64 = 0
    public var requests: UInt64 = 0
    public var ejections: UInt64 = 0
    public var ejectionOverflows: UInt64 = 0
    public var checks: UInt64 = 0
    public var checkSuccesses: UInt64 = 0
    public var checkFailures: UInt64 = 0
    public var checkNetworkFailures: UInt64 = 0
    public var updates: UInt64 = 0
}

/// A cluster as one worker uses it: its hosts with their health and load, and the choice among them. No sockets, no
/// clock: it is told what time it is and what happened. Not for use from two threads.
public final class UpstreamCluster {
    public let configuration: ClusterConfiguration
    public private(set) var endpoints: EndpointSet?
    /// In the order of priorities and of their resource.
    public private(set) var hosts: [UpstreamHost] = []
    public internal(set) var activeRequests = 0
    public internal(set) var counts = ClusterCounts()
    /// The proxy's own locality, and how many proxies of its kind each locality has: for zone-aware balancing.
    public var ownLocality: EndpointLocality? { didSet { version += 1 } }
    public var peersByLocality: [EndpointLocality: Int] = [:] { didSet { version += 1 } }

    /// Goes up whenever hosts or their health change.
    private(set) var version: UInt64 = 1
    var breakers: [Breaker]
    var events: [UpstreamEvent] = []
    var ejectedCount = 0
    var nextOutlierCheck: Instant?
    var checkQueue = DeadlineQueue<Int64, CheckTurn>()
    var pendingChecks = 0
    var nextCleanup: Instant?
    /// Of hosts that are gone, since loads were last reported.
    var departedLoads: [LoadPlace: HostTotals] = [:]
    var unreportedDrops: UInt64 = 0
    private var byAddress: [NetworkAddress: UpstreamHost] = [:]
    private let view = HostView([])
    private let subsets: SubsetIndex?

    /// The most hosts that clients can bring into being by where they want to go.
    static let destinationHosts = 16_384
    private static let keptEvents = 1024

    /// A cluster of fixed hosts has them at once; others wait for ``update(_:now:random:)``.
    /// - Parameter locality: the proxy's own. Of other proxies nothing is known, so that it counts where a policy stays
    ///   in it whatever others do.
    public init(
        _ configuration: ClusterConfiguration, locality: EndpointLocality? = nil, now: Instant,
        random: inout SeededRandom
    ) {
        self.configuration = configuration
        ownLocality = locality
        if let locality { peersByLocality = [locality: 1] }
        breakers = zip(configuration.breakers, configuration.loads).map { Breaker($0, $1) }
        subsets = configuration.subsets.map { SubsetIndex($0) }
        if let detection = configuration.outlierDetection {
            nextOutlierCheck = now.advanced(by: detection.interval)
        }
        switch configuration.discovery {
        case .fixed(let set): _ = update(set, now: now, random: &random)
        case .originalDestination(let settings): nextCleanup = now.advanced(by: settings.cleanupInterval)
        case .forwardProxy(let settings): nextCleanup = now.advanced(by: settings.hostLifetime)
        case .told, .names: break
        }
    }

    var overprovisioning: Int { endpoints?.overprovisioning ?? 140 }
    var countsWeights: Bool { endpoints?.countsWeights ?? false }
    public var subsetCount: Int { subsets?.count ?? 0 }

    /// Whether all hosts that are to be checked have been: a cluster serves from then on.
    public var isChecked: Bool { pendingChecks == 0 }

    func healthChanged() { version += 1 }

    func note(_ event: UpstreamEvent) {
        if events.count >= Self.keptEvents { events.removeFirst(Self.keptEvents / 2) }
        events.append(event)
    }

    /// What happened since the last call; the oldest are missing if more than a thousand did.
    public func takeEvents() -> [UpstreamEvent] {
        if events.isEmpty { return [] }
        defer { events = [] }
        return events
    }

    public var hasEvents: Bool { !events.isEmpty }

    /// The host of that address.
    public func host(at address: NetworkAddress) -> UpstreamHost? { byAddress[address] }

    // MARK: Hosts

    /// What checks have found out of hosts that an earlier form of the cluster has too: its change says nothing of them.
    public func adopt(healthFrom old: UpstreamCluster) {
        guard configuration.check != nil, old.configuration.check != nil else { return }
        for host in hosts where host.isPending {
            guard let known = old.byAddress[host.address], known.endpoint.isChecked, !known.isPending else { continue }
            host.isPending = false
            pendingChecks -= 1
            host.checking.isFirst = false
            host.isCheckedDegraded = known.isCheckedDegraded
            host.hasTimedOutCheck = known.hasTimedOutCheck
            host.isExcluded = known.isExcluded
            guard !known.failings.contains(.checked) else { continue }
            host.failings.remove(.checked)
            host.usableSince = known.usableSince
        }
        healthChanged()
    }

    /// Takes the hosts of a resource. Those that stay keep all that is known of them.
    /// - Returns: what came and went; connections of hosts that went end with their requests.
    public func update(_ set: EndpointSet, now: Instant, random: inout SeededRandom) -> HostChanges {
        endpoints = set
        counts.updates += 1
        var changes = HostChanges()
        var next: [NetworkAddress: UpstreamHost] = [:]
        next.reserveCapacity(byAddress.count)
        var members: [LevelMembers] = []
        for (priority, groups) in set.levels.enumerated() {
            var level = LevelMembers()
            for group in groups {
                var place = LevelMembers.Place(locality: group.locality, weight: group.weight, hosts: [])
                for endpoint in group.endpoints {
                    // A name that is not looked up yet has no host; of an address that comes twice, the first counts.
                    guard case .address(let address) = endpoint.place, next[address] == nil else { continue }
                    let host = take(endpoint, address, priority, group.locality, now: now, &changes, random: &random)
                    next[address] = host
                    place.hosts.append(host)
                }
                level.hosts += place.hosts
                level.places.append(place)
            }
            members.append(level)
        }
        for host in hosts where next[host.address] == nil {
            if staysWhileHealthy(host) {
                host.failings.insert(.leaving)
                next[host.address] = host
                members.add(host)
            } else {
                forget(host)
                changes.removed.append(host)
            }
        }
        byAddress = next
        for priority in members.indices { members[priority].places.sort(ownLocality) }
        take(members)
        return changes
    }

    private func take(
        _ endpoint: UpstreamEndpoint, _ address: NetworkAddress, _ priority: Int, _ locality: EndpointLocality,
        now: Instant, _ changes: inout HostChanges, random: inout SeededRandom
    ) -> UpstreamHost {
        if let host = byAddress[address] {
            host.priority = priority
            host.locality = locality
            host.failings.remove(.leaving)
            host.transport = configuration.transport(for: endpoint)
            let wasChecked = host.endpoint.isChecked
            host.take(endpoint)
            if configuration.check != nil, wasChecked != endpoint.isChecked {
                endpoint.isChecked ? startChecks(of: host, now: now, random: &random) : stopChecks(of: host)
            }
            return host
        }
        let host = UpstreamHost(
            endpoint, address: address, priority: priority, locality: locality,
            transport: configuration.transport(for: endpoint))
        host.take(endpoint)
        if configuration.check != nil, endpoint.isChecked {
            host.ignoredUntilChecked = configuration.ignoresUnchecked
            startChecks(of: host, now: now, random: &random)
        } else {
            host.usableSince = now
        }
        changes.added.append(host)
        return host
    }

    /// Checks know better than the resource whether a host still serves.
    private func staysWhileHealthy(_ host: UpstreamHost) -> Bool {
        configuration.check != nil && host.endpoint.isChecked && !configuration.removesAtOnce
            && host.failings.isDisjoint(with: [.checked, .told])
    }

    private func forget(_ host: UpstreamHost) {
        host.isGone = true
        if host.isEjected { ejectedCount -= 1 }
        if host.isPending { pendingChecks -= 1 }
        if configuration.reportsLoad {
            departedLoads[LoadPlace(host), default: HostTotals()].add(host.takeUnreported())
        }
    }

    private func take(_ members: [LevelMembers]) {
        hosts = members.flatMap(\.hosts)
        view.replace(members)
        subsets?.rebuild(members)
        version += 1
    }

    /// Lets go of a host that its resource no longer names.
    func remove(_ host: UpstreamHost) {
        guard byAddress[host.address] === host else { return }
        byAddress[host.address] = nil
        forget(host)
        take(view.without(host))
        note(.left(host))
    }

    // MARK: Picks

    /// Chooses a host.
    /// - Returns: nil: none can serve.
    public func pick(_ question: PickQuestion, now: Instant, random: inout SeededRandom) -> UpstreamHost? {
        switch configuration.discovery {
        case .originalDestination(let settings): return destination(question, settings.port, now)
        case .forwardProxy: return destination(question, nil, now)
        case .told, .fixed, .names: break
        }
        if let preferred = question.preferred {
            if let host = byAddress[preferred], configuration.balancing.overrideStates.contains(host.state) {
                return host
            }
            if question.insistsOnPreferred { return nil }
        }
        let settings = configuration.balancing
        guard let subsets else {
            return view.pick(
                settings, of: self, hash: question.hash, retry: question.retry, now: now, random: &random)
        }
        return withUnsafeMutablePointer(to: &random) { random in
            subsets.pick(question.subset) { view in
                view.pick(
                    settings, of: self, hash: question.hash, retry: question.retry, now: now, random: &random.pointee)
            }
        }
    }

    /// A host that comes into being as somebody wants to go there.
    private func destination(_ question: PickQuestion, _ port: UInt16?, _ now: Instant) -> UpstreamHost? {
        guard var address = question.destination else { return nil }
        if let port, let ip = address.ip { address = .ip(ip, port: port) }
        if let host = byAddress[address] {
            host.lastUse = now
            return host
        }
        guard byAddress.count < destinationLimit else { return nil }
        let host = UpstreamHost(
            UpstreamEndpoint(place: .address(address)), address: address, priority: 0, locality: EndpointLocality(),
            transport: 0)
        host.lastUse = now
        host.usableSince = now
        byAddress[address] = host
        hosts.append(host)
        return host
    }

    private var destinationLimit: Int {
        if case .forwardProxy(let settings) = configuration.discovery { return settings.maximumHosts }
        return Self.destinationHosts
    }

    /// Lets go of destinations that nobody used for a while.
    func cleanUp(now: Instant) -> [UpstreamHost] {
        guard let due = nextCleanup, due <= now else { return [] }
        let age: Duration
        switch configuration.discovery {
        case .originalDestination(let settings): age = settings.cleanupInterval
        case .forwardProxy(let settings): age = settings.hostLifetime
        case .told, .fixed, .names: return []
        }
        nextCleanup = now.advanced(by: age)
        let gone = hosts.filter {
            $0.activeRequests == 0 && $0.activeConnections == 0 && $0.lastUse.duration(to: now) >= age
        }
        guard !gone.isEmpty else { return [] }
        for host in gone {
            byAddress[host.address] = nil
            forget(host)
        }
        hosts.removeAll { $0.isGone }
        return gone
    }

    /// Whether a request is dropped to relieve the hosts: its category; nil: it is not.
    public func drop(random: inout SeededRandom) -> String? {
        guard let drops = endpoints?.drops, !drops.isEmpty else { return nil }
        for drop in drops where random.below(1_000_000) < drop.perMillion {
            counts.dropped += 1
            unreportedDrops += 1
            return drop.category
        }
        return nil
    }
}

extension [LevelMembers] {
    /// Puts a host back where it was.
    fileprivate mutating func add(_ host: UpstreamHost) {
        while count <= host.priority { append(LevelMembers()) }
        if !self[host.priority].places.contains(where: { $0.locality == host.locality }) {
            self[host.priority].places.append(LevelMembers.Place(locality: host.locality, weight: 0, hosts: []))
        }
        self[host.priority].add(host)
    }
}

extension [LevelMembers.Place] {
    fileprivate mutating func sort(_ own: EndpointLocality?) {
        sort { left, right in
            if (left.locality == own) != (right.locality == own) { return left.locality == own }
            return left.locality < right.locality
        }
    }
}
