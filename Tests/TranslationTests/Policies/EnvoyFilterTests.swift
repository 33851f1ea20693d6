import Mesh
import Testing
import XDS

@testable import Translation

struct EnvoyFilterTests {
    private func filter(_ name: String, in namespace: String = "shop", _ patches: String, more: String = "") -> String {
        let lines = patches.split(separator: "\n").map { "  " + $0 }.joined(separator: "\n")
        return """
            ---
            apiVersion: networking.istio.io/v1alpha3
            kind: EnvoyFilter
            metadata: {name: \(name), namespace: \(namespace)}
            spec:
              \(more)
              configPatches:
            \(lines)

            """
    }

    private func inbound(_ mesh: Translator, _ name: String = "virtualInbound") throws -> Shown {
        let resources = SectionMaker.inbound(mesh, web)
        try EnvoyPeer.expectAcceptedAsTheyAre(resources)
        return try Shown(try #require(resources.first { $0.name == name }))
    }

    /// The filter chains of the HTTP port.
    private func managers(_ listener: Shown) -> [Shown] {
        let chains = (listener["filter_chains"].value as? [Any] ?? []).map { Shown($0) }
        return chains.filter { $0["filter_chain_match.destination_port"].text == "8080" }
            .map { Shown(($0["filters"].value as? [Any])?.last)["typed_config"] }
    }

    private let lua = """
        value:
          name: envoy.filters.http.lua
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
            default_source_code: {inline_string: "function envoy_on_request(h) end"}
        """

    private func http(_ operation: String, sub: String? = "envoy.filters.http.router") -> String {
        let sub = sub.map { ", subFilter: {name: \($0)}" } ?? ""
        let value = lua.split(separator: "\n").map { "    " + $0 }.joined(separator: "\n")
        return """
            - applyTo: HTTP_FILTER
              match:
                context: SIDECAR_INBOUND
                listener:
                  {portNumber: 8080, filterChain: {filter: {name: envoy.filters.network.http_connection_manager\(sub)}}}
              patch:
                operation: \(operation)
            \(value)
            """
    }

    @Test func httpFiltersGoWhereTheyAreSent() throws {
        func names(_ patch: String) throws -> [String] {
            let made = managers(try inbound(mesh(webService, filter("f", patch))))
            #expect(made.count == 2)
            let first = (made[0]["http_filters"].value as? [Any] ?? []).map { Shown($0)["name"].text }
            return first
        }
        let plain = try names("- {applyTo: HTTP_FILTER, patch: {operation: REMOVE}, match: {context: GATEWAY}}")
        #expect(plain.last == "envoy.filters.http.router")
        #expect(try names(http("INSERT_BEFORE")) == plain.dropLast() + ["envoy.filters.http.lua", plain.last!])
        #expect(try names(http("ADD", sub: nil)) == plain.dropLast() + ["envoy.filters.http.lua", plain.last!])
        #expect(try names(http("INSERT_FIRST", sub: nil)) == ["envoy.filters.http.lua"] + plain)
        #expect(
            try names(http("INSERT_AFTER", sub: plain[0])) == [plain[0], "envoy.filters.http.lua"] + plain.dropFirst())
        #expect(try names(http("INSERT_AFTER", sub: "envoy.none")) == plain)
        if plain.count > 1 {
            #expect(try names(http("REPLACE", sub: plain[0])) == ["envoy.filters.http.lua"] + plain.dropFirst())
        }
    }

    @Test func aConnectionManagerIsMerged() throws {
        let mesh = mesh(
            webService,
            filter(
                "f",
                """
                - applyTo: NETWORK_FILTER
                  match: {context: SIDECAR_INBOUND, listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}}
                  patch:
                    operation: MERGE
                    value:
                      typed_config:
                        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                        xff_num_trusted_hops: 2
                        common_http_protocol_options: {idle_timeout: 30s}
                - applyTo: HTTP_ROUTE
                  match: {context: SIDECAR_INBOUND, routeConfiguration: {portNumber: 8080}}
                  patch: {operation: MERGE, value: {route: {timeout: 4s}}}
                - applyTo: CLUSTER
                  match: {context: SIDECAR_INBOUND, cluster: {portNumber: 8080}}
                  patch: {operation: MERGE, value: {connect_timeout: 9s}}
                - applyTo: LISTENER
                  match: {context: SIDECAR_INBOUND, listener: {name: virtualInbound}}
                  patch: {operation: MERGE, value: {per_connection_buffer_limit_bytes: 4096}}
                """))
        let listener = try inbound(mesh)
        #expect(listener["per_connection_buffer_limit_bytes"].text == "4096")
        for manager in managers(listener) {
            #expect(manager["xff_num_trusted_hops"].text == "2")
            #expect(manager["common_http_protocol_options.idle_timeout"].text == "30s")
            #expect(manager["route_config.virtual_hosts.0.routes.0.route.timeout"].text == "4s")
            // What was there stays.
            #expect(manager["stat_prefix"].text.hasPrefix("inbound_"))
            #expect(manager["route_config.virtual_hosts.0.routes.0.route.cluster"].text == "inbound|8080||")
        }
        #expect(try inbound(mesh, "inbound|8080||")["connect_timeout"].text == "9s")
        #expect(try inbound(mesh, "inbound|5432||")["connect_timeout"].text != "9s")
    }

