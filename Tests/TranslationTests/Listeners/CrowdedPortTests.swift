import Identity
import Mesh
import Testing
import XDS

@testable import Translation

/// What objects take from each other is told beside them.
@Test func aServiceThatGetsNothingOfAPortIsToldSo() throws {
    let text = """
        apiVersion: networking.istio.io/v1
        kind: ServiceEntry
        metadata: {name: first, namespace: default, creationTimestamp: "2026-01-01T00:00:00Z"}
        spec: {hosts: [one.example.com], ports: [{number: 5432, name: tcp, protocol: TCP}], resolution: DNS}
        ---
        apiVersion: networking.istio.io/v1
        kind: ServiceEntry
        metadata: {name: second, namespace: default, creationTimestamp: "2026-02-01T00:00:00Z"}
        spec: {hosts: [two.example.com], ports: [{number: 5432, name: tcp, protocol: TCP}], resolution: DNS}
        ---
        apiVersion: networking.istio.io/v1
        kind: ServiceEntry
        metadata: {name: third, namespace: default, creationTimestamp: "2026-03-01T00:00:00Z"}
        spec: {hosts: [three.example.com], ports: [{number: 5432, name: tls, protocol: TLS}], resolution: DNS}

        """
    var translation = MeshTranslation(
        settings: TranslationSettings(trustDomain: try .init("cluster.local")), index: try meshIndex(text))
    translation.add([ProxyClass(namespace: "default", labels: ["app": "web"])])
    let told = translation.warnings.filter { $0.kind == .contradiction }
    #expect(told.count == 1 && told.first?.object?.name == "second", "\(told)")
    #expect(told.first?.words.contains("`two.example.com`") == true)
    #expect(told.first?.words.contains("`one.example.com`, which came first") == true)
}

@Test func aServiceThatWantsCallsOnItsOwnNodeIsToldThatItDoesNotGetThem() throws {
    let index = try meshIndex(
        """
        apiVersion: v1
        kind: Service
        metadata: {name: a, namespace: b}
        spec: {internalTrafficPolicy: Local, ports: [{port: 80}]}
        """)
    let found = index.findings()
    #expect(found.map(\.path) == ["spec.internalTrafficPolicy"] && found.first?.kind == .unsupportedField)
}
