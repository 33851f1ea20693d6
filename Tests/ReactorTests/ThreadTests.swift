import Glibc
import Synchronization
import Testing
import Time

@testable import Reactor

/// Starts threads that run `body` with their number, and waits for all of them.
private func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) async {
    await withTaskGroup(of: Void.self) { group in
        for number in 0..<count { group.addTask { body(number) } }
    }
}

@Suite struct ThreadTests {
    @Test func jobsOfManyThreadsAllRunAndThoseOfOneInOrder() async throws {
        let seen = Mutex<[[Int]]>(Array(repeating: [], count: 4))
        let group = try EventLoopGroup<Probe>(count: 1) { _, _ in }
        let mailbox = group.mailboxes[0]
        await onThreads(4) { thread in
            for number in 0..<2000 {
                while !mailbox.submit({ _ in seen.withLock { $0[thread].append(number) } }) {}
            }
        }
        mailbox.stop()
        group.join()
        #expect(seen.withLock { $0 } == Array(repeating: Array(0..<2000), count: 4))
    }

    @Test func theMailboxIsBoundedAndAStoppedLoopTakesNothing() throws {
        var configuration = LoopConfiguration()
        configuration.mailboxLimit = 3
        let loop = try EventLoop<Probe>(configuration)
        let taken = (0..<5).map { _ in loop.mailbox.submit { _ in } }
        #expect(taken == [true, true, true, false, false])
        let rings = Atomic(0)
        let bell = loop.mailbox.doorbell { _ in rings.add(1, ordering: .relaxed) }
        for _ in 0..<1000 { bell.ring() }
        loop.turn(waiting: .seconds(1))
        #expect(loop.statistics.jobs == 4 && rings.load(ordering: .relaxed) == 1)
        bell.ring()
        loop.turn(waiting: .seconds(1))
        #expect(rings.load(ordering: .relaxed) == 2)
        #expect(loop.mailbox.submit { _ in })
        loop.mailbox.stop()
        loop.run()
        #expect(loop.statistics.jobs == 7)
        #expect(!loop.mailbox.submit { _ in })
        bell.ring()
    }

