import CEnvoyAPI
import EnvoyAPI
import Forwarding
import Protobuf
import Testing
import Time

struct BreakerTests {
    @Test func whatIsUnderWayIsBounded() throws {
        let rig = try UpstreamRig(
            """
            circuit_breakers:
              thresholds:
              - { max_requests: 2, max_connections: 1, max_pending_requests: 0, track_remaining: true }
              - { priority: HIGH, max_requests: 5 }
            """)
        let cluster = rig.cluster
        #expect(cluster.tryAcquire(.requests))
        #expect(cluster.tryAcquire(.requests))
        #expect(!cluster.tryAcquire(.requests))
        #expect(cluster.breaker(.normal).isOpen(.requests))
        #expect(cluster.breaker(.normal).overflows[Breaker.Resource.requests.rawValue] == 1)
        // Priorities do not share.
        #expect(cluster.tryAcquire(.requests, .high))
        #expect(cluster.breaker(.high).remaining(.requests) == 4)
        cluster.release(.requests)
        #expect(!cluster.breaker(.normal).isOpen(.requests))
        #expect(cluster.tryAcquire(.requests))
        #expect(!cluster.tryAcquire(.pending))
        #expect(cluster.tryAcquire(.connections))
        #expect(!cluster.tryAcquire(.connections))
        // A host's first connection.
        #expect(cluster.tryAcquire(.connections, isForced: true))
        #expect(cluster.breaker(.normal).count(.connections) == 2)
    }

    @Test func theDefaultsAreThoseOfEnvoy() throws {
        let breaker = try UpstreamRig().cluster.breaker(.normal)
        #expect(Breaker.Resource.allCases.map { breaker.limit($0) } == [1024, 1024, 1024, 3])
    }

