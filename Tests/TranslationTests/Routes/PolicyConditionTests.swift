import Mesh
import Testing

@testable import Translation

struct PolicyConditionTests {
    @Test func aBackendTLSPolicyIsToldWhetherItHolds() throws {
        func policy(_ name: String, _ target: String, _ roots: String, at time: Int = 1) -> String {
            made(
                .backendTLSPolicy, name, at: time,
                "targetRefs: [{group: \"\", kind: Service, \(target)}]\nvalidation: {hostname: a.example.com, \(roots)}"
            )
        }
        let system = "wellKnownCACertificates: System"
        let secret = """
            ---
            apiVersion: v1
            kind: Secret
            metadata: {name: roots, namespace: default}
            stringData: {ca.crt: some}
            """
        let mesh = mesh(
            [
                service("a", ports: [1]), secret, policy("fine", "name: a", system),
                policy("late", "name: a", system, at: 2), policy("gone", "name: b", system),
                policy("part", "name: a, sectionName: other", system),
                policy("own", "name: a", "caCertificateRefs: [{group: \"\", kind: Secret, name: roots}]", at: 3),
                policy("lost", "name: a", "caCertificateRefs: [{group: \"\", kind: Secret, name: lost}]"),
                policy("map", "name: a", "caCertificateRefs: [{group: \"\", kind: ConfigMap, name: roots}]"),
            ].joined(separator: "\n"))
        func status(_ name: String) throws -> [String] {
            let object = try #require(mesh.mesh.object(ObjectKey(.backendTLSPolicy, "default", name)))
            return mesh.ancestorStatuses(of: object).flatMap(\.conditions).map { "\($0.isTrue) \($0.reason)" }
        }
        #expect(try status("fine") == ["true Accepted", "true ResolvedRefs"])
        #expect(try status("late") == ["false Conflicted", "true ResolvedRefs"])
        #expect(try status("gone") == ["false TargetNotFound", "true ResolvedRefs"])
        #expect(try status("part") == ["false TargetNotFound", "true ResolvedRefs"])
        #expect(try status("own") == ["false Conflicted", "true ResolvedRefs"])
        #expect(try status("lost") == ["false NoValidCACertificate", "false InvalidCACertificateRef"])
        #expect(try status("map") == ["false NoValidCACertificate", "false InvalidKind"])
    }
}
