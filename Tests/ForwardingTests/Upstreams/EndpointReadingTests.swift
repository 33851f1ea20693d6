import Addresses
import EnvoyAPI
import Testing

@testable import Forwarding

struct EndpointReadingTests {
    @Test func endpointsAreReadWhole() throws {
        let set = try endpointsOf(
            """
            cluster_name: web
            policy: { overprovisioning_factor: 200, weighted_priority_health: true }
            endpoints:
            - locality: { region: r, zone: z }
              load_balancing_weight: 3
              priority: 1
              metadata: { filter_metadata: { envoy.transport_socket_match: { a: b } } }
              lb_endpoints:
              - endpoint:
                  address: { socket_address: { address: "::1", port_value: 80 } }
                  hostname: one
                  additional_addresses: [{ address: { socket_address: { address: 10.0.0.1, port_value: 80 } } }]
                  health_check_config: { port_value: 8080, hostname: check }
                health_status: DEGRADED
                load_balancing_weight: 4
                metadata: { filter_metadata: { envoy.lb: { version: "1" } } }
            - locality: { region: r, zone: z }
              load_balancing_weight: 5
              priority: 1
              lb_endpoints: [{ endpoint: { address: { pipe: { path: /run/web } } } }]
            """)
        #expect(set.overprovisioning == 200 && set.countsWeights)
        #expect(set.levels.map(\.count) == [0, 1])
        let group = set.levels[1][0]
        #expect(group.weight == 5 && group.locality == EndpointLocality(region: "r", zone: "z"))
        let first = group.endpoints[0]
        #expect(first.place == .address(.ip(IPAddress("::1")!, port: 80)))
        #expect(first.otherAddresses == [.ip(IPAddress("10.0.0.1")!, port: 80)])
        #expect(first.weight == 4 && first.state == .degraded && first.hostname == "one")
        #expect(first.checkPort == 8080 && first.checkHostname == "check")
        #expect(first.localityMetadata["envoy.transport_socket_match"]?.value("a") == "b")
        #expect(group.endpoints[1].place == .address(.pipe("/run/web")))
    }

    @Test(arguments: [
        ("endpoints: [{ priority: 128 }]", "endpoints[0].priority: 128 where the last is 127"),
        ("endpoints: [{ lb_endpoints: [{}] }]", "endpoints[0].lb_endpoints[0].endpoint: missing"),
        (
            "endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: x, port_value: 1 } } } }] }]",
            "endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: `x` is no IP address"
        ),
        (
            "endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 10.0.0.1, "
                + "port_value: 70000 } } } }] }]",
            "endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value: a port"
        ),
        (
            "endpoints: [{ lb_endpoints: [{ load_balancing_weight: 0, endpoint: { address: { pipe: { path: x } } } }] }]",
            "endpoints[0].lb_endpoints[0].load_balancing_weight: must be 1 or more"
        ),
        ("policy: { endpoint_stale_after: 5s }", "policy.endpoint_stale_after: the field of"),
        ("named_endpoints: { a: {} }", "named_endpoints: the field of"),
        ("endpoints: [{ proximity: 1 }]", "endpoints[0].proximity: the field of"),
    ])
    func whatIsWrongWithEndpointsIsNamedWithItsPlace(_ fields: String, _ expected: String) {
        do {
            _ = try endpointsOf("cluster_name: web\n" + fields)
            Issue.record("accepted")
        } catch {
            #expect("\(error)".hasPrefix(expected), "\(error)")
        }
    }
}
