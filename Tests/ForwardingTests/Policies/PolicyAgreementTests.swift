import Foundation
import Testing

@testable import Forwarding

/// Permissions and principals at random, JSON.
private struct RandomAccess {
    var dice: SeededDice

    private mutating func text() -> String {
        let words = ["a", "web", "/a", "/a/b", "GET", "P", "abc", ""]
        switch Int.random(in: 0...5, using: &dice) {
        case 0: return #"{"exact": "\#(dice.pick(words))"}"#
        case 1: return #"{"prefix": "\#(dice.pick(words.dropLast()))"}"#
        case 2: return #"{"suffix": "\#(dice.pick(words.dropLast()))", "ignore_case": true}"#
        case 3: return #"{"contains": "\#(dice.pick(words.dropLast()))"}"#
        case 4: return #"{"safe_regex": {"regex": "\#(dice.pick(["/a.*", ".+", "[A-Z]*", "(web|x)"]))"}}"#
        default: return #"{"exact": "\#(dice.pick(["WEB", "Get", "/A/b"]))", "ignore_case": true}"#
        }
    }

    private mutating func header() -> String {
        let name = dice.pick([":method", ":authority", ":path", "x-token", "X-Other"])
        let match =
            switch Int.random(in: 0...3, using: &dice) {
            case 0: #""present_match": \#(dice.chance(80))"#
            case 1: #""range_match": {"start": 3, "end": 9}"#
            default: #""string_match": \#(text())"#
            }
        let invert = dice.chance(20) ? #", "invert_match": true"# : ""
        let missing = dice.chance(15) ? #", "treat_missing_header_as_empty": true"# : ""
        return #"{"name": "\#(name)", \#(match)\#(invert)\#(missing)}"#
    }

    private mutating func block() -> String {
        let (address, bits) = dice.pick([
            ("127.0.0.0", 8), ("10.0.0.0", 8), ("127.0.0.2", 32), ("0.0.0.0", 0), ("::1", 128),
        ])
        return #"{"address_prefix": "\#(address)", "prefix_len": \#(bits)}"#
    }

