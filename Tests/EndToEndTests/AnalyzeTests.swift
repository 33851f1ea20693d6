import Foundation
import Testing

/// `martinet analyze` reads what users of a mesh have.
struct AnalyzeTests {
    private func analyze(_ text: String, _ more: String...) throws -> (status: Int32, output: String, errors: String) {
        try ChildProcess.run(Installation.martinet, ["analyze", "-f", "-"] + more, input: text)
    }

    private let shop = """
        apiVersion: v1
        kind: Service
        metadata: { name: reviews, namespace: shop }
        spec: { ports: [{ name: http, port: 9080 }] }
        ---
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: { name: reviews, namespace: shop }
        spec:
          hosts: [reviews]
          http:
            - route:
                - { destination: { host: reviews, subset: v1 }, weight: 80 }

        """

    @Test func aMisspeltFieldIsAnErrorOnItsLine() throws {
        let (status, output, _) = try analyze(shop.replacing("subset: v1", with: "subsett: v1"))
        #expect(status == 1)
        #expect(output.contains("stdin:13:"), "\(output)")
        #expect(output.contains("did you mean `subset`"), "\(output)")
    }

    @Test func aMissingSubsetIsAWarningAndAnErrorIfAsked() throws {
        let lenient = try analyze(shop)
        #expect(lenient.status == 0 && lenient.output.hasPrefix("warning: stdin:13:"), "\(lenient)")
        #expect(lenient.output.contains("no DestinationRule defines the subset `v1`"))
        #expect(lenient.errors == "2 objects, 0 errors, 1 warning\n")
        let strict = try analyze(shop, "--strict", "-o", "json")
        #expect(strict.status == 1)
        struct Finding: Decodable {
            var severity: String
            var line: Int
            var path: String
        }
        let findings = try JSONDecoder().decode([Finding].self, from: Data(strict.output.utf8))
        #expect(findings.map(\.severity) == ["error"] && findings.map(\.line) == [13])
        #expect(findings.map(\.path) == ["spec.http[0].route[0].destination.subset"])
    }
}
