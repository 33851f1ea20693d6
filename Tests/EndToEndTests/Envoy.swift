import Foundation
import Testing

/// A real Envoy whose only configuration is where its control plane is; or `martinet proxy` in its place.
final class Envoy {
    /// What runs.
    enum Program {
        case envoy
        /// With these flags beside those for the admin interface and drains; without any, from Envoy's bootstrap file.
        case martinet([String])
    }

    // Without a word about it: what ``DataPlaneChoice`` says.

    enum Variant: String, CaseIterable, CustomTestStringConvertible {
        case delta = "DELTA_GRPC"
        case stateOfTheWorld = "GRPC"

        var testDescription: String { rawValue }
    }

    /// How it reaches the control plane over TLS, and proves who it is: by PEM files or by a token.
    struct Credentials {
        var certificate: String?
        var key: String?
        var trusted: String
        var token: String?
    }

    /// What it claims to be in its node's metadata.
    struct Workload {
        var namespace: String
        var serviceAccount: String
        /// Further entries, as YAML reads them between braces: `A: b, C: d`.
        var more = ""
    }

    /// Where it runs, if not as every other program here.
    struct Place {
        /// What runs it: `ip netns exec NAME …`.
        var command: [String] = []
        /// Where its admin port is, and where it finds its control plane.
        var adminAddress = "127.0.0.1"
        var controlAddress = "127.0.0.1"
        var flags: [String] = []
        /// Whether it checks the health of workloads for its control plane.
        var checksHealth = false

        /// As Istio starts its proxies: what a change of a listener replaces is closed after the answer under way.
        /// Otherwise a kept connection goes by the old rules for up to ten minutes.
        static let drainingAtOnce = ["--drain-time-s", "45", "--drain-strategy", "immediate"]
    }

    let process: ChildProcess
    let adminPort: Int
    private let adminAddress: String

    init(
        nodeID: String, cluster: String = "test", xdsPort: Int, variant: Variant = .delta,
        version: Installation.EnvoyVersion = .newest, credentials: Credentials? = nil,
        workload: Workload? = nil, at place: Place = Place(), adminPort: Int? = nil,
        program: Program? = nil, in directory: String
    ) throws {
        self.adminPort = try adminPort ?? freePort()
        adminAddress = place.adminAddress
        let path = directory + "/\(nodeID)-\(shortID()).yaml"
        try Self.bootstrap(
            nodeID: nodeID, cluster: cluster, adminPort: self.adminPort, xdsPort: xdsPort, variant: variant,
            credentials: credentials, workload: workload, place: place
        ).write(toFile: path, atomically: true, encoding: .utf8)
        let command =
            switch program ?? (DataPlaneChoice.current == .martinet ? .martinet([]) : .envoy) {
            case .envoy:
                place.command + [
                    try version.binary(), "-c", path, "--concurrency", "1", "--disable-hot-restart", "--log-level",
                    "warning",
                ] + place.flags
            case .martinet(let flags):
                place.command + [Installation.martinet, "proxy"] + (flags.isEmpty ? ["--bootstrap", path] : flags) + [
                    "--admin", "\(place.adminAddress):\(self.adminPort)", "--stats", "off", "--drain-time", "45s",
                ]
            }
        process = try ChildProcess(command[0], Array(command.dropFirst()), in: directory)
    }

    /// An answer of the admin port, for example `/config_dump?include_eds`.
    func admin(_ path: String) throws -> String {
        let answer = try httpGet("http://\(adminAddress):\(adminPort)\(path)")
        guard answer.code == 200 else { throw WaitedInVain(what: "\(path): \(answer.code) \(answer.body)") }
        return answer.body
    }

    /// A counter or gauge of `/stats`; 0 where Envoy does not have it yet.
    func stat(_ name: String) throws -> Int {
        let lines = try admin("/stats?filter=^\(name)$").split(separator: "\n")
        return lines.compactMap { Int($0.split(separator: " ").last ?? "") }.first ?? 0
    }

    func waitUntilReady() throws {
        try eventually("Envoy to be ready; its log: \(process.log.suffix(2_000))", within: 30) {
            try admin("/ready").hasPrefix("LIVE") ? true : nil
        }
    }

    private static func bootstrap(
        nodeID: String, cluster: String, adminPort: Int, xdsPort: Int, variant: Variant, credentials: Credentials?,
        workload: Workload?, place: Place
    ) -> String {
        let metadata =
            workload.map {
                ", metadata: { NAMESPACE: \($0.namespace), SERVICE_ACCOUNT: \($0.serviceAccount)"
                    + ($0.more.isEmpty ? " }" : ", \($0.more) }")
            } ?? ""
        let proof =
            credentials?.token.map {
                "\n        initial_metadata: [{ key: authorization, value: Bearer \($0) }]"
            } ?? ""
        let checks =
            place.checksHealth
            ? """

            hds_config:
              api_type: GRPC
              transport_api_version: V3
              grpc_services:
                - envoy_grpc: { cluster_name: martinet }
                  initial_metadata: [{ key: authorization, value: Bearer \(credentials?.token ?? "") }]
            """ : ""
        let transport = credentials.map { "      transport_socket: " + socket($0) } ?? ""
        return """
            node: { id: \(nodeID), cluster: \(cluster)\(metadata) }
            admin: { address: { socket_address: { address: \(place.adminAddress), port_value: \(adminPort) } } }
            dynamic_resources:
              ads_config:
                api_type: \(variant.rawValue)
                transport_api_version: V3
                grpc_services:
                  - envoy_grpc:
                      cluster_name: martinet
                      retry_policy: { retry_back_off: { base_interval: 0.1s, max_interval: 1s } }\(proof)
              cds_config: { resource_api_version: V3, ads: {} }
              lds_config: { resource_api_version: V3, ads: {} }
            cluster_manager:
              load_stats_config:
                api_type: GRPC
                transport_api_version: V3
                grpc_services: [{ envoy_grpc: { cluster_name: martinet } }]\(checks)
            static_resources:
              clusters:
                - name: martinet
                  type: STATIC
                  connect_timeout: 1s
                  typed_extension_protocol_options:
                    envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
                      "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
                      explicit_http_config: { http2_protocol_options: {} }
                  load_assignment:
                    cluster_name: martinet
                    endpoints:
                      - lb_endpoints:
                          - endpoint:
                              address: { socket_address: { address: \(place.controlAddress), port_value: \(xdsPort) } }
            \(transport)
            """
    }
    private static func socket(_ credentials: Credentials) -> String {
        let certificate = credentials.certificate.map {
            "tls_certificates: [{ certificate_chain: { filename: \($0) }, "
                + "private_key: { filename: \(credentials.key ?? "") } }], "
        }
        return "{ name: envoy.transport_sockets.tls, typed_config: { "
            + "\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, "
            + "sni: localhost, common_tls_context: { alpn_protocols: [h2], \(certificate ?? "")"
            + "validation_context: { trusted_ca: { filename: \(credentials.trusted) } } } } }"
    }
}
