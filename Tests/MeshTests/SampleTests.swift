import Foundation
import Mesh
import Testing

/// Configuration that users of another mesh already have, unchanged; it is not part of this repository.
struct SampleTests {
    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("shared/samples/istio")

    private static var isThere: Bool { FileManager.default.fileExists(atPath: folder.path) }

    private func files(_ part: String = "") throws -> [(name: String, bytes: [UInt8])] {
        let base = part.isEmpty ? Self.folder : Self.folder.appendingPathComponent(part)
        let walk = try #require(FileManager.default.enumerator(at: base, includingPropertiesForKeys: nil))
        return try walk.compactMap { $0 as? URL }.filter { $0.pathExtension == "yaml" }.sorted { $0.path < $1.path }
            .map { ($0.lastPathComponent, Array(try Data(contentsOf: $0))) }
    }

    @Test(.enabled(if: isThere, "needs ../shared/samples/istio beside the checkout"))
    func everyFileOfTheSamplesIsReadWithoutAWarning() throws {
        var count = 0
        for file in try files() {
            let text = try ObjectText(file.bytes, file: file.name)
            #expect(text.warnings.map(\.description) == [])
            #expect(!text.objects.isEmpty)
            count += text.objects.count
        }
        #expect(count == 91)
    }

    @Test(.enabled(if: isThere, "needs ../shared/samples/istio beside the checkout"))
    func bookinfoWithItsRulesHasNothingToComplainOfButWhatIsLeftOut() throws {
        var index = MeshIndex()
        let wanted = [
            "bookinfo.yaml", "bookinfo-gateway.yaml", "destination-rule-all.yaml", "virtual-service-all-v1.yaml",
        ]
        for file in try files("bookinfo/kube") + files("bookinfo/networking") where wanted.contains(file.name) {
            for object in try ObjectText(file.bytes, file: file.name).objects { index.apply(.put(object)) }
        }
        // The gateway's proxy is not part of the files, and the rules name versions that these Deployments do not have.
        let kinds = Set(index.findings().map(\.kind))
        #expect(kinds == [.gatewayNobodyRuns, .selectsNothing], "\(index.findings().map(\.description))")
        #expect(index.findings().allSatisfy { $0.severity == .warning })
    }

    @Test(.enabled(if: isThere, "needs ../shared/samples/istio beside the checkout"))
    func noPairOfFilesOfTheSamplesIsRefusedTogether() throws {
        var index = MeshIndex()
        for part in ["bookinfo/networking", "bookinfo/gateway-api", "httpbin", "helloworld", "tcp-echo"] {
            for file in try files(part) {
                for object in try ObjectText(file.bytes, file: file.name).objects {
                    index.apply(.put(object))
                    let errors = index.findings(after: [object.key]).filter { $0.severity == .error }
                    #expect(errors.map(\.description) == [])
                }
            }
        }
    }
}
