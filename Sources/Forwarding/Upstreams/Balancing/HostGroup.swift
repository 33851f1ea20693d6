import Glibc
import Time

/// Hosts among which one policy chooses, with what it remembers.
struct HostGroup {
    private(set) var hosts: [UpstreamHost]
    /// Whose turn it is, where all weigh the same.
    private var turn: Int
    private var turns: WeightedTurns?
    private var isPrepared = false
    private var isUniform = true

    /// - Parameter turn: anything; a group that takes over from another goes on where that was.
    init(_ hosts: [UpstreamHost], turn: Int = 0) {
        self.hosts = hosts
        self.turn = turn
    }

    var isEmpty: Bool { hosts.isEmpty }
    var savedTurn: Int { turn }

    mutating func pick(_ settings: BalancingSettings, now: Instant, random: inout SeededRandom) -> UpstreamHost? {
        if hosts.count <= 1 { return hosts.first }
        switch settings.policy {
        case .random, .clusterProvided, .ring, .maglev:
            return hosts[random.below(hosts.count)]
        case .roundRobin:
            prepare(settings, now: now, random: &random)
            if isUniform {
                turn = turn >= hosts.count - 1 ? 0 : turn + 1
                return hosts[turn]
            }
            return weighted(settings, now: now)
        case .leastRequest(let least):
            prepare(settings, now: now, random: &random)
            if !isUniform { return weighted(settings, now: now, bias: least.bias) }
            return least.scansAll ? leastOfAll(random: &random) : leastOfSome(least.choices, random: &random)
        }
    }

    /// Finds out whether weights matter, once per change of hosts.
    private mutating func prepare(_ settings: BalancingSettings, now: Instant, random: inout SeededRandom) {
        guard !isPrepared else { return }
        isPrepared = true
        let weight = hosts[0].weight
        isUniform = hosts.allSatisfy { $0.weight == weight }
        if let slow = settings.slowStart, isUniform {
            isUniform = !hosts.contains { $0.isStarting(slow, now: now) }
        }
        turn = hosts.count > turn ? turn : turn % hosts.count
        guard !isUniform else { return }
        var bias: Double?
        if case .leastRequest(let least) = settings.policy { bias = least.bias }
        turns = WeightedTurns(
            hosts.map { $0.currentWeight(settings.slowStart, bias: bias, now: now) }, start: random.unit())
    }

    private mutating func weighted(_ settings: BalancingSettings, now: Instant, bias: Double? = nil) -> UpstreamHost? {
        let hosts = hosts
        return turns?.next { hosts[$0].currentWeight(settings.slowStart, bias: bias, now: now) }.map { hosts[$0] }
    }

    private func leastOfSome(_ choices: Int, random: inout SeededRandom) -> UpstreamHost {
        var best = hosts[random.below(hosts.count)]
        for _ in 1..<max(choices, 1) {
            let other = hosts[random.below(hosts.count)]
            if other.activeRequests < best.activeRequests { best = other }
        }
        return best
    }

    private func leastOfAll(random: inout SeededRandom) -> UpstreamHost {
        var best = hosts[0]
        var ties = 1
        for other in hosts.dropFirst() {
            if other.activeRequests < best.activeRequests {
                (best, ties) = (other, 1)
            } else if other.activeRequests == best.activeRequests {
                ties += 1
                // Each of those that tie is as likely.
                if random.below(ties) == 0 { best = other }
            }
        }
        return best
    }
}

extension UpstreamHost {
    func isStarting(_ slow: BalancingSettings.SlowStart, now: Instant) -> Bool {
        guard let usableSince else { return false }
        return usableSince.duration(to: now) < slow.window
    }

    /// Its weight as it is new, and as it is busy.
    func currentWeight(_ slow: BalancingSettings.SlowStart?, bias: Double?, now: Instant) -> Double {
        var weight = Double(endpoint.weight)
        if let bias, bias > 0 {
            weight /= bias == 1 ? Double(activeRequests + 1) : pow(Double(activeRequests + 1), bias)
        }
        guard let slow, let usableSince, health == .healthy else { return weight }
        let age = usableSince.duration(to: now)
        guard age < slow.window else { return weight }
        let part = Double(max(age.nanoseconds, 1_000_000)) / Double(slow.window.nanoseconds)
        return weight * max(slow.aggression == 1 ? part : pow(part, 1 / slow.aggression), slow.minimumShare)
    }
}
