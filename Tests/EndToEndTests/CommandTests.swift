import Foundation
import Testing

/// The commands against a control plane, as a user types them.
@Suite(.serialized) struct CommandTests {
    private let endpoints = RawResources.endpoints([("web", [80])])

    @Test func whatIsAppliedIsShownServedKeptAndDeleted() throws {
        let control = try ControlPlaneProcess(resources: ["clusters.yaml": RawResources.clusters(["web"])])
        let applied = try control.command("apply", "-f", "-", input: endpoints)
        #expect(applied.status == 0, "\(applied)")
        #expect(applied.output == "added EDS web\n1 changed\n")
        #expect(try control.command("apply", "-f", "-", input: endpoints).output == "nothing changes, 1 unchanged\n")

        let table = try control.command("get", "--raw", "all").output.split(separator: "\n").map {
            $0.split(separator: " ").map(String.init)
        }
        #expect(
            table.map { $0.prefix(3) } == [["TYPE", "NAME", "SCOPE"], ["CDS", "web", "all"], ["EDS", "web", "all"]])
        #expect(table[1].last == control.resources + "/clusters.yaml:2")
        #expect(table[2].last == "applied")

        let watched = try control.command("watch", "--type", "EDS", "--count", "1", "--timeout", "10")
        #expect(watched.status == 0)
        #expect(watched.output.hasPrefix("---\nchange: added\ntype: EDS\nname: web\nversion: "))
        #expect(watched.output.contains("port_value: 80"))

        // What a call that returned has said survives the end of the process.
        try control.restart(SIGKILL)
        #expect(try control.command("get", "--raw", "EDS", "web", "-o", "json").output.contains("\"port_value\": 80"))

