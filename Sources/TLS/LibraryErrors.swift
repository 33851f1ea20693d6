import COpenSSL

/// The oldest error in this thread's libcrypto queue, which is the cause of the others, in words.
func libraryReason() -> String {
    reason(of: ERR_peek_error())
}

private func reason(of code: UInt) -> String {
    guard code != 0 else { return "no reason given" }
    guard let text = ERR_reason_error_string(code) else { return "error \(String(code, radix: 16))" }
    return String(cString: text)
}

private func alertName(_ code: Int32) -> String {
    // RFC 8446, 6 and RFC 7301, 3.2; libssl 3.0 has no words for these.
    switch code {
    case SSL_AD_MISSING_EXTENSION: "missing extension"
    case SSL_AD_CERTIFICATE_REQUIRED: "certificate required"
    case SSL_AD_NO_APPLICATION_PROTOCOL: "no application protocol"
    default: String(cString: SSL_alert_desc_string_long(code))
    }
}

extension TLSError {
    /// What the error queue says after a failed call on a connection.
    init(afterFailureOf operation: String, settings: TLSConfiguration) {
        let code = ERR_peek_error()
        let reasonCode = ERR_GET_REASON(code)
        guard code != 0, ERR_GET_LIB(code) == ERR_LIB_SSL else {
            self = .libraryFailure(operation: operation, reason: reason(of: code))
            return
        }
        if reasonCode >= SSL_AD_REASON_OFFSET, reasonCode < SSL_AD_REASON_OFFSET + 256 {
            let alert = reasonCode - SSL_AD_REASON_OFFSET
            self = .peerAlert(name: alertName(alert), code: UInt8(alert))
            return
        }
        switch reasonCode {
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_VERSION_TOO_LOW, SSL_R_VERSION_TOO_HIGH, SSL_R_WRONG_SSL_VERSION,
            SSL_R_UNKNOWN_PROTOCOL, SSL_R_NO_PROTOCOLS_AVAILABLE:
            self = .versionRefused(minimum: settings.minimumVersion, maximum: settings.maximumVersion)
        case SSL_R_NO_SHARED_CIPHER, SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, SSL_R_NO_SUITABLE_KEY_SHARE,
            SSL_R_NO_SHARED_GROUPS, SSL_R_NO_SUITABLE_GROUPS:
            self = .noSharedCipher(reason: reason(of: code))
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
            self = .peerCertificateMissing
        case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
            self = .recordCorrupt
        case SSL_R_RECORD_TOO_SMALL:
            // libssl's own bound on empty records on end, MAX_EMPTY_RECORDS.
            self = .limitExceeded(.recordsWithoutPayload, allowed: 32)
        default:
            self = .protocolViolation(reason: reason(of: code))
        }
    }
}

extension TLSError.CertificateProblem {
    /// X509_V_ERR_… after X509_verify_cert.
    init(verification code: Int32) {
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
}
