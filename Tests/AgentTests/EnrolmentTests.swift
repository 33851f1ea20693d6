import Certificates
import Foundation
import GRPC
import Identity
import Testing
import Time

@testable import Agent

/// Getting certificates and keeping them, with what can go wrong at the control plane.
struct EnrolmentTests {
    private func hasFiles(_ rig: AgentRig) -> Bool { FileManager.default.fileExists(atPath: rig.chainFile) }

    @Test func onceWritesTheFilesRunsTheCommandAndEnds() throws {
        let rig = try AgentRig()
        rig.start {
            $0.outputDirectory = rig.out
            $0.command = "cp \(rig.out)/cert-chain.pem \(rig.directory)/copy"
            $0.onceWithin = .seconds(30)
        }
        try rig.outcome().get()
        #expect(rig.read(rig.directory + "/copy") == rig.read(rig.chainFile))
        let verified = try Program(
            "/usr/bin/openssl",
            ["verify", "-x509_strict", "-CAfile", rig.bundleFile, "-untrusted", rig.chainFile, rig.chainFile])
        #expect(verified.status == 0, "\(verified.errors)")
        let key = try Program("/usr/bin/openssl", ["pkey", "-in", rig.keyFile, "-pubout"])
        let leaf = try Program("/usr/bin/openssl", ["x509", "-in", rig.chainFile, "-pubkey", "-noout"])
        #expect(key.output == leaf.output && key.output.contains("PUBLIC KEY"))
        // The key is in no line.
        let secret = rig.read(rig.keyFile).split(separator: "\n")[1]
        #expect(!rig.log.lines.contains { $0.contains(secret) })
    }

    @Test func onceFailsWithTheCommand() throws {
        let rig = try AgentRig()
        rig.start {
            $0.outputDirectory = rig.out
            $0.command = "exit 4"
            $0.onceWithin = .seconds(30)
        }
        #expect(throws: AgentError.commandFailed("ended with exit code 4")) { try rig.outcome().get() }
    }

