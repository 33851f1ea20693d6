import Glibc
import Testing
import Time

@testable import Reactor

/// Bytes that show every loss, repetition and swap.
let pattern: [UInt8] = [UInt8](unsafeUninitializedCapacity: 50 << 20) { bytes, count in
    var random = SplitMix(state: 1)
    bytes.withMemoryRebound(to: UInt64.self) { words in
        for position in words.indices { words[position] = random.next() }
    }
    count = bytes.count
}

/// Writes `total` bytes of the pattern as long as the connection takes them; then ends.
final class Producer {
    let total: Int
    let piece: Int
    var written = 0

    init(total: Int, piece: Int) { (self.total, self.piece) = (total, piece) }

    func produce(_ loop: EventLoop<Probe>, _ id: ConnectionID) {
        while written < total, loop.isWritable(id) {
            let end = min(total, written + piece)
            pattern.withUnsafeBytes { loop.write(UnsafeRawBufferPointer(rebasing: $0[written..<end]), to: id) }
            written = end
        }
        if written == total { loop.halfClose(id) }
    }
}

func tiny() -> (ListenOptions, ConnectOptions) {
    var (listen, connect) = (ListenOptions(), ConnectOptions())
    (listen.sendBuffer, listen.receiveBuffer) = (4096, 4096)
    (connect.sendBuffer, connect.receiveBuffer) = (4096, 4096)
    return (listen, connect)
}

@Suite struct TransferTests {
    @Test(arguments: [(1000, 64 << 10), (70_000, 64 << 10), (4096, 1 << 20), (300_000, 4096)])
    func tenMegabytesPassThroughTinyBuffersUnchanged(piece: Int, scratch: Int) throws {
        let (listen, connect) = tiny()
        var configuration = LoopConfiguration()
        configuration.outputScratch = scratch
        configuration.blockedOutputLimit = 2 << 20
        let producer = Producer(total: 10 << 20, piece: piece)
        var (offset, wrong) = (0, 0)
        let pair = try Pair(configuration: configuration, listen: listen, connect: connect) { client, server in
            server.onEstablished = producer.produce
            server.onReady = producer.produce
            client.isKeeping = false
            client.onReceived = { _, _, bytes in
                pattern.withUnsafeBytes {
                    if memcmp($0.baseAddress! + offset, bytes.baseAddress!, bytes.count) != 0 { wrong += 1 }
                }
                offset += bytes.count
            }
            client.onEnd = { loop, id in loop.halfClose(id) }
        }
        pair.turn { !pair.server.reasons.isEmpty && !pair.client.reasons.isEmpty }
        #expect(offset == 10 << 20 && wrong == 0)
        #expect(pair.client.reasons == [.finished] && pair.server.reasons == [.finished])
        #expect(pair.server.readyCalls >= 5)
        #expect(pair.loop.statistics.bytesHeld == 0)
        // What was collected when the kernel took no more, and the write that met it.
        #expect(pair.loop.statistics.mostBytesHeld <= scratch + piece)
    }

    @Test func bothDirectionsCloseOnTheirOwn() throws {
        let pair = try Pair()
        pair.loop.write(Array("question".utf8), to: pair.clientID)
        pair.loop.halfClose(pair.clientID)
        pair.loop.write(Array("too late".utf8), to: pair.clientID)
        pair.turn { pair.server.ends == 1 }
        #expect(pair.server.text == "question")
        #expect(!pair.loop.isWritable(pair.clientID))
        // The other direction still works, long after.
        for part in ["an", "swer"] {
            pair.loop.write(Array(part.utf8), to: pair.serverID)
            pair.loop.settleDown()
        }
        #expect(pair.client.text == "answer" && pair.client.ends == 0)
        #expect(pair.client.reasons.isEmpty && pair.server.reasons.isEmpty)
        pair.loop.halfClose(pair.serverID)
        pair.turn { !pair.client.reasons.isEmpty && !pair.server.reasons.isEmpty }
        #expect(pair.client.ends == 1 && pair.server.ends == 1)
        #expect(pair.client.reasons == [.finished] && pair.server.reasons == [.finished])
    }

