import Mesh
import Testing

@testable import Translation

struct VirtualServiceTests {
    private let v1 = "outbound|9080|v1|reviews.default.svc.cluster.local"
    private let v2 = "outbound|9080|v2|reviews.default.svc.cluster.local"

    @Test func aServiceThatNobodyRoutesIsReachedUnderEveryNameOfIt() throws {
        let mesh = mesh(service("reviews", more: ", clusterIP: 10.0.0.7"), service("ratings", in: "other"))
        let shown = try Shown(mesh.sidecarRoutes())
        let reviews = shown.host("reviews.default.svc.cluster.local:9080")
        #expect(
            reviews["domains"].text
                == #"["reviews.default.svc.cluster.local","reviews.default","reviews.default.svc","reviews","10.0.0.7"]"#
        )
        #expect(
            shown.host("ratings.other.svc.cluster.local:9080")["domains"].text
                == #"["ratings.other.svc.cluster.local","ratings.other","ratings.other.svc"]"#)
        let route = reviews["routes.0"]
        #expect(route["route.cluster"].text == "outbound|9080||reviews.default.svc.cluster.local")
        #expect(route["route.timeout"].text == "0s")
        #expect(route["route.retry_policy.retry_on"].text == "connect-failure,refused-stream,unavailable,cancelled")
        #expect(route["route.retry_policy.num_retries"].text == "2")
        #expect(shown["virtual_hosts.2.name"].text == "allow_any")
        #expect(shown["virtual_hosts.2.routes.0.route.cluster"].text == "PassthroughCluster")
        #expect(shown["ignore_port_in_host_matching"].text == "true")
        try EnvoyPeer.expectAccepted([mesh.sidecarRoutes()])
    }

    @Test func weightsNeedNotSumToAHundredAndNothingTakesNothing() throws {
        let mesh = mesh(
            service("reviews"),
            made(
                .virtualService, "reviews",
                """
                hosts: [reviews]
                http:
                - route:
                  - {destination: {host: reviews, subset: v1}, weight: 3}
                  - {destination: {host: reviews, subset: v2}, weight: 1, headers: {request: {set: {x-v: "2"}}}}
                  - {destination: {host: reviews, subset: v3}, weight: 0}
                """))
        let clusters = try Shown(mesh.sidecarRoutes()).host("reviews.default.svc.cluster.local:9080")[
            "routes.0.route.weighted_clusters.clusters"]
        #expect(clusters.count == 2)
        #expect(clusters["0.name"].text == v1 && clusters["0.weight"].text == "3")
        #expect(clusters["1.name"].text == v2 && clusters["1.request_headers_to_add.0.header.key"].text == "x-v")
        try EnvoyPeer.expectAccepted([mesh.sidecarRoutes()])
    }

    @Test func everyFieldOfARouteReachesEnvoy() throws {
        let mesh = mesh(
            service("reviews"), service("ratings", ports: [80, 81]),
            made(
                .virtualService, "all",
                """
                hosts: [reviews]
                http:
                - name: first
                  match:
                  - name: a
                    uri: {prefix: /a}
                    ignoreUriCase: true
                    scheme: {exact: http}
                    method: {exact: GET}
                    authority: {prefix: rev}
                    headers: {end-user: {exact: jason}, x-any: {}}
                    withoutHeaders: {x-not: {regex: "b.*"}, x-gone: {}}
                    queryParams: {q: {exact: "1"}}
                    statPrefix: stats
                  rewrite: {uri: /b, authority: other.example.com}
                  timeout: 3s
                  retries:
                    {attempts: 5, perTryTimeout: 2s, retryOn: "5xx,503,reset", retryRemoteLocalities: true, backoff: 50ms}
                  fault: {delay: {fixedDelay: 2s, percentage: {value: 12.5}}, abort: {grpcStatus: UNAVAILABLE, percentage: {value: 10}}}
                  mirrors: [{destination: {host: ratings, port: {number: 81}}, percentage: {value: 25}}]
                  corsPolicy:
                    {allowOrigins: [{exact: "https://a"}, {regex: ".*b"}], allowMethods: [GET, PUT], allowHeaders: [x], exposeHeaders: [y],
                     maxAge: 24h, allowCredentials: true, unmatchedPreflights: IGNORE}
                  headers: {request: {set: {b: "1", a: "2"}, add: {c: "3"}, remove: [d]}, response: {remove: [server]}}
                  route: [{destination: {host: ratings, port: {number: 80}}, headers: {response: {add: {z: "9"}}}}]
                - match: [{uri: {exact: /old}}]
                  redirect: {uri: /new, authority: x.example.com, redirectCode: 308, port: 8443, scheme: https}
                - match: [{uri: {regex: "/teapot/.*"}}]
                  directResponse: {status: 418, body: {string: short and stout}}
                - rewrite: {uriRegexRewrite: {match: "^/v([0-9])/(.*)", rewrite: '/\\2/\\1'}}
                  retries: {attempts: 0}
                  route: [{destination: {host: reviews}}]
                """))
        let shown = try Shown(mesh.sidecarRoutes()).host("reviews.default.svc.cluster.local:9080")["routes"]
        #expect(shown.count == 4)
        let first = shown["0"]
        #expect(first["name"].text == "first.a" && first["stat_prefix"].text == "stats")
        #expect(first["match.prefix"].text == "/a" && first["match.case_sensitive"].text == "false")
        #expect(
            first["match.headers"].text
                == #"[{"name":"end-user","string_match":{"exact":"jason"}},{"name":"x-any","present_match":true},"#
                + #"{"invert_match":true,"name":"x-gone","present_match":true},"#
                + #"{"invert_match":true,"name":"x-not","string_match":{"safe_regex":{"regex":"b.*"}},"#
                + #""treat_missing_header_as_empty":true},{"name":":method","string_match":{"exact":"GET"}},"#
                + #"{"name":":authority","string_match":{"prefix":"rev"}},"#
                + #"{"name":":scheme","string_match":{"exact":"http"}}]"#)
        #expect(first["match.query_parameters"].text == #"[{"name":"q","string_match":{"exact":"1"}}]"#)
        let action = first["route"]
        #expect(action["cluster"].text == "outbound|80||ratings.default.svc.cluster.local")
        #expect(action["prefix_rewrite"].text == "/b" && action["host_rewrite_literal"].text == "other.example.com")
        #expect(action["timeout"].text == "3s" && action["max_grpc_timeout"].text == "3s")
        let retry = action["retry_policy"]
        #expect(retry["retry_on"].text == "5xx,reset,retriable-status-codes")
        #expect(retry["retriable_status_codes"].text == "[503]" && retry["num_retries"].text == "5")
        #expect(retry["per_try_timeout"].text == "2s" && retry["retry_back_off.base_interval"].text == "0.050s")
        #expect(retry["retry_priority.name"].text == "envoy.retry_priorities.previous_priorities")
        #expect(
            action["request_mirror_policies"].text
                == #"[{"cluster":"outbound|81||ratings.default.svc.cluster.local","#
                + #""runtime_fraction":{"default_value":{"numerator":25}}}]"#)
        #expect(
            first["request_headers_to_add"].text
                == #"[{"append_action":"OVERWRITE_IF_EXISTS_OR_ADD","header":{"key":"a","value":"2"}},"#
                + #"{"append_action":"OVERWRITE_IF_EXISTS_OR_ADD","header":{"key":"b","value":"1"}},"#
                + #"{"header":{"key":"c","value":"3"}}]"#)
        #expect(first["request_headers_to_remove"].text == #"["d"]"#)
        #expect(first["response_headers_to_add.0.header.key"].text == "z")
        let fault = first["typed_per_filter_config"].member("envoy.filters.http.fault")
        #expect(fault["delay.percentage"].text == #"{"denominator":"MILLION","numerator":125000}"#)
        #expect(fault["abort.grpc_status"].text == "14")
        let cors = first["typed_per_filter_config"].member("envoy.filters.http.cors")
        #expect(cors["allow_methods"].text == "GET,PUT" && cors["max_age"].text == "86400")
        #expect(cors["forward_not_matching_preflights"].text == "false")
        #expect(
            shown["1.redirect"].text
                == #"{"host_redirect":"x.example.com","path_redirect":"/new","port_redirect":8443,"#
                + #""response_code":"PERMANENT_REDIRECT","scheme_redirect":"https"}"#)
        #expect(shown["2.direct_response.status"].text == "418")
        #expect(shown["3.route.regex_rewrite.substitution"].text == #"/\2/\1"#)
        #expect(shown["3.route.retry_policy"].text == "")
        #expect(shown["3.name"].text == "default/all[3]")
        #expect(
            shown["3.metadata.filter_metadata.martinet"].text
                == #"{"object":"VirtualService default/all","rule":"spec.http[3]"}"#)
        try EnvoyPeer.expectAccepted([mesh.sidecarRoutes()])
    }

    @Test func whatIsNotForTheCallerIsNotThere() throws {
        let mesh = mesh(
            service("reviews"),
            made(
                .virtualService, "reviews",
                """
                hosts: [reviews]
                gateways: [mesh, front]
                http:
                - match: [{sourceLabels: {app: web}}]
                  route: [{destination: {host: reviews, subset: web}}]
                - match: [{sourceNamespace: shop}]
                  route: [{destination: {host: reviews, subset: shop}}]
                - match: [{port: 9999}, {gateways: [front]}]
                  route: [{destination: {host: reviews, subset: never}}]
                - match: [{uri: {prefix: /}}]
                  route: [{destination: {host: reviews, subset: all}}]
                - route: [{destination: {host: reviews, subset: shadowed}}]
                """))
        func subsets(_ scope: OutboundScope) throws -> [String] {
            try #require(mesh.plan("reviews.default.svc.cluster.local", for: scope)).rules.map { rule in
                guard case .forward(let forwarding) = rule.action else { return "" }
                return forwarding.targets[0].subset
            }
        }
        #expect(try subsets(OutboundScope(namespace: "default")) == ["all"])
        #expect(try subsets(OutboundScope(namespace: "default", labels: ["app": "web"])) == ["web"])
        #expect(try subsets(OutboundScope(namespace: "shop")) == ["shop"])
    }

    @Test func theOlderOfTwoThatClaimAHostRoutesItInSidecars() throws {
        func claim(_ name: String, _ time: Int) -> String {
            made(
                .virtualService, name, at: time,
                "hosts: [reviews]\nhttp: [{route: [{destination: {host: reviews, subset: \(name)}}]}]")
        }
        let mesh = mesh(service("reviews"), claim("a", 5), claim("b", 3))
        #expect(mesh.plan("reviews.default.svc.cluster.local")?.rules.map(\.origin?.object.name) == ["b"])
    }

    @Test func aDelegateRoutesWhatBothAsk() throws {
        let mesh = mesh(
            service("web"), service("cart", in: "shop", ports: [80]),
            made(
                .virtualService, "web",
                """
                hosts: [web]
                http:
                - name: root
                  match: [{uri: {prefix: /cart}, headers: {x: {exact: "1"}}}]
                  delegate: {name: cart, namespace: shop}
                  timeout: 5s
                - match: [{uri: {prefix: /lost}}]
                  delegate: {name: lost}
                - route: [{destination: {host: web}}]
                """),
            made(
                .virtualService, "cart", in: "shop",
                """
                http:
                - name: items
                  match: [{uri: {prefix: /cart/items}}, {uri: {prefix: /other}}]
                  route: [{destination: {host: cart}}]
                - route: [{destination: {host: cart}}]
                  timeout: 1s
                """))
        let plan = try #require(mesh.plan("web.default.svc.cluster.local"))
        #expect(plan.rules.map(\.name) == ["root-items", "root", "default/web[2]"])
        #expect(plan.rules.map(\.match.path) == [.prefix("/cart/items"), .prefix("/cart"), .prefix("/")])
        #expect(plan.rules.map(\.timeout) == [.seconds(5), .seconds(1), nil])
        #expect(plan.rules[0].match.headers == [.init("x", .exact("1"))])
        #expect(plan.rules[1].origin == .init(ObjectKey(.virtualService, "shop", "cart"), "spec.http[1]"))
        guard case .forward(let forwarding) = plan.rules[0].action else {
            Issue.record("no way forward")
            return
        }
        #expect(forwarding.targets.map(\.cluster) == ["outbound|80||cart.shop.svc.cluster.local"])
    }

    @Test func hostsThatNoServiceHasAreRoutedAndOthersAreRefusedIfAsked() throws {
        let mesh = mesh(
            service("reviews"),
            made(
                .virtualService, "old",
                "hosts: [old.example.com, reviews]\nhttp: [{route: [{destination: {host: reviews}}]}]"),
            "---\n{apiVersion: martinet.dev/v1, kind: MeshConfig, metadata: {name: default}, spec: {outboundTrafficPolicy: REGISTRY_ONLY}}"
        )
        let shown = try Shown(mesh.sidecarRoutes())
        #expect(
            shown.host("old.example.com:9080")["routes.0.route.cluster"].text
                == "outbound|9080||reviews.default.svc.cluster.local")
        #expect(shown.host("block_all")["routes.0.direct_response.status"].text == "502")
        #expect(shown["virtual_hosts"].count == 3)
        try EnvoyPeer.expectAccepted([mesh.sidecarRoutes()])
    }

    @Test func aNameThatTwoHaveStaysWithTheOneWhoseOwnItIs() throws {
        func entry(_ name: String, _ host: String, _ address: String) -> String {
            made(
                .serviceEntry, name,
                "hosts: [\(host)]\naddresses: [\(address)]\nports: [{number: 9080, name: http, protocol: HTTP}]\nresolution: DNS"
            )
        }
        let mesh = mesh(
            service("b", in: "a"), entry("one", "b.a", "240.0.0.1"), entry("two", "z.example.com", "240.0.0.1"))
        let shown = try Shown(mesh.sidecarRoutes())
        #expect(
            shown.host("b.a.svc.cluster.local:9080")["domains"].text == #"["b.a.svc.cluster.local","b.a.svc"]"#)
        #expect(shown.host("b.a:9080")["domains"].text == #"["b.a","240.0.0.1"]"#)
        #expect(shown.host("z.example.com:9080")["domains"].text == #"["z.example.com"]"#)
        try EnvoyPeer.expectAccepted([mesh.sidecarRoutes()])
    }

    @Test func aDestinationRuleBindsRequestsByTheirHash() throws {
        let mesh = mesh(
            service("reviews"),
            made(
                .destinationRule, "reviews",
                """
                host: reviews
                trafficPolicy:
                  loadBalancer: {consistentHash: {httpCookie: {name: user, path: /p, ttl: 60s}}}
                subsets:
                - {name: v1, labels: {v: "1"}, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}
                """),
            made(
                .virtualService, "reviews",
                """
                hosts: [reviews]
                http:
                - match: [{uri: {prefix: /v1}}]
                  route: [{destination: {host: reviews, subset: v1}}]
                - route: [{destination: {host: reviews}}]
                """))
        let routes = try Shown(mesh.sidecarRoutes()).host("reviews.default.svc.cluster.local:9080")["routes"]
        #expect(routes["0.route.hash_policy"].text == #"[{"header":{"header_name":"x-user"}}]"#)
        #expect(routes["1.route.hash_policy"].text == #"[{"cookie":{"name":"user","path":"/p","ttl":"60s"}}]"#)
        #expect(routes["0.route.retry_policy.retry_host_predicate"].text == "")
        try EnvoyPeer.expectAccepted([mesh.sidecarRoutes()])
    }

    @Test func aClientWithoutAProxyGetsWhatItsLibraryKnows() throws {
        let mesh = mesh(service("reviews"))
        let shown = try Shown(mesh.sidecarRoutes(for: OutboundScope(namespace: "default", kind: .proxyless)))
        #expect(shown["virtual_hosts"].count == 1)
        #expect(shown["virtual_hosts.0.domains"].text.contains(#""reviews.default.svc.cluster.local:9080""#))
        #expect(shown["ignore_port_in_host_matching"].text == "")
        #expect(shown["virtual_hosts.0.routes.0.route.max_stream_duration.max_stream_duration"].text == "0s")
    }
}
