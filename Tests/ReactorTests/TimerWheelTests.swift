import Testing
import Time

@testable import Reactor

private func at(_ milliseconds: Int64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }

/// The wheel behind a reference, as `#expect` cannot mutate what it looks at.
private final class Wheel {
    private var wheel: TimerWheel

    init(origin: Instant) { wheel = TimerWheel(origin: origin) }

    var count: Int { wheel.count }
    var capacity: Int { wheel.capacity }
    func nextWakeUp() -> Instant? { wheel.nextWakeUp() }
    func advance(to now: Instant) { wheel.advance(to: now) }
    func popDue() -> TimerWheel.Fired? { wheel.popDue() }
    func cancelAll(of owner: UInt32) { wheel.cancelAll(of: owner) }

    @discardableResult
    func cancel(_ id: TimerID) -> Bool { wheel.cancel(id) }

    func set(at deadline: Instant, owner: UInt32?, purpose: TimerWheel.Purpose) -> TimerID {
        wheel.set(at: deadline, owner: owner, purpose: purpose)
    }

    func fire(at now: Instant) -> [UInt64] {
        advance(to: now)
        var tokens: [UInt64] = []
        while let fired = popDue() {
            if case .token(let token) = fired.purpose { tokens.append(token) }
        }
        return tokens
    }
}

@Suite struct TimerWheelTests {
    @Test func timersFireInTheOrderOfTheirDeadlinesThenOfSetting() {
        let wheel = Wheel(origin: at(0))
        for (token, deadline) in [(1, 300), (2, 5), (3, 70_000), (4, 5), (5, 299), (6, 1)] as [(UInt64, Int64)] {
            _ = wheel.set(at: at(deadline), owner: nil, purpose: .token(token))
        }
        #expect(wheel.fire(at: at(4)) == [6])
        #expect(wheel.fire(at: at(80_000)) == [2, 4, 5, 1, 3])
        #expect(wheel.count == 0)
        #expect(wheel.nextWakeUp() == nil)
    }

    @Test func aTimerNeverFiresEarlyAndAPassedDeadlineFiresWithTheNextTick() {
        let wheel = Wheel(origin: at(0))
        _ = wheel.set(at: Instant(nanoseconds: 2_000_001), owner: nil, purpose: .token(1))
        #expect(wheel.fire(at: at(2)) == [])
        #expect(wheel.fire(at: at(3)) == [1])
        _ = wheel.set(at: at(-5), owner: nil, purpose: .token(2))
        #expect(wheel.fire(at: at(3)) == [])
        #expect(wheel.fire(at: at(4)) == [2])
    }

    @Test func aCancelledTimerDoesNotFireEvenIfItIsDueAlready() throws {
        let wheel = Wheel(origin: at(0))
        let first = wheel.set(at: at(1), owner: nil, purpose: .token(1))
        let second = wheel.set(at: at(2), owner: nil, purpose: .token(2))
        let third = wheel.set(at: at(3), owner: nil, purpose: .token(3))
        #expect(wheel.cancel(third))
        #expect(!wheel.cancel(third))
        wheel.advance(to: at(10))
        #expect(wheel.popDue()?.id == first)
        #expect(wheel.cancel(second))
        #expect(!wheel.cancel(first))
        #expect(wheel.popDue() == nil)
        #expect(wheel.count == 0)
    }

    @Test func anOldIDDoesNotCancelTheNextTimerInItsPlace() {
        let wheel = Wheel(origin: at(0))
        let old = wheel.set(at: at(1), owner: nil, purpose: .token(1))
        #expect(wheel.fire(at: at(1)) == [1])
        _ = wheel.set(at: at(5), owner: nil, purpose: .token(2))
        #expect(!wheel.cancel(old))
        #expect(wheel.fire(at: at(5)) == [2])
    }

    @Test func theTimersOfOneOwnerEndTogether() {
        let wheel = Wheel(origin: at(0))
        for token in 0..<9 as Range<UInt64> {
            _ = wheel.set(at: at(Int64(token) * 400 + 1), owner: UInt32(token % 3), purpose: .token(token))
        }
        wheel.advance(to: at(1))  // Token 0, of owner 0, is due but not taken.
        wheel.cancelAll(of: 0)
        wheel.cancelAll(of: 77)
        #expect(wheel.fire(at: at(10_000)) == [1, 2, 4, 5, 7, 8])
    }

    @Test func farTimersFireAtTheirTime() {
        let wheel = Wheel(origin: at(0))
        let year: Int64 = 365 * 86_400_000
        _ = wheel.set(at: at(year), owner: nil, purpose: .token(1))
        #expect(wheel.fire(at: at(year - 1)) == [])
        #expect(wheel.fire(at: at(year)) == [1])
        _ = wheel.set(at: Instant(nanoseconds: .max), owner: nil, purpose: .token(2))
        #expect(wheel.fire(at: at(2 * year)) == [])
        #expect(wheel.count == 1)
    }

    @Test func memoryOfTimersThatWereSetAndCancelledIsUsedAgain() {
        let wheel = Wheel(origin: at(0))
        for round in 0..<100_000 as Range<Int64> {
            let timer = wheel.set(at: at(round + 60_000), owner: 3, purpose: .deadline)
            wheel.cancel(timer)
        }
        #expect(wheel.capacity == 1)
    }

    @Test(arguments: 0..<40 as Range<UInt64>)
    func aThousandRandomStepsAgreeWithASortedList(seed: UInt64) {
        var random = SplitMix(state: seed)
        let wheel = Wheel(origin: at(7))
        var model: [(deadline: Int64, sequence: UInt64, id: TimerID)] = []
        var (now, sequence): (Int64, UInt64) = (7_000_000, 0)
        for _ in 0..<1000 {
            switch random.next() % 4 {
            case 0, 1:
                let reach: Int64 = [1_000, 3_000_000, 400_000_000, 90_000_000_000, 20_000_000_000_000][random.below(5)]
                let deadline = now + Int64(random.next() % UInt64(reach))
                let id = wheel.set(at: Instant(nanoseconds: deadline), owner: nil, purpose: .token(sequence))
                // A deadline within this tick waits for the next one.
                model.append((deadline, sequence, id))
                sequence += 1
            case 2 where !model.isEmpty:
                let victim = model.remove(at: random.below(model.count))
                #expect(wheel.cancel(victim.id))
            default:
                let earlier = now / 1_000_000
                now += Int64(random.next() % [900_000, 50_000_000, 70_000_000_000, 9_000_000_000_000][random.below(4)])
                let tick = now / 1_000_000
                let fired = wheel.fire(at: Instant(nanoseconds: now))
                guard tick > earlier else {
                    #expect(fired == [])
                    continue
                }
                let due = model.filter {
                    max(($0.deadline + 999_999) / 1_000_000, earlier) <= tick && $0.deadline <= now
                }
                .filter { ($0.deadline + 999_999) / 1_000_000 <= tick }
                .sorted { ($0.deadline, $0.sequence) < ($1.deadline, $1.sequence) }
                #expect(fired == due.map(\.sequence))
                model.removeAll { entry in due.contains { $0.sequence == entry.sequence } }
            }
            #expect(wheel.count == model.count)
            if let earliest = model.map(\.deadline).min(), let wake = wheel.nextWakeUp() {
                // At the latest one tick after the deadline.
                #expect(wake.nanoseconds < max(earliest, now) + 2_000_000)
            } else {
                #expect(model.isEmpty && wheel.nextWakeUp() == nil)
            }
        }
    }
}

/// A seeded generator: a failing seed replays.
struct SplitMix {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
}
