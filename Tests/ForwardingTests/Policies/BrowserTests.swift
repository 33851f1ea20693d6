import EnvoyAPI
import HTTP
import Protobuf
import Testing

@testable import Forwarding

struct CrossOriginTests {
    private func policy(_ fields: String) throws -> CrossOriginPolicy {
        guard case .crossOrigin(let policy) = try routeSetting("cors.v3.CorsPolicy", fields).policy else {
            throw ConfigurationError.invalid(path: "", message: "no policy")
        }
        return policy
    }

    private let shop = """
        {"allow_origin_string_match": [{"exact": "http://shop"}, {"suffix": ".example"}], "allow_methods": "GET,PUT",
         "allow_headers": "x-a", "expose_headers": "x-b", "max_age": "60", "allow_credentials": true}
        """

    private func preflight(_ origin: String) -> HeaderList {
        request("OPTIONS", "/", [("origin", origin), ("access-control-request-method", "PUT")]).head
    }

    @Test func aPreflightIsAnsweredHere() throws {
        var dice = SeededDice(seed: 1)
        let policy = try policy(shop)
        guard case .answered(let answer) = policy.decide(preflight("http://a.example"), random: &dice) else {
            Issue.record("not answered")
            return
        }
        #expect(
            answer.fields.map { "\($0.name): \($0.value)" } == [
                ":status: 200", "access-control-allow-origin: http://a.example",
                "access-control-allow-credentials: true", "access-control-allow-methods: GET,PUT",
                "access-control-allow-headers: x-a", "access-control-max-age: 60", "access-control-expose-headers: x-b",
            ])
    }

    @Test func aRequestOfAnAllowedOriginGoesOnAndItsResponseSaysSo() throws {
        var dice = SeededDice(seed: 1)
        let policy = try policy(shop)
        let facts = request("GET", "/", [("origin", "http://shop")])
        guard case .allowed(let origin) = policy.decide(facts.head, random: &dice) else {
            Issue.record("not allowed")
            return
        }
        var response = HeaderList([(":status", "200"), ("access-control-allow-origin", "*")])
        policy.apply(to: &response, origin: origin)
        #expect(response.text("access-control-allow-origin") == "http://shop")
        #expect(response.text("access-control-expose-headers") == "x-b")
        #expect(response.text("access-control-allow-credentials") == "true")
    }

    @Test func othersPassUntouched() throws {
        var dice = SeededDice(seed: 1)
        let policy = try policy(shop)
        #expect(policy.decide(request().head, random: &dice) == .passes)
        #expect(policy.decide(preflight("http://eve"), random: &dice) == .passes)
        let strict = try self.policy(
            #"{"allow_origin_string_match": [{"exact": "a"}], "forward_not_matching_preflights": false}"#)
        #expect(strict.decide(preflight("b"), random: &dice) == .answered(HeaderList([(":status", "200")])))
        let off = try self.policy(
            #"{"allow_origin_string_match": [{"exact": "a"}], "filter_enabled": {"default_value": {"numerator": 0}}}"#)
        #expect(off.decide(preflight("a"), random: &dice) == .passes)
        let everybody = try self.policy(#"{"allow_origin_string_match": [{"exact": "*"}]}"#)
        #expect(everybody.decide(preflight("http://any"), random: &dice) != .passes)
    }

    @Test func aRouteSaysWhatItSaysAndItsHostTheRest() throws {
        var dice = SeededDice(seed: 1)
        let merged = try policy(#"{"allow_methods": "DELETE"}"#).over(try policy(shop))
        guard case .answered(let answer) = merged.decide(preflight("http://shop"), random: &dice) else {
            Issue.record("not answered")
            return
        }
        #expect(answer.text("access-control-allow-methods") == "DELETE")
        #expect(answer.text("access-control-allow-headers") == "x-a")
    }
}

struct GRPCWebTests {
    private func call(_ type: String, _ headers: [(String, String)] = []) -> HeaderList {
        request("POST", "/s/m", [("content-type", type), ("content-length", "7")] + headers).head
    }

    @Test func otherRequestsAreLeftAlone() {
        #expect(GRPCWebTranslation(request().head) == nil)
        #expect(GRPCWebTranslation(call("application/grpc")) == nil)
        #expect(GRPCWebTranslation(call("application/grpc-web+json")) == nil)
    }

    @Test func aBinaryCallKeepsItsFramesAndGetsTrailersAsTheLast() throws {
        var head = call("application/grpc-web+proto; x=1")
        var web = try #require(GRPCWebTranslation(head))
        web.translateRequest(&head)
        #expect(head.text("content-type") == "application/grpc" && head.text("te") == "trailers")
        #expect(head.text("content-length") == nil)
        let bytes: [UInt8] = [0, 0, 0, 0, 1, 7]
        #expect(bytes.withUnsafeBytes { web.requestBody($0, isLast: true) } == bytes)
        var response = HeaderList([(":status", "200"), ("content-type", "application/grpc")])
        web.translateResponse(&response)
        #expect(response.text("content-type") == "application/grpc-web+proto")
        #expect(web.responseBody(bytes) == bytes)
        let end = web.responseEnd(HeaderList([("grpc-status", "0"), ("grpc-message", "ok")]))
        let lines = Array("grpc-status:0\r\ngrpc-message:ok\r\n".utf8)
        #expect(end == [0x80, 0, 0, 0, UInt8(lines.count)] + lines)
    }

    @Test func aTextCallIsBase64AtAnySplit() throws {
        let bytes: [UInt8] = [0, 0, 0, 0, 3, 1, 2, 3]
        let text = Array("AAAAAAMBAgM=AAAAAAA=".utf8)
        for split in 0...text.count {
            var web = try #require(GRPCWebTranslation(call("application/grpc-web-text")))
            let first = text[..<split].withUnsafeBytes { web.requestBody($0, isLast: false) } ?? []
            let rest = text[split...].withUnsafeBytes { web.requestBody($0, isLast: true) } ?? []
            #expect(first + rest == bytes + [0, 0, 0, 0, 0])
        }
        var web = try #require(GRPCWebTranslation(call("application/grpc-web-text")))
        #expect(Array("A$==".utf8).withUnsafeBytes { web.requestBody($0, isLast: true) } == nil)
        #expect(String(decoding: web.responseBody(bytes), as: UTF8.self) == "AAAAAAMBAgM=")
        var response = HeaderList([(":status", "200")])
        web.translateResponse(&response)
        #expect(response.text("content-type") == "application/grpc-web-text+proto")
    }
}