    @Test func writesOfOneTurnLeaveInOneSend() throws {
        let pair = try Pair()
        let before = pair.loop.statistics.sends
        for number in 0..<100 { pair.loop.write(Array("\(number),".utf8), to: pair.clientID) }
        #expect(pair.loop.statistics.sends == before)
        pair.turn { pair.server.receivedCount == 290 }
        #expect(pair.loop.statistics.sends == before + 1)
        #expect(pair.server.receivedCalls == 1)
    }

    @Test func outputForMoreConnectionsThanScratchesStaysInOrder() throws {
        var configuration = LoopConfiguration()
        configuration.outputScratches = 2
        let loop = try EventLoop<Probe>(configuration)
        var servers: [Probe] = []
        let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in
            servers.append(Probe())
            return servers.last
        }
        let address = try #require(loop.address(of: listener))
        let clients = (0..<5).map { _ in Probe() }
        for client in clients { loop.connect(to: address, handler: client) }
        loop.turn { servers.count == 5 && clients.allSatisfy(\.isEstablished) }
        for round in 0..<20 {
            for client in clients { loop.write([UInt8(round)], to: try #require(client.id)) }
        }
        loop.turn { servers.allSatisfy { $0.receivedCount == 20 } }
        #expect(servers.allSatisfy { $0.received == Array(0..<20) })
    }

    @Test func aPeerThatDoesNotReadCostsBoundedMemoryAndStopsTheWriter() throws {
        let (listen, connect) = tiny()
        let producer = Producer(total: 50 << 20, piece: 16 << 10)
        let pair = try Pair(listen: listen, connect: connect) { client, server in
            client.isKeeping = false
            client.onEstablished = { loop, id in loop.pauseReading(id) }
            server.onEstablished = producer.produce
            server.onReady = producer.produce
        }
        pair.loop.settleDown()
        let held = pair.loop.bytesHeld(for: pair.serverID)
        #expect(held > 0 && held <= 80 << 10)
        #expect(pair.loop.statistics.bytesHeld == held)
        #expect(producer.written < 1 << 20)
        #expect(!pair.loop.isWritable(pair.serverID) && pair.client.receivedCount == 0)
        pair.loop.resumeReading(pair.clientID)
        pair.turn { producer.written > 4 << 20 }
        #expect(pair.loop.statistics.mostBytesHeld <= 80 << 10)
        #expect(pair.client.readyCalls == 0)
    }

    @Test func aWriterThatDoesNotHeedIsClosedAtTheLimit() throws {
        var configuration = LoopConfiguration()
        configuration.blockedOutputLimit = 200_000
        let (listen, connect) = tiny()
        let pair = try Pair(configuration: configuration, listen: listen, connect: connect) { client, _ in
            client.onEstablished = { loop, id in loop.pauseReading(id) }
        }
        let piece = [UInt8](repeating: 7, count: 10_000)
        for _ in 0..<1000 { pair.loop.write(piece, to: pair.serverID) }
        pair.turn { !pair.server.reasons.isEmpty }
        #expect(pair.server.reasons == [.outputLimit(bytes: 200_000)])
        #expect(pair.loop.statistics.mostBytesHeld <= 200_000 && pair.loop.statistics.bytesHeld == 0)
    }

    @Test func outputBeforeTheConnectionIsThereIsKeptInOrderAndBounded() throws {
        var configuration = LoopConfiguration()
        configuration.blockedOutputLimit = 100
        let loop = try EventLoop<Probe>(configuration)
        let (server, client, greedy) = (Probe(), Probe(), Probe())
        var waiting = [server]
        let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in waiting.popLast() }
        let address = try #require(loop.address(of: listener))
        let id = loop.connect(to: address, handler: client)
        client.onEstablished = { loop, id in loop.write(Array("second".utf8), to: id) }
        loop.write(Array("first ".utf8), to: id)
        #expect(!loop.isWritable(id))
        loop.write(Array("and ".utf8), to: id)
        let other = loop.connect(to: address, handler: greedy)
        loop.write([UInt8](repeating: 0, count: 101), to: other)
        loop.turn { server.receivedCount == 16 && !greedy.reasons.isEmpty }
        #expect(server.text == "first and second")
        #expect(greedy.reasons == [.outputLimit(bytes: 100)] && !greedy.isEstablished)
    }

