import Foundation
import Testing

/// Objects of the mesh as a user changes them, with a real control plane.
struct ObjectTests {
    private static func service(_ name: String, port: Int = 80) -> String {
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: \(name)\nspec:\n  ports:\n  - port: \(port)\n    name: http\n"
    }

    private static let reviews = """
        # A fifth of the readers see version 2.
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata:
          name: reviews
        spec:
          hosts: [reviews]
          http:
          - route:
            - destination: {host: reviews, subset: v1}
              weight: 80
            - destination: {host: reviews, subset: v2}
              weight: 20

        """

    private static let subsets = """
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {name: reviews}
        spec:
          host: reviews
          subsets:
          - {name: v1, labels: {version: v1}}
          - {name: v2, labels: {version: v2}}

        """

    @Test func aUserAppliesLooksChangesAndGoesBack() throws {
        let control = try ControlPlaneProcess()
        let all = [Self.service("reviews"), Self.subsets, Self.reviews].joined(separator: "---\n")
        let first = try control.command("apply", "-f", "-", "-m", "the first", input: all)
        #expect(
            first.output == """
                service/reviews created
                destinationrule.networking.istio.io/reviews created
                virtualservice.networking.istio.io/reviews created
                revision 1 is in force

                """, "\(first.errors)")
        let edited = all.replacing("weight: 80", with: "weight: 50").replacing("weight: 20", with: "weight: 50")
        let diff = try control.command("diff", "-f", "-", input: edited)
        #expect(diff.status == 0 && diff.output.contains("-      weight: 80\n+      weight: 50\n"))
        #expect(diff.output.hasPrefix("--- virtualservice.networking.istio.io/default/reviews\n"))
        #expect(diff.errors.hasSuffix("1 object differs from revision 1\n"))
        let dry = try control.command("apply", "-f", "-", "--dry-run", input: edited)
        #expect(dry.output.contains("virtualservice.networking.istio.io/reviews configured (dry run)\n"))
        #expect(try control.command("history").output.split(separator: "\n").count == 2)
        let second = try control.command("apply", "-f", "-", "-m", "half", "--base", "1", "--wait", input: edited)
        #expect(second.status == 0 && second.output.contains("service/reviews unchanged\n"))
        #expect(second.output.contains("virtualservice.networking.istio.io/reviews configured\n"))

        // What is shown is what was written, comments included.
        let shown = try control.command("get", "vs/reviews", "-o", "yaml").output
        #expect(shown.hasPrefix("# A fifth of the readers") && shown.contains("namespace: default"))
        #expect(try control.command("get", "vs", "-o", "json").output.contains("\"weight\": 50"))
        #expect(try control.command("get", "vs/reviews", "--revision", "1", "-o", "yaml").output.contains("weight: 80"))
        #expect(try control.command("get", "dr,vs", "-o", "name").output.split(separator: "\n").count == 2)
        #expect(try control.command("get", "all", "-n", "nowhere").output == "there are none\n")
        let described = try control.command("describe", "virtualservice", "reviews").output
        #expect(described.contains("half") && described.contains("the first") && described.contains("weight: 50"))

        // Everything survives kill -9, and going back is a revision too.
        try control.restart(SIGKILL)
        let rolled = try control.command("rollback", "1")
        #expect(rolled.output == "virtualservice.networking.istio.io/reviews configured\nrevision 3 is in force\n")
        #expect(try control.command("get", "vs/reviews", "-o", "yaml").output.contains("weight: 80"))
        let history = try control.command("history", "vs/reviews", "-o", "json").output
        #expect(history.contains("\"rollback to revision 1\"") && history.contains("\"half\""))
        let show = try control.command("show", "2").output
        #expect(show.contains("+      weight: 50") && show.contains("half"))

