import Certificates
import Foundation
import TLS
import Testing
import Time

@Suite struct SettingsTests {
    @Test func aMissingFileIsNamed() throws {
        let error = tlsError { _ = try TLSIdentity(chainFile: "/nowhere/chain.pem", keyFile: "/nowhere/key.pem") }
        #expect(error == .fileUnreadable(path: "/nowhere/chain.pem", reason: "No such file or directory"))
        #expect(error?.description == "cannot read /nowhere/chain.pem: No such file or directory")
        #expect(
            tlsError { _ = try TrustAnchors(file: "/tmp") } == .fileUnreadable(path: "/tmp", reason: "Is a directory"))
    }

    @Test func aFileThatNeverEndsIsRefused() throws {
        let error = tlsError { _ = try TrustAnchors(file: "/dev/zero") }
        #expect(error == .fileUnreadable(path: "/dev/zero", reason: "larger than 1048576 bytes"))
    }

    @Test func anIdentityIsReadFromFiles() throws {
        let client = try Fixture.client.get()
        let identity = try TLSIdentity(chainFile: client.certificateFile, keyFile: client.keyFile)
        #expect(identity.leaf.subject == "CN=client,O=Martinet")
        #expect(identity.leaf.issuer == "CN=root,O=Martinet")
    }

    @Test func oneFileMayHoldBoth() throws {
        let client = try Fixture.client.get()
        let file = "\(newDirectory())/both.pem"
        try Data(client.keyPEM + client.certificatePEM).write(to: URL(fileURLWithPath: file))
        #expect(try TLSIdentity(chainFile: file, keyFile: file).leaf.subject == "CN=client,O=Martinet")
    }

    @Test func theKeyIsInNoDescription() throws {
        let identity = try Fixture.client.get().identity()
        var dumped = ""
        dump(identity, to: &dumped)
        let pem = String(decoding: try Fixture.client.get().keyPEM, as: UTF8.self)
        let secret = try #require(pem.split(separator: "\n").dropFirst().first)
        #expect(!dumped.contains(secret))
        #expect(!dumped.contains("key"))
        #expect("\(identity)".hasPrefix("URI spiffe://mesh.test/ns/shop/sa/web (serial "))
        #expect("\(identity)".hasSuffix("notAfter 2049-01-01T00:00:00Z"))
        #expect("\(try TLSTicketKeys())" == "1 session ticket keys")
    }

    @Test func anotherKeyIsRefused() throws {
        let client = try Fixture.client.get()
        let server = try Fixture.server.get()
        let error = tlsError { _ = try TLSIdentity(chainPEM: client.certificatePEM, keyPEM: server.keyPEM) }
        guard case .certificate(.keyDoesNotMatch(let name, matchingPosition: nil))? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(name.hasPrefix("URI spiffe://mesh.test/ns/shop/sa/web"))
        #expect(error?.hint == "give the key that the certificate was issued for")
    }

    @Test func aChainInTheWrongOrderIsExplained() throws {
        let client = try Fixture.client.get()
        let root = try Fixture.root.get()
        let chain = root.issued.certificatePEM + client.certificatePEM
        let error = tlsError { _ = try TLSIdentity(chainPEM: chain, keyPEM: client.keyPEM) }
        #expect(error?.description.hasSuffix("but to certificate 2 of the chain") == true)
        #expect(error?.hint == "put that certificate first in the chain file")
    }

    @Test func bytesThatAreNoPEMAreRefused() throws {
        let client = try Fixture.client.get()
        for bytes in [[], Array("hello".utf8), client.keyPEM] {
            let error = tlsError { _ = try TrustAnchors(pem: bytes) }
            #expect(error == .certificate(.certificateMissing(source: "the trust anchors")))
        }
        let key = tlsError { _ = try TLSIdentity(chainPEM: client.certificatePEM, keyPEM: client.certificatePEM) }
        guard case .certificate(.keyUnreadable(source: "the private key", _))? = key else {
            Issue.record("\(String(describing: key))")
            return
        }
    }

    @Test func aDamagedCertificateIsCountedFromOne() throws {
        let whole = try Fixture.client.get().certificatePEM
        var damaged = whole
        damaged[100] = UInt8(ascii: "!")
        for bytes in [damaged, whole.dropLast(60)] {
            let error = tlsError { _ = try TrustAnchors(pem: whole + bytes) }
            guard case .certificate(.certificateUnreadable("the trust anchors", position: 2, let reason))? = error
            else {
                Issue.record("\(String(describing: error))")
                continue
            }
            #expect(!reason.isEmpty && reason != "no reason given")
        }
    }

    @Test func everyCutAndEveryDamageOfAPEMIsAnErrorOrHarmless() throws {
        let client = try Fixture.client.get()
        var generator = SeededGenerator(state: 11)
        var refused = 0
        for _ in 0..<300 {
            var chain = client.certificatePEM
            var key = client.keyPEM
            chain[Int.random(in: 0..<chain.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            key.removeLast(Int.random(in: 0..<key.count, using: &generator))
            if (try? TLSIdentity(chainPEM: chain, keyPEM: client.keyPEM)) == nil { refused += 1 }
            if (try? TLSIdentity(chainPEM: client.certificatePEM, keyPEM: key)) == nil { refused += 1 }
        }
        #expect(refused > 300)
    }

    @Test func anEncryptedKeyWantsItsPassphrase() throws {
        let client = try Fixture.client.get()
        let file = "\(newDirectory())/encrypted.key"
        try openssl(["pkcs8", "-topk8", "-in", client.keyFile, "-out", file, "-passout", "pass:swift"])
        #expect(
            tlsError { _ = try TLSIdentity(chainFile: client.certificateFile, keyFile: file) }
                == .certificate(.passphraseMissing(source: file)))
        for wrong in [Array("wrong".utf8), [], [UInt8](repeating: 65, count: 5000)] {
            #expect(
                tlsError {
                    _ = try TLSIdentity(chainFile: client.certificateFile, keyFile: file, passphrase: wrong)
                } == .certificate(.passphraseWrong(source: file)))
        }
        let right = try TLSIdentity(
            chainFile: client.certificateFile, keyFile: file, passphrase: Array("swift".utf8))
        #expect(right.leaf.subject == "CN=client,O=Martinet")
    }

    @Test func aWeakKeyIsRefusedWhenSettingsAreMade() throws {
        let weak = try Fixture.root.get().leaf("weak", san: "DNS:server.test", key: .weakRSA).identity()
        let error = tlsError { _ = try TLSSettings(.server(weak)) }
        #expect(error == .settingInvalid(.identityRefused(reason: "ee key too small")))
    }

    @Test func settingsThatCannotWorkAreRefused() throws {
        typealias Change = (inout TLSConfiguration) throws -> Void
        func problem(_ configuration: TLSConfiguration, _ change: Change) throws -> TLSError.SettingProblem? {
            var configuration = configuration
            try change(&configuration)
            guard case .settingInvalid(let problem)? = tlsError({ _ = try TLSSettings(configuration) }) else {
                return nil
            }
            return problem
        }
        let server = try Fixture.serverConfiguration()
        let client = try Fixture.clientConfiguration()
        #expect(try problem(server) { $0.identity = nil } == .serverWithoutIdentity)
        #expect(try problem(server) { $0.clientAuthentication = .required } == .clientAuthenticationWithoutTrustAnchors)
        #expect(try problem(server) { $0.acceptedPeers = .serverName } == .serverNameMissing)
        #expect(try problem(client) { $0.trustAnchors = nil } == .clientWithoutTrustAnchors)
        #expect(try problem(client) { $0.serverName = nil } == .serverNameMissing)
        #expect(try problem(client) { $0.serverName = "a b" } == .serverNameInvalid("a b"))
        #expect(try problem(client) { $0.serverName = "a\0b" } == .serverNameInvalid("a\0b"))
        #expect(try problem(client) { $0.acceptedPeers = .named([]) } == .acceptedPeersEmpty)
        #expect(
            try problem(client) { $0.acceptedPeers = .named([.trustDomain("A/b")]) }
                == .acceptedNameInvalid("spiffe://A/b/*"))
        #expect(
            try problem(client) { $0.acceptedPeers = .named([.host(".pods.test")]) }
                == .acceptedNameInvalid(".pods.test"))
        #expect(try problem(client) { $0.acceptedPeers = .named([.uri("no uri")]) } == .acceptedNameInvalid("no uri"))
        #expect(try problem(client) { $0.applicationProtocols = [""] } == .applicationProtocolInvalid(""))
        #expect(
            try problem(server) {
                $0.applicationProtocols = []
                $0.requiresApplicationProtocol = true
            } == .applicationProtocolsEmpty)
        #expect(
            try problem(server) { ($0.minimumVersion, $0.maximumVersion) = (.tls13, .tls12) }
                == .versionsReversed(minimum: .tls13, maximum: .tls12))
        #expect(
            tlsError { _ = try TLSSettings(server, byServerName: ["*.*": server]) }
                == .settingInvalid(.serverNameInvalid("*.*")))
        #expect(
            tlsError { _ = try TLSSettings(server, byServerName: ["a.test": client]) }
                == .settingInvalid(.nestedRoleMismatch(serverName: "a.test")))
        #expect(
            tlsError { _ = try TLSTicketKeys(secrets: [[1, 2, 3]]) } == .settingInvalid(.ticketSecretLength(3)))
        #expect(tlsError { _ = try TLSTicketKeys(secrets: []) } == .settingInvalid(.ticketSecretLength(0)))
    }
}

