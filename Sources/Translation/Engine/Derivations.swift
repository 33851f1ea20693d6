/// What is made of other things: a function from keys to values that may ask for other keys and for facts.
protocol Derivation {
    associatedtype Key: Hashable & Sendable
    associatedtype Observation: Hashable & Sendable
    associatedtype Value: Equatable & Sendable

    /// Pure: the same answers of `derivations` give the same value. Whatever else it looks at must be noted as a fact.
    mutating func make(_ key: Key, asking derivations: inout Derivations<Self>) -> Value

    /// Whether a value is one of those that are looked through again and again.
    static func isNotable(_ value: Value) -> Bool
}

/// Values that were made, what each was made of, and therefore what a change makes anew: whatever asked for a fact that
/// changed, and whatever asked for a value that then came out different. A value type: a copy follows changes of its
/// own. Work grows with the change; memory with what is held and what that asks for.
struct Derivations<Maker: Derivation>: Sendable {
    typealias Key = Maker.Key
    typealias Fact = Maker.Observation
    typealias Value = Maker.Value

    private enum State {
        case clean
        /// Something that it asked for may come out different.
        case doubtful
        /// A fact that it asked for is different.
        case stale
        /// Being made.
        case making
    }

    private struct Node: Sendable {
        var key: Key
        var value: Value?
        var state = State.stale
        var facts: [UInt32] = []
        /// What it asked for, in order: a later question may depend on the answer to an earlier one.
        var inputs: [UInt32] = []
        var dependents = NumberSet()
        var holds = 0
        /// Generations.
        var changed: UInt64 = 0
        var verified: UInt64 = 0
    }

    private struct FactNode: Sendable {
        var fact: Fact
        var dependents = NumberSet()
    }

    private struct Frame: Sendable {
        var inputs: [UInt32] = []
        var asked = NumberSet()
        var facts = Set<Fact>()
    }

    private var nodes: [Node?] = []
    private var numbers: [Key: UInt32] = [:]
    private var freeNodes: [UInt32] = []
    private var factNodes: [FactNode?] = []
    private var factNumbers: [Fact: UInt32] = [:]
    private var freeFacts: [UInt32] = []
    private var frames: [Frame] = []
    private var doubted: [UInt32] = []
    private var maybeUnused: [UInt32] = []
    private var generation: UInt64 = 1
    /// Nodes whose value is notable.
    private var notable: Set<UInt32> = []
    /// Another number whenever some notable value has changed, come or gone.
    private(set) var notableVersion: UInt64 = 0

    /// Keys whose value was made since ``beginCount()``, in the order in which they were made.
    private(set) var made: [Key] = []
    /// Keys whose value differs from before since ``beginCount()``, and those that are new.
    private(set) var changed: [Key] = []

    /// How many values there are.
    var count: Int { numbers.count }
    /// How many facts somebody asked for.
    var factCount: Int { factNumbers.count }

    mutating func beginCount() {
        made.removeAll(keepingCapacity: true)
        changed.removeAll(keepingCapacity: true)
    }

    // MARK: Asking

    /// The value of a key, made now unless it is known. Inside ``Derivation/make(_:asking:)`` it is noted as asked for.
    mutating func value(of key: Key, _ maker: inout Maker) -> Value {
        let number = number(of: key)
        if let top = frames.indices.last, frames[top].asked.insert(number) { frames[top].inputs.append(number) }
        settle(number, &maker)
        return nodes[Int(number)]!.value!
    }

    /// The value as it is known; nil where it was never made.
    func known(_ key: Key) -> Value? { numbers[key].flatMap { nodes[Int($0)]?.value } }

    /// Every notable value as it is known, in no order.
    func forEachNotable(_ body: (Value) -> Void) {
        for number in notable {
            if let value = nodes[Int(number)]?.value { body(value) }
        }
    }

    /// Notes that what is being made asked for facts.
    mutating func note(_ facts: Set<Fact>) {
        guard let top = frames.indices.last else { return }
        if frames[top].facts.isEmpty { frames[top].facts = facts } else { frames[top].facts.formUnion(facts) }
    }

    /// Keeps a value current in ``settleAll(_:)`` until ``release(_:)``.
    mutating func hold(_ key: Key) { nodes[Int(number(of: key))]!.holds += 1 }

    mutating func release(_ key: Key) {
        guard let number = numbers[key] else { preconditionFailure("what is released was never held") }
        nodes[Int(number)]!.holds -= 1
        precondition(nodes[Int(number)]!.holds >= 0, "what is released was held")
        maybeUnused.append(number)
    }

    // MARK: Changes

    /// Facts changed: what asked for them is made anew when it is next asked for, or in ``settleAll(_:)``.
    mutating func touch(_ facts: Set<Fact>) {
        generation += 1
        var queue: [UInt32] = []
        for fact in facts {
            guard let number = factNumbers[fact] else { continue }
            for dependent in factNodes[Int(number)]!.dependents.all {
                let index = Int(dependent)
                if nodes[index]!.state == .clean { queue.append(dependent) }
                nodes[index]!.state = .stale
            }
        }
        while let number = queue.popLast() {
            doubted.append(number)
            for dependent in nodes[Int(number)]!.dependents.all where nodes[Int(dependent)]!.state == .clean {
                nodes[Int(dependent)]!.state = .doubtful
                queue.append(dependent)
            }
        }
    }

    /// Makes anew whatever is held and must be.
    mutating func settleAll(_ maker: inout Maker) {
        let pending = doubted
        doubted = []
        for number in pending {
            guard let node = nodes[Int(number)] else { continue }
            if node.holds > 0 { settle(number, &maker) } else { maybeUnused.append(number) }
            // What is not held is made when it is asked for, and doubted until then.
            if let node = nodes[Int(number)], node.state != .clean { doubted.append(number) }
        }
    }

