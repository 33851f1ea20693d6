import Identity
import Mesh
import Testing
import XDS

@testable import Translation

/// A mesh in which everything about one service can be asked.
struct ClusterRig {
    let index: MeshIndex
    let translator: Translator

    init(_ yaml: String, connected: [Workload] = []) throws {
        index = try meshIndex(yaml).applying(connected.map { .connect($0) })
        translator = Translator(
            MeshReader(index), settings: TranslationSettings(trustDomain: try TrustDomain("cluster.local")))
    }

    func service(_ host: String, _ scope: OutboundScope) throws -> MeshService {
        try #require(translator.service(host, in: scope.namespace, for: scope), "no service \(host)")
    }

    func clusters(_ host: String, _ scope: OutboundScope = OutboundScope(namespace: "default")) throws
        -> [XDS.Resource]
    {
        translator.outboundClusters(of: try service(host, scope), for: scope)
    }

    /// One cluster, which Envoy takes.
    func cluster(_ name: String, _ scope: OutboundScope = OutboundScope(namespace: "default")) throws -> Tree {
        let host = String(name.split(separator: "|").last ?? "")
        let resource = try #require(clusters(host, scope).first { $0.name == name }, "no cluster \(name)")
        try EnvoyValidation.expectValid([resource])
        return try resource.tree
    }

    func assignments(_ host: String, _ scope: OutboundScope = OutboundScope(namespace: "default")) throws
        -> [XDS.Resource]
    {
        translator.endpoints(of: try service(host, scope), for: scope)
    }

    func assignment(_ name: String, _ scope: OutboundScope = OutboundScope(namespace: "default")) throws -> Tree {
        let host = String(name.split(separator: "|").last ?? "")
        let resource = try #require(assignments(host, scope).first { $0.name == name }, "no endpoints \(name)")
        try EnvoyValidation.expectValid([resource])
        return try resource.tree
    }

    /// `PRIORITY REGION/ZONE WEIGHT: ADDRESS:PORT[+istio]…` for each locality.
    func endpoints(_ name: String, _ scope: OutboundScope = OutboundScope(namespace: "default")) throws -> [String] {
        try assignment(name, scope)["endpoints"].list.map { group in
            let place = [group["locality"]["region"].text, group["locality"]["zone"].text].compactMap { $0 }
            let members = group["lb_endpoints"].list.map { endpoint -> String in
                let address = endpoint["endpoint"]["address"]["socket_address"]
                let mode = endpoint["metadata"]["filter_metadata"]["envoy.transport_socket_match"]["tlsMode"].text
                return "\(address["address"].text ?? "?"):\(Int(address["port_value"].number ?? 0))"
                    + (mode.map { "+\($0)" } ?? "")
                    + (endpoint["health_status"].text.map { " \($0)" } ?? "")
            }
            return "\(Int(group["priority"].number ?? 0)) \(place.joined(separator: "/")) "
                + "\(Int(group["load_balancing_weight"].number ?? 0)): \(members.joined(separator: ", "))"
        }
    }

    static func workload(
        _ name: String, _ address: String, labels: [String: String], account: String = "default",
        ports: [Kubernetes.ContainerPort] = [], locality: String? = nil
    ) -> Workload {
        Workload(
            id: .init(namespace: "default", name: name), labels: labels, serviceAccount: account, ports: ports,
            addresses: [address], locality: locality)
    }

    static func rule(_ spec: String, host: String = "reviews", name: String = "rule") -> String {
        let body = spec.split(separator: "\n", omittingEmptySubsequences: false).map { "  " + $0 }
        return """
            ---
            apiVersion: networking.istio.io/v1
            kind: DestinationRule
            metadata: {name: \(name), namespace: default}
            spec:
              host: \(host)
            \(body.joined(separator: "\n"))

            """
    }

    static let reviews = """
        apiVersion: v1
        kind: Service
        metadata: {name: reviews, namespace: default}
        spec:
          selector: {app: reviews}
          ports: [{port: 9080, name: http, targetPort: 8080}]

        """
    static let reviewsCluster = "outbound|9080||reviews.default.svc.cluster.local"
}
