import EnvoyAPI
import HTTP
import Testing
import Time

@testable import Forwarding

struct SessionTests {
    private let now = Timestamp(seconds: 1_800_000_000)

    private func session(_ type: String, _ fields: String) throws -> Forwarding.StatefulSession {
        let state = packed("envoy.extensions.http.stateful_session.\(type)", fields)
        guard
            case .statefulSession(let session?) = try filter(
                "stateful_session.v3.StatefulSession", #"{"session_state": {"name": "s", "typed_config": \#(state)}}"#)
        else { throw ConfigurationError.invalid(path: "", message: "no session") }
        return session
    }

    private func cookies(_ more: String = "") throws -> Forwarding.StatefulSession {
        try session("cookie.v3.CookieBasedSessionState", #"{"cookie": {"name": "sticky"\#(more)}}"#)
    }

    @Test func aCookieNamesTheHost() throws {
        let session = try cookies(
            #", "path": "/shop", "ttl": "120s", "attributes": [{"name": "SameSite", "value": "Lax"}]"#)
        var response = HeaderList([(":status", "200")])
        session.tell(address("10.0.0.7", 80), known: nil, in: &response, now: now)
        let value = try #require(response.text("set-cookie"))
        #expect(value.hasPrefix("sticky=\""))
        #expect(value.hasSuffix("\"; Max-Age=120; Path=/shop; SameSite=Lax; HttpOnly"))
        let pair = try #require(value.split(separator: ";").first)
        let head = request("GET", "/shop/a", [("cookie", "a=b; \(pair)")]).head
        #expect(session.concerns(head) && session.host(in: head, now: now) == "10.0.0.7:80")
        #expect(session.host(in: head, now: now + .seconds(121)) == nil)
        #expect(!session.concerns(request("GET", "/shopping").head) && session.concerns(request("GET", "/shop?x").head))
        // Who knows is not told again.
        var again = HeaderList([(":status", "200")])
        session.tell(address("10.0.0.7", 80), known: "10.0.0.7:80", in: &again, now: now)
        #expect(again.text("set-cookie") == nil)
    }

    /// `CgsxMC4wLjAuNzo4MA==` is what the real Envoy 1.40 sets for 10.0.0.7:80 without a lifetime.
    @Test func cookiesOfEnvoyAreRead() throws {
        let session = try cookies()
        func host(_ value: String) -> String? {
            session.host(in: request("GET", "/", [("cookie", "sticky=\(value)")]).head, now: now)
        }
        #expect(host("\"CgsxMC4wLjAuNzo4MA==\"") == "10.0.0.7:80")
        // From before there was a message in it: the address alone.
        #expect(host("MTAuMC4wLjc6ODA=") == "10.0.0.7:80")
        for bad in ["", "x", "$$$", "AAAA", "Cg=="] { #expect(host(bad) == nil, "\(bad)") }
        var response = HeaderList([(":status", "200")])
        session.tell(address("10.0.0.7", 80), known: nil, in: &response, now: now)
        #expect(response.text("set-cookie") == "sticky=\"CgsxMC4wLjAuNzo4MA==\"; HttpOnly")
    }

    @Test func aFieldNamesTheHost() throws {
        let session = try session("header.v3.HeaderBasedSessionState", #"{"name": "X-Host"}"#)
        var response = HeaderList([(":status", "200")])
        session.tell(address("::1", 80), known: nil, in: &response, now: now)
        let value = try #require(response.text("x-host"))
        #expect(session.host(in: request("GET", "/", [("x-host", value)]).head, now: now) == "[::1]:80")
    }

    @Test func arbitraryCookiesAreNoTrap() {
        var dice = SeededDice(seed: 4)
        var read = 0
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0...20, using: &dice)).map { _ in
                dice.pick([0x0A, 0x10, 0x80, 0xFF, 1, 3, 0x31, 0x2E] as [UInt8])
            }
            if let cookie = SessionCookie(bytes) {
                read += 1
                #expect(cookie.address.utf8.count <= 60)
            }
        }
        #expect(read > 0)
        let cookie = SessionCookie(address: "10.0.0.1:80", expiry: 1_800_000_000)
        #expect(SessionCookie(cookie.encoded) == cookie)
    }

    @Test func whatIsNotUnderstoodIsRefusedWithItsPlace() {
        let state = packed("envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState", "{}")
        let fields = #"{"session_state": {"name": "s", "typed_config": \#(state)}}"#
        #expect(refusal("stateful_session.v3.StatefulSession", fields).contains("session_state.typed_config.cookie"))
    }
}
