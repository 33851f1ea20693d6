import EnvoyAPI
import Protobuf
import Testing
import Time

@testable import Forwarding

/// The same keys go to the same hosts as with the real Envoy.
struct EnvoyAgreementTests {
    private struct Host {
        var number: Int
        var weight = 1
        var state = "UNKNOWN"
        var zone = "a"
        var priority = 0
        var labels: [String: String] = [:]
    }

    private func cluster(
        _ name: String, _ fields: String, _ hosts: [Host], zones: [String: Int] = ["a": 1, "b": 1]
    ) -> String {
        var text = "name: \(name)\ntype: STATIC\n\(fields)\nload_assignment:\n  cluster_name: \(name)\n  endpoints:\n"
        let priorities = Set(hosts.map(\.priority)).sorted()
        for priority in priorities {
            for zone in zones.keys.sorted() {
                let members = hosts.filter { $0.priority == priority && $0.zone == zone }
                guard !members.isEmpty else { continue }
                text += "  - priority: \(priority)\n    locality: { zone: \(zone) }\n"
                text += "    load_balancing_weight: \(zones[zone] ?? 1)\n    lb_endpoints:\n"
                for host in members {
                    let labels = host.labels.sorted { $0.key < $1.key }.map { "\($0.key): \"\($0.value)\"" }
                    text += """
                            - endpoint: { address: { socket_address: { address: 127.0.0.\(host.number), port_value: 1 } } }
                              health_status: \(host.state)
                              load_balancing_weight: \(host.weight)
                              metadata: { filter_metadata: { envoy.lb: { \(labels.joined(separator: ", ")) } } }

                        """
                }
            }
        }
        return text
    }

    /// Our answers to the same questions.
    private func answers(
        _ clusters: [String], _ questions: [EnvoyHosts.Question], port: UInt16
    ) throws -> [Int] {
        var random = SeededRandom(seed: 1)
        let now = Instant(nanoseconds: 0)
        var made: [String: UpstreamCluster] = [:]
        for text in clusters {
            let text = text.replacing("port_value: 1 ", with: "port_value: \(port) ")
            let message = try Arena().withCluster(text)
            let configuration = try ClusterConfiguration(message)
            made[configuration.name] = UpstreamCluster(configuration, now: now, random: &random)
        }
        return try questions.map { question in
            let cluster = try #require(made[question.cluster])
            let subset = SubsetCriteria(question.subset.map { .init($0.key, .string($0.value)) })
            let picked = cluster.pick(
                PickQuestion(hash: KeyHash.xx(question.key), subset: subset), now: now, random: &random)
            return picked.map { Int($0.address.ip?.bytes.last ?? 0) } ?? 503
        }
    }

    private func expectAgreement(
        _ clusters: [String], _ questions: [EnvoyHosts.Question], sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let envoy = try EnvoyHosts.answers(clusters, questions)
        let ours = try answers(clusters, questions, port: envoy.port)
        for (index, question) in questions.enumerated() where envoy.hosts[index] != ours[index] {
            Issue.record(
                "\(question): Envoy \(envoy.hosts[index]), here \(ours[index])", sourceLocation: sourceLocation)
        }
        // Something was asked, and more than one host answered.
        #expect(Set(envoy.hosts).count > 1, sourceLocation: sourceLocation)
    }

    private func keys(_ cluster: String, _ count: Int, subset: [String: String] = [:]) -> [EnvoyHosts.Question] {
        (0..<count).map { EnvoyHosts.Question(cluster, "key \($0) of \(cluster)", subset: subset) }
    }

    @Test func keysGoToTheSameHosts() throws {
        let equal = (1...9).map { Host(number: $0) }
        let weighted = (1...7).map { Host(number: $0, weight: $0 * $0) }
        let zoned = (1...8).map { Host(number: $0, weight: 1 + $0 % 2, zone: $0 < 4 ? "a" : "b") }
        let someDown = (1...9).map { Host(number: $0, state: $0 % 3 == 0 ? "UNHEALTHY" : "HEALTHY") }
        let weights = "common_lb_config: { locality_weighted_lb_config: {} }"
        let named = equal.map { host in
            var host = host
            host.labels = ["hash_key": "host number \(host.number)"]
            return host
        }
        let clusters = [
            cluster("ring", "lb_policy: RING_HASH", equal),
            cluster(
                "murmur", "lb_policy: RING_HASH\nring_hash_lb_config: { hash_function: MURMUR_HASH_2 }", equal),
            cluster("ring-weighted", "lb_policy: RING_HASH", weighted),
            cluster(
                "ring-small",
                "lb_policy: RING_HASH\nring_hash_lb_config: { minimum_ring_size: 5, maximum_ring_size: 20 }", weighted),
            cluster("ring-zones", "lb_policy: RING_HASH\n\(weights)", zoned, zones: ["a": 3, "b": 1]),
            cluster("ring-down", "lb_policy: RING_HASH", someDown),
            cluster("ring-named", "lb_policy: RING_HASH", named),
            cluster("maglev", "lb_policy: MAGLEV", equal),
            cluster("maglev-weighted", "lb_policy: MAGLEV\nmaglev_lb_config: { table_size: 1009 }", weighted),
            cluster("maglev-zones", "lb_policy: MAGLEV\n\(weights)", zoned, zones: ["a": 3, "b": 1]),
            cluster("maglev-down", "lb_policy: MAGLEV", someDown),
        ]
        let names = [
            "ring", "murmur", "ring-weighted", "ring-small", "ring-zones", "ring-down", "ring-named", "maglev",
            "maglev-weighted", "maglev-zones", "maglev-down",
        ]
        try expectAgreement(clusters, names.flatMap { keys($0, 150) })
    }

