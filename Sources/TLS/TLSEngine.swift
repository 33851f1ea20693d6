import COpenSSL
import Certificates

/// One TLS connection without a socket: ciphertext in, plaintext and ciphertext out. Not for two threads
/// at a time. An idle one keeps no buffer.
///
/// Callbacks get bytes that are valid during the call. `plaintext` may call `send` and `close` of this
/// engine, not `receive`; `output` must not call the engine. When a call throws, what was passed to
/// `output` before (an alert) should still be sent.
public final class TLSEngine {
    /// What the connection was made with; a server's `active` ones are chosen by server name.
    let settings: TLSSettings
    private(set) var active: TLSSettings
    /// Client: which stored sessions may be resumed.
    let sessionKey: String
    /// Client: what this connection asks of its server beside what the settings say.
    let names: TLSServerNames
    /// Why a callback refused the handshake.
    var refusal: TLSError?

    /// The peer's certificates in DER, once libssl has let go of its parsed ones.
    private(set) var keptCertificates: [[UInt8]]?

    private let ssl: OpaquePointer
    private let wire: UnsafeMutablePointer<Wire>
    private var failure: TLSError?
    private var hasReceived = false
    private var isReceiving = false
    private var hasClosed = false
    private var recordsUnderKey: UInt32 = 0

    /// The handshake is over and data may be sent. A TLS 1.3 client gets there before the server has
    /// judged its certificate: a refusal comes as an error of a later `receive`.
    public private(set) var isEstablished = false
    /// The peer sent close_notify: nothing more will be received. Sending is still possible.
    public private(set) var peerClosed = false
    /// Server: the host name that the client asked for, in lower case. Client: the one it was set to.
    public internal(set) var serverName: String?

    /// - Parameter sessionKey: client: resume only sessions that were made under the same key; give it
    ///   the address, where one settings object serves several servers.
    public init(
        _ settings: TLSSettings, sessionKey: String = "", names: TLSServerNames = TLSServerNames()
    ) throws(TLSError) {
        ERR_clear_error()
        guard let method = Wire.method, let bio = BIO_new(method) else {
            throw .libraryFailure(operation: "BIO_new", reason: libraryReason())
        }
        guard let ssl = SSL_new(settings.context) else {
            BIO_free(bio)
            throw .libraryFailure(operation: "SSL_new", reason: libraryReason())
        }
        self.settings = settings
        self.names = names
        self.sessionKey = names == TLSServerNames() ? sessionKey : "\(sessionKey)\n\(names.key)"
        self.ssl = ssl
        active = settings
        wire = .allocate(capacity: 1)
        wire.initialize(to: Wire(limits: settings.configuration.limits))
        BIO_set_data(bio, wire)
        BIO_set_init(bio, 1)
        SSL_set_bio(ssl, bio, bio)
        SSL_set_ex_data(ssl, 0, Unmanaged.passUnretained(self).toOpaque())
        martinet_ssl_set_message_argument(ssl, wire)
        switch settings.configuration.role {
        case .server: SSL_set_accept_state(ssl)
        case .client: prepareClient()
        }
    }

    deinit {
        // Without this libssl takes the connection for broken and marks its session as not resumable.
        SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
        SSL_free(ssl)
        wire.pointee.takePending()?.deallocateFromC()
        wire.deinitialize(count: 1)
        wire.deallocate()
    }

    private func prepareClient() {
        SSL_set_connect_state(ssl)
        serverName = names.sent.map { isHostName($0) ? $0 : nil } ?? settings.configuration.serverName
        if let serverName, !isAddress(serverName) { martinet_ssl_set_server_name(ssl, serverName) }
        if let session = settings.sessions.take(sessionKey),
            peerIsValidForLong(session.pointer, at: settings.configuration.verificationTime)
        {
            SSL_set_session(ssl, session.pointer)
        }
    }

    /// Begins the handshake: a client's first flight; nothing for a server.
    public func start(output: (UnsafeRawBufferPointer) -> Void) throws(TLSError) {
        if let failure { throw failure }
        guard settings.configuration.role == .client else { return }
        try shakeHands(output)
    }

    /// Takes what came from the peer, in pieces of any size; all of it is used up.
    /// - Parameters:
    ///   - plaintext: called with each record's data, at most 16 KiB.
    ///   - output: called with what is to be sent: handshake flights, key updates, alerts.
    public func receive(
        _ ciphertext: UnsafeRawBufferPointer, plaintext: (UnsafeRawBufferPointer) -> Void,
        output: (UnsafeRawBufferPointer) -> Void
    ) throws(TLSError) {
        precondition(!isReceiving, "receive inside a plaintext callback")
        if let failure { throw failure }
        guard !ciphertext.isEmpty, !peerClosed else { return }
        try checkFirstByte(ciphertext)
        isReceiving = true
        wire.pointee.input = ciphertext
        defer {
            isReceiving = false
            wire.pointee.input = UnsafeRawBufferPointer(start: nil, count: 0)
        }
        if !isEstablished { try shakeHands(output) }
        if isEstablished { try readRecords(plaintext, output) }
    }

