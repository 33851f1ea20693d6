import Foundation
import Testing

/// `martinet proxy` as a user runs it, driven by raw resources that were written for Envoy.
@Suite(.serialized)
struct ProxyTests {
    private func onMartinet(_ test: () throws -> Void) rethrows {
        try DataPlaneChoice.$current.withValue(.martinet) { try test() }
    }

    @Test(arguments: Envoy.Variant.allCases)
    func itIsConfiguredAndFollowsChanges(variant: Envoy.Variant) throws {
        try onMartinet {
            let shop = try Shop(variant)
            #expect(try shop.tally(50) == ["v1": 50])
            try shop.control.write(RawResources.routes("shop", weights: [("v1", 1), ("v2", 1)]), to: "routes.yaml")
            try eventually("both to answer") { Set(try shop.tally(20).keys) == ["v1", "v2"] ? true : nil }
            try shop.control.write(RawResources.routes("shop", weights: [("v2", 1)]), to: "routes.yaml")
            try eventually("v2 alone to answer") { try shop.tally(20) == ["v2": 20] ? true : nil }
        }
    }

    @Test func aClusterThatGoesBreaksNoRequest() throws {
        try onMartinet { try EnvoyTests().aClusterThatGoesBreaksNoRequest(variant: .delta) }
    }

    @Test(arguments: Envoy.Variant.allCases)
    func aCertificateOverSDSIsReplacedUnderAServingListener(variant: Envoy.Variant) throws {
        try onMartinet { try SecretTests().aCertificateOverSDSIsReplacedUnderAServingListener(variant: variant) }
    }

    @Test func twoProxiesSpeakMutualTLSWhileEverythingRotates() throws {
        try onMartinet { try MeshRotationTests().twoEnvoysSpeakMutualTLSWhileEverythingRotates(variant: .delta) }
    }

    @Test(arguments: Envoy.Variant.allCases)
    func aRefusedListenerIsShownWhileTheOldOneServes(variant: Envoy.Variant) throws {
        try onMartinet {
            try EnvoyTests().aRejectedListenerIsShownInEnvoysWordsWhileTheOldOneServes(variant: variant)
        }
    }

    @Test func whatItCannotDoIsRefusedWithThePlace() throws {
        try onMartinet {
            let shop = try Shop(.delta)
            let listener = RawResources.listener("shop", port: shop.port, routes: "shop")
            try shop.control.write(
                listener.replacing("    filter_chains:", with: "    enable_mptcp: true\n    filter_chains:"),
                to: "listener.yaml")
            let told = try eventually("the refusal to be shown") {
                let (status, output, _) = try shop.control.command("status")
                return status == 1 ? output : nil
            }
            #expect(told.contains("enable_mptcp"), "\(told)")
            #expect(try shop.tally(20) == ["v1": 20])
        }
    }

    @Test func itStartsFromItsCacheWhenTheControlPlaneIsAway() throws {
        let shop = try Shop(.delta)
        let directory = shop.control.directory
        let port = try freePort()
        try shop.control.write(
            RawResources.listener("cached", port: port, routes: "shop"), to: "node-id=cached/listener.yaml")
        let flags = [
            "--bootstrap", try bootstrap(shop, id: "cached"), "--cache", directory + "/cache",
        ]
        func start() throws -> Envoy {
            try Envoy(nodeID: "cached", xdsPort: shop.control.xdsPort, program: .martinet(flags), in: directory)
        }
        func get() throws -> String { try httpGet("http://127.0.0.1:\(port)/").body }
        let first = try start()
        try eventually("the first to serve") { try get() == "v1" ? true : nil }
        try eventually("the cache to be written") {
            FileManager.default.fileExists(atPath: directory + "/cache/resources") ? true : nil
        }
        let mode = try FileManager.default.attributesOfItem(atPath: directory + "/cache/resources")[.posixPermissions]
        #expect(mode as? Int == 0o600)
        first.process.stop()
        shop.control.stop(SIGKILL)
        let second = try start()
        try eventually("the second to serve without a control plane; \(second.process.log.suffix(1_000))") {
            try get() == "v1" ? true : nil
        }
        #expect(second.process.log.contains("starting with the resources of the last run"))
    }

