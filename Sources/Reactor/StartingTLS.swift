import TLS

// A connection that began in plaintext goes over to TLS: for those who look at the first bytes to choose the settings.
extension Loop {
    /// Makes this end of an accepted connection a TLS server. `established` comes again when the handshake is finished,
    /// with who the peer is; until then nothing is received, and what is written waits.
    /// - Parameters:
    ///   - received: bytes of the peer that were received as plaintext already: the start of its handshake.
    ///   - limit: how long the client may take to finish the handshake.
    /// - Precondition: nothing was written.
    public func startTLS(
        _ id: ConnectionID, _ settings: TLSSettings, received bytes: [UInt8],
        within limit: Duration = .seconds(10)
    ) {
        guard let connection = slab.find(id),
            connection.pointee.state.isDisjoint(with: [.halfCloseWanted, .closeWanted])
        else { return }
        precondition(settings.configuration.role == .server, "accepted connections are a TLS server's")
        precondition(connection.pointee.tls == nil && connection.pointee.scratch == Connection.noScratch)
        do throws(TLSError) {
            connection.pointee.tls = try TLSEngine(settings)
        } catch {
            return close(id, reason: .tls(error))
        }
        connection.pointee.state.subtract([.established, .readingPaused])
        setDeadline(limit, for: id)
        heldInput[id.index] = bytes
        connection.pointee.state.formUnion([.unheard, .inputHeld])
        queueForGreeting(id, connection)
    }

    /// Gives the engine what was received before there was one.
    func takeHeldInput(_ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>) {
        connection.pointee.state.remove(.inputHeld)
        guard let bytes = heldInput.removeValue(forKey: id.index) else { return }
        bytes.withUnsafeBytes { take(id, connection, $0) }
    }
}
