import CLinux
import Glibc
import Synchronization

/// A socket that listens, before a loop accepts from it. Connections wait in the kernel meanwhile. It is closed, and the
/// file of a Unix socket removed, when nobody holds it any more: neither its owner nor a loop.
public final class ListeningSocket: Sendable {
    /// With the port that the system chose for port 0.
    public let address: SocketAddress
    /// For handing the socket to another process; it stays this object's to close.
    public let descriptor: Int32
    /// The file of a Unix socket as we made it: another one under the same name is not ours to remove.
    private let file: (path: String, device: UInt64, inode: UInt64)?
    /// The file is another process's.
    private let isHandedOn = Atomic<Bool>(false)

    /// Binds and listens.
    /// - Throws: `.addressInUse`, `.notASocket`, `.cannotListen`.
    public init(_ wanted: SocketAddress, options: ListenOptions = ListenOptions()) throws(ReactorError) {
        if case .unix(let path) = wanted { try Self.removeStaleSocket(path, wanted) }
        func check(_ result: Int32, _ call: String) throws(ReactorError) {
            guard result < 0 else { return }
            throw result == -EADDRINUSE
                ? .addressInUse(wanted) : .cannotListen(wanted, SystemError(call: call, number: -result))
        }
        descriptor = linux_socket(wanted.family)
        try check(descriptor, "socket")
        do throws(ReactorError) {
            for (level, name, value) in Self.socketOptions(wanted, options) {
                try check(linux_set_option(descriptor, level, name, value), "setsockopt")
            }
            // A Unix socket's file takes the mode of the descriptor, so there is no moment at which it is open to all.
            if wanted.isUnix { try check(fchmod(descriptor, mode_t(options.unixMode)) < 0 ? -errno : 0, "fchmod") }
            let socket = descriptor
            try check(wanted.withSystemForm { linux_bind(socket, $0, $1) }, "bind")
            if case .unix(let path) = wanted, !path.hasPrefix("@") {
                // The umask may have taken away what the mode grants.
                try check(chmod(path, mode_t(options.unixMode)) < 0 ? -errno : 0, "chmod")
                var status = stat()
                try check(lstat(path, &status) < 0 ? -errno : 0, "lstat")
                file = (path, UInt64(status.st_dev), UInt64(status.st_ino))
            } else {
                file = nil
            }
            try check(linux_listen(descriptor, options.backlog), "listen")
        } catch {
            _ = linux_close(descriptor)
            throw error
        }
        address = SocketAddress.read(descriptor, local: true) ?? wanted
    }

    /// Takes over a socket that another process has bound, and that listens. From here on it is this object's to close.
    /// - Parameter withFile: a Unix socket's file is this object's to remove as well; otherwise it stays.
    /// - Throws: `.cannotListen` if the descriptor is no listening socket; it is left alone then.
    public init(adopting inherited: Int32, withFile: Bool = false) throws(ReactorError) {
        var listens: Int32 = 0
        let result = linux_get_option(inherited, SOL_SOCKET, SO_ACCEPTCONN, &listens)
        guard result == 0, listens == 1, let bound = SocketAddress.read(inherited, local: true) else {
            let error = SystemError(call: "getsockopt", number: result == 0 ? EINVAL : -result)
            throw .cannotListen(.unix(path: ""), error)
        }
        let prepared = linux_prepare_inherited(inherited)
        guard prepared >= 0 else { throw .cannotListen(bound, SystemError(call: "fcntl", number: -prepared)) }
        descriptor = inherited
        address = bound
        var status = stat()
        if withFile, case .unix(let path) = bound, !path.hasPrefix("@"), lstat(path, &status) == 0 {
            file = (path, UInt64(status.st_dev), UInt64(status.st_ino))
        } else {
            file = nil
        }
    }

    /// Another process has the socket as well: a Unix socket's file is that one's to remove.
    public func leaveFile() { isHandedOn.store(true, ordering: .relaxed) }
    /// A Unix socket's file is this object's to remove from now on.
    public func takeFile() { isHandedOn.store(false, ordering: .relaxed) }

    private let isShut = Atomic<Bool>(false)
    var isShutDown: Bool { isShut.load(ordering: .relaxed) }

    /// Whoever waits for connections with ``DescriptorChannel/accept(on:)`` is told that there are no more, and a Unix
    /// socket's file is removed at once: its name is free.
    public func shutDown() {
        isShut.store(true, ordering: .relaxed)
        removeFile()
        _ = linux_shut_down(descriptor)
    }

    deinit {
        _ = linux_close(descriptor)
        removeFile()
    }

    private func removeFile() {
        guard let file, !isHandedOn.load(ordering: .relaxed) else { return }
        var status = stat()
        if lstat(file.path, &status) == 0, UInt64(status.st_ino) == file.inode, UInt64(status.st_dev) == file.device {
            unlink(file.path)
        }
    }

    /// Accepted sockets inherit all of these. Source: tcp(7), socket(7).
    private static func socketOptions(_ address: SocketAddress, _ options: ListenOptions) -> [(Int32, Int32, Int32)] {
        var list: [(Int32, Int32, Int32)] = []
        if !address.isUnix {
            list.append((SOL_SOCKET, SO_REUSEADDR, 1))
            if options.reusePort { list.append((SOL_SOCKET, SO_REUSEPORT, 1)) }
            if options.noDelay { list.append((Int32(IPPROTO_TCP), TCP_NODELAY, 1)) }
            if options.keepAlive { list.append((SOL_SOCKET, SO_KEEPALIVE, 1)) }
        }
        if address.family == AF_INET6 {
            list.append((Int32(IPPROTO_IPV6), IPV6_V6ONLY, options.ipv6Only ? 1 : 0))
            if options.isTransparent { list.append((Int32(IPPROTO_IPV6), Int32(LINUX_IPV6_TRANSPARENT), 1)) }
        } else if options.isTransparent, !address.isUnix {
            list.append((Int32(IPPROTO_IP), Int32(LINUX_IP_TRANSPARENT), 1))
        }
        if let size = options.sendBuffer { list.append((SOL_SOCKET, SO_SNDBUF, size)) }
        if let size = options.receiveBuffer { list.append((SOL_SOCKET, SO_RCVBUF, size)) }
        return list
    }

    /// The socket of a program that was killed is in the way; one that answers is not ours to take.
    private static func removeStaleSocket(_ path: String, _ address: SocketAddress) throws(ReactorError) {
        var status = stat()
        guard !path.hasPrefix("@"), lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else { throw .notASocket(path: path) }
        let probe = linux_socket(AF_UNIX)
        guard probe >= 0 else { throw .cannotListen(address, SystemError(call: "socket", number: -probe)) }
        defer { _ = linux_close(probe) }
        guard address.withSystemForm({ linux_connect(probe, $0, $1) }) == -ECONNREFUSED else {
            throw .addressInUse(address)
        }
        guard unlink(path) == 0 || errno == ENOENT else {
            throw .cannotListen(address, SystemError(call: "unlink", number: errno))
        }
    }
}