        // An export is taken back, and changes nothing.
        let export = try control.command("export").output
        #expect(try control.command("diff", "-f", "-", "--prune", input: export).output.isEmpty)
        let gone = try control.command("delete", "vs/reviews", "dr/none")
        #expect(gone.status == 1)
        #expect(
            try control.command("delete", "vs", "reviews").output.hasPrefix(
                "virtualservice.networking.istio.io/reviews deleted"))
        let pruned = try control.command("apply", "-f", "-", "--prune", input: Self.service("reviews"))
        #expect(pruned.output.contains("destinationrule.networking.istio.io/reviews pruned\n"))
    }

    @Test func anEditorChangesOneObject() throws {
        let control = try ControlPlaneProcess()
        _ = try control.command("apply", "-f", "-", input: Self.service("a") + "---\n" + Self.service("b"))
        func edit(_ editor: String) throws -> (status: Int32, output: String, errors: String) {
            try ChildProcess.run(
                Installation.martinet, ["edit", "svc", "a", "--data", control.data],
                environment: ["EDITOR": editor, "VISUAL": "", "TMPDIR": control.directory])
        }
        let edited = try edit("sed -i s/80/81/")
        #expect(edited.output == "service/a configured\nrevision 2 is in force\n", "\(edited.errors)")
        #expect(try edit("true").errors == "nothing was edited\n")
        let wrong = try edit("sed -i s/ports/prots/")
        #expect(wrong.status == 1 && wrong.errors.contains("prots") && wrong.errors.contains("what was edited is in"))
        // While the editor is open, somebody changes another object: no matter. The same one: a conflict.
        let change = "\(Installation.martinet) apply -q --data \(control.data) -f"
        for (name, isTaken) in [("b", true), ("a", false)] {
            let file = control.directory + "/\(name).yaml"
            try Self.service(name, port: 8_000).write(toFile: file, atomically: true, encoding: .utf8)
            let script = control.directory + "/edit-\(name)"
            try "#!/bin/sh\n\(change) \(file)\nsed -i s/81/82/ \"$1\"\n".write(
                toFile: script, atomically: true, encoding: .utf8)
            let result = try edit("sh \(script)")
            #expect((result.status == 0) == isTaken, "\(result)")
            if isTaken { _ = try edit("sed -i s/82/81/") }
            if !isTaken { #expect(result.errors.contains("Service default/a was changed by")) }
        }
    }

    @Test func aStaleBaseAndTwoAppliesAtOnceLoseNothing() throws {
        let control = try ControlPlaneProcess()
        _ = try control.command("apply", "-f", "-", input: Self.service("a"))
        _ = try control.command("apply", "-f", "-", "--author", "eve", input: Self.service("a", port: 81))
        let stale = try control.command("apply", "-f", "-", "--base", "1", input: Self.service("a", port: 82))
        #expect(stale.status == 1 && stale.output.isEmpty)
        #expect(stale.errors.contains("the mesh is at revision 2, and this is based on revision 1"))
        #expect(stale.errors.contains("Service default/a was changed by eve ("))
        let data = control.data
        // Ten at once on one base: one of them wins.
        let results = try atOnce(10) { index in
            try ChildProcess.run(
                Installation.martinet, ["apply", "-f", "-", "--base", "2", "--data", data],
                input: Self.service("b", port: 8_000 + index)
            ).status
        }
        #expect(results.count { $0 == 0 } == 1 && results.count { $0 == 1 } == 9)
        // And without a base all of them do, one after another.
        let free = try atOnce(10) { index in
            try ChildProcess.run(
                Installation.martinet, ["apply", "-f", "-", "--data", data], input: Self.service("c\(index)")
            ).status
        }
        #expect(free.allSatisfy { $0 == 0 })
        #expect(try control.command("history").output.hasPrefix("REVISION"))
        #expect(try control.command("get", "svc", "-o", "name").output.split(separator: "\n").count == 12)
        #expect(try control.command("show", "13").status == 0)
        #expect(try control.command("show", "14").errors.contains("1 to 13 are kept"))
    }

    private func atOnce<Value: Sendable>(
        _ count: Int, _ work: @escaping @Sendable (Int) throws -> Value
    ) throws -> [Value] {
        let results = Results<Value>()
        DispatchQueue.concurrentPerform(iterations: count) { index in
            guard let value = try? work(index) else { return }
            results.add(value)
        }
        return results.values
    }

    private final class Results<Value: Sendable>: @unchecked Sendable {
        private let lock = NSLock()
        private var found: [Value] = []

        func add(_ value: Value) { lock.withLock { found.append(value) } }
        var values: [Value] { lock.withLock { found } }
    }

    @Test func badObjectsAreRefusedOnTheirLineAndNothingIsApplied() throws {
        let control = try ControlPlaneProcess()
        _ = try control.command("apply", "-f", "-", input: Self.service("a"))
        let million =
            "apiVersion: v1\nkind: Service\nmetadata: {name: m}\nspec:\n  externalIPs:\n"
            + String(repeating: "  - a\n", count: 1_000_000)
        let bomb =
            "apiVersion: v1\nkind: Service\na: &a [x,x,x,x,x,x,x,x,x]\n"
            + "bcdefgh".reduce(into: (text: "", last: "a")) { built, name in
                let nine = Array(repeating: "*\(built.last)", count: 9).joined(separator: ",")
                built = (built.text + "\(name): &\(name) [\(nine)]\n", "\(name)")
            }.text
        let bad: [(text: String, words: String)] = [
            (million, "nodes"), (bomb, "nodes"),
            (Self.service("b") + "---\napiVersion: v1\nkind: Service\nmetadata:\n\tname: x\n", "stdin:13"),
            (Self.service("b").replacing("port: 80", with: "port: eighty"), "stdin:7"),
            (Self.service("b").replacing("port:", with: "targetPrt: 1\n    port:"), "did you mean `targetPort`"),
            (Self.service("b") + "---\n" + Self.service("b"), "it is also on line 1"),
            (Self.service("b") + "---\nresources: []\n", "raw Envoy resources are not changed in one step"),
            (Self.reviews.replacing("weight: 80", with: "weight: -1"), "stdin:11"),
            ("apiVersion: v1\n", "stdin:1"),
        ]
        for (text, words) in bad {
            let result = try control.command("apply", "-f", "-", input: text)
            #expect(result.status == 1 && result.output.isEmpty, "\(result.output)")
            #expect(result.errors.contains(words), "\(result.errors.prefix(500))")
            #expect(result.errors.contains("hint: "))
        }
        let file = control.directory + "/latin.yaml"
        try Data(Array(Self.service("b").utf8) + [0xE9, 0x0A]).write(to: URL(fileURLWithPath: file))
        let latin = try control.command("apply", "-f", file)
        #expect(latin.status == 1 && latin.errors.contains("latin.yaml:9:1"), "\(latin.errors)")
        let strict = try control.command("apply", "-f", "-", "--strict", input: Self.reviews)
        #expect(strict.status == 1 && strict.errors.contains("stdin:10"), "\(strict.errors)")
        #expect(try control.command("history").output.split(separator: "\n").count == 2)
        #expect(try control.command("get", "all", "-o", "name").output == "service/a\n")
        // One step is about one kind of thing, and each option about its own.
        for arguments in [["--scope", "node-id=x"], ["--replace-all"], ["--version", "7"]] {
            let result = try ChildProcess.run(
                Installation.martinet, ["apply", "-f", "-", "--data", control.data] + arguments,
                input: Self.service("b"))
            #expect(result.status == 1 && result.errors.contains(arguments[0]))
        }
        #expect(try control.command("get", "clusters").errors.contains("write --raw clusters"))
    }

    @Test func aDirectoryIsTheMeshAndItsLastGoodStateStaysInForce() throws {
        let files = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: files) }
        func write(_ text: String, _ name: String) throws {
            try text.write(toFile: files + "/" + name, atomically: true, encoding: .utf8)
        }
        try write(Self.service("a"), "a.yaml")
        let control = try ControlPlaneProcess(["--config", files])
        func names() throws -> [Substring] {
            try control.command("get", "all", "-o", "name").output.split(separator: "\n")
        }
        #expect(try names() == ["service/a"])
        try write(Self.service("b"), "b.yaml")
        try eventually("the new file") { try names().count == 2 ? true : nil }
        try write("kind: [", "b.yaml")
        try write(Self.service("c"), "c.yaml")
        try eventually("the error") { try control.command("get", "all").errors.contains("b.yaml:") ? true : nil }
        #expect(try names() == ["service/a", "service/b"])
        let refused = try control.command("apply", "-f", "-", input: Self.service("d"))
        #expect(refused.status == 1 && refused.errors.contains("are the files in \(files)"))
        // What is wrong keeps the last good state over a restart too.
        try control.restart(SIGKILL)
        #expect(try names() == ["service/a", "service/b"])
        try FileManager.default.removeItem(atPath: files + "/b.yaml")
        try eventually("what is right") { try names() == ["service/a", "service/c"] ? true : nil }
        #expect(try control.command("history").output.contains("directory"))
    }

    @Test func anOperatorIsTheAuthorOfWhatTheyChangeOverMutualTLSAndNobodyElseMay() throws {
        let mesh = try Mesh()
        defer { mesh.remove() }
        let control = try ControlPlaneProcess(mesh.flags)
        func apply(_ certificate: String, _ key: String) throws -> (status: Int32, output: String, errors: String) {
            try ChildProcess.run(
                Installation.martinet,
                [
                    "apply", "-f", "-", "--server", "127.0.0.1:\(control.tlsPort)", "--tls-cert", certificate,
                    "--tls-key", key, "--tls-ca", mesh.authority.certificate,
                ], input: Self.service("a"))
        }
        let other = try mesh.authority.issue("other")
        let refused = try apply(other.certificate, other.key)
        #expect(refused.status == 1 && refused.errors.contains("does not name an operator"), "\(refused.errors)")
        #expect(try control.command("history").output == "there are none\n")
        let proxy = mesh.proxy
        #expect(try apply(try #require(proxy.certificate), try #require(proxy.key)).status == 0)
        let history = try control.command("history").output
        #expect(history.contains("proxy.test") && history.contains("1 created"), "\(history)")
    }

    /// Kill -9 at random moments under applies: every acknowledged revision is there, no other is half there.
    @Test func killedUnderAppliesItKeepsEveryAcknowledgedRevisionAndNoHalf() throws {
        let control = try ControlPlaneProcess()
        var acknowledged = 0
        var number = 0
        var random = SystemRandomNumberGenerator()
        for _ in 0..<8 {
            let kills = Date(timeIntervalSinceNow: Double.random(in: 0.05...0.6, using: &random))
            let process = control.process.process.processIdentifier
            let killer = Thread {
                Thread.sleep(until: kills)
                kill(process, SIGKILL)
            }
            killer.start()
            while true {
                number += 1
                // Each revision says its number in three objects.
                let text = ["x", "y", "z"].map { Self.service($0, port: 1_000 + number) }.joined(separator: "---\n")
                let result = try control.command("apply", "-f", "-", "-m", "\(number)", input: text)
                guard result.status == 0 else { break }
                acknowledged = number
            }
            try control.restart(SIGKILL)
            let ports = try control.command("get", "svc", "-o", "yaml").output.matches(of: /port: (\d+)/)
                .compactMap { Int($0.1) }
            #expect(Set(ports).count <= 1 && (ports.count == 3 || acknowledged == 0), "\(ports)")
            let inForce = (ports.first ?? 1_000) - 1_000
            // The one that was under way when it was killed may have come to be, though nobody was told.
            #expect(inForce == acknowledged || inForce == acknowledged + 1, "\(inForce), \(acknowledged)")
            let history = try control.command("history", "--limit", "1000", "-o", "json").output
            let messages = history.matches(of: /"message" : "(\d+)"/).compactMap { Int($0.1) }
            #expect(messages.first ?? 0 == inForce, "the newest revision is the state")
            (acknowledged, number) = (max(acknowledged, inForce), max(number, inForce))
        }
        #expect(acknowledged > 8)
        #expect(!control.process.log.contains("is kept and not in force"))
    }
}
