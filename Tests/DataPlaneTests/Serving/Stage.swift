import EnvoyAPI
import Forwarding
import Protobuf
import Reactor
import TLS
import Testing
import Time

@testable import DataPlane

/// Resources in YAML, as Envoy's users write them, compiled.
enum Resources {
    static func bytes(_ type: String, _ yaml: String) throws -> [UInt8] {
        let arena = Arena()
        return encode(try arena.decodeYAML(try #require(envoyTypes[type]), yaml, types: envoyTypes))
    }

    static func indented(_ text: String, by count: Int) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false)
            .joined(separator: "\n" + String(repeating: " ", count: count))
    }

    static func listener(_ yaml: String) throws -> ServedListener {
        let configuration = try ListenerConfiguration(bytes("envoy.config.listener.v3.Listener", yaml))
        return ServedListener(name: configuration.name, configuration: configuration)
    }

    /// A listener on any port whose one chain is a connection manager.
    /// - Parameters:
    ///   - routes: entries of `routes` of one virtual host.
    ///   - manager: further fields of the manager.
    ///   - filters: entries of `http_filters` before the router.
    static func httpListener(
        _ name: String = "http", routes: String, host: String = "", manager: String = "", filters: String = "",
        extra: String = ""
    ) throws -> ServedListener {
        try listener(
            httpListenerYAML(name, routes: routes, host: host, manager: manager, filters: filters, extra: extra))
    }

    static func httpListenerYAML(
        _ name: String = "http", routes: String, host: String = "", manager: String = "", filters: String = "",
        extra: String = ""
    ) -> String {
        """
        name: \(name)
        address: {socket_address: {address: 127.0.0.1, port_value: 0}}
        \(extra)
        filter_chains:
        - filters:
          - name: hcm
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
              stat_prefix: test
              \(indented(manager, by: 6))
              route_config:
                name: local
                virtual_hosts:
                - name: all
                  domains: ["*"]
                  \(indented(host, by: 10))
                  routes:
                  \(indented(routes, by: 10))
              http_filters:
              \(indented(filters, by: 6))
              - name: router
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
        """
    }

    static func tcpListener(_ name: String = "tcp", cluster: String, tcp: String = "", extra: String = "") throws
        -> ServedListener
    {
        try listener(
            """
            name: \(name)
            address: {socket_address: {address: 127.0.0.1, port_value: 0}}
            \(extra)
            filter_chains:
            - filters:
              - name: tcp
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
                  stat_prefix: test
                  cluster: \(cluster)
                  \(indented(tcp, by: 6))
            """)
    }

    /// A cluster of fixed hosts on this machine.
    static func cluster(
        _ name: String, ports: [UInt16], _ fields: String = "", security: TransportSecurity = .plaintext
    ) throws -> ServedCluster {
        let endpoints = ports.map {
            "- endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: \($0)}}}"
        }.joined(separator: "\n")
        let yaml = """
            name: \(name)
            type: STATIC
            connect_timeout: 2s
            \(fields)
            load_assignment:
              cluster_name: \(name)
              endpoints:
              - lb_endpoints: \(ports.isEmpty ? "[]" : "")
                \(indented(endpoints, by: 4))
            """
        let configuration = try ClusterConfiguration(bytes("envoy.config.cluster.v3.Cluster", yaml))
        return ServedCluster(name: name, configuration: configuration, endpoints: nil, security: [security])
    }

    static let http2 = """
        typed_extension_protocol_options:
          envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
            "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
            explicit_http_config: {http2_protocol_options: {}}
        """
}

/// Workers that serve what a test says.
final class Stage {
    let workers: Workers
    private(set) var configuration = ProxyConfiguration()
    /// Servers that live as long as the stage.
    var upstreams: [TestServer] = []

    init(_ listeners: [ServedListener], _ clusters: [ServedCluster], options: Workers.Options = Workers.Options())
        throws
    {
        workers = try Workers(options)
        serve(listeners, clusters)
    }

    func serve(_ listeners: [ServedListener], _ clusters: [ServedCluster], routes: [String: RouteTable] = [:]) {
        configuration = ProxyConfiguration(
            listeners: Dictionary(uniqueKeysWithValues: listeners.map { ($0.name, $0) }), routes: routes,
            clusters: Dictionary(uniqueKeysWithValues: clusters.map { ($0.name, $0) }))
        let failures = workers.serve(configuration)
        #expect(failures.isEmpty, "\(failures)")
    }

    func port(_ name: String = "http") -> UInt16 { workers.addresses[name]?.port ?? 0 }

    func connect(_ name: String = "http") -> Wire { Wire(to: port(name)) }

    /// One request on a connection of its own.
    func get(_ path: String, _ fields: [String] = [], on name: String = "http") -> Message? {
        let wire = connect(name)
        wire.send("GET \(path) HTTP/1.1\r\nhost: shop\r\n" + fields.map { $0 + "\r\n" }.joined() + "\r\n")
        return wire.message()
    }
}
