import Testing

@testable import TLS

/// What the first bytes say.
@Suite struct ClientHelloInspectionTests {
    /// A greeting by RFC 8446, 4.1.2, in records of at most `record` bytes.
    private func greeting(name: String? = "a.Example.org", protocols: [String] = ["h2"], record: Int = 16_384)
        -> [UInt8]
    {
        func sized(_ bytes: [UInt8], _ width: Int) -> [UInt8] {
            (0..<width).reversed().map { UInt8(bytes.count >> (8 * $0) & 255) } + bytes
        }
        var extensions: [UInt8] = []
        if let name { extensions += [0, 0] + sized(sized([0] + sized(Array(name.utf8), 2), 2), 2) }
        let list = protocols.flatMap { sized(Array($0.utf8), 1) }
        if !list.isEmpty { extensions += [0, 16] + sized(sized(list, 2), 2) }
        let body = [3, 3] + [UInt8](repeating: 7, count: 32) + sized([], 1) + sized([0x13, 1], 2) + sized([0], 1)
        let message = [1] + sized(body + sized(extensions, 2), 3)
        return stride(from: 0, to: message.count, by: record).flatMap { start in
            [0x16, 3, 1] + sized(Array(message[start..<min(start + record, message.count)]), 2)
        }
    }

    private func inspect(_ bytes: [UInt8]) -> ClientHelloInspection {
        bytes.withUnsafeBytes { ClientHelloInspection.inspect($0) }
    }

    @Test(arguments: [1, 5, 40, 16_384])
    func theNameAndProtocolsAreReadWhateverTheRecords(record: Int) {
        let bytes = greeting(protocols: ["h2", "http/1.1"], record: record)
        for count in 0..<bytes.count { #expect(inspect(Array(bytes[..<count])) == .incomplete, "\(count) bytes") }
        let expected = ClientHelloInspection.greeting(
            serverName: "a.example.org", applicationProtocols: ["h2", "http/1.1"])
        #expect(inspect(bytes) == expected)
        #expect(inspect(bytes + [1, 2, 3]) == expected)
    }

    @Test func aGreetingMayAskForNobody() {
        #expect(inspect(greeting(name: nil, protocols: [])) == .greeting(serverName: nil, applicationProtocols: []))
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\n", "\u{16}\u{2}", "\u{16}\u{3}\u{1}\u{0}\u{5}\u{2}", "\u{16}\u{3}\u{1}\u{0}\u{0}",
    ])
    func otherBytesAreNoTLS(text: String) {
        #expect(inspect(Array(text.utf8)) == .notTLS)
    }

    @Test func aGreetingThatIsTooLongIsNone() {
        #expect(inspect([0x16, 3, 1, 0x40, 0, 1, 0, 0x80, 0]) == .notTLS)
    }

    @Test func noCutOrChangedByteIsReadBeyondTheEnd() {
        let bytes = greeting(protocols: ["h2", "http/1.1"])
        for index in bytes.indices {
            for value in [0, 1, 127, 255] as [UInt8] {
                var changed = bytes
                changed[index] = value
                _ = inspect(changed)
            }
        }
    }
}