@Suite struct CertificateSummaryTests {
    @Test func everyFieldIsRead() throws {
        let san = "URI:spiffe://mesh.test/a,DNS:a.test,DNS:b.test,IP:10.0.0.1,IP:fd00::1"
        let leaf = try Fixture.root.get().leaf(
            "summary", san: san, from: "20240229120000Z", to: "20491231235959Z")
        let summary = try TrustAnchors(pem: leaf.certificatePEM).certificates[0]
        #expect(summary.subject == "CN=summary,O=Martinet")
        #expect(summary.issuer == "CN=root,O=Martinet")
        #expect(summary.uris == ["spiffe://mesh.test/a"])
        #expect(summary.dnsNames == ["a.test", "b.test"])
        #expect(summary.ipAddresses == ["10.0.0.1", "fd00::1"])
        #expect(summary.notBefore == Timestamp(seconds: 1_709_208_000))
        #expect(summary.notAfter == Timestamp(seconds: 2_524_607_999))
        let serial = try openssl(["x509", "-in", leaf.certificateFile, "-noout", "-serial"])
        #expect(serial == "serial=\(summary.serial)\n" || serial == "serial=0\(summary.serial)\n")
    }

    @Test func noWellDefinedExpirationIsTheLastMoment() throws {
        let leaf = try Fixture.root.get().leaf("endless", to: "99991231235959Z")
        let summary = try TrustAnchors(pem: leaf.certificatePEM).certificates[0]
        #expect(summary.notAfter == Timestamp(nanoseconds: .max))
        #expect(summary.uris.isEmpty && summary.dnsNames.isEmpty && summary.ipAddresses.isEmpty)
    }

    @Test func damagedBytesAreAnErrorOrAnotherCertificateButNeverACrash() throws {
        let file = "\(newDirectory())/leaf.der"
        try openssl(["x509", "-in", try Fixture.server.get().certificateFile, "-outform", "DER", "-out", file])
        let der = bytes(of: file)
        #expect(try Certificate(der: der).dnsNames == ["server.test", "*.pods.test"])
        for length in 0..<der.count { #expect((try? Certificate(der: der.prefix(length))) == nil) }
        #expect((try? Certificate(der: der + [0])) == nil)
        var generator = SeededGenerator(state: 7)
        var refused = 0
        for _ in 0..<2000 {
            var damaged = der
            damaged[Int.random(in: 0..<der.count, using: &generator)] ^= UInt8.random(in: 1...255, using: &generator)
            if (try? Certificate(der: damaged)) == nil { refused += 1 }
        }
        #expect(refused > 100 && refused < 2000)
    }
}
