import CEnvoyAPI
import Certificates
import Documents
import EnvoyAPI
import HTTP
import Protobuf
import Time

/// Keeps a client with the host that served it before, by what the client brings back: a cookie or a field with the
/// host's address. Source: Envoy, `extensions.filters.http.stateful_session.v3`.
public final class StatefulSession: Sendable {
    private enum State: Sendable {
        case cookie(name: [UInt8], path: String, lifetime: Int64, attributes: String)
        case header([UInt8])
    }

    private let state: State
    /// Whether a request is refused (503) where its host is not there, rather than served by another.
    public let isStrict: Bool

    public init(_ message: EnvoyAPI.StatefulSession, in arena: Arena) throws(ConfigurationError) {
        isStrict = message.strict != 0
        let settings = try message.session_state.required("session_state")
        let any = try settings.typed_config.required("session_state.typed_config")
        state = try at("session_state.typed_config") { () throws(ConfigurationError) in
            switch FieldAudit.typeName(any) {
            case CookieBasedSessionState.descriptor.fullName:
                try Self.cookie(
                    try FieldAudit.decode(CookieBasedSessionState.self, any, in: arena, Self.fields).pointee)
            case HeaderBasedSessionState.descriptor.fullName:
                try Self.header(
                    try FieldAudit.decode(HeaderBasedSessionState.self, any, in: arena, Self.fields).pointee)
            case let name: throw .unsupported(path: "", message: "sessions by `\(name)` are not supported")
            }
        }
    }

    private static func cookie(_ message: CookieBasedSessionState) throws(ConfigurationError) -> State {
        let cookie = try message.cookie.required("cookie")
        let name = cookie.name.string
        guard !name.isEmpty, name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && !"=;,\"".utf8.contains($0) }) else {
            throw .invalid(path: "cookie.name", message: "`\(name)` is no cookie's name")
        }
        var attributes = ""
        for attribute in cookie.attributes_list {
            let (name, value) = (attribute.pointee.name.string, attribute.pointee.value.string)
            attributes += value.isEmpty ? "; \(name)" : "; \(name)=\(value)"
        }
        let path = cookie.path.string
        guard (path + attributes).utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) else {
            throw .invalid(path: "cookie", message: "its path and attributes are text without control characters")
        }
        let lifetime = try cookie.ttl.duration("cookie.ttl") ?? .zero
        return .cookie(
            name: Array(name.utf8), path: path, lifetime: lifetime.components.seconds, attributes: attributes)
    }

    private static func header(_ message: HeaderBasedSessionState) throws(ConfigurationError) -> State {
        let name = message.name.string
        guard !name.isEmpty, name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: ":") }) else {
            throw .invalid(path: "name", message: "`\(name)` is no header's name")
        }
        return .header(name.utf8.map(\.lowerCased))
    }

    /// Whether a request takes part: a cookie is for paths below its own. Source: RFC 6265, 5.1.4.
    public func concerns(_ head: HeaderList) -> Bool {
        guard case .cookie(_, let path, _, _) = state, !path.isEmpty, path != "/" else { return true }
        return head.withBarePath { target in
            let wanted = Array(path.utf8)
            guard target.hasPrefix(wanted) else { return false }
            return target.count == wanted.count || wanted.last == UInt8(ascii: "/")
                || target[wanted.count] == UInt8(ascii: "/")
        } ?? false
    }

    /// The host that the client brings back, as `ADDRESS:PORT`; nil: none, one that cannot be read, or is too old.
    public func host(in head: HeaderList, now: Timestamp) -> String? {
        switch state {
        case .header(let name):
            let text = name.withUnsafeBytes { head.withValue(ofBytes: $0) { String(decoding: $0, as: UTF8.self) } }
            guard let text, let bytes = Documents.bytes(base64: text) else { return nil }
            return Self.address(bytes)
        case .cookie(let name, _, _, _):
            guard let value = head.unquotedCookie(name),
                let bytes = Documents.bytes(base64: String(decoding: value, as: UTF8.self))
            else {
                return nil
            }
            // Older Envoys wrote the address alone.
            guard let session = SessionCookie(bytes) else { return Self.address(bytes) }
            if session.expiry != 0, session.expiry <= UInt64(max(0, now.seconds)) { return nil }
            return Self.address(Array(session.address.utf8))
        }
    }

    private static func address(_ bytes: [UInt8]) -> String? {
        guard !bytes.isEmpty, bytes.count <= 64, bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Tells the client which host served it, if it does not know.
    /// - Parameter known: what ``host(in:now:)`` found in the request.
    public func tell(_ host: NetworkAddress, known: String?, in response: inout HeaderList, now: Timestamp) {
        let address = host.description
        if address == known { return }
        switch state {
        case .header(let name):
            let value = Array(base64(Array(address.utf8)).utf8)
            name.withUnsafeBytes { name in value.withUnsafeBytes { response.set(name: name, value: $0) } }
        case .cookie(let name, let path, let lifetime, let attributes):
            let expiry = lifetime == 0 ? 0 : UInt64(max(0, now.seconds + lifetime))
            var text = "\(String(decoding: name, as: UTF8.self))=\""
            text += base64(SessionCookie(address: address, expiry: expiry).encoded) + "\""
            if lifetime != 0 { text += "; Max-Age=\(lifetime)" }
            if !path.isEmpty { text += "; Path=\(path)" }
            response.append("set-cookie", text + attributes + "; HttpOnly")
        }
    }

    static let fields =
        SupportedFields([
            "envoy.extensions.filters.http.stateful_session.v3.StatefulSession": "session_state* strict stat_prefix",
            "envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute": "disabled stateful_session",
            "envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState": "cookie",
            "envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState": "name",
            "envoy.type.http.v3.Cookie": "name ttl path attributes",
            "envoy.type.http.v3.CookieAttribute": "name value",
        ]) + .common
}

