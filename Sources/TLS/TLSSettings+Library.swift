import COpenSSL
import Certificates

extension TLSConfiguration {
    /// Puts these settings, which have no problem, into a new SSL_CTX.
    /// - Parameter scope: the server name that they are for; sessions are not resumed across scopes.
    func apply(to context: OpaquePointer, scope: String) throws(TLSError) {
        martinet_ssl_ctx_harden(context)
        try check("the protocol versions") {
            martinet_ssl_ctx_set_versions(context, minimumVersion.code, maximumVersion.code)
        }
        let suites = (cipherSuites.isEmpty ? Self.offeredCipherSuites : cipherSuites).joined(separator: ":")
        try check("the cipher list") { SSL_CTX_set_cipher_list(context, suites) }
        let exchanges = (groups.isEmpty ? Self.offeredGroups : groups).joined(separator: ":")
        try check("the groups") { martinet_ssl_ctx_set_groups(context, exchanges) }
        martinet_ssl_ctx_set_max_chain_bytes(context, limits.certificateChainBytes)
        SSL_CTX_set_verify_depth(context, Int32(clamping: limits.intermediates))
        SSL_CTX_set_msg_callback(context, noteMessage)
        if let identity { try use(identity, in: context) }
        try trust(trustAnchors, in: context)
        switch role {
        case .server: try applyServer(to: context, scope: scope)
        case .client: try applyClient(to: context)
        }
    }

    private func use(_ identity: TLSIdentity, in context: OpaquePointer) throws(TLSError) {
        // libssl refuses what its security level forbids, such as RSA under 2048 bits.
        func accepted(_ call: () -> Int32) throws(TLSError) {
            ERR_clear_error()
            guard call() == 1 else { throw .settingInvalid(.identityRefused(reason: libraryReason())) }
        }
        try accepted { SSL_CTX_use_certificate(context, identity.library[0].pointer) }
        try accepted { SSL_CTX_use_PrivateKey(context, identity.key.pointer) }
        for intermediate in identity.library.dropFirst() {
            try accepted { martinet_ssl_ctx_add_chain_certificate(context, intermediate.pointer) }
        }
    }

    private func trust(_ anchors: TrustAnchors?, in context: OpaquePointer) throws(TLSError) {
        SSL_CTX_set_cert_verify_callback(context, verifyPeer, nil)
        guard let store = SSL_CTX_get_cert_store(context) else { return }
        for anchor in anchors?.library ?? [] {
            try check("a trust anchor") { X509_STORE_add_cert(store, anchor.pointer) }
        }
        for list in revocations?.pointers ?? [] {
            try check("a list of revoked certificates") { X509_STORE_add_crl(store, list) }
        }
    }

    private func applyServer(to context: OpaquePointer, scope: String) throws(TLSError) {
        SSL_CTX_set_verify(context, verificationMode, nil)
        SSL_CTX_set_client_hello_cb(context, receiveClientHello, nil)
        SSL_CTX_set_alpn_select_cb(context, selectApplicationProtocol, nil)
        martinet_ssl_ctx_keep_no_sessions(context)
        if prefersClientCiphers { martinet_ssl_ctx_prefer_client_ciphers(context) }
        if clientAuthentication != .none, let trustAnchors {
            for anchor in trustAnchors.library {
                try check("a trust anchor's name") { SSL_CTX_add_client_CA(context, anchor.pointer) }
            }
        }
        let sessionScope = sessionScope(scope)
        try check("the session scope") {
            SSL_CTX_set_session_id_context(context, sessionScope, UInt32(sessionScope.count))
        }
        guard ticketKeys != nil else {
            martinet_ssl_ctx_refuse_tickets(context)
            SSL_CTX_set_num_tickets(context, 0)
            return
        }
        SSL_CTX_set_timeout(context, Int(clamping: sessionLifetime.components.seconds))
        // One ticket per handshake: it is renewed at each resumption.
        SSL_CTX_set_num_tickets(context, 1)
        SSL_CTX_set_tlsext_ticket_key_evp_cb(context, sealTicket)
        SSL_CTX_set_session_ticket_cb(context, nil, judgeTicket, nil)
    }

    private func applyClient(to context: OpaquePointer) throws(TLSError) {
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nil)
        if !applicationProtocols.isEmpty {
            let list = applicationProtocols.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
            // This function alone returns 0 for success.
            try check("the application protocols") {
                SSL_CTX_set_alpn_protos(context, list, UInt32(list.count)) == 0 ? 1 : 0
            }
        }
        if storedSessions > 0 {
            martinet_ssl_ctx_hand_out_client_sessions(context)
            SSL_CTX_sess_set_new_cb(context, keepSession)
        } else {
            martinet_ssl_ctx_keep_no_sessions(context)
            martinet_ssl_ctx_refuse_tickets(context)
        }
    }

    /// SSL_VERIFY_… for a server.
    var verificationMode: Int32 {
        switch clientAuthentication {
        case .none: SSL_VERIFY_NONE
        case .optional: SSL_VERIFY_PEER
        case .required: SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        }
    }

    /// A digest of all that a full handshake would have checked about the client. A ticket from other
    /// rules leads to a full handshake; one from before a certificate swap does not.
    private func sessionScope(_ scope: String) -> [UInt8] {
        var rules: [UInt8] = []
        func add(_ bytes: [UInt8]) {
            withUnsafeBytes(of: UInt64(bytes.count).littleEndian) { rules += $0 }
            rules += bytes
        }
        add(Array(scope.utf8))
        add(Array("\(clientAuthentication) \(acceptedPeers == .anybody)".utf8))
        for name in (expectedNames ?? []).map({ "\($0)" }).sorted() { add(Array(name.utf8)) }
        for pin in pins.map({ "\($0)" }).sorted() { add(Array(pin.utf8)) }
        add(revocations?.pem ?? [])
        add(Array("\(checksLeafRevocationOnly)".utf8))
        for (domain, anchors) in (trustDomains ?? [:]).sorted(by: { $0.key < $1.key }) {
            add(Array(domain.utf8))
            for anchor in anchors.certificates { add(anchor.der) }
        }
        for der in (trustAnchors?.certificates ?? []).map(\.der).sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            add(der)
        }
        var digest = [UInt8](repeating: 0, count: 32)
        EVP_Digest(rules, rules.count, &digest, nil, EVP_sha256(), nil)
        return digest
    }

    private func check(_ subject: String, _ call: () -> Int32) throws(TLSError) {
        ERR_clear_error()
        guard call() == 1 else {
            throw .libraryFailure(operation: "setting \(subject)", reason: libraryReason())
        }
    }
}
