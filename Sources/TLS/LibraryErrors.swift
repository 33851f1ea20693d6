import COpenSSL
import Certificates

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
            self = .libraryFailure(operation: operation, reason: libraryReason(of: code))
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
            self = .noSharedCipher(reason: libraryReason(of: code))
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
            self = .peerCertificateMissing
        case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
            self = .recordCorrupt
        case SSL_R_RECORD_TOO_SMALL:
            // libssl's own bound on empty records on end, MAX_EMPTY_RECORDS.
            self = .limitExceeded(.recordsWithoutPayload, allowed: 32)
        default:
            self = .protocolViolation(reason: libraryReason(of: code))
        }
    }
}
