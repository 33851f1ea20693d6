import Certificates
import Glibc
import Identity
import TLS
import Time

/// Handshakes of the TLS layer: both sides in memory, and the server's side against `openssl s_server` in the same
/// minute, with `openssl s_time` as the client of both.
struct Handshakes {
    var seconds = 3
    var rounds = 3

    private let files = TemporaryFiles()
    private let server: Party
    private let client: Party
    private let root: Certificate

    private struct Party {
        var chain: [Certificate]
        var key: PrivateKey
    }

    init(seconds: Int, rounds: Int) throws {
        (self.seconds, self.rounds) = (seconds, rounds)
        let domain = try TrustDomain("cluster.local")
        let now = Clock.utc
        let validity = Timestamp(seconds: now - 3600)..<Timestamp(seconds: now + 86_400)
        let (rootKey, middleKey) = (try PrivateKey.generate(.ecdsaP256), try PrivateKey.generate(.ecdsaP256))
        root = try Issuer.selfSigned(
            subject: try DistinguishedName(commonName: "root", organization: "cluster.local"), trustDomain: domain,
            key: rootKey, validity: validity, serial: try .random())
        let middle = try Issuer(chain: [root], key: rootKey).issueAuthority(
            subject: try DistinguishedName(commonName: "intermediate", organization: "cluster.local"),
            trustDomain: domain, validity: validity, serial: try .random(), for: middleKey.publicKey)
        let issuer = try Issuer(chain: [middle, root], key: middleKey)
        func party(_ name: String) throws -> Party {
            let key = try PrivateKey.generate(.ecdsaP256)
            let leaf = try issuer.issue(
                LeafTemplate(
                    spiffeID: try SPIFFEID(domain, namespace: "shop", serviceAccount: name), validity: validity,
                    serial: try .random()), for: key.publicKey)
            return Party(chain: [leaf, middle], key: key)
        }
        (server, client) = (try party("web"), try party("client"))
    }

    func run(_ ledger: inout Ledger) throws {
        var (first, resumed): ([Double], [Double]) = ([], [])
        for _ in 0..<rounds {
            first.append(try inMemory(resuming: false))
            resumed.append(try inMemory(resuming: true))
        }
        print("  both sides on one core, in memory: \(Int(median(first)))/s first, \(Int(median(resumed)))/s resumed")
        ledger.note("handshakes in memory, first", median(first), "/s")
        ledger.note("handshakes in memory, resumed", median(resumed), "/s")
        try write()
        for (words, options) in [("first", ["-new"]), ("resumed, TLS 1.2", ["-reuse", "-tls1_2"])] {
            var (ours, theirs): ([Double], [Double]) = ([], [])
            for _ in 0..<rounds {
                ours.append(try served(by: martinet(), options))
                theirs.append(try served(by: openssl(), options))
            }
            let ratio = median(zip(ours, theirs).map { $0 / $1 })
            print(
                "  server alone, \(words): \(text(median(ours))) us of processor time each, openssl s_server "
                    + "\(text(median(theirs))) us; so \(Int(1e6 / median(ours)))/s and \(Int(1e6 / median(theirs)))/s")
            ledger.note("handshakes, server alone, \(words)", 1e6 / median(ours), "/s")
            ledger.hold("handshakes, \(words): server's processor time against s_server's", ratio, atMost: 1.1, "x")
        }
    }

    // MARK: In memory

    /// - Returns: handshakes per second of processor time.
    private func inMemory(resuming: Bool) throws -> Double {
        let anchors = try TrustAnchors([root])
        let peers = TLSConfiguration.AcceptedPeers.named([.trustDomain("cluster.local")])
        var serverSide = TLSConfiguration.mutualServer(
            try TLSIdentity(chain: server.chain, key: server.key), trusting: anchors, accepting: peers)
        if resuming { serverSide.ticketKeys = try TLSTicketKeys() }
        let clientSide = TLSConfiguration.client(
            trusting: anchors, accepting: peers, identity: try TLSIdentity(chain: client.chain, key: client.key))
        let (caller, called) = (try TLSSettings(clientSide), try TLSSettings(serverSide))
        for _ in 0..<5 { _ = try EnginePair(caller, called).connect() }
        let start = Clock.processorTime
        var count = 0
        while Clock.processorTime - start < seconds * 1_000_000_000 {
            guard try EnginePair(caller, called).connect() == resuming else {
                throw BenchFailure(resuming ? "a handshake was not resumed" : "a handshake was resumed")
            }
            count += 1
        }
        return Double(count) / (Double(Clock.processorTime - start) / 1e9)
    }

    // MARK: Over sockets

    private func write() throws {
        try files.write("server.pem", server.chain[0].pem)
        try files.write("middle.pem", server.chain[1].pem)
        try files.write("chain.pem", server.chain.flatMap(\.pem))
        try files.write("server.key", try server.key.pem())
        try files.write("client.pem", client.chain[0].pem)
        try files.write("client.key", try client.key.pem())
        // s_time shows its leaf alone: both servers know the intermediate.
        try files.write("anchors.pem", root.pem + server.chain[1].pem)
    }

    private func martinet() throws -> (ChildProcess, UInt16) {
        let port = try freePort()
        let process = try ChildProcess(
            cpu: 0,
            [
                "role", "tls-server", "\(port)", files["chain.pem"], files["server.key"], files["anchors.pem"],
            ])
        _ = try process.reply()
        return (process, port)
    }

    private func openssl() throws -> (ChildProcess, UInt16) {
        let port = try freePort()
        let words =
            "exec openssl s_server -accept 127.0.0.1:\(port) -cert \(files["server.pem"]) -key \(files["server.key"]) "
            + "-cert_chain \(files["middle.pem"]) -CAfile \(files["anchors.pem"]) -Verify 4 -verify_return_error "
            + "-num_tickets 1 -quiet >/dev/null 2>&1"
        let process = try ChildProcess(cpu: 0, ["-c", words], program: "/bin/sh")
        usleep(300_000)
        return (process, port)
    }

    /// - Returns: microseconds of the server's processor time for each handshake.
    private func served(by server: (process: ChildProcess, port: UInt16), _ options: [String]) throws -> Double {
        defer { server.process.kill() }
        let words =
            ["openssl", "s_time", "-connect", "127.0.0.1:\(server.port)", "-cert", files["client.pem"]]
            + ["-key", files["client.key"], "-CAfile", files["anchors.pem"], "-time", "\(seconds)"] + options
        let before = try server.process.processorTime()
        let output = try shell("taskset -c 1 \(words.joined(separator: " ")) 2>&1")
        let used = try server.process.processorTime() - before
        // 2951 connections in 4 real seconds, 0 bytes read per connection
        let line = output.split(separator: "\n").last { $0.contains(" real seconds") }
        guard let count = line?.split(separator: " ").first.flatMap({ Double($0) }), count > 10 else {
            throw BenchFailure("openssl s_time says nothing that is understood: \(output.suffix(300))")
        }
        return Double(used) / 1e3 / count
    }
}
