import CEnvoyAPI
import EnvoyAPI
import HTTP
import Protobuf
import Testing
import Time

@testable import Forwarding

struct ExternalAuthorizationTests {
    private func filterOf(_ fields: String) throws -> ExternalAuthorization {
        guard case .externalAuthorization(let authorization, nil) = try filter("ext_authz.v3.ExtAuthz", fields) else {
            throw ConfigurationError.invalid(path: "", message: "no authorization")
        }
        return authorization
    }

    private func grpc(_ more: String = "") throws -> ExternalAuthorization {
        try filterOf(
            """
            {"grpc_service": {"envoy_grpc": {"cluster_name": "asks"}, "timeout": "0.5s",
             "initial_metadata": [{"key": "X-Who", "value": "me"}]}, "transport_api_version": "V3"\(more)}
            """)
    }

    private func http(_ more: String = "", _ outside: String = "") throws -> ExternalAuthorization {
        try filterOf(
            """
            {"http_service": {"server_uri": {"uri": "http://asks", "cluster": "asks", "timeout": "1s"},
             "path_prefix": "/check"\(more)}\(outside)}
            """)
    }

    private func told(_ facts: RequestFacts) -> AuthorizedRequest {
        AuthorizedRequest(facts: facts, id: "7", protocolName: "HTTP/1.1", start: Timestamp(nanoseconds: 1_500_000_000))
    }

    /// What a `CheckResponse` comes to.
    private func verdict(_ filter: ExternalAuthorization, _ json: String) throws -> AuthorizationVerdict {
        let arena = Arena()
        let message = try arena.decodeJSON(CheckResponse.self, json, types: envoyTypes)
        return filter.read(.grpc(status: 0, message: encode(message)))
    }

    @Test func aQuestionOverGRPCTellsTheRequest() throws {
        let peer = PeerCertificateFacts(uriNames: ["spiffe://a/ns/b/sa/c"], pem: "a b")
        var facts = request(
            "POST", "/a?b=c", [("x-a", "1"), ("x-a", "2"), ("content-length", "3")],
            connection: secure(peer, serverName: "web.example"))
        facts.metadata.merge("ns", [.init("k", "v")])
        let filter = try grpc(
            """
            , "include_peer_certificate": true, "include_tls_session": true, "metadata_context_namespaces": ["ns"],
              "with_request_body": {"max_request_bytes": 10, "allow_partial_message": true}
            """)
        var dice = SeededDice(seed: 1)
        guard case .asks(let rule?) = filter.begin(facts, random: &dice) else {
            Issue.record("asks nothing")
            return
        }
        #expect(rule.mostBytes == 10 && rule.takesPart)
        let question = filter.question(told(facts), body: Array("abc".utf8), isWhole: false)
        #expect(question.cluster == "asks" && question.isGRPC && question.timeout == .milliseconds(500))
        #expect(question.head.text(":path") == "/envoy.service.auth.v3.Authorization/Check")
        #expect(question.head.text("x-who") == "me" && question.head.text("grpc-timeout") == "500m")
        let arena = Arena()
        let message = try arena.decode(CheckRequest.self, from: question.body)
        let text = try json(of: DynamicMessage(message), types: envoyTypes)
        for words in [
            #""path": "/a?b=c""#, #""x-a": "1,2""#, #""x-envoy-auth-partial-body": "true""#, #""body": "abc""#,
            #""principal": "spiffe://a/ns/b/sa/c""#, #""certificate": "a%20b""#, #""sni": "web.example""#,
            #""address": "10.1.2.3""#, #""port_value": 8080"#, #""k": "v""#, #""method": "POST""#, #""host": "web""#,
            #""protocol": "HTTP/1.1""#, #""size": "3""#, #""id": "7""#,
        ] {
            #expect(text.contains(words), "\(words) is not in \(text)")
        }
    }

