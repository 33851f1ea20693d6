import Foundation
import Testing

/// Revisions that come to a part of the proxies first, with the command line and three real Envoys of one class.
@Suite(.serialized) struct RolloutTests {
    private static let service = """
        apiVersion: v1
        kind: Service
        metadata: {name: api, namespace: shop}
        spec: {selector: {app: api}, ports: [{name: http, port: 80}]}

        """

    /// Changes the cluster of the service, of which every sidecar has one.
    private static func patch(_ value: String) -> String {
        """
        apiVersion: networking.istio.io/v1alpha3
        kind: EnvoyFilter
        metadata: {name: api-cluster, namespace: shop}
        spec:
          configPatches:
          - applyTo: CLUSTER
            match: {context: SIDECAR_OUTBOUND, cluster: {service: api.shop.svc.cluster.local}}
            patch: {operation: MERGE, value: {\(value)}}

        """
    }

    /// It can be read and written, and only Envoy itself knows that it is nothing for a cluster with endpoints over EDS.
    private static let wrong = "lb_policy: CLUSTER_PROVIDED"

    private final class World {
        let control: ControlPlaneProcess
        let envoys: [Envoy]

        init() throws {
            let control = try ControlPlaneProcess()
            self.control = control
            _ = try control.command("apply", "-f", "-", input: service + "---\n" + patch("connect_timeout: 3s"))
            let token = try control.token(serviceAccount: "web", "--uses", "0")
            envoys = try (1...3).map { number in
                try Envoy(
                    nodeID: "sidecar~10.1.0.\(number)~web-\(number).shop~shop.svc.cluster.local", cluster: "web.shop",
                    xdsPort: control.tlsPort,
                    credentials: Envoy.Credentials(trusted: control.rootCertificate, token: token),
                    workload: Envoy.Workload(
                        namespace: "shop", serviceAccount: "web",
                        more: "LABELS: { app: web }, WORKLOAD_NAME: web-\(number), INTERCEPTION_MODE: REDIRECT, "
                            + "INSTANCE_IPS: 10.1.0.\(number)"), in: control.directory)
            }
            try eventually("all Envoys to have the cluster; \(control.process.log.suffix(2_000))", within: 30) {
                try timeouts() == ["3s", "3s", "3s"] ? true : nil
            }
        }

        /// The connect timeout of the service's cluster at each Envoy.
        func timeouts() throws -> [String] {
            try envoys.map { envoy in
                let dump = try envoy.admin("/config_dump?resource=dynamic_active_clusters")
                struct Dump: Decodable {
                    struct Entry: Decodable {
                        struct Cluster: Decodable {
                            var name: String
                            var timeout: String?

                            enum CodingKeys: String, CodingKey {
                                case name
                                case timeout = "connect_timeout"
                            }
                        }
                        var cluster: Cluster
                    }
                    var configs: [Entry]?
                }
                let clusters = try JSONDecoder().decode(Dump.self, from: Data(dump.utf8)).configs ?? []
                return clusters.first { $0.cluster.name.hasPrefix("outbound|80||api.shop") }?.cluster.timeout
                    ?? "none"
            }
        }

        func rejections() throws -> [Int] {
            try envoys.map { try $0.stat("cluster_manager\\.cds\\.update_rejected") }
        }
    }

