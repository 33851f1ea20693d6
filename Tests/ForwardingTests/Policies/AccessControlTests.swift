import EnvoyAPI
import Protobuf
import Testing

@testable import Forwarding

struct AccessControlTests {
    private func control(_ fields: String) throws -> AccessControl {
        guard case .accessControl(let control?) = try filter("rbac.v3.RBAC", fields) else {
            throw ConfigurationError.invalid(path: "", message: "no access control")
        }
        return control
    }

    /// Whether a policy with this permission and principal matches.
    private func matches(
        permission: String = #"{"any": true}"#, principal: String = #"{"any": true}"#, _ facts: RequestFacts
    ) throws -> Bool {
        let fields = """
            {"rules": {"policies": {"p": {"permissions": [\(permission)], "principals": [\(principal)]}}}}
            """
        return try control(fields).decide(facts).isAllowed
    }

    @Test func anAbsentRuleSetAllowsAndAnEmptyOneDenies() throws {
        #expect(try control("{}").decide(request()) == AccessVerdict(isAllowed: true, policy: nil))
        let nobody = try control(#"{"rules": {"action": "ALLOW"}}"#).decide(request())
        #expect(!nobody.isAllowed && nobody.details == "rbac_access_denied_matched_policy[none]")
        #expect(try control(#"{"rules": {"action": "DENY"}}"#).decide(request()).isAllowed)
    }

    @Test func theFirstPolicyByNameDecidesAndIsNamed() throws {
        let policy = #"{"permissions": [{"any": true}], "principals": [{"any": true}]}"#
        let other = #"{"permissions": [{"destination_port": 1}], "principals": [{"any": true}]}"#
        let verdict = try control(
            #"{"rules": {"action": "DENY", "policies": {"b two": \#(policy), "c": \#(policy), "a": \#(other)}}}"#
        ).decide(request())
        #expect(!verdict.isAllowed && verdict.policy == "b two")
        #expect(verdict.details == "rbac_access_denied_matched_policy[b_two]")
    }

    @Test func whatIsOnlyTriedIsToldAndNotObeyed() throws {
        let policy = #"{"permissions": [{"any": true}], "principals": [{"any": true}]}"#
        let control = try control(
            """
            {"shadow_rules": {"action": "DENY", "policies": {"try": \(policy)}}, "shadow_rules_stat_prefix": "dry_",
             "rules": {"action": "LOG", "policies": {"log": \(policy)}}}
            """)
        let verdict = control.decide(request())
        #expect(verdict.isAllowed && verdict.isLogged == true && verdict.policy == "log")
        #expect(verdict.shadow == .init(isAllowed: false, policy: "try"))
        #expect(
            verdict.metadata == [
                .init("dry_shadow_effective_policy_id", "try"), .init("dry_shadow_engine_result", "denied"),
                .init("enforced_effective_policy_id", "log"), .init("enforced_engine_result", "allowed"),
            ])
    }

