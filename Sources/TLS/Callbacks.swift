import COpenSSL
import Certificates

/// The engine that owns a connection; its address is the connection's application data.
func engine(of ssl: OpaquePointer?) -> TLSEngine? {
    guard let ssl, let address = SSL_get_ex_data(ssl, 0) else { return nil }
    return Unmanaged<TLSEngine>.fromOpaque(address).takeUnretainedValue()
}

/// Counts what comes in; the next read from the wire fails if a limit is exceeded.
func noteMessage(
    _ isWriting: Int32, _: Int32, _ contentType: Int32, _ bytes: UnsafeRawPointer?, _ count: Int,
    _: OpaquePointer?, _ argument: UnsafeMutableRawPointer?
) {
    guard isWriting == 0, let wire = argument?.assumingMemoryBound(to: Wire.self) else { return }
    if contentType == SSL3_RT_HEADER {
        wire.pointee.tally.noteRecord()
    } else if contentType == SSL3_RT_HANDSHAKE, count > 0,
        bytes?.load(as: UInt8.self) == UInt8(SSL3_MT_KEY_UPDATE)
    {
        wire.pointee.tally.noteKeyUpdate()
    }
}

/// Chooses a server's settings by the client's server name before anything else is negotiated.
func receiveClientHello(
    _ ssl: OpaquePointer?, _ alert: UnsafeMutablePointer<Int32>?, _: UnsafeMutableRawPointer?
) -> Int32 {
    guard let ssl, let engine = engine(of: ssl) else { return SSL_CLIENT_HELLO_ERROR }
    func refuse(_ error: TLSError, _ code: Int32) -> Int32 {
        engine.refusal = error
        alert?.pointee = code
        return SSL_CLIENT_HELLO_ERROR
    }
    let name = helloExtension(ssl, UInt32(TLSEXT_TYPE_server_name)).flatMap(ClientHello.serverName)
    engine.serverName = name
    guard let chosen = engine.settings.chosen(forServerName: name) else {
        return refuse(.serverNameUnknown(name), SSL_AD_UNRECOGNIZED_NAME)
    }
    engine.use(chosen)
    let configuration = chosen.configuration
    // Without the extension libssl does not ask selectApplicationProtocol.
    if configuration.requiresApplicationProtocol,
        helloExtension(ssl, UInt32(TLSEXT_TYPE_application_layer_protocol_negotiation)) == nil
    {
        let error = TLSError.applicationProtocolMissing(offered: [], supported: configuration.applicationProtocols)
        return refuse(error, SSL_AD_NO_APPLICATION_PROTOCOL)
    }
    return SSL_CLIENT_HELLO_SUCCESS
}

private func helloExtension(_ ssl: OpaquePointer, _ type: UInt32) -> UnsafeBufferPointer<UInt8>? {
    var start: UnsafePointer<UInt8>?
    var count = 0
    guard SSL_client_hello_get0_ext(ssl, type, &start, &count) == 1 else { return nil }
    return UnsafeBufferPointer(start: start, count: count)
}

/// The first of the server's protocols that the client offers (RFC 7301, 3.2).
func selectApplicationProtocol(
    _ ssl: OpaquePointer?, _ selected: UnsafeMutablePointer<UnsafePointer<UInt8>?>?,
    _ selectedCount: UnsafeMutablePointer<UInt8>?, _ list: UnsafePointer<UInt8>?, _ count: UInt32,
    _: UnsafeMutableRawPointer?
) -> Int32 {
    guard let engine = engine(of: ssl) else { return SSL_TLSEXT_ERR_ALERT_FATAL }
    let offered = ClientHello.protocols(UnsafeBufferPointer(start: list, count: Int(count)))
    for name in engine.active.protocolNames {
        guard let match = offered.first(where: { $0.elementsEqual(name) }) else { continue }
        // libssl copies it before the client's list goes away.
        selected?.pointee = match.baseAddress
        selectedCount?.pointee = UInt8(match.count)
        return SSL_TLSEXT_ERR_OK
    }
    guard engine.active.configuration.requiresApplicationProtocol else { return SSL_TLSEXT_ERR_NOACK }
    engine.refusal = .applicationProtocolMissing(
        offered: offered.map(printable), supported: engine.active.configuration.applicationProtocols)
    return SSL_TLSEXT_ERR_ALERT_FATAL
}

/// Keeps a session that the server offers for resumption. 1: the reference is ours.
func keepSession(_ ssl: OpaquePointer?, _ session: OpaquePointer?) -> Int32 {
    guard let engine = engine(of: ssl), let session else { return 0 }
    engine.settings.sessions.keep(Session(owning: session), for: engine.sessionKey)
    return 1
}

/// libcrypto looks an algorithm up by name only once.
private nonisolated(unsafe) let ticketCipher = EVP_CIPHER_fetch(nil, "AES-256-CBC", nil)

/// Gives libssl the key to seal a ticket with, or to open it: RFC 5077, 4.
/// - Returns: 1: proceed; 2: proceed, and renew the ticket; 0: no such key, full handshake; -1: failure.
func sealTicket(
    _ ssl: OpaquePointer?, _ name: UnsafeMutablePointer<UInt8>?, _ iv: UnsafeMutablePointer<UInt8>?,
    _ cipher: OpaquePointer?, _ mac: OpaquePointer?, _ isSealing: Int32
) -> Int32 {
    guard let keys = engine(of: ssl)?.settings.configuration.ticketKeys, let name, let iv else { return -1 }
    if isSealing == 1 {
        let key = keys.current
        name.update(from: key.name, count: 16)
        guard RAND_bytes(iv, 16) == 1,
            EVP_EncryptInit_ex(cipher, ticketCipher, nil, key.encryptionKey, iv) == 1,
            martinet_ticket_mac_set_key(mac, key.macKey, 32) == 1
        else { return -1 }
        return 1
    }
    guard let (key, isCurrent) = keys.key(named: name) else { return 0 }
    guard EVP_DecryptInit_ex(cipher, ticketCipher, nil, key.encryptionKey, iv) == 1,
        martinet_ticket_mac_set_key(mac, key.macKey, 32) == 1
    else { return -1 }
    return isCurrent ? 1 : 2
}

/// Whether an opened ticket may still stand for a full handshake.
func judgeTicket(
    _ ssl: OpaquePointer?, _ session: OpaquePointer?, _: UnsafePointer<UInt8>?, _: Int, _ status: Int32,
    _: UnsafeMutableRawPointer?
) -> Int32 {
    guard let engine = engine(of: ssl) else { return SSL_TICKET_RETURN_ABORT }
    switch status {
    case SSL_TICKET_SUCCESS, SSL_TICKET_SUCCESS_RENEW:
        guard peerIsValidForLong(session, at: engine.active.configuration.verificationTime) else {
            return SSL_TICKET_RETURN_IGNORE_RENEW
        }
        // A TLS 1.3 client uses a ticket once, so each resumption must bring the next one.
        let isUsedUp = status == SSL_TICKET_SUCCESS_RENEW || SSL_version(ssl) == TLS1_3_VERSION
        return isUsedUp ? SSL_TICKET_RETURN_USE_RENEW : SSL_TICKET_RETURN_USE
    case SSL_TICKET_EMPTY, SSL_TICKET_NO_DECRYPT: return SSL_TICKET_RETURN_IGNORE_RENEW
    default: return SSL_TICKET_RETURN_ABORT
    }
}
