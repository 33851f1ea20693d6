import EnvoyAPI
import Foundation
import Identity
import Mesh
import Protobuf
import Testing
import XDS

@testable import Translation

/// The mesh of some texts.
func mesh(_ texts: String..., sourceLocation: SourceLocation = #_sourceLocation) -> Translator {
    var objects: [MeshObject] = []
    for text in texts {
        do throws(ObjectErrors) {
            objects += try ObjectText(Array(text.utf8)).objects
        } catch {
            Issue.record("refused: \(error)", sourceLocation: sourceLocation)
        }
    }
    return translator(objects)
}

func translator(_ objects: [MeshObject]) -> Translator {
    guard let domain = try? TrustDomain("cluster.local") else { preconditionFailure("the usual trust domain") }
    return Translator(MeshReader(MeshIndex(objects)), settings: TranslationSettings(trustDomain: domain))
}

/// A Service with HTTP ports.
func service(_ name: String, in namespace: String = "default", ports: [Int] = [9080], more: String = "") -> String {
    let list = ports.map { "{port: \($0), name: http-\($0)}" }.joined(separator: ", ")
    return """
        ---
        apiVersion: v1
        kind: Service
        metadata: {name: \(name), namespace: \(namespace)}
        spec: {selector: {app: \(name)}, ports: [\(list)]\(more)}

        """
}

/// An object of any kind.
func made(
    _ kind: ObjectKind, _ name: String, in namespace: String = "default", at time: Int? = nil, _ spec: String
) -> String {
    let body = spec.split(separator: "\n", omittingEmptySubsequences: false).map { "  " + $0 }.joined(separator: "\n")
    let created = time.map { ", creationTimestamp: \"2026-01-01T00:00:0\($0)Z\"" } ?? ""
    return """
        ---
        apiVersion: \(kind.apiVersion)
        kind: \(kind.name)
        metadata: {name: \(name), namespace: \(namespace)\(created)}
        spec:
        \(body)

        """
}

extension Translator {
    /// A route configuration of everything on a port, as a sidecar gets it.
    func sidecarRoutes(_ port: Int = 9080, for scope: OutboundScope = OutboundScope(namespace: "default"))
        -> XDS.Resource
    {
        let services = (mesh.objects(of: .service) + mesh.objects(of: .serviceEntry))
            .flatMap { MeshService.services(of: $0) }.sorted { $0.host < $1.host }
        let hosts = services.compactMap { virtualHost(for: $0, port: port, for: scope) }
        return routeConfiguration(
            named: ResourceNames.routes(port), port: port,
            virtualHosts: hosts + extraVirtualHosts(port: port, for: scope), for: scope)
    }

    /// The rules of a service's virtual host.
    func plan(_ host: String, _ port: Int = 9080, for scope: OutboundScope = OutboundScope(namespace: "default"))
        -> VirtualHostPlan?
    {
        mesh.services(matching: host, from: scope.namespace).first
            .flatMap { virtualHostPlan(for: $0, port: port, for: scope) }
    }
}

/// A packed resource as JSON in Envoy's own names.
struct Shown {
    let value: Any?

    init(_ resource: XDS.Resource) throws {
        let arena = Arena()
        let descriptor = try #require(envoyTypes.descriptor(typeURL: resource.type.typeURL), "\(resource.type)")
        let message = try arena.decode(descriptor, from: resource.body)
        // Previous priorities, of retries, are a type that only Envoy knows.
        let style = TextStyle(.compactJSON, fieldNames: .snakeCase, showsUnknownTypes: true)
        let text = try Protobuf.text(of: message, style, types: envoyTypes)
        value = try JSONSerialization.jsonObject(with: Data(text.utf8))
    }

    init(_ value: Any?) { self.value = value }

    /// `virtual_hosts.0.routes.1.route`
    subscript(_ path: String) -> Shown {
        path.split(separator: ".").reduce(self) { shown, step in
            guard let list = shown.value as? [Any] else { return shown.member(String(step)) }
            let index = Int(step) ?? list.count
            return Shown(index < list.count ? list[index] : nil)
        }
    }

    /// A member whose name may have dots.
    func member(_ name: String) -> Shown { Shown((value as? [String: Any])?[name]) }

    /// The virtual host of a name.
    func host(_ name: String) -> Shown {
        Shown((self["virtual_hosts"].value as? [[String: Any]])?.first { $0["name"] as? String == name })
    }

    /// Compact JSON with sorted keys; empty where there is nothing.
    var text: String {
        guard let value else { return "" }
        if let text = value as? String { return text }
        let options: JSONSerialization.WritingOptions = [.sortedKeys, .fragmentsAllowed, .withoutEscapingSlashes]
        guard let data = try? JSONSerialization.data(withJSONObject: value, options: options) else { return "?" }
        return String(decoding: data, as: UTF8.self)
    }

    var count: Int { (value as? [Any])?.count ?? 0 }
}
