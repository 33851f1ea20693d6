import HTTP1
import Testing

/// What a peer can make us hold or do has a bound, and meeting it exactly is allowed.
struct LimitTests {
    private func last(_ bytes: [UInt8], _ limits: HTTP1Limits) -> String? {
        var results: Set<String> = []
        for size in [bytes.count, 1, 7, 1000] {
            var transcript = Transcript(.server, limits: limits)
            let parts = stride(from: 0, to: bytes.count, by: size).map { bytes[$0..<min(bytes.count, $0 + size)] }
            results.insert(transcript.run(parts).last ?? "")
        }
        #expect(results.count == 1, "cuts make a difference: \(results)")
        return results.first
    }

    private static let start = #"GET / HTTP/1.1\r\nHost: a\r\n"#

    @Test func theHeadHasALimitInBytes() {
        var limits = HTTP1Limits()
        limits.headBytes = 1000
        let start = unescaped(Self.start)
        // Field lines of 100 bytes, and a last one that fills the rest but for the empty line's two.
        let fields = (0..<9).flatMap { _ in Array("x: ".utf8) + [UInt8](repeating: 0x79, count: 95) + [13, 10] }
        for (more, expected) in [(0, "end"), (1, "failed headTooLarge 431")] {
            let rest = 1000 - start.count - fields.count - 2 - 5 + more
            let field = Array("z: ".utf8) + [UInt8](repeating: 0x79, count: rest) + [13, 10]
            #expect(last(start + fields + field + [13, 10], limits) == expected)
        }
        #expect(last(start + [UInt8](repeating: 0x78, count: 5000), limits) == "failed headTooLarge 431")
    }

    @Test func aLineHasALimitInBytes() {
        var limits = HTTP1Limits()
        limits.lineBytes = 100
        let end = unescaped(#"Host: a\r\n\r\n"#)
        for (count, expected) in [(100, "end"), (101, "failed targetTooLong 414")] {
            let line =
                Array("GET /".utf8) + [UInt8](repeating: 0x78, count: count - 16) + Array(" HTTP/1.1\r\n".utf8)
            #expect(line.count == count)
            #expect(last(line + end, limits) == expected)
        }
        for (count, expected) in [(100, "end"), (101, "failed lineTooLong 431")] {
            let line = Array("x: ".utf8) + [UInt8](repeating: 0x78, count: count - 5) + [13, 10]
            #expect(last(unescaped(#"GET / HTTP/1.1\r\n"#) + line + end, limits) == expected)
        }
    }

    @Test func fieldsAreCountedThoseThatGoNoFurtherToo() {
        let limits = HTTP1Limits()
        for (count, expected) in [(99, "end"), (100, "failed tooManyFields 431")] {
            for name in ["x", "keep-alive"] {
                let fields = (0..<count).flatMap { _ in Array("\(name): y\r\n".utf8) }
                #expect(last(unescaped(Self.start) + fields + [13, 10], limits) == expected)
            }
        }
    }

    @Test func trailersHaveTheLimitsOfHeads() {
        let start = unescaped(#"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"#)
        for (count, expected) in [(100, "end"), (101, "failed tooManyFields 431")] {
            let fields = (0..<count).flatMap { _ in Array("cookie: y\r\n".utf8) }
            #expect(last(start + fields + [13, 10], HTTP1Limits()) == expected)
        }
        let long = [UInt8](repeating: 0x78, count: 70_000)
        #expect(last(start + Array("x: ".utf8) + long, HTTP1Limits()) == "failed headTooLarge 431")
    }

    @Test func extensionsOfChunksAddUp() {
        let start = unescaped(#"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"#)
        let chunk = Array("1;".utf8) + [UInt8](repeating: 0x78, count: 127) + Array("\r\ny\r\n".utf8)
        for (count, expected) in [(32, "end"), (33, "failed chunkExtensionsTooLarge 400")] {
            let chunks = (0..<count).flatMap { _ in chunk }
            #expect(last(start + chunks + Array("0\r\n\r\n".utf8), HTTP1Limits()) == expected)
        }
    }
}
