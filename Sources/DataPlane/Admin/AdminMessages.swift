import HTTP

/// What an operator or a probe asks of a proxy.
struct AdminRequest: Sendable {
    var method: String
    /// Without the query.
    var path: String
    /// Decoded, in order.
    var query: [(name: String, value: String)] = []
    /// The listener it came by: some serve a few paths alone.
    var door: AdminDoor

    /// - Returns: nil for a head without method or path.
    init?(_ head: HeaderList, door: AdminDoor) {
        guard let method = head[":method"], let target = head[":path"] else { return nil }
        self.method = method
        self.door = door
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        path = String(parts.first ?? "")
        guard parts.count == 2 else { return }
        for pair in parts[1].split(separator: "&") {
            let words = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            query.append((Self.decoded(words[0]), words.count == 2 ? Self.decoded(words[1]) : ""))
        }
    }

    /// The first value of that name; `""` for one without a value, nil where it is not there.
    subscript(name: String) -> String? { query.first { $0.name == name }?.value }

    /// Percent-decoded; what is no such code stays as it is.
    private static func decoded(_ text: Substring) -> String {
        var bytes: [UInt8] = []
        let source = Array(text.utf8)
        var index = 0
        while index < source.count {
            if source[index] == UInt8(ascii: "%"), index + 2 < source.count,
                let value = UInt8(String(decoding: source[index + 1...index + 2], as: UTF8.self), radix: 16)
            {
                bytes.append(value)
                index += 3
            } else {
                bytes.append(source[index] == UInt8(ascii: "+") ? 0x20 : source[index])
                index += 1
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// Which of the proxy's own ports a request came by.
enum AdminDoor: Sendable {
    /// Everything.
    case admin
    /// Metrics and readiness, for the whole network.
    case metrics
}

struct AdminResponse: Sendable {
    var status = 200
    var contentType = "text/plain; charset=UTF-8"
    var body: [UInt8]

    init(_ text: String, status: Int = 200) {
        self.status = status
        body = Array(text.utf8)
    }

    static func json(_ text: String) -> AdminResponse {
        var response = AdminResponse(text)
        response.contentType = "application/json"
        return response
    }
}
