import Addresses
import Forwarding
import Glibc
import HTTP
import Reactor
import Synchronization
import Testing

@testable import DataPlane

/// Waits for what other threads do, at most five seconds.
func eventually(_ condition: () -> Bool) -> Bool {
    for _ in 0..<2500 {
        if condition() { return true }
        usleep(2000)
    }
    return false
}

/// A port whose connections are never established: its queue is full.
final class DeafPort {
    let port: UInt16
    private let listening: Int32
    private var fillers: [Int32] = []

    init() {
        listening = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = listening
        func asGeneric(_ body: (UnsafeMutablePointer<sockaddr>) -> Void) {
            withUnsafeMutablePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1, body)
            }
        }
        asGeneric { _ = bind(descriptor, $0, length) }
        asGeneric { _ = getsockname(descriptor, $0, &length) }
        listen(descriptor, 0)
        port = UInt16(bigEndian: address.sin_port)
        for _ in 0..<3 {
            let filler = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
            asGeneric { _ = connect(filler, $0, length) }
            fillers.append(filler)
        }
    }

    deinit { for descriptor in fillers + [listening] { close(descriptor) } }
}

/// The server's end of an HTTP/2 connection, frame by frame.
extension Wire {
    static let settings: [UInt8] = [0, 0, 0, 4, 0, 0, 0, 0, 0]
    static func goAway(last: UInt8) -> [UInt8] { [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 0] }

    func readPreface() -> Bool { read(24) != nil }

    /// Reads on until a stream is opened; nil at the end.
    func readHeaders() -> UInt8? {
        while let frame = read(9) {
            guard read(Int(frame[0]) << 16 | Int(frame[1]) << 8 | Int(frame[2])) != nil else { return nil }
            if frame[3] == 1 { return frame[8] }
        }
        return nil
    }
}

@Suite struct UpstreamPoolTests {
    private static let all = "- {match: {prefix: /}, route: {cluster: web, timeout: 0s}}"

    private func ask<Answer: Sendable>(
        _ stage: Stage, _ name: String, _ question: @escaping @Sendable (WorkerCluster) -> Answer
    ) -> Answer? {
        stage.workers.ask { worker in worker.cluster(name).map(question) }.first ?? nil
    }

    private func table(_ cluster: String) throws -> RouteTable {
        try RouteTable(
            Resources.bytes(
                "envoy.config.route.v3.RouteConfiguration",
                """
                name: all
                virtual_hosts:
                - name: all
                  domains: ["*"]
                  routes:
                  - {match: {prefix: /}, route: {cluster: \(cluster)}}
                """))
    }

    @Test func aRequestThatWaitedGoesToItsOwnClusterAndLeadsNobodyElseAstray() throws {
        let clusters = try [Resources.cluster("blue", ports: []), Resources.cluster("green", ports: [])]
        let named = try Resources.listener(
            """
            name: http
            address: {socket_address: {address: 127.0.0.1, port_value: 0}}
            filter_chains:
            - filters:
              - name: hcm
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                  stat_prefix: test
                  rds: {route_config_name: all, config_source: {ads: {}}}
                  http_filters:
                  - name: router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
            """)
        let stage = try Stage([], [])
        let (blue, green) = (try table("blue"), try table("green"))
        stage.serve([named], clusters, routes: ["all": blue])
        #expect(stage.get("/")?.status == 503)
        stage.serve([named], clusters, routes: ["all": green])
        let names = stage.workers.ask { worker -> [String?] in
            guard let service = worker.listeners["http"]?.httpServices.first else { return [] }
            func forward(_ table: RouteTable) -> Forward? {
                let head = HeaderList([(":method", "GET"), (":path", "/"), (":authority", "a"), (":scheme", "http")])
                let facts = ConnectionFacts(source: .pipe(""), destination: .pipe(""))
                guard case .forward(_, let forward) = table.route(head, facts, random: 0) else { return nil }
                return forward
            }
            _ = service.routes()
            return [blue, green, blue].map { forward($0).flatMap { service.cluster($0)?.name } }
        }
        #expect(names == [["blue", "green", "blue"]])
    }

    @Test func clientsThatGoAwayMakeNoHostAnOutlier() throws {
        let deaf = DeafPort()
        let cluster = try Resources.cluster(
            "db", ports: [deaf.port],
            "outlier_detection: {consecutive_5xx: 1, enforcing_consecutive_5xx: 100, max_ejection_percent: 100}")
        let stage = try Stage([try Resources.tcpListener(cluster: "db")], [cluster])
        var client: Wire? = stage.connect("tcp")
        #expect(eventually { ask(stage, "db") { $0.counters.activeConnections } == 1 })
        client?.reset()
        client = nil
        #expect(eventually { ask(stage, "db") { $0.counters.activeConnections } == 0 })
        #expect(ask(stage, "db") { $0.state.hosts.map(\.isEjected) } == [false])
    }

