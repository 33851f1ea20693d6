import Time
import XDS

/// What of the control plane's resources is served, as a value: no socket, clock or thread inside.
///
/// Takes resources as they are accepted, asks for those that they name, and warms: a cluster serves when its endpoints
/// and secrets are there, a route configuration when the clusters that it names are warm, a listener when its routes,
/// secrets and clusters are; each of them without what is missing once its time is over. Until then what served before
/// goes on. What is taken away goes after what replaces it. Source: Envoy, "xDS REST and gRPC protocol", Resource
/// Warming; `initial_fetch_timeout`.
///
/// Any number of changes, then one ``settle(now:)``, which says what is to be done and what is served now.
public struct ResourceStore<Value: Sendable>: Sendable {
    public typealias Resource = StoredResource<Value>

    public enum Action: Sendable {
        case subscribe(ResourceType, [String])
        case unsubscribe(ResourceType, [String])
        /// The resource serves although these did not come in time.
        case servesWithout(ResourceType, name: String, missing: [String])
        /// From now on this is served, all of it at once.
        case serve(ResourceTable<Value>)
    }

    /// How long a resource waits for what it needs.
    public let fetchTimeout: Duration
    /// How long resources of the cache stay after the control plane's first answer of their type.
    public let cacheGrace: Duration
    /// Secrets that this proxy makes itself.
    public let ownSecrets: Set<String>

    /// The last that was accepted of each name.
    private var held = ResourceTable<Value>()
    public private(set) var served = ResourceTable<Value>()
    private var heldReferences = ReferenceCounts()
    private var servedReferences = ReferenceCounts()
    /// Until when a resource waits.
    private struct Wait: Sendable {
        /// For clusters, which Envoy does not wait for at all.
        var clusters: Instant
        /// For what is fetched by name.
        var rest: Instant
        var hasClusters = true

        var next: Instant { hasClusters ? min(clusters, rest) : rest }
    }

    /// By type and name. What is here is held, and not what is served.
    private var warming = [[String: Wait]](repeating: [:], count: ResourceType.all.count)
    /// Names that the server has answered about: there is none.
    private var absent = [Set<String>](repeating: [], count: ResourceType.all.count)
    private var subscribed = [Set<String>](repeating: [], count: ResourceType.all.count)
    /// Names to look at in the next turn: endpoints, routes and secrets that came or whose users have changed.
    private var touched = [Set<String>](repeating: [], count: ResourceType.all.count)
    /// Served, not held any more.
    private var leaving = [Set<String>](repeating: [], count: ResourceType.all.count)
    /// From the cache on disk, and not confirmed by the control plane yet.
    private var provisional = [Set<String>](repeating: [], count: ResourceType.all.count)
    private var provisionalUntil: [Instant?] = Array(repeating: nil, count: ResourceType.all.count)
    private var answered: Set<ResourceType> = []
    private var lastNumber: UInt64 = 0
    private var hasChanged = false

    public init(
        ownSecrets: Set<String> = [], fetchTimeout: Duration = .seconds(15), cacheGrace: Duration = .seconds(5)
    ) {
        self.ownSecrets = ownSecrets
        self.fetchTimeout = fetchTimeout
        self.cacheGrace = cacheGrace
    }

    /// Types that wait for others.
    private static var warmed: [ResourceType] { [.cluster, .route, .listener] }

    // MARK: What comes in

    /// A resource is new or has changed.
    /// - Parameter isCached: it comes from the disk, and counts until the control plane says otherwise.
    public mutating func update(
        _ type: ResourceType, name: String, version: String, references: ResourceReferences, value: Value,
        isCached: Bool = false, now: Instant
    ) {
        lastNumber += 1
        let resource = Resource(
            name: name, version: version, references: references, value: value, number: lastNumber)
        if let old = held[type, name] { heldReferences.subtract(old.references) }
        touch(held[type, name]?.references)
        held[type, name] = resource
        heldReferences.add(references)
        touch(references)
        absent[type.order].remove(name)
        leaving[type.order].remove(name)
        if isCached { provisional[type.order].insert(name) } else { provisional[type.order].remove(name) }
        if Self.warmed.contains(type) {
            // A control plane that changes it again and again must not keep it from serving.
            var wait = Wait(
                clusters: now.advanced(by: fetchTimeout),
                rest: now.advanced(by: references.patience(fetchTimeout)))
            if let before = warming[type.order][name] {
                wait.clusters = min(wait.clusters, before.clusters)
                wait.rest = min(wait.rest, before.rest)
            }
            warming[type.order][name] = wait
        }
        if ResourceReferences.fetchedByName.contains(type) { touched[type.order].insert(name) }
    }