    @Test func aBatchOfJobsWakesTheLoopOnce() throws {
        let loop = try EventLoop<Probe>()
        for _ in 0..<100 { #expect(loop.mailbox.submit { _ in }) }
        loop.turn(waiting: .seconds(1))
        #expect(loop.statistics.jobs == 100)
        let waits = loop.statistics.waits
        loop.turn(waiting: .zero)
        #expect(loop.statistics.waits == waits + 1 && loop.statistics.jobs == 100)
    }

    @Test func severalLoopsShareOnePort() throws {
        // Finds a free port that stays reserved for the group by the same option.
        let finder = try EventLoop<Probe>()
        var options = ListenOptions()
        options.reusePort = true
        let reserved = try finder.listen(.loopback(port: 0), options: options) { _, _, _ in nil }
        let address = try #require(finder.address(of: reserved))
        let group = try EventLoopGroup<Echo>(count: 3) { loop, _ in
            var options = ListenOptions()
            options.reusePort = true
            try loop.listen(address, options: options) { _, _, _ in Echo() }
        }
        finder.stopListening(reserved)
        let peers = try (0..<60).map { _ in try RawSocket(connectingTo: address) }
        for (number, peer) in peers.enumerated() { peer.send("hello \(number)") }
        for (number, peer) in peers.enumerated() { #expect(peer.receive() == Array("hello \(number)".utf8)) }
        let counts = Mutex<[Int]>([])
        for mailbox in group.mailboxes {
            #expect(mailbox.submit { loop in counts.withLock { $0.append(Int(loop.statistics.accepted)) } })
        }
        group.stop()
        group.join()
        group.join()
        let shares = counts.withLock { $0 }
        #expect(shares.reduce(0, +) == 60 && shares.count == 3)
        #expect(shares.filter { $0 > 0 }.count >= 2)
        #expect(peers.allSatisfy { $0.receive() == [] })
    }

    @Test func drainingLetsConnectionsFinishAndThenStops() throws {
        let found = Mutex<SocketAddress?>(nil)
        let group = try EventLoopGroup<Echo>(count: 1) { loop, _ in
            let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in Echo() }
            found.withLock { $0 = loop.address(of: listener) }
        }
        let address = try #require(found.withLock { $0 })
        let peer = try RawSocket(connectingTo: address)
        peer.send("one")
        #expect(peer.receive() == Array("one".utf8))
        group.drain(grace: .seconds(60)) { loop in
            loop.forEachHandler { _, id in loop.write(Array("bye".utf8), to: id) }
        }
        #expect(peer.receive() == Array("bye".utf8))
        #expect(throws: SystemError(call: "connect", number: ECONNREFUSED)) { try RawSocket(connectingTo: address) }
        peer.send("two")
        #expect(peer.receive() == Array("two".utf8))
        peer.close()
        group.join()
    }

    @Test func drainingEndsAfterTheGraceWhateverThePeersDo() throws {
        let found = Mutex<SocketAddress?>(nil)
        let group = try EventLoopGroup<Echo>(count: 2) { loop, _ in
            let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in Echo() }
            found.withLock { $0 = loop.address(of: listener) }
        }
        let peer = try RawSocket(connectingTo: try #require(found.withLock { $0 }))
        peer.send("one")
        #expect(peer.receive() == Array("one".utf8))
        group.drain(grace: .milliseconds(50)) { _ in }
        group.join()
        #expect(peer.receive() == [])
    }

    @Test func anErrorInSetUpStartsNoThread() throws {
        let loop = try EventLoop<Probe>()
        let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in nil }
        let address = try #require(loop.address(of: listener))
        #expect(throws: ReactorError.addressInUse(address)) {
            try EventLoopGroup<Echo>(count: 2) { loop, number in
                if number == 1 { try loop.listen(address) { _, _, _ in Echo() } }
            }
        }
    }

    @Test func signalsCallTheLoop() async {
        await #expect(processExitsWith: .success) {
            let loop = try EventLoop<Probe>()
            var seen: [Int32] = []
            try loop.onSignals([SIGHUP, SIGTERM]) { seen.append($0) }
            let second = #expect(throws: ReactorError.self) { try loop.onSignals([SIGINT]) { _ in } }
            try #require(second == .signalsTaken)
            kill(getpid(), SIGHUP)
            loop.turn { seen == [SIGHUP] }
            kill(getpid(), SIGTERM)
            loop.turn { seen == [SIGHUP, SIGTERM] }
            loop.schedule(after: .zero) { $0.stop() }
            loop.run()
            // Another loop may have them now.
            let next = try EventLoop<Probe>()
            try next.onSignals([SIGHUP]) { exit($0 == SIGHUP ? 0 : 1) }
            kill(getpid(), SIGHUP)
            next.turn { false }
        }
    }
}

/// A handler that is a plain value: sends back what comes.
struct Echo: ConnectionHandler {
    var count = 0

    mutating func established(_ peer: Peer, loop: EventLoop<Echo>, id: ConnectionID) {}
    mutating func received(_ bytes: UnsafeRawBufferPointer, loop: EventLoop<Echo>, id: ConnectionID) {
        count += bytes.count
        loop.write(bytes, to: id)
    }
    mutating func readyToWrite(loop: EventLoop<Echo>, id: ConnectionID) {}
    mutating func peerClosedWriting(loop: EventLoop<Echo>, id: ConnectionID) { loop.closeAfterFlush(id) }
    mutating func timerFired(_ token: UInt64, loop: EventLoop<Echo>, id: ConnectionID) {}
    mutating func closed(_ reason: CloseReason, loop: EventLoop<Echo>, id: ConnectionID) {}
}
