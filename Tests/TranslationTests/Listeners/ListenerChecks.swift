import EnvoyAPI
import Foundation
import Identity
import Mesh
import Protobuf
import Testing
import XDS

@testable import Translation

/// A mesh of some objects, and one proxy of it.
struct ListenerCase {
    var translator: Translator
    var proxy: ProxyClass

    init(_ yaml: String, _ proxy: ProxyClass = ProxyClass(namespace: "default", labels: ["app": "web"])) throws {
        let objects = try ObjectText(Array(yaml.utf8)).objects
        translator = Translator(
            MeshReader(MeshIndex(objects)), settings: TranslationSettings(trustDomain: try TrustDomain("cluster.local"))
        )
        self.proxy = proxy
    }

    var scope: OutboundScope {
        OutboundScope(
            namespace: proxy.namespace, kind: proxy.kind, sidecar: translator.sidecar(for: proxy)?.key,
            labels: proxy.labels)
    }

    var services: [MeshService] { translator.visibleServices(for: scope) }

    var outbound: [XDS.Resource] { translator.outboundListeners(for: proxy, scope: scope, services: services) }
    var inbound: [XDS.Resource] { translator.inboundListeners(of: proxy) }
    var gateway: [XDS.Resource] { translator.gatewayListeners(of: proxy) }
    var plan: [OutboundListener] { translator.outboundPlan(for: proxy, scope: scope, services: services) }

    /// Everything that listeners may name.
    var clusters: [XDS.Resource] {
        translator.commonClusters() + services.flatMap { translator.outboundClusters(of: $0, for: scope) }
            + (proxy.kind == .sidecar ? translator.inboundClusters(of: proxy) : [])
    }

    static func explicit(_ labels: [String: String] = ["app": "web"]) -> ProxyClass {
        ProxyClass(
            namespace: "default", labels: labels,
            interception: .explicit(.init(inbound: "127.3.0.1", outbound: "127.3.0.2")))
    }

    static func gateway(_ labels: [String: String] = ["istio": "ingressgateway"]) -> ProxyClass {
        ProxyClass(.gateway, namespace: "default", labels: labels)
    }
}

/// A message as its JSON, asked by a path: `filter_chains.0.filters.0.name`.
struct Read {
    var value: Any?

    init(_ value: Any?) { self.value = value }

    init(_ resource: XDS.Resource) throws {
        let name = String(resource.type.typeURL.split(separator: "/").last ?? "")
        let descriptor = try #require(envoyTypes[name])
        let arena = Arena()
        let message = try arena.decode(descriptor, from: resource.body, limits: .standard)
        let text = try Protobuf.text(
            of: message, TextStyle(.compactJSON, showsUnknownTypes: true), types: envoyTypes)
        value = Self.withFilters(try JSONSerialization.jsonObject(with: Data(text.utf8)))
    }

    /// Filters of logs, which are of a type that is not in the registry, as their type has them.
    private static func withFilters(_ value: Any) -> Any {
        if let list = value as? [Any] { return list.map { withFilters($0) } }
        guard let fields = value as? [String: Any] else { return value }
        guard let type = fields["@type"] as? String, type.hasSuffix(".cel.v3.ExpressionFilter"),
            let bytes = (fields["value"] as? String).flatMap({ Data(base64Encoded: $0) })
        else { return fields.mapValues { withFilters($0) } }
        // One field of under 128 bytes: its tag, its length, its text.
        return ["@type": type, "expression": String(decoding: bytes.dropFirst(2), as: UTF8.self)]
    }

    subscript(path: String) -> Read {
        var found = value
        for step in path.split(separator: ".") {
            if let index = Int(step), let list = found as? [Any] {
                found = list.indices.contains(index) ? list[index] : nil
            } else {
                found = (found as? [String: Any])?[String(step)]
            }
        }
        return Read(found)
    }

    var text: String? { value as? String }
    var number: Double? { (value as? NSNumber)?.doubleValue }
    var flag: Bool? { (value as? NSNumber)?.boolValue }
    var list: [Read] { (value as? [Any] ?? []).map { Read($0) } }
    var texts: [String] { value as? [String] ?? [] }
    var isThere: Bool { value != nil }

