import Foundation
import TLS
import Testing

/// A running `openssl s_server` or `s_client`.
final class OpenSSLCommand {
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()

    init(_ arguments: [String]) throws {
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = arguments
        process.standardInput = input
        process.standardOutput = output
        process.standardError = output
        try process.run()
    }

    deinit {
        if process.isRunning { process.terminate() }
    }

    func type(_ text: String) {
        input.fileHandleForWriting.write(Data(text.utf8))
    }

    /// Reads what the command says until it has said `text`, or ends; all that it said.
    func readOutput(until text: String) -> String {
        var said = ""
        while !said.contains(text) {
            let chunk = output.fileHandleForReading.availableData
            if chunk.isEmpty { break }
            said += String(decoding: chunk, as: UTF8.self)
        }
        return said
    }

    /// Reads what the command says until a line that begins with `start` is complete, and returns it.
    func readLine(beginningWith start: String) -> Substring? {
        var said = ""
        while true {
            let lines = said.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
            if let line = lines.first(where: { $0.hasPrefix(start) }) { return line }
            let chunk = output.fileHandleForReading.availableData
            if chunk.isEmpty { return nil }
            said += String(decoding: chunk, as: UTF8.self)
        }
    }

    /// Ends the command's input and reads the rest of what it says.
    func finish() -> String {
        input.fileHandleForWriting.closeFile()
        let rest = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return String(decoding: rest, as: UTF8.self)
    }
}

/// A thin pump between an engine and a blocking loopback socket.
final class SocketPump {
    let engine: TLSEngine
    private let descriptor: Int32
    var received: [UInt8] = []
    private(set) var error: TLSError?

    init(_ engine: TLSEngine, _ descriptor: Int32) throws {
        self.engine = engine
        self.descriptor = descriptor
        limitPatience(of: descriptor)
        try engine.start { write($0) }
    }

    deinit {
        Glibc.close(descriptor)
    }

    private func write(_ bytes: UnsafeRawBufferPointer) {
        var rest = bytes
        while !rest.isEmpty {
            let count = Glibc.send(descriptor, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
            guard count > 0 else { return }
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
    }

    /// Takes what comes until `isDone`, the end of the stream, an error, or ten silent seconds.
    func run(until isDone: () -> Bool) {
        var buffer = [UInt8](repeating: 0, count: 3000)
        while !isDone(), error == nil {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { return }
            do throws(TLSError) {
                try engine.receive(
                    Array(buffer[..<count]), plaintext: { received += $0 }, output: { write($0) })
            } catch { self.error = error }
        }
    }

    func send(_ text: String) throws {
        try engine.send(Array(text.utf8)) { write($0) }
    }

    func close() {
        engine.close { write($0) }
    }
}

/// A listening loopback socket and its port.
struct LoopbackListener {
    let descriptor: Int32
    let port: Int

    init() throws {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = loopback(port: 0)
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withSocketAddress(&address) { bind(socket, $0, size) }
        try #require(bound == 0 && listen(socket, 8) == 0)
        var length = size
        _ = withSocketAddress(&address) { getsockname(socket, $0, &length) }
        limitPatience(of: socket)
        descriptor = socket
        port = Int(in_port_t(bigEndian: address.sin_port))
    }

    /// The next connection.
    func accept(_ settings: TLSSettings) throws -> SocketPump {
        let connection = Glibc.accept(descriptor, nil, nil)
        try #require(connection >= 0)
        return try SocketPump(try TLSEngine(settings), connection)
    }

    func close() {
        Glibc.close(descriptor)
    }
}

func connectToLoopback(port: Int, _ settings: TLSSettings) throws -> SocketPump {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = loopback(port: port)
    let size = socklen_t(MemoryLayout<sockaddr_in>.size)
    try #require(withSocketAddress(&address) { connect(descriptor, $0, size) } == 0)
    return try SocketPump(try TLSEngine(settings), descriptor)
}

/// A test must fail, not hang.
private func limitPatience(of descriptor: Int32) {
    var patience = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
}

private func loopback(port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
    return address
}

private func withSocketAddress<Result>(
    _ address: inout sockaddr_in, _ body: (UnsafeMutablePointer<sockaddr>) -> Result
) -> Result {
    withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0) }
    }
}
