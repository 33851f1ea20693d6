import Foundation
import Testing
import XDS

@testable import DataPlane

struct ResourceCacheTests {
    private let entries = [
        ResourceCache.Entry(type: .cluster, resource: HeldResource(name: "web", version: "1", body: [1, 2, 3])),
        ResourceCache.Entry(type: .listener, resource: HeldResource(name: "in", version: "", body: [])),
    ]

    @Test func whatIsWrittenIsReadAgain() throws {
        let directory = NSTemporaryDirectory() + "martinet-cache-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let cache = ResourceCache(directory: directory, nodeID: "web-1")
        #expect(cache.read() == [])
        #expect(cache.write(entries) == nil)
        #expect(cache.read() == entries)
        #expect(cache.write([]) == nil)
        #expect(cache.read() == [])
        let mode = try FileManager.default.attributesOfItem(atPath: cache.path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        #expect(ResourceCache(directory: directory + "/none", nodeID: "web-1").write(entries) != nil)
    }

    @Test func anotherProxysResourcesAndDamagedOnesAreNotTaken() {
        let bytes = ResourceCache.encode(entries, nodeID: "web-1")
        #expect(ResourceCache.decode(bytes, nodeID: "web-1") == entries)
        #expect(ResourceCache.decode(bytes, nodeID: "web-2") == nil)
        for count in 0..<bytes.count {
            #expect(ResourceCache.decode(Array(bytes.prefix(count)), nodeID: "web-1") == nil)
            var bad = bytes
            bad[count] ^= 1
            #expect(ResourceCache.decode(bad, nodeID: "web-1") == nil)
        }
    }

    @Test func secretsAreNeverInIt() {
        let secret = ResourceCache.Entry(
            type: .secret, resource: HeldResource(name: "default", version: "1", body: Array("private".utf8)))
        let bytes = ResourceCache.encode(entries + [secret], nodeID: "web-1")
        #expect(bytes.firstRange(of: Array("private".utf8)) == nil)
        #expect(ResourceCache.decode(bytes, nodeID: "web-1") == entries)
    }
}