/// What a session cookie holds: a message with the address (1) and the end in seconds since 1970 (2).
/// Source: Envoy, `source/extensions/http/stateful_session/cookie/cookie.proto`.
struct SessionCookie: Equatable {
    var address: String
    /// 0: none.
    var expiry: UInt64

    init(address: String, expiry: UInt64) {
        (self.address, self.expiry) = (address, expiry)
    }

    /// - Returns: nil if the bytes are no such message.
    init?(_ bytes: [UInt8]) {
        (address, expiry) = ("", 0)
        var rest = bytes[...]
        func number() -> UInt64? {
            var value: UInt64 = 0
            for shift in stride(from: 0, to: 64, by: 7) {
                guard let byte = rest.popFirst() else { return nil }
                value |= UInt64(byte & 0x7F) << UInt64(shift)
                if byte & 0x80 == 0 { return value }
            }
            return nil
        }
        while !rest.isEmpty {
            guard let tag = number() else { return nil }
            switch tag {
            case 0x0A:
                guard let length = number(), length <= UInt64(rest.count) else { return nil }
                address = String(decoding: rest.prefix(Int(length)), as: UTF8.self)
                rest = rest.dropFirst(Int(length))
            case 0x10:
                guard let value = number() else { return nil }
                expiry = value
            default: return nil
            }
        }
        if address.isEmpty { return nil }
    }

    var encoded: [UInt8] {
        var bytes: [UInt8] = [0x0A]
        func append(_ number: UInt64) {
            var number = number
            while number >= 0x80 {
                bytes.append(UInt8(number & 0x7F) | 0x80)
                number >>= 7
            }
            bytes.append(UInt8(number))
        }
        append(UInt64(address.utf8.count))
        bytes += address.utf8
        if expiry != 0 {
            bytes.append(0x10)
            append(expiry)
        }
        return bytes
    }
}