    @Test func outputAndHalfCloseBeforeTheConnectionIsThereBothArrive() throws {
        let loop = try EventLoop<Probe>()
        let (server, client) = (Probe(), Probe())
        let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in server }
        let id = loop.connect(to: try #require(loop.address(of: listener)), handler: client)
        loop.write(Array("all".utf8), to: id)
        loop.halfClose(id)
        loop.write(Array("too late".utf8), to: id)
        loop.turn { server.ends == 1 }
        #expect(server.text == "all" && client.isEstablished)
    }

    @Test func aBusyPeerDoesNotStarveTheOthers() throws {
        var configuration = LoopConfiguration()
        (configuration.receiveScratch, configuration.readBudget) = (1000, 4000)
        let loop = try EventLoop<Probe>(configuration)
        var servers: [Probe] = []
        let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in
            servers.append(Probe())
            return servers.last
        }
        let address = try #require(loop.address(of: listener))
        let busy = try RawSocket(connectingTo: address)
        loop.turn { servers.count == 1 }
        let quiet = try RawSocket(connectingTo: address)
        loop.turn { servers.count == 2 }
        loop.settleDown()
        busy.send(String(repeating: "x", count: 100_000))
        quiet.send("y")
        loop.turn(waiting: .seconds(1))
        #expect(servers[0].receivedCount == 4000 && servers[1].receivedCount == 1)
        let waits = loop.statistics.waits
        loop.turn { servers[0].receivedCount == 100_000 }
        #expect(loop.statistics.waits - waits == 24)
    }

    @Test func aFastReaderDoesNotLetOneWriterTakeTheLoop() throws {
        var configuration = LoopConfiguration()
        configuration.writeBudget = 100_000
        configuration.outputScratch = 10_000
        let pair = try Pair(configuration: configuration)
        let producer = Producer(total: 1_000_000, piece: 10_000)
        pair.server.onReady = producer.produce
        producer.produce(pair.loop, pair.serverID)
        #expect(producer.written <= 120_000)
        pair.turn { pair.client.ends == 1 }
        #expect(pair.client.received == Array(pattern[..<1_000_000]))
        #expect(pair.server.readyCalls >= 8)
    }

    @Test func pausedInputWaitsInTheKernelAndTheEndIsNotLost() throws {
        let pair = try Pair()
        pair.loop.pauseReading(pair.serverID)
        pair.loop.write(Array("one".utf8), to: pair.clientID)
        pair.loop.settleDown()
        pair.loop.write(Array(" two".utf8), to: pair.clientID)
        pair.loop.halfClose(pair.clientID)
        pair.loop.settleDown()
        #expect(pair.server.receivedCount == 0 && pair.server.ends == 0)
        pair.loop.resumeReading(pair.serverID)
        pair.turn { pair.server.ends == 1 }
        #expect(pair.server.text == "one two")
    }

    @Test func pausingInACallbackKeepsTheRestForLater() throws {
        var configuration = LoopConfiguration()
        configuration.receiveScratch = 4
        let pair = try Pair(configuration: configuration) { _, server in
            server.onReceived = { loop, id, _ in loop.pauseReading(id) }
        }
        pair.loop.write(Array("abcdefghij".utf8), to: pair.clientID)
        pair.loop.settleDown()
        #expect(pair.server.text == "abcd")
        pair.loop.resumeReading(pair.serverID)
        pair.loop.settleDown()
        #expect(pair.server.text == "abcdefgh")
        pair.server.onReceived = { _, _, _ in }
        pair.loop.resumeReading(pair.serverID)
        pair.loop.settleDown()
        #expect(pair.server.text == "abcdefghij")
    }
}
