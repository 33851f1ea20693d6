import Certificates
import EnvoyAPI
import Foundation
import HTTP
import Testing
import Time

@testable import Forwarding

private let noon = Timestamp(seconds: 1_800_000_000)

/// A filter with its keys, as a worker has it.
private struct TokenCase {
    let filter: TokenAuthentication
    var keys: TokenKeys

    init(_ fields: String) throws {
        guard case .tokens(let tokens, nil) = try compiled("jwt_authn.v3.JwtAuthentication", fields) else {
            throw ConfigurationError.invalid(path: "", message: "no token filter")
        }
        filter = tokens
        keys = TokenKeys(tokens, now: instant(0))
    }

    /// One provider that every request needs, unless `requires` says otherwise.
    init(_ maker: TokenMaker, _ provider: String = "", requires: String = #"{"provider_name": "p"}"#) throws {
        let keys = maker.keySet.replacingOccurrences(of: "\n", with: "").replacingOccurrences(of: "\"", with: "\\\"")
        try self.init(
            """
            {"providers": {"p": {"issuer": "joe", "local_jwks": {"inline_string": "\(keys)"},
             "payload_in_metadata": "claims"\(provider.isEmpty ? "" : ", " + provider)}},
             "rules": [{"match": {"prefix": "/"}, "requires": \(requires)}], "bypass_cors_preflight": true}
            """)
    }

    mutating func ask(
        _ facts: RequestFacts, route: TokenSetting? = nil, at date: Timestamp = noon, now: Instant = instant(0)
    ) -> TokenVerdict { filter.decide(facts, route: route, keys: &keys, now: now, date: date) }

    mutating func text(_ facts: RequestFacts, route: TokenSetting? = nil, at date: Timestamp = noon) -> String {
        switch ask(facts, route: route, at: date) {
        case .allowed: "allowed"
        case .denied(let denial): "\(denial.status) \(denial.body)"
        case .waits(let provider): "waits \(provider)"
        }
    }

    mutating func changes(_ facts: RequestFacts) throws -> TokenChanges {
        guard case .allowed(let changes) = ask(facts) else {
            throw ConfigurationError.invalid(path: "", message: "not allowed")
        }
        return changes
    }
}

private func compiled(_ type: String, _ fields: String) throws -> HTTPFilter { try filter(type, fields) }

private func bearer(_ token: String, _ path: String = "/") -> RequestFacts {
    request("GET", path, [("authorization", "Bearer \(token)")])
}

