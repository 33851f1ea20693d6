import COpenSSL

/// The smallest certificate there is: no names, no key that libcrypto knows, no extensions.
private let smallestCertificate: [UInt8] = [
    0x30, 0x40,  // Certificate
    0x30, 0x36,  // TBSCertificate, version 1
    0x02, 0x01, 0x01,  // serial number
    0x30, 0x03, 0x06, 0x01, 0x00,  // signature algorithm 0.0
    0x30, 0x00,  // issuer
    0x30, 0x1E,  // validity: all of 1970
    0x17, 0x0D, 0x37, 0x30, 0x30, 0x31, 0x30, 0x31, 0x30, 0x30, 0x30, 0x30, 0x30, 0x30, 0x5A,
    0x17, 0x0D, 0x37, 0x30, 0x31, 0x32, 0x33, 0x31, 0x30, 0x30, 0x30, 0x30, 0x30, 0x30, 0x5A,
    0x30, 0x00,  // subject
    0x30, 0x08, 0x30, 0x03, 0x06, 0x01, 0x00, 0x03, 0x01, 0x00,  // public key of algorithm 0.0: no bits
    0x30, 0x03, 0x06, 0x01, 0x00,  // signature algorithm 0.0
    0x03, 0x01, 0x00,  // signature: no bits
]

/// Empties the peer certificates that an established connection holds on to. libssl keeps them parsed, 4
/// to 5 kB each beyond their DER, for renegotiation and for new tickets; a server here does neither after
/// the handshake. There is no call to drop them, but libcrypto decodes into an existing X509.
///
/// Only for certificates that came over this connection and are in no session that others use.
func emptyPeerCertificates(of ssl: OpaquePointer) {
    if let leaf = SSL_get0_peer_certificate(ssl) { empty(leaf) }
    guard let chain = SSL_get_peer_cert_chain(ssl) else { return }
    for index in 0..<max(0, martinet_x509_count(chain)) {
        if let certificate = martinet_x509_at(chain, index) { empty(certificate) }
    }
}

private func empty(_ certificate: OpaquePointer) {
    // d2i_X509 gives up one reference if it fails: let it be this one, not the session's.
    guard X509_up_ref(certificate) == 1 else { return }
    var target: OpaquePointer? = certificate
    let isDone = smallestCertificate.withUnsafeBufferPointer { bytes in
        var cursor = bytes.baseAddress
        return d2i_X509(&target, &cursor, bytes.count) != nil
    }
    if isDone { X509_free(certificate) }
    ERR_clear_error()
}
