import EnvoyAPI
import HTTP
import Protobuf
import Testing

@testable import Forwarding

/// Which redirects are followed without the client, and what request becomes of them.
struct InternalRedirectTests {
    private func rules(_ predicates: [(type: String, value: [UInt8])] = []) throws -> InternalRedirects {
        func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] {
            var (length, count) = ([UInt8](), bytes.count)
            while count >= 128 {
                length.append(UInt8(count & 127) | 128)
                count >>= 7
            }
            return [number << 3 | 2] + length + [UInt8(count)] + bytes
        }
        // max_internal_redirects: 9.
        var bytes = field(1, [8, 9])
        for (type, value) in predicates {
            let url = "type.googleapis.com/envoy.extensions.internal_redirect.\(type)"
            bytes += field(3, field(1, Array("p".utf8)) + field(2, field(1, Array(url.utf8)) + field(2, value)))
        }
        let arena = Arena()
        return try InternalRedirects(
            try FieldAudit.decode(InternalRedirectPolicy.self, bytes, in: arena, .routes).pointee)
    }

    private func accepts(_ rules: InternalRedirects, _ targets: [String], before: Bool = false, after: Bool = false)
        -> [Bool]
    {
        var trail = RedirectTrail()
        return targets.map { rules.accepts(from: "r", to: $0, isSecure: (before, after), &trail) }
    }

    @Test func conditionsSayWhichRoutesARedirectMayLeadTo() throws {
        let named = try rules([("allow_listed_routes.v3.AllowListedRoutesConfig", Array("\n\u{1}a\n\u{1}b".utf8))])
        #expect(accepts(named, ["a", "b", "c", "a"]) == [true, true, false, true])
        let unseen = try rules([("previous_routes.v3.PreviousRoutesConfig", [])])
        #expect(accepts(unseen, ["a", "b", "a"]) == [true, true, false])
        let safe = try rules([("safe_cross_scheme.v3.SafeCrossSchemeConfig", [])])
        #expect(accepts(safe, ["a"], before: false, after: true) == [false])
        #expect(accepts(safe, ["a"], before: true, after: false) == [true])
    }

    @Test func otherConditionsAreRefused() throws {
        for (type, value) in [
            ("other.v3.Config", []), ("previous_routes.v3.PreviousRoutesConfig", [8, 1]),
            ("allow_listed_routes.v3.AllowListedRoutesConfig", [10, 9]),
        ] as [(String, [UInt8])] {
            #expect(throws: ConfigurationError.self, "\(type)") { try rules([(type, value)]) }
        }
    }

    @Test func onlyWholeURLsLeadSomewhere() {
        func target(_ url: String) -> String? {
            Array(url.utf8).withUnsafeBytes { RedirectTarget($0) }.map {
                "\($0.isSecure) \(String(decoding: $0.authority, as: UTF8.self)) "
                    + String(decoding: $0.path, as: UTF8.self)
            }
        }
        #expect(target("http://a") == "false a /")
        #expect(target("HTTPS://a:8443?x#y") == "true a:8443 /?x")
        #expect(target("http://[::1]:80/b/c?d") == "false [::1]:80 /b/c?d")
        for url in [
            "", "/a", "//a/b", "http:/a", "http://", "http:///a", "http://:80/", "ftp://a/", "http://u@a/",
            "http://a/b c", "http://a\\b/", "http://a/\u{7f}", "http://a/é",
        ] {
            #expect(target(url) == nil, "\(url)")
        }
    }

    @Test func theNextRequestTellsWhereTheFirstWent() throws {
        let first = HeaderList([
            (":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/x?y"), ("content-length", "3"),
        ])
        let rules = try rules()
        func next(_ status: String) -> HeaderList? {
            rules.request(
                after: first, HeaderList([(":status", status), ("location", "http://b/z")]), RedirectTrail())
        }
        let same = try #require(next("307"))
        #expect(same[":method"] == "POST" && same[":authority"] == "b" && same[":path"] == "/z")
        #expect(same["x-envoy-original-url"] == "http://a/x?y" && same.contains("content-length"))
        let other = try #require(next("303"))
        #expect(other[":method"] == "GET" && !other.contains("content-length"))
    }
}
