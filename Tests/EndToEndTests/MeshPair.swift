import Foundation
import Testing

/// Two workloads, `web` and `api`, each with a real Envoy that has all but its token from martinet: `web` calls `api`
/// over mutual TLS, and each accepts no one but the other.
final class MeshPair {
    let control: ControlPlaneProcess
    let web: Envoy
    let api: Envoy
    /// Where `web` takes requests of its application.
    let port: Int
    private let upstream: ChildProcess

    /// - Parameters:
    ///   - extra: further flags of `martinet serve`.
    ///   - bundle: the secret that says whom each trusts.
    init(_ variant: Envoy.Variant = .delta, serving extra: [String], trusting bundle: String = "ROOTCA") throws {
        let (inbound, local) = (try freePort(), try freePort())
        port = try freePort()
        control = try ControlPlaneProcess(
            extra,
            resources: [
                "node-cluster=web/listener.yaml": RawResources.listener("outbound", port: port, routes: "outbound"),
                "node-cluster=web/routes.yaml": RawResources.routes("outbound", weights: [("api", 1)]),
                "node-cluster=web/clusters.yaml": RawResources.mutualTLSCluster(
                    "api", accepting: Self.id("api"), trusting: bundle),
                "node-cluster=web/endpoints.yaml": RawResources.endpoints([("api", [inbound])]),
                "node-cluster=api/listener.yaml": RawResources.mutualTLSListener(
                    "inbound", port: inbound, routes: "inbound", accepting: Self.id("web"), trusting: bundle),
                "node-cluster=api/routes.yaml": RawResources.routes("inbound", weights: [("local", 1)]),
                "node-cluster=api/clusters.yaml": RawResources.clusters(["local"]),
                "node-cluster=api/endpoints.yaml": RawResources.endpoints([("local", [local])]),
            ])
        upstream = try ChildProcess(
            Installation.python, [Installation.root + "/Tests/EndToEndTests/Peers/upstream.py", "\(local)=api"],
            in: control.directory)
        let control = control
        func envoy(_ name: String) throws -> Envoy {
            try Envoy(
                nodeID: "\(name)-1", cluster: name, xdsPort: control.tlsPort, variant: variant,
                credentials: Envoy.Credentials(
                    trusted: control.rootCertificate, token: try control.token(serviceAccount: name)),
                workload: Envoy.Workload(namespace: "shop", serviceAccount: name), in: control.directory)
        }
        api = try envoy("api")
        web = try envoy("web")
        try web.waitUntilReady()
        try api.waitUntilReady()
        try eventually("the first request to go through; \(control.process.log.suffix(3_000))", within: 30) {
            try get() == "api" ? true : nil
        }
    }

    static func id(_ serviceAccount: String) -> String { "spiffe://cluster.local/ns/shop/sa/\(serviceAccount)" }

    func get() throws -> String {
        let answer = try httpGet("http://127.0.0.1:\(port)/")
        return answer.code == 200 ? answer.body : "code \(answer.code): \(answer.body)"
    }

    /// Requests all the while, until it is asked what became of them.
    func load(perSecond rate: Int) throws -> () throws -> [String: Int] {
        let process = try ChildProcess(
            Installation.python,
            [
                Installation.root + "/Tests/EndToEndTests/Peers/load.py", "http://127.0.0.1:\(port)/", "4", "\(rate)",
            ], in: control.directory)
        try eventually("the load to run") { process.log.contains("running") ? true : nil }
        return {
            process.stop(SIGTERM)
            let last = try #require(process.log.split(separator: "\n").last)
            return try JSONDecoder().decode([String: Int].self, from: Data(last.utf8))
        }
    }
}

extension ControlPlaneProcess {
    /// What its clients trust at first.
    var rootCertificate: String { data + "/ca/root-cert.pem" }

    /// A new join token.
    func token(namespace: String = "shop", serviceAccount: String, _ more: String...) throws -> String {
        let (status, output, errors) = try ChildProcess.run(
            Installation.martinet,
            ["token", "create", "--namespace", namespace, "--service-account", serviceAccount, "--ttl", "1h"] + more
                + ["--data", data])
        try #require(status == 0, "\(output)\(errors)")
        return output.trimmingCharacters(in: .whitespacesAndNewlines)
    }
}

extension Envoy {
    /// The counters of TLS connections, by what they count.
    func secured(_ prefix: String) throws -> [String: Int] {
        let lines = try admin("/stats?filter=ssl").split(separator: "\n").filter { $0.hasPrefix(prefix) }
        return Dictionary(
            lines.compactMap { line in
                let parts = line.split(separator: ":")
                guard parts.count == 2, let count = Int(parts[1].trimmingCharacters(in: .whitespaces)) else {
                    return nil
                }
                return parts[0].split(separator: ".").last.map { (String($0), count) }
            }, uniquingKeysWith: +)
    }

    /// Serial numbers of the certificates that it shows to others, and subjects' serial numbers of those it trusts.
    func certificates() throws -> (own: Set<String>, trusted: Set<String>) {
        struct Dump: Decodable {
            struct Entry: Decodable {
                var caCert: [Certificate]?
                var certChain: [Certificate]?
            }
            struct Certificate: Decodable {
                var path: String
                var serialNumber: String
            }
            var certificates: [Entry]
        }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let dump = try decoder.decode(Dump.self, from: Data(try admin("/certs").utf8))
        // The connection to the control plane trusts a file.
        func serials(_ list: [Dump.Certificate]?) -> [String] {
            (list ?? []).filter { $0.path == "<inline>" }.map(\.serialNumber)
        }
        return (
            Set(dump.certificates.flatMap { serials($0.certChain) }),
            Set(dump.certificates.flatMap { serials($0.caCert) })
        )
    }
}

extension RawResources {
    private static func context(_ kind: String, accepting id: String, trusting bundle: String) -> String {
        let more = kind == "DownstreamTlsContext" ? "require_client_certificate: true, " : ""
        return "{ name: envoy.transport_sockets.tls, typed_config: { "
            + "\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.\(kind), \(more)"
            + "common_tls_context: { tls_certificate_sds_secret_configs: [{ name: default, "
            + "sds_config: { resource_api_version: V3, ads: {} } }], combined_validation_context: { "
            + "default_validation_context: { match_typed_subject_alt_names: [{ san_type: URI, "
            + "matcher: { exact: \"\(id)\" } }] }, validation_context_sds_secret_config: { name: \(bundle), "
            + "sds_config: { resource_api_version: V3, ads: {} } } } } } }"
    }

    /// A listener that asks for a certificate of the mesh.
    static func mutualTLSListener(
        _ name: String, port: Int, routes: String, accepting id: String, trusting bundle: String
    ) -> String {
        listener(name, port: port, routes: routes)
            + "\n        transport_socket: " + context("DownstreamTlsContext", accepting: id, trusting: bundle) + "\n"
    }

    /// A cluster that is called with the own certificate of the mesh, over a new connection for each request.
    static func mutualTLSCluster(_ name: String, accepting id: String, trusting bundle: String) -> String {
        clusters(
            [name],
            options: "    max_requests_per_connection: 1\n    transport_socket: "
                + context("UpstreamTlsContext", accepting: id, trusting: bundle) + "\n")
    }
}
