import Mesh
import Testing
import XDS

@testable import Translation

/// CUSTOM policies become questions to authorization services, as Istio has it.
struct ExternalCheckTests {
    private static let services = """
        ---
        apiVersion: v1
        kind: Service
        metadata: {name: opa, namespace: policy}
        spec: {ports: [{port: 9191, name: grpc}, {port: 8000, name: http}]}

        """
    private static let providers = meshConfig(
        """
        extensionProviders: [
        {name: one, envoyExtAuthzGrpc: {service: opa.policy.svc.cluster.local, port: 9191, timeout: 3s,
        failOpen: true, statusOnError: "503", clearRouteCache: true,
        includeRequestBodyInCheck: {maxRequestBytes: 100, allowPartialMessage: true, packAsBytes: true}}},
        {name: two, envoyExtAuthzHttp: {service: policy/opa.policy.svc.cluster.local, port: 8000, pathPrefix: /check,
        includeRequestHeadersInCheck: [x-a, "x-b*"], includeAdditionalHeadersInCheck: {x-c: d},
        headersToUpstreamOnAllow: [x-e], headersToDownstreamOnDeny: [x-f], headersToDownstreamOnAllow: ["*-g"]}}]
        """.replacing("\n", with: " "))

    private func custom(_ name: String, _ provider: String, _ path: String) -> String {
        policy(
            name, action: "CUSTOM",
            "provider: {name: \(provider)}\nrules: [{to: [{operation: {paths: [\(path)]}}]}]")
    }

    @Test func whatTheRulesMatchIsMarkedAndTheServiceAskedAboutIt() throws {
        let mesh = mesh(
            webService, Self.services, Self.providers, custom("c", "one", "/x"), custom("e", "one", "/y"),
            custom("d", "two", "/z"))
        let filters = try mesh.httpFilters()
        #expect(
            filters.map { $0["name"].text } == [
                "envoy.filters.http.rbac.custom.marks", "envoy.filters.http.ext_authz",
                "envoy.filters.http.rbac.custom.marks.1", "envoy.filters.http.ext_authz.1",
            ])
        let marks = filters[0]["typed_config"]
        #expect(marks["rules"].text.isEmpty && marks["shadow_rules_stat_prefix"].text == "istio_ext_authz_")
        #expect(marks["shadow_rules.action"].text == "DENY")
        for (name, path) in [("c", "/x"), ("e", "/y")] {
            let rule = marks["shadow_rules"].policy("istio-ext-authz-ns[shop]-policy[\(name)]-rule[0]")
            #expect(rule.permission["url_path.path.exact"].text == path)
        }
        let grpc = filters[1]["typed_config"]
        #expect(grpc["grpc_service.envoy_grpc.cluster_name"].text == "outbound|9191||opa.policy.svc.cluster.local")
        #expect(grpc["grpc_service.timeout"].text == "3s" && grpc["failure_mode_allow"].text == "true")
        #expect(grpc["status_on_error.code"].text == "ServiceUnavailable" && grpc["clear_route_cache"].text == "true")
        #expect(grpc["with_request_body.max_request_bytes"].text == "100")
        let asked = grpc["filter_enabled_metadata"]
        #expect(asked["filter"].text == "envoy.filters.http.rbac")
        #expect(asked["path.0.key"].text == "istio_ext_authz_shadow_effective_policy_id")
        #expect(asked["value.string_match.prefix"].text == "istio-ext-authz")

        let http = filters[3]["typed_config"]
        #expect(http["http_service.path_prefix"].text == "/check")
        #expect(http["http_service.server_uri.uri"].text == "http://opa.policy.svc.cluster.local")
        #expect(http["allowed_headers.patterns.1.prefix"].text == "x-b")
        #expect(http["http_service.authorization_request.headers_to_add.0.key"].text == "x-c")
        #expect(
            http["http_service.authorization_response.allowed_client_headers_on_success.patterns.0.suffix"].text == "-g"
        )
        #expect(
            http["filter_enabled_metadata.path.0.key"].text == "istio_ext_authz_1_shadow_effective_policy_id")
        #expect(filters[2]["typed_config.shadow_rules_stat_prefix"].text == "istio_ext_authz_1_")
        #expect(mesh.mesh.index.findings().filter { $0.kind == .unknownObject }.isEmpty)
        try EnvoyPeer.expectAccepted(inbound: mesh)
    }

    @Test func aStreamIsPutBeforeAServiceOverGRPCAndRefusedByOneOverHTTP() throws {
        let rule = "rules: [{from: [{source: {namespaces: [x]}}]}]"
        let mesh = mesh(
            webService, Self.services, Self.providers, policy("c", action: "CUSTOM", "provider: {name: one}\n\(rule)"),
            policy("d", action: "CUSTOM", "provider: {name: two}\n\(rule)"))
        let filters = try mesh.networkFilters()
        #expect(
            filters.map { $0["name"].text } == [
                "envoy.filters.network.rbac.custom", "envoy.filters.network.rbac.custom.marks",
                "envoy.filters.network.ext_authz",
            ])
        #expect(try mesh.network("custom").policy("ns[shop]-policy[d]-rule[0]").text.contains("/ns/x/"))
        #expect(filters[2]["typed_config.filter_enabled_metadata.filter"].text == "envoy.filters.network.rbac")
        try EnvoyPeer.expectAccepted(inbound: mesh)
    }

    @Test func aServiceThatTheProxyDoesNotSeeCannotBeAsked() throws {
        let narrow = """
            ---
            apiVersion: networking.istio.io/v1
            kind: Sidecar
            metadata: {name: own, namespace: shop}
            spec: {egress: [{hosts: [./*]}]}

            """
        let mesh = mesh(webService, Self.services, Self.providers, custom("c", "one", "/x"), narrow)
        #expect(try mesh.httpFilters().map { $0["name"].text } == ["envoy.filters.http.rbac.custom"])
        #expect(try mesh.http("custom")["action"].text == "DENY")
    }
}