        let removed = try control.command("delete", "--raw", "EDS", "web")
        #expect(removed.status == 0 && removed.output == "removed EDS web\n1 changed\n", "\(removed)")
        #expect(removed.errors.contains("warning: ") && removed.errors.contains("EDS \"web\" is not there"))
        let missing = try control.command("get", "--raw", "EDS", "web")
        #expect(missing.status == 1)
        #expect(
            missing.errors == "error: there is no EDS \"web\"\nhint: `martinet get --raw EDS` lists what there is\n")
    }

    @Test func whatGetPrintsCanBeAppliedAgain() throws {
        let control = try ControlPlaneProcess()
        try FileManager.default.createDirectory(atPath: control.directory + "/in", withIntermediateDirectories: true)
        try RawResources.clusters(["a", "b"]).write(
            toFile: control.directory + "/in/c.yaml", atomically: true, encoding: .utf8)
        try RawResources.listener("shop", port: 8080, routes: "shop").write(
            toFile: control.directory + "/in/l.yaml", atomically: true, encoding: .utf8)
        #expect(try control.command("apply", "-f", control.directory + "/in").status == 0)
        for form in ["yaml", "json"] {
            let printed = try control.command("get", "--raw", "all", "-o", form).output
            let again = try control.command("apply", "-f", "-", input: printed)
            #expect(again.output == "nothing changes, 3 unchanged\n", "\(form): \(again)")
        }
    }

    @Test func aDryRunAndARefusedChangeChangeNothing() throws {
        let control = try ControlPlaneProcess(resources: ["clusters.yaml": RawResources.clusters(["web"])])
        let dry = try control.command("apply", "-f", "-", "--dry-run", input: endpoints)
        #expect(dry.status == 0 && dry.output == "added EDS web\n1 changed (dry run: nothing was done)\n")

        let misspelt = endpoints.replacing("cluster_name", with: "cluster_nam")
        let refused = try control.command("apply", "-f", "-", input: misspelt)
        #expect(refused.status == 1)
        #expect(refused.errors.hasPrefix("error: stdin:3:"), "\(refused.errors)")
        #expect(refused.errors.contains("did you mean `cluster_name`?"))
        #expect(refused.errors.hasSuffix("hint: nothing was changed; mend what is named above\n"))

        // A file's resource belongs to its file.
        let clash = try control.command("apply", "-f", "-", input: RawResources.clusters(["web"]))
        #expect(clash.status == 1)
        #expect(clash.errors.contains("CDS \"web\" is defined twice: "))

        let strict = try control.command("apply", "-f", "-", "--strict", input: RawResources.clusters(["lonely"]))
        #expect(strict.status == 1)
        #expect(strict.errors.contains("EDS \"lonely\" is not there"))

        let deleted = try control.command("delete", "--raw", "clusters", "nope")
        #expect(deleted.status == 1)
        #expect(
            deleted.errors
                == "error: no CDS \"nope\" was applied for all\nhint: look up names and scopes with `martinet get --raw`\n"
        )
        #expect(
            try control.command("get", "--raw", "all").output.split(separator: "\n").count(where: {
                $0.hasPrefix("CDS") || $0.hasPrefix("EDS")
            }) == 1)
    }

    @Test func aLargeApplyIsOneStepAndItsWarningsAreCut() throws {
        let control = try ControlPlaneProcess()
        // More than the 4 MiB that proxies may send in one message.
        let runtime = """

              - "@type": type.googleapis.com/envoy.service.runtime.v3.Runtime
                name: large
                layer: { text: "\(String(repeating: "x", count: 5 << 20))" }
            """
        let text = RawResources.endpoints((0..<30).map { ("c\($0)", [80]) })
        let applied = try control.command("apply", "-f", "-", input: text + runtime)
        #expect(applied.status == 0, "\(applied.errors.prefix(1_000))")
        #expect(applied.output.hasSuffix("31 changed\n"))
        let warnings = applied.errors.split(separator: "\n")
        #expect(warnings.count == 21)
        #expect(warnings.last == "warning: 10 more of these; `martinet status` lists all that are in force")
        #expect(try control.command("get", "--raw", "RTDS", "large", "-o", "json").output.utf8.count > 5 << 20)
    }

    @Test func aScopeIsForItsProxiesOnly() throws {
        let control = try ControlPlaneProcess(resources: [
            "node-cluster=edge/clusters.yaml": RawResources.clusters(["file"])
        ])
        let applied = try control.command(
            "apply", "-f", "-", "--scope", "node-id=x", "--version", "v7", input: RawResources.clusters(["own"]))
        #expect(applied.status == 0 && applied.output.contains("added CDS own (node-id=x)"), "\(applied)")

        func seen(_ arguments: String...) throws -> Set<String> {
            let arguments = ["watch", "--type", "CDS", "--data", control.data, "--timeout", "1"] + arguments
            let output = try ChildProcess.run(Installation.martinet, arguments).output
            return Set(output.split(separator: "\n").filter { $0.hasPrefix("name: ") }.map { String($0.dropFirst(6)) })
        }
        #expect(try seen("--node", "other") == [])
        #expect(try seen("--node", "x") == ["own"])
        #expect(try seen("--node", "y", "--cluster", "edge") == ["file"])
        #expect(try seen("--node", "x", "--cluster", "edge", "--sotw") == ["own", "file"])
        let version = try control.command("watch", "--type", "CDS", "--node", "x", "--sotw", "--count", "1")
        #expect(version.output.contains("version: v7\n"), "\(version)")

        let replaced = try control.command(
            "apply", "-f", "-", "--scope", "node-id=x", "--replace-all", input: RawResources.clusters(["new"]))
        #expect(replaced.output.contains("added CDS new (node-id=x)\nremoved CDS own (node-id=x)"), "\(replaced)")
        let bad = try control.command("get", "--raw", "all", "--scope", "cluster=x")
        #expect(bad.status == 1)
        #expect(bad.errors == "error: `cluster=x` is no scope\nhint: write all, node-cluster=NAME, or node-id=ID\n")
    }

    @Test func watchFollowsChangesAndComesBackAfterARestart() throws {
        let control = try ControlPlaneProcess(resources: ["clusters.yaml": RawResources.clusters(["web"])])
        let watch = try ChildProcess(
            Installation.martinet, ["watch", "--type", "CDS", "--data", control.data, "--count", "4"],
            in: control.directory)
        func changes() -> [Substring] { watch.log.split(separator: "\n").filter { $0.hasPrefix("change: ") } }
        try eventually("the first cluster") { changes() == ["change: added"] ? true : nil }
        try control.write(RawResources.clusters(["web"]).replacing("1s", with: "2s"), to: "clusters.yaml")
        try eventually("the change") { changes() == ["change: added", "change: changed"] ? true : nil }
        try control.restart(SIGKILL)
        try eventually("the watch to be back", within: 30) {
            try control.command("status").output.contains("martinet-watch") ? true : nil
        }
        // Nothing that it had already comes again.
        #expect(changes().count == 2, "\(watch.log)")
        try control.write("resources: []", to: "clusters.yaml")
        try eventually("the removal") { changes().last == "change: removed" ? true : nil }
        try control.write(RawResources.clusters(["new"]), to: "clusters.yaml")
        try eventually("the watch to end by itself") { watch.process.isRunning ? nil : true }
        #expect(watch.process.terminationStatus == 0)
        #expect(watch.log.contains("name: new"))
    }

    @Test func statusTellsOfProxiesAndProblemsInThreeForms() throws {
        let control = try ControlPlaneProcess(resources: ["clusters.yaml": RawResources.clusters(["web"])])
        let watch = try ChildProcess(
            Installation.martinet, ["watch", "--type", "CDS", "--node", "probe", "--data", control.data],
            in: control.directory)
        defer { watch.stop() }
        try eventually("the watch to be synced") {
            try control.command("status").output.contains("synced") ? true : nil
        }
        let table = try control.command("status")
        let lines = table.output.split(separator: "\n")
        let columns = lines[1].split(separator: " ")
        #expect(table.status == 0)
        #expect(columns.first == "probe" && columns.contains("unix") && columns.contains("delta"), "\(table.output)")
        #expect(lines.last?.hasPrefix("problem: ") == true && lines.last?.contains("EDS \"web\" is not there") == true)
        let json = try JSONSerialization.jsonObject(with: Data(try control.command("status", "-o", "json").output.utf8))
        let proxies = try #require((json as? [String: Any])?["proxies"] as? [[String: Any]])
        #expect(proxies.count == 1 && proxies[0]["node_id"] as? String == "probe")
        let types = try #require(proxies[0]["types"] as? [[String: Any]])
        #expect(types[0]["sent_version"] as? String == types[0]["acked_version"] as? String)
        #expect(try control.command("status", "--quiet").output.isEmpty)
        let none = try control.command("status", "--node", "nobody")
        #expect(none.status == 0 && none.output.hasPrefix("no proxy with the node id nobody is connected\n"))
        #expect(try control.command("status", "-o", "yaml").output.hasPrefix("proxies:\n"))
    }

    @Test func whereNothingRunsEveryCommandSaysSoAndHowToStart() throws {
        let empty = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: empty) }
        for command in [
            ["status"], ["get", "--raw", "all"], ["delete", "--raw", "CDS", "a"], ["get", "all"], ["history"],
        ] {
            let (status, output, errors) = try ChildProcess.run(Installation.martinet, command + ["--data", empty])
            #expect(status == 1 && output.isEmpty)
            #expect(errors.hasPrefix("error: no control plane answers at \(empty)/control.sock: "), "\(errors)")
            #expect(errors.contains("hint: start one with `martinet serve --data \(empty)`"))
        }
        // The directory may come from the environment.
        let (_, _, errors) = try ChildProcess.run(
            Installation.martinet, ["status"], environment: ["MARTINET_DATA": empty])
        #expect(errors.contains(empty + "/control.sock"))
    }

    @Test(arguments: [
        ["apply"], ["get"], ["status", "--nope"], ["delete"], ["delete", "CDS"], ["watch"], ["nope"],
        ["watch", "--type", "CDS", "--count", "0"], ["diff"], ["show"], ["history", "--limit", "0"],
        ["apply", "-f", "x", "--base", "-1"], ["get", "vs", "--scope", "all"], ["status", "--tls-cert", "x"],
        ["status", "--server", "127.0.0.1:1"], ["delete", "--raw", "CDS", "a", "-f", "b"],
        ["serve", "--xds-plaintext", "0.0.0.0:15010"], ["serve", "--xds-plaintext", "nonsense"],
        ["serve", "--tls-cert", "x"], ["serve", "--ca-leaf-ttl", "1s"], ["serve", "--loops", "0"],
        ["serve", "--log-format", "xml"], ["serve", "--log-level", "loud"],
    ])
    func aWrongCommandLineEndsWith64(arguments: [String]) throws {
        let (status, output, errors) = try ChildProcess.run(Installation.martinet, arguments)
        #expect(status == 64, "\(arguments): \(output)\(errors)")
        #expect(errors.contains("Usage: martinet"))
    }

    @Test func helpExplainsEveryOptionAndExitCode() throws {
        for command in [
            "serve", "apply", "diff", "get", "describe", "edit", "delete", "history", "show", "rollback", "export",
            "status",
            "watch",
        ] {
            let (status, output, _) = try ChildProcess.run(Installation.martinet, [command, "--help"])
            #expect(status == 0)
            #expect(output.contains("EXAMPLES") && output.contains("EXIT CODES") && output.contains("--data <dir>"))
            // Each option stands in the list with an explanation beside it or on the next line.
            let lines = output.split(separator: "\n", omittingEmptySubsequences: false)
            let options = lines.drop { $0 != "OPTIONS:" }.dropFirst()
            #expect(!options.isEmpty)
            for (index, line) in options.enumerated() where line.hasPrefix("  -") {
                let next = options.dropFirst(index + 1).first ?? ""
                let isExplained =
                    line.dropFirst(2).contains("   ") || line.contains(" <") && next.hasPrefix("     ")
                    || next.hasPrefix("     ") || line.split(separator: "  ").count > 1
                #expect(isExplained, "\(command): \(line)")
            }
        }
        #expect(try ChildProcess.run(Installation.martinet, ["version"]).output.hasPrefix("martinet "))
        #expect(try ChildProcess.run(Installation.martinet, ["--help"]).output.contains("MARTINET_DATA"))
    }
}
