import Testing
import Time

@testable import GRPC

@Suite struct EncodingTests {
    @Test(arguments: [
        ("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE"),
        ("foobar", "Zm9vYmFy"),
    ])
    func base64IsThatOfTheRFC(plain: String, encoded: String) {
        #expect(Base64.encode(Array(plain.utf8)) == encoded)
        #expect(Base64.decode(encoded) == Array(plain.utf8))
        let padded = encoded + String(repeating: "=", count: (4 - encoded.count % 4) % 4)
        #expect(Base64.decode(padded) == Array(plain.utf8))
    }

    @Test(arguments: ["A", "AAAAA", "A B=", "é", "-_-_"])
    func whatIsNoBase64IsRefused(text: String) {
        #expect(Base64.decode(text) == nil)
    }

    @Test func percentEncodingKeepsPrintableASCIIAndDecodesAnything() {
        #expect(PercentEncoding.encode("a b%c".utf8) == "a b%25c")
        #expect(PercentEncoding.encode(" a ".utf8) == "%20a%20")
        #expect(PercentEncoding.encode("\n\u{7f}é".utf8) == "%0A%7F%C3%A9")
        #expect(PercentEncoding.decode("a b%25c%c3%A9") == "a b%cé")
        #expect(PercentEncoding.decode("50% of %zz %4") == "50% of %zz %4")
    }

    @Test(arguments: [
        ("1n", Duration.nanoseconds(1)), ("5u", .microseconds(5)), ("7m", .milliseconds(7)),
        ("99999999S", .seconds(99_999_999)),
        ("2M", .seconds(120)), ("1H", .seconds(3600)),
    ])
    func timeoutsAreReadWithTheirUnits(text: String, duration: Duration) {
        #expect(GRPCTimeout.parse(text) == duration)
    }

    @Test func timeoutsThatExceedTheClockAreClamped() throws {
        let longest = try #require(GRPCTimeout.parse("99999999H"))
        #expect(longest > .seconds(90 * 365 * 24 * 3600))
        #expect(Instant(nanoseconds: 1 << 60).advanced(by: longest) > Instant(nanoseconds: 1 << 60))
    }

    @Test(arguments: [
        (Duration.nanoseconds(1), "1n"), (.milliseconds(99), "99000000n"), (.seconds(1), "1000000u"),
        (.seconds(100), "100000m"), (.seconds(100_000), "100000S"), (.zero, "0n"), (.seconds(-4), "0n"),
        (.nanoseconds(100_000_001), "100001u"),
    ])
    func timeoutsAreWrittenInEightDigitsAndNeverShorter(duration: Duration, text: String) throws {
        #expect(GRPCTimeout.format(duration) == text)
        #expect(try #require(GRPCTimeout.parse(text)) >= duration)
    }

    @Test func aFrameIsAFlagALengthAndTheMessage() {
        #expect(GRPC.frame([7, 8]) == [0, 0, 0, 0, 2, 7, 8])
        #expect(GRPC.frame([]) == [0, 0, 0, 0, 0])
        #expect(GRPC.frame([UInt8](repeating: 0, count: 70_000)).prefix(5) == [0, 0, 1, 17, 112])
    }

    @Test func messagesAreCutTheSameWhereverTheBytesAreCut() throws {
        let messages: [[UInt8]] = [[], [1], [UInt8](repeating: 2, count: 300), [], [3, 4]]
        let bytes = messages.flatMap { GRPC.frame($0) }
        for cut in 0...bytes.count {
            var assembler = MessageAssembler()
            var found: [[UInt8]] = []
            var window = 0
            for part in [bytes[..<cut], bytes[cut...]] {
                window += try Array(part).withUnsafeBytes { part in
                    try assembler.receive(part, limit: 1000) { message in
                        found.append(message.bytes)
                        window += message.windowBytes
                        return true
                    }
                }
            }
            #expect(found == messages)
            #expect(window == bytes.count)
            #expect(assembler.isAtBoundary && assembler.heldBytes == 0)
        }
    }

    @Test func anIncompleteMessageHoldsWhatCameAndNoMore() throws {
        var assembler = MessageAssembler()
        let start: [UInt8] = [0, 0, 63, 255, 255] + [UInt8](repeating: 1, count: 10)
        let held = try start.withUnsafeBytes { try assembler.receive($0, limit: 1 << 22) { _ in true } }
        #expect(held == 15)
        #expect(assembler.heldBytes == 10)
    }
}
