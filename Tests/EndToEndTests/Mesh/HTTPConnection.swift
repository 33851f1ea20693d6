import Foundation
import Synchronization

/// One kept HTTP/1.1 connection of a test's, on a blocking socket: any local address, any `Host`.
final class HTTPConnection {
    struct Answer: Sendable {
        var code: Int
        /// By lower-case name; several of one name are joined by commas.
        var headers: [String: String]
        var body: String
    }

    /// What is asked for.
    struct Call: Sendable {
        var address: String
        var port: Int
        var host: String
        var path: String
        var method = "GET"
        var headers: [String: String] = [:]
        var body = ""
        /// Seconds until a read is given up.
        var timeout = 15

        func adding(_ headers: [String: String]) -> Call {
            var copy = self
            copy.headers.merge(headers) { $1 }
            return copy
        }
    }

    struct Problem: Error, CustomStringConvertible {
        var description: String
        /// Closed before a byte of an answer, on a connection that had answered before.
        var isStale = false
    }

    private let descriptor: Int32
    private var buffer: [UInt8] = []
    private var answers = 0
    private(set) var isOpen = true

    init(address: String, port: Int, timeout: Int) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_port = in_port_t(port).bigEndian
        place.sin_addr.s_addr = inet_addr(address)
        var wait = timeval(tv_sec: timeout, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &wait, socklen_t(MemoryLayout<timeval>.size))
        let status = withUnsafePointer(to: &place) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 else {
            let words = String(cString: strerror(errno))
            close(descriptor)
            isOpen = false
            throw Problem(description: "connect \(address):\(port): \(words)")
        }
    }

    deinit { end() }

    private func end() {
        if isOpen { close(descriptor) }
        isOpen = false
    }

    /// One exchange on a connection of its own.
    static func exchange(_ call: Call) throws -> Answer {
        try HTTPConnection(address: call.address, port: call.port, timeout: call.timeout).exchange(call)
    }

    func exchange(_ call: Call) throws -> Answer {
        var head = "\(call.method) \(call.path) HTTP/1.1\r\nhost: \(call.host)\r\n"
        for (name, value) in call.headers.sorted(by: { $0.key < $1.key }) { head += "\(name): \(value)\r\n" }
        if !call.body.isEmpty || call.method == "POST" { head += "content-length: \(call.body.utf8.count)\r\n" }
        do {
            try send(Array((head + "\r\n" + call.body).utf8))
            let answer = try receive(call.method)
            answers += 1
            if answer.headers["connection"]?.lowercased() == "close" { end() }
            return answer
        } catch {
            end()
            throw error
        }
    }

    private func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else {
                throw Problem(description: "send: \(String(cString: strerror(errno)))", isStale: answers > 0)
            }
            sent += count
        }
    }

    /// Reads more; false at the end of the stream.
    private func fill(isFirst: Bool = false) throws -> Bool {
        var chunk = [UInt8](repeating: 0, count: 16 << 10)
        let count = recv(descriptor, &chunk, chunk.count, 0)
        guard count >= 0 else {
            let isStale = isFirst && answers > 0 && errno == ECONNRESET
            throw Problem(description: "recv: \(String(cString: strerror(errno)))", isStale: isStale)
        }
        buffer += chunk[..<count]
        return count > 0
    }

    private func line() throws -> String {
        while true {
            if let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                let text = String(decoding: buffer[..<end], as: UTF8.self)
                buffer.removeSubrange(...end)
                return text.hasSuffix("\r\n") || text.hasSuffix("\r") ? String(text.dropLast()) : text
            }
            let isFirst = buffer.isEmpty
            guard try fill(isFirst: isFirst) else {
                throw Problem(
                    description: "closed before the answer was complete", isStale: isFirst && answers > 0)
            }
        }
    }

    private func bytes(_ count: Int) throws -> [UInt8] {
        while buffer.count < count {
            guard try fill() else { throw Problem(description: "closed in the body of an answer") }
        }
        defer { buffer.removeFirst(count) }
        return Array(buffer.prefix(count))
    }

    private func receive(_ method: String) throws -> Answer {
        let status = try line().split(separator: " ")
        guard status.count >= 2, status[0].hasPrefix("HTTP/1."), let code = Int(status[1]) else {
            throw Problem(description: "no answer of HTTP/1.1: \(status)")
        }
        var headers: [String: String] = [:]
        while true {
            let text = try line()
            guard let colon = text.firstIndex(of: ":") else { break }
            let value = text[text.index(after: colon)...].trimmingCharacters(in: .whitespaces)
            headers[text[..<colon].lowercased(), default: ""] +=
                headers[text[..<colon].lowercased()] == nil ? value : ", " + value
        }
        var body: [UInt8] = []
        if method == "HEAD" || code == 204 || code == 304 {
        } else if let length = headers["content-length"].flatMap({ Int($0) }) {
            body = try bytes(length)
        } else if headers["transfer-encoding"]?.lowercased() == "chunked" {
            while true {
                let length = Int(try line().prefix { $0 != ";" }, radix: 16) ?? 0
                body += try bytes(length)
                _ = try line()
                if length == 0 { break }
            }
        } else {
            while try fill() {}
            (body, buffer) = (buffer, [])
            end()
        }
        return Answer(code: code, headers: headers, body: String(decoding: body, as: UTF8.self))
    }
}

