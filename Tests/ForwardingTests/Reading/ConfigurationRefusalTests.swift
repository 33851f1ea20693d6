import EnvoyAPI
import Protobuf
import Testing

@testable import Forwarding

/// What is refused, with the words that the control plane gets: the place in the resource, the problem, the mend.
struct ConfigurationRefusalTests {
    /// A route configuration with one route, and the start of what is said against it.
    private static let routes: [(route: String, words: String)] = [
        (
            "{match: {prefix: /}, route: {cluster: c, rate_limits: [{stage: 1}]}}",
            "virtual_hosts[0].routes[0].route.rate_limits: the field of envoy.config.route.v3.RouteAction is not supported"
        ),
        (
            "{match: {prefix: /}, route: {cluster: c, hedge_policy: {initial_requests: 2}}}",
            "virtual_hosts[0].routes[0].route.hedge_policy.initial_requests: the field of envoy.config.route.v3.HedgePolicy is"
        ),
        (
            "{match: {prefix: /}, route: {cluster: c, internal_redirect_action: HANDLE_INTERNAL_REDIRECT}}",
            "virtual_hosts[0].routes[0].route.internal_redirect_action: the field of envoy.config.route.v3.RouteAction"
        ),
        (
            "{match: {prefix: /}, route: {cluster: c, internal_redirect_policy: {redirect_response_codes: [200]}}}",
            "virtual_hosts[0].routes[0].route.internal_redirect_policy.redirect_response_codes[0]: 200 is no redirect"
        ),
        (
            """
            {match: {connect_matcher: {}}, route: {cluster: c, upgrade_configs: [
              {upgrade_type: CONNECT, connect_config: {proxy_protocol_config: {version: V2}}}]}}
            """,
            "virtual_hosts[0].routes[0].route.upgrade_configs[0].connect_config.proxy_protocol_config: the field of"
        ),
        (
            "{match: {prefix: /}, route: {cluster: c, upgrade_configs: [{upgrade_type: websocket, connect_config: {}}]}}",
            "virtual_hosts[0].routes[0].route.upgrade_configs[0].connect_config: `websocket` is not CONNECT"
        ),
        (
            "{match: {prefix: /, filter_state: [{key: k, string_match: {exact: a}}]}, route: {cluster: c}}",
            "virtual_hosts[0].routes[0].match.filter_state: the field of envoy.config.route.v3.RouteMatch is not"
        ),
        (
            "{match: {safe_regex: {regex: 'a('}}, route: {cluster: c}}",
            "virtual_hosts[0].routes[0].match.safe_regex.regex: `a(` is no regular expression (RE2)"
        ),
        (
            "{match: {prefix: /, headers: [{name: a}, {name: x, range_match: {start: 3, end: 1}}]}, route: {cluster: c}}",
            "virtual_hosts[0].routes[0].match.headers[1].range_match: the end is before the start"
        ),
        (
            "{match: {path_separated_prefix: /a/}, route: {cluster: c}}",
            "virtual_hosts[0].routes[0].match.path_separated"
        ),
        ("{match: {}, route: {cluster: c}}", "virtual_hosts[0].routes[0].match: no path is asked for"),
        ("{match: {prefix: /}}", "virtual_hosts[0].routes[0]: a route without an action"),
        ("{match: {prefix: /}, route: {}}", "virtual_hosts[0].routes[0].route: no cluster is given"),
        (
            "{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: c, weight: 0}]}}}",
            "virtual_hosts[0].routes[0].route.weighted_clusters: the weights sum up to 0"
        ),
        (
            "{match: {prefix: /}, route: {cluster: c, prefix_rewrite: /a, regex_rewrite: {pattern: {regex: a}}}}",
            "virtual_hosts[0].routes[0].route: only one of prefix_rewrite, regex_rewrite"
        ),
        (
            "{match: {prefix: /}, route: {cluster: c, regex_rewrite: {pattern: {regex: a}, substitution: '\\1'}}}",
            "virtual_hosts[0].routes[0].route.regex_rewrite.substitution: `\\1` asks for a group that is not there"
        ),
        (
            "{match: {prefix: /}, route: {cluster: c, retry_policy: {retry_on: '5xx,sometimes'}}}",
            "virtual_hosts[0].routes[0].route.retry_policy.retry_on: `sometimes` is no condition that is known"
        ),
        (
            "{match: {prefix: /}, route: {cluster: c, retry_policy: {retry_host_predicate: [{name: who}]}}}",
            "virtual_hosts[0].routes[0].route.retry_policy.retry_host_predicate[0].name: `who` is not known"
        ),
        (
            "{match: {prefix: /}, route: {cluster: c, hash_policy: [{filter_state: {key: k}}]}}",
            "virtual_hosts[0].routes[0].route.hash_policy[0].filter_state: the field of"
        ),
        (
            "{match: {prefix: /}, route: {cluster: c, timeout: -1s}}",
            "virtual_hosts[0].routes[0].route.timeout: -1 s and 0 ns are no duration here"
        ),
        (
            "{match: {prefix: /}, direct_response: {status: 99}}",
            "virtual_hosts[0].routes[0].direct_response.status: 99 is no status to answer with"
        ),
        (
            "{match: {prefix: /}, direct_response: {status: 200, body: {filename: /etc/motd}}}",
            "virtual_hosts[0].routes[0].direct_response.body.filename: `/etc/motd` is not read here"
        ),
        (
            "{match: {prefix: /}, redirect: {port_redirect: 70000}}",
            "virtual_hosts[0].routes[0].redirect.port_redirect: 70000 is no port"
        ),
        (
            "{match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: ':path', value: a}}]}",
            "virtual_hosts[0].routes[0].request_headers_to_add[0].header.key: `:path` cannot be changed so"
        ),
        (
            "{match: {prefix: /}, route: {cluster: c}, response_headers_to_remove: [ok, Host]}",
            "virtual_hosts[0].routes[0].response_headers_to_remove[1]: `Host` cannot be changed so"
        ),
        (
            "{match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: a, value: '%NO_SUCH%'}}]}",
            "virtual_hosts[0].routes[0].request_headers_to_add[0].header.value: the command %NO_SUCH% of"
        ),
        (
            "{match: {prefix: /}, filter_action: {}}",
            "virtual_hosts[0].routes[0].filter_action: the field of envoy.config.route.v3.Route is not supported"
        ),
        (
            #"{match: {prefix: /}, route: {cluster: c, prefix_rewrite: "/a\r\nx: 1"}}"#,
            "virtual_hosts[0].routes[0].route.prefix_rewrite: a control character cannot be in a header"
        ),
        (
            #"{match: {prefix: /}, route: {cluster: c, host_rewrite_literal: "a\nb"}}"#,
            "virtual_hosts[0].routes[0].route.host_rewrite_literal: a control character cannot be in a header"
        ),
        (
            #"{match: {prefix: /}, redirect: {host_redirect: "a\x01"}}"#,
            "virtual_hosts[0].routes[0].redirect.host_redirect: a control character cannot be in a header"
        ),
        (
            #"{match: {prefix: /}, redirect: {path_redirect: "/\x7F"}}"#,
            "virtual_hosts[0].routes[0].redirect.path_redirect: a control character cannot be in a header"
        ),
        (
            #"{match: {prefix: /}, route: {cluster: c, regex_rewrite: {pattern: {regex: a}, substitution: "\n"}}}"#,
            "virtual_hosts[0].routes[0].route.regex_rewrite.substitution: a control character cannot be in a header"
        ),
        (
            #"{match: {prefix: /}, route: {cluster: c, hash_policy: [{cookie: {name: "a;b", ttl: 1s}}]}}"#,
            "virtual_hosts[0].routes[0].route.hash_policy[0].cookie.name: `a;b` is no cookie"
        ),
        (
            #"{match: {prefix: /}, route: {cluster: c, hash_policy: [{cookie: {name: a, path: "/\r\n", ttl: 1s}}]}}"#,
            "virtual_hosts[0].routes[0].route.hash_policy[0].cookie: path and attributes are text"
        ),
        (
            #"{match: {prefix: /}, route: {cluster: c, retry_policy: {retry_priority: {name: envoy.retry_priorities.previous_priorities, typed_config: {"@type": type.googleapis.com/google.protobuf.Duration, value: 1s}}}}}"#,
            "virtual_hosts[0].routes[0].route.retry_policy.retry_priority.typed_config: `google.protobuf.Duration` is no"
        ),
    ]

