import HTTP

/// What a request line asks for, in parts. Source: RFC 9112, section 3.2.
struct RequestTarget {
    var path: UnsafeRawBufferPointer
    /// Of absolute-form and authority-form.
    var authority: UnsafeRawBufferPointer?
    /// Of absolute-form.
    var scheme: HTTP1Scheme?

    /// - Parameter target: not empty.
    init(_ target: UnsafeRawBufferPointer, method: UnsafeRawBufferPointer) throws(HTTP1Problem) {
        guard Characters.areTargetBytes(target) else { throw .malformedTarget }
        if method.equals(StaticString("CONNECT").bytes) {
            guard Authority(target)?.port != nil else { throw .malformedTarget }
            (path, authority) = (UnsafeRawBufferPointer(start: nil, count: 0), target)
            return
        }
        if target[0] == UInt8(ascii: "/") {
            path = target
            return
        }
        if target[0] == UInt8(ascii: "*"), target.count == 1 {
            guard method.equals(StaticString("OPTIONS").bytes) else { throw .malformedTarget }
            path = target
            return
        }
        let scheme: HTTP1Scheme
        if target.count > 7, UnsafeRawBufferPointer(rebasing: target[..<7]).equalsIgnoringCase("http://") {
            scheme = .http
        } else if target.count > 8, UnsafeRawBufferPointer(rebasing: target[..<8]).equalsIgnoringCase("https://") {
            scheme = .https
        } else {
            throw .malformedTarget
        }
        let rest = UnsafeRawBufferPointer(rebasing: target[(scheme == .http ? 7 : 8)...])
        let end = rest.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? rest.count
        let authority = UnsafeRawBufferPointer(rebasing: rest[..<end])
        guard Authority(authority) != nil else { throw .malformedTarget }
        (self.scheme, self.authority) = (scheme, authority)
        if end == rest.count {
            path = method.equals(StaticString("OPTIONS").bytes) ? StaticString("*").bytes : StaticString("/").bytes
        } else if rest[end] == UInt8(ascii: "/") {
            path = UnsafeRawBufferPointer(rebasing: rest[end...])
        } else {
            // "?query" without a path: a rare form, and a slash would have to be put before it.
            throw .malformedTarget
        }
    }
}

/// The scheme of what a connection carries.
public enum HTTP1Scheme: Sendable {
    case http, https

    var bytes: UnsafeRawBufferPointer {
        switch self {
        case .http: StaticString("http").bytes
        case .https: StaticString("https").bytes
        }
    }

    var port: UInt64 {
        switch self {
        case .http: 80
        case .https: 443
        }
    }
}

/// A host and perhaps a port, checked. Source: RFC 3986, section 3.2, without user information.
struct Authority {
    var host: UnsafeRawBufferPointer
    var port: UInt64?

    /// nil for what is none.
    init?(_ bytes: UnsafeRawBufferPointer) {
        var end = 0
        if bytes.first == UInt8(ascii: "[") {
            guard let close = bytes.firstIndex(of: UInt8(ascii: "]")), close > 2 else { return nil }
            // IPv6 with its colons, dots of an embedded IPv4 address and a zone.
            guard
                bytes[1..<close].allSatisfy({
                    Self.isNameByte($0) || $0 == UInt8(ascii: ":")
                })
            else { return nil }
            end = close + 1
        } else {
            while end < bytes.count, Self.isNameByte(bytes[end]) { end += 1 }
        }
        guard end > 0 else { return nil }
        host = UnsafeRawBufferPointer(rebasing: bytes[..<end])
        if end < bytes.count {
            guard bytes[end] == UInt8(ascii: ":") else { return nil }
            let digits = UnsafeRawBufferPointer(rebasing: bytes[(end + 1)...])
            guard digits.count <= 5, let number = Characters.number(digits), number <= 65535 else { return nil }
            port = number
        }
    }

    @inline(__always)
    private static func isNameByte(_ byte: UInt8) -> Bool {
        Characters.name.utf8Start[Int(byte)] == UInt8(ascii: "1")
    }

    /// Whether both name the same host and port.
    /// - Parameter defaultPort: stands for a port that is not there; nil: then any port is the same.
    func isSame(as other: Authority, defaultPort: UInt64?) -> Bool {
        guard host.count == other.host.count else { return false }
        for index in 0..<host.count where host[index].lowerCased != other.host[index].lowerCased { return false }
        if let defaultPort { return (port ?? defaultPort) == (other.port ?? defaultPort) }
        return port == other.port || port == nil || other.port == nil
    }
}
