import HTTP2
import Testing

/// RFC 9113, section 8: requests; and RFC 7541: their compression. A malformed request is a stream error
/// (section 8.1.1); the connection and its compression state live on.
@Suite struct ConformanceMessageTests {
    private func expectMalformed(
        _ fields: [(String, String)], end: Bool = true, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        expectMalformed(block: RawHeaders.block(fields), end: end, sourceLocation: sourceLocation)
    }

    private func expectMalformed(
        block: [UInt8], end: Bool = true, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let client = RawClient()
        client.send(.headers(1, block, end: end))
        #expect(client.streamError(1) == .protocolError, sourceLocation: sourceLocation)
        #expect(client.log == [], sourceLocation: sourceLocation)
        client.request(3)
        #expect(client.log.first == "headers 3 / end", sourceLocation: sourceLocation)
    }

    // MARK: 8.1 Framing

    @Test func section8_1_aSecondHeadersFrameWithoutAnEndIsMalformed() {
        let client = RawClient()
        client.request(1, end: false)
        client.send(.data(1, [1]), .headers(1, RawHeaders.literal("a", "b")))
        #expect(client.streamError(1) == .protocolError)
        #expect(client.isAlive)
    }

    @Test func section8_1_trailersEndTheRequest() {
        let client = RawClient()
        client.request(1, end: false)
        client.send(.data(1, [1]), .headers(1, RawHeaders.literal("a", "b"), end: true))
        #expect(client.log == ["headers 1 /", "data 1 1", "trailers 1", "closed 1 NO_ERROR"])
    }

    // MARK: 8.2 Fields

    @Test func section8_2_1_upperCaseNamesAreMalformed() {
        expectMalformed(RawHeaders.request + [("X-Upper", "a")])
    }

    @Test(arguments: ["a b", "a:b", "\u{1}", "a\u{7f}", "ä", ""])
    func section8_2_1_namesOfOtherCharactersAreMalformed(name: String) {
        expectMalformed(RawHeaders.request + [(name, "a")])
    }

    @Test(arguments: ["a\0b", "a\nb", "a\rb", " a", "a ", "\ta"])
    func section8_2_1_valuesWithControlCharactersOrOuterSpacesAreMalformed(value: String) {
        expectMalformed(RawHeaders.request + [("name", value)])
    }

    @Test(arguments: ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"])
    func section8_2_2_connectionFieldsAreMalformed(name: String) {
        expectMalformed(RawHeaders.request + [(name, "keep-alive")])
    }

    @Test func section8_2_2_teSaysTrailersOrNothing() {
        expectMalformed(RawHeaders.request + [("te", "trailers, deflate")])
        let client = RawClient()
        client.send(.headers(1, RawHeaders.block(RawHeaders.request + [("te", "trailers")]), end: true))
        #expect(client.log.first == "headers 1 / end")
    }

    // MARK: 8.3 Pseudo-header fields

    @Test func section8_3_unknownPseudoFieldsAreMalformed() {
        expectMalformed(RawHeaders.request + [(":test", "ok")])
    }

    @Test func section8_3_pseudoFieldsOfResponsesAreMalformed() {
        expectMalformed(RawHeaders.request + [(":status", "200")])
    }

    @Test func section8_3_pseudoFieldsComeBeforeTheOthers() {
        expectMalformed([("a", "b")] + RawHeaders.request)
        expectMalformed(Array(RawHeaders.request.dropLast()) + [("a", "b"), (":authority", "test")])
    }

    @Test func section8_1_pseudoFieldsInTrailersAreMalformed() {
        let client = RawClient()
        client.request(1, end: false)
        client.send(.headers(1, RawHeaders.literal(":method", "POST"), end: true))
        #expect(client.streamError(1) == .protocolError)
        #expect(client.isAlive)
    }

    @Test(arguments: [":method", ":scheme", ":path"])
    func section8_3_1_requiredPseudoFieldsAreRequiredOnce(name: String) {
        expectMalformed(RawHeaders.request.filter { $0.0 != name })
        expectMalformed(RawHeaders.request + RawHeaders.request.filter { $0.0 == name })
    }

    @Test func section8_3_1_anEmptyPathIsMalformed() {
        expectMalformed(RawHeaders.request.map { $0.0 == ":path" ? (":path", "") : $0 })
    }

    @Test func section8_3_1_aRequestWithoutAnAuthorityIsMalformed() {
        expectMalformed(RawHeaders.request.filter { $0.0 != ":authority" })
        let host = RawHeaders.request.filter { $0.0 != ":authority" } + [("host", "test")]
        let client = RawClient()
        client.send(.headers(1, RawHeaders.block(host), end: true))
        #expect(client.log.first == "headers 1 / end")
    }

    // MARK: 8.1.1 Content-Length

    @Test func section8_1_1_aBodyMustBeAsLongAsItWasSaid() {
        for (length, bodies) in [("1", [4]), ("10", [4]), ("6", [4, 4])] {
            let client = RawClient()
            let block = RawHeaders.block(RawHeaders.request + [("content-length", length)])
            client.send(.headers(1, block))
            for (index, size) in bodies.enumerated() {
                client.send(.data(1, [UInt8](repeating: 1, count: size), end: index == bodies.count - 1))
            }
            #expect(client.streamError(1) == .protocolError)
            #expect(client.isAlive)
        }
        expectMalformed(RawHeaders.request + [("content-length", "1")])
        expectMalformed(RawHeaders.request + [("content-length", "-1")])
        expectMalformed(RawHeaders.request + [("content-length", "1"), ("content-length", "1")], end: false)
    }

    @Test func section8_1_1_aBodyOfThatLengthIsFine() {
        let client = RawClient()
        client.send(.headers(1, RawHeaders.block(RawHeaders.request + [("content-length", "8")])))
        client.send(.data(1, [1, 2, 3, 4]), .data(1, [5, 6, 7, 8], end: true))
        #expect(client.log.last == "closed 1 NO_ERROR")
    }

    // MARK: 8.4 Push

    @Test func section8_4_pushPromisesFromAClientAreErrors() {
        let client = RawClient()
        client.send(RawFrame(type: 5, flags: 4, stream: 1, payload: RawFrame.bytes(2) + RawHeaders.requestBlock))
        #expect(client.connectionError == .protocolError)
    }
}

/// RFC 7541: header compression. A block that cannot be decoded is a connection error COMPRESSION_ERROR
/// (RFC 9113, section 4.3).
@Suite struct ConformanceCompressionTests {
    private func expectCompressionError(_ block: [UInt8], sourceLocation: SourceLocation = #_sourceLocation) {
        let client = RawClient()
        client.send(.headers(1, block, end: true))
        #expect(client.connectionError == .compressionError, sourceLocation: sourceLocation)
        #expect(client.log.first?.hasPrefix("failed COMPRESSION_ERROR") == true, sourceLocation: sourceLocation)
    }

