import Glibc
import Reactor
import Synchronization
import Testing

/// A blocking socket of a test: a client, or one connection of a server.
final class Wire: @unchecked Sendable {
    let descriptor: Int32
    private var buffer: [UInt8] = []

    /// Takes a socket over. Nothing waits for more than ten seconds.
    init(_ descriptor: Int32) {
        self.descriptor = descriptor
        var limit = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var one: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4)
    }

    convenience init(to port: UInt16) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        #expect(result == 0, "connecting to \(port)")
        self.init(descriptor)
    }

    deinit { close(descriptor) }

    func send(_ text: String) { send(Array(text.utf8)) }

    @discardableResult
    func send(_ bytes: [UInt8]) -> Bool {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
            }
            if count <= 0 { return false }
            sent += count
        }
        return true
    }

    private func fill() -> Bool {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        guard count > 0 else { return false }
        buffer += bytes[..<count]
        return true
    }

    /// Everything up to and with `mark`; nil at the end of input.
    func read(until mark: String) -> String? {
        let mark = Array(mark.utf8)
        while true {
            if let range = buffer.firstRange(of: mark) {
                defer { buffer.removeFirst(range.upperBound) }
                return String(decoding: buffer[..<range.upperBound], as: UTF8.self)
            }
            if !fill() { return nil }
        }
    }

    func read(_ count: Int) -> [UInt8]? {
        while buffer.count < count { if !fill() { return nil } }
        defer { buffer.removeFirst(count) }
        return Array(buffer[..<count])
    }

    /// Reads to the end without keeping it.
    func count() -> Int {
        var total = buffer.count
        buffer = []
        while fill() {
            total += buffer.count
            buffer = []
        }
        return total
    }

    func readToEnd() -> String {
        while fill() {}
        defer { buffer = [] }
        return String(decoding: buffer, as: UTF8.self)
    }

    /// What came next, at least one byte; nil at the end.
    func some() -> [UInt8]? {
        guard !buffer.isEmpty || fill() else { return nil }
        defer { buffer = [] }
        return buffer
    }

    /// Little waits in the socket for who does not read.
    func takesLittle() {
        var size: Int32 = 16_384
        setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, 4)
    }

    func endOutput() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// Ends the connection with RST.
    func reset() {
        var option = linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        shutdown(descriptor, Int32(SHUT_RDWR))
    }

    /// One HTTP/1 message: its head's lines and its body by content-length, chunks, or until the end.
    func message(answeringHEAD: Bool = false) -> Message? {
        guard let head = read(until: "\r\n\r\n") else { return nil }
        var lines = head.components(separatedBy: "\r\n").filter { !$0.isEmpty }
        let start = lines.removeFirst()
        var message = Message(start: start, fields: lines)
        if answeringHEAD || start.contains(" 304") || start.contains(" 204") || start.hasPrefix("HTTP/1.1 1") {
            return message
        }
        if let length = message["content-length"].flatMap({ Int($0) }) {
            guard let body = read(length) else { return nil }
            message.body = String(decoding: body, as: UTF8.self)
        } else if message["transfer-encoding"] == "chunked" {
            while let line = read(until: "\r\n"), let size = Int(line.dropLast(1), radix: 16) {
                if size == 0 {
                    while let trailer = read(until: "\r\n"), trailer != "\r\n" {
                        message.trailers.append(String(trailer.dropLast(1)))
                    }
                    return message
                }
                guard let chunk = read(size), read(2) != nil else { return nil }
                message.body += String(decoding: chunk, as: UTF8.self)
            }
            return nil
        } else if start.hasPrefix("HTTP/") {
            message.body = readToEnd()
        }
        return message
    }
}

/// What a peer said, in HTTP/1.
struct Message {
    var start: String
    var fields: [String]
    var body = ""
    var trailers: [String] = []

    var status: Int { Int(start.split(separator: " ").dropFirst().first ?? "") ?? 0 }
    var path: String { String(start.split(separator: " ").dropFirst().first ?? "") }

    subscript(name: String) -> String? {
        fields.first { $0.lowercased().hasPrefix(name + ":") }
            .map { String($0.dropFirst(name.count + 1).drop { $0 == " " }) }
    }
}

extension String {
    func components(separatedBy mark: String) -> [String] {
        var parts: [String] = []
        var rest = self[...]
        while let range = rest.firstRange(of: mark) {
            parts.append(String(rest[..<range.lowerBound]))
            rest = rest[range.upperBound...]
        }
        return parts + [String(rest)]
    }
}

/// A server of a test: a thread per connection, which does what the test says.
final class TestServer: Sendable {
    let port: UInt16
    private let listening: Int32
    /// Connections that were accepted.
    let accepted = Atomic(0)
    /// Requests that were answered.
    let requests = Atomic(0)

    init(_ serve: @escaping @Sendable (Wire, TestServer) -> Void) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        listening = descriptor
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = bind(descriptor, $0, length)
                _ = getsockname(descriptor, $0, &length)
            }
        }
        listen(descriptor, 512)
        port = UInt16(bigEndian: address.sin_port)
        let weakly = Weakly(self)
        startThread {
            // Who accepts closes: another's socket would get the number of one that is closed beside it.
            defer { close(descriptor) }
            while true {
                let connection = accept(descriptor, nil, nil)
                guard connection >= 0 else { break }
                guard let server = weakly.server else {
                    close(connection)
                    break
                }
                server.accepted.add(1, ordering: .relaxed)
                let wire = Wire(connection)
                startThread { serve(wire, server) }
            }
        }
    }

    deinit {
        shutdown(listening, Int32(SHUT_RDWR))
    }

    private final class Weakly: @unchecked Sendable {
        weak var server: TestServer?
        init(_ server: TestServer) { self.server = server }
    }

    /// Answers each request by `answer`, which gets it and returns the whole response.
    static func http(_ answer: @escaping @Sendable (Message) -> String) -> TestServer {
        TestServer { wire, server in
            while let request = wire.message() {
                // Counted first: who has the answer may look at the count.
                server.requests.add(1, ordering: .relaxed)
                wire.send(answer(request))
            }
        }
    }

    /// Says which path was asked for, and the fields that came.
    static func echo(_ name: String = "") -> TestServer {
        http { request in
            let body = ([name + request.start] + request.fields + ["", request.body]).joined(separator: "\n")
            return "HTTP/1.1 200 OK\r\ncontent-length: \(body.utf8.count)\r\nx-upstream: \(name)\r\n\r\n\(body)"
        }
    }
}

private final class ThreadStart {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

func startThread(_ body: @escaping @Sendable () -> Void) {
    var thread = pthread_t()
    let start = Unmanaged.passRetained(ThreadStart(body))
    pthread_create(
        &thread, nil,
        { argument in
            Unmanaged<ThreadStart>.fromOpaque(argument!).takeRetainedValue().body()
            return nil
        }, start.toOpaque())
    pthread_detach(thread)
}