    @Test func aConnectionThatIsMadeEndsAHostsRowOfFailures() throws {
        let upstream = TestServer { wire, _ in wire.send("hello") }
        let cluster = try Resources.cluster(
            "db", ports: [upstream.port],
            "outlier_detection: {consecutive_5xx: 2, enforcing_consecutive_5xx: 100, max_ejection_percent: 100}")
        let stage = try Stage([try Resources.tcpListener(cluster: "db")], [cluster])
        for _ in 0..<3 {
            _ = ask(stage, "db") { cluster in cluster.connectFailed(cluster.state.hosts[0], .connectFailed("")) }
            #expect(stage.connect("tcp").readToEnd() == "hello")
        }
        #expect(ask(stage, "db") { $0.state.ejectedHosts } == 0)
    }

    @Test func aRequestThatGetsAConnectionEndsAHostsRowOfFailuresToConnect() throws {
        let upstream = TestServer.echo()
        let cluster = try Resources.cluster(
            "web", ports: [upstream.port],
            """
            outlier_detection: {split_external_local_origin_errors: true, consecutive_local_origin_failure: 2,
              enforcing_consecutive_local_origin_failure: 100, max_ejection_percent: 100}
            """)
        let stage = try Stage([try Resources.httpListener(routes: Self.all)], [cluster])
        for _ in 0..<3 {
            _ = ask(stage, "web") { cluster in cluster.connectFailed(cluster.state.hosts[0], .connectFailed("")) }
            #expect(stage.get("/")?.status == 200)
        }
        #expect(ask(stage, "web") { $0.state.ejectedHosts } == 0)
    }

    @Test func aConnectionThatNobodyRedirectedIsNotLedBackToItsOwnListener() throws {
        let passthrough = try ServedCluster(
            name: "pass",
            configuration: ClusterConfiguration(
                Resources.bytes(
                    "envoy.config.cluster.v3.Cluster",
                    "{name: pass, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s}")),
            endpoints: nil)
        let filter = """
            listener_filters:
            - name: destination
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst
            """
        let stage = try Stage([try Resources.tcpListener(cluster: "pass", extra: filter)], [passthrough])
        #expect(stage.connect("tcp").readToEnd() == "")
        #expect(stage.workers.ask { $0.listeners["tcp"]?.counters.connections } == [1])
    }

    private final class Remembered: @unchecked Sendable {
        weak var cluster: WorkerCluster?
        var pair: (WorkerCluster, UpstreamHost)?
        let answers = Atomic(0)
    }

    @Test func aClusterThatIsGoneServesWhoStillTriesAndIsLetGo() throws {
        let upstream = TestServer.echo()
        let stage = try Stage([], [try Resources.cluster("web", ports: [upstream.port])])
        let remembered = Remembered()
        _ = stage.workers.ask { worker in
            guard let cluster = worker.cluster("web"), let host = cluster.pick(PickQuestion()) else { return }
            remembered.cluster = cluster
            remembered.pair = (cluster, host)
        }
        stage.serve(
            [], [try Resources.cluster("web", ports: [upstream.port], "per_connection_buffer_limit_bytes: 5000")])
        _ = stage.workers.ask { worker in
            // A try that began while its cluster was there.
            let head = HeaderList([(":method", "GET"), (":path", "/"), (":authority", "a"), (":scheme", "http")])
            WorkerCall.send(
                head, body: [], to: remembered.pair?.0, within: .seconds(5), bodyLimit: 1024, worker: worker
            ) { outcome in
                if case .response = outcome { remembered.answers.add(1, ordering: .relaxed) }
            }
            remembered.pair = nil
        }
        #expect(eventually { remembered.answers.load(ordering: .relaxed) == 1 })
        #expect(eventually { stage.workers.ask { _ in remembered.cluster == nil } == [true] })
    }

    @Test func aConnectionThatHasDoneItsShareEndsWithItsLastRequestAlsoIfThatIsCancelled() throws {
        let upstream = TestServer { wire, _ in
            guard wire.readPreface() else { return }
            wire.send(Wire.settings)
            while wire.readHeaders() != nil {}
        }
        let cluster = try Resources.cluster(
            "web", ports: [upstream.port],
            Resources.http2 + "\n    common_http_protocol_options: {max_requests_per_connection: 1}")
        let stage = try Stage([try Resources.httpListener(routes: Self.all)], [cluster])
        let client = stage.connect()
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        #expect(eventually { ask(stage, "web") { $0.counters.connected } == 1 })
        client.reset()
        #expect(eventually { ask(stage, "web") { $0.counters.activeConnections } == 0 })
    }

    private final class Progress: Sendable {
        let opened = Atomic(0)
        let mayGo = Atomic(false)
    }

