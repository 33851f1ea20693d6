import Glibc
import TLS

/// A system call that failed: which one, and the system's error number.
public struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The call, as in its manual page: `connect`, `bind`, …
    public let call: String
    /// As in `errno.h`, positive.
    public let number: Int32

    public init(call: String, number: Int32) {
        self.call = call
        self.number = number
    }

    /// For example `connect: Connection refused`.
    public var description: String {
        var buffer = [CChar](repeating: 0, count: 256)
        guard strerror_r(number, &buffer, buffer.count) == 0 else { return "\(call): error \(number)" }
        return "\(call): \(buffer.withUnsafeBufferPointer { String(cString: $0.baseAddress!) })"
    }

    /// Turns a result of the form "value or -errno" into a value or an error.
    static func check(_ result: Int32, _ call: String) throws(SystemError) -> Int32 {
        guard result >= 0 else { throw SystemError(call: call, number: -result) }
        return result
    }
}

/// Why the reactor could not do what was asked: what, where, and in ``hint`` the mend.
public enum ReactorError: Error, Hashable, Sendable, CustomStringConvertible {
    /// An address that cannot be read.
    case badAddress(String, problem: String)
    /// Someone else listens there.
    case addressInUse(SocketAddress)
    /// A file that is not a socket is in the way of a Unix socket.
    case notASocket(path: String)
    /// Listening failed for another reason.
    case cannotListen(SocketAddress, SystemError)
    /// The loop itself could not be built.
    case cannotStart(SystemError)
    /// A directory cannot be watched.
    case cannotWatch(path: String, SystemError)
    /// More directories than the watcher was allowed.
    case tooManyDirectories(path: String, limit: Int)
    /// A second set of signals in one process.
    case signalsTaken

    public var description: String {
        switch self {
        case .badAddress(let text, let problem): "the address \"\(text)\" cannot be used: \(problem)"
        case .addressInUse(let address): "cannot listen on \(address): the address is in use"
        case .notASocket(let path): "cannot listen on unix:\(path): the file exists and is not a socket"
        case .cannotListen(let address, let error): "cannot listen on \(address): \(error)"
        case .cannotStart(let error): "cannot start an event loop: \(error)"
        case .cannotWatch(let path, let error): "cannot watch \(path): \(error)"
        case .tooManyDirectories(let path, let limit): "cannot watch \(path): more than \(limit) directories"
        case .signalsTaken: "signals are already received elsewhere in this process"
        }
    }

    /// What to do about it.
    public var hint: String {
        switch self {
        case .badAddress: "write 127.0.0.1:15010, [::1]:15010 or unix:/path"
        case .addressInUse: "stop the other program (ss -ltnp shows it), or choose another address"
        case .notASocket: "remove the file, or choose another path"
        case .cannotListen(let address, let error):
            switch error.number {
            case EACCES: "choose a port of 1024 or more, or a directory that this user may write"
            case EADDRNOTAVAIL: "choose an address of this machine (ip addr shows them)"
            case ENOENT: "create the directory of \(address)"
            default: "choose another address"
            }
        case .cannotStart(let error):
            error.number == EMFILE ? "raise the limit of open files (ulimit -n)" : "see the system's log"
        case .cannotWatch(_, let error):
            switch error.number {
            case ENOSPC: "raise fs.inotify.max_user_watches (sysctl)"
            case EMFILE: "raise fs.inotify.max_user_instances (sysctl), or the limit of open files"
            case EACCES: "give this user read permission on the directory"
            default: "check that the path is a directory"
            }
        case .tooManyDirectories: "point at a smaller directory"
        case .signalsTaken: "close the other SignalWatcher first"
        }
    }
}

/// Why a connection ended: the argument of ``ConnectionHandler/closed(_:loop:id:)``.
public enum CloseReason: Equatable, Sendable, CustomStringConvertible {
    /// Both directions were closed in order, ours by `halfClose`.
    case finished
    /// This side asked for it.
    case requested
    /// This side asked for it because the peer broke a rule or a limit; the text names it.
    case violation(String)
    /// The peer, or the network, broke the connection off.
    case failed(SystemError)
    /// The connection was never established.
    case connectFailed(SystemError)
    /// The peer did not answer a connection attempt in time.
    case connectTimedOut(after: Duration)
    /// The TLS handshake was not finished in time.
    case handshakeTimedOut(after: Duration)
    /// The peer, or the network, broke the connection off during the TLS handshake.
    case handshakeBrokenOff(SystemError)
    /// TLS failed. `.truncated`: the peer ended TCP without close_notify, so what it sent may be cut short.
    case tls(TLSError)
    /// More output was written while the peer did not read than the loop holds.
    case outputLimit(bytes: Int)
    /// The loop was stopped.
    case loopStopped

    public var description: String {
        switch self {
        case .finished: "both sides closed in order"
        case .requested: "closed by this side"
        case .violation(let rule): rule
        case .failed(let error): "broken off: \(error)"
        case .connectFailed(let error): "cannot connect: \(error)"
        case .connectTimedOut(let limit): "cannot connect: no answer within \(limit)"
        case .handshakeTimedOut(let limit): "TLS handshake not finished within \(limit)"
        case .handshakeBrokenOff(let error): "broken off during the TLS handshake: \(error)"
        case .tls(let error): "TLS: \(error)"
        case .outputLimit(let bytes): "the peer does not read: more than \(bytes) bytes of output wait for it"
        case .loopStopped: "the event loop was stopped"
        }
    }
}
