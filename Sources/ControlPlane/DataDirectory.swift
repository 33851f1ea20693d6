import Glibc
import Reactor

/// The directory that one control plane owns: its database, its control socket, and the lock that keeps others out.
public final class DataDirectory: Sendable {
    public let path: String
    private let descriptor: Int32

    /// Why a directory cannot be used.
    public enum Problem: Error, Hashable, Sendable, CustomStringConvertible {
        case cannotMake(String, SystemError)
        case cannotLock(String, SystemError)
        /// The owner's process number as far as the lock file tells it.
        case inUse(String, process: String?)
        case pathTooLong(String, bytes: Int)

        public var description: String {
            switch self {
            case .cannotMake(let path, let error): "cannot make the data directory \(path): \(error)"
            case .cannotLock(let path, let error): "cannot lock \(path): \(error)"
            case .inUse(let path, let process):
                "the data directory \(path) is in use by another martinet" + (process.map { " (process \($0))" } ?? "")
            case .pathTooLong(let path, let bytes):
                "the path \(path) has \(bytes) bytes; a Unix socket's has at most \(SocketAddress.longestPath)"
            }
        }

        public var hint: String {
            switch self {
            case .cannotMake, .cannotLock: "pass --data DIR with a directory that this user can write"
            case .inUse: "stop the other one, or pass another --data"
            case .pathTooLong: "pass a --data with a shorter path"
            }
        }
    }

    /// The Unix socket of the control service.
    public static func controlSocket(in directory: String) -> String { directory + "/control.sock" }

    /// Takes the directory, and makes it where it is missing: it, and what is made in it, is for this user alone.
    /// - Parameter path: the part of it that exists is left as it is.
    public init(_ path: String) throws(Problem) {
        self.path = path
        let socket = Self.controlSocket(in: path)
        guard socket.utf8.count <= SocketAddress.longestPath else {
            throw .pathTooLong(socket, bytes: socket.utf8.count)
        }
        try Self.make(path)
        let lock = path + "/lock"
        descriptor = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .cannotLock(lock, SystemError(call: "open", number: errno)) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let number = errno
            let owner = Self.owner(descriptor)
            close(descriptor)
            throw number == EWOULDBLOCK
                ? .inUse(path, process: owner) : .cannotLock(lock, SystemError(call: "flock", number: number))
        }
        let text = Array("\(getpid())\n".utf8)
        // Only for the message of whoever comes second; a full disk does not matter here.
        _ = ftruncate(descriptor, 0)
        _ = pwrite(descriptor, text, text.count, 0)
    }

    deinit { close(descriptor) }

    private static func make(_ path: String) throws(Problem) {
        var made = path.hasPrefix("/") ? "" : "."
        for part in path.split(separator: "/") {
            made += "/" + part
            if mkdir(made, 0o700) == 0 || errno == EEXIST { continue }
            throw .cannotMake(path, SystemError(call: "mkdir \(made)", number: errno))
        }
    }

    private static func owner(_ descriptor: Int32) -> String? {
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        guard count > 0 else { return nil }
        let text = String(decoding: bytes[..<count].prefix { (48...57).contains($0) }, as: UTF8.self)
        return text.isEmpty ? nil : text
    }
}
