import Testing
import Time
import XDS

@testable import DataPlane

/// Random changes in random order, and after each turn: what is served is complete, and never goes back.
struct StoreSimulation {
    @Test(arguments: 0..<200)
    func whatIsServedIsAlwaysComplete(seed: Int) {
        var simulation = Simulation(seed: UInt64(seed))
        for _ in 0..<300 { simulation.step() }
        simulation.rest()
    }
}

private struct Random: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

private struct Simulation {
    private let seed: UInt64
    private var random: Random
    private var store = ResourceStore<Int>(ownSecrets: ["default"])
    private var now = Instant(nanoseconds: 0)
    private var served = ResourceTable<Int>()
    private var version = 0
    private var subscribed: [ResourceType: Set<String>] = [:]
    /// What was served although something was missing, by type, name and version.
    private var excused: Set<String> = []
    /// Names that were ever said to be absent, or removed.
    private var absent: Set<String> = []

    init(seed: UInt64) {
        self.seed = seed
        random = Random(state: seed)
    }

    private mutating func name(_ prefix: String) -> String { "\(prefix)\(Int.random(in: 0..<4, using: &random))" }

    private mutating func update(_ type: ResourceType, _ name: String, _ references: ResourceReferences) {
        version += 1
        store.update(type, name: name, version: "\(version)", references: references, value: version, now: now)
    }

    mutating func step() {
        for _ in 0..<Int.random(in: 1...3, using: &random) { change() }
        settle()
        if Int.random(in: 0..<4, using: &random) == 0 {
            now = now.advanced(by: .seconds(Int.random(in: 1...20, using: &random)))
            settle()
        }
    }

    private mutating func change() {
        var references = ResourceReferences()
        switch Int.random(in: 0..<12, using: &random) {
        case 0, 1:
            if Bool.random(using: &random) { references.endpoints = [name("e")] }
            references.secrets = Bool.random(using: &random) ? ["default"] : [name("s")]
            update(.cluster, name("c"), references)
        case 2:
            references.routes = [name("r")]
            if Bool.random(using: &random) { references.clusters = [name("c")] }
            references.secrets = [name("s")]
            update(.listener, name("l"), references)
        case 3, 4:
            references.clusters = [name("c"), name("c")]
            update(.route, name("r"), references)
        case 5, 6: update(.endpoints, name("e"), references)
        case 7: update(.secret, Bool.random(using: &random) ? "default" : name("s"), references)
        case 8: store.remove(.cluster, name: name("c"))
        case 9: store.remove(.listener, name: name("l"))
        case 10:
            let (type, name) = Bool.random(using: &random) ? (ResourceType.endpoints, name("e")) : (.route, name("r"))
            absent.insert("\(type) \(name)")
            store.remove(type, name: name)
        default:
            let name = name("e")
            absent.insert("\(ResourceType.endpoints) \(name)")
            store.noteAbsent(.endpoints, name: name)
        }
    }

    private mutating func settle() {
        var hasServed = false
        for action in store.settle(now: now) {
            switch action {
            case .subscribe(let type, let names):
                #expect(subscribed[type, default: []].isDisjoint(with: names), "seed \(seed): subscribed twice")
                subscribed[type, default: []].formUnion(names)
            case .unsubscribe(let type, let names):
                #expect(subscribed[type, default: []].isSuperset(of: names), "seed \(seed): was not subscribed")
                subscribed[type]?.subtract(names)
            case .servesWithout(let type, let name, _):
                if let version = store.served[type, name]?.value { excused.insert("\(type) \(name) \(version)") }
            case .serve(let table):
                hasServed = true
                check(table)
                served = table
            }
        }
        if !hasServed {
            for type in ResourceType.all {
                #expect(
                    served[type].mapValues(\.value) == store.served[type].mapValues(\.value),
                    "seed \(seed): a change without word")
            }
        }
    }

    private func check(_ table: ResourceTable<Int>) {
        var changed = false
        for type in ResourceType.all {
            for (name, resource) in table[type] {
                if let old = served[type, name] {
                    #expect(old.value <= resource.value, "seed \(seed): \(type) \(name) went back")
                }
                changed = changed || served[type, name]?.value != resource.value
            }
            changed = changed || table[type].count != served[type].count
            let references = table[type].values.map(\.references)
            if type == .cluster || type == .listener {
                for name in references.flatMap(\.endpoints) where store.accepted[.endpoints, name] != nil {
                    #expect(table[.endpoints, name] != nil, "seed \(seed): endpoints \(name) are there and not served")
                }
            }
        }
        #expect(changed, "seed \(seed): nothing served has changed")
        for (type, name, resource) in [ResourceType.cluster, .listener].flatMap({ type in
            table[type].map { (type, $0.key, $0.value) }
        }) where !excused.contains("\(type) \(name) \(resource.value)") {
            for needed in ResourceReferences.fetchedByName {
                for missing in resource.references.names(of: needed) where table[needed, missing] == nil {
                    #expect(
                        absent.contains("\(needed) \(missing)") || wasExcused(type, name),
                        "seed \(seed): \(type) \(name) serves without \(needed) \(missing)")
                }
            }
        }
    }

    /// Whether an earlier version has served without something: the same may be missing still.
    private func wasExcused(_ type: ResourceType, _ name: String) -> Bool {
        excused.contains { $0.hasPrefix("\(type) \(name) ") }
    }

    /// In the end everything that was accepted serves.
    mutating func rest() {
        now = now.advanced(by: .seconds(60))
        settle()
        settle()
        for type in ResourceType.all where type != .secret {
            #expect(
                store.accepted[type].mapValues(\.value) == store.served[type].mapValues(\.value),
                "seed \(seed): \(type) is not served as accepted")
        }
        #expect(store.nextDeadline == nil)
    }
}
