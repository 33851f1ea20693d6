import EnvoyAPI
import Protobuf
import Testing
import Time

@testable import ControlPlane

/// Whether a share does worse than the others, by what proxies report of their load.
struct LoadHealthTests {
    private let ledger = LoadLedger()

    private func second(_ number: Int64) -> Instant { Instant(nanoseconds: number * 1_000_000_000) }

    private func note(
        _ node: String, _ seconds: Range<Int64>, _ successes: UInt64, _ errors: UInt64, _ host: String = "api"
    ) {
        ledger.note(
            LoadLedger.Report(
                time: second(seconds.lowerBound)..<second(seconds.upperBound),
                clusters: [
                    ("outbound|80||\(host).shop.svc.cluster.local", .init(successes: successes, errors: errors))
                ]), of: node)
    }

    private func verdict(_ nodes: Set<String>, since: Int64) -> RolloutVerdict {
        LoadHealth(ledger).verdict(nodes, since: second(since))
    }

    @Test func aShareWhoseRequestsFailMoreThanThoseOfTheOthersIsUnhealthy() {
        for number in 0..<10 { note("old-\(number)", 100..<110, 99, 1) }
        note("new", 100..<110, 90, 10)
        #expect(
            verdict(["new"], since: 100)
                == .unhealthy("10.0 % of the requests to api.shop.svc.cluster.local fail, 1.0 % of the others'"))
        // As many fail as everywhere.
        for number in 0..<10 { note("old-\(number)", 110..<120, 80, 20) }
        note("new", 110..<120, 80, 20)
        #expect(verdict(["new"], since: 110) == .healthy)
        #expect(verdict(["new"], since: 120) == .unknown)
    }

    @Test func oneClusterIsEnough() {
        note("old", 0..<10, 100, 0, "small")
        note("old", 0..<10, 100_000, 0, "large")
        note("new", 0..<10, 50, 50, "small")
        note("new", 0..<10, 100_000, 0, "large")
        #expect(
            verdict(["new"], since: 0)
                == .unhealthy("50.0 % of the requests to small.shop.svc.cluster.local fail, 0.0 % of the others'"))
    }

    @Test func whereThereAreNoOthersWhatWasBeforeCounts() {
        note("new", 0..<10, 100, 0)
        // It began before all had acknowledged: it says something of both.
        note("new", 10..<20, 0, 100)
        note("new", 20..<30, 90, 10)
        #expect(
            verdict(["new"], since: 15)
                == .unhealthy("10.0 % of the requests to api.shop.svc.cluster.local fail, 0.0 % before"))
    }

    @Test func ofFewRequestsNothingIsSaid() {
        note("old", 0..<10, 1_000, 0)
        note("new", 0..<10, 0, LoadHealth.fewestRequests - 1)
        #expect(verdict(["new"], since: 0) == .unknown)
        note("new", 0..<10, 0, 1)
        #expect(verdict(["new"], since: 0) != .unknown)
    }

    @Test func whatIsKeptIsBounded() {
        for number in 0..<(LoadLedger.mostNodes + 10) { note("node-\(number)", 0..<10, 1, 0) }
        #expect(ledger.count == LoadLedger.mostNodes)
        ledger.forget("node-0")
        #expect(ledger.count == LoadLedger.mostNodes - 1)
        for round in 0..<100 as Range<Int64> { note("node-1", round * 10..<round * 10 + 10, 1, 0) }
        let (sum, _) = ledger.traffic(of: { $0 == "node-1" }, in: { _ in true })
        #expect(sum.all.requests == UInt64(LoadLedger.mostReports))
        let clusters = (0..<100).map { ("cluster-\($0)", LoadLedger.Load(successes: UInt64($0), errors: 0)) }
        ledger.note(LoadLedger.Report(time: second(5_000)..<second(5_010), clusters: clusters), of: "node-2")
        let (busy, _) = ledger.traffic(of: { $0 == "node-2" }, in: { $0.lowerBound >= second(5_000) })
        #expect(busy.clusters.count == LoadLedger.mostClusters && busy.clusters["cluster-99"]?.requests == 99)
        #expect(busy.all.requests == 99 * 100 / 2)
        #expect(
            !ledger.note(
                LoadLedger.Report(time: second(0)..<second(1), clusters: []), of: String(repeating: "a", count: 2_000)))
    }

    @Test func aReportIsReadAsProxiesWriteIt() throws {
        let arena = Arena()
        let bytes = encode(
            arena.make(LoadStatsRequest.self) { message in
                (message.n_cluster_stats, message.cluster_stats) = arena.list(
                    arena.make(ClusterStats.self) { cluster in
                        cluster.cluster_name = arena("outbound|80||api.shop.svc.cluster.local")
                        cluster.load_report_interval = arena.duration(.milliseconds(10_500))
                        (cluster.n_upstream_locality_stats, cluster.upstream_locality_stats) = arena.list(
                            (1...2 as ClosedRange<UInt64>).map { number in
                                arena.make(UpstreamLocalityStats.self) {
                                    ($0.total_successful_requests, $0.total_error_requests) = (10 * number, number)
                                }
                            })
                    })
            })
        let report = LoadLedger.Report(
            try arena.decode(LoadStatsRequest.self, from: bytes).pointee, at: second(100))
        #expect(report.time == second(100).advanced(by: .milliseconds(-10_500))..<second(100))
        #expect(report.clusters.map(\.load) == [LoadLedger.Load(successes: 30, errors: 3)])
    }
}
