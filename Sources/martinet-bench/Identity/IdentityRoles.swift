import ControlPlane
import Glibc
import Identity
import Logging
import Reactor
import TLS
import Time

/// The role `control-plane`: the whole of it, as `martinet serve` runs it, with its authority and its database.
struct ControlPlaneRole {
    private let server: ControlPlaneServer

    init(port: UInt16, directory: String) throws {
        var logger = Logger(label: "martinet")
        logger.logLevel = .error
        var configuration = ControlPlaneServer.Configuration(
            dataDirectory: directory, authority: AuthorityConfiguration(trustDomain: try TrustDomain("cluster.local")),
            logger: logger)
        configuration.tls = ControlPlaneServer.TLSPort(.loopback(port: port))
        server = try ControlPlaneServer(configuration) { _ in }
        Reply("serving").say()
    }

    /// Serves until the one who asked for it has gone.
    func run() {
        while readLine() != nil {}
        server.drain(grace: .zero)
    }
}

/// The role `proxies`.
struct ProxiesRole {
    private let proxies: MeshProxies
    private let commands = CommandLines()

    init(port: UInt16, anchors: String, token: String) throws {
        proxies = try MeshProxies(port: port, anchors: anchors, token: token)
        Reply("ready").say()
    }

    /// Does what it is told until the one who tells has gone.
    func run() throws {
        while !commands.isAtEnd {
            commands.read()
            guard let words = commands.next() else {
                proxies.loop.turn(waiting: .milliseconds(2))
                continue
            }
            let number = words.count > 1 ? Int(words[1]) : nil
            switch words[0] {
            case "open": try open(number ?? 0)
            case "show-certificates":
                try proxies.showCertificates()
                Reply("shown").say()
            case "count":
                try proxies.count(sampling: number)
                Reply("counting").say()
            case "cut":
                try proxies.count(sampling: nil)
                proxies.cut()
                try awaitReturn()
            case "await-return": try awaitReturn()
            case "counts": counts()
            default: throw BenchFailure("the proxies do not know \(words)")
            }
        }
    }

    /// Adds proxies until there are so many, at most 256 of them on their way at a time.
    private func open(_ count: Int) throws {
        let start = Clock.now
        while proxies.inSync < count {
            while proxies.proxies.count < count, proxies.proxies.count - proxies.inSync < 256 { try proxies.add() }
            try turn(since: start, "\(count) have certificates")
        }
        Reply("opened", figures(since: start)).say()
    }

    private func awaitReturn() throws {
        let start = Clock.now
        while proxies.returned < proxies.proxies.count { try turn(since: start, "all are back") }
        if let words = proxies.trouble { complain(words) }
        Reply("returned", figures(since: start)).say()
    }

    private func complain(_ words: String) {
        let bytes = Array("  \(words)\n".utf8)
        _ = write(2, bytes, bytes.count)
    }

    private func turn(since start: Int, _ words: String) throws {
        proxies.loop.turn(waiting: .milliseconds(20))
        guard Clock.now - start > 110_000_000_000 else { return }
        throw BenchFailure(
            "waited 110 s until \(words): \(proxies.inSync) of \(proxies.proxies.count); \(proxies.trouble ?? "")")
    }

    private func counts() {
        if let words = proxies.sampler?.firstFailure ?? proxies.trouble { complain(words) }
        var figures = figures(since: 0)
        func range(_ name: String, _ figure: (MeshProxy) -> Int) {
            let values = proxies.proxies.map(figure)
            figures["\(name)-least"] = values.min() ?? 0
            figures["\(name)-most"] = values.max() ?? 0
        }
        range("bundles", \.bundles)
        range("certificates", \.certificates)
        figures["sampled"] = proxies.sampler?.taken ?? 0
        figures["broken"] = proxies.sampler?.failed ?? 0
        Reply("counts", figures).say()
    }

    private func figures(since start: Int) -> [String: Int] {
        [
            "took": proxies.lastArrival - start, "last": proxies.lastArrival, "handshakes": proxies.handshakes,
            "resumed": proxies.resumed, "timeouts": proxies.timeouts, "failures": proxies.failures,
            "refusals": proxies.refusals,
        ]
    }
}

/// The role `tls-server`: shakes hands with whoever comes, and nothing more.
struct HandshakeRole {
    private let loop: EventLoop<Silent>

    struct Silent: ConnectionHandler {
        func established(_ peer: Peer, loop: EventLoop<Silent>, id: ConnectionID) {}
        func received(_ bytes: UnsafeRawBufferPointer, loop: EventLoop<Silent>, id: ConnectionID) {}
        func readyToWrite(loop: EventLoop<Silent>, id: ConnectionID) {}
        func peerClosedWriting(loop: EventLoop<Silent>, id: ConnectionID) { loop.close(id) }
        func timerFired(_ token: UInt64, loop: EventLoop<Silent>, id: ConnectionID) {}
        func closed(_ reason: CloseReason, loop: EventLoop<Silent>, id: ConnectionID) {}
    }

    init(port: UInt16, chain: String, key: String, anchors: String) throws {
        var loopConfiguration = LoopConfiguration()
        loopConfiguration.logger.logLevel = .critical
        loop = try EventLoop(loopConfiguration)
        var configuration = TLSConfiguration.mutualServer(
            try TLSIdentity(chainFile: chain, keyFile: key), trusting: try TrustAnchors(file: anchors))
        configuration.ticketKeys = try TLSTicketKeys()
        try loop.listen(.loopback(port: port), tls: TLSSource(try TLSSettings(configuration))) { _, _, _ in Silent() }
        Reply("serving").say()
    }

    func run() {
        let commands = CommandLines()
        while !commands.isAtEnd {
            loop.turn(waiting: .milliseconds(50))
            commands.read()
        }
    }
}
