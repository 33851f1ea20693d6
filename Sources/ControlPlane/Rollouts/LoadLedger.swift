import Synchronization
import Time

/// What proxies have told of their traffic in the last minutes: for each the newest reports, and in each the clusters
/// with the most requests. Safe to use from any thread.
///
/// Who reports has proved nothing but that it reaches the port. So what is told can end a roll-out, which takes back what
/// is new, and can do nothing else.
final class LoadLedger: Sendable {
    /// Nodes that are remembered.
    static let mostNodes = 20_000
    /// Reports of each: two minutes of them.
    static let mostReports = 12
    /// Clusters of each report that are told apart.
    static let mostClusters = 16
    /// Names of clusters that are told apart.
    static let mostNames = 65_536
    /// Bytes of the longest ID of a node, as for streams of configuration.
    static let longestNode = 1_024

    /// Requests that came to their end.
    struct Load: Hashable, Sendable {
        var successes: UInt64 = 0
        var errors: UInt64 = 0

        var requests: UInt64 { successes &+ errors }
        var errorRate: Double { requests == 0 ? 0 : Double(errors) / Double(requests) }

        static func += (left: inout Load, right: Load) {
            left.successes &+= right.successes
            left.errors &+= right.errors
        }
    }

    /// What a proxy tells once.
    struct Report: Sendable {
        /// What it tells of.
        var time: Range<Instant>
        var clusters: [(name: String, load: Load)]
    }

    private struct Entry: Sendable {
        var time: Range<Instant>
        var all: Load
        var clusters: [(name: Int, load: Load)]
    }

    private struct State {
        var entries: [String: [Entry]] = [:]
        var names: [String] = []
        var numbers: [String: Int] = [:]

        mutating func number(of name: String) -> Int? {
            if let known = numbers[name] { return known }
            guard names.count < LoadLedger.mostNames, name.utf8.count <= LoadLedger.longestNode else { return nil }
            numbers[name] = names.count
            names.append(name)
            return names.count - 1
        }
    }

    private let state = Mutex(State())

    /// - Returns: whether there was room.
    @discardableResult
    func note(_ report: Report, of node: String) -> Bool {
        guard node.utf8.count <= Self.longestNode else { return false }
        return state.withLock { state in
            guard state.entries[node] != nil || state.entries.count < Self.mostNodes else { return false }
            var entry = Entry(time: report.time, all: Load(), clusters: [])
            for cluster in report.clusters { entry.all += cluster.load }
            let busiest = report.clusters.filter { $0.load.requests > 0 }
                .sorted { ($1.load.requests, $0.name) < ($0.load.requests, $1.name) }.prefix(Self.mostClusters)
            for cluster in busiest {
                if let number = state.number(of: cluster.name) { entry.clusters.append((number, cluster.load)) }
            }
            var entries = state.entries[node] ?? []
            if entries.count >= Self.mostReports { entries.removeFirst(entries.count - Self.mostReports + 1) }
            entries.append(entry)
            state.entries[node] = entries
            return true
        }
    }

    /// A node reports no more.
    func forget(_ node: String) { state.withLock { _ = $0.entries.removeValue(forKey: node) } }

    var count: Int { state.withLock { $0.entries.count } }

    /// The traffic of some nodes in some time.
    struct Traffic: Sendable {
        var all = Load()
        var clusters: [String: Load] = [:]
    }

    /// - Parameters:
    ///   - chosen: whether a node is one of the first, or of the others.
    ///   - isIn: which reports count.
    func traffic(of chosen: (String) -> Bool, in isIn: (Range<Instant>) -> Bool) -> (first: Traffic, others: Traffic) {
        state.withLock { state in
            var sums: [(all: Load, clusters: [Int: Load])] = [(Load(), [:]), (Load(), [:])]
            for (node, entries) in state.entries {
                let side = chosen(node) ? 0 : 1
                for entry in entries where isIn(entry.time) {
                    sums[side].all += entry.all
                    for cluster in entry.clusters { sums[side].clusters[cluster.name, default: Load()] += cluster.load }
                }
            }
            func named(_ sum: (all: Load, clusters: [Int: Load])) -> Traffic {
                Traffic(
                    all: sum.all,
                    clusters: Dictionary(
                        uniqueKeysWithValues: sum.clusters.map { (state.names[$0.key], $0.value) }))
            }
            return (named(sums[0]), named(sums[1]))
        }
    }
}