    @Test func whoWaitsGetsAnotherConnectionWhenTheOneTheyWaitForGoesAway() throws {
        let progress = Progress()
        let upstream = TestServer { wire, _ in
            guard wire.readPreface() else { return }
            wire.send(Wire.settings)
            guard wire.readHeaders() != nil else { return }
            progress.opened.add(1, ordering: .relaxed)
            guard eventually({ progress.mayGo.load(ordering: .relaxed) }) else { return }
            wire.send(Wire.goAway(last: 1))
            _ = wire.readHeaders()
        }
        let cluster = try Resources.cluster(
            "web", ports: [upstream.port],
            """
            circuit_breakers: {thresholds: [{max_connections: 1}]}
            typed_extension_protocol_options:
              envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
                "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
                explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 1}}
            """)
        let stage = try Stage([try Resources.httpListener(routes: Self.all)], [cluster])
        let clients = (0..<2).map { _ in stage.connect() }
        clients[0].send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        #expect(eventually { progress.opened.load(ordering: .relaxed) == 1 })
        clients[1].send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        #expect(eventually { ask(stage, "web") { $0.state.breaker(.normal).count(.pending) } == 1 })
        progress.mayGo.store(true, ordering: .relaxed)
        #expect(eventually { progress.opened.load(ordering: .relaxed) == 2 })
    }

    /// A cluster of one host that has two addresses, of which nobody listens at the first.
    private func twofold(_ name: String, _ port: UInt16) throws -> ServedCluster {
        let closed = try ListeningSocket(.loopback(port: 0)).address.port ?? 0
        func address(_ port: UInt16) -> String { "{socket_address: {address: 127.0.0.1, port_value: \(port)}}" }
        let yaml = """
            name: \(name)
            type: STATIC
            connect_timeout: 2s
            load_assignment:
              cluster_name: \(name)
              endpoints:
              - lb_endpoints:
                - endpoint: {address: \(address(closed)), additional_addresses: [{address: \(address(port))}]}
            """
        return ServedCluster(
            name: name,
            configuration: try ClusterConfiguration(Resources.bytes("envoy.config.cluster.v3.Cluster", yaml)),
            endpoints: nil)
    }

    @Test func aHostIsReachedAtItsOtherAddressToo() throws {
        let upstream = TestServer.echo()
        let stage = try Stage(
            [try Resources.httpListener(routes: Self.all), try Resources.tcpListener(cluster: "db")],
            [try twofold("web", upstream.port), try twofold("db", upstream.port)])
        #expect(stage.get("/")?.status == 200)
        #expect(stage.get("/", on: "tcp")?.status == 200)
        #expect(ask(stage, "web") { $0.counters.connectFailed } == 0)
    }

    private func custom(_ yaml: String) throws -> ServedCluster {
        let configuration = try ClusterConfiguration(Resources.bytes("envoy.config.cluster.v3.Cluster", yaml))
        return ServedCluster(name: configuration.name, configuration: configuration, endpoints: nil)
    }

    @Test func aRequestMayNameItsHost() throws {
        let upstream = TestServer.echo()
        let stage = try Stage(
            [try Resources.httpListener(routes: Self.all)],
            [
                try custom(
                    """
                    name: web
                    lb_policy: CLUSTER_PROVIDED
                    connect_timeout: 1s
                    cluster_type:
                      name: forward
                      typed_config:
                        "@type": type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig
                        dns_cache_config: {name: all, dns_lookup_family: V4_ONLY, max_hosts: 2}
                    """)
            ])
        func status(_ host: String) -> Int? {
            let wire = stage.connect()
            wire.send("GET / HTTP/1.1\r\nhost: \(host)\r\n\r\n")
            return wire.message()?.status
        }
        #expect(status("localhost:\(upstream.port)") == 200)
        #expect(status("localhost:\(upstream.port)") == 200)
        #expect(status("127.0.0.1:\(upstream.port)") == 200)
        #expect(status("no_such_name.invalid:1") == 503)
        // There is room for no third name.
        #expect(status("other.invalid:1") == 503)
    }

    @Test func anAuthorityHasANameAndMaybeAPort() {
        func parts(_ text: String) -> [String] {
            let (name, port) = NamedHosts.parts(of: text)
            return [name, port.map { "\($0)" } ?? ""]
        }
        #expect(parts("a.b:80") == ["a.b", "80"] && parts("a.b") == ["a.b", ""])
        #expect(parts("[::1]:80") == ["::1", "80"] && parts("[::1]") == ["::1", ""] && parts("::1") == ["::1", ""])
        #expect(parts("a:99999") == ["a", ""] && parts("") == ["", ""] && parts("[") == ["[", ""])
    }

    @Test func aRequestMaySayItsOriginalDestination() throws {
        let upstream = TestServer.echo()
        let stage = try Stage(
            [try Resources.httpListener(routes: Self.all)],
            [
                try custom(
                    """
                    {name: web, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s,
                    original_dst_lb_config: {use_http_header: true}}
                    """)
            ])
        #expect(stage.get("/", ["x-envoy-original-dst-host: 127.0.0.1:\(upstream.port)"])?.status == 200)
        #expect(stage.get("/")?.status == 503)
    }
}
