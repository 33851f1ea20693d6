import Mesh
import Testing

@testable import Translation

struct AuthenticationTests {
    private func peer(_ name: String, in namespace: String = "shop", at time: Int? = nil, _ spec: String) -> String {
        made(.peerAuthentication, name, in: namespace, at: time, spec)
    }

    @Test func theNarrowestModeThatIsNotUnsetCounts() {
        let labels = "selector: {matchLabels: {app: web}}\n"
        let translator = mesh(
            webService, meshConfig("mtls: DISABLE"), peer("all", in: "istio-system", "mtls: {mode: STRICT}"),
            peer("wide", "mtls: {mode: PERMISSIVE}"),
            peer("web", labels + "mtls: {mode: UNSET}\nportLevelMtls: {8080: {mode: DISABLE}, 9090: {mode: UNSET}}"))
        #expect(translator.mutualTLSMode(of: web, port: 8080) == .disable)
        #expect(translator.mutualTLSMode(of: web, port: 9090) == .permissive)
        #expect(translator.mutualTLSMode(of: ProxyClass(namespace: "other"), port: 1) == .strict)
        let told = translator.mutualTLS(of: ["app": "web"], in: "shop", port: 8080)
        #expect(told.object == ObjectKey(.peerAuthentication, "shop", "web"))
        #expect(told.path == "spec.portLevelMtls[\"8080\"].mode")
        #expect(
            mesh(webService, meshConfig("mtls: STRICT")).mutualTLS(of: [:], in: "x", port: 1).object == MeshConfig.key)
    }

    @Test func theOldestOfALevelAloneCounts() {
        let translator = mesh(
            peer("b", at: 1, "mtls: {mode: STRICT}"), peer("a", at: 2, "mtls: {mode: DISABLE}"),
            peer("z", at: 1, "selector: {matchLabels: {app: web}}\nmtls: {mode: UNSET}"),
            peer("y", at: 2, "selector: {matchLabels: {app: web}}\nmtls: {mode: DISABLE}"))
        #expect(translator.mutualTLSMode(of: ProxyClass(namespace: "shop"), port: 1) == .strict)
        // The older one of the workload says nothing, so it is as its namespace says.
        #expect(translator.mutualTLSMode(of: web, port: 1) == .strict)
    }

    @Test func theModeDecidesWhatAnInboundPortTakes() throws {
        func chains(_ mode: String) throws -> [String] {
            let mesh = mesh(webService, peer("web", "mtls: {mode: \(mode)}"))
            let listener = try #require(mesh.inboundListeners(of: web).first)
            try EnvoyPeer.expectAccepted(inbound: mesh)
            let all = try Shown(listener)["filter_chains"].value as? [Any] ?? []
            return all.map { Shown($0) }.filter { $0["filter_chain_match.destination_port"].text == "8080" }
                .map { $0["transport_socket.name"].text == "" ? "plain" : "tls" }
        }
        #expect(try chains("STRICT") == ["tls"])
        #expect(try chains("PERMISSIVE") == ["tls", "plain"])
        #expect(try chains("DISABLE") == ["plain"])
    }

    private let keys = #"{"keys":[{"kty":"oct","kid":"k","alg":"HS256","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"}]}"#

    @Test func tokensAreCheckedAsTheirRulesSay() throws {
        let mesh = mesh(
            webService, made(.service, "keys", in: "shop", "ports: [{port: 8000, name: http}]"),
            made(
                .requestAuthentication, "jwt", in: "shop",
                """
                selector: {matchLabels: {app: web}}
                jwtRules:
                - issuer: https://issuer
                  audiences: [me, you]
                  jwks: '\(keys)'
                  fromHeaders: [{name: x-jwt, prefix: "Bearer "}]
                  fromParams: [token]
                  fromCookies: [session]
                  outputPayloadToHeader: x-payload
                  forwardOriginalToken: true
                  outputClaimToHeaders: [{header: x-sub, claim: sub}]
                  spaceDelimitedClaims: [scope]
                - {issuer: web, jwksUri: "https://keys.example.com:8443/jwks", timeout: 3s}
                - {issuer: mesh, jwksUri: "http://keys.shop.svc.cluster.local:8000/jwks"}
                - {issuer: plain, jwksUri: "http://10.0.0.9/jwks"}
                """))
        let filter = try #require(try mesh.httpFilters().first)
        #expect(filter["name"].text == "envoy.filters.http.jwt_authn")
        let first = filter["typed_config.providers.origins-0"]
        #expect(first["issuer"].text == "https://issuer" && first["audiences"].text == #"["me","you"]"#)
        #expect(first["local_jwks.inline_string"].text == keys)
        #expect(first["from_headers"].text == #"[{"name":"x-jwt","value_prefix":"Bearer "}]"#)
        #expect(first["from_params"].text == #"["token"]"# && first["from_cookies"].text == #"["session"]"#)
        #expect(first["forward_payload_header"].text == "x-payload" && first["forward"].text == "true")
        #expect(first["payload_in_metadata"].text == "claims")
        #expect(first["claim_to_headers"].text == #"[{"claim_name":"sub","header_name":"x-sub"}]"#)
        #expect(
            first["normalize_payload_in_metadata.space_delimited_claims"].text == #"["scope"]"#)
        let fetched = filter["typed_config.providers.origins-1.remote_jwks.http_uri"]
        #expect(fetched["uri"].text == "https://keys.example.com:8443/jwks" && fetched["timeout"].text == "3s")
        #expect(fetched["cluster"].text == "jwks|8443||keys.example.com")
        // Who serves keys in the mesh is called as everybody in it is.
        #expect(
            filter["typed_config.providers.origins-2.remote_jwks.http_uri.cluster"].text
                == "outbound|8000||keys.shop.svc.cluster.local")
        let requires = filter["typed_config.rules.0.requires.requires_any.requirements"]
        #expect(requires.count == 5 && requires["0.provider_name"].text == "origins-0")
        #expect(requires["4.allow_missing"].text == "{}")

        let clusters = SectionMaker.inbound(mesh, web).filter { $0.type == .cluster && $0.name.hasPrefix("jwks") }
        #expect(clusters.map(\.name) == ["jwks|80||10.0.0.9", "jwks|8443||keys.example.com"])
        let secure = try Shown(clusters[1])["transport_socket.typed_config"]
        #expect(secure["sni"].text == "keys.example.com")
        #expect(
            secure["common_tls_context.validation_context.match_typed_subject_alt_names.0.matcher.exact"].text
                == "keys.example.com")
        try EnvoyPeer.expectAccepted(inbound: mesh)
    }

    @Test func gatewaysFetchKeysToo() throws {
        let mesh = mesh(
            made(
                .requestAuthentication, "jwt", in: "istio-system",
                "jwtRules: [{issuer: a, jwksUri: \"https://keys.example.com/jwks\"}]"))
        let gateway = ProxyClass(.gateway, namespace: "istio-system", labels: ["istio": "ingressgateway"])
        #expect(SectionMaker.gateway(mesh, gateway).map(\.name) == ["jwks|443||keys.example.com"])
        #expect(
            SectionMaker.gateway(mesh, ProxyClass(.gateway, namespace: "x")).map(\.name) == [
                "jwks|443||keys.example.com"
            ])
    }
}