    mutating func permission(_ depth: Int) -> String {
        switch Int.random(in: 0...(depth > 0 ? 11 : 7), using: &dice) {
        case 0: return #"{"any": true}"#
        case 1, 2: return #"{"header": \#(header())}"#
        case 3, 4: return #"{"url_path": {"path": \#(text())}}"#
        case 5: return #"{"destination_ip": \#(block())}"#
        case 6:
            return dice.pick([#"{"destination_port": 1}"#, #"{"destination_port_range": {"start": 2, "end": 65535}}"#])
        case 7: return #"{"requested_server_name": \#(text())}"#
        case 8: return #"{"not_rule": \#(permission(depth - 1))}"#
        case 9, 10: return #"{"and_rules": {"rules": [\#(permission(depth - 1)), \#(permission(depth - 1))]}}"#
        default: return #"{"or_rules": {"rules": [\#(permission(depth - 1)), \#(permission(depth - 1))]}}"#
        }
    }

    mutating func principal(_ depth: Int) -> String {
        switch Int.random(in: 0...(depth > 0 ? 11 : 8), using: &dice) {
        case 0, 1: return #"{"any": true}"#
        case 2: return #"{"header": \#(header())}"#
        case 3: return #"{"url_path": {"path": \#(text())}}"#
        case 4: return #"{"direct_remote_ip": \#(block())}"#
        case 5: return #"{"remote_ip": \#(block())}"#
        case 6: return dice.pick([#"{"authenticated": {}}"#, #"{"authenticated": {"principal_name": \#(text())}}"#])
        case 7, 8: return metadata()
        case 9: return #"{"not_id": \#(principal(depth - 1))}"#
        case 10: return #"{"and_ids": {"ids": [\#(principal(depth - 1)), \#(principal(depth - 1))]}}"#
        default: return #"{"or_ids": {"ids": [\#(principal(depth - 1)), \#(principal(depth - 1))]}}"#
        }
    }

    private mutating func metadata() -> String {
        let path = dice.pick([["k"], ["l"], ["o", "k"], ["none"], ["n"], ["z"]]).map { #"{"key": "\#($0)"}"# }
        let value = dice.pick([
            #"{"string_match": {"exact": "a"}}"#, #"{"list_match": {"one_of": {"string_match": {"exact": "a"}}}}"#,
            #"{"present_match": true}"#, #"{"double_match": {"range": {"start": 1, "end": 2}}}"#,
            #"{"double_match": {"exact": 2}}"#, #"{"null_match": {}}"#, #"{"bool_match": true}"#,
            #"{"or_match": {"value_matchers": [{"string_match": {"exact": "a"}}, {"double_match": {"exact": 1}}]}}"#,
        ])
        let invert = dice.chance(20) ? #", "invert": true"# : ""
        return
            #"{"metadata": {"filter": "test", "path": [\#(path.joined(separator: ", "))], "value": \#(value)\#(invert)}}"#
    }

    mutating func rules() -> String {
        let policies = (0..<Int.random(in: 0...3, using: &dice)).map { number in
            #""p\#(number)": {"permissions": [\#(permission(2))], "principals": [\#(principal(2)), \#(principal(1))]}"#
        }
        return
            #"{"action": "\#(dice.pick(["ALLOW", "ALLOW", "DENY", "LOG"]))", "policies": {\#(policies.joined(separator: ", "))}}"#
    }

    mutating func question() -> PolicyPeer.Question {
        let headers: [[[String]]] = [
            [], [["x-token", "a"]], [["x-token", "abc"], ["x-token", "d"]], [["x-token", "5"], ["x-other", ""]],
            [["x-forwarded-for", "10.1.1.1"]], [["x-forwarded-for", "1.2.3.4, 10.2.2.2"], ["x-other", "web"]],
        ]
        return PolicyPeer.Question(
            method: dice.pick(["GET", "POST", "PUT"]),
            path: dice.pick(["/", "/a", "/a/b", "/a?x=/b", "/web", "/A/B", "/abc"]),
            host: dice.pick(["web", "WEB", "web:80", "abc"]), headers: dice.pick(headers))
    }
}

/// The same filters, the same requests: Envoy 1.40 and this proxy answer the same.
struct PolicyAgreementTests {
    private func agree(_ cases: [PolicyPeer.Case]) throws -> [PolicyPeer.Answer] {
        let theirs = try PolicyPeer.answers(cases)
        try #require(theirs.count == cases.count)
        for (one, theirs) in zip(cases, theirs) {
            let ours = try PolicyPeer.ours(one)
            try #require(ours.count == theirs.count)
            for (question, (mine, other)) in zip(one.questions, zip(ours, theirs)) {
                #expect(mine == other, "\(question)\n\(one.filters.joined(separator: "\n"))\n\(one.route)")
            }
        }
        return theirs.flatMap { $0 }
    }

    @Test func accessIsAllowedAndDeniedAsByEnvoy() throws {
        var random = RandomAccess(dice: SeededDice(seed: 40))
        let metadata = packed(
            "set_metadata.v3.Config",
            #"{"metadata": [{"metadata_namespace": "test", "value": {"k": "a", "l": ["b", "a"], "o": {"k": true}, "n": 1, "z": null}}]}"#
        )
        let cases = (0..<60).map { _ in
            let filter = packed("rbac.v3.RBAC", #"{"rules": \#(random.rules())}"#)
            return PolicyPeer.Case(
                filters: [
                    #"{"name": "metadata", "typed_config": \#(metadata)}"#,
                    #"{"name": "rbac", "typed_config": \#(filter)}"#,
                ], questions: (0..<40).map { _ in random.question() })
        }
        let answers = try agree(cases)
        let refused = answers.filter { $0.status == 403 }.count
        #expect(answers.count == 2_400 && refused > 200 && refused < 2_200)
    }

    @Test func pathsAreNormalisedAsByEnvoy() throws {
        var dice = SeededDice(seed: 12)
        let pieces = [
            "/", "/", ".", "..", "a", "%2e", "%2F", "%5c", "\\", "%41", "%", "?", "b", "//", ";", "|", "%3f", "~",
        ]
        let managers = [
            #"{"normalize_path": true}"#, #"{"normalize_path": true, "merge_slashes": true}"#,
            #"{"normalize_path": true, "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD"}"#,
        ]
        let cases = managers.map { manager in
            PolicyPeer.Case(
                filters: [], manager: manager,
                questions: (0..<400).map { _ in
                    PolicyPeer.Question(
                        path: "/" + (0..<Int.random(in: 0...8, using: &dice)).map { _ in dice.pick(pieces) }.joined())
                })
        }
        let answers = try agree(cases)
        #expect(answers.count == 1_200)
    }

    @Test func tokensAreBelievedAndRefusedAsByEnvoy() throws {
        let (one, two) = (try TokenMaker("ES256"), try TokenMaker("RS256", keyID: "r", namesAlgorithm: false))
        func quoted(_ text: String) -> String {
            text.replacingOccurrences(of: "\n", with: " ").replacingOccurrences(of: "\"", with: "\\\"")
        }
        let providers = """
            "providers": {
             "p": {"issuer": "joe", "local_jwks": {"inline_string": "\(quoted(one.keySet))"}, "audiences": ["api"],
              "payload_in_metadata": "claims", "forward": true, "forward_payload_header": "x-payload",
              "claim_to_headers": [{"header_name": "x-user", "claim_name": "sub"}]},
             "q": {"issuer": "ann", "local_jwks": {"inline_string": "\(quoted(two.keySet))"},
              "payload_in_metadata": "claims", "from_headers": [{"name": "authorization", "value_prefix": "JWT "}],
              "from_params": ["token"],
              "claim_to_headers": [{"header_name": "x-user", "claim_name": "n.a"}]}}
            """
        let requirements = [
            #"{"provider_name": "p"}"#, #"{"provider_name": "q"}"#, #"{"allow_missing": {}}"#,
            #"{"requires_any": {"requirements": [{"provider_name": "p"}, {"provider_name": "q"}]}}"#,
            #"{"requires_any": {"requirements": [{"provider_name": "p"}, {"provider_name": "q"}, {"allow_missing": {}}]}}"#,
            #"{"requires_all": {"requirements": [{"provider_name": "p"}, {"allow_missing": {}}]}}"#,
            #"{"allow_missing_or_failed": {}}"#,
            #"{"provider_and_audiences": {"provider_name": "q", "audiences": ["other"]}}"#,
        ]
        let now = Int(Date().timeIntervalSince1970)
        let late = #""exp": \#(now + 3_600)"#
        let tokens = [
            try one.token(#"{"iss": "joe", "sub": "s", "aud": "api", \#(late)}"#),
            try one.token(#"{"iss": "joe", "sub": "s", "aud": ["x", "https://api/"]}"#),
            try one.token(#"{"iss": "joe", "sub": "s", "aud": "x", \#(late)}"#),
            try one.token(#"{"iss": "joe", "sub": "s", "aud": "api", "exp": \#(now - 3_600)}"#),
            try one.token(#"{"iss": "joe", "aud": "api", "nbf": \#(now + 3_600)}"#),
            try one.token(#"{"iss": "eve", "sub": "s", "aud": "api"}"#),
            try one.token(#"{"sub": "s", "aud": "api"}"#),
            try one.token(#"{"iss": "joe", "aud": "api", "sub": 7}"#),
            try one.token(#"{"iss": "joe", "aud": "api", "exp": "x"}"#),
            try one.token(#"{"iss": "joe", "aud": "api"}"#, header: #"{"alg": "ES256", "kid": "other"}"#),
            try one.token(#"{"iss": "joe", "aud": "api"}"#, header: #"{"alg": "ES256"}"#),
            try one.token(#"{"iss": "joe", "aud": "api"}"#, header: #"{"alg": "none"}"#),
            try one.token(#"{"iss": "joe", "aud": "api"}"#, header: #"{"kid": "k"}"#),
            try one.token(#"{"iss": "joe", "aud": "api"}"#, header: "x"),
            try one.token("x"), try one.token("[]"),
            try two.token(#"{"iss": "ann", "sub": "s", "n": {"a": 12}}"#),
            try two.token(#"{"iss": "ann", "n": {"a": [1, "b"]}, "aud": "other"}"#),
            try two.token(#"{"iss": "joe", "sub": "s", "aud": "api"}"#),
            "a", "a.b", "a.b.c", "..", "!!!.x.y",
        ]
        var questions: [PolicyPeer.Question] = [
            .init(), .init(headers: [["x-user", "root"], ["x-payload", "forged"]]),
        ]
        for token in tokens {
            questions += [
                .init(headers: [["authorization", "Bearer " + token], ["x-user", "root"]]),
                .init(headers: [["authorization", "JWT " + token]]), .init(path: "/a?b=c&token=" + token + "&d=e"),
                .init(path: "/?access_token=" + token),
            ]
        }
        questions.append(.init(headers: [["authorization", "Basic abc"]]))
        let cases = requirements.map { requirement in
            let filter = packed(
                "jwt_authn.v3.JwtAuthentication",
                #"{\#(providers), "rules": [{"match": {"prefix": "/"}, "requires": \#(requirement)}]}"#)
            return PolicyPeer.Case(
                filters: [#"{"name": "envoy.filters.http.jwt_authn", "typed_config": \#(filter)}"#],
                questions: questions)
        }
        let answers = try agree(cases)
        #expect(answers.filter { $0.status == 200 }.count > 50 && answers.filter { $0.status == 401 }.count > 100)
    }

    @Test func originsAndFaultsAreAnsweredAsByEnvoy() throws {
        let cors = packed("cors.v3.Cors", "{}")
        let fault = packed("fault.v3.HTTPFault", #"{"abort": {"header_abort": {}, "percentage": {"numerator": 100}}}"#)
        let policies = [
            """
            {"allow_origin_string_match": [{"exact": "http://a"}], "allow_methods": "GET,PUT", "allow_headers": "x-a",
             "expose_headers": "x-b", "max_age": "60", "allow_credentials": true}
            """,
            #"{"allow_origin_string_match": [{"safe_regex": {"regex": "http://[ab]"}}], "forward_not_matching_preflights": false}"#,
            #"{"allow_origin_string_match": [{"prefix": "*"}], "allow_private_network_access": true}"#,
            #"{"allow_methods": "GET"}"#,
            #"{"allow_origin_string_match": [{"prefix": "http"}], "filter_enabled": {"default_value": {"numerator": 0}}}"#,
        ]
        var questions: [PolicyPeer.Question] = []
        for method in ["GET", "OPTIONS"] {
            for origin in [[], [["origin", "http://a"]], [["origin", "http://c"]], [["origin", ""]]] {
                for more in [
                    [], [["access-control-request-method", "PUT"]],
                    [["access-control-request-method", "PUT"], ["access-control-request-private-network", "true"]],
                    [["x-envoy-fault-abort-request", "418"]], [["x-envoy-fault-abort-request", "700"]],
                ] {
                    questions.append(.init(method: method, headers: origin + more))
                }
            }
        }
        let cases = policies.flatMap { [($0, true), ($0, false)] }.map { policy, isForwarded in
            PolicyPeer.Case(
                filters: [
                    #"{"name": "cors", "typed_config": \#(cors)}"#, #"{"name": "fault", "typed_config": \#(fault)}"#,
                ], route: #"{"cors": \#(packed("cors.v3.CorsPolicy", policy))}"#,
                isForwarded: isForwarded, questions: questions)
        }
        let answers = try agree(cases)
        #expect(answers.contains { $0.status == 418 } && answers.count == 400)
    }
}