    @Test(arguments: 0..<35)
    func aRouteIsRefusedWithItsPlaceAndTheMend(number: Int) throws {
        #expect(Self.routes.count == 35)
        let (route, words) = Self.routes[number]
        let error = #expect(throws: ConfigurationError.self) {
            try RouteTable(yaml: "{virtual_hosts: [{name: h, domains: ['*'], routes: [\(route)]}]}")
        }
        let text = "\(try #require(error))"
        #expect(text.hasPrefix(words), "\(text)")
        #expect(text.hasSuffix(")") && !(error?.hint ?? "").isEmpty)
    }

    @Test func domainsAndTablesAreRefusedWithTheirPlace() {
        func words(_ yaml: String) -> String {
            do {
                _ = try RouteTable(yaml: yaml)
                return "taken"
            } catch {
                return "\(error)"
            }
        }
        #expect(
            words("{virtual_hosts: [{name: a, domains: ['*']}, {name: b, domains: [x, '*']}]}")
                == "virtual_hosts[1].domains[1]: the domain `*` is there twice (correct the value)")
        #expect(
            words("{virtual_hosts: [{name: a, domains: [A.x, a.X]}]}")
                == "virtual_hosts[0].domains[1]: the domain `a.X` is there twice (correct the value)")
        #expect(
            words("{vhds: {config_source: {ads: {}}}}").hasPrefix(
                "vhds: the field of envoy.config.route.v3.RouteConfiguration is not supported"))
        #expect(words("{virtual_hosts: [{name: a}]}").hasPrefix("virtual_hosts[0].domains: a virtual host without"))
    }

    @Test func whatTheDecoderOrTheTypeDoesNotKnowIsRefused() throws {
        #expect(throws: ConfigurationError.self) { try RouteTable([0xFF, 0xFF]) }
        // Field 1000 of a RouteConfiguration: a varint.
        let error = #expect(throws: ConfigurationError.self) { try RouteTable([0xC0, 0x3E, 0x01]) }
        #expect("\(try #require(error))".hasPrefix("1 fields that envoy.config.route.v3.RouteConfiguration does not"))
    }

    @Test func valuesOfEnumerationsAndContentsOfAnyAreLookedInto() throws {
        let arena = Arena()
        let table = SupportedFields([
            "envoy.config.core.v3.TypedExtensionConfig": "name typed_config",
            "envoy.config.core.v3.SocketAddress": "address protocol=TCP",
        ])
        func words(_ yaml: String) throws -> String? {
            let message = try arena.decodeYAML(TypedExtensionConfig.self, yaml, types: envoyTypes)
            do {
                try FieldAudit.check(DynamicMessage(message), table)
                return nil
            } catch {
                return "\(error)"
            }
        }
        let type = "'@type': type.googleapis.com/envoy.config.core.v3.SocketAddress"
        #expect(try words("{name: a, typed_config: {\(type), address: 10.0.0.1}}") == nil)
        #expect(
            try words("{name: a, typed_config: {\(type), protocol: UDP}}")?.hasPrefix(
                "typed_config.protocol: `UDP` is not supported, only TCP") == true)
        #expect(
            try words("{name: a, typed_config: {\(type), port_value: 5}}")?.hasPrefix(
                "typed_config.port_value: the field of envoy.config.core.v3.SocketAddress") == true)
        let unknown = arena.make(TypedExtensionConfig.self) {
            $0.typed_config = arena.any(typeURL: "a/b.C", arena.bytes([]))
        }
        let error = #expect(throws: ConfigurationError.self) { try FieldAudit.check(DynamicMessage(unknown), table) }
        #expect("\(try #require(error))".hasPrefix("typed_config: the type `a/b.C` is not known"))
    }
}