    @Test func section2_3_3_anIndexBeyondTheTablesIsAnError() {
        expectCompressionError(RawHeaders.requestBlock + [0x80 | 70])
        expectCompressionError(RawHeaders.requestBlock + [0x40 | 62] + RawHeaders.string([97]))
        expectCompressionError(RawHeaders.requestBlock + [0xff, 0x80, 0x01])
    }

    @Test func section2_3_3_entriesOfTheTablesAreFound() {
        let client = RawClient()
        // :method POST, :scheme http, :path / of the static table; "a: b" enters the dynamic table.
        let start: [UInt8] = [0x83, 0x86, 0x84]
        let authority = RawHeaders.indexed(":authority", "test")
        client.send(.headers(1, start + authority, end: true))
        client.send(.headers(3, start + [0xbe], end: true))
        #expect(client.log.filter { $0.hasPrefix("headers") } == ["headers 1 / end", "headers 3 / end"])
    }

    @Test func section4_2_aSizeUpdateComesFirst() {
        expectCompressionError(RawHeaders.requestBlock + [0x20])
        let client = RawClient()
        client.send(.headers(1, [0x20] + RawHeaders.requestBlock, end: true))
        #expect(client.log.first == "headers 1 / end")
    }

    @Test func section4_2_aSmallerTableMustBeAcknowledgedByASizeUpdate() {
        var limits = HTTP2Limits()
        limits.receivingHeaderTableSize = 0
        let silent = RawClient(limits: limits)
        silent.request(1)
        #expect(silent.connectionError == .compressionError)
        let correct = RawClient(limits: limits)
        correct.send(.headers(1, [0x20] + RawHeaders.requestBlock, end: true))
        #expect(correct.log.first == "headers 1 / end")
    }

    @Test func section5_2_paddingLongerThanSevenBitsIsAnError() {
        // "a" in Huffman coding is 00011 and three bits of padding; here a byte of padding follows.
        expectCompressionError(RawHeaders.requestBlock + [0, 1, 97, 0x82, 0x1f, 0xff])
    }

    @Test func section5_2_paddingOfZerosIsAnError() {
        expectCompressionError(RawHeaders.requestBlock + [0, 1, 97, 0x81, 0x18])
    }

    @Test func section5_2_theEndOfStringSymbolIsAnError() {
        expectCompressionError(RawHeaders.requestBlock + [0, 1, 97, 0x84, 0xff, 0xff, 0xff, 0xff])
    }

    @Test func section5_2_aHuffmanStringIsRead() {
        let client = RawClient()
        client.send(.headers(1, RawHeaders.requestBlock + [0, 1, 97, 0x81, 0x1f], end: true))
        #expect(client.log.first == "headers 1 / end")
    }

    @Test func section5_2_aStringLongerThanItsBlockIsAnError() {
        expectCompressionError(RawHeaders.requestBlock + [0, 1, 97, 0x05, 98])
    }

    @Test func section6_1_indexZeroIsAnError() {
        expectCompressionError(RawHeaders.requestBlock + [0x80])
    }

    @Test func section6_3_aTableLargerThanAllowedIsAnError() {
        expectCompressionError(RawHeaders.integer(4097, prefix: 5, flags: 0x20) + RawHeaders.requestBlock)
        let client = RawClient()
        client.send(
            .headers(1, RawHeaders.integer(4096, prefix: 5, flags: 0x20) + RawHeaders.requestBlock, end: true))
        #expect(client.log.first == "headers 1 / end")
    }

    @Test func aRequestThatIsIgnoredStillFeedsTheDecoder() {
        var limits = HTTP2Limits()
        limits.concurrentStreams = 1
        let client = RawClient(limits: limits, greets: false)
        client.answers = false
        client.send(RawFrame.preface)
        client.send(.settings())
        client.request(1, end: false)
        // Refused, but its field enters the table and is used by the next request.
        client.send(.headers(3, RawHeaders.requestBlock + RawHeaders.indexed("x", "y"), end: true))
        #expect(client.streamError(3) == .refusedStream)
        client.send(.reset(1), .headers(5, RawHeaders.requestBlock + [0xbe], end: true))
        #expect(client.log.last == "headers 5 / end")
    }
}
