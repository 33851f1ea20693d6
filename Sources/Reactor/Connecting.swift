import CLinux
import Glibc
import TLS

/// How to open a connection.
public struct ConnectOptions: Sendable {
    /// Until the kernel has the connection.
    public var timeout = Duration.seconds(5)
    /// For TLS, from then on.
    public var handshakeTimeout = Duration.seconds(10)
    /// Small writes are sent at once (TCP_NODELAY).
    public var noDelay = true
    /// TCP keep-alive probes by the kernel.
    public var keepAlive = false
    /// Seconds of silence before the first probe, and between probes; nil leaves them to the kernel.
    public var keepAliveIdle: Int32?
    public var keepAliveInterval: Int32?
    /// How many probes without an answer end the connection.
    public var keepAliveProbes: Int32?
    /// The kernel's buffers in bytes; nil leaves them to the kernel. It doubles the value and has a least size.
    public var sendBuffer: Int32?
    public var receiveBuffer: Int32?
    /// The address of this end, with a port or 0; nil leaves it to the kernel.
    public var source: SocketAddress?

    public init() {}
}

// Connections that this side opens, and the step that they share with accepted ones: becoming established.
extension Loop {
    /// Every failure, immediate ones too, comes as `closed`.
    func openConnection(
        to address: SocketAddress, tls: TLSSettings?, names: TLSServerNames, options: ConnectOptions
    ) -> ConnectionID {
        let id = slab.take()
        let connection = slab[id.index]
        connection.pointee.state = [.open, .connecting]
        statistics.connections += 1
        if let tls {
            do throws(TLSError) {
                connection.pointee.tls = try TLSEngine(tls, sessionKey: address.description, names: names)
            } catch {
                close(id, reason: .tls(error))
                return id
            }
        }
        func failed(_ result: Int32, _ call: String) -> Bool {
            guard result < 0 else { return false }
            close(id, reason: .connectFailed(SystemError(call: call, number: -result)))
            return true
        }
        let descriptor = linux_socket(address.family)
        if failed(descriptor, "socket") { return id }
        connection.pointee.descriptor = descriptor
        if failed(setOptions(descriptor, address, options), "setsockopt") { return id }
        if let source = options.source, failed(source.withSystemForm { linux_bind(descriptor, $0, $1) }, "bind") {
            return id
        }
        let result = address.withSystemForm { linux_connect(descriptor, $0, $1) }
        if result != -EINPROGRESS && failed(result, "connect") { return id }
        if failed(linux_epoll_add(epoll, descriptor, id.label, 1), "epoll_ctl") { return id }
        setDeadline(options.timeout, for: id)
        if tls != nil { handshakeLimits[id.index] = options.handshakeTimeout }
        return id
    }

    private func setOptions(_ descriptor: Int32, _ address: SocketAddress, _ options: ConnectOptions) -> Int32 {
        var result: Int32 = 0
        func set(_ level: Int32, _ name: Int32, _ value: Int32) {
            if result >= 0 { result = linux_set_option(descriptor, level, name, value) }
        }
        if !address.isUnix {
            if options.noDelay { set(Int32(IPPROTO_TCP), TCP_NODELAY, 1) }
            if options.keepAlive {
                set(SOL_SOCKET, SO_KEEPALIVE, 1)
                // The kernel refuses what is beyond its bounds.
                for (name, value, most) in [
                    (TCP_KEEPIDLE, options.keepAliveIdle, Int32(32_767)),
                    (TCP_KEEPINTVL, options.keepAliveInterval, 32_767), (TCP_KEEPCNT, options.keepAliveProbes, 127),
                ] {
                    if let value { set(Int32(IPPROTO_TCP), name, min(max(value, 1), most)) }
                }
            }
        }
        if let size = options.sendBuffer { set(SOL_SOCKET, SO_SNDBUF, size) }
        if let size = options.receiveBuffer { set(SOL_SOCKET, SO_RCVBUF, size) }
        return result
    }

    /// The kernel has decided on a connection attempt.
    func finishConnecting(_ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>) {
        let descriptor = connection.pointee.descriptor
        var error: Int32 = 0
        let result = linux_get_option(descriptor, SOL_SOCKET, SO_ERROR, &error)
        guard result == 0, error == 0 else {
            close(id, reason: .connectFailed(SystemError(call: "connect", number: error != 0 ? error : -result)))
            return
        }
        connection.pointee.state.remove(.connecting)
        cancelDeadline(id.index)
        statistics.connected += 1
        startSession(id, connection, peer: nil, handshakeLimit: handshakeLimits.removeValue(forKey: id.index))
    }

    /// The socket is connected: starts TLS, or is done.
    func startSession(
        _ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>, peer: Peer?, handshakeLimit: Duration?
    ) {
        guard let engine = connection.pointee.tls else { return becomeEstablished(id, connection, peer: peer) }
        if let handshakeLimit { setDeadline(handshakeLimit, for: id) }
        ciphertext.clear()
        do throws(TLSError) {
            try engine.start { ciphertext.append($0) }
        } catch {
            close(id, reason: .tls(error))
            return
        }
        transmit(ciphertext.bytes, id, connection)
        ciphertext.clear()
    }

    func becomeEstablished(
        _ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>, peer known: Peer? = nil
    ) {
        cancelDeadline(id.index)
        connection.pointee.state.insert(.established)
        if let early = earlyOutput.removeValue(forKey: id.index) {
            early.withUnsafeBytes { encryptAndTransmit($0, id, connection) }
            guard connection.pointee.state.contains(.open) else { return }
        }
        let descriptor = connection.pointee.descriptor
        let address = known?.address ?? SocketAddress.read(descriptor, local: false) ?? .unix(path: "")
        let credentials = known?.credentials ?? (address.isUnix ? PeerCredentials(descriptor: descriptor) : nil)
        let secure = connection.pointee.tls.map(SecurePeer.init)
        deliverEstablished(id, peer: Peer(address: address, credentials: credentials, secure: secure))
        if connection.pointee.state.contains(.open), connection.pointee.state.contains(.halfCloseWanted),
            connection.pointee.state.isDisjoint(with: [.writingShut, .closeWanted])
        {
            // Asked for before there was a connection.
            flush(id)
            if connection.pointee.state.contains(.open) { finishWriting(id, connection) }
        }
    }

    /// The address of this end of a connection; nil once it has ended.
    public func localAddress(of id: ConnectionID) -> SocketAddress? {
        slab.find(id).flatMap { SocketAddress.read($0.pointee.descriptor, local: true) }
    }

    /// The address of the other end; nil once the connection has ended, or before it is there.
    public func peerAddress(of id: ConnectionID) -> SocketAddress? {
        slab.find(id).flatMap { SocketAddress.read($0.pointee.descriptor, local: false) }
    }

    /// Where a connection that the kernel redirected to this process was meant to go; nil where it was redirected by
    /// nobody. Source: iptables-extensions(8), REDIRECT.
    public func originalDestination(of id: ConnectionID) -> SocketAddress? {
        guard let connection = slab.find(id), let local = localAddress(of: id), !local.isUnix else { return nil }
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        // A connection over IPv4 to a socket of both kinds is known to the kernel's tables as IPv4.
        let isIPv6 = local.family == AF_INET6 && local.mappedIPv4 == nil
        let result = linux_original_destination(connection.pointee.descriptor, isIPv6 ? 1 : 0, &storage, &length)
        return result < 0 ? nil : SocketAddress(storage, length: length)
    }
}
