import Foundation
import Protobuf
import Testing

@testable import EnvoyAPI

@Suite struct DefinedFileTests {
    @Test func aFileIsFoundByNameAndBySymbol() throws {
        let file = try #require(DefinedFile(named: "envoy/config/cluster/v3/cluster.proto"))
        #expect(file.name == "envoy/config/cluster/v3/cluster.proto")
        for symbol in [
            "envoy.config.cluster.v3.Cluster", "envoy.config.cluster.v3.Cluster.DiscoveryType",
            "envoy.config.cluster.v3.Cluster.lb_policy", "envoy.config.cluster.v3.Cluster.RingHashLbConfig",
        ] {
            #expect(DefinedFile(defining: symbol) == file, "\(symbol)")
        }
        let method = "envoy.service.discovery.v3.AggregatedDiscoveryService.StreamAggregatedResources"
        #expect(DefinedFile(defining: method)?.name == "envoy/service/discovery/v3/ads.proto")
    }

    @Test func everyFileIsFoundByItsOwnName() {
        #expect(DefinedFile.all.map(\.name) == DefinedFile.all.map(\.name).sorted())
        for file in DefinedFile.all { #expect(DefinedFile(named: file.name) == file) }
    }

    @Test(arguments: [
        "", ".", "envoy", "envoy/config/cluster/v3/cluster.prot", "envoy/config/cluster/v3/cluster.proto2",
        "envoy/config/cluster/v3/cluster.proto\0", ".envoy.config.cluster.v3.Cluster",
        "envoy.config.cluster.v3.Cluster\0", "envoy.config.cluster.v3.Cluster.a.b", "zzz", "é",
        "envoy.config.cluster.v3",
    ])
    func whatIsNotDefinedIsNotFound(name: String) {
        #expect(DefinedFile(named: name) == nil)
        #expect(DefinedFile(defining: name) == nil)
    }

    @Test func theImportsOfAFileComeWithIt() throws {
        let file = try #require(DefinedFile(named: "envoy/service/discovery/v3/ads.proto"))
        #expect(file.dependencies.map(\.name) == ["envoy/service/discovery/v3/discovery.proto"])
        #expect(DefinedFile(named: "google/protobuf/any.proto")?.dependencies == [])
    }

    @Test func theSerializedFilesAreWhatProtocReads() throws {
        // One FileDescriptorSet of them all (field 1, length-delimited), each after its imports.
        var set: [UInt8] = []
        var added: Set<DefinedFile> = []
        func add(_ file: DefinedFile) {
            guard added.insert(file).inserted else { return }
            file.dependencies.forEach(add)
            set.append(0x0a)
            var length = file.serialized.count
            while length >= 0x80 {
                set.append(UInt8(length & 0x7f | 0x80))
                length >>= 7
            }
            set.append(UInt8(length))
            set.append(contentsOf: file.serialized)
        }
        DefinedFile.all.forEach(add)
        #expect(added.count == DefinedFile.all.count)

        let path = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).set")
        try Data(set).write(to: path)
        defer { try? FileManager.default.removeItem(at: path) }
        let result = try Tools.protoc(
            [
                "--descriptor_set_in=\(path.path)", "--encode=envoy.service.discovery.v3.DiscoveryRequest",
                "envoy/service/discovery/v3/discovery.proto",
            ],
            input: Array(#"node { id: "n1" metadata { fields { key: "a" value { bool_value: true } } } }"#.utf8))
        #expect(result.status == 0, "\(result.errors)")
        let arena = Arena()
        let request = try arena.decode(DiscoveryRequest.self, from: result.output)
        #expect(request.pointee.node.pointee.id.string == "n1")
        #expect(encode(request) == result.output)
    }
}