    @Test func sharedClustersAndRoutesArePatchedForThoseWhoAreMeant() throws {
        let mesh = mesh(
            webService,
            filter(
                "mesh", in: "istio-system",
                """
                - applyTo: CLUSTER
                  match: {context: SIDECAR_OUTBOUND, cluster: {service: web.shop.svc.cluster.local, portNumber: 80}}
                  patch: {operation: MERGE, value: {connect_timeout: 8s, circuit_breakers: {thresholds: [{max_retries: 5}]}}}
                """),
            filter(
                "own",
                """
                - applyTo: VIRTUAL_HOST
                  match: {context: SIDECAR_OUTBOUND, routeConfiguration: {name: "80", vhost: {name: "web.shop.svc.cluster.local:80"}}}
                  patch: {operation: MERGE, value: {response_headers_to_remove: [server]}}
                """))
        func cluster(_ namespace: String, _ port: Int) throws -> Shown {
            let scope = OutboundScope(namespace: namespace)
            let service = try #require(mesh.service("web.shop.svc.cluster.local", in: namespace, for: scope))
            let name = ResourceNames.outbound(port, service.host)
            return try Shown(
                try #require(mesh.outboundClusters(of: service, for: scope).first { $0.name == name }))
        }
        #expect(try cluster("other", 80)["connect_timeout"].text == "8s")
        #expect(try cluster("other", 5432)["connect_timeout"].text == "10s")
        // Lists grow.
        #expect(try cluster("other", 80)["circuit_breakers.thresholds"].count == 2)
        func headers(_ namespace: String) throws -> String {
            try Shown(mesh.sidecarRoutes(80, for: OutboundScope(namespace: namespace)))
                .host("web.shop.svc.cluster.local:80")["response_headers_to_remove"].text
        }
        #expect(try headers("shop") == #"["server"]"# && headers("other") == "")
    }

    @Test func listsAreReplacedWhereThatIsAsked() throws {
        let scope = OutboundScope(namespace: "shop")
        let mesh = mesh(
            webService,
            filter(
                "f",
                """
                - applyTo: CLUSTER
                  patch: {operation: MERGE_AND_REPLACE_LIST, value: {circuit_breakers: {thresholds: [{max_retries: 5}]}}}
                """))
        let service = try #require(mesh.service("web.shop.svc.cluster.local", in: "shop", for: scope))
        let shown = try Shown(mesh.outboundClusters(of: service, for: scope)[0])
        #expect(shown["circuit_breakers.thresholds"].text == #"[{"max_retries":5}]"#)
        #expect(shown["name"].text == "outbound|80||web.shop.svc.cluster.local")
    }

    @Test func whatIsAddedIsThereOnceAndWhatIsRemovedIsNot() throws {
        let added = """
            - applyTo: CLUSTER
              patch: {operation: ADD, value: {name: logs, type: STATIC, connect_timeout: 1s}}
            - applyTo: LISTENER
              match: {context: SIDECAR_OUTBOUND, listener: {name: virtualOutbound}}
              patch: {operation: REMOVE}
            - applyTo: FILTER_CHAIN
              match: {context: SIDECAR_INBOUND, listener: {filterChain: {destinationPort: 5432}}}
              patch: {operation: REMOVE}
            """
        let mesh = mesh(webService, filter("f", added))
        let scope = OutboundScope(namespace: "shop")
        let outbound = SectionMaker.outboundListeners(mesh, web, scope, mesh.visibleServices(for: scope))
        #expect(!outbound.contains { $0.name == "virtualOutbound" } && !outbound.contains { $0.name == "logs" })
        #expect(SectionMaker.inbound(mesh, web).filter { $0.name == "logs" }.count == 1)
        let chains = (try inbound(mesh)["filter_chains"].value as? [Any] ?? []).map { Shown($0) }
        #expect(!chains.contains { $0["filter_chain_match.destination_port"].text == "5432" })
    }

    @Test func workloadsThatAreNotMeantSeeNothingOfIt() throws {
        let patch = "- {applyTo: LISTENER, patch: {operation: MERGE, value: {stat_prefix: patched}}}"
        let mesh = mesh(webService, filter("f", patch, more: "workloadSelector: {labels: {app: other}}"))
        #expect(try inbound(mesh)["stat_prefix"].text == "")
        let other = ProxyClass(namespace: "shop", labels: ["app": "other"])
        #expect(try Shown(SectionMaker.inbound(mesh, other).last!)["stat_prefix"].text == "patched")
    }

    @Test func aPatchThatIsNoMessageIsAnErrorOnItsLine() throws {
        let text = filter(
            "f",
            """
            - applyTo: CLUSTER
              patch:
                operation: MERGE
                value:
                  connect_timeouts: 1s
            - applyTo: BOOTSTRAP
              patch: {operation: MERGE, value: {}}
            - applyTo: CLUSTER
              match: {proxy: {proxyVersion: "1.2.*"}}
              patch: {operation: MERGE, value: {connect_timeout: 1s}}
            """)
        let object = try ObjectText(Array(text.utf8), file: "f.yaml").objects[0]
        let findings = EnvoyFilterCheck.findings(object)
        #expect(findings.map(\.severity) == [.error, .warning, .warning])
        #expect(findings[0].position?.line == 11 && findings[0].words.contains("connect_timeouts"))
        #expect(findings[1].path == "spec.configPatches[1].applyTo")
        #expect(findings[2].path == "spec.configPatches[2].match.proxy")
    }
}
