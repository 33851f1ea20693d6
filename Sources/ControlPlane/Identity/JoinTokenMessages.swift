import EnvoyAPI
import Protobuf
import Time

extension JoinTokenOrder {
    public init(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let request = try arena.decode(ControlCreateTokenRequest.self, from: bytes).pointee
        self.init(
            namespace: request.namespace_.string, serviceAccount: request.service_account.string,
            validity: .nanoseconds(request.ttl), uses: request.uses == 0 ? nil : Int(request.uses))
    }

    public func encoded() -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(ControlCreateTokenRequest.self) {
                $0.namespace_ = arena(namespace.withoutNUL)
                $0.service_account = arena(serviceAccount.withoutNUL)
                $0.ttl = validity.nanoseconds
                // 0 stands for any number, and an order for 0 nodes is for the server to refuse as one for too many.
                $0.uses = uses.map { $0 < 1 ? .max : UInt32(clamping: $0) } ?? 0
            })
    }
}

/// The answer to a ``JoinTokenOrder``. Source: martinet.control.v1.CreateTokenResponse.
public struct CreatedJoinToken: Sendable {
    /// For its bearer: it is nowhere to be had again.
    public var token: String
    public var entry: JoinTokenEntry

    init(token: String, entry: JoinTokenEntry) {
        self.token = token
        self.entry = entry
    }

    /// - Returns: nil for an answer without an entry.
    public init?(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let response = try arena.decode(ControlCreateTokenResponse.self, from: bytes).pointee
        guard let entry = response.entry else { return nil }
        self.init(token: response.token.string, entry: JoinTokenEntry(entry.pointee))
    }

    public func encoded() -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(ControlCreateTokenResponse.self) {
                $0.token = arena(token)
                $0.entry = entry.message(in: arena)
            })
    }
}

/// Which token ends. Source: martinet.control.v1.RevokeTokenRequest.
public struct JoinTokenRevocation: Hashable, Sendable {
    public var id: String

    /// - Parameter text: an id, or a whole token, of which only the id is kept.
    public init(_ text: String) { id = JoinToken.id(in: text) }

    init(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        self.init(try arena.decode(ControlRevokeTokenRequest.self, from: bytes).pointee.id.string)
    }

    public func encoded() -> [UInt8] {
        let arena = Arena()
        return encode(arena.make(ControlRevokeTokenRequest.self) { $0.id = arena(id.withoutNUL) })
    }
}

extension JoinTokenEntry {
    /// The tokens of a `ListTokensResponse`.
    public static func list(decoding bytes: [UInt8]) throws(ProtobufError) -> [JoinTokenEntry] {
        let arena = Arena()
        let response = try arena.decode(ControlListTokensResponse.self, from: bytes).pointee
        return response.tokens_list.map { JoinTokenEntry($0.pointee) }
    }

    /// A `ListTokensRequest`.
    public static var listRequest: [UInt8] { [] }

    static func encode(_ list: [JoinTokenEntry]) -> [UInt8] {
        let arena = Arena()
        return Protobuf.encode(
            arena.make(ControlListTokensResponse.self) { response in
                (response.n_tokens, response.tokens) = arena.list(list.map { $0.message(in: arena) })
            })
    }

    /// The token of a `RevokeTokenResponse`; nil for an answer without one.
    public init?(decodingRevoked bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        guard let entry = try arena.decode(ControlRevokeTokenResponse.self, from: bytes).pointee.entry else {
            return nil
        }
        self.init(entry.pointee)
    }

    func encodedAsRevoked() -> [UInt8] {
        let arena = Arena()
        return Protobuf.encode(arena.make(ControlRevokeTokenResponse.self) { $0.entry = message(in: arena) })
    }

    fileprivate init(_ message: ControlJoinToken) {
        self.init(
            id: message.id.string, namespace: message.namespace_.string,
            serviceAccount: message.service_account.string,
            createdAt: Timestamp(nanoseconds: message.created_at),
            expiresAt: Timestamp(nanoseconds: message.expires_at), uses: message.uses == 0 ? nil : Int(message.uses),
            used: Int(message.used),
            isRevoked: message.revoked != 0)
    }

    fileprivate func message(in arena: Arena) -> UnsafeMutablePointer<ControlJoinToken> {
        arena.make {
            $0.id = arena(id)
            $0.namespace_ = arena(namespace)
            $0.service_account = arena(serviceAccount)
            $0.created_at = createdAt.nanoseconds
            $0.expires_at = expiresAt.nanoseconds
            $0.uses = UInt32(clamping: uses ?? 0)
            $0.used = UInt32(clamping: used)
            $0.set(revoked: isRevoked)
        }
    }
}
