import EnvoyAPI
import Foundation
import Mesh
import Protobuf
import Testing
import XDS

@testable import Translation

/// A Service `web` on port 8080 and whom its sidecar stands beside.
let webService = """
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: web, namespace: shop}
    spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080, name: http}, {port: 5432, name: tcp-db}]}

    """
let web = ProxyClass(namespace: "shop", labels: ["app": "web"], serviceAccount: "web")

/// An AuthorizationPolicy in `shop` for the workloads of `web`.
func policy(_ name: String, action: String = "ALLOW", annotations: String = "", _ rules: String) -> String {
    let lines = rules.split(separator: "\n").map { "  " + $0 }.joined(separator: "\n")
    return """
        ---
        apiVersion: security.istio.io/v1
        kind: AuthorizationPolicy
        metadata: {name: \(name), namespace: shop\(annotations)}
        spec:
          selector: {matchLabels: {app: web}}
          action: \(action)
        \(lines)

        """
}

func meshConfig(_ spec: String) -> String {
    "---\napiVersion: martinet.dev/v1\nkind: MeshConfig\nmetadata: {name: default}\nspec: {\(spec)}\n"
}

extension Translator {
    /// What stands before the router of `web`'s HTTP port, filter by filter.
    func httpFilters(of proxy: ProxyClass = web) throws -> [Shown] {
        try shown(httpPolicyFilters(of: proxy, port: 8080))
    }

    func networkFilters(of proxy: ProxyClass = web) throws -> [Shown] {
        try shown(networkPolicyFilters(of: proxy, port: 5432))
    }

    /// The rules of an RBAC filter for HTTP by name.
    func http(_ filter: String) throws -> Shown {
        let name = "envoy.filters.http.rbac.\(filter)"
        return try #require(try httpFilters().first { $0["name"].text == name }, "no \(name)")["typed_config.rules"]
    }

    func network(_ filter: String) throws -> Shown {
        let name = "envoy.filters.network.rbac.\(filter)"
        return try #require(try networkFilters().first { $0["name"].text == name }, "no \(name)")["typed_config.rules"]
    }

    private func shown<M: ProtobufMessage>(_ filters: [UnsafeMutablePointer<M>]) throws -> [Shown] {
        try filters.map { filter in
            let style = TextStyle(.compactJSON, fieldNames: .snakeCase)
            let text = try Protobuf.text(of: DynamicMessage(filter), style, types: envoyTypes)
            return Shown(try JSONSerialization.jsonObject(with: Data(text.utf8)))
        }
    }
}

extension Shown {
    /// The one policy of RBAC rules.
    func policy(_ name: String) -> Shown { self["policies"].member(name) }
    /// What a policy asks of who calls, and of what is called.
    var principal: Shown { self["principals.0"] }
    var permission: Shown { self["permissions.0"] }
}

extension EnvoyPeer {
    /// Fails the test unless Envoy takes a proxy's own listeners and clusters.
    static func expectAccepted(
        inbound translator: Translator, of proxy: ProxyClass = web, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let resources = SectionMaker.inbound(translator, proxy)
        try expectAcceptedAsTheyAre(resources, sourceLocation: sourceLocation)
    }

    /// Fails the test unless Envoy takes a bootstrap with these listeners and clusters.
    static func expectAcceptedAsTheyAre(
        _ resources: [XDS.Resource], sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        func texts(_ type: ResourceType) throws -> String {
            try resources.filter { $0.type == type }.map { try Shown($0).text }.joined(separator: ",\n")
        }
        let control = """
            {"name": "xds", "type": "STATIC", "connect_timeout": "1s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}}}},
            "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [{"endpoint":
            {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 15010}}}}]}]}}
            """
        let clusters = try texts(.cluster)
        let bootstrap = """
            {"node": {"id": "test", "cluster": "test"},
            "dynamic_resources": {"ads_config": {"api_type": "GRPC", "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]}},
            "static_resources": {"clusters": [\(control)\(clusters.isEmpty ? "" : ",")\(clusters)],
            "listeners": [\(try texts(.listener))]}}
            """
        let directory = NSTemporaryDirectory() + "/policies-" + UUID().uuidString.prefix(8)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try bootstrap.write(toFile: directory + "/envoy.json", atomically: true, encoding: .utf8)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: try binary())
        process.arguments = [
            "--mode", "validate", "-c", directory + "/envoy.json", "--log-level", "error", "--base-id-path",
            directory + "/id",
        ]
        let pipe = Pipe()
        (process.standardOutput, process.standardError) = (pipe, pipe)
        try process.run()
        let words = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0, "\(words.suffix(3_000))", sourceLocation: sourceLocation)
    }
}
