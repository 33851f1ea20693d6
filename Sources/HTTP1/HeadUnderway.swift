import HTTP

/// What the lines of a head have said so far about the connection and the body.
struct HeadUnderway {
    enum Encoding {
        case none, chunked, other
    }

    /// What the lines took, their ends included.
    var bytes = 0
    var emptyLines = 0
    var fields = 0
    var head = HTTP1Head()
    /// Where `:authority` belongs, in bytes of the list.
    var authorityOffset = 0
    var hasAuthority = false
    var hasHost = false
    var length: UInt64?
    var encoding = Encoding.none
    var closes = false
    var keepsAlive = false
    /// `connection` says `upgrade`.
    var changesProtocol = false
    /// Names in `connection` of fields that go no further, each followed by a comma.
    var options: [UInt8] = []
    var optionCount = 0
    var expectation = false
}

/// The fields that are more than a name and a value here.
enum FieldKind {
    case ordinary, te, host, expect, upgrade, connection, dropped, contentLength, transferEncoding

    /// - Parameter name: in lower case.
    @inline(__always)
    init(_ name: UnsafeRawBufferPointer) {
        switch name.count {
        case 2: self = name.equals(StaticString("te").bytes) ? .te : .ordinary
        case 4: self = name.equals(StaticString("host").bytes) ? .host : .ordinary
        case 6: self = name.equals(StaticString("expect").bytes) ? .expect : .ordinary
        case 7: self = name.equals(StaticString("upgrade").bytes) ? .upgrade : .ordinary
        case 10:
            self =
                name.equals(StaticString("connection").bytes)
                ? .connection : name.equals(StaticString("keep-alive").bytes) ? .dropped : .ordinary
        case 14: self = name.equals(StaticString("content-length").bytes) ? .contentLength : .ordinary
        case 16: self = name.equals(StaticString("proxy-connection").bytes) ? .dropped : .ordinary
        case 17: self = name.equals(StaticString("transfer-encoding").bytes) ? .transferEncoding : .ordinary
        default: self = .ordinary
        }
    }

    /// What no trailer may say: framing, routing, who asks, and how the content is to be read.
    /// Source: RFC 9110, section 6.5.1.
    static func isAllowedInTrailers(_ name: UnsafeRawBufferPointer) -> Bool {
        guard case .ordinary = FieldKind(name) else { return false }
        let refused: [StaticString] = [
            "age", "authorization", "cache-control", "content-encoding", "content-range", "content-type", "cookie",
            "date", "expires", "forwarded", "location", "max-forwards", "pragma", "proxy-authenticate",
            "proxy-authorization", "range", "retry-after", "set-cookie", "trailer", "vary", "www-authenticate",
            "http2-settings",
        ]
        if refused.contains(where: { name.equals($0.bytes) }) { return false }
        return !isProtected(name)
    }

    /// Fields by which a proxy tells the next one what it knows: a client that names one of them in `connection` wants
    /// it to be lost on the way.
    static func isProtected(_ name: UnsafeRawBufferPointer) -> Bool {
        let prefixes: [StaticString] = ["x-forwarded-", "x-envoy-"]
        let names: [StaticString] = [
            "host", "content-length", "transfer-encoding", "forwarded", "authorization", "cookie",
        ]
        return names.contains { name.equals($0.bytes) }
            || prefixes.contains { prefix in
                name.count >= prefix.utf8CodeUnitCount
                    && UnsafeRawBufferPointer(rebasing: name[..<prefix.utf8CodeUnitCount]).equals(prefix.bytes)
            }
    }
}
