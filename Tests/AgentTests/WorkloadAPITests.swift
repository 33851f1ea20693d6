import Certificates
import Foundation
import Identity
import Testing
import Time

@testable import Agent

/// The SPIFFE library from PyPI against the agent's socket.
struct WorkloadAPITests {
    @Test func aWorkloadGetsCertificatesBundlesAndTokens() throws {
        let rig = try AgentRig()
        rig.start { $0.socketPath = rig.socket }
        try eventually("the socket") { FileManager.default.fileExists(atPath: rig.socket) ? true : nil }
        let peer = try Program(Program.python, [Program.peer("workload.py"), rig.socket, "all", "billing"])
        #expect(
            peer.lines == [
                "svid spiffe://mesh.test/ns/shop/sa/web chain 2 key True", "openssl verified",
                "bundles mesh.test other.test", "token spiffe://mesh.test/ns/shop/sa/web billing", "again True",
                "checked spiffe://mesh.test/ns/shop/sa/web", "validated spiffe://mesh.test/ns/shop/sa/web",
                "other-audience refused True", "forged refused True",
                "no-header INVALID_ARGUMENT the metadata `workload.spiffe.io: true` is missing",
            ], "\(peer.errors)")
        #expect(rig.plane.state.withLock { $0.tokensSigned } == 1)
        #expect(rig.plane.state.withLock { $0.proofs } == ["token"])
    }

    @Test func tokensOfAFederatedDomainAreCheckedByItsOwnKeys() throws {
        let rig = try AgentRig()
        rig.start { $0.socketPath = rig.socket }
        try eventually("the socket") { FileManager.default.fileExists(atPath: rig.socket) ? true : nil }
        let now = Timestamp.now
        let foreign = try SPIFFEID("spiffe://other.test/ns/bank/sa/ledger")
        func ask(_ id: SPIFFEID, _ key: PrivateKey, _ keyID: String) throws -> Program {
            let token = try JWTSVID.sign(
                id, audience: ["billing"], validity: now..<now + .seconds(300), key: key, keyID: keyID)
            return try Program(
                Program.python, [Program.peer("workload.py"), rig.socket, "federated", token.token, "billing"])
        }
        let good = try ask(foreign, rig.plane.otherTokenKey, "o1")
        #expect(
            good.lines == ["keys mesh.test other.test", "checked \(foreign)", "validated \(foreign)"], "\(good.errors)")
        // Our own key vouches for nobody of that domain.
        let forged = try ask(foreign, rig.plane.tokenKey, "k1")
        #expect(forged.lines == ["keys mesh.test other.test"])
    }

    @Test func theControlPlaneIsToldWhatTheClockShows() throws {
        let rig = try AgentRig()
        rig.start { $0.socketPath = rig.socket }
        let clocks = try eventually("a request") {
            let clocks = rig.plane.state.withLock { $0.clocks }
            return clocks.isEmpty ? nil : clocks
        }
        #expect(clocks.count == 1)
        let age = Timestamp.now - clocks[0]
        #expect(age >= .zero && age < .seconds(30))
    }

    /// Prepare, activate, retire: each step reaches an open stream, and at each the chain verifies.
    @Test func aStreamHearsOfEachStepOfARotationOfTheRoot() throws {
        let rig = try AgentRig()
        let second = try TestControlPlane.Tier("two", now: .now)
        rig.start { $0.socketPath = rig.socket }
        try eventually("the socket") { FileManager.default.fileExists(atPath: rig.socket) ? true : nil }
        let peer = try RunningProgram(Program.python, [Program.peer("workload.py"), rig.socket, "watch", "100"])
        func last(_ what: String, _ issuer: String, _ roots: String) throws {
            try eventually("\(what): \(peer.lines)") {
                let words = peer.lines.last.map { $0.split(separator: " ", maxSplits: 2).last.map(String.init) ?? "" }
                return words == "CN=intermediate \(issuer) \(roots) verified" ? true : nil
            }
        }
        try last("the first certificate", "one", "CN=root one")
        try rig.plane.change { $0.trusted = [rig.plane.first, second] }
        try last("prepared", "one", "CN=root one+CN=root two")
        // Half its life is far off: it is the word of the new authority that has it renewed.
        try rig.plane.change { $0.issuing = second }
        try last("activated", "two", "CN=root one+CN=root two")
        try rig.plane.change { $0.trusted = [second] }
        try last("retired", "two", "CN=root two")
        #expect(peer.lines.allSatisfy { $0.hasPrefix("update") && $0.hasSuffix(" verified") })
        #expect(rig.plane.state.withLock { $0.proofs } == ["token", "certificate of \(workload)"])
    }

    @Test func aStreamHearsOfEachRenewalAtHalfTheLife() throws {
        let rig = try AgentRig()
        try rig.plane.change { $0.life = .seconds(4) }
        rig.start { $0.socketPath = rig.socket }
        try eventually("the socket") { FileManager.default.fileExists(atPath: rig.socket) ? true : nil }
        let peer = try RunningProgram(Program.python, [Program.peer("workload.py"), rig.socket, "watch", "4"])
        let (status, output, errors) = peer.wait()
        #expect(status == 0)
        let lines = output.split(separator: "\n")
        #expect(lines.count >= 4 && lines.allSatisfy { $0.hasSuffix("verified") }, "\(output) \(errors)")
        #expect(Set(lines.map { $0.split(separator: " ")[1] }).count >= 3, "serial numbers differ: \(output)")
        #expect(rig.plane.state.withLock { $0.proofs.filter { $0 == "token" }.count } == 1)
    }

    @Test func aProcessOfAnotherUserIsRefused() throws {
        let rig = try AgentRig()
        rig.start { $0.socketPath = rig.socket }
        try eventually("the socket") { FileManager.default.fileExists(atPath: rig.socket) ? true : nil }
        try #require(geteuid() == 0, "this test changes its user, which takes root")
        let peer = try Program(Program.python, [Program.peer("workload.py"), rig.socket, "as", "65534"])
        #expect(
            peer.lines.first?.hasPrefix("call PERMISSION_DENIED no identity is meant for this process (uid 65534")
                == true, "\(peer.output) \(peer.errors)")
        #expect(rig.log.has("Workload API call refused caller=uid 65534"))
    }

    @Test func aSelectorAdmitsAnotherUserByItsProgramToo() throws {
        try #require(geteuid() == 0, "this test changes its user, which takes root")
        let rig = try AgentRig()
        let program = URL(fileURLWithPath: Program.python).resolvingSymlinksInPath().path
        let selector = try CallerSelector(parsing: "user:nobody,path:\(program)")
        let other = try CallerSelector(parsing: "user:nobody,path:/usr/bin/openssl")
        func ask(_ selectors: [CallerSelector]) throws -> String {
            rig.start {
                $0.socketPath = rig.socket
                $0.selectors = selectors
            }
            try eventually("the socket") { FileManager.default.fileExists(atPath: rig.socket) ? true : nil }
            let peer = try Program(Program.python, [Program.peer("workload.py"), rig.socket, "as", "65534"])
            rig.end()
            return peer.lines.first ?? peer.errors
        }
        #expect(try ask([other]).hasPrefix("call PERMISSION_DENIED"))
        #expect(try ask([other, selector]) == "call OK")
    }
}
