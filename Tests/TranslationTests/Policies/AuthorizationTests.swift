import Foundation
import Mesh
import Testing

@testable import Translation

struct AuthorizationTests {
    @Test func whoCallsIsAskedOfTheCertificate() throws {
        let mesh = mesh(
            webService,
            policy(
                "who",
                """
                rules:
                - from:
                  - source: {principals: [cluster.local/ns/shop/sa/cart, "cluster.local/ns/a*", "*/sa/b", "*"]}
                  - source: {namespaces: [shop, "pre*"], notNamespaces: ["*-test"]}
                  - source: {serviceAccounts: [cart, other/pay]}
                  - source: {trustDomains: [cluster.local], notPrincipals: [cluster.local/ns/x/sa/y]}
                """))
        let who = try mesh.http("allow").policy("ns[shop]-policy[who]-rule[0]").principal["or_ids.ids"]
        let names = who["0.or_ids.ids"]
        #expect(names["0.authenticated.principal_name.exact"].text == "spiffe://cluster.local/ns/shop/sa/cart")
        #expect(names["1.authenticated.principal_name.prefix"].text == "spiffe://cluster.local/ns/a")
        #expect(names["2.authenticated.principal_name.suffix"].text == "/sa/b")
        #expect(names["3.authenticated.principal_name.safe_regex.regex"].text == ".+")
        let spaces = who["1.and_ids.ids"]
        #expect(
            spaces["0.or_ids.ids.0.authenticated.principal_name.safe_regex.regex"].text
                == "spiffe://[^/]+/ns/shop/sa/.+")
        #expect(
            spaces["0.or_ids.ids.1.authenticated.principal_name.safe_regex.regex"].text
                == "spiffe://[^/]+/ns/pre[^/]*/sa/.+")
        #expect(
            spaces["1.not_id.authenticated.principal_name.safe_regex.regex"].text
                == "spiffe://[^/]+/ns/[^/]*-test/sa/.+")
        #expect(
            who["2.or_ids.ids.0.authenticated.principal_name.exact"].text == "spiffe://cluster.local/ns/shop/sa/cart")
        #expect(
            who["2.or_ids.ids.1.authenticated.principal_name.exact"].text == "spiffe://cluster.local/ns/other/sa/pay")
        let both = who["3.and_ids.ids"]
        #expect(both["0.not_id.authenticated.principal_name.exact"].text == "spiffe://cluster.local/ns/x/sa/y")
        #expect(both["1.authenticated.principal_name.prefix"].text == "spiffe://cluster.local/")
        try EnvoyPeer.expectAccepted(inbound: mesh)
    }

    @Test func whatIsCalledIsAskedOfTheRequest() throws {
        let mesh = mesh(
            webService,
            policy(
                "what",
                """
                rules:
                - to:
                  - operation:
                      {hosts: ["Web.example.com", "*.shop"], ports: ["8080"], methods: [GET], paths: [/a, "/b*", "*.js", "*"],
                       notPaths: ["/a/{*}/c/{**}"], notMethods: [PUT], notPorts: ["1"], notHosts: [bad]}
                """))
        let what = try mesh.http("allow").policy("ns[shop]-policy[what]-rule[0]").permission["and_rules.rules"]
        let text = what.text
        #expect(text.contains(#"{"destination_port":8080}"#) && text.contains(#"{"not_rule":{"destination_port":1}}"#))
        #expect(text.contains(#""name":":authority","string_match":{"exact":"Web.example.com","ignore_case":true}"#))
        #expect(text.contains(#""string_match":{"ignore_case":true,"suffix":".shop"}"#))
        #expect(text.contains(#""name":":method","string_match":{"exact":"GET"}"#))
        #expect(text.contains(#"{"url_path":{"path":{"exact":"/a"}}}"#))
        #expect(text.contains(#"{"url_path":{"path":{"prefix":"/b"}}}"#))
        #expect(text.contains(#"{"url_path":{"path":{"suffix":".js"}}}"#))
        #expect(text.contains(#""path_template":"/a/*/c/**""#))
        try EnvoyPeer.expectAccepted(inbound: mesh)
    }

    @Test func conditionsAreAskedWhereEnvoyKnowsThem() throws {
        let keys = [
            "request.headers[X-Token]: [\"a*\"]", "source.ip: [10.0.0.0/8, \"2001:db8::1\"]", "remote.ip: [192.0.2.1]",
            "source.namespace: [shop]", "source.principal: [cluster.local/ns/shop/sa/cart]",
            "source.serviceAccount: [cart]", "source.trustDomain: [cluster.local]",
            "request.auth.principal: [https://issuer/sub]", "request.auth.audiences: [me]",
            "request.auth.presenter: [you]", "request.auth.claims[realm][groups]: [admin]",
            "destination.ip: [10.1.2.3]",
            "destination.port: [\"8080\"]", "connection.sni: [\"*.example.com\"]",
            "experimental.envoy.filters.network.mysql_proxy[db.table]: [\"[update]\"]",
        ]
        let rules = keys.map { pair in
            let end = pair.range(of: ": ")!
            return "- when: [{key: \"\(pair[..<end.lowerBound])\", values: \(pair[end.upperBound...])}]"
        }.joined(separator: "\n")
        let mesh = mesh(webService, policy("when", "rules:\n" + rules))
        let allow = try mesh.http("allow")
        func rule(_ index: Int) -> Shown { allow.policy("ns[shop]-policy[when]-rule[\(index)]") }
        #expect(rule(0).principal.text == #"{"header":{"name":"X-Token","string_match":{"prefix":"a"}}}"#)
        #expect(
            rule(1).principal.text
                == #"{"or_ids":{"ids":[{"direct_remote_ip":{"address_prefix":"10.0.0.0","prefix_len":8}},"#
                + #"{"direct_remote_ip":{"address_prefix":"2001:db8::1","prefix_len":128}}]}}"#)
        #expect(rule(2).principal.text == #"{"remote_ip":{"address_prefix":"192.0.2.1","prefix_len":32}}"#)
        for index in 3...6 { #expect(rule(index).principal["authenticated"].text.contains("spiffe://")) }
        let issuer = rule(7).principal["and_ids.ids.0.or_ids.ids.0.metadata"]
        #expect(issuer["filter"].text == "envoy.filters.http.jwt_authn")
        #expect(issuer["path"].text == #"[{"key":"claims"},{"key":"iss"}]"#)
        #expect(issuer["value.string_match.exact"].text == "https://issuer")
        #expect(
            rule(8).principal.text.contains(#"{"key":"aud"}"#) && rule(9).principal.text.contains(#"{"key":"azp"}"#))
        #expect(
            rule(10).principal["or_ids.ids.1.metadata.path"].text
                == #"[{"key":"claims"},{"key":"realm"},{"key":"groups"}]"#)
        #expect(rule(10).principal["or_ids.ids.1.metadata.value.list_match.one_of.string_match.exact"].text == "admin")
        #expect(rule(11).permission.text == #"{"destination_ip":{"address_prefix":"10.1.2.3","prefix_len":32}}"#)
        #expect(rule(12).permission.text == #"{"destination_port":8080}"#)
        #expect(rule(13).permission.text == #"{"requested_server_name":{"suffix":".example.com"}}"#)
        #expect(rule(14).permission["metadata.filter"].text == "envoy.filters.network.mysql_proxy")
        for index in 0...10 { #expect(rule(index).permission.text == #"{"any":true}"#) }
        for index in 11...14 { #expect(rule(index).principal.text == #"{"any":true}"#) }
        try EnvoyPeer.expectAccepted(inbound: mesh)
    }

    @Test func auditComesFirstThenRefusalsThenPermissions() throws {
        let mesh = mesh(
            webService, policy("a", "rules: [{}]"),
            policy("d", action: "DENY", "rules: [{to: [{operation: {methods: [PUT]}}]}]"),
            policy("l", action: "AUDIT", "rules: [{}]"),
            policy("c", action: "CUSTOM", "provider: {name: none}\nrules: [{to: [{operation: {paths: [/x]}}]}]"))
        let filters = try mesh.httpFilters()
        #expect(
            filters.map { $0["name"].text }
                == ["custom", "audit", "deny", "allow"].map { "envoy.filters.http.rbac.\($0)" })
        // ALLOW is what Envoy has for an action that is not written.
        #expect(filters.map { $0["typed_config.rules.action"].text } == ["DENY", "LOG", "DENY", ""])
        try EnvoyPeer.expectAccepted(inbound: mesh)
    }

    @Test func aProviderThatNobodyIsRefusesWhatTheRulesMatchAndIsTold() throws {
        let mesh = mesh(
            webService,
            policy("c", action: "CUSTOM", "provider: {name: authz}\nrules: [{to: [{operation: {paths: [/x]}}]}]"))
        let rules = try mesh.http("custom")
        #expect(rules["action"].text == "DENY")
        #expect(rules.policy("ns[shop]-policy[c]-rule[0]").permission["url_path.path.exact"].text == "/x")
        let found = mesh.mesh.index.findings().filter { $0.path == "spec.provider.name" }
        #expect(found.count == 1 && found[0].words.contains("`authz`"))
    }

    @Test func anAllowPolicyWithoutRulesLetsNobodyIn() throws {
        let rules = try mesh(webService, policy("none", "")).http("allow")
        #expect(rules.text == #"{}"#)
        try EnvoyPeer.expectAccepted(inbound: mesh(webService, policy("none", "")))
    }

    @Test func whatOnlyHTTPHasNeverAllowsAStreamAndAlwaysDeniesOne() throws {
        let rules = """
            rules:
            - to: [{operation: {methods: [GET], ports: ["5432"]}}]
            - to: [{operation: {ports: ["5432"]}}]
            - from: [{source: {requestPrincipals: ["*"]}}]
            - when: [{key: "request.headers[x]", values: [y]}]
              from: [{source: {namespaces: [shop]}}]
            """
        let allowed = try mesh(webService, policy("p", rules)).network("allow")
        #expect(allowed["policies"].text.contains("rule[1]"))
        #expect((allowed["policies"].value as? [String: Any])?.count == 1)
        let denying = mesh(webService, policy("p", action: "DENY", rules))
        let denied = try denying.network("deny")
        #expect((denied["policies"].value as? [String: Any])?.count == 4)
        func rule(_ index: Int) -> Shown { denied.policy("ns[shop]-policy[p]-rule[\(index)]") }
        #expect(rule(0).permission.text == #"{"destination_port":5432}"#)
        #expect(rule(2).principal.text == #"{"any":true}"# && rule(2).permission.text == #"{"any":true}"#)
        #expect(rule(3).principal["authenticated"].text.contains("/ns/shop/"))
        try EnvoyPeer.expectAccepted(inbound: denying)
    }

    @Test func policiesThatAreOnlyTriedShadowTheOthers() throws {
        let dry = ", annotations: {istio.io/dry-run: \"true\"}"
        let mesh = mesh(
            webService, policy("a", "rules: [{}]"),
            policy("t", annotations: dry, "rules: [{from: [{source: {namespaces: [x]}}]}]"),
            policy("u", action: "DENY", annotations: dry, "rules: [{}]"))
        let filters = try mesh.httpFilters()
        #expect(filters.map { $0["name"].text } == ["envoy.filters.http.rbac.deny", "envoy.filters.http.rbac.allow"])
        #expect(filters[0]["typed_config.rules"].text == "")
        #expect(filters[0]["typed_config.shadow_rules.action"].text == "DENY")
        #expect(filters[1]["typed_config.rules"].policy("ns[shop]-policy[a]-rule[0]").text != "")
        #expect(filters[1]["typed_config.shadow_rules"].policy("ns[shop]-policy[t]-rule[0]").text != "")
        #expect(filters[1]["typed_config.shadow_rules_stat_prefix"].text == "istio_dry_run_allow_")
        try EnvoyPeer.expectAccepted(inbound: mesh)
    }

    @Test func isolatedNamespacesTakeTheirOwnCallersOnly() throws {
        let isolated = mesh(webService, meshConfig("isolateNamespaces: true"))
        let own = try isolated.http("allow").policy("namespace-isolation[shop]").principal
        #expect(own["authenticated.principal_name.safe_regex.regex"].text == "spiffe://[^/]+/ns/shop/sa/.+")
        #expect(try isolated.network("allow").policy("namespace-isolation[shop]").principal.text == own.text)
        // Gateways are there for those outside.
        #expect(try isolated.httpFilters(of: ProxyClass(.gateway, namespace: "shop")).isEmpty)
        let open = mesh(
            webService, meshConfig("isolateNamespaces: true"),
            policy("more", "rules: [{from: [{source: {namespaces: [shop, web]}}]}]"))
        #expect(try open.http("allow").policy("namespace-isolation[shop]").text == "")
        #expect(try mesh(webService).httpFilters().isEmpty)
        try EnvoyPeer.expectAccepted(inbound: isolated)
    }

    @Test func policiesNameAGatewayAndItsProxiesObey() throws {
        let text = """
            ---
            apiVersion: security.istio.io/v1
            kind: AuthorizationPolicy
            metadata: {name: edge, namespace: shop}
            spec:
              targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: front}, {kind: Service, name: web}]
              rules: [{to: [{operation: {methods: [GET]}}]}]

            """
        let mesh = mesh(webService, text)
        let front = ProxyClass(
            .gateway, namespace: "shop", labels: ["gateway.networking.k8s.io/gateway-name": "front"])
        #expect(try mesh.httpFilters(of: front).count == 1)
        #expect(try mesh.httpFilters(of: ProxyClass(.gateway, namespace: "shop")).isEmpty)
        #expect(try mesh.httpFilters().isEmpty)
        let found = mesh.mesh.index.findings().filter { $0.kind == .unsupportedField }
        #expect(found.map(\.path) == ["spec.targetRefs[1]"])
    }
}
