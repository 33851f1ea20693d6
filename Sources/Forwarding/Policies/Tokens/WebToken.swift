import Certificates
import Documents
import EnvoyAPI

/// A JSON Web Token as it came, read and not yet believed. Source: RFC 7519; RFC 7515, compact form.
struct WebToken: Sendable {
    /// The longest that is read, in bytes.
    static let maximumBytes = 32 << 10

    let algorithm: TokenAlgorithm
    let keyID: String?
    let header: [StructureValue.Field]
    let payload: [StructureValue.Field]
    /// As it stands in the token.
    let encodedPayload: [UInt8]
    let signed: [UInt8]
    let signature: [UInt8]

    let issuer: String?
    let subject: String?
    let audiences: [String]
    /// Seconds since 1970.
    let expiry: Int64?
    let notBefore: Int64?
    let issuedAt: Int64?

    init(_ bytes: [UInt8]) throws(TokenFault) {
        func refuse(_ refusal: TokenRefusal) -> TokenFault { TokenFault(refusal: refusal) }
        let parts = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard bytes.count <= Self.maximumBytes, parts.count == 3, !parts.contains(where: \.isEmpty) else {
            throw refuse(.badForm)
        }
        guard let headerBytes = Base64.decodeURL(parts[0]) else { throw refuse(.headerNotBase64) }
        guard let header = Self.object(headerBytes) else { throw refuse(.headerNotJSON) }
        guard case .string(let name) = header.value("alg") else { throw refuse(.algorithmMissing) }
        guard let algorithm = TokenAlgorithm(rawValue: name) else { throw refuse(.algorithmUnsupported) }
        keyID = try Self.text(header, "kid", refuse(.keyIDNoText))
        guard let payloadBytes = Base64.decodeURL(parts[1]) else { throw refuse(.payloadNotBase64) }
        guard let payload = Self.object(payloadBytes) else { throw refuse(.payloadNotJSON) }
        issuer = try Self.text(payload, "iss", refuse(.issuerNoText))
        subject = try Self.text(payload, "sub", refuse(.subjectNoText))
        issuedAt = try Self.moment(payload, "iat", refuse(.issuedAtNoNumber))
        notBefore = try Self.moment(payload, "nbf", refuse(.notBeforeNoNumber))
        expiry = try Self.moment(payload, "exp", refuse(.expiryNoNumber))
        switch payload.value("aud") {
        case nil: audiences = []
        case .string(let name): audiences = [name]
        case .list(let names):
            audiences = names.compactMap { if case .string(let name) = $0 { name } else { nil } }
            if audiences.count != names.count { throw refuse(.audienceNoText) }
        default: throw refuse(.audienceNoText)
        }
        guard let signature = Base64.decodeURL(parts[2]) else { throw refuse(.signatureNotBase64) }
        (self.algorithm, self.header, self.payload, self.signature) = (algorithm, header, payload, signature)
        encodedPayload = Array(parts[1])
        signed = Array(bytes[..<(parts[2].startIndex - 1)])
    }

    /// Whether one of the keys signed it. A key that names its algorithm signs with no other.
    func isSigned(by keys: TokenKeySet) throws(TokenFault) {
        var hasMatch = false
        for key in keys.keys {
            if let keyID, !keyID.isEmpty, let other = key.keyID, !other.isEmpty, other != keyID { continue }
            if let only = key.algorithm, only != algorithm { continue }
            hasMatch = true
            if key.publicKey.verify(signature, over: signed, as: algorithm) { return }
        }
        throw TokenFault(refusal: hasMatch ? .signatureInvalid : .noKeyMatches)
    }

    // MARK: Reading

    private static let limits = TextLimits(bytes: maximumBytes, nodes: 10_000, depth: 32)

    private static func object(_ bytes: [UInt8]) -> [StructureValue.Field]? {
        guard let node = try? DocumentNode.parseJSON(bytes: bytes, limits: limits),
            case .object(let fields) = StructureValue(node)
        else { return nil }
        return fields
    }

    private static func text(
        _ fields: [StructureValue.Field], _ name: String, _ fault: TokenFault
    ) throws(TokenFault) -> String? {
        switch fields.value(name) {
        case nil: return nil
        case .string(let text): return text
        default: throw fault
        }
    }

    private static func moment(
        _ fields: [StructureValue.Field], _ name: String, _ fault: TokenFault
    ) throws(TokenFault) -> Int64? {
        switch fields.value(name) {
        case nil: return nil
        case .number(let number) where number >= 0 && number < 9_000_000_000_000: return Int64(number)
        default: throw fault
        }
    }
}

/// A token that is not believed.
struct TokenFault: Error {
    var refusal: TokenRefusal
}

extension StructureValue {
    /// A JSON document as a value; its depth is bounded by who parsed it.
    init(_ node: DocumentNode) {
        switch node {
        case .mapping(let members, _): self = .object(members.map { Field($0.key.text, StructureValue($0.value)) })
        case .sequence(let elements, _): self = .list(elements.map { StructureValue($0) })
        case .scalar(let scalar):
            switch scalar.style {
            case .number: self = Double(scalar.text).map { .number($0) } ?? .null
            case .keyword: self = scalar.text == "null" ? .null : .bool(scalar.text == "true")
            case .plain, .quoted: self = .string(scalar.text)
            }
        }
    }
}
