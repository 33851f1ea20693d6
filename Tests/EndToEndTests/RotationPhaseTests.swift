import Foundation
import Testing

/// A kill, or an operator who goes back, in each phase of a root's rotation. A proxy that is away holds each of them up
/// until it has been waited for long enough.
@Suite(.serialized) struct RotationPhaseTests {
    private struct Status: Decodable {
        struct Authority: Decodable {
            var id: String
            var tier: String
            var state: String
        }
        struct Rotation: Decodable {
            var phase: String
            var awaited: [Awaited]
        }
        struct Awaited: Decodable { var node: String }
        var authorities: [Authority]
        var rotations: [Rotation]
        var problems: [String]

        var activeRoot: String? { authorities.first { $0.tier == "root" && $0.state == "active" }?.id }
    }

    private let control: ControlPlaneProcess
    private let agent: Agent
    private let files: String

    init() throws {
        control = try ControlPlaneProcess(["--ca-leaf-ttl", "10m"])
        files = control.directory + "/web"
        agent = try Agent(control, "web", ["--out", files])
        // It takes the bundle and a certificate, acknowledges nothing and goes away.
        let away: [String: Any] = [
            "id": "away-1", "token": try control.token(serviceAccount: "away"), "names": ["ROOTCA", "default"],
        ]
        let (_, output, errors) = try ChildProcess.run(
            Installation.python,
            [
                Installation.root + "/Tests/EndToEndTests/Peers/ads_caller.py", "\(control.tlsPort)",
                control.rootCertificate,
                String(decoding: try JSONSerialization.data(withJSONObject: away), as: UTF8.self),
            ])
        try #require(output == "response Secret 2\n", "\(output)\(errors)\(control.process.log.suffix(2_000))")
        let (chain, log) = (files + "/cert-chain.pem", agent.process.logPath)
        try eventually("the agent's files; \(log)") { FileManager.default.fileExists(atPath: chain) ? true : nil }
    }

    private func status() throws -> Status {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(
            Status.self, from: Data(try control.command("ca", "status", "-o", "json").output.utf8))
    }

    /// Begins a rotation, and waits for a phase of it.
    private func reach(_ phase: String) throws -> Status {
        let (ordered, output, errors) = try control.command("ca", "rotate", "--root", "--force-after", "4s")
        #expect(ordered == 0, "\(output)\(errors)")
        return try eventually("the phase \(phase)", within: 30) {
            () -> Status? in
            let status = try self.status()
            return status.rotations.first?.phase == phase ? status : nil
        }
    }

    /// The agent's chain leads to the one root that the control plane publishes.
    private func expectAgreement(on root: String?) throws {
        let status = try eventually("the end of the rotation; \(control.process.log.suffix(3_000))", within: 60) {
            () -> Status? in
            let status = try self.status()
            return status.rotations.isEmpty ? status : nil
        }
        #expect(status.problems.isEmpty, "\(status)")
        #expect(status.authorities.count == 2 && status.authorities.allSatisfy { $0.state == "active" }, "\(status)")
        if let root { #expect(status.activeRoot == root) }
        try eventually("the agent to follow; \(agent.process.log.suffix(2_000))", within: 40) {
            () -> Bool? in
            let published = try String(contentsOfFile: control.rootCertificate, encoding: .utf8)
            guard try String(contentsOfFile: files + "/root-cert.pem", encoding: .utf8) == published else { return nil }
            let (verified, _, _) = try ChildProcess.run(
                "/usr/bin/openssl",
                [
                    "verify", "-CAfile", control.rootCertificate, "-untrusted", files + "/cert-chain.pem",
                    files + "/cert-chain.pem",
                ])
            return verified == 0 ? true : nil
        }
        let keys = try FileManager.default.contentsOfDirectory(atPath: control.data + "/ca")
            .filter { $0.hasSuffix(".key") && !$0.hasPrefix("jwt-") }
        #expect(Set(keys) == Set(status.authorities.map { $0.id + ".key" }))
    }

    @Test(arguments: ["prepare", "activate", "retire"])
    func afterAKillTheRotationGoesOnWhereItWas(phase: String) throws {
        let before = try status()
        let at = try reach(phase)
        #expect(at.rotations[0].awaited.map(\.node).contains("away-1"), "\(at)")
        try control.restart(SIGKILL)
        let phases = ["prepare", "activate", "retire", nil]
        let after = try status()
        let (was, now) = (
            try #require(phases.firstIndex(of: phase)),
            try #require(phases.firstIndex(of: after.rotations.first?.phase))
        )
        #expect(now >= was, "\(after)")
        try expectAgreement(on: nil)
        #expect(try status().activeRoot != before.activeRoot)
    }

    @Test(arguments: ["prepare", "activate", "retire"])
    func anAbortBringsTheOldRootBackAlsoOverAKill(phase: String) throws {
        let before = try status()
        _ = try reach(phase)
        let (aborted, output, errors) = try control.command("ca", "rotate", "--abort")
        #expect(aborted == 0, "\(output)\(errors)")
        try control.restart(SIGKILL)
        try expectAgreement(on: before.activeRoot)
    }
}
