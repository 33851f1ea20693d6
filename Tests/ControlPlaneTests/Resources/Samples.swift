import Foundation
import Protobuf
import XDS

@testable import ControlPlane

/// Raw resources as users write them.
enum Sample {
    static let types = "type.googleapis.com/envoy.config."
    static let ads = "{ resource_api_version: V3, ads: {} }"

    static func cluster(_ name: String, service: String? = nil, timeout: String = "1s") -> String {
        """
          - "@type": \(types)cluster.v3.Cluster
            name: \(name)
            type: EDS
            connect_timeout: \(timeout)
            eds_cluster_config: { eds_config: \(ads)\(service.map { ", service_name: \($0)" } ?? "") }

        """
    }

    static func staticCluster(_ name: String, timeout: String = "1s") -> String {
        """
          - "@type": \(types)cluster.v3.Cluster
            name: \(name)
            connect_timeout: \(timeout)

        """
    }

    static func endpoints(_ name: String, port: Int = 80) -> String {
        """
          - "@type": \(types)endpoint.v3.ClusterLoadAssignment
            cluster_name: \(name)
            endpoints:
              - lb_endpoints:
                  - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: \(port) } } }

        """
    }

    static func routes(_ name: String, to clusters: [String]) -> String {
        let routes = clusters.enumerated().map {
            "          - { match: { prefix: \"/\($0)\" }, route: { cluster: \"\($1)\" } }\n"
        }
        return """
              - "@type": \(types)route.v3.RouteConfiguration
                name: \(name)
                virtual_hosts:
                  - name: all
                    domains: ["*"]
                    routes:

            """ + routes.joined()
    }

    static func listener(_ name: String, routes: String) -> String {
        """
          - "@type": \(types)listener.v3.Listener
            name: \(name)
            address: { socket_address: { address: 127.0.0.1, port_value: 8080 } }
            filter_chains:
              - filters:
                  - name: envoy.filters.network.http_connection_manager
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                      stat_prefix: \(name)
                      rds: { route_config_name: \(routes), config_source: \(ads) }

        """
    }

    static func document(_ resources: String..., version: String? = nil) -> String {
        (version.map { "version_info: \($0)\n" } ?? "")
            + (resources.isEmpty ? "" : "resources:\n" + resources.joined())
    }

    static func file(
        _ path: String, _ scope: Scope = .all, _ resources: String..., version: String? = nil
    ) throws -> ParsedFile {
        let text =
            (version.map { "version_info: \($0)\n" } ?? "")
            + (resources.isEmpty ? "" : "resources:\n" + resources.joined())
        return try ParsedFile(Array(text.utf8), path: path, scope: scope)
    }

    /// Resources as the control service gets them.
    static func packed(_ resources: String...) throws -> [ApplyRequest.PackedResource] {
        let file = try ParsedFile(Array(("resources:\n" + resources.joined()).utf8), path: "sample.yaml", scope: .all)
        return file.resources.map {
            ApplyRequest.PackedResource(typeURL: $0.resource.type.typeURL, bytes: $0.resource.body)
        }
    }

    static func application(
        _ scope: Scope = .all, _ resources: String..., label: String? = nil, replacesAll: Bool = false,
        removing: [ResourceReference] = []
    ) throws -> Application {
        let file = try ParsedFile(Array(("resources:\n" + resources.joined()).utf8), path: "sample.yaml", scope: .all)
        var application = try Application(
            ApplyRequest(
                scope: scope.text,
                resources: file.resources.map {
                    ApplyRequest.PackedResource(typeURL: $0.resource.type.typeURL, bytes: $0.resource.body)
                }, replacesAll: replacesAll, version: label ?? ""))
        application.removing = removing
        return application
    }
}

/// What is wrong with a text, in words.
func problems(_ text: String, path: String = "a.yaml", limits: ResourceLimits = .standard) -> String {
    do throws(ResourceProblems) {
        _ = try ParsedFile(Array(text.utf8), path: path, scope: .all, limits: limits)
        return ""
    } catch {
        return error.description
    }
}

extension ResourceCatalog {
    /// `a.yaml:3: CDS "x": …`, one a line.
    var findingTexts: [String] { findings.map(\.description) }

    /// `CDS web`, sorted, of one scope.
    func keys(_ scope: Scope = .all) -> [String] {
        resources(scope: scope).map { "\($0.resource.type) \($0.resource.name)" }
    }
}

extension CatalogChange {
    /// `+CDS web`, `~EDS web node-id=x`, `-RDS old`; what stays is left out.
    var words: [String] {
        entries.compactMap { entry in
            let scope = entry.place.scope == .all ? "" : " \(entry.place.scope)"
            let name = "\(entry.place.key.type) \(entry.place.key.name)\(scope)"
            switch entry.kind {
            case .unchanged: return nil
            case .added: return "+" + name
            case .changed: return "~" + name
            case .removed: return "-" + name
            }
        }
    }
}

/// A seeded generator: splitmix64.
struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