    @Test func onceFailsInTimeAndSaysWhy() throws {
        let rig = try AgentRig()
        try rig.write("token", "stolen-token")
        rig.start {
            $0.outputDirectory = rig.out
            $0.onceWithin = .seconds(2)
        }
        #expect(
            throws: AgentError.notInTime(seconds: 2, last: "UNAUTHENTICATED: the join token is not known")
        ) { try rig.outcome().get() }
        #expect(!hasFiles(rig))
    }

    @Test func aControlPlaneUnderAnotherRootIsNotBelieved() throws {
        let rig = try AgentRig()
        try rig.write(
            "root.pem", String(decoding: try TestControlPlane.Tier("evil", now: .now).root.pem, as: UTF8.self))
        rig.start { $0.outputDirectory = rig.out }
        try eventually("a refusal: \(rig.log.lines)") { rig.log.has("error no certificate yet") ? true : nil }
        #expect(rig.plane.state.withLock { $0.proofs } == [], "the token was shown to nobody")
        // The file is read again: the right root mends it.
        try rig.write("root.pem", String(decoding: rig.plane.first.root.pem, as: UTF8.self))
        try eventually("the files") { hasFiles(rig) ? true : nil }
    }

    private static let spoilt: [(String, @Sendable (TestControlPlane.Answer) throws -> TestControlPlane.Answer)] = [
        ("another key", { try $0.with { $0.key = try PrivateKey.generate(.ecdsaP256).publicKey } }),
        (
            "spiffe://mesh.test/ns/shop/sa/db",
            { try $0.with { $0.spiffeID = try SPIFFEID("spiffe://mesh.test/ns/shop/sa/db") } }
        ),
        ("seems to be behind", { try $0.with { $0.validity = .now + .seconds(600)..<(.now + .seconds(900)) } }),
        ("seems to be ahead", { try $0.with { $0.validity = .now - .seconds(900)..<(.now - .seconds(600)) } }),
    ]

    @Test(arguments: 0..<4)
    func aWrongAnswerIsNotTakenAndTheNextRightOneIs(number: Int) throws {
        let (words, spoil) = Self.spoilt[number]
        let rig = try AgentRig()
        try rig.plane.change { $0.spoil = spoil }
        rig.start { $0.outputDirectory = rig.out }
        try eventually("the refusal with `\(words)`: \(rig.log.lines)") { rig.log.has(words) ? true : nil }
        #expect(!hasFiles(rig))
        try rig.plane.change { $0.spoil = nil }
        try eventually("the files") { hasFiles(rig) ? true : nil }
    }

    @Test func aRestartGoesOnWithTheFilesAndNeedsNoToken() throws {
        let rig = try AgentRig()
        rig.start { $0.outputDirectory = rig.out }
        try eventually("the files") { hasFiles(rig) ? true : nil }
        rig.end()
        let before = rig.read(rig.chainFile)
        rig.plane.stop()
        // Nobody answers, and there is no token any more: what is there is served all the same.
        rig.start {
            $0.outputDirectory = rig.out
            $0.tokenFile = nil
            $0.socketPath = rig.socket
        }
        try eventually("the socket") { FileManager.default.fileExists(atPath: rig.socket) ? true : nil }
        let peer = try Program(Program.python, [Program.peer("workload.py"), rig.socket, "watch", "1"])
        #expect(peer.lines.first?.hasSuffix("verified") == true, "\(peer.errors)")
        #expect(rig.read(rig.chainFile) == before)
        #expect(rig.log.has("going on with the certificate of an earlier run"))
    }

    @Test func withoutTokenAndFilesItSaysWhatIsMissing() throws {
        let rig = try AgentRig()
        rig.start {
            $0.outputDirectory = rig.out
            $0.tokenFile = nil
        }
        #expect {
            try rig.outcome().get()
        } throws: {
            ($0 as? AgentError)?.hint.contains("martinet token create") == true
        }
    }

    @Test func anOutageKeepsTheLastGoodOneAndIsLoudBeforeTheEnd() throws {
        let rig = try AgentRig()
        try rig.plane.change { $0.life = .seconds(6) }
        rig.start { $0.outputDirectory = rig.out }
        try eventually("the files") { hasFiles(rig) ? true : nil }
        let before = rig.read(rig.chainFile)
        rig.plane.stop()
        try eventually("the warning") { rig.log.has("critical the certificate nears its end") ? true : nil }
        #expect(rig.read(rig.chainFile) == before)
        #expect(rig.log.lines.filter { $0.contains("could not be renewed; trying again") }.count >= 2)
        try eventually("the end") { rig.log.has("critical the certificate has expired") ? true : nil }
        // A certificate that has expired proves nothing: the token does again.
        try rig.plane.listen()
        try eventually("a new one") { rig.read(rig.chainFile) != before ? true : nil }
        #expect(rig.plane.state.withLock { $0.proofs.last } == "token")
    }

    @Test func aCertificateThatIsRefusedGivesTheTokenItsTurn() throws {
        let rig = try AgentRig()
        try rig.plane.change { $0.life = .seconds(4) }
        rig.start { $0.outputDirectory = rig.out }
        try eventually("the files") { hasFiles(rig) ? true : nil }
        rig.plane.state.withLock { $0.refusals = [GRPCStatus(.permissionDenied, "this certificate is not welcome")] }
        try eventually("the token: \(rig.plane.state.withLock { $0.proofs })") {
            rig.plane.state.withLock { $0.proofs.count { $0 == "token" } >= 2 } ? true : nil
        }
    }

    @Test func aBundleThatIsNoneIsRefusedAndTheOldOneStays() throws {
        let rig = try AgentRig()
        rig.start { $0.outputDirectory = rig.out }
        try eventually("the files") { hasFiles(rig) ? true : nil }
        let before = rig.read(rig.bundleFile)
        try rig.plane.pushBundle(Array("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".utf8))
        try eventually("the refusal") { rig.log.has("error a pushed secret is not usable") ? true : nil }
        #expect(rig.read(rig.bundleFile) == before)
    }
}

extension TestControlPlane.Answer {
    fileprivate func with(_ change: (inout Self) throws -> Void) rethrows -> Self {
        var copy = self
        try change(&copy)
        return copy
    }
}
