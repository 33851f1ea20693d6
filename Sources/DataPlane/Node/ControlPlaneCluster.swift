import Addresses
import Agent
import Documents
import EnvoyAPI
import Forwarding
import Protobuf
import Reactor
import XDS

/// The cluster that an Envoy's bootstrap file has for the control plane, made of what an enrolled proxy is told instead:
/// logs are sent there by its name.
enum ControlPlaneCluster {
    /// As in the bootstrap files that go with this control plane.
    static let name = "martinet"

    static func make(_ terms: Enrolment.Terms) throws(ProxyError) -> (type: ResourceType, name: String, body: [UInt8]) {
        func quoted(_ text: String) -> String { DocumentNode.text(text).line }
        func secret(_ name: String) -> String { "{name: \(quoted(name)), sds_config: {ads: {}}}" }
        let place: String
        switch NetworkAddress(terms.control) {
        case .ip(let ip, let port): place = "socket_address: {address: \(quoted("\(ip)")), port_value: \(port)}"
        case .pipe(let path): place = "pipe: {path: \(quoted(path))}"
        }
        let isAddress = IPAddress(terms.serverName) != nil
        let types = "type.googleapis.com/envoy.extensions"
        let text = """
            name: \(name)
            type: STATIC
            connect_timeout: 5s
            typed_extension_protocol_options:
              envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
                "@type": \(types).upstreams.http.v3.HttpProtocolOptions
                explicit_http_config: {http2_protocol_options: {}}
            load_assignment: {cluster_name: \(name), endpoints: [{lb_endpoints: [{endpoint: {address: {\(place)}}}]}]}
            transport_socket:
              name: envoy.transport_sockets.tls
              typed_config:
                "@type": \(types).transport_sockets.tls.v3.UpstreamTlsContext
                sni: \(quoted(isAddress ? "" : terms.serverName))
                common_tls_context:
                  alpn_protocols: [h2]
                  tls_certificate_sds_secret_configs: [\(secret(OwnSecret.name))]
                  combined_validation_context:
                    default_validation_context:
                      match_typed_subject_alt_names:
                      - {san_type: \(isAddress ? "IP_ADDRESS" : "DNS"), matcher: {exact: \(quoted(terms.serverName))}}
                    validation_context_sds_secret_config: \(secret("ROOTCA"))
            """
        do {
            let arena = Arena()
            return (.cluster, name, encode(try arena.decodeYAML(Cluster.self, text, types: envoyTypes)))
        } catch {
            throw .cannotStart(
                "the control plane's name `\(terms.serverName)` cannot be checked: \(error)",
                hint: "give the name that stands in its certificate")
        }
    }
}
