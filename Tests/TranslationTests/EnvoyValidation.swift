import EnvoyAPI
import Foundation
import Mesh
import Protobuf
import Testing
import Translation
import XDS

/// Reads a resource as text, and asks a real Envoy whether it would take it.
enum EnvoyValidation {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path

    private static func binary() throws -> String {
        let libraries = root + "/.build/venv/lib"
        let places = try FileManager.default.contentsOfDirectory(atPath: libraries).map {
            libraries + "/\($0)/site-packages/envoy/_bin/envoy"
        }
        return try #require(
            places.first(where: FileManager.default.isExecutableFile), "no Envoy under \(libraries): run `make setup`")
    }

    /// Fails the test, with Envoy's words, unless Envoy takes a bootstrap with these resources: clusters and listeners
    /// as they are, endpoints as clusters of their own, route configurations inside a listener.
    static func expectValid(
        _ resources: [XDS.Resource], sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let words = try refusal(of: resources)
        #expect(words == nil, "\(words ?? "")", sourceLocation: sourceLocation)
    }

    /// What Envoy says against them; nil: nothing.
    static func refusal(of resources: [XDS.Resource]) throws -> String? {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("envoy-\(UUID().uuidString).json").path
        try bootstrap(resources).write(toFile: path, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: try binary())
        process.arguments = ["--mode", "validate", "-c", path, "--log-level", "warning", "--concurrency", "1"]
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return process.terminationStatus == 0 ? nil : String(output.suffix(4_000))
    }

    private static func bootstrap(_ resources: [XDS.Resource]) throws -> String {
        func texts(_ type: ResourceType) throws -> [String] {
            try resources.filter { $0.type == type }.map { try $0.json }
        }
        let control = """
            {"name": "xds-of-the-test", "type": "STATIC", "connect_timeout": "1s",
             "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
               "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
               "explicit_http_config": {"http2_protocol_options": {}}}},
             "load_assignment": {"cluster_name": "xds-of-the-test", "endpoints": [{"lb_endpoints": [{"endpoint":
               {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 15010}}}}]}]}}
            """
        let endpoints = try texts(.endpoints).enumerated().map { index, text in
            """
            {"name": "endpoints-\(index)", "type": "STATIC", "connect_timeout": "1s", "load_assignment": \(text)}
            """
        }
        let routes = try texts(.route).enumerated().map { index, text in
            """
            {"name": "routes-\(index)",
             "address": {"socket_address": {"address": "127.0.0.1", "port_value": \(20_000 + index)}},
             "filter_chains": [{"filters": [{"name": "http", "typed_config": {
               "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.\
            HttpConnectionManager",
               "stat_prefix": "routes", "route_config": \(text),
               "http_filters": [{"name": "router", "typed_config": {
                 "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}
            """
        }
        let clusters = try [control] + texts(.cluster) + endpoints
        let listeners = try texts(.listener) + routes
        return """
            {"node": {"id": "test", "cluster": "test"},
             "dynamic_resources": {"ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3",
               "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-of-the-test"}}]}},
             "static_resources": {"clusters": [\(clusters.joined(separator: ",\n"))],
               "listeners": [\(listeners.joined(separator: ",\n"))]}}
            """
    }
}

extension XDS.Resource {
    /// The message as JSON, fields in snake case.
    var json: String {
        get throws {
            let registered = try #require(envoyTypes.descriptor(typeURL: type.typeURL), "\(type)")
            let arena = Arena()
            return try text(of: arena.decode(registered, from: body), TextStyle(.json), types: envoyTypes)
        }
    }

    /// The message as a tree of dictionaries and lists.
    var tree: Tree {
        get throws { Tree(try JSONSerialization.jsonObject(with: Data(try json.utf8))) }
    }
}

/// A path into JSON that ends nowhere instead of failing: `tree["circuit_breakers"]["thresholds"][0].text`.
struct Tree: CustomStringConvertible {
    var value: Any?

    init(_ value: Any?) { self.value = value }

    subscript(name: String) -> Tree { Tree((value as? [String: Any])?[name]) }
    subscript(index: Int) -> Tree {
        let list = value as? [Any] ?? []
        return Tree(list.indices.contains(index) ? list[index] : nil)
    }
    var isThere: Bool { value != nil }
    var count: Int { (value as? [Any])?.count ?? (value as? [String: Any])?.count ?? 0 }
    var list: [Tree] { (value as? [Any] ?? []).map { Tree($0) } }
    var text: String? { value as? String }
    var number: Double? { (value as? NSNumber)?.doubleValue }
    var bool: Bool? { value as? Bool }
    var description: String { value.map { "\($0)" } ?? "nothing" }
}

/// The mesh of a YAML text; what is refused fails the test.
func meshIndex(_ text: String) throws -> MeshIndex {
    MeshIndex(try ObjectText(Array(text.utf8)).objects)
}
