import EnvoyAPI
import Protobuf
import Testing
import XDS

@testable import ControlPlane

private struct RuleCase: CustomTestStringConvertible, Sendable {
    var message: String
    var rule: FieldRule
    var testDescription: String { "\(message) \(rule.field)" }
}

private let ruleCases = fieldRulesByName.sorted { $0.key < $1.key }.flatMap { name, rules in
    rules.map { RuleCase(message: name, rule: $0) }
}

private func decoded(_ name: String, _ yaml: String, _ arena: Arena) throws -> DynamicMessage {
    try arena.decodeYAML(try #require(envoyTypes[name]), yaml, types: envoyTypes)
}

@Test(arguments: ruleCases)
private func everyRuleNamesRealFieldsAndFires(_ each: RuleCase) throws {
    let arena = Arena()
    let descriptor = try #require(envoyTypes[each.message])
    let names: [String]
    let bad: String
    switch each.rule.demand {
    case .present, .nonEmpty:
        (names, bad) = ([each.rule.field], "{}")
    case .oneOf(let fields): (names, bad) = (fields, "{}")
    case .within(let range):
        // What is just below or just above, where 32 bits hold it.
        let number = range.lowerBound > 0 ? range.lowerBound - 1 : range.upperBound + 1
        (names, bad) = ([each.rule.field], "{ \(each.rule.field): \(number) }")
    case .positive: (names, bad) = ([each.rule.field], "{ \(each.rule.field): 0s }")
    }
    for name in names { #expect(descriptor.field(named: name) != nil, "\(each.message) has no field \(name)") }
    #expect(each.rule.breach(in: try decoded(each.message, bad, arena)) != nil)
}

@Test func whatIsRightBreaksNoRule() throws {
    let text = Sample.document(
        Sample.cluster("web"), Sample.endpoints("web"), Sample.routes("web", to: ["web"]),
        Sample.listener("web", routes: "web"))
    #expect(problems(text) == "")
}

@Test func aNameWithItsAuthorityNeedsNoSource() {
    let name = "xdstp://here/envoy.config.route.v3.RouteConfiguration/web"
    let listener = Sample.listener("web", routes: "\"\(name)\"").replacing(", config_source: \(Sample.ads)", with: "")
    #expect(problems(Sample.document(listener)) == "")
    let cluster = Sample.cluster("web").replacing("eds_config: \(Sample.ads)", with: "service_name: xdstp://here/x/web")
    #expect(problems(Sample.document(cluster)) == "")
}

@Test func whatEnvoyTakesIsTaken() {
    // Envoy 1.40 does not look at the load assignment of an EDS cluster, nor for names of virtual hosts given twice.
    #expect(problems(Sample.document(Sample.cluster("web") + "    load_assignment: { cluster_name: web }\n")) == "")
    let twice = Sample.routes("web", to: ["a"]) + "      - { name: all, domains: [b] }\n"
    #expect(problems(Sample.document(twice)) == "")
}

/// Mistakes that take more than one field, or stand for a common one.
private let mistakes: [(name: String, resource: String, told: String)] = [
    (
        "EDS from nowhere",
        Sample.cluster("web").replacing("eds_cluster_config: { eds_config: \(Sample.ads) }", with: "lb_policy: RANDOM"),
        "resources[0].eds_cluster_config: a cluster of type EDS does not say where its endpoints come from"
    ),
    (
        "a listener without an address",
        Sample.listener("web", routes: "web").replacing(
            "    address: { socket_address: { address: 127.0.0.1, port_value: 8080 } }\n", with: ""),
        "resources[0].address: a listener without an address"
    ),
    (
        "a listener without chains",
        """
          - "@type": \(Sample.types)listener.v3.Listener
            name: web
            address: { socket_address: { address: 127.0.0.1, port_value: 8080 } }

        """,
        "resources[0].filter_chains: a listener without filter chains"
    ),
    (
        "weights that add up to nothing",
        Sample.routes("web", to: ["a"]).replacing(
            "cluster: \"a\"", with: "weighted_clusters: { clusters: [{ name: a, weight: 0 }] }"),
        "resources[0].virtual_hosts[0].routes[0].route.weighted_clusters.clusters: the weights add up to 0"
    ),
    (
        "weights past 32 bits",
        Sample.routes("web", to: ["a"]).replacing(
            "cluster: \"a\"",
            with: "weighted_clusters: { clusters: [{ name: a, weight: 4294967295 }, { name: b, weight: 1 }] }"),
        "resources[0].virtual_hosts[0].routes[0].route.weighted_clusters.clusters: the weights add up to more than"
    ),
    (
        "a weighted cluster without a name",
        Sample.routes("web", to: ["a"]).replacing(
            "cluster: \"a\"", with: "weighted_clusters: { clusters: [{ weight: 1 }] }"),
        "route.weighted_clusters.clusters[0].name: a weighted cluster needs either a name or a cluster_header"
    ),
    (
        "a route to nowhere", Sample.routes("web", to: [""]),
        "resources[0].virtual_hosts[0].routes[0].route.cluster: must not be empty"
    ),
    (
        "a domain twice",
        Sample.routes("web", to: ["a"]).replacing("[\"*\"]", with: "[a.example, A.example]"),
        "resources[0].virtual_hosts[0].domains: the domain \"A.example\" is that of virtual_hosts[0] too"
    ),
    (
        "routes from nowhere",
        Sample.listener("web", routes: "web").replacing(", config_source: \(Sample.ads)", with: ""),
        "typed_config.rds.config_source: is required"
    ),
    (
        "no time to connect", Sample.cluster("web", timeout: "0s"),
        "resources[0].connect_timeout: must be longer than 0s"
    ),
    (
        "a secret over SDS without a name",
        Sample.cluster("web") + """
                transport_socket:
                  name: tls
                  typed_config:
                    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
                    common_tls_context:
                      tls_certificate_sds_secret_configs: [ { sds_config: \(Sample.ads) } ]

            """,
        "typed_config.common_tls_context.tls_certificate_sds_secret_configs[0].name: must not be empty"
    ),
]

@Test(arguments: mistakes.indices)
func aMistakeThatEnvoyWouldRefuseIsRefusedBefore(_ index: Int) {
    let mistake = mistakes[index]
    #expect(problems("resources:\n" + mistake.resource).contains(mistake.told), "\(mistake.name)")
}
