import Discovery
import Identity
import Mesh
import Time
import Translation
import XDS

/// The proxies that are connected, as workloads of the mesh and as classes that configuration is made for: a value.
///
/// A workload is there from when its proxy has listeners until ``grace`` after its last stream. What its proxy says of it counts
/// as far as it has proved it: nobody becomes an endpoint without an identity, or under the name of another.
struct WorkloadRegistry: Sendable {
    /// What others must be told.
    struct Changes: Sendable {
        var mesh: [MeshIndex.Change] = []
        /// Classes that have a proxy now, and had none.
        var begun: [ProxyClass] = []
        /// Classes whose last proxy has gone.
        var ended: [ProxyClass] = []

        var isEmpty: Bool { mesh.isEmpty && begun.isEmpty && ended.isEmpty }
    }

    /// Why a proxy is no endpoint although it is connected.
    enum Refusal: Error, Hashable, Sendable {
        /// Another identity has this name.
        case nameTaken(Workload.ID, by: SPIFFEID)
        /// Objects say which service accounts workloads with these labels run under, and it is none of them.
        case unexpectedAccount(Workload.ID, SPIFFEID, expected: [String])
        case tooMany(limit: Int)
    }

    /// A workload, and who it has proved to be.
    struct Known: Hashable, Sendable {
        var workload: Workload
        var identity: SPIFFEID
    }

    private struct Place: Sendable {
        var proxy: ProxyClass
        var workload: Workload.ID?
    }

    private struct Entry: Sendable {
        var known: Known
        var streams = 0
        /// Whether others were told of it.
        var isServing = false
        /// When it leaves; nil: it is connected.
        var leavesAt: Instant?
    }

    /// How long a workload stays without its proxy: as long as a proxy takes to come back.
    let grace: Duration
    let limit: Int
    private var places: [StreamToken: Place] = [:]
    private var entries: [Workload.ID: Entry] = [:]
    private var classes: [ProxyClass: Int] = [:]

    init(grace: Duration = .seconds(5), limit: Int = 100_000) {
        self.grace = grace
        self.limit = limit
    }

    /// Workloads that are there, by name.
    var workloads: [Known] { entries.sorted { $0.key < $1.key }.map(\.value.known) }

    /// nil: it is not there.
    subscript(id: Workload.ID) -> Known? { entries[id]?.known }

    /// Of the proxy that tells of a workload now; nil: none does.
    func proxyClass(of id: Workload.ID) -> ProxyClass? { places.values.first { $0.workload == id }?.proxy }

    /// The newest on which its proxy tells of a workload; nil: none does.
    func stream(of id: Workload.ID) -> StreamToken? { places.filter { $0.value.workload == id }.keys.max() }

    /// Takes workloads that were there before the control plane ended: their proxies come back, and nobody should miss
    /// them until then.
    mutating func expect(_ known: [Known], until deadline: Instant) -> Changes {
        var changes = Changes()
        for each in known.prefix(limit) {
            entries[each.workload.id] = Entry(known: each, isServing: true, leavesAt: deadline)
            changes.mesh.append(.connect(each.workload))
        }
        return changes
    }

    /// A proxy's stream has begun.
    /// - Parameters:
    ///   - workload: what the proxy tells of; nil: it stands for no workload.
    ///   - identity: what it has proved; nil: nothing.
    ///   - expected: the service accounts that objects give to workloads with these labels; empty: none says it.
    mutating func enter(
        _ stream: StreamToken, _ proxy: ProxyClass, _ workload: Workload?, identity: SPIFFEID?,
        expected: [String] = []
    ) -> (changes: Changes, refusal: Refusal?) {
        var changes = Changes()
        guard places[stream] == nil else { return (changes, nil) }
        var place = Place(proxy: proxy)
        if classes[proxy] == nil { changes.begun.append(proxy) }
        classes[proxy, default: 0] += 1
        var refusal: Refusal?
        if let workload, let identity {
            refusal = self.refusal(workload, identity, expected)
            if refusal == nil {
                place.workload = workload.id
                let before = entries[workload.id]
                let isServing = before?.isServing ?? false
                entries[workload.id] = Entry(
                    known: Known(workload: workload, identity: identity), streams: (before?.streams ?? 0) + 1,
                    isServing: isServing)
                // A proxy that comes back serves as it did.
                if isServing, before?.known.workload != workload { changes.mesh.append(.connect(workload)) }
            }
        }
        places[stream] = place
        return (changes, refusal)
    }

    /// The proxy of a stream takes connections: others are told of its workload.
    mutating func serve(_ stream: StreamToken) -> Changes {
        var changes = Changes()
        guard let id = places[stream]?.workload, let entry = entries[id], !entry.isServing else { return changes }
        entries[id]?.isServing = true
        changes.mesh.append(.connect(entry.known.workload))
        return changes
    }

    private func refusal(_ workload: Workload, _ identity: SPIFFEID, _ expected: [String]) -> Refusal? {
        if !expected.isEmpty, !expected.contains(workload.serviceAccount) {
            return .unexpectedAccount(workload.id, identity, expected: expected)
        }
        if let there = entries[workload.id] {
            return there.known.identity == identity ? nil : .nameTaken(workload.id, by: there.known.identity)
        }
        return entries.count < limit ? nil : .tooMany(limit: limit)
    }

    /// A stream is over.
    mutating func leave(_ stream: StreamToken, now: Instant) -> Changes {
        var changes = Changes()
        guard let place = places.removeValue(forKey: stream) else { return changes }
        if let count = classes[place.proxy], count > 1 {
            classes[place.proxy] = count - 1
        } else {
            classes[place.proxy] = nil
            changes.ended.append(place.proxy)
        }
        guard let id = place.workload, var entry = entries[id] else { return changes }
        entry.streams -= 1
        if entry.streams == 0 { entry.leavesAt = now.advanced(by: grace) }
        entries[id] = entry
        // Who never served is missed by nobody.
        if entry.streams == 0, !entry.isServing { entries[id] = nil }
        return changes
    }

    /// When the next workload leaves. The work grows with the number of workloads: asked once in a while.
    var deadline: Instant? { entries.values.compactMap(\.leavesAt).min() }

    /// Takes away whose grace has passed.
    mutating func tick(now: Instant) -> Changes {
        var changes = Changes()
        for (id, entry) in entries.sorted(by: { $0.key < $1.key }) {
            guard let leavesAt = entry.leavesAt, leavesAt <= now else { continue }
            entries[id] = nil
            if entry.isServing { changes.mesh.append(.disconnect(id)) }
        }
        return changes
    }
}

extension WorkloadRegistry.Refusal: CustomStringConvertible {
    var description: String {
        switch self {
        case .nameTaken(let id, let other):
            "\(other) is connected as the workload \(id.namespace)/\(id.name): this one is no endpoint; give each its own "
                + "name"
        case .unexpectedAccount(let id, let identity, let expected):
            "\(identity) says that it is the workload \(id.namespace)/\(id.name), whose labels belong to the service "
                + "account \(expected.joined(separator: " or ")): it is no endpoint; use a token of that account"
        case .tooMany(let limit): "\(limit) workloads are connected already: this one is no endpoint"
        }
    }
}
