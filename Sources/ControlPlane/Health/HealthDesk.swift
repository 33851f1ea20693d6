import Mesh
import Translation

/// Who checks which workloads, and what was found: what it judges becomes the health of endpoints.
///
/// It belongs to the control thread.
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

    private var places: [Int: Place] = [:]
    /// What was found last, and by whom.
    private var judgements: [Workload.ID: (isHealthy: Bool, by: Int)] = [:]
    private let index: () -> MeshIndex
    private let judge: ([MeshIndex.Change]) -> Void

    /// - Parameters:
    ///   - index: the objects in force.
    ///   - judge: called with what has been found; it must not call back.
    init(index: @escaping () -> MeshIndex, judge: @escaping ([MeshIndex.Change]) -> Void) {
        self.index = index
        self.judge = judge
    }

    var count: Int { places.count }

    /// A proxy offers to check.
    /// - Parameter send: takes what it is to check, as often as that changes.
    /// - Returns: whether there is room for it.
    func begin(_ number: Int, _ checker: HealthChecker, send: @escaping ([UInt8]) -> Void) -> Bool {
        guard places.count < Self.mostCheckers else { return false }
        places[number] = Place(checker: checker, send: send)
        // Who comes last takes nothing from the others: the eldest of a namespace checks those without a proxy.
        tell(number, index(), isEldest: eldest(in: checker.proxy.namespace) == number)
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
        let namespace = place.checker.proxy.namespace
        if let eldest = eldest(in: namespace), eldest > number { tell(eldest, index(), isEldest: true) }
    }

    /// Objects or workloads have changed, and with them perhaps what is to be checked.
    func meshChanged() {
        let index = index()
        var eldest: [String: Int] = [:]
        for (number, place) in places {
            let namespace = place.checker.proxy.namespace
            eldest[namespace] = min(eldest[namespace] ?? number, number)
        }
        for number in places.keys.sorted() {
            guard let namespace = places[number]?.checker.proxy.namespace else { continue }
            tell(number, index, isEldest: eldest[namespace] == number)
        }
    }

    private func eldest(in namespace: String) -> Int? {
        places.filter { $0.value.checker.proxy.namespace == namespace }.keys.min()
    }

    private func tell(_ number: Int, _ index: MeshIndex, isEldest: Bool) {
        guard var place = places[number] else { return }
        let orders = index.healthOrders(for: place.checker, hasNeighbours: isEldest)
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
