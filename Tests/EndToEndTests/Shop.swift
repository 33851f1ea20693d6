import Foundation
import Testing

/// A control plane, two upstreams `v1` and `v2`, and one Envoy that has everything from the control plane.
final class Shop {
    let control: ControlPlaneProcess
    let upstreams: ChildProcess
    let envoy: Envoy
    let port: Int
    let v1: Int
    let v2: Int

    /// - Parameter isApplied: the resources come by `martinet apply`, not from files.
    init(
        _ variant: Envoy.Variant, version: Installation.EnvoyVersion = .newest, credentials: Envoy.Credentials? = nil,
        serving extra: [String] = [], isApplied: Bool = false
    ) throws {
        port = try freePort()
        v1 = try freePort()
        v2 = try freePort()
        let resources = [
            "listener.yaml": RawResources.listener("shop", port: port, routes: "shop"),
            "routes.yaml": RawResources.routes("shop", weights: [("v1", 1)]),
            "clusters.yaml": RawResources.clusters(["v1", "v2"]),
            "endpoints.yaml": RawResources.endpoints([("v1", [v1]), ("v2", [v2])]),
        ]
        control = try ControlPlaneProcess(extra, resources: isApplied ? [:] : resources)
        if isApplied {
            let documents = resources.sorted { $0.key < $1.key }.map(\.value).joined(separator: "\n---\n")
            let (status, output, errors) = try control.command("apply", "-f", "-", input: documents)
            try #require(status == 0, "\(output)\(errors)")
        }
        upstreams = try ChildProcess(
            Installation.python,
            [Installation.root + "/Tests/EndToEndTests/Peers/upstream.py", "\(v1)=v1", "\(v2)=v2"],
            in: control.directory)
        envoy = try Envoy(
            nodeID: "shop-proxy", xdsPort: credentials == nil ? control.xdsPort : control.tlsPort, variant: variant,
            version: version, credentials: credentials, in: control.directory)
        try envoy.waitUntilReady()
        try eventually("the first request to reach v1; \(control.process.log.suffix(2_000))") {
            try get() == "v1" ? true : nil
        }
    }

    func get() throws -> String {
        let answer = try httpGet("http://127.0.0.1:\(port)/")
        return answer.code == 200 ? answer.body : "code \(answer.code): \(answer.body)"
    }

    /// Who answered `count` requests.
    func tally(_ count: Int) throws -> [String: Int] {
        let arguments = ["-s", "-m", "20", "-w", "\n", "http://127.0.0.1:\(port)/[1-\(count)]"]
        let output = try ChildProcess.run("/usr/bin/curl", arguments).output
        return Dictionary(output.split(separator: "\n").map { (String($0), 1) }, uniquingKeysWith: +)
    }

    /// What Envoy counts as taken, per type.
    func updates() throws -> [String: Int] {
        var counts: [String: Int] = [:]
        for (type, name) in [
            ("CDS", "cluster_manager.cds.update_success"), ("LDS", "listener_manager.lds.update_success"),
            ("RDS", "http.shop.rds.shop.update_success"), ("EDS", "cluster.v1.update_success"),
        ] {
            counts[type] = try envoy.stat(name.replacing(".", with: "\\."))
        }
        return counts
    }
}
