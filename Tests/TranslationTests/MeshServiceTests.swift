import Mesh
import Testing
import Translation

@Test func aServiceEntryIsOneServiceForEachHost() throws {
    let objects = try ObjectText(
        Array(
            """
            apiVersion: networking.istio.io/v1
            kind: ServiceEntry
            metadata: { name: apis, namespace: shop }
            spec:
              hosts: [a.example.com, b.example.com]
              ports: [{ number: 443, name: tls, protocol: TLS }]
              resolution: DNS
              location: MESH_EXTERNAL
            """.utf8)
    ).objects
    let services = objects.flatMap { MeshService.services(of: $0) }
    #expect(services.map(\.host) == ["a.example.com", "b.example.com"])
    #expect(services.allSatisfy { $0.isExternal && $0.resolution == .dns(isRoundRobin: false) })
    #expect(services.map { $0.port(443)?.statedProtocol } == [.tls, .tls])
}
