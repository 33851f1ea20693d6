import FoundationEssentials
import Identity
import Time

/// A workload's identity as a signed token. Source: JWT-SVID; RFC 7515 (JWS), compact form only.
public struct JWTSVID: Hashable, Sendable {
    /// The longest token that is read, in bytes.
    public static let maximumBytes = 16 << 10

    public let spiffeID: SPIFFEID
    public let audience: [String]
    public let expiry: Timestamp
    public let issuedAt: Timestamp?
    public let keyID: String
    /// All claims, as a JSON object.
    public let claims: [UInt8]
    /// The bearer of this is the workload: it stands in no description.
    public let token: String

    /// Signs a token for `audience`, valid until the end of `validity`.
    /// - Parameter keyID: how the bundle calls `key`.
    /// - Throws: ``JWTRefusal/audienceMissing``, ``JWTRefusal/signing(_:)``.
    public static func sign(
        _ spiffeID: SPIFFEID, audience: [String], validity: Range<Timestamp>, key: PrivateKey, keyID: String
    ) throws(JWTRefusal) -> JWTSVID {
        // JWT-SVID, 2.1 has no EdDSA.
        guard algorithms.contains(key.publicKey.algorithm.joseName) else {
            throw .signing("a key of \(key.publicKey.algorithm), which JWT-SVIDs do not use")
        }
        guard !audience.isEmpty, audience.allSatisfy({ !$0.isEmpty }) else { throw .audienceMissing }
        let claims = Claims(
            sub: spiffeID.description, aud: AudienceClaim(names: audience), exp: Double(validity.upperBound.seconds),
            iat: Double(validity.lowerBound.seconds))
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard
            let header = try? encoder.encode(
                Header(alg: key.publicKey.algorithm.joseName, kid: keyID, typ: "JWT")),
            let payload = try? encoder.encode(claims)
        else { throw .signing("the claims cannot be written as JSON") }
        let signed = Base64.encodeURL(header) + "." + Base64.encodeURL(payload)
        let signature: [UInt8]
        do throws(CertificateError) {
            signature = try key.sign(Array(signed.utf8))
        } catch {
            throw .signing(error.description)
        }
        return JWTSVID(
            spiffeID: spiffeID, audience: audience, expiry: Timestamp(seconds: validity.upperBound.seconds),
            issuedAt: Timestamp(seconds: validity.lowerBound.seconds), keyID: keyID, claims: Array(payload),
            token: signed + "." + Base64.encodeURL(signature))
    }

    private init(
        spiffeID: SPIFFEID, audience: [String], expiry: Timestamp, issuedAt: Timestamp?, keyID: String,
        claims: [UInt8], token: String
    ) {
        self.spiffeID = spiffeID
        self.audience = audience
        self.expiry = expiry
        self.issuedAt = issuedAt
        self.keyID = keyID
        self.claims = claims
        self.token = token
    }

    /// Reads a token and believes it only if a key of its trust domain signed it for `audience` and it has not
    /// expired. The algorithm is the key's, never the token's choice.
    /// - Parameter bundles: by trust domain; a token of another domain is refused.
    public init(
        verifying token: String, audience: String, bundles: [TrustDomain: SPIFFEBundle], now: Timestamp
    ) throws(JWTRefusal) {
        guard token.utf8.count <= Self.maximumBytes else {
            throw .malformed("\(token.utf8.count) bytes, and \(Self.maximumBytes) are allowed")
        }
        let parts = token.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 3 else { throw .malformed("\(parts.count) parts, not three") }
        guard let header: Header = Self.read(parts[0]) else { throw .malformed("the header is no JSON object") }
        guard let claimBytes = Base64.decodeURL(parts[1]), let claims: Claims = Self.read(parts[1]) else {
            throw .malformed("the claims are no JSON object with sub, aud and exp")
        }
        guard let signature = Base64.decodeURL(parts[2]) else { throw .malformed("the signature is no base64url") }
        // JWT-SVID, 2.1: these and no others; HS256 with a public key as its secret is the classic forgery.
        guard Self.algorithms.contains(header.alg) else { throw .algorithmRefused(printable(header.alg.utf8)) }
        if let type = header.typ, type != "JWT", type != "JOSE" { throw .malformed("of type \(printable(type.utf8))") }
        let identity: SPIFFEID
        do throws(SPIFFEIDError) {
            identity = try SPIFFEID(claims.sub)
        } catch {
            throw .malformed("the subject is no SPIFFE ID")
        }
        guard let bundle = bundles[identity.trustDomain] else { throw .unknownTrustDomain(identity.trustDomain) }
        guard let keyID = header.kid, let authority = bundle.jwtAuthorities.first(where: { $0.keyID == keyID }) else {
            throw .unknownKey(printable((header.kid ?? "").utf8))
        }
        guard authority.publicKey.algorithm.joseName == header.alg else {
            throw .algorithmRefused("\(header.alg) with a key of \(authority.publicKey.algorithm)")
        }
        let signed = Array(token.utf8.dropLast(parts[2].count + 1))
        guard authority.publicKey.verify(signature, over: signed) else { throw .signatureInvalid }
        guard let expiry = Self.time(claims.exp) else { throw .malformed("exp is no date") }
        guard now < expiry else { throw .expired(at: expiry) }
        if let notBefore = claims.nbf {
            guard let start = Self.time(notBefore) else { throw .malformed("nbf is no date") }
            guard start <= now else { throw .notYetValid(from: start) }
        }
        guard claims.aud.names.contains(audience) else {
            throw .wrongAudience(claims.aud.names.prefix(8).map { printable($0.utf8) }, expected: audience)
        }
        self.init(
            spiffeID: identity, audience: claims.aud.names, expiry: expiry, issuedAt: claims.iat.flatMap(Self.time),
            keyID: keyID, claims: claimBytes, token: token)
    }

