import Addresses
import Mesh
import Testing

@testable import Translation

/// What is said of policies, and what the real Envoy does with the filters that are made of them.
struct AccessAgreementTests {
    private struct Picks {
        var numbers: SeededNumbers

        mutating func list(_ values: [String]) -> String {
            let chosen = (0..<Int.random(in: 1...2, using: &numbers)).map { _ in numbers.pick(values) }
            return "[" + chosen.map { "\"\($0)\"" }.joined(separator: ", ") + "]"
        }

        mutating func rule() -> String {
            let methods = ["GET", "P*", "*T", "*"]
            let paths = ["/a", "/a*", "*b", "*.js", "/{*}", "/a/{**}", "/{*}/b", "/a/{**}/c", "*"]
            let hosts = ["web", "Web.shop", "*.shop", "web*", "example.com"]
            var operation: [String] = []
            for (name, values) in [("methods", methods), ("paths", paths), ("hosts", hosts)] {
                if numbers.chance(50) { operation.append("\(name): \(list(values))") }
                if numbers.chance(15) {
                    operation.append("not\(name.prefix(1).uppercased())\(name.dropFirst()): \(list(values))")
                }
            }
            var parts: [String] = []
            if !operation.isEmpty { parts.append("to: [{operation: {\(operation.joined(separator: ", "))}}]") }
            if numbers.chance(30) {
                parts.append("from: [{source: {ipBlocks: \(list(["127.0.0.0/8", "10.0.0.0/8", "127.0.0.2"]))}}]")
            }
            if numbers.chance(40) {
                let name = numbers.pick(["values", "notValues"])
                parts.append("when: [{key: \"request.headers[x-token]\", \(name): \(list(["a", "a*", "*c", "*"]))}]")
            }
            return "{\(parts.joined(separator: ", "))}"
        }
    }

    @Test(arguments: [UInt64(2), 3, 4])
    func envoyRefusesWhatIsSaidToBeRefused(seed: UInt64) throws {
        var picks = Picks(numbers: SeededNumbers(seed: seed))
        let policies = ["ALLOW", "DENY", "ALLOW"].enumerated().map { index, action in
            policy("p\(index)", action: action, "rules: [\((0..<2).map { _ in picks.rule() }.joined(separator: ", "))]")
        }
        let mesh = mesh(webService, policies.joined())
        let questions = (0..<120).map { _ in
            EnvoyPeer.Question(
                method: picks.numbers.pick(["GET", "POST", "PUT"]),
                path: picks.numbers.pick(["/", "/a", "/a/", "/a/b", "/a/b/c", "/x.js", "/a?x=/b", "/b/b"]),
                host: picks.numbers.pick(["web", "web.shop", "example.com", "WEB"]),
                headers: picks.numbers.pick([[:], ["x-token": "a"], ["x-token": "abc"], ["x-token": "z"]]))
        }
        let filters = try mesh.httpFilters().map(\.text)
        #expect(filters.count == 2)
        let answers = try EnvoyPeer.answers(mesh.sidecarRoutes(), behind: filters, to: questions)
        let rules = mesh.authorizationRules(for: web)
        var refused = 0
        for (question, answer) in zip(questions, answers) {
            let access = AccessQuestion(
                address: IPAddress("127.0.0.1"),
                request: RoutedRequest(
                    authority: question.host, method: question.method, path: question.path, headers: question.headers),
                port: 8080)
            var isRefused = false
            if case .denied = rules.decision(on: access, trustDomain: "cluster.local") { isRefused = true }
            #expect((answer.status == 403) == isRefused, "seed \(seed): \(question) \(answer.status)\n\(policies)")
            if isRefused { refused += 1 }
        }
        #expect(answers.count == questions.count && refused > 0)
    }
}
