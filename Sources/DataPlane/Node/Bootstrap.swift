import Discovery
import Documents
import EnvoyAPI
import Forwarding
import Protobuf
import TLS
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
        /// How the server is known, and what is shown to it; nil: plaintext.
        public var tls: UpstreamTLS?

        /// What streams are secured with; nil: nothing. Reads the files.
        /// - Throws: a ``BootstrapError``.
        public func settings() throws(BootstrapError) -> TLSSettings? {
            guard let tls else { return nil }
            do {
                return try TLSMaking.controlPlane(tls, host: host)
            } catch {
                throw BootstrapError(problem: "the TLS of the xDS server: \(error)")
            }
        }
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
        unused = Self.unused(in: whole, "")
        let fixed = whole.message("static_resources")
        for (type, field) in [(ResourceType.secret, "secrets"), (.cluster, "clusters"), (.listener, "listeners")] {
            for resource in fixed?.messages(field) ?? [] {
                resources.append((type, resource.string("name") ?? "", encode(resource)))
            }
        }
        guard let dynamic = whole.message("dynamic_resources") else { return }
        for name in ["cds_config", "lds_config"] {
            guard let source = dynamic.message(name) else { continue }
            guard source.message("ads") != nil else {
                throw BootstrapError(problem: "dynamic_resources.\(name): only `ads: {}` is taken")
            }
        }
        guard let source = dynamic.message("ads_config") else {
            throw BootstrapError(problem: "dynamic_resources.ads_config: it is missing")
        }
        control = try Self.control(source, clusters: fixed?.messages("clusters") ?? [])
        // The way to the control plane is the control loop's own.
        let name = source.messages("grpc_services").first?.message("envoy_grpc")?.string("cluster_name")
        resources.removeAll { $0.type == .cluster && $0.name == name }
        for cluster in fixed?.messages("clusters") ?? [] where cluster.string("name") == name {
            unused += Self.unused(in: cluster, "static_resources.clusters[\(name ?? "")].", Self.usedOfServer)
        }
    }

    /// What is read here, by message; what other messages say is taken as a whole.
    private static let used: [String: Set<String>] = [
        "envoy.config.bootstrap.v3.Bootstrap": ["node", "admin", "static_resources", "dynamic_resources"],
        "envoy.config.core.v3.Node": ["id", "cluster", "metadata", "locality"],
        "envoy.config.bootstrap.v3.Admin": ["address"],
        "envoy.config.bootstrap.v3.Bootstrap.StaticResources": ["secrets", "clusters", "listeners"],
        "envoy.config.bootstrap.v3.Bootstrap.DynamicResources": ["ads_config", "cds_config", "lds_config"],
        "envoy.config.core.v3.ConfigSource": ["ads", "resource_api_version"],
        "envoy.config.core.v3.ApiConfigSource": ["api_type", "transport_api_version", "grpc_services"],
        "envoy.config.core.v3.GrpcService": ["envoy_grpc", "initial_metadata"],
        "envoy.config.core.v3.GrpcService.EnvoyGrpc": ["cluster_name"],
        "envoy.config.core.v3.HeaderValue": ["key", "value"],
    ]
    /// Of the cluster that the control plane is reached by. Its protocol is HTTP/2, whatever the options say.
    private static let usedOfServer: [String: Set<String>] = [
        "envoy.config.cluster.v3.Cluster": [
            "name", "type", "load_assignment", "transport_socket", "typed_extension_protocol_options",
            "http2_protocol_options",
        ]
    ]

    /// The paths that are set and not read.
    private static func unused(
        in message: DynamicMessage, _ path: String, _ used: [String: Set<String>] = used
    ) -> [String] {
        guard let fields = used[message.descriptor.fullName] else { return [] }
        return message.descriptor.fields.filter(message.isSet).flatMap { field in
            guard fields.contains(field.name) else { return [path + field.name] }
            // Static resources are compiled, which tells by itself what is not supported.
            guard message.descriptor.fullName != "envoy.config.bootstrap.v3.Bootstrap.StaticResources" else {
                return []
            }
            return message.placedMessages(of: field).flatMap { place, value in
                unused(in: value, path + field.name + place + ".", used)
            }
        }
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
        let endpoints = (cluster.message("load_assignment")?.messages("endpoints") ?? []).flatMap {
            $0.messages("lb_endpoints")
        }
        guard let endpoint = endpoints.first?.message("endpoint")?.message("address"),
            let (host, port) = hostAndPort(endpoint), port > 0
        else {
            throw BootstrapError(problem: "static cluster `\(name)`: it has no endpoint with an address and a port")
        }
        guard endpoints.count == 1 else {
            throw BootstrapError(problem: "static cluster `\(name)`: name one endpoint; \(endpoints.count) are there")
        }
        var control = Control(host: host, port: port, isDelta: kind == 3)
        control.metadata = service.messages("initial_metadata").map {
            ($0.string("key") ?? "", $0.string("value") ?? "")
        }
        if let socket = cluster.message("transport_socket") { control.tls = try security(socket, of: name) }
        return control
    }

    /// Everything that it says, or an error: who is believed is not to be guessed.
    private static func security(_ socket: DynamicMessage, of cluster: String) throws(BootstrapError) -> UpstreamTLS? {
        let arena = Arena()
        do throws(ConfigurationError) {
            let content = socket.message("typed_config").map {
                arena.any(typeURL: $0.string("type_url") ?? "", arena.bytes($0.bytes("value") ?? []))
            }
            let rules = try TransportRules(upstream: socket.string("name") ?? "", content?.pointee)
            try TLSMaking.check(rules, UpstreamProtocol())
            guard case .tls(let tls) = rules else { return nil }
            if let secret = tls.rules.secrets.first {
                throw .unsupported(
                    path: "common_tls_context",
                    message: "the secret `\(secret)` would come by the connection that it is for; name files")
            }
            guard tls.rules.validation.checksAnything else {
                throw .invalid(path: "common_tls_context.validation_context.trusted_ca", message: "nobody is believed")
            }
            return tls
        } catch {
            throw BootstrapError(problem: "static cluster `\(cluster)`: \(error.under("transport_socket"))")
        }
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
