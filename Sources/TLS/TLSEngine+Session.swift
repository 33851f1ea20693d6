import COpenSSL
import Certificates

/// What was agreed with the peer.
extension TLSEngine {
    /// The application protocol (ALPN); nil before it is agreed, or without one.
    public var alpn: String? {
        var name: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        SSL_get0_alpn_selected(library, &name, &count)
        guard let name, count > 0 else { return nil }
        return String(decoding: UnsafeBufferPointer(start: name, count: Int(count)), as: UTF8.self)
    }

    /// The peer's certificates as it sent them, DER, leaf first; empty if it showed none. They have been
    /// verified, but those after the leaf need not all be part of the verified chain. On a resumed
    /// connection a server has the leaf only: that is what a ticket holds.
    public var peerCertificates: [[UInt8]] {
        keptCertificates ?? sentCertificates
    }

    /// What libssl holds of the peer's certificates.
    var sentCertificates: [[UInt8]] {
        guard let leaf = SSL_get0_peer_certificate(library) else { return [] }
        guard let chain = SSL_get_peer_cert_chain(library) else { return [derBytes(of: leaf)] }
        var certificates: [[UInt8]] = []
        for index in 0..<max(0, martinet_x509_count(chain)) {
            if let certificate = martinet_x509_at(chain, index) { certificates.append(derBytes(of: certificate)) }
        }
        // A client's chain begins with the leaf, a server's does not.
        return settings.configuration.role == .client ? certificates : [derBytes(of: leaf)] + certificates
    }

    /// Whether the handshake was shortened by a session ticket; such a connection stands for the
    /// verification of an earlier one.
    public var isResumed: Bool {
        SSL_session_reused(library) == 1
    }

    /// Nil before the handshake is over.
    public var version: TLSVersion? {
        guard isEstablished else { return nil }
        return SSL_version(library) == TLS1_3_VERSION ? .tls13 : .tls12
    }

    /// The cipher suite's standard name, such as `TLS_AES_256_GCM_SHA384`; nil before the handshake is over.
    public var cipher: String? {
        guard isEstablished, let cipher = SSL_get_current_cipher(library) else { return nil }
        return SSL_CIPHER_standard_name(cipher).map { String(cString: $0) }
    }

    /// The cipher suite as OpenSSL names it, such as `ECDHE-RSA-AES128-GCM-SHA256`, and its number in IANA's registry;
    /// nil before the handshake is over.
    public var cipherSuite: (name: String, number: UInt16)? {
        guard isEstablished, let cipher = SSL_get_current_cipher(library), let name = SSL_CIPHER_get_name(cipher) else {
            return nil
        }
        return (String(cString: name), SSL_CIPHER_get_protocol_id(cipher))
    }
}