struct TokenTests {
    @Test(arguments: ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"])
    func tokensThatOpenSSLSignedAreBelieved(algorithm: String) throws {
        let maker = try TokenMaker(algorithm)
        var checks = try TokenCase(maker)
        let token = try maker.token(#"{"iss": "joe", "sub": "ann", "exp": 1800000100}"#)
        #expect(checks.text(bearer(token)) == "allowed")
        let other = try TokenMaker(algorithm).token(#"{"iss": "joe", "sub": "eve", "exp": 1800000100}"#)
        #expect(checks.text(bearer(other)) == "401 Jwt verification fails")
        // The claims of one with the signature of the other.
        let parts = token.split(separator: ".")
        let mixed = other.split(separator: ".")
        #expect(checks.text(bearer("\(parts[0]).\(mixed[1]).\(parts[2])")) == "401 Jwt verification fails")
        #expect(checks.keys.rememberedCount == 1)
    }

    /// RFC 7515, A.2 and A.3; RFC 7520, 4.1 and 4.2; RFC 8037, A.4.
    @Test func theExamplesOfTheStandardsAreBelieved() throws {
        let rsa = """
            ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZ\
            S-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2\
            R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcD\
            TW9gb54h4FRWyuXpoQ
            """
        let set = try TokenKeySet(
            jwks: Array(
                """
                {"keys": [{"kty": "RSA", "n": "\(rsa)", "e": "AQAB"},
                 {"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                  "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
                 {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}
                """.utf8))
        let claims =
            "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
        let byRSA = """
            cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CU\
            Ar7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_d\
            O--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0ig\
            cN_IoypGlUPQGe77Rw
            """
        let byCurve = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
        for text in ["eyJhbGciOiJSUzI1NiJ9.\(claims).\(byRSA)", "eyJhbGciOiJFUzI1NiJ9.\(claims).\(byCurve)"] {
            let token = try WebToken(Array(text.utf8))
            #expect(token.issuer == "joe" && token.expiry == 1_300_819_380)
            try token.isSigned(by: set)
        }
        let edwards =
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        let signature = try #require(decoded(edwards))
        let message = Array("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".utf8)
        #expect(set.keys[2].publicKey.verify(signature, over: message, as: .edDSA))
        #expect(!set.keys[2].publicKey.verify(signature, over: message, as: .es256))
    }

    private func decoded(_ text: String) -> [UInt8]? {
        let padded = text.replacingOccurrences(of: "-", with: "+").replacingOccurrences(of: "_", with: "/")
        return Data(base64Encoded: padded + String(repeating: "=", count: (4 - padded.count % 4) % 4)).map(Array.init)
    }

    @Test func whatIsWrongWithATokenIsSaid() throws {
        let maker = try TokenMaker("ES256")
        var checks = try TokenCase(maker, #""audiences": ["api"], "clock_skew_seconds": 10"#)
        func ask(_ claims: String) throws -> String { checks.text(bearer(try maker.token(claims))) }
        #expect(checks.text(request()) == "401 Jwt is missing")
        #expect(try ask(#"{"iss": "joe", "aud": "api"}"#) == "allowed")
        #expect(try ask(#"{"iss": "joe", "aud": ["x", "https://api/"]}"#) == "allowed")
        #expect(try ask(#"{"iss": "joe", "aud": "x"}"#) == "403 Audiences in Jwt are not allowed")
        #expect(try ask(#"{"iss": "joe"}"#) == "403 Audiences in Jwt are not allowed")
        #expect(try ask(#"{"iss": "eve", "aud": "api"}"#) == "401 Jwt issuer is not configured")
        #expect(try ask(#"{"aud": "api"}"#) == "401 Jwt issuer is not configured")
        #expect(try ask(#"{"iss": "joe", "aud": "api", "exp": 1799999990}"#) == "allowed")
        #expect(try ask(#"{"iss": "joe", "aud": "api", "exp": 1799999989}"#) == "401 Jwt is expired")
        #expect(try ask(#"{"iss": "joe", "aud": "api", "nbf": 1800000010}"#) == "allowed")
        #expect(try ask(#"{"iss": "joe", "aud": "api", "nbf": 1800000011}"#) == "401 Jwt not yet valid")
        #expect(try ask(#"{"iss": 1}"#) == "401 Jwt payload [iss] field is not a string")
        #expect(try ask(#"{"iss": "joe", "exp": "x"}"#) == "401 Jwt payload [exp] field is not an integer")
        #expect(try ask(#"["iss"]"#) == "401 Jwt payload is an invalid JSON")
        #expect(checks.text(bearer("a.b")).hasPrefix("401 Jwt is not in the form of"))
        #expect(checks.text(bearer("a.b.c")) == "401 Jwt header is an invalid Base64url encoded")
        let none = try maker.token(#"{"iss": "joe"}"#, header: #"{"alg": "none"}"#)
        #expect(checks.text(bearer(none)) == "401 Jwt header [alg] is not supported")
        // A public key as the secret of a message code is the classic forgery.
        let code = try maker.token(#"{"iss": "joe"}"#, header: #"{"alg": "HS256", "kid": "k"}"#)
        #expect(checks.text(bearer(code)) == "401 Jwt header [alg] is not supported")
        let stranger = try maker.token(#"{"iss": "joe", "aud": "api"}"#, header: #"{"alg": "ES256", "kid": "other"}"#)
        #expect(checks.text(bearer(stranger)) == "401 Jwks doesn't have key to match kid or alg from Jwt")
    }

    @Test func aRefusalTellsTheClientWhereItWas() throws {
        let maker = try TokenMaker("ES256")
        var checks = try TokenCase(maker)
        guard case .denied(let missing) = checks.ask(request("GET", #"/a?"b"#)),
            case .denied(let bad) = checks.ask(bearer("a.b.c"))
        else {
            Issue.record("not denied")
            return
        }
        #expect(missing.challenge == #"Bearer realm="http://web/a?b""#)
        #expect(missing.details == "jwt_authn_access_denied{Jwt_is_missing}")
        #expect(bad.challenge == #"Bearer realm="http://web/", error="invalid_token""#)
    }

    @Test func tokensAreFoundWhereTheProviderSays() throws {
        let maker = try TokenMaker("ES256")
        let token = try maker.token(#"{"iss": "joe"}"#)
        var checks = try TokenCase(
            maker,
            """
            "from_headers": [{"name": "X-Token", "value_prefix": "JWT "}, {"name": "raw"}], "from_params": ["t"],
            "from_cookies": ["c"]
            """)
        #expect(checks.text(bearer(token)) == "401 Jwt is missing")
        #expect(checks.text(request("GET", "/", [("x-token", "JWT \(token)")])) == "allowed")
        #expect(checks.text(request("GET", "/", [("x-token", token)])) == "401 Jwt is missing")
        #expect(checks.text(request("GET", "/", [("raw", token)])) == "allowed")
        #expect(checks.text(request("GET", "/a?x=1&t=\(token)")) == "allowed")
        #expect(checks.text(request("GET", "/", [("cookie", "a=b; c=\(token)")])) == "allowed")
        // A good one is enough.
        #expect(checks.text(request("GET", "/?t=bad", [("raw", token)])) == "allowed")
    }

    @Test func aBelievedTokenChangesTheRequest() throws {
        let maker = try TokenMaker("ES256")
        var checks = try TokenCase(
            maker,
            """
            "forward_payload_header": "x-payload", "claim_to_headers": [{"header_name": "x-user", "claim_name": "sub"},
             {"header_name": "x-deep", "claim_name": "a.b"}, {"header_name": "x-list", "claim_name": "list"}],
            "normalize_payload_in_metadata": {"space_delimited_claims": ["scope"]}
            """)
        let claims = #"{"iss": "joe", "sub": "ann", "a": {"b": 7}, "list": [1], "scope": "read write"}"#
        let token = try maker.token(claims)
        var facts = request("GET", "/?access_token=x", [("authorization", "Bearer \(token)"), ("x-user", "root")])
        facts.head.append("x-payload", "forged")
        let changes = try checks.changes(facts)
        changes.apply(to: &facts)
        #expect(facts.head.text("authorization") == nil && facts.head.text("x-user") == "ann")
        #expect(facts.head.text("x-deep") == "7" && facts.head.text("x-list") == "WzFd")
        #expect(facts.head.text("x-payload") == TokenMaker.encode(Array(claims.utf8)))
        #expect(facts.metadata.value(TokenAuthentication.filterName, at: ["claims", "sub"]) == "ann")
        #expect(facts.metadata.value(TokenAuthentication.filterName, at: ["claims", "scope"]) == ["read", "write"])
    }

    @Test func clientsCannotBringWhatOnlyTokensSay() throws {
        let maker = try TokenMaker("ES256")
        var checks = try TokenCase(
            maker, #""claim_to_headers": [{"header_name": "x-user", "claim_name": "sub"}]"#,
            requires: #"{"allow_missing_or_failed": {}}"#)
        var facts = request("GET", "/", [("x-user", "root")])
        try checks.changes(facts).apply(to: &facts)
        #expect(facts.head.text("x-user") == nil)
    }

    @Test func requirementsAreCombined() throws {
        let maker = try TokenMaker("ES256")
        let token = try maker.token(#"{"iss": "joe"}"#)
        func ask(_ requires: String, _ facts: RequestFacts) throws -> String {
            var checks = try TokenCase(maker, requires: requires)
            return checks.text(facts)
        }
        let lenient = #"{"requires_any": {"requirements": [{"allow_missing": {}}, {"provider_name": "p"}]}}"#
        #expect(try ask(lenient, request()) == "allowed")
        #expect(try ask(lenient, bearer(token)) == "allowed")
        #expect(try ask(lenient, bearer("a.b.c")) == "401 Jwt header is an invalid Base64url encoded")
        #expect(try ask(#"{"allow_missing_or_failed": {}}"#, bearer("a.b.c")) == "allowed")
        let both = #"{"requires_all": {"requirements": [{"provider_name": "p"}, {"allow_missing": {}}]}}"#
        #expect(try ask(both, bearer(token)) == "allowed")
        #expect(try ask(both, request()) == "401 Jwt is missing")
        let narrow = #"{"provider_and_audiences": {"provider_name": "p", "audiences": ["x"]}}"#
        #expect(try ask(narrow, bearer(token)) == "403 Audiences in Jwt are not allowed")
        let preflight = request(
            "OPTIONS", "/", [("origin", "http://a"), ("access-control-request-method", "GET")])
        #expect(try ask(#"{"provider_name": "p"}"#, preflight) == "allowed")
    }

    @Test func routesSayWhichRequirementCounts() throws {
        var checks = try TokenCase(
            """
            {"providers": {"p": {"issuer": "joe", "remote_jwks": {"http_uri": {"uri": "http://keys/a", "cluster": "k",
             "timeout": "1s"}}}}, "requirement_map": {"need": {"provider_name": "p"}}}
            """)
        #expect(checks.text(request()) == "allowed")
        #expect(checks.text(request(), route: .requirement("need")) == "401 Jwt is missing")
        #expect(checks.text(request(), route: .disabled) == "allowed")
        #expect(checks.text(request(), route: .requirement("other")).hasPrefix("403 Failed JWT authentication: Wrong"))
    }

    @Test func keysAreFetchedOnceForAllWhoWait() throws {
        let maker = try TokenMaker("ES256")
        var checks = try TokenCase(
            """
            {"providers": {"p": {"issuer": "joe", "remote_jwks": {"http_uri": {"uri": "https://keys.example/set?x",
             "cluster": "keys", "timeout": "3s"}, "cache_duration": "60s"}}},
             "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}]}
            """)
        let token = try maker.token(#"{"iss": "joe"}"#)
        #expect(checks.keys.due(now: instant(0)).isEmpty && checks.keys.deadline == nil)
        #expect(checks.text(bearer(token)) == "waits 0")
        let started = checks.keys.errand(for: 0)
        let errand = try #require(started)
        #expect(checks.keys.errand(for: 0) == nil)
        guard case .request(let cluster, let head, let timeout) = errand.source else { throw CancellationError() }
        #expect(cluster == "keys" && timeout == .seconds(3) && head.text(":path") == "/set?x")
        #expect(head.text(":authority") == "keys.example")
        checks.keys.finish(errand, keys: Array(maker.keySet.utf8), now: instant(1))
        #expect(checks.text(bearer(token)) == "allowed")
        guard case .waits = checks.ask(bearer(token), now: instant(62)) else {
            Issue.record("old keys count")
            return
        }
        // What cannot be had is not asked for again at once.
        let restarted = checks.keys.errand(for: 0)
        let again = try #require(restarted)
        #expect(checks.keys.finish(again, keys: nil, now: instant(62)) != nil)
        guard case .denied(let denial) = checks.ask(bearer(token), now: instant(62.5)) else {
            Issue.record("not denied")
            return
        }
        #expect(denial.body == "Jwks remote fetch is failed")
        guard case .waits = checks.ask(bearer(token), now: instant(63.1)) else {
            Issue.record("never tried again")
            return
        }
    }

    @Test func aNewKeyCountsOnceItIsFetchedAndAnOldOneUntilItIsGone() throws {
        let (old, new) = (try TokenMaker("ES256", keyID: "old"), try TokenMaker("ES256", keyID: "new"))
        var checks = try TokenCase(
            """
            {"providers": {"p": {"issuer": "joe", "jwt_cache_config": {},
              "remote_jwks": {"http_uri": {"uri": "http://keys/a", "cluster": "k", "timeout": "3s"},
              "cache_duration": "60s"}}},
             "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}]}
            """)
        let tokens = [bearer(try old.token(#"{"iss": "joe"}"#)), bearer(try new.token(#"{"iss": "joe"}"#))]
        func answers(at second: Double) -> [String] {
            tokens.map { token in
                switch checks.ask(token, now: instant(second)) {
                case .allowed: "allowed"
                case .denied(let denial): "\(denial.status)"
                case .waits: "waits"
                }
            }
        }
        func fetch(_ keys: [TokenMaker], at second: Double) throws {
            let errand = checks.keys.errand(for: 0)
            let set = "{\"keys\": [\(keys.map(\.jwk).joined(separator: ","))]}"
            #expect(checks.keys.finish(try #require(errand), keys: Array(set.utf8), now: instant(second)) == nil)
        }
        #expect(answers(at: 0) == ["waits", "waits"])
        try fetch([old], at: 0)
        #expect(answers(at: 1) == ["allowed", "401"])
        // The issuer has both now; nobody looks before the cache's time is over.
        #expect(answers(at: 59.9) == ["allowed", "401"])
        #expect(answers(at: 60) == ["waits", "waits"])
        try fetch([old, new], at: 60)
        #expect(answers(at: 60) == ["allowed", "allowed"] && checks.keys.rememberedCount == 2)
        #expect(answers(at: 119.9) == ["allowed", "allowed"])
        #expect(answers(at: 120) == ["waits", "waits"])
        // The old key is gone: what it signed is refused, though it was believed and remembered.
        try fetch([new], at: 120)
        #expect(answers(at: 120) == ["401", "allowed"])
    }

    @Test func keysAreRenewedBeforeTheyAreTooOld() throws {
        let maker = try TokenMaker("ES256")
        var checks = try TokenCase(
            """
            {"providers": {"p": {"issuer": "joe", "remote_jwks": {"http_uri": {"uri": "http://keys/a", "cluster": "k",
             "timeout": "3s"}, "cache_duration": "60s", "async_fetch": {"failed_refetch_duration": "2s"}}}}}
            """)
        let first = checks.keys.due(now: instant(0))
        #expect(first.count == 1 && checks.keys.due(now: instant(0)).isEmpty)
        checks.keys.finish(first[0], keys: Array("{}".utf8), now: instant(1))
        #expect(checks.keys.deadline == instant(3))
        let second = checks.keys.due(now: instant(3))
        checks.keys.finish(second[0], keys: Array(maker.keySet.utf8), now: instant(3))
        #expect(checks.keys.deadline == instant(58))
    }

    @Test func rememberedTokensAreBoundedAndStillExpire() throws {
        let maker = try TokenMaker("ES256")
        var checks = try TokenCase(maker, #""jwt_cache_config": {"jwt_cache_size": 2, "jwt_max_token_size": 300}"#)
        let token = try maker.token(#"{"iss": "joe", "exp": 1800000000}"#)
        for number in 0..<5 {
            #expect(checks.text(bearer(try maker.token(#"{"iss": "joe", "jti": "\#(number)"}"#))) == "allowed")
            #expect(checks.keys.rememberedCount <= 2)
        }
        #expect(checks.text(bearer(token)) == "allowed")
        #expect(checks.text(bearer(token), at: Timestamp(seconds: 1_800_000_061)) == "401 Jwt is expired")
        let long = try maker.token(#"{"iss": "joe", "x": "\#(String(repeating: "x", count: 300))"}"#)
        #expect(checks.text(bearer(long)) == "allowed" && checks.keys.rememberedCount == 2)
    }

    @Test(arguments: [
        (#"{"providers": {"p": {"issuer": "a"}}}"#, #"providers["p"]: neither local_jwks nor remote_jwks"#),
        (#"{"providers": {"p": {"local_jwks": {"inline_string": "{}"}}}}"#, #"providers["p"].local_jwks"#),
        (#"{"rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "x"}}]}"#, "there is no provider `x`"),
        (#"{"rules": [{"match": {"prefix": "/"}, "requirement_name": "x"}]}"#, "rules[0].requirement_name"),
        (#"{"filter_state_rules": {"name": "x"}}"#, "filter_state_rules"),
    ])
    func whatIsNotUnderstoodIsRefusedWithItsPlace(fields: String, words: String) {
        let refusal = refusal("jwt_authn.v3.JwtAuthentication", fields)
        #expect(refusal.contains(words), "\(refusal)")
    }
}
