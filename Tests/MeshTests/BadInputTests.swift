import Documents
import Mesh
import Testing

/// What is wrong with a text, each with its line. In `object(…)` the spec begins on line 7.
struct BadInputTests {
    @Test(
        arguments: [
            (
                ObjectKind.virtualService, "hosts: [a]\nhttp: [{rout: [{destination: {host: a}}]}]",
                [
                    "8: spec.http[0]: none of `route`, `redirect`, `directResponse`, `delegate` is given",
                    "8: spec.http[0]: there is no field `rout` here",
                ]
            ),
            (
                .virtualService,
                "hosts: [a]\nhttp:\n- route:\n  - destination: {host: a}\n    weight: -1\n  - destination: {host: b}",
                [
                    "11: spec.http[0].route[0].weight: -1 is not within 0 to 2147483647"
                ]
            ),
            (
                .virtualService,
                "hosts: [a]\nhttp:\n- route:\n  - destination: {host: a}\n    weight: 0\n  - destination: {host: b}",
                [
                    "10: spec.http[0].route: the weights sum to 0"
                ]
            ),
            (
                .virtualService, "hosts: [a]\nhttp:\n- route: [{destination: {host: a}}]\n  redirect: {uri: /b}",
                [
                    "10: spec.http[0].redirect: `route` and `redirect` exclude each other"
                ]
            ),
            (
                .virtualService,
                "hosts: [a]\nhttp:\n- match: [{uri: {prefix: /a, exact: /b}}]\n  route: [{destination: {host: a}}]",
                [
                    "9: spec.http[0].match[0].uri.prefix: `exact` and `prefix` exclude each other"
                ]
            ),
            (
                .virtualService,
                "hosts: [a]\nhttp:\n- match: [{uri: {regex: \"a(b\"}}]\n  route: [{destination: {host: a}}]",
                [
                    "9: spec.http[0].match[0].uri.regex: missing ): a(b"
                ]
            ),
            (
                .virtualService, "hosts: [a]\nhttp:\n- timeout: 5\n  route: [{destination: {host: a}}]",
                [
                    "9: spec.http[0].timeout: expected a text, found `5`"
                ]
            ),
            (
                .virtualService, "hosts: [a]\nhttp:\n- timeout: 5 apples\n  route: [{destination: {host: a}}]",
                [
                    "9: spec.http[0].timeout: `5 apples` is no duration"
                ]
            ),
            (
                .virtualService, "hosts: [a, a..b, -c]\nhttp: [{route: [{destination: {host: a}}]}]",
                [
                    "7: spec.hosts[1]: `a..b` is no host", "7: spec.hosts[2]: `-c` is no host",
                ]
            ),
            (
                .virtualService, "hosts: a\nhttp: [{route: [{destination: {host: a}}]}]",
                [
                    "7: spec.hosts: expected a list, found `a`"
                ]
            ),
            (
                .virtualService, "hosts: [a]\nhttp: [{route: [{destination: {host: a, port: 80}}]}]",
                [
                    "8: spec.http[0].route[0].destination.port: expected a mapping, found `80`"
                ]
            ),
            (.virtualService, "hosts: [a]", ["7: spec: it has no `http`, `tls` or `tcp` routes"]),
            (
                .virtualService, "hosts: [\"*\"]\nhttp: [{route: [{destination: {host: a}}]}]",
                [
                    "7: spec.hosts: `*` is for gateways only: the sidecars would send everything there"
                ]
            ),
            (
                .virtualService,
                "hosts: [a]\nhttp:\n- fault: {abort: {httpStatus: 5000}}\n  route: [{destination: {host: a}}]",
                [
                    "9: spec.http[0].fault.abort.httpStatus: 5000 is not within 200 to 599"
                ]
            ),
            (
                .virtualService,
                "hosts: [a]\nhttp:\n- retries: {retryOn: \"5xx,conect-failure\"}\n  route: [{destination: {host: a}}]",
                [
                    "9: spec.http[0].retries.retryOn: `conect-failure` is no condition to retry on (did you mean connect-failure?)"
                ]
            ),
            (
                .destinationRule, "host: a\ntrafficPolicy: {loadBalancer: {simple: ROUNDROBIN}}",
                [
                    "8: spec.trafficPolicy.loadBalancer.simple: `ROUNDROBIN` is none of UNSPECIFIED, LEAST_CONN, RANDOM, PASSTHROUGH, ROUND_ROBIN, LEAST_REQUEST"
                ]
            ),
            (
                .destinationRule, "host: a\nsubsets: [{name: v1}, {name: v1}]",
                [
                    "8: spec.subsets[1].name: there is another subset `v1`"
                ]
            ),
            (
                .destinationRule, "host: a\nsubsets: [{name: v1, labels: {version: 1}}]",
                [
                    "8: spec.subsets[0].labels[\"version\"]: expected a text, found `1`"
                ]
            ),
            (
                .destinationRule, "host: a\ntrafficPolicy: {tls: {mode: MUTUAL}}",
                [
                    "8: spec.trafficPolicy.tls: `clientCertificate` is missing",
                    "8: spec.trafficPolicy.tls: `privateKey` is missing",
                ]
            ),
            (.destinationRule, "subsets: []", ["7: spec: `host` is missing"]),
            (
                .gateway, "servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a]}]",
                [
                    "7: spec.servers[0]: `tls` is missing"
                ]
            ),
            (
                .gateway, "servers: [{port: {number: 70000, name: http, protocol: HTTP}, hosts: [a]}]",
                [
                    "7: spec.servers[0].port.number: 70000 is not within 1 to 65535"
                ]
            ),
            (.gateway, "selector: {istio: ingressgateway}", ["7: spec: `servers` is missing"]),
            (
                .serviceEntry,
                "hosts: [a.example]\nresolution: STATIC\nports: [{number: 80, name: http, protocol: HTTP}]\nendpoints: [{address: b.example}]",
                [
                    "10: spec.endpoints[0].address: resolution STATIC takes addresses, `b.example` is a name"
                ]
            ),
            (
                .serviceEntry, "hosts: [\"*.a.example\"]\nresolution: DNS",
                [
                    "7: spec.hosts: `*.a.example` cannot be looked up"
                ]
            ),
            (
                .peerAuthentication, "mtls: {mode: STRIKT}",
                [
                    "7: spec.mtls.mode: `STRIKT` is none of UNSET, DISABLE, PERMISSIVE, STRICT"
                ]
            ),
            (
                .peerAuthentication, "portLevelMtls: {80: {mode: STRICT}}",
                [
                    "7: spec.portLevelMtls: ports are those of workloads, and none is selected"
                ]
            ),
            (
                .authorizationPolicy, "rules: [{from: [{source: {ipBlocks: [10.0.0.0/33]}}]}]",
                [
                    "7: spec.rules[0].from[0].source.ipBlocks[0]: `10.0.0.0/33` is no address"
                ]
            ),
            (
                .authorizationPolicy, "rules: [{to: [{operation: {paths: [\"/a*b\"]}}]}]",
                [
                    "7: spec.rules[0].to[0].operation.paths[0]: `/a*b` has a * that is not at one end"
                ]
            ),
            (
                .authorizationPolicy, "rules: [{when: [{key: request.header, values: [a]}]}]",
                [
                    "7: spec.rules[0].when[0].key: `request.header` is no key of a condition (did you mean request.headers[NAME]?)"
                ]
            ),
            (.authorizationPolicy, "action: CUSTOM\nrules: [{}]", ["7: spec: `provider` is missing"]),
            (
                .requestAuthentication, "jwtRules: [{issuer: a, jwks: \"{}\"}]",
                [
                    "7: spec.jwtRules[0].jwks: it is no JSON Web Key Set"
                ]
            ),
            (.sidecar, "egress: [{hosts: [a]}]", ["7: spec.egress[0].hosts[0]: `a` names no namespace"]),
            (
                .envoyFilter, "configPatches: [{applyTo: CLUSTER, patch: {operation: REMOVE, value: {a: 1}}}]",
                [
                    "7: spec.configPatches[0].patch.value: REMOVE takes no value"
                ]
            ),
            (
                .telemetry, "tracing: [{randomSamplingPercentage: 101}]",
                [
                    "7: spec.tracing[0].randomSamplingPercentage: 101 is not within 0 to 100"
                ]
            ),
            (
                .kubernetesGateway,
                "gatewayClassName: istio\nlisteners: [{name: a, port: 443, protocol: HTTPS, tls: {}}]",
                [
                    "8: spec.listeners[0].tls: `certificateRefs` is missing"
                ]
            ),
            (
                .httpRoute, "rules: [{matches: [{path: {value: a}}], backendRefs: [{name: a}]}]",
                [
                    "7: spec.rules[0].matches[0].path.value: `a` is no path",
                    "7: spec.rules[0].backendRefs[0]: `port` is missing",
                ]
            ),
            (
                .httpRoute, "rules: [{filters: [{type: URLRewrite, requestMirror: {backendRef: {name: a, port: 1}}}]}]",
                [
                    "7: spec.rules[0].filters[0]: `urlRewrite` is missing",
                    "7: spec.rules[0].filters[0].requestMirror: the filter's type is URLRewrite",
                ]
            ),
            (
                .httpRoute, "rules: [{timeouts: {request: 1.5s}}]",
                [
                    "7: spec.rules[0].timeouts.request: `1.5s` is no duration"
                ]
            ),
            (
                .tcpRoute, "hostnames: [a.example]\nrules: [{backendRefs: [{name: a, port: 1}]}]",
                [
                    "7: spec.hostnames: a TCPRoute sees no names"
                ]
            ),
            (
                .backendTLSPolicy, "targetRefs: [{group: \"\", kind: Service, name: a}]\nvalidation: {hostname: a}",
                [
                    "8: spec.validation: none of `caCertificateRefs`, `wellKnownCACertificates` is given"
                ]
            ),
            (.meshConfig, "mtls: STRICT\ntracing: 5", ["8: spec: there is no field `tracing` here"]),
            (
                .service, "ports: [{port: 80}, {port: 81}]",
                [
                    "7: spec.ports[0]: a Service with several ports names each",
                    "7: spec.ports[1]: a Service with several ports names each",
                ]
            ),
            (
                .deployment,
                "selector: {matchLabels: {a: b}}\ntemplate: {metadata: {labels: {a: c}}, spec: {containers: [{name: a}]}}",
                [
                    "7: spec.selector: it does not select the template's labels"
                ]
            ),
            (
                .deployment,
                "selector: {matchLabels: {a: b}}\ntemplate: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, imag: b}]}}",
                [
                    "8: spec.template.spec.containers[0]: there is no field `imag` here"
                ]
            ),
        ] as [(ObjectKind, String, [String])])
    func anErrorHasItsLineItsPathAndItsWords(kind: ObjectKind, spec: String, expected: [String]) {
        #expect(errors(object(kind, spec)) == expected)
    }

