import Mesh
import Testing

@testable import Translation

struct GatewayAPITests {
    private let gatewayProxy = ProxyClass(
        .gateway, namespace: "front", labels: ["gateway.networking.k8s.io/gateway-name": "shop"])

    private func gateway(_ listeners: String) -> String {
        made(.kubernetesGateway, "shop", in: "front", "gatewayClassName: martinet\nlisteners:\n" + listeners)
    }

    private func clusters(_ plan: VirtualHostPlan?) -> [String] {
        (plan?.rules ?? []).map { rule in
            switch rule.action {
            case .forward(let forwarding): forwarding.targets.map(\.cluster).joined(separator: " ")
            case .redirect: "redirect"
            case .respond(let status, _): "\(status)"
            }
        }
    }

    @Test func theMoreSpecificMatchComesFirstWhicheverRouteHasIt() throws {
        let mesh = mesh(
            gateway("- {name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}"),
            service("a", ports: [1]), service("b", ports: [1]),
            made(
                .httpRoute, "new", at: 2,
                """
                parentRefs: [{name: shop, namespace: front}]
                hostnames: [shop.example.com]
                rules:
                - matches: [{path: {type: Exact, value: /exact}}, {path: {value: /long/path}}]
                  backendRefs: [{name: b, port: 1}]
                - matches: [{path: {value: /a}, headers: [{name: X, value: "1"}]}]
                  backendRefs: [{name: b, port: 1}]
                """),
            made(
                .httpRoute, "old", at: 1,
                """
                parentRefs: [{name: shop, namespace: front}]
                hostnames: [shop.example.com]
                rules:
                - matches: [{path: {value: /a}}, {path: {value: /a}, method: GET}, {path: {value: /exact/}}, {path: {type: RegularExpression, value: "/r.*"}}]
                  backendRefs: [{name: a, port: 1}]
                """))
        let hosts = mesh.gatewayVirtualHosts(named: "http.80", of: gatewayProxy)
        #expect(hosts.map(\.domains) == [["shop.example.com"]])
        #expect(
            hosts[0].rules.map(\.match.path) == [
                .exact("/exact"), .separatedPrefix("/long/path"), .separatedPrefix("/exact"), .separatedPrefix("/a"),
                .separatedPrefix("/a"), .separatedPrefix("/a"), .regex("/r.*"),
            ])
        #expect(
            hosts[0].rules.compactMap(\.origin).map { "\($0.object.name) \($0.path)" }[3...5] == [
                "old spec.rules[0].matches[1]", "new spec.rules[1].matches[0]", "old spec.rules[0].matches[0]",
            ])
        try EnvoyPeer.expectAccepted(mesh.gatewayRouteConfigurations(of: gatewayProxy))
    }

    @Test func aBackendThatIsNoneFailsForItsShareOnly() throws {
        let mesh = mesh(
            service("a", ports: [1]), service("hidden", in: "other", ports: [1]),
            service("open", in: "granting", ports: [1]),
            made(
                .referenceGrant, "grant", in: "granting",
                "from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]\nto: [{group: \"\", kind: Service}]"
            ),
            made(
                .httpRoute, "mixed",
                """
                parentRefs: [{kind: Service, group: "", name: a}]
                rules:
                - matches: [{path: {value: /share}}]
                  backendRefs: [{name: a, port: 1, weight: 9}, {name: gone, port: 1}]
                - matches: [{path: {value: /hidden}}]
                  backendRefs: [{name: hidden, namespace: other, port: 1}]
                - matches: [{path: {value: /granted}}]
                  backendRefs: [{name: open, namespace: granting, port: 1}]
                - matches: [{path: {value: /zero}}]
                  backendRefs: [{name: a, port: 1, weight: 0}]
                - matches: [{path: {value: /none}}]
                - matches: [{path: {value: /ext}}]
                  filters: [{type: ExtensionRef, extensionRef: {group: x.example.com, kind: Filter, name: f}}]
                  backendRefs: [{name: a, port: 1}]
                """))
        let plan = mesh.plan("a.default.svc.cluster.local", 1)
        let byPath = Dictionary(
            uniqueKeysWithValues: zip((plan?.rules ?? []).map(\.match.path.words), clusters(plan)))
        #expect(
            byPath == [
                "/share/*": "outbound|1||a.default.svc.cluster.local InvalidBackend", "/hidden/*": "500",
                "/granted/*": "outbound|1||open.granting.svc.cluster.local", "/zero/*": "500", "/none/*": "500",
                "/ext/*": "500",
            ])
        let routes = mesh.sidecarRoutes(1)
        let shown = try Shown(routes).host("a.default.svc.cluster.local:1")["routes"]
        #expect(
            (0..<shown.count).map { shown["\($0).route.cluster_not_found_response_code"].text }.filter { !$0.isEmpty }
                == ["INTERNAL_SERVER_ERROR"])
        try EnvoyPeer.expectAccepted([routes])
    }

    @Test func aConsumersRouteComesBeforeTheProducers() {
        func route(_ namespace: String) -> String {
            made(
                .httpRoute, "r", in: namespace,
                """
                parentRefs: [{kind: Service, group: "", name: a, namespace: default, port: 1}]
                rules: [{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x, value: \(namespace)}]}}],
                         backendRefs: [{kind: Hostname, group: networking.istio.io, name: a.default.svc.cluster.local, port: 1}]}]
                """)
        }
        let mesh = mesh(service("a", ports: [1, 2]), route("default"), route("client"), route("stranger"))
        func header(_ namespace: String, _ port: Int = 1) -> String? {
            mesh.plan("a.default.svc.cluster.local", port, for: OutboundScope(namespace: namespace))?.rules.first?
                .requestHeaders.set.first?.value
        }
        #expect(header("default") == "default")
        #expect(header("client") == "client")
        #expect(header("other") == "default")
        #expect(header("default", 2) == nil)
    }

    @Test func pathsAreRewrittenAndRedirectedWhole() throws {
        let mesh = mesh(
            service("a", ports: [1]),
            made(
                .httpRoute, "r",
                """
                parentRefs: [{kind: Service, group: "", name: a}]
                rules:
                - matches: [{path: {value: /one}}]
                  filters: [{type: URLRewrite, urlRewrite: {hostname: h.example.com, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
                  backendRefs: [{name: a, port: 1}]
                - matches: [{path: {value: /two}}]
                  filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /full}}}]
                  backendRefs: [{name: a, port: 1}]
                - matches: [{path: {value: /three}}]
                  filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301, path: {type: ReplacePrefixMatch, replacePrefixMatch: /x/}}}]
                - matches: [{path: {value: /four}}]
                  filters:
                  - {type: CORS, cors: {allowOrigins: ["https://*.example.com"], allowMethods: [GET], maxAge: 10}}
                  - {type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}, percent: 42}}
                  - {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [server]}}
                  timeouts: {request: 10s, backendRequest: 2s}
                  backendRefs: [{name: a, port: 1, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: y, value: z}]}}]}]
                - backendRefs: [{name: a, port: 1}]
                  filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /deep}}}]
                """))
        let routes = mesh.sidecarRoutes(1)
        let shown = try Shown(routes).host("a.default.svc.cluster.local:1")["routes"]
        func route(_ prefix: String) -> Shown {
            (0..<shown.count).map { shown["\($0)"] }.first {
                $0["match.path_separated_prefix"].text == prefix || $0["match.prefix"].text == prefix
            } ?? shown["99"]
        }
        #expect(route("/one")["route.regex_rewrite.pattern.regex"].text == "^/one/?(.*)")
        #expect(route("/one")["route.host_rewrite_literal"].text == "h.example.com")
        #expect(route("/two")["route.regex_rewrite.substitution"].text == "/full")
        #expect(route("/three")["redirect"].text == #"{"prefix_rewrite":"/x","scheme_redirect":"https"}"#)
        let four = route("/four")
        #expect(four["route.timeout"].text == "10s" && four["route.retry_policy.per_try_timeout"].text == "2s")
        #expect(four["request_headers_to_add.0.header.key"].text == "y")
        #expect(four["route.request_mirror_policies.0.runtime_fraction.default_value.numerator"].text == "42")
        #expect(
            four["typed_per_filter_config"].member("envoy.filters.http.cors")["allow_origin_string_match"].text
                == #"[{"safe_regex":{"regex":"https://.*\\.example\\.com"}}]"#)
        #expect(route("/")["route.regex_rewrite"].text == #"{"pattern":{"regex":"^/(.*)"},"substitution":"/deep/\\1"}"#)
        try EnvoyPeer.expectAccepted([routes])
    }

    @Test func gRPCRoutesMatchServicesAndMethods() throws {
        let mesh = mesh(
            service("a", ports: [1]),
            made(
                .grpcRoute, "r",
                """
                parentRefs: [{kind: Service, group: "", name: a}]
                rules:
                - matches:
                  - {method: {service: shop.Cart, method: Add}}
                  - {method: {service: shop.Cart}}
                  - {method: {method: Get}}
                  - {method: {type: RegularExpression, service: "shop[.].*", method: "List.*"}, headers: [{name: x, value: y}]}
                  backendRefs: [{name: a, port: 1}]
                """))
        #expect(
            mesh.plan("a.default.svc.cluster.local", 1)?.rules.map(\.match.path) == [
                .exact("/shop.Cart/Add"), .separatedPrefix("/shop.Cart"), .regex("/(?:shop[.].*)/(?:List.*)"),
                .regex("/[^/]+/Get"),
            ])
        try EnvoyPeer.expectAccepted([mesh.sidecarRoutes(1)])
    }

    @Test func aListenerTakesTheRoutesThatItAllows() throws {
        let text = [
            gateway(
                """
                - {name: web, port: 80, protocol: HTTP, hostname: "*.example.com"}
                - {name: open, port: 80, protocol: HTTP, hostname: open.example.org, allowedRoutes: {namespaces: {from: All}}}
                - {name: secure, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}, allowedRoutes: {namespaces: {from: All}, kinds: [{kind: GRPCRoute}]}}
                - {name: clash, port: 80, protocol: TCP}
                """),
            service("a", ports: [1]),
            made(
                .httpRoute, "r",
                "parentRefs: [{name: shop, namespace: front}]\nhostnames: [x.example.com, open.example.org]\nrules: [{backendRefs: [{name: a, port: 1}]}]"
            ),
            made(
                .httpRoute, "elsewhere",
                "parentRefs: [{name: shop, namespace: front, sectionName: web}]\nrules: [{backendRefs: [{name: gone, port: 1}]}]"
            ),
            made(
                .httpRoute, "unheard", in: "front",
                "parentRefs: [{name: shop, sectionName: web}]\nhostnames: [y.example.net]\nrules: [{backendRefs: [{name: a, port: 1, namespace: default}]}]"
            ),
        ]
        let mesh = mesh(text[0], text[1], text[2], text[3], text[4])
        #expect(mesh.gatewayVirtualHosts(named: "http.80", of: gatewayProxy).map(\.domains) == [["open.example.org"]])
        func statuses(_ namespace: String, _ name: String) throws -> [String] {
            let object = try #require(mesh.mesh.object(ObjectKey(.httpRoute, namespace, name)))
            return mesh.parentStatuses(of: object).flatMap(\.conditions).map {
                "\($0.kind.rawValue) \($0.isTrue) \($0.reason)"
            }
        }
        #expect(try statuses("default", "r") == ["Accepted true Accepted", "ResolvedRefs true ResolvedRefs"])
        #expect(
            try statuses("default", "elsewhere")
                == ["Accepted false NotAllowedByListeners", "ResolvedRefs false BackendNotFound"])
        #expect(
            try statuses("front", "unheard")
                == ["Accepted false NoMatchingListenerHostname", "ResolvedRefs false RefNotPermitted"])
        let object = try #require(mesh.mesh.object(ObjectKey(.kubernetesGateway, "front", "shop")))
        let status = try #require(mesh.gatewayStatus(of: object))
        #expect(status.conditions.map(\.reason) == ["ListenersNotValid", "NoResources"])
        #expect(status.listeners.map(\.attachedRoutes) == [0, 1, 0, 0])
        #expect(
            status.listeners.map { $0.conditions.map(\.reason) }[2...] == [
                ["Accepted", "NoConflicts", "InvalidCertificateRef", "Invalid"],
                ["Accepted", "ProtocolConflict", "ResolvedRefs", "Invalid"],
            ])
        #expect(status.listeners[2].supportedKinds == [.grpcRoute])
    }
}
