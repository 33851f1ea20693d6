import Discovery
import Documents
import EnvoyAPI
import Protobuf
import XDS

/// What an Envoy bootstrap file says, as far as this proxy takes it: the node, the aggregated xDS server, static
/// resources, and the admin address. Source: envoy.config.bootstrap.v3.Bootstrap.
public struct Bootstrap: Sendable {
    /// The aggregated xDS server.
    public struct Control: Sendable {
        public var host: String
        public var port: UInt16
        public var isDelta: Bool
        /// Sent with each stream: `authorization` and the like.
        public var metadata: [(name: String, value: String)] = []
        /// nil: plaintext.
        public var tls: Security?
    }

    /// How the server is known, and what is shown to it.
    public struct Security: Sendable {
        /// A name to ask for and to find in the certificate; empty: the host.
        public var serverName = ""
        public var trusted: Source?
        public var certificate: Source?
        public var key: Source?
    }

    public enum Source: Sendable, Hashable {
        case file(String)
        case bytes([UInt8])
    }

    public var node: XDS.Node
    public var control: Control?
    /// Static resources, packed.
    public var resources: [(type: ResourceType, name: String, body: [UInt8])] = []
    /// `host:port`.
    public var admin: String?
    /// What is written there and means nothing here, by path.
    public var unused: [String] = []

    /// - Throws: a ``BootstrapError``.
    public init(yaml text: String, file: String) throws(BootstrapError) {
        let arena = Arena()
        let message: UnsafeMutablePointer<EnvoyAPI.Bootstrap>
        do throws(TextFormatError) {
            message = try arena.decodeYAML(EnvoyAPI.Bootstrap.self, text, types: envoyTypes, file: file)
        } catch {
            throw BootstrapError(problem: "\(error)")
        }
        node = message.pointee.node.map { XDS.Node($0.pointee) } ?? XDS.Node(id: "")
        let whole = DynamicMessage(message)
        admin = whole.message("admin")?.message("address").flatMap(Self.hostAndPort).map { "\($0.host):\($0.port)" }
        unused = whole.descriptor.fields.map(\.name).filter {
            whole.has($0) && !["node", "admin", "static_resources", "dynamic_resources"].contains($0)
        }
        let fixed = whole.message("static_resources")
        for (type, field) in [(ResourceType.secret, "secrets"), (.cluster, "clusters"), (.listener, "listeners")] {
            for resource in fixed?.messages(field) ?? [] {
                resources.append((type, resource.string("name") ?? "", encode(resource)))
            }
        }
        guard let source = whole.message("dynamic_resources")?.message("ads_config") else { return }
        control = try Self.control(source, clusters: fixed?.messages("clusters") ?? [])
        // The way to the control plane is the control loop's own.
        let name = source.messages("grpc_services").first?.message("envoy_grpc")?.string("cluster_name")
        resources.removeAll { $0.type == .cluster && $0.name == name }
    }

    private static func control(
        _ source: DynamicMessage, clusters: [DynamicMessage]
    ) throws(BootstrapError) -> Control {
        let path = "dynamic_resources.ads_config"
        // ApiConfigSource.ApiType: GRPC is 2, DELTA_GRPC 3.
        guard let kind = source.integer("api_type"), kind == 2 || kind == 3 else {
            throw BootstrapError(problem: "\(path).api_type: it is neither GRPC nor DELTA_GRPC")
        }
        guard let service = source.messages("grpc_services").first,
            let name = service.message("envoy_grpc")?.string("cluster_name")
        else { throw BootstrapError(problem: "\(path).grpc_services[0].envoy_grpc: it is missing") }
        guard let cluster = clusters.first(where: { $0.string("name") == name }) else {
            throw BootstrapError(problem: "\(path): there is no static cluster `\(name)`")
        }
        guard
            let endpoint = cluster.message("load_assignment")?.messages("endpoints").first?
                .messages("lb_endpoints").first?.message("endpoint")?.message("address"),
            let (host, port) = hostAndPort(endpoint), port > 0
        else {
            throw BootstrapError(problem: "static cluster `\(name)`: it has no endpoint with an address and a port")
        }
        var control = Control(host: host, port: port, isDelta: kind == 3)
        control.metadata = service.messages("initial_metadata").map {
            ($0.string("key") ?? "", $0.string("value") ?? "")
        }
        if let socket = cluster.message("transport_socket") { control.tls = try security(socket, of: name) }
        return control
    }

    private static func security(_ socket: DynamicMessage, of cluster: String) throws(BootstrapError) -> Security? {
        let arena = Arena()
        guard let content = socket.message("typed_config") else { return nil }
        let wanted = UpstreamTlsContext.descriptor
        guard content.string("type_url") == wanted.typeURL, let bytes = content.bytes("value") else {
            throw BootstrapError(problem: "static cluster `\(cluster)`: its transport socket is not \(wanted.fullName)")
        }
        let context: DynamicMessage
        do throws(ProtobufError) {
            context = try arena.decode(wanted, from: bytes, types: envoyTypes)
        } catch {
            throw BootstrapError(problem: "static cluster `\(cluster)`: \(error)")
        }
        let common = context.message("common_tls_context")
        var security = Security()
        security.serverName = context.string("sni") ?? ""
        security.trusted = common?.message("validation_context")?.message("trusted_ca").flatMap(source)
        let certificate = common?.messages("tls_certificates").first
        security.certificate = certificate?.message("certificate_chain").flatMap(source)
        security.key = certificate?.message("private_key").flatMap(source)
        return security
    }

    private static func source(_ message: DynamicMessage) -> Source? {
        if message.has("filename"), let name = message.string("filename") { return .file(name) }
        if message.has("inline_string"), let text = message.string("inline_string") { return .bytes(Array(text.utf8)) }
        return message.bytes("inline_bytes").map { .bytes($0) }
    }

    private static func hostAndPort(_ address: DynamicMessage) -> (host: String, port: UInt16)? {
        guard let socket = address.message("socket_address"), let host = socket.string("address"),
            let port = socket.integer("port_value").flatMap({ UInt16(exactly: $0) })
        else { return nil }
        return (host, port)
    }
}

/// Why a bootstrap file is not usable.
public struct BootstrapError: Error, Hashable, Sendable {
    public var problem: String
}