    private mutating func settle(_ number: UInt32, _ maker: inout Maker) {
        let index = Int(number)
        switch nodes[index]!.state {
        case .clean: return
        case .making: preconditionFailure("\(nodes[index]!.key) asks for itself")
        case .stale: break
        case .doubtful:
            let verified = nodes[index]!.verified
            let inputs = nodes[index]!.inputs
            var differs = false
            for input in inputs {
                settle(input, &maker)
                if nodes[Int(input)]!.changed > verified {
                    differs = true
                    break
                }
            }
            if !differs {
                nodes[index]!.state = .clean
                nodes[index]!.verified = generation
                return
            }
        }
        make(number, &maker)
    }

    private mutating func make(_ number: UInt32, _ maker: inout Maker) {
        let index = Int(number)
        let key = nodes[index]!.key
        nodes[index]!.state = .making
        frames.append(Frame())
        let value = maker.make(key, asking: &self)
        let frame = frames.removeLast()
        made.append(key)
        replaceInputs(of: number, by: frame.inputs)
        replaceFacts(of: number, by: frame.facts)
        if nodes[index]!.value != value {
            nodes[index]!.value = value
            nodes[index]!.changed = generation
            changed.append(key)
            let (was, isNow) = (notable.contains(number), Maker.isNotable(value))
            if was || isNow { notableVersion += 1 }
            if was != isNow { if isNow { notable.insert(number) } else { notable.remove(number) } }
        }
        nodes[index]!.verified = generation
        nodes[index]!.state = .clean
    }

    // MARK: Book-keeping

    private mutating func number(of key: Key) -> UInt32 {
        if let known = numbers[key] { return known }
        let number: UInt32
        if let free = freeNodes.popLast() {
            number = free
            nodes[Int(free)] = Node(key: key)
        } else {
            number = UInt32(nodes.count)
            nodes.append(Node(key: key))
        }
        numbers[key] = number
        return number
    }

    private mutating func replaceInputs(of number: UInt32, by new: [UInt32]) {
        let old = nodes[Int(number)]!.inputs
        if old == new { return }
        let kept = Set(new)
        for input in old where !kept.contains(input) {
            nodes[Int(input)]!.dependents.remove(number)
            maybeUnused.append(input)
        }
        for input in new { nodes[Int(input)]!.dependents.insert(number) }
        nodes[Int(number)]!.inputs = new
    }

    private mutating func replaceFacts(of number: UInt32, by new: Set<Fact>) {
        var newNumbers: [UInt32] = []
        newNumbers.reserveCapacity(new.count)
        for fact in new { newNumbers.append(factNumber(of: fact)) }
        newNumbers.sort()
        let old = nodes[Int(number)]!.facts
        if old == newNumbers { return }
        for fact in newNumbers { factNodes[Int(fact)]!.dependents.insert(number) }
        let kept = Set(newNumbers)
        for fact in old where !kept.contains(fact) { forget(number, of: fact) }
        nodes[Int(number)]!.facts = newNumbers
    }

    private mutating func factNumber(of fact: Fact) -> UInt32 {
        if let known = factNumbers[fact] { return known }
        let number: UInt32
        if let free = freeFacts.popLast() {
            number = free
            factNodes[Int(free)] = FactNode(fact: fact)
        } else {
            number = UInt32(factNodes.count)
            factNodes.append(FactNode(fact: fact))
        }
        factNumbers[fact] = number
        return number
    }

    private mutating func forget(_ dependent: UInt32, of fact: UInt32) {
        factNodes[Int(fact)]!.dependents.remove(dependent)
        guard factNodes[Int(fact)]!.dependents.isEmpty else { return }
        factNumbers[factNodes[Int(fact)]!.fact] = nil
        factNodes[Int(fact)] = nil
        freeFacts.append(fact)
    }

    /// Forgets what nobody holds and nothing asks for.
    mutating func sweep() {
        while let number = maybeUnused.popLast() {
            guard let node = nodes[Int(number)], node.holds == 0, node.dependents.isEmpty else { continue }
            for input in node.inputs {
                nodes[Int(input)]!.dependents.remove(number)
                maybeUnused.append(input)
            }
            for fact in node.facts { forget(number, of: fact) }
            if notable.remove(number) != nil { notableVersion += 1 }
            numbers[node.key] = nil
            nodes[Int(number)] = nil
            freeNodes.append(number)
        }
        doubted.removeAll { nodes[Int($0)] == nil }
    }
}

/// A set of small numbers: a list while it is short.
struct NumberSet: Sendable {
    private static let longestList = 24
    private var list: [UInt32] = []
    private var many: Set<UInt32>?

    var isEmpty: Bool { many?.isEmpty ?? list.isEmpty }
    var count: Int { many?.count ?? list.count }

    /// In no order.
    var all: [UInt32] { many.map { Array($0) } ?? list }

    /// - Returns: whether it was not there before.
    @discardableResult
    mutating func insert(_ number: UInt32) -> Bool {
        if many != nil { return many!.insert(number).inserted }
        if list.contains(number) { return false }
        if list.count < Self.longestList {
            list.append(number)
        } else {
            many = Set(list)
            many!.insert(number)
            list = []
        }
        return true
    }

    mutating func remove(_ number: UInt32) {
        if many != nil {
            many!.remove(number)
            if many!.isEmpty { many = nil }
        } else if let index = list.firstIndex(of: number) {
            list.swapAt(index, list.count - 1)
            list.removeLast()
        }
    }
}