    /// The control plane has taken a resource away. Endpoints, routes and secrets stay as long as something served
    /// needs them: as in Envoy, their removal alone breaks nothing.
    public mutating func remove(_ type: ResourceType, name: String) {
        switch type {
        case .cluster, .listener: drop(type, name)
        default:
            if held[type, name] == nil { absent[type.order].insert(name) }
            touched[type.order].insert(name)
        }
    }

    /// The control plane has no such resource: nothing waits for it any more.
    public mutating func noteAbsent(_ type: ResourceType, name: String) {
        guard held[type, name] == nil || type == .cluster || type == .listener else { return }
        absent[type.order].insert(name)
        drop(type, name)
    }

    /// The control plane has answered for a type.
    public mutating func noteAnswer(_ type: ResourceType, now: Instant) {
        answered.insert(type)
        if !provisional[type.order].isEmpty, provisionalUntil[type.order] == nil {
            provisionalUntil[type.order] = now.advanced(by: cacheGrace)
        }
    }

    /// Whether a resource of the cache is better than nothing: not where the control plane has spoken, and not in the
    /// place of another.
    public func lacks(_ type: ResourceType, _ name: String) -> Bool {
        !answered.contains(type) && held[type, name] == nil
    }

    private mutating func drop(_ type: ResourceType, _ name: String) {
        guard let old = held[type, name] else { return }
        held[type, name] = nil
        heldReferences.subtract(old.references)
        touch(old.references)
        warming[type.order][name] = nil
        provisional[type.order].remove(name)
        if served[type, name] != nil { leaving[type.order].insert(name) }
    }

    private mutating func touch(_ references: ResourceReferences?) {
        guard let references else { return }
        for type in ResourceReferences.fetchedByName {
            touched[type.order].formUnion(references.names(of: type))
        }
    }

    // MARK: What is known

    /// Whether the control plane has told of all clusters and listeners, and all that it told of serves.
    public var isWhole: Bool {
        answered.isSuperset(of: [.cluster, .listener]) && warming.allSatisfy(\.isEmpty)
    }

    /// The names that wait for others, of a type, sorted.
    public func warming(_ type: ResourceType) -> [String] { warming[type.order].keys.sorted() }

    /// The last accepted resources, served or not.
    public var accepted: ResourceTable<Value> { held }

    /// When ``settle(now:)`` has something to do without any change.
    public var nextDeadline: Instant? {
        (warming.flatMap(\.values).map(\.next) + provisionalUntil.compactMap { $0 }).min()
    }

    // MARK: Settling

    /// Decides what is served now.
    public mutating func settle(now: Instant) -> [Action] {
        var actions: [Action] = []
        endProvisions(now)
        subscribe(&actions)
        for name in leaving[ResourceType.listener.order].sorted() { stopServing(.listener, name) }
        serveTouched()
        for type in Self.warmed {
            for (name, wait) in warming[type.order].sorted(by: { $0.key < $1.key }) {
                if wait.clusters <= now { warming[type.order][name]?.hasClusters = false }
                guard let resource = held[type, name], type != .route || isWanted(type, name) else { continue }
                let (needed, clusters) = missing(for: resource)
                guard needed.isEmpty || wait.rest <= now, clusters.isEmpty || wait.clusters <= now else { continue }
                let missing = (needed + clusters).sorted()
                if !missing.isEmpty { actions.append(.servesWithout(type, name: name, missing: missing)) }
                serve(type, resource)
            }
        }
        takeAwayClusters()
        unsubscribe(&actions)
        if hasChanged {
            hasChanged = false
            actions.append(.serve(served))
        }
        return actions
    }

