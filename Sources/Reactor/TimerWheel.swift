import Time

/// Names one timer; a timer that has fired or was cancelled leaves an ID that names nothing.
public struct TimerID: Hashable, Sendable {
    let index: UInt32
    let generation: UInt32
}

/// Timers of one loop, as a value: no clock inside. Setting and cancelling cost the same however many there are.
///
/// A hierarchical wheel: four levels of 256 slots of 1 ms, 256 ms, 65.5 s and 4.7 h; a timer moves down a level
/// when its slot's time has come, so at most three times. Timers beyond 49 days wait in the last level.
/// Source: Varghese and Lauck, "Hashed and hierarchical timing wheels", scheme 7.
struct TimerWheel {
    /// What a timer is for.
    enum Purpose: Equatable {
        /// The handler of the owning connection gets this token.
        case token(UInt64)
        /// The loop's own bound on a connection that is connecting, shaking hands or closing.
        case deadline
        /// A closure of the loop.
        case work
    }

    struct Fired: Equatable {
        let id: TimerID
        let purpose: Purpose
        /// The slot of the connection; nil for the loop's own timers.
        let owner: UInt32?
    }

    private struct Node {
        var deadline: Int64 = 0  // ns
        var tick: Int64 = 0  // the first tick at or after the deadline
        var sequence: UInt64 = 0
        var purpose: Purpose = .work
        var generation: UInt32 = 0
        var chain: UInt32 = 0  // owner + 1; 0 is the loop
        // Neighbours in the slot's list, and in the list of the owner's timers.
        var next = TimerWheel.none
        var previous = TimerWheel.none
        var ownerNext = TimerWheel.none
        var ownerPrevious = TimerWheel.none
        var place = Place.free
    }

    private enum Place: Equatable {
        case free
        case slot(UInt16)  // level * 256 + slot
        case due
        case cancelledWhileDue
    }

    private static let none = UInt32.max
    private static let levels = 4
    private static let nanosecondsPerTick: Int64 = 1_000_000

    private let origin: Instant
    private var current: Int64 = 0
    private var nodes: ContiguousArray<Node> = []
    private var firstFree = TimerWheel.none
    private var heads = ContiguousArray(repeating: TimerWheel.none, count: 4 * 256)
    private var tails = ContiguousArray(repeating: TimerWheel.none, count: 4 * 256)
    private var occupied = ContiguousArray<UInt64>(repeating: 0, count: 4 * 4)
    private var chains: ContiguousArray<UInt32> = []
    private var due: ContiguousArray<UInt32> = []
    private var dueStart = 0
    private var nextSequence: UInt64 = 0
    /// Timers that are set.
    private(set) var count = 0

    init(origin: Instant) {
        self.origin = origin
    }

    /// Timers that are set or were, at their peak: the memory held.
    var capacity: Int { nodes.count }

    /// - Parameter owner: the slot of a connection, whose timers `cancelAll(of:)` ends; nil for the loop's own.
    mutating func set(at deadline: Instant, owner: UInt32?, purpose: Purpose) -> TimerID {
        let index: UInt32
        if firstFree != Self.none {
            index = firstFree
            firstFree = nodes[Int(index)].next
        } else {
            index = UInt32(nodes.count)
            nodes.append(Node())
        }
        let chain = owner.map { $0 + 1 } ?? 0
        while chains.count <= Int(chain) { chains.append(Self.none) }
        let i = Int(index)
        nodes[i].deadline = deadline.nanoseconds
        let delay = max(0, deadline.nanoseconds.subtractingReportingOverflow(origin.nanoseconds).partialValue)
        let tick = delay / Self.nanosecondsPerTick + (delay % Self.nanosecondsPerTick == 0 ? 0 : 1)
        nodes[i].tick = max(tick, current + 1)
        nodes[i].sequence = nextSequence
        nextSequence += 1
        nodes[i].purpose = purpose
        nodes[i].chain = chain
        nodes[i].ownerPrevious = Self.none
        nodes[i].ownerNext = chains[Int(chain)]
        if nodes[i].ownerNext != Self.none { nodes[Int(nodes[i].ownerNext)].ownerPrevious = index }
        chains[Int(chain)] = index
        count += 1
        file(index)
        return TimerID(index: index, generation: nodes[i].generation)
    }

    /// - Returns: false if the timer has fired or was cancelled before.
    @discardableResult
    mutating func cancel(_ id: TimerID) -> Bool {
        guard Int(id.index) < nodes.count, nodes[Int(id.index)].generation == id.generation else { return false }
        return cancel(id.index)
    }

    /// Ends every timer of one connection.
    mutating func cancelAll(of owner: UInt32) {
        guard Int(owner) + 1 < chains.count else { return }
        while chains[Int(owner) + 1] != Self.none { cancel(chains[Int(owner) + 1]) }
    }

    /// Moves the wheel on; what is due then comes from ``popDue()`` in the order of deadlines, then of setting.
    mutating func advance(to now: Instant) {
        let target = (now.nanoseconds - origin.nanoseconds) / Self.nanosecondsPerTick
        guard target > current else { return }
        let firstNew = due.count
        while let next = nextTick(), next <= target {
            current = next
            var level = 1
            while level < Self.levels, current & ((1 << (8 * Int64(level))) - 1) == 0 { level += 1 }
            // From the top down, so that what falls two levels is filed again on its way.
            for upper in stride(from: level - 1, through: 1, by: -1) {
                drain(upper * 256 + Int(current >> (8 * Int64(upper)) & 255)) { wheel, index in wheel.file(index) }
            }
            drain(Int(current & 255)) { wheel, index in
                wheel.nodes[Int(index)].place = .due
                wheel.due.append(index)
            }
        }
        current = target
        if due.count - firstNew > 1 {
            let nodes = self.nodes
            due[firstNew...].sort {
                let (a, b) = (nodes[Int($0)], nodes[Int($1)])
                return (a.deadline, a.sequence) < (b.deadline, b.sequence)
            }
        }
    }