    @Test func anAnswerThatAllowsChangesTheRequest() throws {
        let verdict = try verdict(
            try grpc(),
            """
            {"status": {"code": 0}, "ok_response": {"headers": [
              {"header": {"key": "X-User", "value": "ann"}}, {"header": {"key": "x-list", "value": "c"}, "append": true},
              {"header": {"key": "x-none", "value": "d"}, "append": true}],
             "headers_to_remove": ["x-secret", "host", ":path"],
             "response_headers_to_add": [{"header": {"key": "x-seen", "value": "1"}}],
             "query_parameters_to_set": [{"key": "q", "value": "2"}], "query_parameters_to_remove": ["t"]},
             "dynamic_metadata": {"k": 1}}
            """)
        guard case .allowed(let changes) = verdict else {
            Issue.record("\(verdict)")
            return
        }
        var head = request("GET", "/a?t=1&q=1", [("x-user", "eve"), ("x-list", "b"), ("x-secret", "s")]).head
        changes.apply(to: &head)
        #expect(head.text("x-user") == "ann" && head.text("x-secret") == nil && head.text("x-none") == nil)
        #expect(head.fields.filter { $0.name == "x-list" }.map(\.value) == ["b", "c"])
        #expect(head.text(":path") == "/a?q=2")
        #expect(head.text(":authority") == "web")
        var response = HeaderList([(":status", "200")])
        changes.applyToResponse(&response)
        #expect(response.text("x-seen") == "1" && changes.metadata == [.init("k", 1)])
    }

    @Test func anAnswerThatDeniesIsTheResponse() throws {
        let filter = try grpc()
        guard
            case .denied(let denial) = try verdict(
                filter,
                """
                {"status": {"code": 7}, "denied_response": {"status": {"code": "Unauthorized"}, "body": "go",
                 "headers": [{"header": {"key": "X-Why", "value": "no"}}]}}
                """)
        else {
            Issue.record("allowed")
            return
        }
        #expect(denial.status == 401 && denial.body == Array("go".utf8) && denial.headers.text("x-why") == "no")
        #expect(denial.details == "ext_authz_denied")
        guard case .denied(let bare) = try verdict(filter, #"{"status": {"code": 16}}"#) else {
            Issue.record("allowed")
            return
        }
        #expect(bare.status == 403)
    }

