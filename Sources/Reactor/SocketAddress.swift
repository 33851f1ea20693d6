import CLinux
import Glibc

/// Where to listen or to connect: an IPv4 or IPv6 address with a port, or a Unix socket's path.
public enum SocketAddress: Hashable, Sendable, CustomStringConvertible {
    /// The address in host byte order: 127.0.0.1 is 0x7f00_0001.
    case ipv4(UInt32, port: UInt16)
    /// The address's two halves in host byte order; `scope` is the interface of a link-local address, or 0.
    case ipv6(high: UInt64, low: UInt64, scope: UInt32 = 0, port: UInt16)
    /// A path of the file system, or `@name` in the abstract namespace; empty for a peer without a name.
    case unix(path: String)

    /// The longest path of a Unix socket, in bytes. Source: unix(7).
    public static let longestPath = 107

    /// 127.0.0.1 with the given port; 0 lets the system choose one.
    public static func loopback(port: UInt16) -> SocketAddress { .ipv4(0x7f00_0001, port: port) }

    /// Reads `127.0.0.1:15010`, `[::1]:80`, `[fe80::1%eth0]:80` or `unix:/path`. Host names are not looked up.
    /// - Throws: `.badAddress`, with what is wrong.
    public init(parsing text: String) throws(ReactorError) {
        func bad(_ problem: String) -> ReactorError { .badAddress(text, problem: problem) }
        guard !text.utf8.contains(0) else { throw bad("it contains a NUL") }
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst(5))
            guard !path.isEmpty, path != "@" else { throw bad("the path is empty") }
            guard path.utf8.count <= Self.longestPath else {
                throw bad("the path has \(path.utf8.count) bytes; a Unix socket's has at most \(Self.longestPath)")
            }
            self = .unix(path: path)
            return
        }
        guard let colon = text.lastIndex(of: ":") else { throw bad("the port is missing") }
        let portText = text[text.index(after: colon)...]
        guard !portText.isEmpty, portText.utf8.allSatisfy({ (48...57).contains($0) }), let port = UInt16(portText)
        else { throw bad("the port must be a number from 0 to 65535") }
        let host = text[..<colon]
        if host.hasPrefix("[") {
            guard host.hasSuffix("]") else { throw bad("the bracket is not closed") }
            let parts = host.dropFirst().dropLast().split(
                separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
            var raw = in6_addr()
            guard let number = parts.first, inet_pton(AF_INET6, String(number), &raw) == 1 else {
                throw bad("what is in brackets is not an IPv6 address")
            }
            var scope: UInt32 = 0
            if parts.count == 2 {
                scope = UInt32(parts[1]) ?? if_nametoindex(String(parts[1]))
                guard scope != 0 else { throw bad("there is no network interface \"\(parts[1])\"") }
            }
            let (high, low) = Self.halves(raw)
            self = .ipv6(high: high, low: low, scope: scope, port: port)
            return
        }
        if host.contains(":") { throw bad("an IPv6 address is written in brackets") }
        var raw = in_addr()
        guard inet_pton(AF_INET, String(host), &raw) == 1 else {
            throw bad(
                host.isEmpty ? "the host is missing" : "\"\(host)\" is not an IPv4 address; names are not looked up")
        }
        self = .ipv4(UInt32(bigEndian: raw.s_addr), port: port)
    }

    /// The port; nil for Unix sockets.
    public var port: UInt16? {
        switch self {
        case .ipv4(_, let port): port
        case .ipv6(_, _, _, let port): port
        case .unix: nil
        }
    }

    /// Whether only this machine can reach it: 127.0.0.0/8, ::1, or a Unix socket.
    public var isLoopback: Bool {
        switch self {
        case .ipv4(let address, _): address >> 24 == 127
        case .ipv6(let high, let low, _, _): high == 0 && (low == 1 || low >> 24 == 0xffff_7f)
        case .unix: true
        }
    }

    /// The IPv4 address that an IPv6 socket of both kinds shows as `::ffff:a.b.c.d`. Source: RFC 4291, section 2.5.5.2.
    public var mappedIPv4: SocketAddress? {
        guard case .ipv6(0, let low, _, let port) = self, low >> 32 == 0xffff else { return nil }
        return .ipv4(UInt32(truncatingIfNeeded: low), port: port)
    }

    /// The form that ``init(parsing:)`` reads.
    public var description: String {
        switch self {
        case .ipv4(let a, let port): return "\(a >> 24).\(a >> 16 & 255).\(a >> 8 & 255).\(a & 255):\(port)"
        case .ipv6(let high, let low, let scope, let port):
            var raw = in6_addr()
            withUnsafeMutableBytes(of: &raw) {
                $0.storeBytes(of: high.bigEndian, as: UInt64.self)
                $0.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
            }
            var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
            guard let pointer = inet_ntop(AF_INET6, &raw, &text, socklen_t(text.count)) else { return "[?]:\(port)" }
            return "[\(String(cString: pointer))\(scope == 0 ? "" : "%\(scope)")]:\(port)"
        case .unix(let path): return path.isEmpty ? "unix:(unnamed)" : "unix:\(path)"
        }
    }

    var family: Int32 {
        switch self {
        case .ipv4: AF_INET
        case .ipv6: AF_INET6
        case .unix: AF_UNIX
        }
    }

    /// Whether it is the path of a Unix socket.
    public var isUnix: Bool { family == AF_UNIX }

    private static func halves(_ raw: in6_addr) -> (UInt64, UInt64) {
        withUnsafeBytes(of: raw) {
            (
                UInt64(bigEndian: $0.loadUnaligned(as: UInt64.self)),
                UInt64(bigEndian: $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
            )
        }
    }
}

