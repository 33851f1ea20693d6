import CLinux
import Glibc

/// A connection between two processes over a Unix socket, of messages with which open sockets go. Its calls wait: it is
/// for a thread that does nothing else.
public final class DescriptorChannel: Sendable {
    public enum Problem: Error, Hashable, Sendable, CustomStringConvertible {
        /// The other process has ended the connection, or itself.
        case ended
        /// It said nothing in time.
        case late
        /// It does not speak as it should.
        case malformed
        case failed(SystemError)

        public var description: String {
            switch self {
            case .ended: "the other process has ended the connection"
            case .late: "the other process does not answer"
            case .malformed: "the other process says what makes no sense"
            case .failed(let error): "\(error)"
            }
        }
    }

    /// Bytes of one message, and sockets with it.
    public static let longestMessage = 1 << 20
    public static let mostDescriptors = Int(LINUX_DESCRIPTORS)

    private let descriptor: Int32
    /// The other process; of a connection that was opened here, who listens.
    public let peer: PeerCredentials?

    private init(_ descriptor: Int32) {
        self.descriptor = descriptor
        peer = PeerCredentials(descriptor: descriptor)
    }

    deinit { _ = linux_close(descriptor) }

    /// - Returns: nil: nobody listens there.
    public static func connect(to path: String) throws(ReactorError) -> DescriptorChannel? {
        let address = SocketAddress.unix(path: path)
        let descriptor = linux_socket(AF_UNIX)
        guard descriptor >= 0 else { throw .cannotStart(SystemError(call: "socket", number: -descriptor)) }
        let result = address.withSystemForm { linux_connect(descriptor, $0, $1) }
        if result >= 0 { return DescriptorChannel(descriptor) }
        _ = linux_close(descriptor)
        switch -result {
        case ENOENT, ECONNREFUSED: return nil
        default: throw .cannotListen(address, SystemError(call: "connect", number: -result))
        }
    }

    /// The next who connects. Waits as long as it takes.
    /// - Returns: nil: the socket has been shut down (``ListeningSocket/shutDown()``).
    public static func accept(on socket: ListeningSocket) -> DescriptorChannel? {
        while true {
            guard linux_wait_readable(socket.descriptor, -1) > 0 else { return nil }
            var storage = sockaddr_storage()
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let accepted = linux_accept(socket.descriptor, &storage, &length)
            if accepted >= 0 { return DescriptorChannel(accepted) }
            guard [EAGAIN, ECONNABORTED].contains(-accepted), !socket.isShutDown else { return nil }
        }
    }

    // MARK: Messages: four bytes of length, and as many bytes

    /// - Parameter descriptors: at most ``mostDescriptors``; the other process gets copies.
    public func send(_ message: [UInt8], descriptors: [Int32] = []) throws(Problem) {
        precondition(message.count <= Self.longestMessage && descriptors.count <= Self.mostDescriptors)
        var bytes = withUnsafeBytes(of: UInt32(message.count).bigEndian) { Array($0) } + message
        var carried = descriptors
        while !bytes.isEmpty {
            let sent = bytes.withUnsafeBytes { bytes in
                linux_send_descriptors(descriptor, bytes.baseAddress, bytes.count, carried, Int32(carried.count))
            }
            switch sent {
            case 1...: (bytes, carried) = (Array(bytes[sent...]), [])
            // It does not read, though messages are small.
            case Int(-EAGAIN): throw .late
            case Int(-EPIPE), Int(-ECONNRESET): throw .ended
            default: throw .failed(SystemError(call: "sendmsg", number: Int32(-sent)))
            }
        }
    }

    /// - Parameter limit: how long the whole of it may take; nil: as long as it takes.
    /// - Returns: the message, and descriptors that are the caller's to close.
    public func receive(within limit: Duration?) throws(Problem) -> (message: [UInt8], descriptors: [Int32]) {
        var descriptors: [Int32] = []
        do throws(Problem) {
            let deadline = limit.map { ContinuousClock.now.advanced(by: $0) }
            let head = try read(4, until: deadline, &descriptors)
            let count = head.reduce(0) { $0 << 8 | Int($1) }
            guard count <= Self.longestMessage else { throw .malformed }
            return (try read(count, until: deadline, &descriptors), descriptors)
        } catch {
            for each in descriptors { _ = linux_close(each) }
            throw error
        }
    }

    private func read(
        _ count: Int, until deadline: ContinuousClock.Instant?, _ descriptors: inout [Int32]
    ) throws(Problem) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var filled = 0
        while filled < count {
            // Rounded up: what is left is waited for.
            let left = deadline.map { max(0, ContinuousClock.now.duration(to: $0) / .milliseconds(1)).rounded(.up) }
            guard linux_wait_readable(descriptor, left.map { Int32(min($0, 1e9)) } ?? -1) != 0 else { throw .late }
            var found = [Int32](repeating: -1, count: Self.mostDescriptors)
            var number: Int32 = 0
            let got = bytes.withUnsafeMutableBytes { bytes in
                linux_receive_descriptors(
                    descriptor, bytes.baseAddress?.advanced(by: filled), count - filled, &found, &number)
            }
            descriptors += found.prefix(Int(number))
            switch got {
            case 1...: filled += got
            case 0, Int(-ECONNRESET): throw .ended
            case Int(-EAGAIN): continue
            default: throw .failed(SystemError(call: "recvmsg", number: Int32(-got)))
            }
            // Of one message.
            guard descriptors.count <= Self.mostDescriptors else { throw .malformed }
        }
        return bytes
    }
}
