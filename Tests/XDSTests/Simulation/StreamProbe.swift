import Time

@testable import XDS

/// Watches one stream from outside: what goes in and what comes out, judged by the rules of the protocol alone.
struct StreamProbe {
    let isDelta: Bool
    /// Whether the client takes all clusters, so that order can be judged.
    let followsClusters: Bool
    private(set) var violations: [String] = []
    /// Order was given up on this stream, and the machine said so.
    private(set) var isForced = false
    private(set) var sentVersions: [ResourceType: String] = [:]
    private(set) var acknowledgedVersions: [ResourceType: String] = [:]
    private(set) var outstanding: [ResourceType: String] = [:]
    /// Endpoints that a changed cluster waits for.
    private(set) var warming: Set<String> = []

    private var nonces: Set<String> = []
    private var subscriptions: [ResourceType: Set<String>] = [:]
    /// Types for which some name was given: an empty list is no wildcard any more.
    private var named: Set<ResourceType> = []
    /// What the client was sent while it was subscribed to it, by version.
    private var sent: [ResourceType: [String: String]] = [:]
    /// Names that may be sent again: asked for, or needed to warm a cluster.
    private var askedLast: Set<String> = []
    private var due: [ResourceType: Set<String>] = [:]
    private var lists: [ResourceType: [String]] = [:]
    private var clustersSent: Set<String>
    /// Names of refused responses: sent again when one of them is replaced or goes.
    private var doubtful: [ResourceType: Set<String>] = [:]
    /// Types whose response under way is a heartbeat.
    private var beating: Set<ResourceType> = []
    private var lastNames: [ResourceType: [String]] = [:]
    private var snapshot = Snapshot.empty

    /// - Parameter clusters: what the client holds from an earlier stream.
    init(isDelta: Bool, followsClusters: Bool, clusters: Set<String>) {
        self.isDelta = isDelta
        clustersSent = clusters
        self.followsClusters = followsClusters
    }

    private mutating func violation(_ text: String) { violations.append(text) }

    // MARK: What the server was told

    /// - Parameter isStale: the machine said that it ignored the request's nonce.
    mutating func received(_ request: DeltaDiscoveryRequest, _ type: ResourceType) {
        if outstanding[type] == request.responseNonce { answered(type, request.errorDetail) }
        let old = subscriptions[type]
        var asked = Set(request.resourceNamesSubscribe)
        if old == nil {
            if asked.isEmpty && (type == .cluster || type == .listener) { asked = ["*"] }
            sent[type] = request.initialResourceVersions
            subscriptions[type] = asked
            due[type, default: []].formUnion(asked)
            return
        }
        let gone = Set(request.resourceNamesUnsubscribe)
        subscriptions[type]?.subtract(gone)
        subscriptions[type]?.formUnion(asked)
        due[type, default: []].formUnion(asked)
        due[type, default: []].formUnion(gone)
        if type == .endpoints, !(subscriptions[type]?.contains("*") ?? false) { warming.subtract(gone) }
        for name in gone { sent[type]?[name] = nil }
    }

    mutating func received(_ request: DiscoveryRequest, _ type: ResourceType, isStale: Bool) {
        if outstanding[type] == request.responseNonce { answered(type, request.errorDetail) }
        if isStale { return }
        var names = Set(request.resourceNames)
        if names.isEmpty, type == .cluster || type == .listener, !named.contains(type) { names = ["*"] }
        if !request.resourceNames.isEmpty { named.insert(type) }
        let old = subscriptions[type] ?? []
        due[type, default: []].formUnion(names.subtracting(old))
        let gone = old.subtracting(names)
        if !names.contains("*") {
            due[type, default: []].formUnion(gone)
            for name in gone { sent[type]?[name] = nil }
        }
        if type == .endpoints, !names.contains("*") { warming.formIntersection(names) }
        subscriptions[type] = names
    }

    private mutating func answered(_ type: ResourceType, _ detail: ErrorDetail?) {
        outstanding[type] = nil
        if beating.contains(type) { return }
        if detail == nil {
            acknowledgedVersions[type] = sentVersions[type]
        } else {
            doubtful[type, default: []].formUnion(lastNames[type] ?? [])
        }
    }

    /// The machine found that the client's version proves that it holds this.
    mutating func confirmed(_ type: ResourceType, _ versions: [String: String]) { sent[type] = versions }

