import Documents
import Forwarding
import TLS

/// Whom to believe, and what their certificates must say: a validation context with what its files hold.
public struct TrustMaterial: Sendable {
    var validation: TLSValidation
    /// Of `trusted_ca`, or of the machine.
    var anchors: TrustAnchors?
    var trustDomains: [String: TrustAnchors]?
    var revocations: RevocationLists?

    /// Roots of the machine, where a context asks for them. Source: Debian, ca-certificates.
    static let systemRoots = GivenBytes.file("/etc/ssl/certs/ca-certificates.crt")

    /// Reads the files that a context names.
    /// - Parameter roots: reads anchors; the same bytes may be the same object.
    /// - Throws: with the path of the field.
    init(
        _ validation: TLSValidation, roots: ([UInt8]) throws(TLSError) -> TrustAnchors
    ) throws(ConfigurationError) {
        self.validation = validation
        func made<Made>(
            _ path: String, _ given: GivenBytes, _ body: ([UInt8]) throws(TLSError) -> Made
        ) throws(ConfigurationError) -> Made {
            let bytes: [UInt8]
            do throws(ConfigurationError) { bytes = try GivenFiles.read(given) } catch { throw error.under(path) }
            do throws(TLSError) { return try body(bytes) } catch { throw .invalid(path: path, message: "\(error)") }
        }
        if let given = validation.roots {
            anchors = try made("trusted_ca", given, roots)
        } else if validation.usesSystemRoots {
            anchors = try made("system_root_certs", Self.systemRoots, roots)
        }
        if let domains = validation.trustDomains {
            var table: [String: TrustAnchors] = [:]
            for (index, domain) in domains.enumerated() {
                let path = "custom_validator_config.typed_config.trust_domains[\(index)]"
                guard table[domain.name] == nil else {
                    throw .invalid(path: path + ".name", message: "`\(domain.name)` is there twice")
                }
                table[domain.name] = try made(path + ".trust_bundle", domain.bundle, roots)
            }
            trustDomains = table
        }
        if let given = validation.revocations {
            revocations = try made("crl", given) { (bytes) throws(TLSError) in try RevocationLists(pem: bytes) }
        }
    }

    /// This one where the other, which a secret brings, says nothing.
    func merged(with told: TrustMaterial) -> TrustMaterial {
        var merged = self
        merged.validation = validation.merged(with: told.validation)
        // Roots that a context names come before those of the machine, wherever each is said.
        let isOwn = told.anchors == nil || (told.validation.roots == nil && validation.roots != nil)
        merged.anchors = isOwn ? anchors : told.anchors
        merged.trustDomains = told.trustDomains ?? trustDomains
        merged.revocations = told.revocations ?? revocations
        return merged
    }

    /// Puts into settings whom to believe, and who is welcome.
    func apply(to configuration: inout TLSConfiguration) throws(TLSMaking.Problem) {
        if validation.acceptsUntrusted {
            configuration.acceptedPeers = .anybody
            return
        }
        configuration.trustAnchors = anchors
        configuration.trustDomains = trustDomains
        configuration.revocations = revocations
        configuration.checksLeafRevocationOnly = validation.checksLeafRevocationOnly
        configuration.pins = validation.pins
        if let deepest = validation.deepest { configuration.limits.intermediates = Int(deepest) - 1 }
        let hasAuthorities = anchors != nil || trustDomains != nil
        guard hasAuthorities || !configuration.pins.isEmpty else {
            throw TLSMaking.Problem(description: "nothing says whom to believe")
        }
        guard hasAuthorities || (validation.names.isEmpty && revocations == nil) else {
            throw TLSMaking.Problem(description: "names or revocations to check, and no roots that vouch for them")
        }
        let names = validation.names
        configuration.acceptedPeers = names.isEmpty ? .anyTrusted : .named(names.map(TLSMaking.peerName))
    }
}

extension TLSValidation {
    /// What cannot be checked, or contradicts itself; the same whether a resource or a secret says it.
    func check() throws(ConfigurationError) {
        if allowsExpired { throw .unsupported(path: "allow_expired_certificate", message: "expired ones are refused") }
        if let deepest, !(1...100).contains(deepest) {
            throw .invalid(path: "max_verify_depth", message: "\(deepest) where 1 to 100 is possible")
        }
        for (index, hash) in hashes.enumerated() where TLSPin(hexadecimal: hash) == nil {
            throw .invalid(path: "verify_certificate_hash[\(index)]", message: "it is no SHA-256 in hexadecimal")
        }
        for (index, hash) in keyHashes.enumerated() where TLSPin(keyBase64: hash) == nil {
            throw .invalid(path: "verify_certificate_spki[\(index)]", message: "it is no SHA-256 in Base64")
        }
        if let trustDomains, trustDomains.isEmpty {
            throw .invalid(path: "custom_validator_config", message: "it names no trust domain")
        }
    }

    /// Those that can be read, which is all of what ``check()`` has passed.
    var pins: [TLSPin] {
        hashes.compactMap { TLSPin(hexadecimal: $0) } + keyHashes.compactMap { TLSPin(keyBase64: $0) }
    }
}

extension TLSPin {
    /// - Parameter hexadecimal: SHA-256 of a certificate, without colons.
    fileprivate init?(hexadecimal text: String) {
        let digits = text.utf8.compactMap { Character(UnicodeScalar($0)).hexDigitValue }
        guard text.utf8.count == 64, digits.count == 64 else { return nil }
        self = .certificate(stride(from: 0, to: 64, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) })
    }

    fileprivate init?(keyBase64 text: String) {
        guard let digest = Documents.bytes(base64: text), digest.count == 32 else { return nil }
        self = .key(digest)
    }
}
