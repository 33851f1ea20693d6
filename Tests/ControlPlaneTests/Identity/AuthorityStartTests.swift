import Certificates
import Foundation
import Glibc
import Identity
import Testing
import Time

@testable import ControlPlane
@testable import Store

/// What the authority does with the state that it finds.
@Suite struct AuthorityStartTests {
    @Test func aRestartFindsTheSameAuthorities() throws {
        let first = try AuthorityRig()
        let before = try first.report().authorities.map(\.id)
        #expect(before.count == 2)
        first.stop()
        let second = try AuthorityRig(data: first.data)
        #expect(try second.report().authorities.map(\.id) == before)
        #expect(try second.bundle == first.bundle)
        // The key that signs JWT-SVIDs is the same too.
        #expect(try keyFiles(second.data).count == 3)
    }

    @Test func keysCanBeEncryptedUnderAPassphrase() throws {
        let secret = try TemporaryDirectory("secret")
        try secret.write("passphrase", "correct horse\n")
        chmod(secret["passphrase"], 0o600)
        let first = try AuthorityRig(change: { $0.passphraseFile = secret["passphrase"] })
        for file in try keyFiles(first.data) {
            #expect(try String(contentsOfFile: first.data["ca/\(file)"], encoding: .utf8).contains("ENCRYPTED"))
        }
        first.stop()
        let second = try AuthorityRig(data: first.data, change: { $0.passphraseFile = secret["passphrase"] })
        second.stop()
        expectProblem(first.data, "--ca-passphrase-file")
        try secret.write("passphrase", "wrong\n")
        chmod(secret["passphrase"], 0o600)
        expectProblem(first.data, "--ca-passphrase-file") { $0.passphraseFile = secret["passphrase"] }
    }

    @Test func aMissingKeyIsAnErrorThatNamesTheFileAndTheMend() throws {
        let data = try made()
        let root = try #require(try ids(data).first)
        unlink(data["ca/\(root).key"])
        expectProblem(data, "backup")
    }

    @Test func aCorruptKeyIsAnError() throws {
        let data = try made()
        let root = try #require(try ids(data).first)
        try data.write("ca/\(root).key", "-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n")
        chmod(data["ca/\(root).key"], 0o600)
        expectProblem(data, "backup")
    }

    @Test func aKeyOfAnotherAuthorityIsAnError() throws {
        let data = try made()
        let ids = try ids(data)
        try data.write("ca/\(ids[0]).key", try String(contentsOfFile: data["ca/\(ids[1]).key"], encoding: .utf8))
        chmod(data["ca/\(ids[0]).key"], 0o600)
        expectProblem(data, "backup")
    }

    @Test func anotherTrustDomainIsAnError() throws {
        let data = try made()
        expectProblem(data, "--trust-domain cluster.local") {
            $0 = AuthorityConfiguration(trustDomain: try! TrustDomain("other.example"))
        }
    }

    @Test func aKeyThatACrashLeftWithoutARecordIsRemoved() throws {
        let data = try made()
        try data.write("ca/0123abcd.key", "stray")
        let rig = try AuthorityRig(data: data)
        #expect(try !keyFiles(data).contains("0123abcd.key"))
        rig.stop()
    }

    @Test func anAuthorityThatExpiredWhileItWasOffMakesAnotherRoot() throws {
        let first = try AuthorityRig()
        let proxy = try SecretProxy("web", at: first.address(token: first.token()))
        #expect(comesTrue { proxy.hasEverything })
        proxy.stop()
        let before = try first.report().authorities.map(\.id)
        first.stop()
        let clock = MovableClock()
        clock.advance(by: .days(4000))
        let second = try AuthorityRig(data: first.data, clock: clock)
        #expect(try comesTrue { try second.report().rotations.isEmpty }, "\(second.log.lines)")
        let report = try second.report()
        #expect(Set(report.authorities.map(\.id)).isDisjoint(with: before))
        #expect(report.authorities.allSatisfy { $0.validity.contains(clock.now) && $0.state == "active" })
        #expect(report.problems.isEmpty, "\(report.problems)")
        #expect(try keyFiles(second.data).allSatisfy { name in !before.contains { name.hasPrefix($0) } })
        #expect(try second.bundle.map(\.notAfter).allSatisfy { $0 > clock.now })
    }

    @Test func anAuthorityFromOutsideThatExpiredWhileItWasOffSaysHowToGoOn() throws {
        let rig = try AuthorityRig()
        let outside = try Outside()
        let key = try PrivateKey.generate(.ecdsaP256)
        let intermediate = try outside.issue(to: key.publicKey, days: 300)
        let material = AuthorityMaterial(
            certificates: text([intermediate, outside.root]), key: String(decoding: try key.pem(), as: UTF8.self))
        _ = try rig.take(material)
        #expect(try comesTrue { try rig.report().rotations.isEmpty })
        rig.stop()
        let clock = MovableClock()
        clock.advance(by: .days(301))
        let late = try AuthorityRig(data: rig.data, clock: clock)
        #expect(late.log.has("critical TLS is not served until another start"))
        let problems = try late.report().problems
        #expect(problems.contains { $0.contains("expired") && $0.contains("`martinet ca import`") }, "\(problems)")
        // Nothing was made up, and an operator can import another one.
        #expect(try late.bundle == [outside.root])
        let next = try PrivateKey.generate(.ecdsaP256)
        let successor = try outside.sign(next.publicKey, notAfter: clock.now + .days(200), notBefore: clock.now)
        _ = try late.take(
            AuthorityMaterial(
                certificates: text([successor, outside.root]), key: String(decoding: try next.pem(), as: UTF8.self)))
        #expect(try comesTrue { try late.report().problems.isEmpty })
    }