    @Test func conditionsOnTheRequest() throws {
        let facts = request("POST", "/a/b?x=1#f", host: "Web", [("x-token", "abc"), ("x-token", "d")])
        let cases: [(String, Bool)] = [
            (#"{"header": {"name": ":method", "string_match": {"exact": "POST"}}}"#, true),
            // Of a field that is there twice each is looked at, as Envoy 1.40 does.
            (#"{"header": {"name": "X-Token", "string_match": {"exact": "abc,d"}}}"#, false),
            (#"{"header": {"name": "X-Token", "string_match": {"exact": "d"}}}"#, true),
            (#"{"header": {"name": "X-Token", "string_match": {"exact": "d"}, "invert_match": true}}"#, false),
            (#"{"header": {"name": "x-token", "present_match": true, "invert_match": true}}"#, false),
            (#"{"header": {"name": ":authority", "string_match": {"exact": "web", "ignore_case": true}}}"#, true),
            (#"{"url_path": {"path": {"exact": "/a/b"}}}"#, true),
            (#"{"url_path": {"path": {"suffix": "x=1"}}}"#, false),
            (#"{"destination_port": 8080}"#, true), (#"{"destination_port": 80}"#, false),
            (#"{"destination_port_range": {"start": 8080, "end": 8081}}"#, true),
            (#"{"destination_port_range": {"start": 80, "end": 8080}}"#, false),
            (#"{"destination_ip": {"address_prefix": "10.0.0.0", "prefix_len": 24}}"#, true),
            (#"{"not_rule": {"destination_ip": {"address_prefix": "10.0.0.0", "prefix_len": 24}}}"#, false),
            (#"{"and_rules": {"rules": [{"any": true}, {"destination_port": 80}]}}"#, false),
            (#"{"or_rules": {"rules": [{"destination_port": 80}, {"any": true}]}}"#, true),
            (#"{"requested_server_name": {"exact": ""}}"#, true),
            (template("/a/*"), true), (template("/*"), false), (template("/**"), true), (template("/{x}/{y=**}"), true),
            (template("/**/b"), true), (template("/**/c"), false),
        ]
        for (permission, expected) in cases {
            #expect(try matches(permission: permission, facts) == expected, "\(permission)")
        }
    }

    private func template(_ text: String) -> String {
        let config = packed(
            "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", #"{"path_template": "\#(text)"}"#)
        return
            #"{"uri_template": {"name": "envoy.path.match.uri_template.uri_template_matcher", "typed_config": \#(config)}}"#
    }

    @Test func conditionsOnWhoCalls() throws {
        func block(_ text: String) -> String { #"{"address_prefix": "\#(text)", "prefix_len": 8}"# }
        let proxied = plain.with(source: address("20.0.0.1"))
        let facts = request(connection: proxied, remote: address("30.0.0.1"))
        let cases: [(String, Bool)] = [
            (#"{"direct_remote_ip": \#(block("10.0.0.0"))}"#, true), (#"{"source_ip": \#(block("20.0.0.0"))}"#, true),
            (#"{"remote_ip": \#(block("30.0.0.0"))}"#, true), (#"{"remote_ip": \#(block("10.0.0.0"))}"#, false),
            (#"{"not_id": {"remote_ip": \#(block("10.0.0.0"))}}"#, true),
            (#"{"authenticated": {}}"#, false),
            (#"{"and_ids": {"ids": [{"any": true}, {"authenticated": {}}]}}"#, false),
            (#"{"or_ids": {"ids": [{"authenticated": {}}, {"any": true}]}}"#, true),
        ]
        for (principal, expected) in cases {
            #expect(try matches(principal: principal, facts) == expected, "\(principal)")
        }
        let pipe = ConnectionFacts(source: .pipe("@x"), destination: plain.destination)
        #expect(try !matches(principal: #"{"direct_remote_ip": \#(block("10.0.0.0"))}"#, request(connection: pipe)))
    }

    @Test func namesOfTheCertificateAreAskedOneByOne() throws {
        func principal(_ match: String) -> String { #"{"authenticated": {"principal_name": \#(match)}}"# }
        let web = "spiffe://cluster.local/ns/shop/sa/web"
        let peer = PeerCertificateFacts(uriNames: [web], dnsNames: ["web.shop"], subject: "CN=web")
        let exact = principal(#"{"exact": "\#(web)"}"#)
        #expect(try matches(principal: exact, request(connection: secure(peer))))
        #expect(try matches(principal: principal(#"{"exact": "web.shop"}"#), request(connection: secure(peer))))
        #expect(try matches(principal: principal(#"{"prefix": "CN="}"#), request(connection: secure(peer))))
        #expect(try !matches(principal: principal(#"{"exact": "other"}"#), request(connection: secure(peer))))
        #expect(try !matches(principal: exact, request(connection: secure(nil))))
        #expect(try matches(principal: #"{"authenticated": {}}"#, request(connection: secure(peer))))
        // What an unverified one says is nobody's name.
        let claimed = PeerCertificateFacts(uriNames: [web], isVerified: false)
        #expect(try !matches(principal: exact, request(connection: secure(claimed))))
        #expect(try matches(principal: #"{"authenticated": {}}"#, request(connection: secure(claimed))))
        // A certificate that nobody saw has no names, whatever the facts hold.
        let unsafe = ConnectionFacts(source: plain.source, destination: plain.destination, peer: peer)
        #expect(try !matches(principal: exact, request(connection: unsafe)))
    }

    @Test func claimsAreTextsOrListsOfTexts() throws {
        func claim(_ value: String) -> String {
            """
            {"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": [{"key": "claims"}, {"key": "group"}],
             "value": \(value)}}
            """
        }
        let text = #"{"string_match": {"exact": "a"}}"#
        let list = #"{"list_match": {"one_of": {"string_match": {"exact": "a"}}}}"#
        func facts(_ value: StructureValue) -> RequestFacts {
            var metadata = FilterMetadata()
            metadata.merge(TokenAuthentication.filterName, [.init("claims", ["group": value])])
            return request(metadata: metadata)
        }
        #expect(try matches(principal: claim(text), facts("a")))
        #expect(try !matches(principal: claim(text), facts(["a"])))
        #expect(try matches(principal: claim(list), facts(["b", "a"])))
        #expect(try !matches(principal: claim(list), facts("a")))
        #expect(try !matches(principal: claim(text), request()))
        #expect(try matches(principal: claim(#"{"or_match": {"value_matchers": [\#(text), \#(list)]}}"#), facts(["a"])))
    }

    @Test func connectionsAreAskedWithoutARequest() throws {
        let arena = Arena()
        let message = try arena.decodeJSON(
            NetworkRBAC.self,
            """
            {"stat_prefix": "x", "rules": {"policies": {
             "p": {"permissions": [{"destination_port": 8080}],
                   "principals": [{"header": {"name": "x", "present_match": true, "invert_match": true}}]}}}}
            """, types: envoyTypes)
        let control = try AccessControl(message.pointee, in: arena)
        let verdict = control.decide(plain)
        #expect(verdict.isAllowed)
        #expect(
            verdict.metadata == [
                .init("enforced_effective_policy_id", "p"), .init("enforced_engine_result", "allowed"),
            ])
        let other = plain.with(destination: address("10.0.0.9", 80))
        #expect(!control.decide(other).isAllowed)
        #expect(control.decide(other).metadata == [.init("enforced_engine_result", "denied")])
    }

    @Test(arguments: ["enforcement_type: CONTINUOUS", "delay_deny: 2s"])
    func connectionsAreAskedOnceAndClosedAtOnce(field: String) throws {
        let arena = Arena()
        let message = try arena.decodeYAML(NetworkRBAC.self, "{stat_prefix: x, \(field)}", types: envoyTypes)
        #expect(throws: ConfigurationError.self) {
            try FieldAudit.check(DynamicMessage(message), AccessControl.fields)
        }
    }

    @Test(arguments: [
        (#"{"matcher": {}}"#, "http_filters[0].typed_config.matcher"),
        (
            #"{"rules": {"policies": {"p": {"permissions": [{"any": true}], "condition": {"id": "1"}}}}}"#,
            #"policies["p"].condition"#
        ),
        (
            #"{"rules": {"policies": {"p": {"permissions": [{"not_rule": {"destination_port": 70000}}]}}}}"#,
            #"rules.policies["p"].permissions[0].not_rule.destination_port: 70000 is no port"#
        ),
        (
            #"{"rules": {"policies": {"p": {"principals": [{"filter_state": {"key": "x"}}]}}}}"#,
            "principals[0].filter_state"
        ),
        (
            #"{"rules": {"policies": {"p": {"permissions": [{"header": {"name": "x", "string_match": {"safe_regex": {"regex": "("}}}}]}}}}"#,
            "string_match.safe_regex.regex"
        ),
    ])
    func whatIsNotUnderstoodIsRefusedWithItsPlace(fields: String, words: String) {
        let refusal = refusal("rbac.v3.RBAC", fields)
        #expect(refusal.contains(words), "\(refusal)")
    }
}