// The system's form of an address.
extension SocketAddress {
    private static let pathOffset = 2  // sun_path follows the 16-bit family.

    /// Calls `body` with the system's form, valid during the call.
    func withSystemForm(_ body: (UnsafeRawPointer, socklen_t) -> Int32) -> Int32 {
        switch self {
        case .ipv4(let address, let port):
            var form = sockaddr_in()
            form.sin_family = sa_family_t(AF_INET)
            form.sin_port = port.bigEndian
            form.sin_addr.s_addr = address.bigEndian
            return withUnsafeBytes(of: &form) { body($0.baseAddress!, socklen_t($0.count)) }
        case .ipv6(let high, let low, let scope, let port):
            var form = sockaddr_in6()
            form.sin6_family = sa_family_t(AF_INET6)
            form.sin6_port = port.bigEndian
            form.sin6_scope_id = scope
            withUnsafeMutableBytes(of: &form.sin6_addr) {
                $0.storeBytes(of: high.bigEndian, as: UInt64.self)
                $0.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
            }
            return withUnsafeBytes(of: &form) { body($0.baseAddress!, socklen_t($0.count)) }
        case .unix(let path):
            var form = sockaddr_un()
            form.sun_family = sa_family_t(AF_UNIX)
            let bytes = Array(path.utf8.prefix(Self.longestPath))
            let isAbstract = path.hasPrefix("@")
            withUnsafeMutableBytes(of: &form) { raw in
                for (offset, byte) in bytes.enumerated() { raw[Self.pathOffset + offset] = byte }
                if isAbstract { raw[Self.pathOffset] = 0 }
            }
            // The length of an abstract name is exact, a path ends with a NUL. Source: unix(7).
            let length = Self.pathOffset + bytes.count + (isAbstract ? 0 : 1)
            return withUnsafeBytes(of: &form) { body($0.baseAddress!, socklen_t(length)) }
        }
    }

    /// - Returns: an unnamed Unix address for families that this module does not know.
    init(_ storage: sockaddr_storage, length: socklen_t) {
        self = withUnsafeBytes(of: storage) { raw in
            switch Int32(storage.ss_family) {
            case AF_INET:
                let form = raw.loadUnaligned(as: sockaddr_in.self)
                return .ipv4(UInt32(bigEndian: form.sin_addr.s_addr), port: UInt16(bigEndian: form.sin_port))
            case AF_INET6:
                let form = raw.loadUnaligned(as: sockaddr_in6.self)
                let (high, low) = Self.halves(form.sin6_addr)
                let port = UInt16(bigEndian: form.sin6_port)
                return .ipv6(high: high, low: low, scope: form.sin6_scope_id, port: port)
            default:
                let end = min(Int(length), Self.pathOffset + Self.longestPath + 1)
                guard end > Self.pathOffset else { return .unix(path: "") }
                var bytes = Array(raw[Self.pathOffset..<end])
                if bytes[0] == 0 {
                    guard bytes.count > 1 else { return .unix(path: "") }
                    bytes[0] = UInt8(ascii: "@")
                }
                let path = bytes.firstIndex(of: 0).map { Array(bytes[..<$0]) } ?? bytes
                return .unix(path: String(decoding: path, as: UTF8.self))
            }
        }
    }

    /// The address of this end (`local`) or of the other end of a socket; nil once the connection is gone.
    static func read(_ descriptor: Int32, local: Bool) -> SocketAddress? {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result =
            local
            ? linux_local_address(descriptor, &storage, &length) : linux_peer_address(descriptor, &storage, &length)
        return result < 0 ? nil : SocketAddress(storage, length: length)
    }
}