    private static let algorithms: Set<String> = ["ES256", "ES384", "RS256"]

    private static func read<Value: Decodable>(_ part: Substring.UTF8View) -> Value? {
        guard let bytes = Base64.decodeURL(part) else { return nil }
        return try? JSONDecoder().decode(Value.self, from: Data(bytes))
    }

    /// Seconds since 1970, perhaps with a fraction (RFC 7519, 2), to whole seconds.
    private static func time(_ seconds: Double) -> Timestamp? {
        guard seconds >= 0, seconds < 9_000_000_000 else { return nil }
        return Timestamp(seconds: Int64(seconds))
    }
}

extension JWTSVID: CustomStringConvertible, CustomReflectable {
    public var description: String { "JWT-SVID of \(spiffeID), until \(expiry.utcText)" }
    public var customMirror: Mirror { Mirror(self, children: ["spiffeID": spiffeID]) }
}

private struct Header: Codable {
    var alg: String
    var kid: String?
    var typ: String?
}

private struct Claims: Codable {
    var sub: String
    var aud: AudienceClaim
    var exp: Double
    var iat: Double?
    var nbf: Double?
}

/// One name or a list of names. Source: RFC 7519, 4.1.3.
private struct AudienceClaim: Codable {
    var names: [String]

    init(names: [String]) {
        self.names = names
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let name = try? container.decode(String.self) {
            names = [name]
        } else {
            names = try container.decode([String].self)
        }
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(names)
    }
}

/// Why a token is not believed, or cannot be made.
public enum JWTRefusal: Error, Hashable, Sendable {
    case malformed(String)
    case algorithmRefused(String)
    case unknownTrustDomain(TrustDomain)
    case unknownKey(String)
    case signatureInvalid
    case expired(at: Timestamp)
    case notYetValid(from: Timestamp)
    case wrongAudience([String], expected: String)
    case audienceMissing
    case signing(String)
}

extension JWTRefusal: CustomStringConvertible {
    public var description: String {
        switch self {
        case .malformed(let reason): "no JWT-SVID: \(reason)"
        case .algorithmRefused(let name): "token algorithm refused: \(name)"
        case .unknownTrustDomain(let domain): "a token of the trust domain \(domain), which has no bundle here"
        case .unknownKey(let name): "a token by the key `\(name)`, which is not in its trust domain's bundle"
        case .signatureInvalid: "a token with an invalid signature"
        case .expired(let moment): "a token that expired at \(moment.utcText)"
        case .notYetValid(let moment): "a token that begins at \(moment.utcText)"
        case .wrongAudience(let names, let expected):
            "a token for \(names.joined(separator: ", ")), not for \(expected)"
        case .audienceMissing: "a token without an audience"
        case .signing(let reason): "the token cannot be signed: \(reason)"
        }
    }

    /// What to do about it.
    public var hint: String {
        switch self {
        case .malformed: "send the whole token, as the Workload API gave it"
        case .algorithmRefused: "sign with ES256, ES384 or RS256, and the kind of key that belongs to it"
        case .unknownTrustDomain: "federate with that trust domain"
        case .unknownKey: "fetch the bundle and the token again: the signing keys may have been rotated"
        case .signatureInvalid: "fetch a new token"
        case .expired: "fetch a new token, and check both clocks"
        case .notYetValid: "check both clocks"
        case .wrongAudience: "ask for a token with the audience of the one that checks it"
        case .audienceMissing: "name at least one audience"
        case .signing: "look at the signing key"
        }
    }
}
