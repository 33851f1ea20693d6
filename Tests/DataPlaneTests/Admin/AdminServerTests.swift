import Foundation
import Reactor
import Testing

@testable import DataPlane

/// The proxy's own ports, by sockets.
struct AdminServerTests {
    private func connected(to port: UInt16) -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_port = port.bigEndian
        place.sin_addr.s_addr = inet_addr("127.0.0.1")
        let status = withUnsafePointer(to: &place) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        #expect(status == 0)
        return descriptor
    }

    /// One that nobody listened at a moment ago.
    private func freeAddress() throws -> SocketAddress { try ListeningSocket(.loopback(port: 0)).address }

    @Test func aPlaceIsNotHeldByAByteNowAndThen() throws {
        let address = try freeAddress()
        var times = AdminConnection.Times()
        times.request = .milliseconds(200)
        let server = try AdminServer([(address, .metrics)], times: times) { _, reply in reply(AdminResponse("fine\n")) }
        defer { server.stop() }
        let port = try #require(address.port)
        let descriptor = connected(to: port)
        defer { close(descriptor) }
        // A whole request is answered, and the next one has a time of its own.
        let request = Array("GET /stats HTTP/1.1\r\nhost: x\r\n\r\n".utf8)
        var answer = [UInt8](repeating: 0, count: 4096)
        for _ in 0..<2 {
            #expect(send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count)
            let count = recv(descriptor, &answer, answer.count, 0)
            #expect(String(decoding: answer[..<max(0, count)], as: UTF8.self).hasSuffix("fine\n"))
        }
        var sent = 0
        for byte in request.dropLast(4) {
            guard send(descriptor, [byte], 1, Int32(MSG_NOSIGNAL)) == 1 else { break }
            sent += 1
            usleep(30_000)
        }
        #expect(sent < request.count - 4)
    }
}
