/// A host of a table with its share of all keys; the shares add up to 1.
struct WeighedHost {
    var host: UpstreamHost
    var share: Double
}

/// Hosts by keys: which host a hash belongs to.
struct KeyTable {
    enum Kind {
        /// Sorted by hash: points of the ring and whose they are.
        case ring([(hash: UInt64, host: UInt32)])
        /// Slots and whose they are.
        case slots([UInt32])
    }

    private let hosts: [WeighedHost]
    private let kind: Kind
    /// Percent of the average load that a host may have; nil: any.
    private let balanceFactor: UInt32?

    /// - Parameter hosts: at least one, with what the host's place is hashed from.
    init(_ hosts: [WeighedHost], policy: BalancingSettings.Policy, settings: BalancingSettings) {
        precondition(!hosts.isEmpty, "a table without hosts")
        let keys = hosts.map { $0.host.hashKey(usesHostname: settings.hashesHostname) }
        switch policy {
        case .maglev(let size):
            // The order of hosts must not matter to where a key goes.
            let order = keys.indices.sorted { keys[$0].utf8.lexicographicallyPrecedes(keys[$1].utf8) }
            self.hosts = order.map { hosts[$0] }
            kind = .slots(Self.slots(order.map { keys[$0] }, self.hosts.map(\.share), size: size))
        case .ring(let ring):
            self.hosts = hosts
            kind = .ring(Self.ring(keys, hosts.map(\.share), ring))
        case .roundRobin, .leastRequest, .random, .clusterProvided:
            preconditionFailure("a policy that hashes nothing")
        }
        balanceFactor = settings.hashBalanceFactor
    }

    /// - Parameters:
    ///   - attempt: more than 0 goes to another place for a host that was refused.
    ///   - activeRequests: those of the whole cluster.
    func host(for hash: UInt64, attempt: Int, activeRequests: Int) -> UpstreamHost {
        let first = index(hash, attempt)
        guard let balanceFactor, hosts[first].load(activeRequests, balanceFactor) > 1 else { return hosts[first].host }
        return relieved(first, hash, activeRequests, balanceFactor)
    }

    private func index(_ hash: UInt64, _ attempt: Int) -> Int {
        switch kind {
        case .slots(let slots):
            // Most bits change, so that further attempts do not all end at one host.
            let mixed = attempt > 0 ? hash ^ (UInt64.max &- UInt64(attempt) &+ 1) : hash
            return Int(slots[Int(mixed % UInt64(slots.count))])
        case .ring(let ring):
            var low = 0
            var high = ring.count
            while low < high {
                let middle = (low + high) / 2
                if ring[middle].hash < hash { low = middle + 1 } else { high = middle }
            }
            return Int(ring[((low == ring.count ? 0 : low) + attempt) % ring.count].host)
        }
    }

    /// Goes through the hosts in an order that follows from the key until one is not overloaded; else the least loaded.
    /// Source: Envoy, "Consistent hashing with bounded loads".
    private func relieved(_ first: Int, _ hash: UInt64, _ active: Int, _ factor: UInt32) -> UpstreamHost {
        var order = Array(hosts.indices)
        var random = MersenneTwister(seed: UInt32(truncatingIfNeeded: hash))
        var best = first
        var least = hosts[first].load(active, factor)
        for place in order.indices {
            order.swapAt(place, place + Int(random.below(UInt32(order.count - place))))
            let candidate = order[place]
            if candidate == first { continue }
            let load = hosts[candidate].load(active, factor)
            if load <= 1 { return hosts[candidate].host }
            if load < least { (best, least) = (candidate, load) }
        }
        return hosts[best].host
    }

    /// How many points each host has on the ring, or slots of the table: for tests and gauges.
    func placesPerHost() -> [Int] {
        var counts = [Int](repeating: 0, count: hosts.count)
        switch kind {
        case .slots(let slots): for slot in slots { counts[Int(slot)] += 1 }
        case .ring(let ring): for point in ring { counts[Int(point.host)] += 1 }
        }
        return counts
    }
}

// MARK: - Building

extension KeyTable {
    /// Points are hashes of `key_0`, `key_1`, …: as many for a host as its share of the ring's size.
    private static func ring(
        _ keys: [String], _ shares: [Double], _ settings: BalancingSettings.Ring
    ) -> [(hash: UInt64, host: UInt32)] {
        let least = shares.min() ?? 1
        // The host of the least weight gets a whole number of points where the ring may be that large.
        let scale = min((least * Double(settings.minimumSize)).rounded(.up) / least, Double(settings.maximumSize))
        var ring: [(hash: UInt64, host: UInt32)] = []
        ring.reserveCapacity(Int(scale.rounded(.up)))
        var made = 0.0
        var wanted = 0.0
        for (host, key) in keys.enumerated() {
            wanted += scale * shares[host]
            var text = Array(key.utf8)
            text.append(UInt8(ascii: "_"))
            let end = text.count
            var number = 0
            while made < wanted {
                text.removeSubrange(end...)
                appendDecimal(number, to: &text)
                let hash = text.withUnsafeBytes {
                    settings.function == .murmur ? KeyHash.murmur($0) : KeyHash.xx($0)
                }
                ring.append((hash, UInt32(host)))
                number += 1
                made += 1
            }
        }
        ring.sort { $0.hash < $1.hash }
        return ring
    }

    private static func appendDecimal(_ number: Int, to text: inout [UInt8]) {
        if number >= 10 { appendDecimal(number / 10, to: &text) }
        text.append(UInt8(ascii: "0") + UInt8(number % 10))
    }

    /// Source: Eisenbud et al., "Maglev", section 3.4, listing 1; with weights as Envoy has them: a host of half the
    /// largest weight takes its turn every other round.
    private static func slots(_ keys: [String], _ shares: [Double], size: Int) -> [UInt32] {
        struct Turn {
            var place: UInt64
            let skip: UInt64
            var target = 0.0
        }
        let size = UInt64(size)
        var turns = keys.map {
            Turn(place: KeyHash.xx($0) % size, skip: KeyHash.xx($0, seed: 1) % (size - 1) + 1)
        }
        let largest = shares.max() ?? 1
        var slots = [UInt32](repeating: .max, count: Int(size))
        var filled: UInt64 = 0
        var round = 1.0
        while filled < size {
            for host in turns.indices where filled < size && round * shares[host] >= turns[host].target {
                turns[host].target += largest
                while slots[Int(turns[host].place)] != .max {
                    turns[host].place = (turns[host].place + turns[host].skip) % size
                }
                slots[Int(turns[host].place)] = UInt32(host)
                turns[host].place = (turns[host].place + turns[host].skip) % size
                filled += 1
            }
            round += 1
        }
        return slots
    }
}

extension WeighedHost {
    /// Requests under way at the host over what it may have; past 1 it is overloaded.
    fileprivate func load(_ active: Int, _ factor: UInt32) -> Double {
        let slots = ((active + 1) * Int(factor) + 99) / 100
        return Double(host.activeRequests) / max((Double(slots) * share).rounded(.up), 1)
    }
}