    @Test func whatOneEnvoyRejectsNoOtherGets() throws {
        let world = try World()
        let control = world.control

        // Without a canary: one tries it, and it is held.
        let held = try control.command("apply", "-f", "-", "--wait", input: Self.patch(Self.wrong))
        #expect(held.status == 1 && held.errors.contains("CDS rejected"), "\(held)")
        #expect(held.errors.contains("cluster provided LB specified"), "\(held.errors)")
        #expect(try world.rejections().sorted() == [0, 0, 1])
        #expect(try world.timeouts() == ["3s", "3s", "3s"])
        #expect(try control.command("rollout").output.contains("revision 2: no proxy has it: sidecar~"))
        #expect(try control.command("status").output.contains("roll-out: revision 2: no proxy has it"))
        #expect(try control.command("history").output.contains("(held: no proxy has it)"))
        // The mend goes to all.
        let mended = try control.command(
            "apply", "-f", "-", "--wait", input: Self.patch("connect_timeout: 4s"))
        #expect(mended.status == 0, "\(mended)")
        #expect(try world.timeouts() == ["4s", "4s", "4s"])

        // A canary goes on by itself, and says so.
        let fine = try control.command(
            "apply", "-f", "-", "--canary", "34%,67%", "--hold", "1s", "--wait",
            input: Self.patch("connect_timeout: 5s"))
        #expect(
            fine.output.hasSuffix(
                """
                revision 4 is being rolled out: 34 %, 67 %, 100 %
                revision 4: 2 of 3 proxies have acknowledged it (34 %)
                revision 4: 3 of 3 proxies have acknowledged it (67 %)
                revision 4: all proxies have it

                """), "\(fine)")
        #expect(try world.timeouts() == ["5s", "5s", "5s"])

        // And rolls back by itself, and says so.
        let undone = try control.command(
            "apply", "-f", "-", "--canary", "5%", "--hold", "1s", "--wait", input: Self.patch(Self.wrong))
        #expect(undone.status == 1 && undone.errors.contains("revision 5: undone by revision 6: sidecar~"), "\(undone)")
        #expect(try world.rejections().reduce(0, +) == 2)
        #expect(try world.timeouts() == ["5s", "5s", "5s"])
        let history = try control.command("history").output
        #expect(history.contains("rollback of revision 5: sidecar~") && history.contains("(undone by revision 6)"))
        #expect(try control.command("get", "envoyfilter/api-cluster", "-n", "shop", "-o", "yaml").output.contains("5s"))
    }

    @Test func aUserSteersIt() throws {
        let world = try World()
        let control = world.control
        let begun = try control.command(
            "apply", "-f", "-", "--canary", "5%", "--hold", "10m", input: Self.patch("connect_timeout: 4s"))
        #expect(begun.status == 0)
        try eventually("one Envoy to have it") { try world.timeouts().sorted() == ["3s", "3s", "4s"] ? true : nil }
        try eventually("its acknowledgement") {
            try control.command("rollout").output.contains("1 of 3 proxies have it (5 %), all have acknowledged")
                ? true : nil
        }
        let second = try control.command("apply", "-f", "-", input: Self.patch("connect_timeout: 9s"))
        #expect(second.status == 1 && second.errors.contains("revision 2 is being rolled out"))
        // Killed and begun again it goes on, with the same proxy.
        let had = try world.timeouts()
        try control.restart(SIGKILL)
        try eventually("the Envoys to be back", within: 30) {
            try control.command("rollout").output.contains("1 of 3 proxies have it (5 %), all have") ? true : nil
        }
        #expect(try world.timeouts() == had)
        #expect(try control.command("rollout", "promote", "1").status == 1)
        #expect(try control.command("rollout", "promote").output == "revision 2: all proxies have it\n")
        try eventually("all to have it") { try world.timeouts() == ["4s", "4s", "4s"] ? true : nil }
        #expect(try control.command("rollout", "abort").status == 1)
        _ = try control.command(
            "apply", "-f", "-", "--canary", "5%", "--hold", "10m", input: Self.patch("connect_timeout: 6s"))
        try eventually("one Envoy to have it") { try world.timeouts().contains("6s") ? true : nil }
        #expect(try control.command("rollout", "abort").output.hasPrefix("revision 3: undone by revision 4: "))
        try eventually("all to be as before") { try world.timeouts() == ["4s", "4s", "4s"] ? true : nil }
        #expect(try control.command("apply", "-f", "-", "--canary", "5%,2%", input: Self.service).status == 64)
        #expect(try control.command("apply", "-f", "-", "--hold", "2s", input: Self.service).status == 64)
    }
}
