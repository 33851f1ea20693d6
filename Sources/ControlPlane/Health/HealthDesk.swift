import Mesh
import Translation

/// Who checks which workloads, and what was found: what it judges becomes the health of endpoints.
///
/// It belongs to the control thread. Work grows with what a change concerns, and not with the proxies that check.
final class HealthDesk {
    /// Things that one proxy is asked to check.
    static let mostOrders = 1_000
    /// Proxies that check at once.
    static let mostCheckers = 50_000

    private struct Place {
        var checker: HealthChecker
        var orders: [HealthOrder] = []
        var isTold = false
        var send: ([UInt8]) -> Void
    }

    /// Those of whom one is asked about workloads without a proxy: the proxies of a namespace, or of one account there.
    private struct Group: Hashable {
        var namespace: String
        /// nil: all.
        var account: String?
    }

    private var places: [Int: Place] = [:]
    private var groups: [Group: Queue] = [:]
    private var byWorkload: [Workload.ID: Set<Int>] = [:]
    /// What was found last, and by whom.
    private var judgements: [Workload.ID: (isHealthy: Bool, by: Int)] = [:]
    private let limit: Int
    private let index: () -> MeshIndex
    private let judge: ([MeshIndex.Change]) -> Void
    /// How often was looked for what a proxy is to check: what the tests count.
    private(set) var looks = 0

    /// - Parameters:
    ///   - limit: proxies that check at once.
    ///   - index: the objects in force.
    ///   - judge: called with what has been found; it must not call back.
    init(
        limit: Int = HealthDesk.mostCheckers, index: @escaping () -> MeshIndex,
        judge: @escaping ([MeshIndex.Change]) -> Void
    ) {
        self.limit = limit
        self.index = index
        self.judge = judge
    }

    var count: Int { places.count }

    /// A proxy offers to check.
    /// - Parameter send: takes what it is to check, as often as that changes.
    /// - Returns: whether there is room for it.
    func begin(_ number: Int, _ checker: HealthChecker, send: @escaping ([UInt8]) -> Void) -> Bool {
        guard places.count < limit else { return false }
        places[number] = Place(checker: checker, send: send)
        // Who comes last takes nothing from the others.
        for group in Self.groups(of: checker) { groups[group, default: Queue()].append(number) }
        if let workload = checker.workload { byWorkload[workload.id, default: []].insert(number) }
        tell(number, index())
        return true
    }

    /// What was found, by the names under which it was asked for.
    func report(_ number: Int, _ found: [String: Bool]) {
        guard let place = places[number] else { return }
        var changes: [MeshIndex.Change] = []
        // Only what it was asked to check: nobody judges others.
        for order in place.orders {
            guard let isHealthy = found[healthName(order.workload)] else { continue }
            if judgements[order.workload]?.isHealthy != isHealthy {
                changes.append(.judge(order.workload, isHealthy: isHealthy))
            }
            judgements[order.workload] = (isHealthy, number)
        }
        if !changes.isEmpty { judge(changes) }
    }

    /// A proxy checks no more: what it alone has found counts no more.
    func end(_ number: Int) {
        guard let place = places.removeValue(forKey: number) else { return }
        forget(Set(place.orders.map(\.workload)), of: number)
        if let id = place.checker.workload?.id {
            byWorkload[id]?.remove(number)
            if byWorkload[id]?.isEmpty == true { byWorkload[id] = nil }
        }
        var successors: Set<Int> = []
        for group in Self.groups(of: place.checker) {
            let wasEldest = groups[group]?.first == number
            groups[group]?.drop { places[$0] == nil }
            guard let next = groups[group]?.first else {
                groups[group] = nil
                continue
            }
            if wasEldest { successors.insert(next) }
        }
        for next in successors.sorted() { tell(next, index()) }
    }

