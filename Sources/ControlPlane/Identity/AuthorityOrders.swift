import EnvoyAPI
import Protobuf
import Time

extension RotationOrder {
    public init(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let request = try arena.decode(ControlRotateRequest.self, from: bytes).pointee
        self.init(
            root: request.root != 0,
            forceAfter: request.force_after == 0 ? nil : .nanoseconds(request.force_after))
    }

    public func encoded() -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(ControlRotateRequest.self) {
                $0.set(root: root)
                // Nothing is told by 0, so at once is told by the shortest time.
                $0.force_after = forceAfter.map { max($0.nanoseconds, 1) } ?? 0
            })
    }

    /// An `AbortRequest`.
    public static var abortRequest: [UInt8] { [] }
}

extension AuthorityMaterial {
    public init(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let request = try arena.decode(ControlImportRequest.self, from: bytes).pointee
        self.init(certificates: request.certificates.string, key: request.key.string, root: request.root.string)
    }

    public func encoded() -> [UInt8] {
        let arena = Arena()
        return Protobuf.encode(
            arena.make(ControlImportRequest.self) {
                $0.certificates = arena(certificates.withoutNUL)
                $0.key = arena(key.withoutNUL)
                $0.root = arena(root.withoutNUL)
            })
    }

    /// The words of an `ImportResponse`.
    public static func taken(decoding bytes: [UInt8]) throws(ProtobufError) -> [String] {
        let arena = Arena()
        return Array(try arena.decode(ControlImportResponse.self, from: bytes).pointee.taken_list)
    }

    static func encode(taken: [String]) -> [UInt8] {
        let arena = Arena()
        return Protobuf.encode(
            arena.make(ControlImportResponse.self) {
                ($0.n_taken, $0.taken) = arena.strings(taken.map(\.withoutNUL))
            })
    }
}

/// The request that an outside root is to answer, as it travels. Source: martinet.control.v1.SigningRequestResponse.
public enum SigningRequestText {
    /// A `SigningRequestRequest`.
    public static var request: [UInt8] { [] }

    public static func decode(_ bytes: [UInt8]) throws(ProtobufError) -> String {
        let arena = Arena()
        return try arena.decode(ControlSigningRequestResponse.self, from: bytes).pointee.pem.string
    }

    static func encode(_ pem: String) -> [UInt8] {
        let arena = Arena()
        return Protobuf.encode(arena.make(ControlSigningRequestResponse.self) { $0.pem = arena(pem.withoutNUL) })
    }
}

extension PublishedBundle {
    /// A `BundleRequest`.
    public static var request: [UInt8] { [] }

    public init(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let response = try arena.decode(ControlBundleResponse.self, from: bytes).pointee
        self.init(pem: response.pem.string, spiffe: response.spiffe_bundle.string)
    }

    public func encoded() -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(ControlBundleResponse.self) {
                $0.pem = arena(pem.withoutNUL)
                $0.spiffe_bundle = arena(spiffe.withoutNUL)
            })
    }
}

extension JournalOrder {
    /// A limit of 0, or of more than ``longest``, is taken for what the message's definition says.
    public init(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let request = try arena.decode(ControlJournalRequest.self, from: bytes).pointee
        self.init(
            spiffeID: request.spiffe_id.string,
            limit: request.limit == 0 ? 100 : min(Int(request.limit), Self.longest))
    }

    public func encoded() -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(ControlJournalRequest.self) {
                $0.spiffe_id = arena(spiffeID.withoutNUL)
                $0.limit = UInt32(clamping: limit)
            })
    }
}
