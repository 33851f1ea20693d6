import Foundation
import Testing

/// `martinet apply`, `get`, `watch` and `delete` as a user runs them, and an Envoy that follows.
struct ApplyTests {
    @Test(arguments: Envoy.Variant.allCases)
    func whatIsAppliedReachesARealEnvoyAndStays(variant: Envoy.Variant) throws {
        let shop = try Shop(variant, isApplied: true)
        let control = shop.control
        let watch = try ChildProcess(
            Installation.martinet,
            ["watch", "--type", "CDS", "--node", "watcher", "--count", "4", "--timeout", "60", "--data", control.data]
                + (variant == .delta ? [] : ["--sotw"]),
            in: control.directory)
        try eventually("the watch to show what there is") {
            watch.log.components(separatedBy: "change: \"added\"").count == 3
                || watch.log.components(separatedBy: "change: added").count == 3 ? true : nil
        }

        let moved = try control.command(
            "apply", "-f", "-", input: RawResources.routes("shop", weights: [("v2", 1)]))
        #expect(moved.status == 0 && moved.output.contains("changed RDS shop"), "\(moved)")
        try eventually("traffic to move") { try shop.get() == "v2" ? true : nil }

        // What `get` prints is taken back, and changes nothing.
        let printed = try control.command("get", "--raw", "all", "-o", "yaml")
        #expect(printed.status == 0)
        let again = try control.command("apply", "-f", "-", "--replace-all", input: printed.output)
        #expect(again.status == 0 && again.output.contains("nothing changes"), "\(again)")

        // One wrong resource among good ones: nothing has changed.
        let wrong = try control.command(
            "apply", "-f", "-",
            input: RawResources.clusters(["v3"]) + "\n---\n"
                + RawResources.clusters(["v4"], options: "    lb_policy: NO_SUCH_POLICY"))
        #expect(wrong.status == 1 && wrong.errors.contains("NO_SUCH_POLICY"), "\(wrong)")
        #expect(try control.command("get", "--raw", "clusters", "v3").status == 1)

        // With endpoints: Envoy takes no other cluster while one waits for its endpoints.
        let third = RawResources.clusters(["v3"]) + "\n---\n" + RawResources.endpoints([("v3", [shop.v1])])
        #expect(try control.command("apply", "-f", "-", input: third).status == 0)
        #expect(try control.command("delete", "--raw", "clusters", "v3", "--dry-run").status == 0)
        #expect(try control.command("get", "--raw", "clusters", "v3").output.contains("applied"))
        try eventually("the watch to show v3") { watch.log.contains("v3") ? true : nil }
        #expect(try control.command("delete", "--raw", "clusters", "v1").status == 0)
        #expect(try control.command("delete", "--raw", "clusters", "v1").status == 1)
        try eventually("v1 to leave Envoy") {
            try shop.envoy.admin("/clusters?format=json").contains("\"v1\"") ? nil : true
        }
        try eventually("the watch to end with its fourth document") { watch.process.isRunning ? nil : true }
        #expect(watch.process.terminationStatus == 0)
        let changes = watch.log.split(separator: "\n").filter { $0.hasPrefix("change: ") || $0.hasPrefix("name: ") }
            .map { $0.split(separator: " ").last.map { $0.replacing("\"", with: "") } ?? "" }
        #expect(changes == ["added", "v1", "added", "v2", "added", "v3", "removed", "v1"], "\(watch.log)")

        // What was applied outlives the process.
        let before = try control.command("get", "--raw", "all").output
        try control.restart(SIGKILL)
        #expect(try control.command("get", "--raw", "all").output == before)
        #expect(try shop.get() == "v2")
    }
}