    /// Resources of the cache that the control plane does not know any more.
    private mutating func endProvisions(_ now: Instant) {
        for type in ResourceType.all {
            guard let end = provisionalUntil[type.order], end <= now else { continue }
            provisionalUntil[type.order] = nil
            guard type == .cluster || type == .listener else { continue }
            for name in provisional[type.order].sorted() { drop(type, name) }
        }
    }

    private func isWanted(_ type: ResourceType, _ name: String) -> Bool {
        heldReferences.has(type, name) || servedReferences.has(type, name)
    }

    private mutating func subscribe(_ actions: inout [Action]) {
        for type in ResourceReferences.fetchedByName {
            let new = touched[type.order].filter { name in
                isWanted(type, name) && !subscribed[type.order].contains(name)
                    && !(type == .secret && ownSecrets.contains(name))
            }
            guard !new.isEmpty else { continue }
            subscribed[type.order].formUnion(new)
            actions.append(.subscribe(type, new.sorted()))
        }
    }

    /// Endpoints and secrets go to who is served at once; routes wait for their clusters, below.
    private mutating func serveTouched() {
        for type in [ResourceType.secret, .endpoints] {
            for name in touched[type.order] where servedReferences.has(type, name) {
                if let resource = held[type, name] { replace(type, resource) }
            }
        }
    }

    /// What a resource still waits for.
    private func missing(for resource: Resource) -> (needed: [String], clusters: [String]) {
        let references = resource.references
        func isThere(_ type: ResourceType, _ name: String) -> Bool {
            held[type, name] != nil || absent[type.order].contains(name)
        }
        var missing = references.endpoints.filter { !isThere(.endpoints, $0) }.map { "endpoints \($0)" }
        missing += references.secrets.filter { !isThere(.secret, $0) }.map { "secret \($0)" }
        missing += references.routes.filter {
            served[.route, $0] == nil && !absent[ResourceType.route.order].contains($0)
        }
        .map { "routes \($0)" }
        // A cluster that nobody knows is not waited for: it may never come, and requests for it are answered 503.
        let clusters = references.clusters.filter { held[.cluster, $0] != nil && served[.cluster, $0] == nil }
            .map { "cluster \($0)" }
        return (missing, clusters)
    }

    private mutating func serve(_ type: ResourceType, _ resource: Resource) {
        warming[type.order][resource.name] = nil
        replace(type, resource)
        for kind in [ResourceType.secret, .endpoints] {
            for name in resource.references.names(of: kind) {
                if let needed = held[kind, name] { replace(kind, needed) }
            }
        }
    }

    private mutating func replace(_ type: ResourceType, _ resource: Resource) {
        let old = served[type, resource.name]
        guard old?.number != resource.number else { return }
        if let old {
            servedReferences.subtract(old.references)
            touch(old.references)
        }
        servedReferences.add(resource.references)
        served[type, resource.name] = resource
        hasChanged = true
    }

    /// Clusters that are not held any more go after what they are still needed by.
    private mutating func takeAwayClusters() {
        let waiting = [ResourceType.route, .listener].flatMap { type in
            warming[type.order].keys.compactMap { served[type, $0] }
        }
        for name in leaving[ResourceType.cluster.order].sorted()
        where !waiting.contains(where: { $0.references.clusters.contains(name) }) {
            stopServing(.cluster, name)
        }
    }

    private mutating func stopServing(_ type: ResourceType, _ name: String) {
        leaving[type.order].remove(name)
        guard let old = served[type, name] else { return }
        servedReferences.subtract(old.references)
        touch(old.references)
        served[type, name] = nil
        hasChanged = true
    }

    /// What nothing names any more.
    private mutating func unsubscribe(_ actions: inout [Action]) {
        // Routes first: nothing that is fetched by name names another.
        for type in ResourceReferences.fetchedByName {
            let names = touched[type.order].filter { !isWanted(type, $0) }
            touched[type.order] = []
            for name in names.sorted() where !(type == .secret && ownSecrets.contains(name)) {
                absent[type.order].remove(name)
                drop(type, name)
                stopServing(type, name)
            }
            let gone = names.intersection(subscribed[type.order])
            guard !gone.isEmpty else { continue }
            subscribed[type.order].subtract(gone)
            actions.append(.unsubscribe(type, gone.sorted()))
        }
    }
}