    /// The machine was shown a snapshot. What it lacks may come back, and is new then.
    mutating func shown(_ snapshot: Snapshot) {
        for type in sent.keys where isDelta || !type.isFullState {
            for name in (sent[type] ?? [:]).keys where snapshot[type].resource(named: name)?.error == nil {
                if snapshot[type].resource(named: name) == nil { sent[type]?[name] = nil }
            }
        }
        self.snapshot = snapshot
        warming = warming.filter { snapshot[.endpoints].resource(named: $0) != nil }
    }

    // MARK: What the server did

    mutating func forced() { isForced = true }

    mutating func sends(_ response: PreparedResponse) {
        let type = response.type
        if let other = outstanding[type] {
            violation("\(type) \(response.nonce) sent while \(other) waits for its ACK")
        }
        if !nonces.insert(response.nonce).inserted { violation("nonce \(response.nonce) was used before") }
        let names = response.resources.map(\.name) + response.removedNames + response.errors.map(\.name)
        if Set(names).count != names.count { violation("\(type) lists a name twice: \(names)") }
        if names != names.sorted(), response.removedNames.isEmpty, response.errors.isEmpty {
            violation("\(type) is not sorted: \(names)")
        }
        if !isDelta && !response.removedNames.isEmpty { violation("removed names in a state-of-the-world response") }
        outstanding[type] = response.nonce
        if response.isHeartbeat {
            beating.insert(type)
            return
        }
        beating.remove(type)
        sentVersions[type] = response.version
        lastNames[type] = names
        judgeRepetition(response)
        if followsClusters { judgeOrder(response) }
        noteWarming(response)
        remember(response)
    }

    private mutating func judgeRepetition(_ response: PreparedResponse) {
        let type = response.type
        var asked = due[type] ?? []
        let isReplacement = entries(response).contains { sent[type]?[$0.name] != $0.version }
        let doubtful = doubtful[type] ?? []
        let isGone = doubtful.contains { snapshot[type].resource(named: $0) == nil }
        if isReplacement || isGone || !response.removedNames.isEmpty { asked.formUnion(doubtful) }
        let entries = entries(response)
        if isDelta || !(type.isFullState) {
            for resource in entries where sent[type]?[resource.name] == resource.version {
                if !asked.contains(resource.name) && !asked.contains("*") {
                    violation("\(type) \(resource.name) is sent again unchanged, and nobody asked")
                }
            }
            if entries.isEmpty && response.removedNames.isEmpty && asked.isEmpty {
                violation("\(type) response says nothing")
            }
        } else {
            let list = entries.map { "\($0.name)@\($0.version)" }
            if lists[type] == list && asked.isEmpty { violation("\(type) list is sent again unchanged") }
            lists[type] = list
        }
        due[type] = []
        askedLast = asked
    }

    private func entries(_ response: PreparedResponse) -> [Resource] { response.resources + response.errors }

    private mutating func judgeOrder(_ response: PreparedResponse) {
        if response.type == .cluster {
            if isDelta { clustersSent.subtract(response.removedNames) } else { clustersSent = [] }
            clustersSent.formUnion(response.resources.map(\.name))
        }
        guard response.type == .route, !isForced else { return }
        for route in response.resources {
            let targets = references(in: String(decoding: route.body, as: UTF8.self))
            for target in targets where !clustersSent.contains(target) {
                violation("route \(route.name) names \(target), which the client was not sent")
            }
        }
    }

    private mutating func noteWarming(_ response: PreparedResponse) {
        if response.type == .endpoints {
            warming.subtract(response.resources.map(\.name))
            warming.subtract(response.errors.map(\.name))
            warming.subtract(response.removedNames)
        }
        guard response.type == .cluster else { return }
        for cluster in response.resources {
            let isNew = sent[.cluster]?[cluster.name] != cluster.version
            for needed in cluster.dependencies {
                // A cluster that is sent again because it is asked for or in doubt may be new to the client.
                if isNew || isDelta || askedLast.contains(cluster.name) || askedLast.contains("*") {
                    due[.endpoints, default: []].insert(needed.name)
                }
                if !isNew || snapshot[.endpoints].resource(named: needed.name) == nil { continue }
                let subscribed = subscriptions[.endpoints] ?? []
                if subscribed.contains(needed.name) || subscribed.contains("*") { warming.insert(needed.name) }
            }
        }
    }

    private mutating func remember(_ response: PreparedResponse) {
        let type = response.type
        if !isDelta && type.isFullState { sent[type] = [:] }
        for resource in response.resources + response.errors {
            sent[type, default: [:]][resource.name] = resource.version
        }
        for name in response.removedNames { sent[type]?[name] = nil }
    }
}
