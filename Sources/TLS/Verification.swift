import COpenSSL
import Certificates
import Glibc

/// libssl asks here whether it may believe the peer's chain.
func verifyPeer(_ store: OpaquePointer?, _: UnsafeMutableRawPointer?) -> Int32 {
    let ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx())
    guard let store, let engine = engine(of: ssl.map { OpaquePointer($0) }) else { return 0 }
    if let refusal = refusal(of: store, by: engine.active.configuration, names: engine.names) {
        engine.refusal = refusal
        return 0
    }
    return 1
}

private func refusal(
    of store: OpaquePointer, by configuration: TLSConfiguration, names: TLSServerNames
) -> TLSError? {
    if let refusal = chainRefusal(of: store, by: configuration) { return refusal }
    var expected: [[PeerName]] = []
    if !names.requiredAlone || names.required == nil, let listed = configuration.expectedNames {
        expected.append(listed)
    }
    if let required = names.required { expected.append([.host(required)]) }
    guard !expected.isEmpty || !configuration.pins.isEmpty else { return nil }
    guard let leaf = X509_STORE_CTX_get0_cert(store), let shown = try? Certificate(leaf) else {
        X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION)
        return .protocolViolation(reason: "the peer's certificate is unreadable")
    }
    if configuration.acceptedPeers != .anybody, !configuration.pins.isEmpty,
        !configuration.pins.contains(where: { $0.matches(leaf) })
    {
        X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION)
        return .certificateNotPinned(subject: shown.subject)
    }
    for list in expected where !list.contains(where: { matches(leaf, shown, $0) }) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH)
        return .peerNameRefused(presented: shown.names.all, expected: list.map { "\($0)" })
    }
    return nil
}

/// Why nobody vouches for the peer's certificate.
private func chainRefusal(of store: OpaquePointer, by configuration: TLSConfiguration) -> TLSError? {
    let isByPin = configuration.trustAnchors == nil && configuration.trustDomains == nil
    if configuration.acceptedPeers == .anybody || isByPin {
        X509_STORE_CTX_set_error(store, X509_V_OK)
        return nil
    }
    // An anchor is believed as it stands, self-signed or not (RFC 5280, 6.1.1 d).
    X509_STORE_CTX_set_flags(store, UInt(X509_V_FLAG_PARTIAL_CHAIN))
    if let time = configuration.verificationTime {
        X509_STORE_CTX_set_time(store, 0, time_t(time.seconds))
    }
    if configuration.revocations != nil {
        let wanted = X509_V_FLAG_CRL_CHECK | (configuration.checksLeafRevocationOnly ? 0 : X509_V_FLAG_CRL_CHECK_ALL)
        X509_STORE_CTX_set_flags(store, UInt(wanted))
    }
    guard let domains = configuration.trustDomains else {
        return X509_verify_cert(store) == 1 ? nil : chainRefusal(store, configuration.trustAnchors)
    }
    let anchors = anchors(for: store, among: domains)
    // Without a domain, or with one that nobody knows, there is nobody to believe.
    guard let stack = martinet_x509_stack() else {
        X509_STORE_CTX_set_error(store, X509_V_ERR_OUT_OF_MEM)
        return .libraryFailure(operation: "sk_X509_new", reason: libraryReason())
    }
    defer { martinet_x509_stack_free(stack) }
    for anchor in anchors?.library ?? [] { _ = martinet_x509_push(stack, anchor.pointer) }
    X509_STORE_CTX_set0_trusted_stack(store, stack)
    return X509_verify_cert(store) == 1 ? nil : chainRefusal(store, anchors)
}

/// The anchors of the trust domain that the peer says it is of. A certificate of two URIs is of none (X509-SVID, 2).
private func anchors(for store: OpaquePointer, among domains: [String: TrustAnchors]) -> TrustAnchors? {
    guard let leaf = X509_STORE_CTX_get0_cert(store), let shown = try? Certificate(leaf), shown.uris.count == 1,
        let uri = shown.uris.first, uri.hasPrefix("spiffe://")
    else { return nil }
    let rest = uri.dropFirst("spiffe://".count)
    guard let end = rest.firstIndex(of: "/") else { return nil }
    return domains[String(rest[..<end])]
}

private func chainRefusal(_ store: OpaquePointer, _ trusted: TrustAnchors?) -> TLSError {
    let code = X509_STORE_CTX_get_error(store)
    if code == X509_V_OK { X509_STORE_CTX_set_error(store, X509_V_ERR_UNSPECIFIED) }
    let problem = CertificateProblem(verification: code)
    guard let certificate = X509_STORE_CTX_get_current_cert(store) ?? X509_STORE_CTX_get0_cert(store),
        let shown = try? Certificate(certificate)
    else {
        return .protocolViolation(reason: String(cString: X509_verify_cert_error_string(Int(code))))
    }
    let anchors = (trusted?.certificates ?? []).prefix(4).map(\.subject)
    return .certificateRefused(problem, certificate: shown, anchors: anchors)
}

/// Whether `certificate`, which says `shown`, carries `name`.
private func matches(_ certificate: OpaquePointer, _ shown: Certificate, _ name: PeerName) -> Bool {
    if case .passing(let test) = name { return test.passes(shown.names) }
    // What is no name, a request may have asked for: a leading dot would stand for every name below.
    guard name.isWellFormed else { return false }
    guard case .host(let host) = name else { return name.matches(uris: shown.uris) }
    if isAddress(host) { return X509_check_ip_asc(certificate, host, 0) == 1 }
    let flags = UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS) | UInt32(X509_CHECK_FLAG_NEVER_CHECK_SUBJECT)
    return X509_check_host(certificate, host, host.utf8.count, flags, nil) == 1
}
