import Glibc
import Testing
import Time

@testable import Reactor

@Suite struct LifeCycleTests {
    @Test func anEventFetchedBeforeACloseNeverReachesTheNextConnectionOnThatDescriptor() throws {
        // Other tests of this process open descriptors too: the kernel may give the freed one to them.
        for _ in 1...50 where try isDescriptorReusedWithinABatch() { return }
        Issue.record("in 50 attempts no new connection got the descriptor of the closed one")
    }

    /// Whether the new connection got the descriptor of the one that was closed in the same batch of events.
    private func isDescriptorReusedWithinABatch() throws -> Bool {
        let loop = try EventLoop<Probe>()
        var servers: [Probe] = []
        let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in
            servers.append(Probe())
            return servers.last
        }
        let address = try #require(loop.address(of: listener))
        let first = try RawSocket(connectingTo: address)
        loop.turn { servers.count == 1 && servers[0].isEstablished }
        let second = try RawSocket(connectingTo: address)
        loop.turn { servers.count == 2 && servers[1].isEstablished }
        loop.settleDown()
        let secondID = try #require(servers[1].id)
        let freed = loop.slab[secondID.index].pointee.descriptor
        servers[0].onReceived = { loop, _, _ in loop.close(secondID) }
        // One batch of events in this order: the first's input, a new connection, the second's input.
        first.send("close the other")
        let third = try RawSocket(connectingTo: address)
        second.send("for nobody")
        loop.turn(waiting: .seconds(1))
        #expect(servers.count == 3)
        let thirdID = try #require(servers[2].id)
        #expect(loop.statistics.staleEvents == 1)
        #expect(servers[1].reasons == [.requested] && servers[1].receivedCount == 0)
        third.send("mine")
        loop.turn { servers[2].receivedCount == 4 }
        #expect(servers[2].text == "mine")
        return loop.slab[thirdID.index].pointee.descriptor == freed
    }

    @Test func anEventOfAClosedConnectionNeverReachesTheNextOneInItsSlot() throws {
        let loop = try EventLoop<Probe>()
        var servers: [Probe] = []
        let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in
            servers.append(Probe())
            return servers.last
        }
        let address = try #require(loop.address(of: listener))
        let first = try RawSocket(connectingTo: address)
        loop.turn { servers.count == 1 && servers[0].isEstablished }
        let old = try #require(servers[0].id)
        // epoll goes on reporting a closed descriptor as long as a copy of it lives.
        let copy = dup(loop.slab[old.index].pointee.descriptor)
        defer { close(copy) }
        loop.close(old)
        loop.settleDown()
        let second = try RawSocket(connectingTo: address)
        loop.turn { servers.count == 2 && servers[1].isEstablished }
        let new = try #require(servers[1].id)
        #expect(new.index == old.index && new.generation == old.generation + 1)
        let stale = loop.statistics.staleEvents
        first.send("for nobody")
        loop.turn { loop.statistics.staleEvents > stale }
        #expect(servers[1].receivedCount == 0)
        second.send("mine")
        loop.turn { servers[1].receivedCount == 4 }
        // Nor do calls with the old ID.
        loop.write(Array("x".utf8), to: old)
        loop.halfClose(old)
        loop.close(old)
        loop.closeAfterFlush(old)
        #expect(loop.withHandler(old) { _ in true } == nil)
        #expect(!loop.cancelTimer(loop.setTimer(after: .seconds(1), for: old, token: 1)))
        loop.settleDown()
        #expect(loop.isOpen(new) && servers[0].reasons == [.requested] && servers[1].reasons.isEmpty)
        #expect(second.descriptor >= 0 && loop.statistics.connections == 1)
    }

    @Test func aConnectionMayCloseItselfInEveryCallback() throws {
        typealias Setting = (Probe) -> Void
        let settings: [(String, Setting)] = [
            ("established", { $0.onEstablished = { loop, id in loop.close(id) } }),
            ("received", { $0.onReceived = { loop, id, _ in loop.close(id) } }),
            ("end", { $0.onEnd = { loop, id in loop.close(id) } }),
            (
                "timer",
                {
                    $0.onEstablished = { loop, id in loop.setTimer(after: .zero, for: id, token: 9) }
                    $0.onTimer = { loop, id, _ in loop.close(id) }
                }
            ),
            (
                "ready",
                {
                    $0.onReceived = { loop, id, _ in while loop.isWritable(id) { loop.write([1, 2, 3], to: id) } }
                    $0.onReady = { loop, id in loop.close(id) }
                }
            ),
        ]
        for (name, setting) in settings {
            let pair = try Pair { _, server in setting(server) }
            pair.client.isKeeping = false
            pair.loop.write([1], to: pair.clientID)
            if name == "end" { pair.loop.halfClose(pair.clientID) }
            pair.turn { !pair.server.reasons.isEmpty }
            #expect(pair.server.reasons == [.requested], "\(name)")
            pair.loop.close(pair.clientID)
            pair.turn { !pair.client.reasons.isEmpty }
            #expect(pair.loop.statistics.connections == 0 && pair.loop.timerCount == 0)
        }
    }

    @Test func closedComesAfterTheCallbackAndEvenThenConnectionsMayBeOpened() throws {
        let loop = try EventLoop<Probe>()
        let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in
            let server = Probe()
            server.onEstablished = { loop, id in loop.write([1], to: id) }
            server.onEnd = { loop, id in loop.close(id) }
            return server
        }
        let address = try #require(loop.address(of: listener))
        let (first, second) = (Probe(), Probe())
        var wasOpenInside = true
        first.onReceived = { [unowned first] loop, id, _ in
            loop.close(id)
            loop.close(id)
            wasOpenInside = loop.isOpen(id) || !first.reasons.isEmpty
        }
        first.onClosed = { loop, _ in loop.connect(to: address, handler: second) }
        loop.connect(to: address, handler: first)
        loop.turn { second.receivedCount == 1 }
        #expect(!wasOpenInside && first.reasons == [.requested])
        loop.turn { loop.statistics.connections == 2 }
    }

    @Test func oneHandlerReachesAnotherInTheSameLoop() throws {
        let pair = try Pair()
        let (clientID, client) = (pair.clientID, pair.client)
        pair.server.onReceived = { loop, id, bytes in
            let copy = Array(bytes)
            let count = loop.withHandler(clientID) { other in
                other.received += [0]
                return other.received.count
            }
            #expect(count == 1)
            loop.write(copy, to: clientID)
            loop.close(clientID)
        }
        pair.loop.write([5], to: clientID)
        pair.turn { !client.reasons.isEmpty }
        #expect(client.received == [0])
        #expect(pair.loop.withHandler(clientID) { _ in 0 } == nil)
    }

    @Test func everyOpenHandlerIsVisitedAndMayBeClosedMeanwhile() throws {
        let pair = try Pair()
        var visited: [ConnectionID] = []
        pair.loop.forEachHandler { probe, id in
            visited.append(id)
            pair.loop.close(id)
            pair.loop.close(pair.clientID)
        }
        // The first visited closes both.
        #expect(visited.count == (visited.first == pair.clientID ? 2 : 1) || visited.count == 2)
        pair.turn { !pair.client.reasons.isEmpty && !pair.server.reasons.isEmpty }
        pair.loop.forEachHandler { _, _ in Issue.record("nothing is open") }
    }

    @Test func theLastBytesArriveAlthoughInputWasNotRead() throws {
        let pair = try Pair { _, server in
            server.onReceived = { loop, id, _ in
                loop.write(Array("GOAWAY".utf8), to: id)
                loop.closeAfterFlush(id, reason: .violation("too much"))
                loop.write(Array("never".utf8), to: id)
                loop.setTimer(after: .zero, for: id, token: 1)
            }
        }
        pair.client.onEnd = { loop, id in loop.halfClose(id) }
        // Far more than one read takes: closing at once would reset the connection.
        pair.loop.write([UInt8](repeating: 1, count: 900_000), to: pair.clientID)
        pair.turn { !pair.server.reasons.isEmpty && !pair.client.reasons.isEmpty }
        #expect(pair.client.text == "GOAWAY")
        #expect(pair.server.reasons == [.violation("too much")] && pair.server.receivedCalls == 1)
        #expect(pair.server.tokens.isEmpty && pair.loop.timerCount == 0)
    }

    @Test func aPeerThatNeverEndsDoesNotHoldAClosingConnection() throws {
        var configuration = LoopConfiguration()
        configuration.closingTimeout = .milliseconds(30)
        let pair = try Pair(configuration: configuration)
        pair.loop.closeAfterFlush(pair.serverID)
        pair.loop.settleDown()
        pair.turn { !pair.server.reasons.isEmpty }
        #expect(pair.server.reasons == [.requested])
        #expect(pair.client.ends == 1 && pair.client.reasons.isEmpty)
    }

    @Test func whoDoesNotWaitForThePeersEndClosesAsSoonAsAllIsSent() throws {
        let pair = try Pair()
        pair.loop.write(Array("bye".utf8), to: pair.serverID)
        pair.loop.closeAfterFlush(pair.serverID, within: .zero)
        pair.turn { !pair.server.reasons.isEmpty && pair.client.ends == 1 }
        #expect(pair.client.text == "bye" && pair.client.reasons.isEmpty)
    }

    @Test func whatAPeerSaidBeforeItBrokeOffIsReadFirst() throws {
        let loop = try EventLoop<Probe>()
        let server = Probe()
        let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in server }
        let peer = try RawSocket(connectingTo: try #require(loop.address(of: listener)))
        loop.turn { server.isEstablished }
        loop.settleDown()
        let id = try #require(server.id)
        // The peer closes with unread input, which answers our next bytes with a reset.
        loop.write([1], to: id)
        loop.flush(id)
        peer.send("my reason")
        peer.close()
        loop.write([2], to: id)
        loop.flush(id)
        loop.write([3], to: id)
        loop.flush(id)
        loop.turn { !server.reasons.isEmpty }
        #expect(server.text == "my reason")
        guard case .failed(let error) = server.reasons[0] else {
            Issue.record("\(server.reasons)")
            return
        }
        #expect(error.number == ECONNRESET || error.number == EPIPE)
    }

    @Test func aResetIsNamed() throws {
        let loop = try EventLoop<Probe>()
        let server = Probe()
        let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in server }
        let peer = try RawSocket(connectingTo: try #require(loop.address(of: listener)))
        loop.turn { server.isEstablished }
        peer.reset()
        loop.turn { !server.reasons.isEmpty }
        #expect(server.reasons == [.failed(SystemError(call: "recv", number: ECONNRESET))])
        #expect(server.reasons[0].description == "broken off: recv: Connection reset by peer")
    }

    @Test func aResetIsNoticedEvenWhileInputIsPaused() throws {
        let loop = try EventLoop<Probe>()
        let server = Probe()
        let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in server }
        let peer = try RawSocket(connectingTo: try #require(loop.address(of: listener)))
        loop.turn { server.isEstablished }
        loop.pauseReading(try #require(server.id))
        peer.reset()
        loop.turn { !server.reasons.isEmpty }
        #expect(server.reasons == [.failed(SystemError(call: "recv", number: ECONNRESET))])
    }

    @Test func laterWorkRunsInTheNextTurnOutsideCallbacks() throws {
        let pair = try Pair()
        let (id, client) = (pair.clientID, pair.client)
        var turns: [UInt64] = []
        client.onReceived = { loop, _, _ in
            turns.append(loop.statistics.waits)
            loop.later { loop in
                turns.append(loop.statistics.waits)
                #expect(loop.withHandler(id) { $0.receivedCount } == 1)
            }
        }
        pair.loop.write([1], to: pair.serverID)
        pair.turn { turns.count == 2 }
        #expect(turns[1] == turns[0] + 1)
    }

    @Test func delaysCountFromTheClockWhileTheLoopDoesNotTurn() throws {
        let pair = try Pair()
        var used = timespec(tv_sec: 0, tv_nsec: 30_000_000)
        nanosleep(&used, nil)
        let moment = Loop.readClock()
        #expect(pair.loop.now >= moment)
        var fired: Instant?
        pair.loop.schedule(after: .milliseconds(5)) { fired = $0.now }
        pair.turn { fired != nil }
        #expect(try #require(fired) >= moment.advanced(by: .milliseconds(5)))
    }

    @Test func aRefusedConnectionIsNamed() throws {
        let loop = try EventLoop<Probe>()
        let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in nil }
        let address = try #require(loop.address(of: listener))
        loop.stopListening(listener)
        let client = Probe()
        let id = loop.connect(to: address, handler: client)
        #expect(loop.isOpen(id) && client.reasons.isEmpty)
        loop.turn { !client.reasons.isEmpty }
        #expect(client.reasons == [.connectFailed(SystemError(call: "connect", number: ECONNREFUSED))])
        #expect(client.reasons[0].description == "cannot connect: connect: Connection refused")
        #expect(loop.timerCount == 0)
        let missing = Probe()
        loop.connect(to: .unix(path: "/nonexistent/socket"), handler: missing)
        loop.turn { !missing.reasons.isEmpty }
        #expect(missing.reasons == [.connectFailed(SystemError(call: "connect", number: ENOENT))])
    }

    @Test func anUnansweredConnectionTimesOut() throws {
        // A listener that does not accept and whose queue is full drops what comes.
        let blocked = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(blocked) }
        let bound = SocketAddress.loopback(port: 0).withSystemForm { pointer, length in
            bind(blocked, pointer.assumingMemoryBound(to: sockaddr.self), length)
        }
        #expect(bound == 0 && listen(blocked, 0) == 0)
        let address = try #require(SocketAddress.read(blocked, local: true))
        let loop = try EventLoop<Probe>()
        let clients = (0..<4).map { _ in Probe() }
        var options = ConnectOptions()
        options.timeout = .milliseconds(50)
        for client in clients { loop.connect(to: address, options: options, handler: client) }
        loop.turn { clients.contains { !$0.reasons.isEmpty } }
        let reasons = clients.flatMap(\.reasons)
        #expect(reasons.allSatisfy { $0 == .connectTimedOut(after: .milliseconds(50)) })
        #expect(clients.contains { $0.isEstablished })
    }

    @Test func timersOfAConnectionFireInOrderAndEndWithIt() throws {
        let pair = try Pair()
        let (loop, id) = (pair.loop, pair.clientID)
        loop.setTimer(after: .milliseconds(20), for: id, token: 2)
        loop.setTimer(after: .milliseconds(10), for: id, token: 1)
        let cancelled = loop.setTimer(after: .milliseconds(15), for: id, token: 7)
        loop.setTimer(after: .seconds(3600), for: id, token: 8)
        #expect(loop.cancelTimer(cancelled))
        var worked = 0
        loop.schedule(after: .milliseconds(12)) { _ in worked += 1 }
        let never = loop.schedule(after: .milliseconds(13)) { _ in worked += 100 }
        #expect(loop.cancelTimer(never))
        pair.client.onTimer = { loop, id, token in if token == 2 { loop.close(id) } }
        pair.turn { !pair.client.reasons.isEmpty }
        #expect(pair.client.tokens == [1, 2] && worked == 1)
        #expect(loop.timerCount == 0 && loop.statistics.timersFired == 3)
    }

    @Test func stoppingClosesEverythingAndTellsEveryHandler() throws {
        let pair = try Pair()
        pair.loop.schedule(after: .zero) { $0.stop() }
        pair.loop.run()
        #expect(pair.client.reasons == [.loopStopped] && pair.server.reasons == [.loopStopped])
        #expect(!pair.loop.mailbox.submit { _ in })
        #expect(pair.loop.statistics.connections == 0)
    }

    @Test func aReleasedLoopReleasesItsHandlers() throws {
        weak var client: Probe?
        do {
            let pair = try Pair()
            client = pair.client
            #expect(client != nil)
        }
        #expect(client == nil)
    }
}