    // MARK: Import

    @Test func anOutsideRootSignsTheRequestAndTakesOver() throws {
        let rig = try AuthorityRig()
        let outside = try Outside()
        let pem = try rig.onControl { [clock = rig.clock] in try $0.signingRequest(now: clock.now) }
        let request = try SigningRequest(pem: Array(pem.utf8))
        let intermediate = try outside.issue(to: request.publicKey, subject: request.subject, days: 300)
        let taken = try rig.take(AuthorityMaterial(certificates: text([intermediate, outside.root])))
        #expect(taken.count == 2)
        #expect(try comesTrue { try rig.report().rotations.isEmpty })
        #expect(try rig.bundle == [outside.root])
        let proxy = try SecretProxy("web", at: rig.address(token: rig.token()))
        defer { proxy.stop() }
        #expect(comesTrue { proxy.hasEverything })
        #expect(proxy.now.chain[1] == intermediate)
        // The root's key is elsewhere: the intermediate cannot be renewed here.
        #expect(throws: AuthorityRefusal.self) {
            try rig.onControl { [clock = rig.clock] in _ = try $0.rotate(RotationOrder(), now: clock.now) }
        }
    }

    @Test func badMaterialIsRefusedAndNothingChanges() throws {
        let rig = try AuthorityRig()
        let outside = try Outside()
        let key = try PrivateKey.generate(.ecdsaP256)
        let keyPEM = String(decoding: try key.pem(), as: UTF8.self)
        let good = try outside.issue(to: key.publicKey, days: 300)
        let other = try Outside()
        let ending = try outside.sign(key.publicKey, notAfter: .systemClock() + .seconds(3600))
        // Roots that end before the intermediate that they have signed, and before any workload certificate would.
        let short = try outside.anotherRoot(days: 100)
        let brief = try Outside(days: 1)
        let leaf = try outside.leaf(for: key.publicKey)
        let files = try keyFiles(rig.data)
        let before = try rig.report().authorities
        func refused(_ certificates: [Certificate], key: String, root: [Certificate] = []) -> String {
            let material = AuthorityMaterial(certificates: text(certificates), key: key, root: text(root))
            do {
                _ = try rig.take(material)
                return "taken"
            } catch {
                return "\(error)"
            }
        }
        let foreignKey = String(decoding: try PrivateKey.generate(.ecdsaP256).pem(), as: UTF8.self)
        #expect(refused([good, outside.root], key: foreignKey).contains("key"))
        #expect(refused([good, outside.root], key: "").contains("without its key"))
        #expect(refused([leaf, outside.root], key: keyPEM).contains("authority"))
        #expect(refused([good], key: keyPEM).contains("root"))
        #expect(refused([good], key: keyPEM, root: [other.root]).contains("taken") == false)
        #expect(refused([ending, outside.root], key: keyPEM).contains("expires"))
        let early = refused([good, short], key: keyPEM)
        #expect(early.contains("expires") && early.contains("which it signed"), "\(early)")
        let briefKey = String(decoding: try brief.key.pem(), as: UTF8.self)
        #expect(refused([brief.root], key: briefKey).contains("before the workload certificates that it should sign"))
        #expect(refused([outside.root, good], key: keyPEM).contains("taken") == false)
        #expect(try rig.report().authorities == before)
        #expect(try keyFiles(rig.data) == files)
        #expect(refused([good, outside.root], key: keyPEM) == "taken")
    }

    // MARK: The database

    @Test func whileTheDatabaseIsFullNothingIsIssuedAndWhatWasStaysInForce() throws {
        let rig = try AuthorityRig()
        let token = try rig.token()
        let proxy = try SecretProxy("web", at: rig.address(token: token))
        defer { proxy.stop() }
        #expect(comesTrue { proxy.hasEverything })
        #expect(try comesTrue { try rig.report().outstandingLeaves == 1 })
        let before = proxy.now
        try rig.store.limitSize(pages: 1)
        let refusal = #expect(throws: AuthorityRefusal.self) {
            // Enough orders to need another page, whatever room the last one has.
            for _ in 0..<50 {
                try rig.onControl { [clock = rig.clock] in
                    for _ in 0..<50 {
                        _ = try? $0.sign(
                            for: SPIFFEID("spiffe://cluster.local/ns/shop/sa/x"),
                            holder: HolderID(node: "x", identity: SPIFFEID("spiffe://cluster.local/ns/shop/sa/x")),
                            key: PrivateKey.generate(.ecdsaP256).publicKey, wanted: nil, reason: "csr", roots: nil,
                            now: clock.now)
                    }
                    _ = try $0.rotate(RotationOrder(root: true), now: clock.now)
                }
            }
        }
        #expect(refusal?.kind == .storage)
        #expect(refusal?.hint.contains("space") == true)
        #expect(try rig.report().problems.contains { $0.contains("nothing can be issued") })
        #expect(proxy.now.chain == before.chain && proxy.now.anchors == before.anchors)
        try rig.store.limitSize(pages: 1 << 20)
        #expect(try comesTrue { try !rig.report().problems.contains { $0.contains("nothing can be issued") } })
        // The order that could not be kept at once is carried out now; it waits for the holder above, who never comes.
        #expect(comesTrue { proxy.now.anchors.count == 2 && proxy.now.chain.count == 3 })
    }

    @Test func whileAnotherProcessHoldsTheDatabaseOrdersAreRefusedWithTheMend() throws {
        let rig = try AuthorityRig()
        let holder = Process()
        holder.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        holder.arguments = [
            "python3", "-c",
            """
            import sqlite3, sys, time
            database = sqlite3.connect(sys.argv[1], isolation_level=None)
            database.execute("BEGIN EXCLUSIVE")
            open(sys.argv[2], "w").close()
            time.sleep(60)
            """, rig.store.path, rig.data["held"],
        ]
        try holder.run()
        defer { kill(holder.processIdentifier, SIGKILL) }
        #expect(comesTrue { FileManager.default.fileExists(atPath: rig.data["held"]) })
        let refusal = #expect(throws: AuthorityRefusal.self) {
            try rig.onControl { [clock = rig.clock] in _ = try $0.rotate(RotationOrder(), now: clock.now) }
        }
        #expect(refusal?.kind == .storage && refusal?.hint.contains("stop the other") == true)
        kill(holder.processIdentifier, SIGKILL)
        // The order stands.
        #expect(try comesTrue { try rig.report().problems.isEmpty && rig.report().rotations.isEmpty })
        #expect(rig.log.has("rotation of the intermediate is finished"))
    }

    // MARK: -

    private func made() throws -> TemporaryDirectory {
        let rig = try AuthorityRig()
        rig.stop()
        return rig.data
    }

    private func ids(_ data: TemporaryDirectory) throws -> [String] {
        try Store(directory: data.path).authorities().map(\.id)
    }

    private func keyFiles(_ data: TemporaryDirectory) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: data["ca"]).filter { $0.hasSuffix(".key") }.sorted()
    }

    private func expectProblem(
        _ data: TemporaryDirectory, _ words: String, _ change: (inout AuthorityConfiguration) -> Void = { _ in }
    ) {
        let problem = #expect(throws: StartProblem.self) { _ = try AuthorityRig(data: data, change: change) }
        #expect(problem.map { "\($0) \($0.hint)" }?.contains(words) == true, "\(String(describing: problem))")
    }
}

