import Certificates
import Identity
import Time

/// Certificates per second on one core, against what libcrypto itself takes for the
/// signatures, measured by `openssl speed` in the same minute.
struct Issuing {
    /// Microseconds each.
    private struct Cost {
        var processor: Double
        var wall: Double
    }

    private struct Round {
        var made: Cost
        var asked: Cost
        var madeAndKept: Cost
        var askedAndKept: Cost
        var sign: Double
        var verify: Double
    }

    let seconds: Int
    let rounds: Int

    private let authority: Issuer
    private let identity: SPIFFEID
    private let validity: Range<Timestamp>

    init(seconds: Int, rounds: Int) throws {
        (self.seconds, self.rounds) = (seconds, rounds)
        let domain = try TrustDomain("cluster.local")
        let start = Timestamp(seconds: 1_790_000_000)
        validity = start..<start + .seconds(86_400)
        let key = try PrivateKey.generate(.ecdsaP256)
        let root = try Issuer.selfSigned(
            subject: try DistinguishedName(commonName: "Martinet root", organization: "cluster.local"),
            trustDomain: domain, key: key, validity: validity, serial: try Serial.random())
        authority = try Issuer(chain: [root], key: key)
        identity = try SPIFFEID(domain, namespace: "shop", serviceAccount: "web")
    }

    func run(_ ledger: inout Ledger) throws {
        print(
            "  processor time, \(seconds) s each; the journal is a database on this disk, \(BenchJournal.batch) "
                + "certificates in one transaction")
        let journal = try BenchJournal()
        var taken: [Round] = []
        let requests = try (0..<64).map { _ in try SigningRequest.make(key: try PrivateKey.generate(.ecdsaP256)) }
        var next = 0
        func request() -> [UInt8] {
            next = (next + 1) % requests.count
            return requests[next]
        }
        for _ in 0..<rounds {
            let (sign, verify) = try opensslSpeed()
            taken.append(
                Round(
                    made: try microseconds {
                        let key = try PrivateKey.generate(.ecdsaP256)
                        _ = try issue(for: key.publicKey)
                    },
                    asked: try microseconds { _ = try issue(for: try SigningRequest(der: request()).publicKey) },
                    madeAndKept: try microseconds {
                        let key = try PrivateKey.generate(.ecdsaP256)
                        try journal.record(try issue(for: key.publicKey))
                    },
                    askedAndKept: try microseconds {
                        try journal.record(try issue(for: try SigningRequest(der: request()).publicKey))
                    }, sign: sign, verify: verify))
        }
        func middle(_ figure: KeyPath<Round, Double>) -> Double { median(taken.map { $0[keyPath: figure] }) }
        func report(_ name: String, _ cost: Cost, limit: Double, _ meaning: String, least: Int) {
            print(
                "  \(name): \(Int(1e6 / cost.processor))/s of processor time, \(Int(1e6 / cost.wall))/s by the clock; "
                    + "\(text(cost.processor)) us each, \(text(cost.processor / limit)) times \(meaning)")
            ledger.note("\(name): processor time against \(meaning)", cost.processor / limit, "x")
            ledger.note("\(name): by the clock", 1e6 / cost.wall, "/s")
            ledger.hold("\(name): each (\(least)/s)", cost.processor, atMost: 1e6 / Double(least), "us")
        }
        func cost(_ figure: KeyPath<Round, Cost>) -> Cost {
            Cost(
                processor: middle(figure.appending(path: \.processor)), wall: middle(figure.appending(path: \.wall)))
        }
        let (sign, verify) = (middle(\.sign), middle(\.verify))
        print("  openssl speed ecdsap256: sign \(text(sign)) us, verify \(text(verify)) us")
        report("keys made here", cost(\.made), limit: sign, "one sign", least: 8000)
        report("from CSRs", cost(\.asked), limit: sign + verify, "one verify and one sign", least: 4000)
        report("keys made here, journal on", cost(\.madeAndKept), limit: sign, "one sign", least: 8000)
        report(
            "from CSRs, journal on", cost(\.askedAndKept), limit: sign + verify, "one verify and one sign", least: 4000)
        try printParts(requests)
        let kept = cost(\.madeAndKept).processor - cost(\.made).processor
        print("    journal and holder's record, one line of \(BenchJournal.batch) in a transaction: \(text(kept)) us")
    }

    private func issue(for key: PublicKey) throws -> Certificate {
        try authority.issue(
            LeafTemplate(spiffeID: identity, validity: validity, serial: try Serial.random()), for: key)
    }

    /// Where the time goes: each part alone.
    private func printParts(_ requests: [[UInt8]]) throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let certificate = try issue(for: key.publicKey)
        let message = certificate.der
        let signature = try key.sign(message)
        let spki = key.publicKey.spki
        let parts: [(String, () throws -> Void)] = [
            ("make a key", { _ = try PrivateKey.generate(.ecdsaP256) }),
            ("sign (with hash)", { _ = try key.sign(message) }),
            ("verify (with hash)", { _ = key.publicKey.verify(signature, over: message) }),
            ("read and check a public key", { _ = try PublicKey(spki: spki) }),
            ("read and verify a CSR", { _ = try SigningRequest(der: requests[0]) }),
            ("hash a key (its identifier)", { _ = key.publicKey.identifier }),
            ("random serial", { _ = try Serial.random() }),
            ("issue for a key that is there", { _ = try issue(for: key.publicKey) }),
            ("PKCS#8 of a key", { _ = try key.pkcs8() }),
            ("certificate to PEM", { _ = certificate.pem }),
            ("a certificate through libcrypto (not needed)", { _ = try Certificate(der: message) }),
        ]
        for (name, part) in parts {
            print("    \(name): \(text(try microseconds(for: 0.3, part).processor)) us")
        }
    }

    private func microseconds(for seconds: Double? = nil, _ body: () throws -> Void) throws -> Cost {
        for _ in 0..<50 { try body() }
        let (start, wallStart) = (Clock.processorTime, Clock.now)
        let end = start + Int((seconds ?? Double(self.seconds)) * 1e9)
        var count = 0
        while Clock.processorTime < end {
            for _ in 0..<20 { try body() }
            count += 20
        }
        return Cost(
            processor: Double(Clock.processorTime - start) / 1e3 / Double(count),
            wall: Double(Clock.now - wallStart) / 1e3 / Double(count))
    }

    /// One sign and one verify of P-256, microseconds.
    private func opensslSpeed() throws -> (sign: Double, verify: Double) {
        let output = try shell("openssl speed -mr -seconds 1 ecdsap256 2>/dev/null")
        // +F5:0:256:seconds per sign:seconds per verify, or operations per second: newer versions changed it.
        for line in output.split(separator: "\n") where line.hasPrefix("+F4:") {
            let fields = line.split(separator: ":").compactMap { Double($0) }
            guard fields.count >= 4 else { break }
            let (sign, verify) = (fields[fields.count - 2], fields[fields.count - 1])
            return sign < 1 ? (sign * 1e6, verify * 1e6) : (1e6 / sign, 1e6 / verify)
        }
        throw BenchFailure("openssl speed ecdsap256 says nothing that is understood")
    }
}