    @Test func itIsReachedUntilOthersHaveHeardThatItEnds() throws {
        try onMartinet {
            let shop = try Shop(.delta)
            let process = shop.envoy.process.process
            process.terminate()
            try eventually("the control plane to see it go") {
                try shop.control.command("status").output.contains("shop-proxy") ? nil : true
            }
            // Who has not heard of it yet is served, and told not to come back by this connection.
            let (status, answer, _) = try ChildProcess.run(
                "/usr/bin/curl", ["-si", "http://127.0.0.1:\(shop.port)/"])
            #expect(status == 0 && answer.lowercased().contains("connection: close"), "\(answer)")
            #expect(try httpGet("http://127.0.0.1:\(shop.envoy.adminPort)/ready").code == 503)
            process.terminate()
            try eventually("it to end") { process.isRunning ? nil : true }
            #expect(process.terminationStatus == 0, "\(shop.envoy.process.log.suffix(1_000))")
            #expect(try httpGet("http://127.0.0.1:\(shop.port)/").code == 0)
        }
    }

    @Test func endedListenersLeaveTheRestRunning() throws {
        try onMartinet {
            let shop = try Shop(.delta)
            let envoy = shop.envoy
            let (status, output, _) = try ChildProcess.run(
                "/usr/bin/curl", ["-sf", "-X", "POST", "http://127.0.0.1:\(envoy.adminPort)/drain_listeners"])
            #expect(status == 0 && output == "OK\n")
            try eventually("the port to close") {
                try httpGet("http://127.0.0.1:\(shop.port)/").code == 0 ? true : nil
            }
            #expect(try httpGet("http://127.0.0.1:\(envoy.adminPort)/ready").code == 503)
            // Configuration is taken on, and listeners stay closed.
            try shop.control.write(RawResources.routes("shop", weights: [("v1", 1), ("v2", 1)]), to: "routes.yaml")
            try eventually("the change to come in") {
                try envoy.stat("http.shop.rds.shop.update_success") >= 2 ? true : nil
            }
            #expect(try httpGet("http://127.0.0.1:\(shop.port)/").code == 0)
            // The first SIGTERM is not taken for a second one.
            envoy.process.process.terminate()
            try eventually("it to drain") { envoy.process.log.contains("draining") ? true : nil }
            envoy.process.process.terminate()
            try eventually("it to end") { envoy.process.process.isRunning ? nil : true }
            #expect(envoy.process.process.terminationStatus == 0)
        }
    }

    @Test func aPortInUseIsToldAndEndsItBeforeItServes() throws {
        let directory = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let control = try ControlPlaneProcess()
        let (status, _, errors) = try ChildProcess.run(
            Installation.martinet,
            [
                "proxy", "--control", "127.0.0.1:\(control.xdsPort)", "--address", "127.0.0.1", "--stats", "off",
                "--admin",
                "127.0.0.1:\(control.httpPort)",
            ], timeout: 20)
        #expect(status == 1)
        #expect(errors.contains("error:") && errors.contains("\(control.httpPort)"), "\(errors)")
    }

    @Test(arguments: [
        (["--concurrency", "0"], "--concurrency"),
        (["--bootstrap", "envoy.yaml", "--root-cert", "root.pem"], "--root-cert has no place beside --bootstrap"),
        (["--bootstrap", "envoy.yaml", "--gateway"], "--gateway has no place beside --bootstrap"),
        (["--address", "10.0.0.7", "--ttl", "1h"], "--ttl has no use without --root-cert"),
        (["--address", "10.0.0.7", "--tls-server-name", "x"], "--tls-server-name has no use without --root-cert"),
    ])
    func anOptionWithoutUseIsToldOf(options: [String], words: String) throws {
        let (status, _, errors) = try ChildProcess.run(Installation.martinet, ["proxy"] + options)
        #expect(status == 64 && errors.contains(words), "\(errors)")
    }