    /// Chains as a line each: what they ask for, whether they end TLS, and what they do.
    var chains: [String] {
        (self["filter_chains"].list + (self["default_filter_chain"].isThere ? [self["default_filter_chain"]] : []))
            .map(\.chain)
    }

    private var chain: String {
        let match = self["filter_chain_match"]
        var parts: [String] = []
        if let port = match["destination_port"].number { parts.append("port \(Int(port))") }
        parts += match["prefix_ranges"].list.map { $0["address_prefix"].text ?? "" }
        parts += match["server_names"].texts
        if let transport = match["transport_protocol"].text { parts.append(transport) }
        if let first = match["application_protocols"].texts.first { parts.append("alpn \(first)…") }
        let filters = self["filters"].list.map { filter -> String in
            let config = filter["typed_config"]
            if let cluster = config["cluster"].text { return "tcp \(cluster)" }
            if config["weighted_clusters"].isThere {
                return "tcp "
                    + config["weighted_clusters.clusters"].list.map {
                        "\($0["name"].text ?? "") \(Int($0["weight"].number ?? 0))"
                    }.joined(separator: ", ")
            }
            if let routes = config["rds.route_config_name"].text { return "http \(routes)" }
            if let routes = config["route_config.name"].text { return "http \(routes)" }
            return filter["name"].text ?? ""
        }
        let tls = self["transport_socket"].isThere ? " TLS" : ""
        return (parts.isEmpty ? "any" : parts.joined(separator: " ")) + tls + " → "
            + filters.joined(separator: ", ")
    }
}

extension [XDS.Resource] {
    func named(_ name: String, sourceLocation: SourceLocation = #_sourceLocation) throws -> Read {
        let found = try #require(
            first { $0.name == name }, "only \(map(\.name))", sourceLocation: sourceLocation)
        return try Read(found)
    }
}

/// Whether a real Envoy takes them: everything else that they need is over ADS.
func expectEnvoyTakes(_ resources: [XDS.Resource], sourceLocation: SourceLocation = #_sourceLocation) throws {
    func all(_ type: ResourceType) throws -> [Any] {
        try resources.filter { $0.type == type }.compactMap { try Read($0).value }
    }
    var clusters = try all(.cluster)
    clusters.append(
        [
            "name": "martinet", "type": "STATIC", "connect_timeout": "1s",
            "load_assignment": ["cluster_name": "martinet"],
            "typed_extension_protocol_options": [
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": [
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": ["http2_protocol_options": [:] as [String: Any]],
                ] as [String: Any]
            ],
        ] as [String: Any])
    let bootstrap: [String: Any] = [
        "node": ["id": "test", "cluster": "test"],
        "dynamic_resources": [
            "ads_config": [
                "api_type": "DELTA_GRPC", "transport_api_version": "V3",
                "grpc_services": [["envoy_grpc": ["cluster_name": "martinet"]]],
            ] as [String: Any]
        ],
        "static_resources": ["clusters": clusters, "listeners": try all(.listener)],
    ]
    let directory = FileManager.default.temporaryDirectory.path + "/listeners-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let path = directory + "/envoy.json"
    try JSONSerialization.data(withJSONObject: bootstrap, options: [.sortedKeys]).write(to: URL(fileURLWithPath: path))
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().path
    let process = Process()
    process.executableURL = URL(fileURLWithPath: root + "/.build/venv/bin/envoy")
    process.arguments = [
        "--mode", "validate", "-c", path, "--log-level", "error", "--base-id-path", directory + "/id",
    ]
    let log = directory + "/log"
    try Data().write(to: URL(fileURLWithPath: log))
    process.standardOutput = FileHandle(forWritingAtPath: log)
    process.standardError = process.standardOutput
    process.standardInput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    let words = try String(contentsOfFile: log, encoding: .utf8)
    #expect(process.terminationStatus == 0, "\(words)", sourceLocation: sourceLocation)
}