    @Test(
        arguments: [
            ("kind: Service\nmetadata: {name: a}\n", ["1: `apiVersion` is missing"]),
            (
                "apiVersion: v1\nkind: Servise\nmetadata: {name: a}\n",
                ["2: kind: `Servise` is no kind that a mesh knows"]
            ),
            (
                "apiVersion: networking.istio.io/v2\nkind: Gateway\nmetadata: {name: a}\n",
                [
                    "1: apiVersion: Gateway has no version `v2`"
                ]
            ),
            (
                "apiVersion: networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: a}\n",
                [
                    "1: apiVersion: there is no Gateway in `networking.k8s.io/v1`"
                ]
            ),
            ("apiVersion: v1\nkind: Namespace\nmetadata: {name: A_b}\n", ["3: metadata.name: `A_b` is no name"]),
            ("apiVersion: v1\nkind: ServiceAccount\n", ["1: `metadata` is missing"]),
            (
                "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: a\n  label: {a: b}\n",
                [
                    "5: metadata: there is no field `label` here"
                ]
            ),
            (
                "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\n",
                [
                    "5: it is also on line 1"
                ]
            ),
            ("- a\n", ["1: expected an object, found a list"]),
            (
                "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ntype: kubernetes.io/tls\ndata: {tls.crt: \"!\"}\n",
                [
                    "4: a kubernetes.io/tls Secret has `tls.key`", "5: data[\"tls.crt\"]: it is no Base64",
                ]
            ),
            ("a: 1\na: 2\n", ["1: the key `a` is given twice"]),
            ("a:\n\tb: 1\n", ["2: found character that cannot start any token"]),
            ("a: [1, 2\n", ["2: did not find expected ',' or ']'"]),
        ] as [(String, [String])])
    func aDocumentThatIsNoObjectIsRefusedAtItsLine(text: String, expected: [String]) {
        let found = errors(text)
        #expect(found.count == expected.count)
        for (line, words) in zip(found, expected) { #expect(line.contains(words.drop { $0 != " " }), "\(found)") }
        #expect(found.first?.prefix { $0 != ":" } == expected.first?.prefix { $0 != ":" }, "\(found)")
    }

    @Test func anErrorAboutAnElementIsOnTheElementsLine() {
        #expect(
            errors(object(.service, "ports:\n- {port: 80, name: a}\n- {port: 81, name: b}\n- port: 82\n  name: a")) == [
                "10: spec.ports[2]: there is another port `a`"
            ])
        #expect(
            errors(object(.destinationRule, "host: a\nsubsets:\n- name: v1\n- labels: {a: b}\n  name: v1")) == [
                "11: spec.subsets[1].name: there is another subset `v1`"
            ])
        #expect(
            errors(object(.httpRoute, "rules:\n- name: a\n- name: b\n- name: a")) == [
                "10: spec.rules[2].name: there is another rule `a`"
            ])
    }

    @Test func allErrorsOfATextAreToldAndNotJustTheFirst() {
        let found = errors(
            object(.destinationRule, "hots: a\ntrafficPolicy: {tls: {mode: OFF}, loadBalancer: {simpel: RANDOM}}")
                + "---\n" + object(.gateway, "servers: [{hosts: [\"a b\"]}]"))
        #expect(found.count == 6, "\(found)")
        #expect(found.contains("8: spec.trafficPolicy.loadBalancer: there is no field `simpel` here"))
        #expect(found.contains("16: spec.servers[0].hosts[0]: `a b` is no host"))
    }

    @Test func anErrorNamesObjectFileAndMend() throws {
        do {
            _ = try ObjectText(Array(object(.virtualService, "host: [a]\nhttp: []").utf8), file: "a.yaml")
            Issue.record("accepted")
        } catch {
            let finding = try #require(error.findings.first { $0.kind == .unknownField })
            #expect(
                finding.description
                    == "a.yaml:7:3: VirtualService default/test: spec: there is no field `host` here; did you mean `hosts`?"
            )
        }
    }

    @Test func aTextWithManyErrorsTellsFiftyAndCountsTheRest() {
        let routes = (0..<200).map { "- rout\($0): 1" }.joined(separator: "\n")
        let found = errors(object(.virtualService, "hosts: [a]\nhttp:\n" + routes))
        #expect(found.count == 51)
        #expect(found.last == "and 350 more")
    }

    @Test func whatIsNotUTF8IsRefusedAtItsLine() {
        let found = errors(Array("apiVersion: v1\nkind: ".utf8) + [0xC3, 0x28] + Array("\n".utf8))
        #expect(found == ["2: a byte that is not UTF-8, or is NUL"])
    }

    @Test func aListOfAMillionEntriesIsRefused() {
        let hosts = String(repeating: "- a.example\n  ", count: 1_000_001)
        let text =
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec:\n  hosts:\n  " + hosts
        #expect(errors(text).map { $0.contains("1000000 nodes") } == [true])
        let fewer =
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {hosts: ["
            + String(repeating: "a,", count: 60_000) + "]}\n"
        #expect(errors(fewer) == ["4: spec.hosts: 60000 elements, 50000 are allowed"])
    }

    @Test func anchorsThatExplodeAreRefused() {
        var text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        for level in 1...9 {
            text += "a\(level): &a\(level) [" + (0..<10).map { _ in "*a\(level - 1)" }.joined(separator: ", ") + "]\n"
        }
        #expect(errors(text).map { $0.contains("nodes") } == [true])
    }

    @Test func nestingIsBounded() {
        let deep = String(repeating: "[", count: 300) + String(repeating: "]", count: 300)
        #expect(errors("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: " + deep).count == 1)
    }
}

@Test(arguments: [
    (#"\2"#, "there is no group 2 in `match`"), (#"/\x"#, #"`\x` means nothing there"#),
    ("a\\", "it ends in a lone backslash"),
])
func aSubstitutionThatNoProxyTakesIsRefused(rewrite: String, words: String) {
    let found = errors(
        object(
            .virtualService,
            """
            hosts: [a]
            http: [{rewrite: {uriRegexRewrite: {match: '/[(](.*)(?:x)', rewrite: '\(rewrite)'}}, route: [{destination: {host: a}}]}]
            """))
    #expect(found == ["8: spec.http[0].rewrite.uriRegexRewrite.rewrite: \(words)"])
}

@Test func headersThatNoProxyChangesAreRefused() {
    func found(_ headers: String) -> [String] {
        errors(
            object(
                .virtualService, "hosts: [a]\nhttp: [{headers: \(headers), route: [{destination: {host: a}}]}]"))
    }
    #expect(
        found("{request: {set: {':path': /x}}}") == [
            "8: spec.http[0].headers.request: no proxy lets `:path` be changed"
        ])
    #expect(
        found("{response: {add: {host: x}}}") == ["8: spec.http[0].headers.response: no proxy lets `host` be changed"])
    #expect(found("{request: {set: {host: x}}}").isEmpty)
}
