import Foundation
import Testing

/// Health checking, reflection and client status, asked with gRPC's own Python packages.
struct ServicesTests {
    private struct Answers: Decodable {
        struct Health: Decodable, Equatable {
            var all, ads, unknown, watched: String
        }
        struct Reflection: Decodable {
            var services: [String]
            var ads: [String: String]
            var lbPolicy: String
        }
        struct ClientStatus: Decodable {
            var nodes, streamed: [String]
            var resources: [String: String]
        }

        var health: Health
        var reflection: Reflection
        var csds: ClientStatus
    }

    @Test func theServicesBesideXDSAnswerForeignToolsOnTheSocketAndOverMutualTLS() throws {
        let mesh = try Mesh()
        defer { mesh.remove() }
        let shop = try Shop(.delta, serving: mesh.flags)
        try eventually("Envoy to be in sync") {
            let status = try shop.control.command("status")
            return status.status == 0 && !status.output.contains("pending") ? true : nil
        }
        let places = [
            ["unix:\(shop.control.data)/control.sock"],
            [
                "127.0.0.1:\(shop.control.tlsPort)", mesh.authority.certificate, mesh.proxy.certificate,
                mesh.proxy.key,
            ],
        ]
        for place in places {
            let (status, output, errors) = try ChildProcess.run(
                Installation.python, [Installation.root + "/Tests/EndToEndTests/Peers/services.py"] + place)
            try #require(status == 0, "\(place[0]): \(errors)")
            let answers = try JSONDecoder().decode(Answers.self, from: Foundation.Data(output.utf8))
            #expect(
                answers.health
                    == Answers.Health(all: "SERVING", ads: "SERVING", unknown: "NOT_FOUND", watched: "SERVING"))
            let request = answers.reflection.ads["DeltaAggregatedResources"]
            #expect(request == "envoy.service.discovery.v3.DeltaDiscoveryRequest")
            #expect(answers.reflection.lbPolicy == "envoy.config.cluster.v3.Cluster.LbPolicy")
            #expect(
                Set(answers.reflection.services).isSuperset(of: [
                    "envoy.service.discovery.v3.AggregatedDiscoveryService", "grpc.health.v1.Health",
                    "envoy.service.status.v3.ClientStatusDiscoveryService",
                    "grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection",
                ]), "\(answers.reflection.services)")
            #expect(answers.csds.nodes == ["shop-proxy"] && answers.csds.streamed == ["shop-proxy"])
            #expect(
                answers.csds.resources == [
                    "Listener shop": "ACKED", "RouteConfiguration shop": "ACKED", "Cluster v1": "ACKED",
                    "Cluster v2": "ACKED", "ClusterLoadAssignment v1": "ACKED", "ClusterLoadAssignment v2": "ACKED",
                ])
        }
    }
}
