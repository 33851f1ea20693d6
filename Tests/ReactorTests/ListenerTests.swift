import Glibc
import Synchronization
import Testing
import Time

@testable import Reactor

@Suite struct ListenerTests {
    @Test func aPortInUseIsNamedWithTheMend() throws {
        let loop = try EventLoop<Probe>()
        let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in nil }
        let address = try #require(loop.address(of: listener))
        let error = #expect(throws: ReactorError.self) { try loop.listen(address) { _, _, _ in nil } }
        #expect(error == .addressInUse(address))
        #expect(error?.description == "cannot listen on \(address): the address is in use")
        #expect(error?.hint.contains("choose another address") == true)
        let foreign = #expect(throws: ReactorError.self) {
            try loop.listen(.ipv4(0x0808_0808, port: 1)) { _, _, _ in nil }
        }
        #expect(foreign?.hint == "choose an address of this machine (ip addr shows them)")
    }

    @Test func aStoppedListenerRefusesAndItsConnectionsGoOn() throws {
        let pair = try Pair()
        let address = try #require(pair.loop.address(of: pair.listener))
        #expect(pair.loop.connections(of: pair.listener) == 1)
        pair.loop.stopListening(pair.listener)
        pair.loop.stopListening(pair.listener)
        #expect(pair.loop.address(of: pair.listener) == nil)
        let late = Probe()
        pair.loop.connect(to: address, handler: late)
        pair.loop.write([1], to: pair.clientID)
        pair.turn { pair.server.receivedCount == 1 && !late.reasons.isEmpty }
        #expect(late.reasons == [.connectFailed(SystemError(call: "connect", number: ECONNREFUSED))])
        // The address is free again.
        _ = try pair.loop.listen(address) { _, _, _ in nil }
        pair.loop.close(pair.serverID)
        pair.turn { !pair.server.reasons.isEmpty }
    }

    @Test func connectionsOverTheLimitAreRefusedCountedAndTakenAgainLater() throws {
        let loop = try EventLoop<Probe>()
        var options = ListenOptions()
        options.mostConnections = 3
        var servers: [Probe] = []
        let listener = try loop.listen(.loopback(port: 0), options: options) { _, _, _ in
            servers.append(Probe())
            return servers.last
        }
        let address = try #require(loop.address(of: listener))
        let peers = try (0..<5).map { _ in try RawSocket(connectingTo: address) }
        loop.turn { loop.statistics.accepted + loop.statistics.refused == 5 }
        #expect(loop.statistics.refused == 2 && loop.connections(of: listener) == 3)
        #expect(peers[3].receive() == [] && peers[4].receive() == [])
        loop.close(try #require(servers[0].id))
        let next = try RawSocket(connectingTo: address)
        loop.turn { loop.statistics.accepted == 4 }
        #expect(loop.connections(of: listener) == 3 && next.descriptor >= 0)
    }

    @Test func aFactoryMayRefuse() throws {
        let loop = try EventLoop<Probe>()
        let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in nil }
        let peer = try RawSocket(connectingTo: try #require(loop.address(of: listener)))
        loop.turn { loop.statistics.refused == 1 }
        #expect(peer.receive() == [] && loop.statistics.connections == 0)
    }

    @Test func moreConnectionsThanOneTurnAcceptsAreAllAccepted() throws {
        var configuration = LoopConfiguration()
        configuration.acceptsPerTurn = 3
        let loop = try EventLoop<Probe>(configuration)
        let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in Probe() }
        let address = try #require(loop.address(of: listener))
        let peers = try (0..<10).map { _ in try RawSocket(connectingTo: address) }
        loop.turn(waiting: .seconds(1))
        #expect(loop.statistics.accepted == 3)
        loop.turn { loop.statistics.accepted == 10 }
        #expect(peers.count == 10)
    }

    @Test func aUnixSocketKnowsItsPeerAndIsClosedToOthers() throws {
        let directory = TemporaryDirectory()
        let path = directory.path + "/control.sock"
        let pair = try Pair(address: .unix(path: path))
        let credentials = PeerCredentials(
            process: getpid(), user: getuid(), group: getgid(), startTime: PeerCredentials.startTime(of: getpid()))
        #expect(pair.server.peer?.credentials == credentials)
        #expect(pair.client.peer?.credentials == credentials)
        #expect(pair.client.peer?.address == .unix(path: path) && pair.server.peer?.address == .unix(path: ""))
        var status = stat()
        #expect(lstat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
        pair.loop.write([1, 2], to: pair.clientID)
        pair.loop.write([3], to: pair.serverID)
        pair.turn { pair.server.received == [1, 2] && pair.client.received == [3] }
        pair.loop.stopListening(pair.listener)
        #expect(lstat(path, &status) < 0 && errno == ENOENT)
    }

    @Test func theModeOfAUnixSocketIsAsAsked() throws {
        let directory = TemporaryDirectory()
        let loop = try EventLoop<Probe>()
        var options = ListenOptions()
        options.unixMode = 0o666
        _ = try loop.listen(.unix(path: directory.path + "/s"), options: options) { _, _, _ in nil }
        var status = stat()
        #expect(lstat(directory.path + "/s", &status) == 0 && status.st_mode & 0o777 == 0o666)
    }

    @Test func aStaleUnixSocketIsReplacedALiveOneIsNot() throws {
        let directory = TemporaryDirectory()
        let address = SocketAddress.unix(path: directory.path + "/s")
        // What a killed program leaves behind.
        let stale = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        _ = address.withSystemForm { bind(stale, $0.assumingMemoryBound(to: sockaddr.self), $1) }
        close(stale)
        let loop = try EventLoop<Probe>()
        let listener = try loop.listen(address) { _, _, _ in nil }
        let other = try EventLoop<Probe>()
        let error = #expect(throws: ReactorError.self) { try other.listen(address) { _, _, _ in nil } }
        #expect(error == .addressInUse(address))
        // Another program's socket under the same name stays when ours goes.
        unlink(directory.path + "/s")
        _ = try other.listen(address) { _, _, _ in nil }
        loop.stopListening(listener)
        var status = stat()
        #expect(lstat(directory.path + "/s", &status) == 0)
    }

    @Test func aFileThatIsNotASocketIsNotReplaced() throws {
        let directory = TemporaryDirectory()
        directory.write("precious", to: "s")
        let loop = try EventLoop<Probe>()
        let error = #expect(throws: ReactorError.self) {
            try loop.listen(.unix(path: directory.path + "/s")) { _, _, _ in nil }
        }
        #expect(error == .notASocket(path: directory.path + "/s"))
        let missing = #expect(throws: ReactorError.self) {
            try loop.listen(.unix(path: directory.path + "/no/s")) { _, _, _ in nil }
        }
        #expect(missing?.hint == "create the directory of unix:\(directory.path)/no/s")
    }

    @Test func abstractNamesAndIPv6Work() throws {
        let name = SocketAddress.unix(path: "@martinet-test-\(getpid())")
        for address in [name, .ipv6(high: 0, low: 1, port: 0)] {
            let pair = try Pair(address: address)
            pair.loop.write([1, 2], to: pair.clientID)
            pair.turn { pair.server.received == [1, 2] }
            #expect(pair.loop.peerAddress(of: pair.clientID) == pair.loop.address(of: pair.listener))
        }
    }

    @Test func withoutDescriptorsConnectionsAreRefusedUntilThereAreSomeAgain() async {
        await #expect(processExitsWith: .success) {
            let loop = try EventLoop<Probe>()
            let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in Probe() }
            let address = try #require(loop.address(of: listener))
            let refused = try (0..<3).map { _ in try RawSocket(connectingTo: address) }
            var limit = rlimit()
            getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            limit.rlim_cur = 1024
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            var hoard: [Int32] = []
            while case let descriptor = open("/dev/null", O_RDONLY), descriptor >= 0 { hoard.append(descriptor) }
            try #require(errno == EMFILE)
            loop.turn { loop.statistics.refusedForDescriptors == 3 }
            try #require(refused.allSatisfy { $0.receive() == [] })
            try #require(loop.statistics.accepted == 0)
            // Opening a connection says it in words.
            let client = Probe()
            loop.connect(to: address, handler: client)
            loop.turn { !client.reasons.isEmpty }
            try #require(client.reasons == [.connectFailed(SystemError(call: "socket", number: EMFILE))])
            for descriptor in hoard { close(descriptor) }
            let taken = try RawSocket(connectingTo: address)
            loop.turn { loop.statistics.accepted == 1 }
            taken.send("x")
            exit(loop.statistics.connections == 1 ? 0 : 1)
        }
    }
}
