import COpenSSL
import Certificates
import Glibc

/// libssl asks here whether it may believe the peer's chain.
func verifyPeer(_ store: OpaquePointer?, _: UnsafeMutableRawPointer?) -> Int32 {
    let ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx())
    guard let store, let engine = engine(of: ssl.map { OpaquePointer($0) }) else { return 0 }
    if let refusal = refusal(of: store, by: engine.active.configuration) {
        engine.refusal = refusal
        return 0
    }
    return 1
}

private func refusal(of store: OpaquePointer, by configuration: TLSConfiguration) -> TLSError? {
    if configuration.acceptedPeers == .anybody {
        X509_STORE_CTX_set_error(store, X509_V_OK)
        return nil
    }
    // An anchor is believed as it stands, self-signed or not (RFC 5280, 6.1.1 d).
    X509_STORE_CTX_set_flags(store, UInt(X509_V_FLAG_PARTIAL_CHAIN))
    if let time = configuration.verificationTime {
        X509_STORE_CTX_set_time(store, 0, time_t(time.seconds))
    }
    guard X509_verify_cert(store) == 1 else { return chainRefusal(store, configuration) }
    guard let expected = configuration.expectedNames, let leaf = X509_STORE_CTX_get0_cert(store) else { return nil }
    guard let shown = try? Certificate(leaf) else {
        X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION)
        return .protocolViolation(reason: "the peer's certificate is unreadable")
    }
    if expected.contains(where: { matches(leaf, shown, $0) }) { return nil }
    X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH)
    return .peerNameRefused(presented: shown.names.all, expected: expected.map { "\($0)" })
}

private func chainRefusal(_ store: OpaquePointer, _ configuration: TLSConfiguration) -> TLSError {
    let code = X509_STORE_CTX_get_error(store)
    if code == X509_V_OK { X509_STORE_CTX_set_error(store, X509_V_ERR_UNSPECIFIED) }
    let problem = CertificateProblem(verification: code)
    guard let certificate = X509_STORE_CTX_get_current_cert(store) ?? X509_STORE_CTX_get0_cert(store),
        let shown = try? Certificate(certificate)
    else {
        return .protocolViolation(reason: String(cString: X509_verify_cert_error_string(Int(code))))
    }
    let anchors = (configuration.trustAnchors?.certificates ?? []).prefix(4).map(\.subject)
    return .certificateRefused(problem, certificate: shown, anchors: anchors)
}

/// Whether `certificate`, which says `shown`, carries `name`.
private func matches(_ certificate: OpaquePointer, _ shown: Certificate, _ name: PeerName) -> Bool {
    if case .passing(let test) = name { return test.passes(shown.names) }
    guard case .host(let host) = name else { return name.matches(uris: shown.uris) }
    if isAddress(host) { return X509_check_ip_asc(certificate, host, 0) == 1 }
    let flags = UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS) | UInt32(X509_CHECK_FLAG_NEVER_CHECK_SUBJECT)
    return X509_check_host(certificate, host, host.utf8.count, flags, nil) == 1
}