    /// With a ring the key decides on the priority, so the split is seen key by key.
    @Test func prioritiesShareInTheSameWay() throws {
        func hosts(_ healthy: [Int], of count: Int = 20, degraded: [Int] = []) -> [Host] {
            healthy.enumerated().flatMap { priority, healthy in
                (0..<count).map { index in
                    let isDegraded =
                        index >= healthy && index < healthy + (priority < degraded.count ? degraded[priority] : 0)
                    return Host(
                        number: priority * count + index + 1,
                        state: index < healthy ? "HEALTHY" : isDegraded ? "DEGRADED" : "UNHEALTHY", priority: priority)
                }
            }
        }
        func ring(_ name: String, panic: Int, _ hosts: [Host]) -> String {
            cluster(
                name, "lb_policy: RING_HASH\ncommon_lb_config: { healthy_panic_threshold: { value: \(panic) } }", hosts)
        }
        let clusters = [
            ring("p-all", panic: 50, hosts([20, 20])), ring("p-half", panic: 50, hosts([10, 20])),
            ring("p-quarter", panic: 50, hosts([5, 20, 20])), ring("p-spread", panic: 0, hosts([5, 5, 4])),
            // What rounding leaves over is seen here: 5 % and 65 % of Envoy's table of panics.
            ring("p-rest", panic: 50, hosts([1, 13])), ring("p-panic", panic: 50, hosts([5, 5])),
            ring("p-total", panic: 60, hosts([0, 0, 0])), ring("p-nobody", panic: 0, hosts([0, 0])),
            ring("p-third", panic: 0, hosts([3, 7, 1])), ring("p-uneven", panic: 30, hosts([1, 2, 3])),
        ]
        let names = ["all", "half", "quarter", "spread", "rest", "panic", "total", "nobody", "third", "uneven"]
        try expectAgreement(clusters, names.flatMap { keys("p-\($0)", 200) })
    }

    @Test func subsetsFallBackInTheSameWay() throws {
        let hosts = [
            Host(number: 1, labels: ["version": "1", "stage": "prod"]),
            Host(number: 2, labels: ["version": "1", "stage": "test"]),
            Host(number: 3, labels: ["version": "2", "stage": "prod"]), Host(number: 4, labels: ["stage": "test"]),
            Host(number: 5), Host(number: 6, state: "UNHEALTHY", labels: ["version": "3"]),
        ]
        let panic = "common_lb_config: { healthy_panic_threshold: { value: 0 } }"
        func subset(_ name: String, _ fields: String) -> String {
            cluster(name, "lb_policy: RING_HASH\n\(panic)\nlb_subset_config: { \(fields) }", hosts)
        }
        let selectors = "{ keys: [version] }, { keys: [stage, version] }"
        let clusters = [
            subset("s-none", "subset_selectors: [\(selectors)]"),
            subset("s-any", "fallback_policy: ANY_ENDPOINT, subset_selectors: [\(selectors)]"),
            subset(
                "s-standard",
                "fallback_policy: DEFAULT_SUBSET, default_subset: { stage: prod }, subset_selectors: [\(selectors)]"),
            subset(
                "s-panic",
                "fallback_policy: DEFAULT_SUBSET, default_subset: { version: \"3\" }, panic_mode_any: true, "
                    + "subset_selectors: [\(selectors)]"),
            subset(
                "s-own",
                "fallback_policy: ANY_ENDPOINT, default_subset: { stage: test }, subset_selectors: ["
                    + "{ keys: [version], fallback_policy: NO_FALLBACK }, "
                    + "{ keys: [stage], fallback_policy: DEFAULT_SUBSET }, "
                    + "{ keys: [stage, version], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [version] }]"),
        ]
        let asked: [[String: String]] = [
            [:], ["version": "1"], ["version": "2"], ["version": "3"], ["version": "4"], ["stage": "prod"],
            ["stage": "none"], ["stage": "test", "version": "1"], ["stage": "prod", "version": "9"],
            ["stage": "none", "version": "2"], ["other": "x"],
        ]
        let questions = ["none", "any", "standard", "panic", "own"].flatMap { name in
            asked.flatMap { keys("s-\(name)", 12, subset: $0) }
        }
        try expectAgreement(clusters, questions)
    }
}

extension Arena {
    fileprivate func withCluster(_ text: String) throws -> [UInt8] {
        encode(try decodeYAML(Cluster.self, text, types: envoyTypes))
    }
}
