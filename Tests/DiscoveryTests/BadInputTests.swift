import EnvoyAPI
import Foundation
import GRPC
import Protobuf
import Testing
import XDS

@testable import Discovery

/// What reaches the wire of a stream, how the stream must end, and a part of what the client must read.
private struct BadInput: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var code: GRPCStatusCode
    var words: String
    var requests: [[UInt8]]

    static let cluster = "type.googleapis.com/envoy.config.cluster.v3.Cluster"

    static func delta(_ name: String, _ code: GRPCStatusCode, _ words: String, _ requests: XDS.DeltaDiscoveryRequest...)
        -> BadInput
    {
        BadInput(testDescription: name, code: code, words: words, requests: requests.map { frame($0) })
    }

    static let all: [BadInput] = [
        BadInput(
            testDescription: "bytes that are no message", code: .invalidArgument, words: "malformed request",
            requests: [GRPC.frame([0x0a, 0xff, 0xff])]),
        BadInput(
            testDescription: "a compressed message", code: .internalError, words: "compress",
            requests: [[1, 0, 0, 0, 1, 0]]),
        BadInput(
            testDescription: "a message over the limit", code: .resourceExhausted, words: "4194304",
            requests: [[0, 0x7f, 0, 0, 0, 1]]),
        BadInput(
            testDescription: "node metadata nested without end", code: .invalidArgument, words: "nested more than",
            requests: [GRPC.frame(structBomb(levels: 10_000))]),
        BadInput(
            testDescription: "a name that is not UTF-8", code: .invalidArgument, words: "UTF-8",
            requests: [GRPC.frame(field(1, field(1, Array("n".utf8))) + field(3, [0x61, 0xff]))]),
        BadInput(
            testDescription: "a name with a NUL", code: .invalidArgument, words: "NUL",
            requests: [GRPC.frame(field(1, field(1, Array("n".utf8))) + field(3, [0x61, 0, 0x62]))]),
        BadInput(
            testDescription: "a node id with a NUL", code: .invalidArgument, words: "NUL",
            requests: [GRPC.frame(field(1, field(1, [0x61, 0, 0x62])))]),
        delta(
            "an unknown type URL", .invalidArgument, "is not served",
            XDS.DeltaDiscoveryRequest(node: Node(id: "n"), typeURL: "type.googleapis.com/no.such.Type")),
        delta(
            "a type URL of 100 kB", .invalidArgument, "served are",
            XDS.DeltaDiscoveryRequest(node: Node(id: "n"), typeURL: String(repeating: "x", count: 100_000))),
        delta(
            "no type URL", .invalidArgument, "type_url is empty",
            XDS.DeltaDiscoveryRequest(node: Node(id: "n"), typeURL: "")),
        delta("no node", .invalidArgument, "node.id", XDS.DeltaDiscoveryRequest(typeURL: cluster)),
        delta(
            "a node without an id", .invalidArgument, "node.id",
            XDS.DeltaDiscoveryRequest(node: Node(id: ""), typeURL: cluster)),
        delta(
            "a node id of 100 kB", .invalidArgument, "node.id",
            XDS.DeltaDiscoveryRequest(node: Node(id: String(repeating: "n", count: 100_000)), typeURL: cluster)),
        delta(
            "a second node id", .invalidArgument, "open a stream for each node",
            XDS.DeltaDiscoveryRequest(node: Node(id: "n"), typeURL: cluster),
            XDS.DeltaDiscoveryRequest(node: Node(id: String(repeating: "m", count: 10_000)), typeURL: cluster)),
        delta(
            "node metadata of 1 MB", .resourceExhausted, "node",
            XDS.DeltaDiscoveryRequest(
                node: Node(id: "n", metadata: ["x": .string(String(repeating: "x", count: 1 << 20))]), typeURL: cluster)
        ),
        delta(
            "100,001 names", .resourceExhausted, "the limit is 100000",
            XDS.DeltaDiscoveryRequest(
                node: Node(id: "n"), typeURL: cluster, resourceNamesSubscribe: (0...100_000).map { "c\($0)" })),
    ]

    /// A length-delimited field.
    static func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] {
        var length: [UInt8] = []
        var left = bytes.count
        repeat {
            length.append(UInt8(left & 0x7f) | (left > 0x7f ? 0x80 : 0))
            left >>= 7
        } while left > 0
        return [number << 3 | 2] + length + bytes
    }

    /// node { metadata { fields { value { struct_value { … } } } } }
    static func structBomb(levels: Int) -> [UInt8] {
        // Built from the inside, back to front: prepending 10,000 times would be quadratic.
        var reversed: [UInt8] = []
        func wrap(_ number: UInt8) {
            var length: [UInt8] = []
            var left = reversed.count
            repeat {
                length.append(UInt8(left & 0x7f) | (left > 0x7f ? 0x80 : 0))
                left >>= 7
            } while left > 0
            reversed += length.reversed()
            reversed.append(number << 3 | 2)
        }
        for _ in 0..<levels {
            wrap(1)  // fields
            wrap(5)  // struct_value
            wrap(2)  // value of the map's entry
        }
        wrap(1)
        wrap(3)  // node.metadata
        wrap(1)  // node
        return reversed.reversed()
    }
}