    /// Encrypts data, in records of 16 KiB and a last shorter one; `output` is called for each.
    /// - Throws: ``TLSError/notEstablished`` and ``TLSError/closed``, which do not end the connection.
    public func send(
        _ plaintext: UnsafeRawBufferPointer, output: (UnsafeRawBufferPointer) -> Void
    ) throws(TLSError) {
        if let failure { throw failure }
        guard isEstablished else { throw .notEstablished }
        guard !hasClosed else { throw .closed }
        var rest = plaintext
        while !rest.isEmpty {
            let count = min(rest.count, recordCapacity)
            updateKeyIfDue()
            ERR_clear_error()
            var written = 0
            let result = SSL_write_ex(ssl, rest.baseAddress, count, &written)
            recordsUnderKey += 1
            wire.pointee.tally.noteSent(count)
            flush(output)
            guard result == 1, written == count else { throw fail("SSL_write") }
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
    }

    /// Sends close_notify once, if the handshake is over. What the peer still sends can be received.
    public func close(output: (UnsafeRawBufferPointer) -> Void) {
        guard isEstablished, !hasClosed, failure == nil else { return }
        hasClosed = true
        ERR_clear_error()
        SSL_shutdown(ssl)
        flush(output)
    }

    /// The byte stream from the peer is over.
    /// - Throws: ``TLSError/truncated(duringHandshake:)`` unless the peer sent close_notify before.
    public func endOfInput() throws(TLSError) {
        if let failure { throw failure }
        if !peerClosed { throw .truncated(duringHandshake: !isEstablished) }
    }

    private func checkFirstByte(_ ciphertext: UnsafeRawBufferPointer) throws(TLSError) {
        guard !hasReceived else { return }
        hasReceived = true
        // Every TLS stream begins with a handshake record, or with an alert that refuses ours.
        guard ciphertext[0] == UInt8(SSL3_RT_HANDSHAKE) || ciphertext[0] == UInt8(SSL3_RT_ALERT) else {
            let error = TLSError.notTLS(firstBytes: "\"\(printable(ciphertext.prefix(16)))\"")
            failure = error
            throw error
        }
    }

    private func shakeHands(_ output: (UnsafeRawBufferPointer) -> Void) throws(TLSError) {
        ERR_clear_error()
        let result = SSL_do_handshake(ssl)
        flush(output)
        guard result == 1 else {
            if SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ { return }
            throw fail("SSL_do_handshake")
        }
        let configuration = active.configuration
        if configuration.requiresApplicationProtocol, alpn == nil {
            let error = TLSError.applicationProtocolMissing(offered: [], supported: configuration.applicationProtocols)
            failure = error
            throw error
        }
        wire.pointee.tally.noteEstablished()
        isEstablished = true
        // A client's session, which it may resume later, shares its certificates with the connection.
        if configuration.role == .server || configuration.storedSessions == 0 {
            keptCertificates = sentCertificates
            emptyPeerCertificates(of: ssl)
        }
    }

    private func readRecords(
        _ plaintext: (UnsafeRawBufferPointer) -> Void, _ output: (UnsafeRawBufferPointer) -> Void
    ) throws(TLSError) {
        let scratch = UnsafeMutableRawPointer.allocate(byteCount: recordCapacity, alignment: 16)
        defer { scratch.deallocate() }
        while failure == nil {
            ERR_clear_error()
            var count = 0
            let result = SSL_read_ex(ssl, scratch, recordCapacity, &count)
            let reason = result == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl, result)
            flush(output)
            switch reason {
            case SSL_ERROR_NONE:
                wire.pointee.tally.noteReceived(count)
                plaintext(UnsafeRawBufferPointer(start: scratch, count: count))
            case SSL_ERROR_WANT_READ: return
            case SSL_ERROR_ZERO_RETURN:
                peerClosed = true
                return
            default: throw fail("SSL_read")
            }
        }
    }

    /// RFC 8446, 5.5: a key must not protect too many records.
    private func updateKeyIfDue() {
        guard recordsUnderKey >= settings.configuration.limits.recordsPerKey else { return }
        recordsUnderKey = 0
        guard SSL_version(ssl) == TLS1_3_VERSION else { return }
        ERR_clear_error()
        SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED)
    }

    private func flush(_ output: (UnsafeRawBufferPointer) -> Void) {
        guard let pending = wire.pointee.takePending() else { return }
        output(UnsafeRawBufferPointer(pending))
        pending.deallocateFromC()
    }

    /// Ends the connection with what the failed call left behind.
    private func fail(_ operation: String) -> TLSError {
        let tally = wire.pointee.tally
        let error: TLSError
        if let limit = tally.exceeded {
            error = .limitExceeded(limit, allowed: tally.allowed(limit))
        } else if let refusal {
            error = refusal
        } else {
            error = TLSError(afterFailureOf: operation, settings: active.configuration)
        }
        failure = error
        ERR_clear_error()
        return error
    }

    /// Goes over to the settings for a server name; called from inside the handshake.
    func use(_ chosen: TLSSettings) {
        guard chosen !== active else { return }
        active = chosen
        let configuration = chosen.configuration
        SSL_set_SSL_CTX(ssl, chosen.context)
        SSL_set_verify(ssl, configuration.verificationMode, nil)
        martinet_ssl_set_versions(ssl, configuration.minimumVersion.code, configuration.maximumVersion.code)
    }

    var library: OpaquePointer { ssl }
}

/// The most data that one record holds (RFC 8446, 5.1).
private let recordCapacity = 16_384

extension UnsafeMutableRawBufferPointer {
    /// Frees what realloc gave.
    fileprivate func deallocateFromC() {
        free(baseAddress)
    }
}