private func text(_ certificates: [Certificate]) -> String { KeptAuthority.text(certificates) }

extension AuthorityRig {
    func take(_ material: AuthorityMaterial) throws -> [String] {
        try onControl { [clock] in try $0.take(material, now: clock.now) }
    }
}

/// A root that somebody else keeps.
private struct Outside {
    let root: Certificate
    let key: PrivateKey
    private let domain: TrustDomain

    init(days: Int = 1000) throws {
        domain = try TrustDomain("cluster.local")
        key = try PrivateKey.generate(.ecdsaP256)
        let now = Timestamp.systemClock()
        root = try Issuer.selfSigned(
            subject: try DistinguishedName(commonName: "outside \(key.publicKey.identifier)"), trustDomain: domain,
            key: key, validity: (now - .seconds(3600))..<(now + .days(days)), serial: try .random())
    }

    func issue(
        to key: PublicKey, subject: DistinguishedName? = nil, days: Int
    ) throws -> Certificate {
        try sign(key, subject: subject, notAfter: .systemClock() + .days(days))
    }

    func sign(
        _ key: PublicKey, subject: DistinguishedName? = nil, notAfter: Timestamp,
        notBefore: Timestamp = .systemClock() - .seconds(3600)
    ) throws -> Certificate {
        try Issuer(chain: [root], key: self.key).issueAuthority(
            subject: subject ?? DistinguishedName(commonName: "intermediate"), trustDomain: domain,
            validity: notBefore..<notAfter, serial: try .random(), for: key)
    }

    /// The same key under the same name, with another end.
    func anotherRoot(days: Int) throws -> Certificate {
        try Issuer.selfSigned(
            subject: try DistinguishedName(commonName: "outside \(key.publicKey.identifier)"), trustDomain: domain,
            key: key, validity: root.notBefore..<(.systemClock() + .days(days)), serial: try .random())
    }

    func leaf(for key: PublicKey) throws -> Certificate {
        try Issuer(chain: [root], key: self.key).issue(
            LeafTemplate(
                spiffeID: try SPIFFEID(domain, namespace: "a", serviceAccount: "b"),
                validity: (.systemClock() - .seconds(3600))..<(.systemClock() + .days(90)), serial: try .random()),
            for: key)
    }
}
