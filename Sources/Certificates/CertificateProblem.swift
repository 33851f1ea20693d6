import COpenSSL

/// Why a certificate of a chain was refused (RFC 5280, 6).
public enum CertificateProblem: Hashable, Sendable {
    case expired
    case notYetValid
    case unknownIssuer
    case signatureInvalid
    case wrongPurpose
    case notAnAuthority
    case chainTooLong
    case tooWeak
    case other(String)

    /// X509_V_ERR_… after X509_verify_cert.
    package init(verification code: Int32) {
        switch code {
        case X509_V_ERR_CERT_HAS_EXPIRED: self = .expired
        case X509_V_ERR_CERT_NOT_YET_VALID: self = .notYetValid
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
            X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_CERT_UNTRUSTED:
            self = .unknownIssuer
        case X509_V_ERR_CERT_SIGNATURE_FAILURE: self = .signatureInvalid
        case X509_V_ERR_INVALID_PURPOSE: self = .wrongPurpose
        case X509_V_ERR_INVALID_CA: self = .notAnAuthority
        case X509_V_ERR_CERT_CHAIN_TOO_LONG, X509_V_ERR_PATH_LENGTH_EXCEEDED: self = .chainTooLong
        case X509_V_ERR_EE_KEY_TOO_SMALL, X509_V_ERR_CA_KEY_TOO_SMALL, X509_V_ERR_CA_MD_TOO_WEAK: self = .tooWeak
        default: self = .other(String(cString: X509_verify_cert_error_string(Int(code))))
        }
    }

    /// - Parameter anchors: the subjects that are trusted.
    package func describe(_ certificate: Certificate, anchors: [String]) -> String {
        let name = certificate.shortName
        switch self {
        case .expired: return "certificate has expired: \(name), notAfter \(certificate.notAfter.utcText)"
        case .notYetValid: return "certificate is not yet valid: \(name), notBefore \(certificate.notBefore.utcText)"
        case .unknownIssuer:
            let trusted = anchors.isEmpty ? "nobody" : anchors.joined(separator: "; ")
            return "certificate of an unknown issuer: \(name), issued by \(certificate.issuer), trusted: \(trusted)"
        case .signatureInvalid: return "certificate with an invalid signature: \(name), issued by \(certificate.issuer)"
        case .wrongPurpose: return "certificate not meant for this side of TLS: \(name)"
        case .notAnAuthority: return "certificate used as an authority without being one: \(name)"
        case .chainTooLong: return "certificate chain too long at \(name)"
        case .tooWeak: return "certificate with too weak a key or digest: \(name)"
        case .other(let reason): return "certificate refused: \(reason): \(name)"
        }
    }

    /// What to do about it.
    package var hint: String {
        switch self {
        case .expired: "renew it, and check both clocks"
        case .notYetValid: "check both clocks"
        case .unknownIssuer: "add the issuer's root to the trust anchors, or let the peer send its intermediates"
        case .signatureInvalid: "issue it again"
        case .wrongPurpose: "issue it with extended key usage serverAuth and clientAuth"
        case .notAnAuthority: "issue the authority with basicConstraints CA:TRUE"
        case .chainTooLong: "issue it nearer to the root"
        case .tooWeak: "use RSA of 2048 bits or more, ECDSA P-256 or Ed25519, with SHA-256 or better"
        case .other: "issue it again, and see `openssl verify`"
        }
    }
}
