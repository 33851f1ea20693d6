import Glibc
import HTTP
import HTTP2
import Testing
import Time

@Suite(.serialized) struct MemoryTests {
    /// The library's share, which does not depend on what else the test process does.
    @Test func aConnectionWithOneStreamHoldsLessThanFiveKilobytesBesideItsPage() {
        let client = RawClient()
        client.request(1, end: false)
        #expect(client.server.send([UInt8](repeating: 1, count: 2000), on: 1, now: client.now) == .queued)
        client.settle()
        #expect(client.server.libraryBytes > 1000)
        #expect(client.server.libraryBytes < 5 * 1024)
    }

    @Test func streamsThatComeAndGoLeaveNothingBehind() {
        let client = RawClient()
        client.request(1)
        let before = client.server.libraryBytes
        for index in 1..<5000 { client.request(UInt32(2 * index + 1)) }
        #expect(client.server.libraryBytes == before)
        #expect(client.server.openStreamCount == 0)
    }

    /// In a process of its own: what other tests hold meanwhile is not counted.
    @Test func connectionsThatComeAndGoLeaveNothingBehind() async {
        await #expect(processExitsWith: .success) {
            func comeAndGo(_ count: Int) {
                for _ in 0..<count {
                    let client = RawClient()
                    client.request(1)
                }
            }
            comeAndGo(2000)
            let before = residentBytes()
            comeAndGo(20_000)
            // A leak of one page each would be 80 MB.
            try #require(residentBytes() - before < 8 << 20)
        }
    }

    /// Prints figures; run with MARTINET_MEASURE=1, alone and in a release build.
    @Test(.enabled(if: getenv("MARTINET_MEASURE") != nil), arguments: [0, 4096])
    func tenThousandConnectionsMeasured(headerTable: Int) {
        let count = 10_000
        var limits = HTTP2Limits()
        limits.receivingHeaderTableSize = headerTable
        limits.keepaliveInterval = nil
        let message = [UInt8](repeating: 1, count: 2000)
        let request =
            RawHeaders.requestBlock
            + RawHeaders.indexed("content-type", "application/grpc") + RawHeaders.indexed("te", "trailers")
            + RawHeaders.indexed("user-agent", "grpc-c++/1.60.0 grpc-c/37.0.0 (linux; chttp2)")
            + RawHeaders.indexed("grpc-accept-encoding", "identity, deflate, gzip")
        let opening =
            RawFrame.preface + RawFrame.settings().encoded() + RawFrame.headers(1, request).encoded()
            + RawFrame.settingsAcknowledgement.encoded() + RawFrame.windowUpdate(0, 1000).encoded()
        var output = [UInt8](repeating: 0, count: 64 * 1024)
        var events: [HTTP2Event] = []
        let now = Instant(nanoseconds: 0)
        let before = residentBytes()
        var connections: [HTTP2Connection] = []
        connections.reserveCapacity(count)
        for _ in 0..<count {
            let connection = HTTP2Connection(role: .server, limits: limits, now: now)
            opening.withUnsafeBytes { connection.receive($0, now: now, events: &events) }
            events.removeAll(keepingCapacity: true)
            connection.respond(HeaderList([(":status", "200"), ("content-type", "application/grpc")]), on: 1)
            _ = connection.send(message, on: 1, now: now)
            output.withUnsafeMutableBytes { buffer in
                while connection.produceOutput(into: buffer, now: now, events: &events) > 0 {}
            }
            connections.append(connection)
        }
        let after = residentBytes()
        print(
            "header table \(headerTable): resident per connection: \((after - before) / count) bytes; library beside its page:",
            connections[0].libraryBytes)
        #expect(connections.allSatisfy { $0.openStreamCount == 1 && $0.unsentBytes == 0 })
    }
}

/// Resident bytes of this process. Source: proc(5), statm.
private func residentBytes() -> Int {
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 128)
    guard fgets(&line, 128, file) != nil else { return 0 }
    let fields = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        .split(separator: " ")
    return (fields.count > 1 ? Int(fields[1]) ?? 0 : 0) * Int(getpagesize())
}