    @Test func aBudgetOfRetriesGrowsWithTheLoad() throws {
        let cluster = try UpstreamRig(
            "circuit_breakers: { thresholds: [{ retry_budget: { budget_percent: { value: 20 }, "
                + "min_retry_concurrency: 2 } }] }"
        ).cluster
        #expect(cluster.breaker(.normal).limit(.retries) == 2)
        for _ in 0..<30 { #expect(cluster.tryAcquire(.requests)) }
        for _ in 0..<10 { #expect(cluster.tryAcquire(.pending)) }
        #expect(cluster.breaker(.normal).limit(.retries) == 8)
        for _ in 0..<8 { #expect(cluster.tryAcquire(.retries)) }
        #expect(!cluster.tryAcquire(.retries))
        for _ in 0..<10 { cluster.release(.pending) }
        #expect(cluster.breaker(.normal).remaining(.retries) == 0)
    }

    @Test func aHostsConnectionsAreBounded() throws {
        let rig = try UpstreamRig(
            "circuit_breakers: { per_host_thresholds: [{ max_connections: 2 }] }", set([endpoint(0), endpoint(1)]))
        for _ in 0..<2 {
            #expect(rig.cluster.canConnect(rig.host(0)))
            rig.cluster.connectionBegan(rig.host(0))
        }
        #expect(!rig.cluster.canConnect(rig.host(0)))
        #expect(rig.cluster.canConnect(rig.host(1)))
        rig.cluster.connectionEnded(rig.host(0))
        #expect(rig.cluster.canConnect(rig.host(0)))
    }

    @Test func aShareOfRequestsIsDropped() throws {
        var rig = try UpstreamRig()
        #expect(rig.cluster.drop(random: &rig.random) == nil)
        rig.update(
            try endpointsOf(
                """
                cluster_name: web
                policy:
                  drop_overloads:
                  - { category: throttle, drop_percentage: { numerator: 25 } }
                  - { category: shed, drop_percentage: { numerator: 1000, denominator: TEN_THOUSAND } }
                """))
        var counts: [String: Int] = [:]
        for _ in 0..<10_000 {
            if let category = rig.cluster.drop(random: &rig.random) { counts[category, default: 0] += 1 }
        }
        expectShare(counts["throttle"], of: 10_000, 0.25)
        expectShare(counts["shed"], of: 10_000, 0.075)
        #expect(Int(rig.cluster.counts.dropped) == counts.values.reduce(0, +))
    }

    @Test func loadIsReportedOnce() throws {
        var rig = try UpstreamRig("lrs_server: { self: {} }", set([endpoint(0)], [endpoint(1)]))
        let host = rig.host(0)
        rig.cluster.begin(host)
        rig.cluster.begin(host)
        rig.cluster.end(host, isSuccess: true)
        #expect(
            rig.cluster.takeLoads().map { [$0.totals.requests, $0.totals.successes, UInt64($0.activeRequests)] }
                == [[2, 1, 1], [0, 0, 0]])
        // Of a host that is gone nothing is lost.
        rig.update(set([], [endpoint(1)]))
        rig.cluster.end(host, isSuccess: false)
        let loads = rig.cluster.takeLoads()
        #expect(loads.map(\.place.priority) == [0, 1])
        #expect(loads.first?.totals.errors == 1)
        #expect(rig.cluster.takeLoads().map(\.totals.errors) == [0])
    }

    @Test func workersShareTheBounds() throws {
        let configuration = try clusterOf(
            "circuit_breakers: { thresholds: [{ max_requests: 2, max_retries: 1, retry_budget: { budget_percent: "
                + "{ value: 50 }, min_retry_concurrency: 1 } }] }")
        var random = SeededRandom(seed: 1)
        let workers = (0..<2).map { _ in
            UpstreamCluster(configuration, now: Instant(nanoseconds: 0), random: &random)
        }
        #expect(workers.allSatisfy { $0.tryAcquire(.requests) })
        #expect(workers.allSatisfy { !$0.tryAcquire(.requests) })
        workers[0].release(.requests)
        #expect(workers[1].tryAcquire(.requests))
        #expect(workers.map { $0.breaker(.normal).count(.requests) } == [0, 2])
        #expect(workers[0].tryAcquire(.retries))
        #expect(!workers[1].tryAcquire(.retries))
    }

    @Test func aReportTellsWhatWasOrdered() throws {
        func load(_ cluster: String) throws -> ClusterLoad {
            let rig = try UpstreamRig("lrs_server: { self: {} }", set([endpoint(0)], [endpoint(1)]))
            for isSuccess in [true, true, false] {
                rig.cluster.begin(rig.host(0))
                rig.cluster.end(rig.host(0), isSuccess: isSuccess)
            }
            rig.cluster.begin(rig.host(0))
            return ClusterLoad(name: cluster, serviceName: cluster + ".eds", localities: rig.cluster.takeLoads())
        }
        // Two workers, one cluster; another one that nobody asked for.
        let loads = ClusterLoad.merged([try load("web"), try load("web"), try load("other")])
        #expect(loads.map(\.name) == ["other", "web"])
        let arena = Arena()
        var orders = try LoadOrders(
            encode(
                arena.make(LoadStatsResponse.self) {
                    ($0.n_clusters, $0.clusters) = arena.strings(["web"])
                    $0.load_reporting_interval = arena.duration(.seconds(3))
                }))
        #expect(orders.clusters == ["web"] && orders.interval == .seconds(3) && !orders.tellsHosts)
        func report() throws -> ClusterStats {
            let bytes = LoadReport.message(loads, orders, elapsed: .seconds(2))
            let message = try arena.decode(LoadStatsRequest.self, from: bytes).pointee
            #expect(message.cluster_stats_list.count == 1)
            return try #require(message.cluster_stats_list.first).pointee
        }
        let stats = try report()
        #expect(stats.cluster_name.string == "web" && stats.cluster_service_name.string == "web.eds")
        #expect(stats.load_report_interval?.pointee.seconds == 2)
        // The second level had nothing to do.
        #expect(stats.upstream_locality_stats_list.count == 1)
        let locality = try #require(stats.upstream_locality_stats_list.first).pointee
        #expect(
            [
                locality.total_issued_requests, locality.total_successful_requests, locality.total_error_requests,
                locality.total_requests_in_progress,
            ] == [8, 4, 2, 2])
        #expect(locality.n_upstream_endpoint_stats == 0)
        orders.tellsHosts = true
        let hosts = try #require(try report().upstream_locality_stats_list.first).pointee.upstream_endpoint_stats_list
        #expect(hosts.map(\.pointee.total_issued_requests) == [8])
    }
}
