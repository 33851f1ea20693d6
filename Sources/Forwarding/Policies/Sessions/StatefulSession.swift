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
        case cookie(ResponseCookie)
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
        let lifetime = try cookie.ttl.duration("cookie.ttl") ?? .zero
        return .cookie(
            try at("cookie") { () throws(ConfigurationError) in
                try ResponseCookie(
                    name: cookie.name.string, path: cookie.path.string, lifetime: lifetime,
                    attributes: cookie.attributes_list.map { ($0.pointee.name.string, $0.pointee.value.string) })
            })
    }

    private static func header(_ message: HeaderBasedSessionState) throws(ConfigurationError) -> State {
        .header(try FieldText.name(message.name.string, "name"))
    }

    /// Whether a request takes part: a cookie is for paths below its own. Source: RFC 6265, 5.1.4.
    public func concerns(_ head: HeaderList) -> Bool {
        guard case .cookie(let cookie) = state, !cookie.path.isEmpty, cookie.path != "/" else { return true }
        return head.withBarePath { target in
            let wanted = Array(cookie.path.utf8)
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
        case .cookie(let cookie):
            guard let value = head.unquotedCookie(cookie.name),
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
        case .cookie(let cookie):
            let expiry = cookie.lifetime == 0 ? 0 : UInt64(max(0, now.seconds + cookie.lifetime))
            let field = cookie.field(base64(SessionCookie(address: address, expiry: expiry).encoded))
            field.withUnsafeBytes { response.append("set-cookie", value: $0) }
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
        while !rest.isEmpty {
            guard let tag = rest.takeVarint() else { return nil }
            switch tag {
            case 0x0A:
                guard let length = rest.takeVarint(), length <= UInt64(rest.count) else { return nil }
                address = String(decoding: rest.prefix(Int(length)), as: UTF8.self)
                rest = rest.dropFirst(Int(length))
            case 0x10:
                guard let value = rest.takeVarint() else { return nil }
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
