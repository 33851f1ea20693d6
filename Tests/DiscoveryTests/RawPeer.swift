import EnvoyAPI
import Foundation
import GRPC
import HTTP2
import Protobuf
import Testing
import Time
import XDS

@testable import Discovery

/// A client that does what a test says and nothing by itself: gRPC over one blocking socket.
final class RawPeer {
    let grpc: GRPCClientConnection
    private(set) var messages: [GRPCCallID: [[UInt8]]] = [:]
    private(set) var ends: [GRPCCallID: [GRPCStatus]] = [:]
    private(set) var goAways = 0
    private(set) var isClosed = false
    private var descriptor: Int32
    private var events = GRPCEvents<GRPCClientEvent>()

    /// - Parameter window: bytes that the server may send on a stream, and on all of them, before they are read.
    init(port: UInt16, window: Int = 65_535, receiveBuffer: Int32? = nil) throws {
        var limits = GRPCLimits()
        limits.http2.streamWindow = window
        limits.http2.connectionWindow = window
        limits.messageSize = 64 << 20
        grpc = GRPCClientConnection(authority: "test", limits: limits, now: Self.now)
        descriptor = try connectedSocket(port: port, receiveBuffer: receiveBuffer)
    }

    deinit { if descriptor >= 0 { Glibc.close(descriptor) } }

    private static var now: Instant { Instant(nanoseconds: Int64(DispatchTime.now().uptimeNanoseconds)) }

    func start(_ path: String) throws -> GRPCCallID {
        try #require(grpc.start(path, now: Self.now))
    }

    func send(_ request: XDS.DiscoveryRequest, on call: GRPCCallID) { send(framed: frame(request), on: call) }
    func send(_ request: XDS.DeltaDiscoveryRequest, on call: GRPCCallID) { send(framed: frame(request), on: call) }
    func send(message: [UInt8], on call: GRPCCallID) { send(framed: GRPC.frame(message), on: call) }

    func send(framed: [UInt8], on call: GRPCCallID, last: Bool = false) {
        _ = grpc.send(framed, on: call, last: last)
    }

    func status(of call: GRPCCallID) -> GRPCStatus? { ends[call]?.first }

    func deltaResponses(on call: GRPCCallID) throws -> [XDS.DeltaDiscoveryResponse] {
        try messages[call, default: []].map { try $0.withUnsafeBytes { try XDS.DeltaDiscoveryResponse(decoding: $0) } }
    }

    func responses(on call: GRPCCallID) throws -> [XDS.DiscoveryResponse] {
        try messages[call, default: []].map { try $0.withUnsafeBytes { try XDS.DiscoveryResponse(decoding: $0) } }
    }

    /// Sends what was ordered, without reading.
    func flush() {
        withUnsafeTemporaryAllocation(byteCount: 64 << 10, alignment: 1) { buffer in
            while true {
                let count = grpc.produceOutput(into: buffer, now: Self.now, events: &events)
                if count == 0 { break }
                var sent = 0
                while sent < count {
                    let result = Glibc.send(descriptor, buffer.baseAddress! + sent, count - sent, Int32(MSG_NOSIGNAL))
                    if result <= 0 {
                        isClosed = true
                        return
                    }
                    sent += result
                }
            }
        }
        take()
    }

    /// Sends and reads until `done`, the end of the connection, or the time is up.
    /// - Returns: whether `done`.
    @discardableResult
    func pump(seconds: Double = 60, until done: () throws -> Bool) rethrows -> Bool {
        let end = DispatchTime.now() + seconds
        flush()
        while true {
            if try done() { return true }
            if isClosed || DispatchTime.now() > end { return false }
            read()
            flush()
        }
    }

    private func read() {
        var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard Glibc.poll(&poll, 1, 20) > 0 else { return }
        withUnsafeTemporaryAllocation(byteCount: 256 << 10, alignment: 1) { buffer in
            let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
            guard count > 0 else {
                isClosed = true
                grpc.transportClosed("closed", events: &events)
                return take()
            }
            grpc.receive(UnsafeRawBufferPointer(rebasing: buffer[..<count]), now: Self.now, events: &events)
            take()
        }
    }

    private func take() {
        for event in events.list {
            switch event {
            case .message(let call, let message): messages[call, default: []].append(message.bytes)
            case .ended(let call, let status, _): ends[call, default: []].append(status)
            case .serverDrains: goAways += 1
            case .metadata, .writable, .connectionFailed: break
            }
        }
        events.removeAll()
    }

    /// Goes without a word.
    func close() {
        Glibc.close(descriptor)
        descriptor = -1
        isClosed = true
    }
}

/// A blocking TCP connection to a port of 127.0.0.1.
func connectedSocket(port: UInt16, receiveBuffer: Int32? = nil) throws -> Int32 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    if var size = receiveBuffer {
        setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
    }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    let result = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
    guard result == 0 else {
        let number = errno
        close(descriptor)
        throw POSIXError(POSIXErrorCode(rawValue: number) ?? .EIO)
    }
    return descriptor
}