    @Test func aServerThatFailsDeniesOrAllowsAsTheFilterSays() throws {
        let failures: [AuthorizationAnswer] = [
            .failed, .grpc(status: 14, message: []), .grpc(status: 0, message: [0xFF]),
            .http(head: HeaderList(), body: []),
        ]
        for failure in failures {
            guard case .denied(let denial) = try grpc(#", "status_on_error": {"code": "BadGateway"}"#).read(failure)
            else {
                Issue.record("allowed")
                continue
            }
            #expect(denial.status == 502 && denial.details == "ext_authz_error")
            let lenient = try grpc(#", "failure_mode_allow": true, "failure_mode_allow_header_add": true"#)
            guard case .allowed(let changes) = lenient.read(failure) else {
                Issue.record("denied")
                continue
            }
            var head = request().head
            changes.apply(to: &head)
            #expect(head.text("x-envoy-auth-failure-mode-allowed") == "true")
        }
    }

    /// A server that is asked may not break the head that it adds to.
    @Test func fieldsThatCannotStandInAHeadAreAFailure() throws {
        for field in [
            #"{"key": "a b", "value": "c"}"#, #"{"key": "a", "value": "b\r\nc: d"}"#, #"{"key": "", "value": "c"}"#,
        ] {
            let answer = #"{"status": {"code": 0}, "ok_response": {"headers": [{"header": \#(field)}]}}"#
            guard case .denied(let denial) = try verdict(try grpc(), answer) else {
                Issue.record("\(field) was taken")
                continue
            }
            #expect(denial.details == "ext_authz_error")
        }
    }

    @Test func aQuestionOverHTTPIsTheRequestItself() throws {
        let filter = try http(
            """
            , "authorization_request": {"allowed_headers": {"patterns": [{"prefix": "x-"}]},
               "headers_to_add": [{"key": "x-added", "value": "yes"}]},
              "authorization_response": {"allowed_upstream_headers": {"patterns": [{"exact": "x-user"}]},
               "allowed_client_headers": {"patterns": [{"exact": "x-why"}]}}
            """)
        let facts = request(
            "PUT", "/a?b", [("x-a", "1"), ("cookie", "c"), ("authorization", "t"), ("content-length", "9")])
        let question = filter.question(told(facts))
        #expect(question.head.text(":path") == "/check/a?b" && question.head.text(":method") == "PUT")
        #expect(question.head.text("authorization") == "t" && question.head.text("x-a") == "1")
        #expect(question.head.text("cookie") == nil && question.head.text("content-length") == "0")
        #expect(question.head.text("x-added") == "yes" && !question.isGRPC)
        let good = HeaderList([
            (":status", "200"), ("x-user", "ann"), ("x-other", "1"), ("x-envoy-auth-headers-to-remove", "x-a, Cookie"),
        ])
        guard case .allowed(let changes) = filter.read(.http(head: good, body: [])) else {
            Issue.record("denied")
            return
        }
        var head = facts.head
        changes.apply(to: &head)
        #expect(head.text("x-user") == "ann" && head.text("x-other") == nil)
        #expect(head.text("x-a") == nil && head.text("cookie") == nil)
        let bad = HeaderList([(":status", "401"), ("x-why", "no"), ("x-inner", "1"), ("www-authenticate", "Basic")])
        guard case .denied(let denial) = filter.read(.http(head: bad, body: Array("b".utf8))) else {
            Issue.record("allowed")
            return
        }
        #expect(denial.status == 401 && denial.body == Array("b".utf8))
        #expect(denial.headers.text("x-why") == "no" && denial.headers.text("x-inner") == nil)
        #expect(denial.headers.text("www-authenticate") == "Basic")
        guard case .denied(let broken) = filter.read(.http(head: HeaderList([(":status", "503")]), body: [])) else {
            Issue.record("allowed")
            return
        }
        #expect(broken.status == 403 && broken.details == "ext_authz_error")
    }

    @Test func routesLeaveOutTheQuestionOrAddToIt() throws {
        var dice = SeededDice(seed: 1)
        let filter = try grpc(#", "with_request_body": {"max_request_bytes": 10}"#)
        guard
            case .externalAuthorization(let off) = try routeSetting(
                "ext_authz.v3.ExtAuthzPerRoute", #"{"disabled": true}"#
            ).policy,
            case .externalAuthorization(let more) = try routeSetting(
                "ext_authz.v3.ExtAuthzPerRoute",
                #"{"check_settings": {"context_extensions": {"a": "b"}, "disable_request_body_buffering": true}}"#
            ).policy
        else {
            Issue.record("no settings")
            return
        }
        guard case .passes = filter.begin(request(), route: off, random: &dice),
            case .asks(nil) = filter.begin(request(), route: more, random: &dice)
        else {
            Issue.record("not as the routes say")
            return
        }
        let arena = Arena()
        let message = try arena.decode(
            CheckRequest.self, from: filter.question(told(request()), route: more).body)
        #expect(try json(of: DynamicMessage(message), types: envoyTypes).contains(#""a": "b""#))
    }

    @Test func whatIsNotUnderstoodIsRefusedWithItsPlace() {
        let google = #"{"grpc_service": {"google_grpc": {"target_uri": "x", "stat_prefix": "x"}}}"#
        #expect(refusal("ext_authz.v3.ExtAuthz", google).contains("grpc_service"))
        #expect(refusal("ext_authz.v3.ExtAuthz", "{}").contains("neither grpc_service nor http_service"))
        #expect(refusal("ext_authz.v3.ExtAuthz", #"{"validate_mutations": true}"#).contains("validate_mutations"))
    }
}
