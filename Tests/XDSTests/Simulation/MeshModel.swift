@testable import XDS

/// A consistent configuration that changes at random: routes name clusters that exist, listeners name routes.
/// Bodies are `revision;references`, so that clients can read what they refer to.
struct MeshModel {
    private(set) var clusters: [Int: (revision: Int, endpoints: Int?)] = [:]
    private(set) var endpoints: [Int: Int] = [:]
    private(set) var routes: [Int: (revision: Int, targets: [Int])] = [:]
    private(set) var listeners: [Int: (revision: Int, route: Int)] = [:]
    private(set) var layers: [Int: Int] = [:]
    private var failures: Set<Int> = []
    private var revision = 0
    /// Resources are immutable: what did not change need not be hashed again.
    private var made: [String: Resource] = [:]

    static let clusterNumbers = 0..<8
    static let endpointNumbers = 0..<5

    init(_ chance: inout Chance) {
        for _ in 0..<3 { addCluster(&chance) }
        addListener(&chance)
        for _ in 0..<chance.below(6) { change(&chance) }
    }

    mutating func resources() -> [Resource] {
        var all: [Resource] = []
        func add(_ type: ResourceType, _ name: String, _ body: String, ttl: Bool = false, needs: String? = nil) {
            let known = made[name].flatMap { String(decoding: $0.body, as: UTF8.self) == body ? $0 : nil }
            let resource =
                known
                ?? Resource(
                    type, name: name, body: Array(body.utf8), timeToLive: ttl ? .seconds(20) : nil,
                    dependencies: needs.map { [ResourceReference(.endpoints, $0)] } ?? [])
            made[name] = resource
            all.append(resource)
        }
        for (number, cluster) in clusters.sorted(by: { $0.key < $1.key }) {
            let needs = cluster.endpoints.map { "e\($0)" }
            add(.cluster, "c\(number)", "\(cluster.revision);\(needs ?? "")", needs: needs)
        }
        for (number, revision) in endpoints.sorted(by: { $0.key < $1.key }) {
            if failures.contains(number) {
                let error = ErrorDetail(code: 14, message: "e\(number) failed in \(revision)")
                all.append(Resource(.endpoints, name: "e\(number)", error: error))
            } else {
                add(.endpoints, "e\(number)", "\(revision);")
            }
        }
        for (number, route) in routes.sorted(by: { $0.key < $1.key }) {
            add(.route, "r\(number)", "\(route.revision);\(route.targets.map { "c\($0)" }.joined(separator: ","))")
        }
        for (number, listener) in listeners.sorted(by: { $0.key < $1.key }) {
            add(.listener, "l\(number)", "\(listener.revision);r\(listener.route)")
        }
        for (number, revision) in layers.sorted(by: { $0.key < $1.key }) {
            add(.runtime, "t\(number)", "\(revision);", ttl: number == 0)
        }
        return all
    }

    mutating func change(_ chance: inout Chance) {
        revision += 1
        switch chance.below(12) {
        case 0, 1: addCluster(&chance)
        case 2, 3: removeCluster(&chance)
        case 4: if let number = pick(clusters, &chance) { clusters[number]?.revision = revision }
        case 5, 6: if let number = pick(endpoints, &chance) { endpoints[number] = revision }
        case 7, 8: retarget(&chance)
        case 9: addListener(&chance)
        case 10: removeListener(&chance)
        default: changeRarely(&chance)
        }
    }

    private mutating func changeRarely(_ chance: inout Chance) {
        switch chance.below(5) {
        case 0:
            let number = chance.below(2)
            layers[number] = layers[number] == nil || chance.percent(70) ? revision : nil
        case 1: if let number = pick(endpoints, &chance) { failures.formSymmetricDifference([number]) }
        case 2: if let number = pick(endpoints, &chance) { endpoints[number] = nil }
        case 3: if let number = pick(listeners, &chance) { listeners[number]?.revision = revision }
        default:
            guard let number = pick(clusters, &chance) else { return }
            let shared = chance.below(Self.endpointNumbers.count)
            clusters[number] = (revision, shared)
            if endpoints[shared] == nil { endpoints[shared] = revision }
        }
    }

    private mutating func addCluster(_ chance: inout Chance) {
        let free = Self.clusterNumbers.filter { clusters[$0] == nil }
        guard let number = chance.pick(Array(free)) else { return }
        let needs = chance.percent(80) ? chance.below(Self.endpointNumbers.count) : nil
        clusters[number] = (revision, needs)
        if let needs, endpoints[needs] == nil, chance.percent(90) { endpoints[needs] = revision }
        if let route = pick(routes, &chance), chance.percent(60) {
            routes[route] = (revision, [number])
        }
    }

    private mutating func removeCluster(_ chance: inout Chance) {
        guard clusters.count > 1, let gone = pick(clusters, &chance) else { return }
        let needs = clusters[gone]?.endpoints
        clusters[gone] = nil
        for (number, route) in routes.sorted(by: { $0.key < $1.key }) where route.targets.contains(gone) {
            routes[number] = (revision, [pick(clusters, &chance)!])
        }
        if let needs, !clusters.values.contains(where: { $0.endpoints == needs }), chance.percent(80) {
            endpoints[needs] = nil
        }
    }

    private mutating func retarget(_ chance: inout Chance) {
        guard let number = pick(routes, &chance), let target = pick(clusters, &chance) else { return }
        routes[number] = (revision, chance.percent(50) ? [target] : [target, pick(clusters, &chance)!])
    }

    private mutating func addListener(_ chance: inout Chance) {
        let number = chance.below(4)
        let route = chance.below(4)
        if routes[route] == nil { routes[route] = (revision, [pick(clusters, &chance)!]) }
        listeners[number] = (revision, route)
    }

    private mutating func removeListener(_ chance: inout Chance) {
        guard let gone = pick(listeners, &chance), let route = listeners[gone]?.route else { return }
        listeners[gone] = nil
        if !listeners.values.contains(where: { $0.route == route }), chance.percent(70) { routes[route] = nil }
    }

    private func pick<Value>(_ numbered: [Int: Value], _ chance: inout Chance) -> Int? {
        chance.pick(numbered.keys.sorted())
    }
}

/// What a body refers to: the part after the semicolon.
func references(in body: String) -> [String] {
    guard let mark = body.firstIndex(of: ";") else { return [] }
    return body[body.index(after: mark)...].split(separator: ",").map(String.init)
}
