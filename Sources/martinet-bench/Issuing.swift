import Certificates
import Glibc
import Identity
import Time

/// `martinet-bench issue`: certificates per second on one core, against what libcrypto itself takes for the
/// signatures, measured by `openssl speed` in the same minute.
struct Issuing {
    /// Microseconds each.
    private struct Round {
        var made: Double
        var asked: Double
        var madeAndKept: Double
        var askedAndKept: Double
        var sign: Double
        var verify: Double
    }

    var seconds = 3

    private let authority: Issuer
    private let identity: SPIFFEID
    private let validity: Range<Timestamp>

    init() throws {
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

    /// - Returns: whether the bars hold.
    func run() throws -> Bool {
        print(
            "ECDSA P-256, one thread, processor time, \(seconds) s each. Medians of three; openssl speed takes turns. The "
                + "journal is a database on this disk, \(BenchJournal.batch) certificates in one transaction.")
        let journal = try BenchJournal()
        var rounds: [Round] = []
        let requests = try (0..<64).map { _ in try SigningRequest.make(key: try PrivateKey.generate(.ecdsaP256)) }
        for _ in 0..<3 {
            let (sign, verify) = try opensslSpeed()
            let made = try microseconds {
                let key = try PrivateKey.generate(.ecdsaP256)
                _ = try issue(for: key.publicKey)
            }
            var next = 0
            let asked = try microseconds {
                next = (next + 1) % requests.count
                _ = try issue(for: try SigningRequest(der: requests[next]).publicKey)
            }
            let madeAndKept = try microseconds {
                let key = try PrivateKey.generate(.ecdsaP256)
                try journal.record(try issue(for: key.publicKey))
            }
            let askedAndKept = try microseconds {
                next = (next + 1) % requests.count
                try journal.record(try issue(for: try SigningRequest(der: requests[next]).publicKey))
            }
            rounds.append(
                Round(
                    made: made, asked: asked, madeAndKept: madeAndKept, askedAndKept: askedAndKept, sign: sign,
                    verify: verify))
        }
        func median(_ figure: KeyPath<Round, Double>) -> Double { rounds.map { $0[keyPath: figure] }.sorted()[1] }
        let (made, asked, sign, verify) = (median(\.made), median(\.asked), median(\.sign), median(\.verify))
        let (madeAndKept, askedAndKept) = (median(\.madeAndKept), median(\.askedAndKept))
        print("openssl speed ecdsap256: sign \(tenths(sign)) us, verify \(tenths(verify)) us")
        report("keys made here", made, limit: sign, "one sign", bar: 8000)
        report("from CSRs", asked, limit: sign + verify, "one verify and one sign", bar: 4000)
        report("keys made here, journal on", madeAndKept, limit: sign, "one sign", bar: 8000)
        report("from CSRs, journal on", askedAndKept, limit: sign + verify, "one verify and one sign", bar: 4000)
        try printParts(requests)
        return madeAndKept <= 1e6 / 8000 && askedAndKept <= 1e6 / 4000
    }

    private func issue(for key: PublicKey) throws -> Certificate {
        try authority.issue(
            LeafTemplate(spiffeID: identity, validity: validity, serial: try Serial.random()), for: key)
    }

    private func report(_ name: String, _ cost: Double, limit: Double, _ meaning: String, bar: Int) {
        let rate = Int(1e6 / cost)
        print(
            "\(name): \(rate)/s, \(tenths(cost)) us each; \(tenths(cost / limit)) times \(meaning); "
                + "bar \(bar)/s \(rate >= bar ? "held" : "MISSED")")
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
            ("libcrypto's own decoder (avoided)", { _ = try Certificate(der: message) }),
        ]
        for (name, part) in parts {
            let cost = try microseconds(for: 0.3, part)
            print("  \(name): \(tenths(cost)) us")
        }
    }

    private func microseconds(for seconds: Double? = nil, _ body: () throws -> Void) throws -> Double {
        for _ in 0..<50 { try body() }
        let start = Clock.processorTime
        let end = start + Int((seconds ?? Double(self.seconds)) * 1e9)
        var count = 0
        while Clock.processorTime < end {
            for _ in 0..<20 { try body() }
            count += 20
        }
        return Double(Clock.processorTime - start) / 1000 / Double(count)
    }

    /// One sign and one verify of P-256, microseconds.
    private func opensslSpeed() throws -> (sign: Double, verify: Double) {
        guard let pipe = popen("openssl speed -mr -seconds 1 ecdsap256 2>/dev/null", "r") else {
            throw BenchFailure.system("openssl speed")
        }
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = fread(&buffer, 1, buffer.count, pipe)
            if count == 0 { break }
            text += buffer[..<count]
        }
        pclose(pipe)
        // +F5:0:256:seconds per sign:seconds per verify, or operations per second: newer versions changed it.
        for line in String(decoding: text, as: UTF8.self).split(separator: "\n") where line.hasPrefix("+F4:") {
            let fields = line.split(separator: ":").compactMap { Double($0) }
            guard fields.count >= 4 else { break }
            let (sign, verify) = (fields[fields.count - 2], fields[fields.count - 1])
            return sign < 1 ? (sign * 1e6, verify * 1e6) : (1e6 / sign, 1e6 / verify)
        }
        throw BenchFailure("openssl speed ecdsap256 says nothing that is understood")
    }

    private func tenths(_ value: Double) -> String {
        let rounded = Int((value * 10).rounded())
        return "\(rounded / 10).\(rounded % 10)"
    }
}
