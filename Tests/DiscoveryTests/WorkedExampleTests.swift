import Foundation
import Reactor
import Synchronization
import Testing
import XDS

@testable import Discovery

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

@Test func theDocumentationShowsTheExampleThatIsCompiledHere() throws {
    let example = try String(
        contentsOf: root.appendingPathComponent("Tests/DiscoveryTests/WorkedExample.swift"), encoding: .utf8)
    let page = try String(contentsOf: root.appendingPathComponent("Sources/XDS/XDS.docc/XDS.md"), encoding: .utf8)
    #expect(page.contains("```swift\n" + example + "```\n"))
    #expect(example.split(separator: "\n", omittingEmptySubsequences: false).count <= 60)
}

@Test(arguments: [DiscoveryClient.Variant.delta, .stateOfTheWorld])
func theExampleServesARealClientAndPushesOnlyWhatChanged(variant: DiscoveryClient.Variant) throws {
    let port = try freePort()
    let example = try ShopControlPlane(port: port)
    defer { example.server.stop() }
    try example.publish(to: "front", upstreams: ["web": [80], "api": [81]])
    try example.publish(to: "back", upstreams: ["db": [82]])

    let configuration = DiscoveryClient.Configuration(
        node: Node(id: "proxy-1", cluster: "front"), variant: variant, servers: ["here"])
    let seen = Mutex<[String]>([])
    let runner = try DiscoveryClientRunner(
        configuration, servers: [ServerAddress(.loopback(port: port))], seed: 1, validate: acceptByBody
    ) { action in
        guard case .update(let type, let resource) = action else { return }
        seen.withLock { $0.append("\(type) \(resource.name)") }
    }
    try runner.subscribe(.cluster, to: ["*"])
    try runner.subscribe(.endpoints, to: ["web", "api"])
    // Served on this thread until each step has been seen, or the time is up.
    func serve(until count: Int) {
        func look() {
            if seen.withLock({ $0.count }) >= count {
                runner.stop()
            } else {
                runner.schedule(after: .milliseconds(5), look)
            }
        }
        runner.schedule(after: .milliseconds(5), look)
        runner.schedule(after: .seconds(10), runner.stop)
        runner.run()
    }
    runner.schedule(after: .milliseconds(300)) { try? example.move("web", to: [8080], in: "front") }
    serve(until: 5)
    let events = seen.withLock { $0 }
    #expect(events.prefix(4).sorted() == ["CDS api", "CDS web", "EDS api", "EDS web"])
    #expect(events.dropFirst(4) == ["EDS web"])
}