    /// The next timer that is due and was not cancelled meanwhile.
    mutating func popDue() -> Fired? {
        while dueStart < due.count {
            let index = due[dueStart]
            dueStart += 1
            if dueStart == due.count {
                due.removeAll(keepingCapacity: due.count <= 1024)
                dueStart = 0
            }
            let node = nodes[Int(index)]
            if node.place == .cancelledWhileDue {
                free(index)
                continue
            }
            unchain(index)
            count -= 1
            free(index)
            return Fired(
                id: TimerID(index: index, generation: node.generation), purpose: node.purpose,
                owner: node.chain == 0 ? nil : node.chain - 1)
        }
        return nil
    }

    /// When ``advance(to:)`` is wanted next: the earliest deadline or an earlier moment; nil without timers.
    func nextWakeUp() -> Instant? {
        if dueStart < due.count { return origin.advanced(by: .nanoseconds(current * Self.nanosecondsPerTick)) }
        return nextTick().map { Instant(nanoseconds: origin.nanoseconds + $0 * Self.nanosecondsPerTick) }
    }

    @discardableResult
    private mutating func cancel(_ index: UInt32) -> Bool {
        switch nodes[Int(index)].place {
        case .free, .cancelledWhileDue: return false
        case .slot(let slot):
            unlink(index, from: Int(slot))
            unchain(index)
            free(index)
        case .due:
            unchain(index)
            // Its index is still in `due`: freed when it comes up there. The ID is dead from now on.
            nodes[Int(index)].place = .cancelledWhileDue
            nodes[Int(index)].generation &+= 1
        }
        count -= 1
        return true
    }

    private mutating func free(_ index: UInt32) {
        nodes[Int(index)].place = .free
        nodes[Int(index)].generation &+= 1
        nodes[Int(index)].next = firstFree
        firstFree = index
    }

    private mutating func unchain(_ index: UInt32) {
        let node = nodes[Int(index)]
        if node.ownerPrevious == Self.none {
            chains[Int(node.chain)] = node.ownerNext
        } else {
            nodes[Int(node.ownerPrevious)].ownerNext = node.ownerNext
        }
        if node.ownerNext != Self.none { nodes[Int(node.ownerNext)].ownerPrevious = node.ownerPrevious }
    }

    /// Puts a timer into the slot that its distance asks for.
    private mutating func file(_ index: UInt32) {
        let distance = nodes[Int(index)].tick - current
        let tick = min(nodes[Int(index)].tick, current + (1 << 32) - 1)
        let level = distance < 1 << 8 ? 0 : distance < 1 << 16 ? 1 : distance < 1 << 24 ? 2 : 3
        let slot = level * 256 + Int(tick >> (8 * Int64(level)) & 255)
        nodes[Int(index)].place = .slot(UInt16(slot))
        nodes[Int(index)].next = Self.none
        nodes[Int(index)].previous = tails[slot]
        if tails[slot] == Self.none { heads[slot] = index } else { nodes[Int(tails[slot])].next = index }
        tails[slot] = index
        occupied[slot >> 6] |= 1 << UInt64(slot & 63)
    }

    private mutating func unlink(_ index: UInt32, from slot: Int) {
        let (next, previous) = (nodes[Int(index)].next, nodes[Int(index)].previous)
        if previous == Self.none { heads[slot] = next } else { nodes[Int(previous)].next = next }
        if next == Self.none { tails[slot] = previous } else { nodes[Int(next)].previous = previous }
        if heads[slot] == Self.none { occupied[slot >> 6] &= ~(1 << UInt64(slot & 63)) }
    }

    private mutating func drain(_ slot: Int, _ each: (inout TimerWheel, UInt32) -> Void) {
        var index = heads[slot]
        heads[slot] = Self.none
        tails[slot] = Self.none
        occupied[slot >> 6] &= ~(1 << UInt64(slot & 63))
        while index != Self.none {
            let next = nodes[Int(index)].next
            each(&self, index)
            index = next
        }
    }

    /// The first tick after `current` at which a slot is due or is to be moved down.
    private func nextTick() -> Int64? {
        var earliest: Int64?
        for level in 0..<Self.levels {
            let position = current >> (8 * Int64(level))
            guard let distance = distanceToOccupied(level: level, after: Int(position & 255)) else { continue }
            let tick = (position + Int64(distance)) << (8 * Int64(level))
            if tick < earliest ?? .max { earliest = tick }
        }
        return earliest
    }

    /// 1 to 256 slots ahead, cyclically; nil if the level is empty.
    private func distanceToOccupied(level: Int, after slot: Int) -> Int? {
        for step in 0...4 {
            let start = (slot + 1) & 255
            let word = ((start >> 6) + step) & 3
            var bits = occupied[level * 4 + word]
            if step == 0 { bits &= ~0 << UInt64(start & 63) }
            if step == 4 { bits &= ~(~0 << UInt64(start & 63)) }
            guard bits != 0 else { continue }
            let found = word * 64 + bits.trailingZeroBitCount
            let distance = (found - slot) & 255
            return distance == 0 ? 256 : distance
        }
        return nil
    }
}
