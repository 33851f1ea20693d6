import FoundationEssentials
import Identity

/// A key that signs JWT-SVIDs, by the name that tokens call it.
public struct JWTAuthority: Hashable, Sendable {
    public let keyID: String
    public let publicKey: PublicKey

    public init(keyID: String, publicKey: PublicKey) {
        self.keyID = keyID
        self.publicKey = publicKey
    }
}

/// What a trust domain's peers need to believe its workloads. Source: SPIFFE Trust Domain and Bundle, 4.
public struct SPIFFEBundle: Hashable, Sendable {
    /// The largest document that is read, in bytes, and the most keys in it.
    public static let maximumBytes = 4 << 20
    public static let maximumKeys = 1000

    public var trustDomain: TrustDomain
    public var x509Authorities: [Certificate]
    public var jwtAuthorities: [JWTAuthority]
    /// Grows with each change.
    public var sequence: UInt64?
    /// How often to look again, in seconds.
    public var refreshHint: Duration?

    public init(
        trustDomain: TrustDomain, x509Authorities: [Certificate] = [], jwtAuthorities: [JWTAuthority] = [],
        sequence: UInt64? = nil, refreshHint: Duration? = nil
    ) {
        self.trustDomain = trustDomain
        self.x509Authorities = x509Authorities
        self.jwtAuthorities = jwtAuthorities
        self.sequence = sequence
        self.refreshHint = refreshHint
    }

    /// Reads a bundle document, or a bare JWKS. Keys of other uses and kinds are skipped, as the specification asks;
    /// a key of ours that cannot be read is an error: a bundle with a part missing breaks handshakes later.
    /// - Throws: ``CertificateError/bundleUnreadable(reason:)``.
    public init(json: some Collection<UInt8>, trustDomain: TrustDomain) throws(CertificateError) {
        guard json.count <= Self.maximumBytes else {
            throw .bundleUnreadable(reason: "\(json.count) bytes, and \(Self.maximumBytes) are allowed")
        }
        let document: BundleDocument
        do {
            document = try JSONDecoder().decode(BundleDocument.self, from: Data(json))
        } catch {
            throw .bundleUnreadable(reason: "no JSON object with a list of keys")
        }
        guard document.keys.count <= Self.maximumKeys else {
            throw .bundleUnreadable(reason: "\(document.keys.count) keys, and \(Self.maximumKeys) are allowed")
        }
        self.init(
            trustDomain: trustDomain, sequence: document.spiffe_sequence,
            refreshHint: document.spiffe_refresh_hint.map { .seconds(min(max(0, $0), 1 << 32)) })
        for (position, key) in document.keys.enumerated() {
            do throws(CertificateError) {
                try add(key)
            } catch {
                throw .bundleUnreadable(reason: "key \(position + 1): \(error)")
            }
        }
    }

    private mutating func add(_ key: JSONWebKey) throws(CertificateError) {
        switch key.use {
        case "x509-svid":
            // Exactly one: the authority itself (4.2.1).
            guard let chain = key.x5c, chain.count == 1, let der = Base64.decode(chain[0].utf8) else {
                throw .certificateMissing(source: "x5c, which must hold exactly one")
            }
            let certificate = try Certificate(der: der)
            guard certificate.isAuthority else { throw .notAnAuthority(certificate: certificate.shortName) }
            x509Authorities.append(certificate)
        case "jwt-svid":
            guard let kid = key.kid, !kid.isEmpty else { throw .keyInvalid(reason: "a jwt-svid key without kid") }
            guard !jwtAuthorities.contains(where: { $0.keyID == kid }) else {
                throw .keyInvalid(reason: "two keys of the name \(printable(kid.utf8))")
            }
            jwtAuthorities.append(JWTAuthority(keyID: kid, publicKey: try key.publicKey()))
        default: break
        }
    }

    /// The bundle document, with its members in alphabetical order.
    /// - Throws: ``CertificateError/keyUnsupported(_:)`` for an authority with a key that a JWK cannot hold.
    public func json() throws(CertificateError) -> [UInt8] {
        var keys: [JSONWebKey] = []
        for authority in x509Authorities {
            keys.append(JSONWebKey(try authority.publicKey, use: "x509-svid", chain: [authority]))
        }
        keys += jwtAuthorities.map { JSONWebKey($0.publicKey, use: "jwt-svid", kid: $0.keyID) }
        return try Self.encode(
            BundleDocument(
                keys: keys, spiffe_sequence: sequence, spiffe_refresh_hint: refreshHint?.components.seconds))
    }

    /// The JWT authorities alone, as a JWKS (RFC 7517, 5): what the Workload API's FetchJWTBundles hands out.
    public func jwks() throws(CertificateError) -> [UInt8] {
        try Self.encode(
            BundleDocument(
                keys: jwtAuthorities.map { JSONWebKey($0.publicKey, use: "jwt-svid", kid: $0.keyID) },
                spiffe_sequence: nil, spiffe_refresh_hint: nil))
    }

    private static func encode(_ document: BundleDocument) throws(CertificateError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            return Array(try encoder.encode(document))
        } catch {
            throw .libraryFailure(operation: "writing JSON", reason: "\(error)")
        }
    }
}

// swift-format-ignore: AlwaysUseLowerCamelCase
private struct BundleDocument: Codable {
    var keys: [JSONWebKey]
    var spiffe_sequence: UInt64?
    var spiffe_refresh_hint: Int64?
}
