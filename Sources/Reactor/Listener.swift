import CLinux
import Glibc
import TLS
import Time

/// Names one listener of one loop.
public struct ListenerID: Hashable, Sendable {
    let number: UInt32
}

/// How to listen.
public struct ListenOptions: Sendable {
    /// Connections that wait in the kernel.
    public var backlog: Int32 = 4096
    /// Connections of this listener that are open at the same time; more are closed at once and counted.
    public var mostConnections = 100_000
    /// Several loops may listen on one address; the kernel spreads the connections (SO_REUSEPORT).
    public var reusePort = false
    /// IPv6 addresses take IPv6 only, not IPv4 through mapped addresses.
    public var ipv6Only = false
    /// The permissions of a Unix socket's file.
    public var unixMode: UInt32 = 0o600
    /// How long a client may take to finish the TLS handshake.
    public var handshakeTimeout = Duration.seconds(10)
    /// Small writes are sent at once (TCP_NODELAY).
    public var noDelay = true
    /// TCP keep-alive probes by the kernel.
    public var keepAlive = false
    /// Accepts connections to addresses that are not this machine's (IP_TRANSPARENT); takes CAP_NET_ADMIN.
    public var isTransparent = false
    /// The kernel's buffers per connection in bytes; nil leaves them to the kernel.
    public var sendBuffer: Int32?
    public var receiveBuffer: Int32?

    public init() {}
}

/// A socket that accepts connections.
final class Listener: EventSource {
    let number: UInt32
    let address: SocketAddress
    let tls: TLSSource?
    let options: ListenOptions
    /// Nil once the listener has stopped.
    private var socket: ListeningSocket?
    private(set) var connections = 0
    private var isRefusing = false

    private var descriptor: Int32 { socket?.descriptor ?? -1 }

    init(_ socket: ListeningSocket, number: UInt32, tls: TLSSource?, options: ListenOptions) {
        self.number = number
        self.tls = tls
        self.options = options
        self.socket = socket
        address = socket.address
    }

    func register(in loop: Loop) throws(ReactorError) {
        do {
            try loop.addSource(self, descriptor: descriptor)
        } catch {
            cancel()
            throw .cannotListen(address, error)
        }
    }

    /// Takes the socket out of epoll, which would go on to report it while others hold it.
    func unregister(from loop: Loop) {
        if let socket { _ = linux_epoll_remove(loop.epoll, socket.descriptor) }
    }

    override func cancel() {
        socket = nil
    }

    func connectionEnded() {
        connections -= 1
        if isRefusing && connections < options.mostConnections { isRefusing = false }
    }

    override func ready(_ loop: Loop) {
        for _ in 0..<loop.configuration.acceptsPerTurn {
            guard descriptor >= 0 else { return }
            var storage = sockaddr_storage()
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let accepted = linux_accept(descriptor, &storage, &length)
            guard accepted < 0 else {
                open(accepted, SocketAddress(storage, length: length), loop)
                continue
            }
            switch -accepted {
            case EAGAIN: return
            case EMFILE, ENFILE:
                if !refuseWithReserve(loop) {
                    return tryAgainLater(loop, SystemError(call: "accept4", number: -accepted))
                }
            // The client went away while it waited. Source: accept(2), Error handling.
            case ECONNABORTED, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH:
                continue
            default: return tryAgainLater(loop, SystemError(call: "accept4", number: -accepted))
            }
        }
        loop.postpone { [self] in ready($0) }
    }

    private func open(_ accepted: Int32, _ address: SocketAddress, _ loop: Loop) {
        guard connections < options.mostConnections else {
            _ = linux_close(accepted)
            loop.statistics.refused += 1
            if !isRefusing {
                isRefusing = true
                loop.configuration.logger.warning(
                    "\(self.address) refuses connections: its limit of \(options.mostConnections) is reached")
            }
            return
        }
        let id = loop.slab.take()
        let connection = loop.slab[id.index]
        let credentials = address.isUnix ? PeerCredentials(descriptor: accepted) : nil
        let peer = Peer(address: address, credentials: credentials, secure: nil)
        guard loop.deliverAccepted(id, listener: number, peer: peer) else {
            _ = linux_close(accepted)
            loop.slab.giveBack(id.index)
            loop.statistics.refused += 1
            return
        }
        connection.pointee.descriptor = accepted
        connection.pointee.state = tls == nil ? [.open] : [.open, .unheard]
        connection.pointee.listener = number
        connections += 1
        loop.statistics.connections += 1
        loop.statistics.accepted += 1
        let result = linux_epoll_add(loop.epoll, accepted, id.label, 1)
        guard result >= 0 else {
            return loop.close(id, reason: .failed(SystemError(call: "epoll_ctl", number: -result)))
        }
        if let tls {
            do throws(TLSError) {
                connection.pointee.tls = try TLSEngine(tls.current)
            } catch {
                return loop.close(id, reason: .tls(error))
            }
        }
        loop.startSession(id, connection, peer: peer, handshakeLimit: options.handshakeTimeout)
    }

    /// No descriptor is left: gives up the reserve to accept and close one connection, so that clients see an end
    /// instead of silence, and the backlog empties.
    /// - Returns: false when there was no reserve to give up.
    private func refuseWithReserve(_ loop: Loop) -> Bool {
        if loop.reserve >= 0 { _ = linux_close(loop.reserve) }
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let accepted = linux_accept(descriptor, &storage, &length)
        if accepted >= 0 {
            _ = linux_close(accepted)
            loop.statistics.refusedForDescriptors += 1
            if loop.statistics.refusedForDescriptors == 1 {
                loop.configuration.logger.error(
                    "\(address) refuses connections: the process has no file descriptor left; raise `ulimit -n`")
            }
        }
        loop.reserve = max(-1, linux_reserve_open())
        return accepted >= 0 || accepted == -EAGAIN
    }

    /// Connections wait in the kernel and no new edge may come: asks again by the clock.
    private func tryAgainLater(_ loop: Loop, _ error: SystemError) {
        loop.configuration.logger.error("\(address) cannot accept connections for now: \(error)")
        _ = loop.setWork(at: loop.now.advanced(by: .milliseconds(100)), .closure { [self] in ready($0) })
    }
}

extension Loop {
    /// - Returns: the listener; its factory is the generic loop's business.
    func openListener(
        _ socket: ListeningSocket, options: ListenOptions, tls: TLSSource?
    ) throws(ReactorError) -> ListenerID {
        let listener = Listener(socket, number: nextListener, tls: tls, options: options)
        try listener.register(in: self)
        nextListener += 1
        listeners[listener.number] = listener
        return ListenerID(number: listener.number)
    }

    /// The address that a listener has; tells the port that the system chose for port 0. Nil once it has stopped.
    public func address(of listener: ListenerID) -> SocketAddress? { listeners[listener.number]?.address }

    /// Connections of a listener that are open now; 0 once it has stopped.
    public func connections(of listener: ListenerID) -> Int { listeners[listener.number]?.connections ?? 0 }

    /// No new connections; those that are open go on. A Unix socket's file is removed.
    public func stopListening(_ listener: ListenerID) {
        guard let listener = listeners.removeValue(forKey: listener.number) else { return }
        listenerStopped(listener.number)
        listener.unregister(from: self)
        removeSource(listener.position)
    }
}
