import Glibc
import TLS
import Testing
import Time

@testable import Reactor

/// A server that looks at the first bytes before it speaks TLS.
@Suite struct StartingTLSTests {
    /// A client of TLS, and a listener of plaintext whose handler starts TLS once it has seen a whole greeting.
    private func pair(scratch: Int = 65_536) throws -> (pair: Pair, seen: () -> ClientHelloInspection) {
        let tls = try Authority().mutual()
        var configuration = LoopConfiguration()
        (configuration.receiveScratch, configuration.readBudget) = (scratch, 10 * scratch)
        final class Box {
            var bytes: [UInt8] = []
            var verdict = ClientHelloInspection.incomplete
            var started = false
        }
        let box = Box()
        let pair = try Pair(configuration: configuration, tls: nil, clientTLS: tls.client) { _, server in
            server.isRestarting = true
            server.isKeeping = false
            server.onReceived = { loop, id, bytes in
                if box.started {
                    server.received += bytes
                    return
                }
                box.bytes += bytes
                box.verdict = box.bytes.withUnsafeBytes { ClientHelloInspection.inspect($0) }
                guard case .greeting = box.verdict else { return }
                box.started = true
                loop.startTLS(id, tls.server.current, received: box.bytes)
            }
        }
        return (pair, { box.verdict })
    }

    @Test(arguments: [7, 65_536])
    func whatWasReadToLookAtItBelongsToTheHandshake(scratch: Int) throws {
        let (pair, seen) = try pair(scratch: scratch)
        pair.turn { pair.server.peer?.secure != nil && pair.client.isEstablished }
        #expect(seen() == .greeting(serverName: "localhost", applicationProtocols: ["http/1.1", "h2"]))
        pair.loop.write(Array("question".utf8), to: pair.clientID)
        pair.turn { pair.server.text == "question" }
        pair.loop.write(Array("answer".utf8), to: pair.serverID)
        pair.turn { pair.client.text == "answer" }
        #expect(pair.server.peer?.secure?.alpn == "h2")
        #expect(pair.loop.statistics.greeted == 1)
    }

    @Test func aListeningSocketOutlivesItsLoopAndItsConnectionsWait() throws {
        let socket = try ListeningSocket(.loopback(port: 0))
        do {
            let first = try EventLoop<Probe>()
            try first.listen(on: socket) { _, _, _ in Probe() }
            first.stop()
            first.run()
        }
        let client = try RawSocket(connectingTo: socket.address)
        client.send("waiting")
        let loop = try EventLoop<Probe>()
        let probe = Probe()
        let listener = try loop.listen(on: ListeningSocket(adopting: dup(socket.descriptor))) { _, _, _ in probe }
        #expect(loop.address(of: listener) == socket.address)
        loop.turn { probe.text == "waiting" }
        #expect(throws: ReactorError.self) { try ListeningSocket(adopting: client.descriptor) }
    }

    @Test func aConnectionThatNobodyRedirectedHasNoOtherDestination() throws {
        let pair = try Pair()
        #expect(pair.loop.originalDestination(of: pair.serverID) == nil)
        let mapped = SocketAddress.ipv6(high: 0, low: 0xffff_7f00_0001, port: 80)
        #expect(mapped.mappedIPv4 == .ipv4(0x7f00_0001, port: 80))
        #expect(SocketAddress.ipv6(high: 0, low: 1, port: 80).mappedIPv4 == nil)
    }
}