/// Calls one after the other on a kept connection; a connection that went away unused is replaced, as RFC 9110 9.2.2
/// allows for GET and every client does.
final class KeptCaller {
    private var connection: HTTPConnection?

    /// The answer, or in words why there is none.
    func outcome(_ call: HTTPConnection.Call) -> Result<HTTPConnection.Answer, HTTPConnection.Problem> {
        for _ in 0..<2 {
            do {
                if connection?.isOpen != true {
                    connection = try HTTPConnection(address: call.address, port: call.port, timeout: call.timeout)
                }
                return .success(try connection!.exchange(call))
            } catch let problem as HTTPConnection.Problem where problem.isStale {
                connection = nil
            } catch {
                connection = nil
                return .failure(error as? HTTPConnection.Problem ?? .init(description: "\(error)"))
            }
        }
        return .failure(.init(description: "closed before the answer, twice"))
    }
}

extension HTTPConnection.Call {
    /// What the answers came to: the version that answered with 200, otherwise the code, otherwise what went wrong.
    static func byVersion(_ outcome: Result<HTTPConnection.Answer, HTTPConnection.Problem>) -> String {
        switch outcome {
        case .success(let answer) where answer.code == 200: answer.headers["x-version"] ?? "200"
        case .success(let answer): "\(answer.code)"
        case .failure(let problem): problem.description
        }
    }

    /// Counts what `count` calls come to, on several connections at once.
    func tally(
        _ count: Int, connections: Int = 8,
        by key: @Sendable @escaping (Result<HTTPConnection.Answer, HTTPConnection.Problem>) -> String = byVersion
    ) -> [String: Int] {
        let total = Mutex<[String: Int]>([:])
        let left = Mutex(count)
        inThreads(min(connections, count)) {
            let caller = KeptCaller()
            var own: [String: Int] = [:]
            while left.withLock({ left in
                left -= 1
                return left >= 0
            }) {
                own[key(caller.outcome(self)), default: 0] += 1
            }
            total.withLock { $0.merge(own, uniquingKeysWith: +) }
        }
        return total.withLock { $0 }
    }
}

/// Does the same in as many threads as are asked for, whatever the number of cores: they wait more than they work.
private func inThreads(_ count: Int, _ work: @Sendable @escaping () -> Void) {
    let group = DispatchGroup()
    for _ in 0..<count {
        group.enter()
        Thread {
            work()
            group.leave()
        }.start()
    }
    group.wait()
}

/// Calls all the while, at a rate, until it is asked what became of them.
final class SteadyLoad: Sendable {
    private let isStopped = Mutex(false)
    private let counts = Mutex<[String: Int]>([:])
    private let threads: DispatchGroup

    init(_ call: HTTPConnection.Call, connections: Int = 4, perSecond rate: Double = 200) {
        threads = DispatchGroup()
        for _ in 0..<connections {
            threads.enter()
            Thread { [self] in
                let caller = KeptCaller()
                // At most ten minutes, whatever becomes of the test.
                let end = Date().addingTimeInterval(600)
                while !isStopped.withLock({ $0 }), Date() < end {
                    let began = Date()
                    let key = HTTPConnection.Call.byVersion(caller.outcome(call))
                    counts.withLock { $0[key, default: 0] += 1 }
                    let rest = Double(connections) / rate - Date().timeIntervalSince(began)
                    if rest > 0 { Thread.sleep(forTimeInterval: rest) }
                }
                threads.leave()
            }.start()
        }
    }

    /// So far, by version.
    var tally: [String: Int] { counts.withLock { $0 } }

    func stop() -> [String: Int] {
        isStopped.withLock { $0 = true }
        threads.wait()
        return tally
    }
}