    @Test func itReportsItsLoad() throws {
        try onMartinet {
            let shop = try Shop(.delta)
            try shop.control.write(
                RawResources.clusters(["v1", "v2"], options: "    lrs_server: { self: {} }"), to: "clusters.yaml")
            try eventually("the change to come in") {
                try shop.envoy.admin("/config_dump").contains("lrs_server") ? true : nil
            }
            #expect(try shop.tally(20) == ["v1": 20])
            // What was not reported yet is told at the end.
            shop.envoy.process.process.terminate()
            try eventually("the load to be told") {
                try shop.control.metric("martinet_load_reported_requests_total") >= 20 ? true : nil
            }
        }
    }

    @Test func itsAdminPagesSayWhatEnvoysSay() throws {
        try onMartinet {
            let shop = try Shop(.delta)
            #expect(try shop.tally(10) == ["v1": 10])
            let envoy = shop.envoy
            #expect(try envoy.admin("/ready") == "LIVE\n")
            #expect(try envoy.admin("/listeners").contains("::127.0.0.1:\(shop.port)"))
            #expect(try envoy.stat("http.shop.downstream_rq_2xx") >= 10)
            #expect(try envoy.stat("cluster.v1.upstream_rq_total") >= 10)
            #expect(try envoy.stat("http.shop.rds.shop.update_success") >= 1)
            #expect(try envoy.stat("cluster.v2.update_success") >= 1)
            // No request has gone there.
            #expect(try envoy.stat("cluster.v2.membership_total") == 1)
            #expect(try envoy.admin("/clusters").contains("v2::127.0.0.1:\(shop.v2)::health_flags::healthy"))
            let metrics = try envoy.admin("/stats/prometheus")
            #expect(
                metrics.contains(
                    "envoy_cluster_upstream_rq_xx{envoy_cluster_name=\"v1\",envoy_response_code_class=\"2\"}"))
            #expect(try envoy.admin("/clusters").contains("v1::127.0.0.1:\(shop.v1)::rq_success::"))
            let clusters = try JSONSerialization.jsonObject(with: Data(envoy.admin("/clusters?format=json").utf8))
            #expect((clusters as? [String: Any])?["cluster_statuses"] != nil)
            let dump = try JSONSerialization.jsonObject(with: Data(envoy.admin("/config_dump?include_eds").utf8))
            let configs = try #require((dump as? [String: Any])?["configs"] as? [[String: Any]])
            #expect(
                configs.compactMap { ($0["@type"] as? String)?.split(separator: ".").last.map(String.init) } == [
                    "BootstrapConfigDump", "ClustersConfigDump", "EndpointsConfigDump", "ListenersConfigDump",
                    "RoutesConfigDump", "SecretsConfigDump",
                ])
            let information = try envoy.admin("/server_info")
            #expect(information.contains("\"state\":\"LIVE\"") && information.contains("shop-proxy"))
            // Orders take POST: a link that somebody follows ends nothing.
            #expect(throws: (any Error).self) { try envoy.admin("/quitquitquit") }
            func post(_ path: String) throws {
                let (status, output, errors) = try ChildProcess.run(
                    "/usr/bin/curl", ["-sf", "-X", "POST", "http://127.0.0.1:\(envoy.adminPort)\(path)"])
                #expect(status == 0, "\(path): \(output)\(errors)")
            }
            try post("/healthcheck/fail")
            #expect(try httpGet("http://127.0.0.1:\(envoy.adminPort)/ready").code == 503)
            try post("/healthcheck/ok")
            #expect(try httpGet("http://127.0.0.1:\(envoy.adminPort)/ready").code == 200)
            try post("/quitquitquit")
            try eventually("it to end") { envoy.process.process.isRunning ? nil : true }
            #expect(envoy.process.process.terminationStatus == 0)
        }
    }

    private func bootstrap(_ shop: Shop, id: String) throws -> String {
        let path = shop.control.directory + "/bootstrap-\(id).yaml"
        try """
        node: { id: \(id), cluster: test }
        dynamic_resources:
          ads_config:
            api_type: DELTA_GRPC
            transport_api_version: V3
            grpc_services: [{ envoy_grpc: { cluster_name: martinet } }]
        static_resources:
          clusters:
            - name: martinet
              type: STATIC
              load_assignment:
                cluster_name: martinet
                endpoints:
                  - lb_endpoints:
                      - endpoint:
                          address: { socket_address: { address: 127.0.0.1, port_value: \(shop.control.xdsPort) } }
        """.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }
}
