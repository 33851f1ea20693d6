import EnvoyAPI
import Foundation
import GRPC
import Protobuf
import Testing
import Time
import XDS

@testable import Discovery

private let node = Node(
    id: "sidecar~10.0.0.1~web.shop", cluster: "web",
    metadata: [
        "null": .null, "yes": .bool(true), "half": .number(0.5), "text": .string("ä€😀"),
        "list": .list([.number(1), .list([]), .object(["a": .null])]), "object": .object(["b": .string("")]),
    ], locality: Locality(region: "eu", zone: "eu-1", subZone: "rack 4"), userAgent: "envoy/1.40.0",
    clientFeatures: ["envoy.lb.does_not_support_overprovisioning", "xds.config.supports-resource-in-sotw"])

private func payload(_ framed: [UInt8]) -> [UInt8] { Array(framed.dropFirst(GRPC.prefixSize)) }

@Test func aFullRequestSurvivesTheWire() throws {
    let request = XDS.DiscoveryRequest(
        versionInfo: "7", node: node, resourceNames: ["*", "web", "ä"], typeURL: ResourceType.cluster.typeURL,
        responseNonce: "1f", errorDetail: ErrorDetail(code: 13, message: "no \"endpoints\""))
    let again = try payload(frame(request)).withUnsafeBytes { try XDS.DiscoveryRequest(decoding: $0) }
    #expect(again == request)
    let empty = XDS.DiscoveryRequest(typeURL: "")
    #expect(try payload(frame(empty)).withUnsafeBytes { try XDS.DiscoveryRequest(decoding: $0) } == empty)
}

@Test func anIncrementalRequestSurvivesTheWire() throws {
    let request = XDS.DeltaDiscoveryRequest(
        node: node, typeURL: ResourceType.endpoints.typeURL, resourceNamesSubscribe: ["a", "b"],
        resourceNamesUnsubscribe: ["c"], initialResourceVersions: ["a": "1", "z": ""], responseNonce: "2",
        errorDetail: ErrorDetail(code: 0, message: ""))
    let again = try payload(frame(request)).withUnsafeBytes { try XDS.DeltaDiscoveryRequest(decoding: $0) }
    #expect(again == request)
    let empty = XDS.DeltaDiscoveryRequest(typeURL: "")
    #expect(try payload(frame(empty)).withUnsafeBytes { try XDS.DeltaDiscoveryRequest(decoding: $0) } == empty)
}

@Test func aNodeSaysItsVersionInEitherForm() throws {
    let arena = Arena()
    let built = arena.make(EnvoyAPI.DiscoveryRequest.self) { request in
        request.node = arena.make {
            $0.id = arena("n")
            $0.user_agent_name = arena("gRPC")
            $0.set(
                user_agent_build_version: arena.make { build in
                    build.version = arena.make {
                        $0.major_number = 1
                        $0.minor_number = 30
                        $0.patch = 2
                    }
                })
        }
    }
    let read = try encode(built).withUnsafeBytes { try XDS.DiscoveryRequest(decoding: $0) }
    #expect(read.node?.userAgent == "gRPC/1.30.2")
}

@Test func locatorsNameResourcesAsNamesDo() throws {
    let arena = Arena()
    let built = arena.make(EnvoyAPI.DeltaDiscoveryRequest.self) { request in
        (request.n_resource_names_subscribe, request.resource_names_subscribe) = arena.strings(["a"])
        (request.n_resource_locators_subscribe, request.resource_locators_subscribe) = arena.list(
            arena.make { $0.name = arena("b") })
        (request.n_resource_locators_unsubscribe, request.resource_locators_unsubscribe) = arena.list(
            arena.make { $0.name = arena("c") })
    }
    let read = try encode(built).withUnsafeBytes { try XDS.DeltaDiscoveryRequest(decoding: $0) }
    #expect(read.resourceNamesSubscribe == ["a", "b"])
    #expect(read.resourceNamesUnsubscribe == ["c"])
}

/// What a stream sends for a snapshot, as a client decodes it.
@Test func whatAStreamSendsIsWhatAClientReads() throws {
    let resources = [
        XDS.Resource(
            .cluster, name: "a", body: [1, 2, 3], version: "v1", timeToLive: .milliseconds(1500), aliases: ["b"]),
        XDS.Resource(.cluster, name: "broken", error: ErrorDetail(code: 5, message: "no such service")),
    ]
    let snapshot = try Snapshot(resources, labels: [.cluster: "label"])
    var stream = DeltaStream()
    let now = Instant(nanoseconds: 0)
    _ = stream.receive(delta(.cluster, ["a", "broken", "gone"]), now: now)
    let sent = stream.publish(snapshot, now: now).compactMap { action -> PreparedResponse? in
        if case .send(let response) = action { response } else { nil }
    }
    let response = try #require(sent.first)
    let read = try payload(frame(response)).withUnsafeBytes { try XDS.DeltaDiscoveryResponse(decoding: $0) }
    #expect(read.typeURL == ResourceType.cluster.typeURL)
    #expect(read.nonce == response.nonce)
    #expect(read.systemVersionInfo == "label")
    #expect(read.controlPlane == "martinet")
    #expect(read.resources.map(\.name) == ["a"])
    #expect(read.resources.first?.version == "v1")
    #expect(read.resources.first?.body == [1, 2, 3])
    #expect(read.resources.first?.aliases == ["b"])
    #expect(read.resources.first?.timeToLive == .milliseconds(1500))
    #expect(read.removedResources == ["gone"])
    #expect(read.resourceErrors.map(\.name) == ["broken"])
    #expect(read.resourceErrors.first?.detail == ErrorDetail(code: 5, message: "no such service"))

    var full = StateOfTheWorldStream()
    let first = XDS.DiscoveryRequest(node: node, resourceNames: ["a"], typeURL: ResourceType.cluster.typeURL)
    _ = full.receive(first, now: now)
    let wrapped = try #require(
        full.publish(snapshot, now: now).compactMap { action -> PreparedResponse? in
            if case .send(let response) = action { response } else { nil }
        }.first)
    let world = try payload(frame(wrapped)).withUnsafeBytes { try XDS.DiscoveryResponse(decoding: $0) }
    #expect(world.versionInfo == wrapped.version)
    #expect(world.resources.map(\.name) == ["a"])
    #expect(world.resources.first?.body == [1, 2, 3])
    #expect(world.resources.first?.timeToLive == .milliseconds(1500))
}