@Suite(.serialized) struct BadInputTests {
    @Test(arguments: BadInput.all)
    fileprivate func aBadRequestEndsItsStreamWithWordsAndNoOther(input: BadInput) throws {
        let rig = try Rig()
        try rig.cache.publish([resource(.cluster, "web")])
        let peer = try RawPeer(port: rig.port)
        let (bad, good) = (try peer.start(deltaPath), try peer.start(deltaPath))
        peer.send(delta(.cluster, node: "good"), on: good)
        for request in input.requests { peer.send(framed: request, on: bad) }
        #expect(peer.pump { peer.ends[bad] != nil && peer.messages[good] != nil })
        let status = try #require(peer.status(of: bad))
        #expect(status.code == input.code, "\(status)")
        #expect(status.message.contains(input.words), "\(status)")
        #expect(status.message.utf8.count < 3000)

        try rig.cache.publish([resource(.cluster, "web", bytes: 11)])
        let nonce = try #require(try peer.deltaResponses(on: good).first).nonce
        peer.send(delta(.cluster, [], node: nil, nonce: nonce), on: good)
        #expect(peer.pump { peer.messages[good]?.count == 2 })
        #expect(peer.ends[good] == nil)
        #expect(rig.openStreams("delta") == 1)
        #expect(rig.recorder.log.allSatisfy { $0.utf8.count < 8000 })
    }

    @Test func aHundredThousandNamesAreTaken() throws {
        let rig = try Rig()
        try rig.cache.publish([resource(.cluster, "c99999")])
        let peer = try RawPeer(port: rig.port)
        let call = try peer.start(deltaPath)
        peer.send(delta(.cluster, (0..<100_000).map { "c\($0)" }), on: call)
        #expect(peer.pump { peer.messages[call] != nil || peer.ends[call] != nil })
        #expect(peer.ends[call] == nil)
        #expect(try peer.deltaResponses(on: call).first?.resources.map(\.name) == ["c99999"])
    }

    @Test func aNACKWithoutAResponseIsNoNACKAndTheOperatorReadsItsWords() throws {
        let rig = try Rig()
        try rig.cache.publish([resource(.cluster, "web")])
        let peer = try RawPeer(port: rig.port)
        let call = try peer.start(deltaPath)
        let words = "elsewhere " + String(repeating: "x", count: 100_000)
        peer.send(delta(.cluster, nonce: "77", rejecting: words), on: call)
        #expect(peer.pump { peer.messages[call]?.count == 1 })
        peer.send(delta(.cluster, [], node: nil, nonce: "another", rejecting: words), on: call)
        #expect(peer.pump { rig.recorder.log.count { $0.hasPrefix("warning") && $0.contains("elsewhere") } == 2 })
        #expect(rig.recorder.log.allSatisfy { $0.utf8.count < 8000 })
        #expect(rig.recorder["martinet_xds_nacks_total{type=CDS}"] == 0)
        #expect(rig.reports().first?.status.types.first?.rejection == nil)
        #expect(peer.ends[call] == nil)
    }

    @Test func aNACKIsCountedOnceShownWithItsWordsAndNothingIsSentAgain() throws {
        let rig = try Rig()
        try rig.cache.publish([resource(.cluster, "web")])
        let peer = try RawPeer(port: rig.port)
        let call = try peer.start(deltaPath)
        peer.send(delta(.cluster), on: call)
        #expect(peer.pump { peer.messages[call]?.count == 1 })
        let nonce = try #require(try peer.deltaResponses(on: call).first).nonce
        peer.send(delta(.cluster, [], node: nil, nonce: nonce, rejecting: "web: no endpoints"), on: call)
        peer.send(delta(.cluster, [], node: nil, nonce: nonce, rejecting: "web: no endpoints"), on: call)
        peer.flush()
        #expect(eventually { rig.recorder["martinet_xds_nacks_total{type=CDS}"] == 1 })
        #expect(rig.reports().first?.status.types.first?.rejection?.detail.message == "web: no endpoints")
        #expect(rig.recorder.log.contains { $0.hasPrefix("error rejected") && $0.contains("web: no endpoints") })
        try rig.cache.publish([resource(.cluster, "web"), resource(.cluster, "api")])
        #expect(peer.pump { peer.messages[call]?.count == 2 })
        #expect(try peer.deltaResponses(on: call).last?.resources.map(\.name) == ["api"])
        #expect(rig.recorder["martinet_xds_nacks_total{type=CDS}"] == 1)
    }

    @Test func bytesThatAreNotHTTP2EndTheirConnectionAlone() throws {
        let rig = try Rig()
        try rig.cache.publish([resource(.cluster, "web")])
        let descriptor = try connectedSocket(port: rig.port)
        defer { close(descriptor) }
        let text = "GET / HTTP/1.1\r\n\r\n"
        _ = text.withCString { send(descriptor, $0, text.utf8.count, 0) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        while recv(descriptor, &bytes, bytes.count, 0) > 0 {}
        #expect(eventually { rig.recorder["martinet_connections_failed_total{limit=protocol}"] == 1 })
        let peer = try RawPeer(port: rig.port)
        let call = try peer.start(deltaPath)
        peer.send(delta(.cluster), on: call)
        #expect(peer.pump { peer.messages[call]?.count == 1 })
    }
}