    /// Objects or workloads have changed, and with them perhaps what is to be checked.
    func meshChanged(_ changes: HealthConcerns) {
        guard !changes.isEmpty else { return }
        let index = index()
        var asked: Set<Int> = []
        for namespace in changes.namespaces { asked.formUnion(groups[Group(namespace: namespace)]?.members ?? []) }
        for id in changes.workloads {
            asked.formUnion(byWorkload[id] ?? [])
            // It may be one of those that have no proxy.
            if let eldest = groups[Group(namespace: id.namespace)]?.first { asked.insert(eldest) }
            if case .workloadEntry(let entry)? = index[ObjectKey(.workloadEntry, id.namespace, id.name)]?.body,
                let account = entry.serviceAccount,
                let eldest = groups[Group(namespace: id.namespace, account: account)]?.first
            {
                asked.insert(eldest)
            }
        }
        for number in asked.sorted() where places[number] != nil { tell(number, index) }
    }

    private static func groups(of checker: HealthChecker) -> [Group] {
        let proxy = checker.proxy
        return [Group(namespace: proxy.namespace), Group(namespace: proxy.namespace, account: proxy.serviceAccount)]
    }

    private func neighbours(of number: Int, _ checker: HealthChecker) -> HealthNeighbours {
        let groups = Self.groups(of: checker).map { self.groups[$0]?.first == number }
        var neighbours: HealthNeighbours = []
        if groups[0] { neighbours.insert(.anybodys) }
        if groups[1] { neighbours.insert(.ofOwnAccount) }
        return neighbours
    }

    private func tell(_ number: Int, _ index: MeshIndex) {
        guard var place = places[number] else { return }
        looks += 1
        let orders = index.healthOrders(for: place.checker, neighbours: neighbours(of: number, place.checker))
        guard orders != place.orders || !place.isTold else { return }
        let gone = Set(place.orders.map(\.workload)).subtracting(orders.map(\.workload))
        (place.orders, place.isTold) = (orders, true)
        places[number] = place
        place.send(encodedSpecifier(orders))
        forget(gone, of: number)
    }

    private func forget(_ workloads: Set<Workload.ID>, of number: Int) {
        let own = workloads.filter { judgements[$0]?.by == number }.sorted()
        for id in own { judgements[id] = nil }
        if !own.isEmpty { judge(own.map { .judge($0, isHealthy: nil) }) }
    }
}

/// What a change of the mesh may concern of what is checked.
struct HealthConcerns: Sendable {
    /// In which objects have changed that tell how workloads are checked, or that there are some.
    var namespaces: Set<String> = []
    /// That came or went.
    var workloads: Set<Workload.ID> = []

    var isEmpty: Bool { namespaces.isEmpty && workloads.isEmpty }

    mutating func note(_ change: MeshIndex.Change) {
        switch change {
        case .put(let object): note(object.key)
        case .remove(let key): note(key)
        case .connect(let workload): workloads.insert(workload.id)
        case .disconnect(let id): workloads.insert(id)
        case .judge: break
        }
    }

    private mutating func note(_ key: ObjectKey) {
        switch key.kind {
        case .pod, .deployment, .workloadGroup, .workloadEntry: namespaces.insert(key.namespace)
        default: break
        }
    }
}

/// Numbers in the order in which they came. Whoever is gone is dropped when that is worth it, so that each costs the
/// same on average.
private struct Queue {
    private var numbers: [Int] = []
    private var head = 0
    private var gone = 0

    /// Who came first of those that are there.
    var first: Int? { head < numbers.count ? numbers[head] : nil }
    /// Some may be gone.
    var members: ArraySlice<Int> { numbers[head...] }

    mutating func append(_ number: Int) { numbers.append(number) }

    /// One of them is gone.
    mutating func drop(where isGone: (Int) -> Bool) {
        gone += 1
        while head < numbers.count, isGone(numbers[head]) { head += 1 }
        guard gone > 16, gone * 2 > numbers.count else { return }
        numbers.removeAll(where: isGone)
        (head, gone) = (0, 0)
    }
}
