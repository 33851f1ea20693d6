import Addresses
import Documents
import Mesh
import Testing

/// A whole object of each kind: everything that it may hold, as users write it.
struct KindTests {
    private static let head = "metadata: {name: default, labels: {a: b}, annotations: {example.com/a: b}, uid: x}\n"

    /// The fields of each kind besides apiVersion, kind and metadata.
    private static let bodies: [ObjectKind: String] = [
        .namespace: "spec: {finalizers: [kubernetes]}",
        .service: """
        spec:
          type: LoadBalancer
          clusterIP: 10.0.0.1
          clusterIPs: [10.0.0.1, "fd00::1"]
          ipFamilies: [IPv4, IPv6]
          selector: {app: a}
          ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30000, appProtocol: http}]
          internalTrafficPolicy: Local
          trafficDistribution: PreferClose
          publishNotReadyAddresses: true
        status: {loadBalancer: {}}
        """,
        .endpointSlice: """
        addressType: IPv4
        endpoints:
        - {addresses: [10.0.0.1], conditions: {ready: true, serving: true, terminating: false}, zone: a, nodeName: n,
           targetRef: {kind: Pod, name: p, namespace: default}, hints: {forZones: [{name: a}]}}
        ports: [{name: http, port: 8080, protocol: TCP, appProtocol: http}]
        """,
        .serviceAccount: "automountServiceAccountToken: false\nsecrets: [{name: a}]",
        .secret: "type: Opaque\ndata: {a: QQ==}\nstringData: {b: c}\nimmutable: true",
        .pod: """
        spec:
          serviceAccountName: a
          hostname: a
          initContainers: [{name: i, image: i}]
          containers: [{name: a, image: a, ports: [{containerPort: 80, name: web, hostPort: 80}]}]
        status: {phase: Running}
        """,
        .deployment: """
        spec:
          replicas: 3
          revisionHistoryLimit: 1
          selector: {matchExpressions: [{key: app, operator: In, values: [a, b]}]}
          template:
            metadata: {labels: {app: a}}
            spec: {containers: [{name: a, resources: {limits: {cpu: 1}}, volumeMounts: []}], tolerations: []}
        """,
        .virtualService: "spec: {hosts: [a], http: [{route: [{destination: {host: a}}]}]}",
        .destinationRule: """
        spec:
          host: "*.a.example"
          workloadSelector: {matchLabels: {app: a}}
          trafficPolicy:
            loadBalancer: {localityLbSetting: {distribute: [{from: a/*, to: {a/*: 80, b/*: 20}}]}, simple: LEAST_REQUEST}
            proxyProtocol: {version: V2}
            retryBudget: {percent: 20.5, minRetryConcurrency: 3, budgetInterval: 10s}
            outlierDetection: {consecutiveGatewayErrors: 1, outlierDetectionHttpErrorCodes: [500, 503]}
        """,
        .gateway: """
        spec:
          selector: {istio: ingressgateway}
          servers:
          - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"], tls: {httpsRedirect: true}}
          - port: {number: 443, name: https, protocol: HTTPS}
            hosts: [./a.example, "other/*.b.example"]
            tls: {mode: MUTUAL, credentialName: a, caCertCredentialName: b, minProtocolVersion: TLSV1_2, cipherSuites: [ECDHE-RSA-AES256-GCM-SHA384]}
          - {port: {number: 8443, name: tls, protocol: TLS}, hosts: [c.example], tls: {mode: PASSTHROUGH}}
          - {port: {number: 9000, name: tcp, protocol: TCP}, hosts: ["*"], bind: 127.0.0.1}
        """,
        .serviceEntry: """
        spec:
          hosts: [a.example]
          addresses: [192.0.2.0/24]
          ports: [{number: 443, name: tls, protocol: TLS, targetPort: 8443}]
          location: MESH_INTERNAL
          resolution: STATIC
          endpoints: [{address: 192.0.2.1, ports: {tls: 1443}, labels: {a: b}, locality: a/b/c, weight: 3, serviceAccount: a}]
          exportTo: ["."]
          subjectAltNames: [spiffe://a/ns/b/sa/c]
        """,
        .workloadEntry: "spec: {address: 10.0.0.1, labels: {app: a}, network: n, weight: 2}",
        .workloadGroup: "spec: {metadata: {labels: {app: a}}, template: {serviceAccount: a, ports: {http: 80}}}",
        .sidecar: """
        spec:
          workloadSelector: {labels: {app: a}}
          ingress: [{port: {number: 9080, protocol: HTTP, name: http}, defaultEndpoint: "127.0.0.1:8080", captureMode: NONE, bind: 127.0.0.2}]
          egress:
          - {port: {number: 3306, protocol: MYSQL, name: db}, bind: 127.0.0.1, captureMode: NONE, hosts: ["*/db.example"]}
          - {hosts: [./*, "~/*"]}
          outboundTrafficPolicy: {mode: REGISTRY_ONLY}
          inboundConnectionPool: {http: {http1MaxPendingRequests: 1}}
        """,
        .envoyFilter: """
        spec:
          workloadSelector: {labels: {app: a}}
          priority: -5
          configPatches:
          - applyTo: HTTP_FILTER
            match:
              context: SIDECAR_INBOUND
              proxy: {proxyVersion: "^1\\\\.2.*", metadata: {a: b}}
              listener: {portNumber: 80, filterChain: {filter: {name: a, subFilter: {name: b}}}}
            patch: {operation: INSERT_BEFORE, value: {name: x, typed_config: {"@type": y, list: [1, true, null]}}}
          - {applyTo: HTTP_ROUTE, match: {routeConfiguration: {vhost: {name: a, route: {action: ROUTE}}}}, patch: {operation: MERGE, value: {a: 1}}}
          - {applyTo: CLUSTER, match: {cluster: {service: a, subset: v1, portNumber: 80}}, patch: {operation: REMOVE}}
        """,
        .proxyConfig: "spec: {selector: {matchLabels: {app: a}}}",
        .peerAuthentication:
            "spec: {selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {80: {mode: DISABLE}}}",
        .authorizationPolicy:
            "spec: {action: CUSTOM, provider: {name: a}, rules: [{to: [{operation: {paths: [/a]}}]}]}",
        .requestAuthentication: """
        spec:
          targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a}]
          jwtRules:
          - {issuer: a, jwksUri: "https://a.example/jwks", audiences: [b], fromHeaders: [{name: x-jwt, prefix: "JWT "}], fromParams: [t],
             fromCookies: [c], outputPayloadToHeader: x-p, forwardOriginalToken: true, outputClaimToHeaders: [{header: x-s, claim: sub}], timeout: 5s}
        """,
        .telemetry: """
        spec:
          tracing: [{randomSamplingPercentage: 10.5, customTags: {a: {literal: {value: b}}, h: {header: {name: x}}}}]
          accessLogging: [{match: {mode: SERVER}, filter: {expression: "response.code >= 400"}, disabled: false}]
        """,
        .gatewayClass: "spec: {controllerName: martinet.dev/gateway-controller, description: ours}\nstatus: {}",
        .kubernetesGateway: """
        spec:
          gatewayClassName: martinet
          addresses: [{type: IPAddress, value: 127.0.0.1}]
          infrastructure: {labels: {a: b}}
          tls: {frontend: {default: {validation: {caCertificateRefs: [{group: "", kind: Secret, name: a}]}}}}
          listeners:
          - {name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {a: b}}}, kinds: [{kind: HTTPRoute}]}}
          - {name: https, port: 443, protocol: HTTPS, hostname: "*.a.example", tls: {certificateRefs: [{name: a, namespace: b}]}}
          - {name: tls, port: 8443, protocol: TLS, tls: {mode: Passthrough}}
        """,
        .httpRoute: """
        spec:
          rules:
          - name: a
            matches: [{queryParams: [{name: q, type: RegularExpression, value: "a+"}]}]
            retry: {codes: [500, 503], attempts: 2, backoff: 100ms}
            sessionPersistence: {type: Cookie, cookie: {name: s, lifetimeType: Permanent}, absoluteTimeout: 1h}
            filters:
            - {type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80}, fraction: {numerator: 1, denominator: 3}}}
            - {type: CORS, cors: {allowOrigins: ["https://*.a.example"], allowMethods: ["*"], maxAge: 60}}
            - {type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: a, port: 80}, http: {path: /check}}}
            backendRefs: [{name: a, port: 80, filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: a, value: b}]}}]}]
          - filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
        """,
        .grpcRoute:
            "spec: {rules: [{matches: [{method: {service: a.B, method: C}, headers: [{name: a, value: b}]}], backendRefs: [{name: a, port: 1}]}]}",
        .tlsRoute:
            "spec: {parentRefs: [{name: a}], hostnames: [a.example], rules: [{backendRefs: [{name: a, port: 1}]}]}",
        .tcpRoute: "spec: {parentRefs: [{name: a, port: 1}], rules: [{backendRefs: [{name: a, port: 1, weight: 0}]}]}",
        .backendTLSPolicy: """
        spec:
          targetRefs: [{group: "", kind: Service, name: a, sectionName: https}]
          validation: {wellKnownCACertificates: System, hostname: a.example, subjectAltNames: [{type: URI, uri: spiffe://a/b}]}
        """,
        .referenceGrant:
            "spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: a}], to: [{group: \"\", kind: Service, name: a}]}",
        .meshConfig: """
        spec:
          mtls: STRICT
          outboundTrafficPolicy: REGISTRY_ONLY
          isolateNamespaces: true
          accessLog: {file: /dev/stdout, format: "%START_TIME%", controlPlane: false}
          tracingSampling: 0.5
          rootNamespace: mesh
        """,
    ]

    private func text(_ kind: ObjectKind, _ version: String, _ body: String) -> String {
        let apiVersion = kind.group.isEmpty ? version : kind.group + "/" + version
        return "apiVersion: \(apiVersion)\nkind: \(kind.name)\n" + Self.head + body + "\n"
    }

    /// Fields that nothing acts on: their users are told.
    private static let withoutEffect: [ObjectKind: [String]] = [
        .destinationRule: ["spec.trafficPolicy.retryBudget.budgetInterval"],
        .httpRoute: ["spec.rules[0].filters[2].externalAuth", "spec.rules[0].sessionPersistence"],
        .workloadEntry: ["spec.network"],
    ]

    @Test(arguments: ObjectKind.allCases)
    func everyFieldOfAKindIsReadInEachOfItsVersions(kind: ObjectKind) throws {
        let body = try #require(Self.bodies[kind])
        for version in kind.versions {
            let objects = read(text(kind, version, body))
            #expect(objects.map(\.key.kind) == [kind])
            #expect(objects.flatMap(\.warnings).map(\.path) == Self.withoutEffect[kind] ?? [])
            #expect(objects.first?.metadata.labels == ["a": "b"])
        }
    }

    @Test(arguments: ObjectKind.allCases)
    func theSameObjectAsJSONIsAlike(kind: ObjectKind) throws {
        let body = try #require(Self.bodies[kind])
        let object = try #require(read(text(kind, kind.versions[0], body)).first)
        let again = try #require(read(object.source.json, file: "a.json").first)
        #expect(again.isAlike(object))
    }

    @Test(arguments: ObjectKind.allCases)
    func anExtraFieldOfAnyKindIsRefusedAtItsLine(kind: ObjectKind) throws {
        let body = try #require(Self.bodies[kind])
        let lines = body.split(separator: "\n").count
        #expect(
            errors(text(kind, kind.versions[0], body + "\nsurplus: 1")) == [
                "\(4 + lines): there is no field `surplus` here"
            ])
    }

    @Test(arguments: ObjectKind.allCases)
    func aMistypedBodyOfAnyKindIsRefused(kind: ObjectKind) {
        let field: String
        switch kind {
        case .endpointSlice: field = "endpoints"
        case .secret: field = "data"
        case .namespace, .serviceAccount: field = "metadata"
        default: field = "spec"
        }
        let body = field == "metadata" ? "" : field + ": [5]"
        let head = "apiVersion: \(kind.apiVersion)\nkind: \(kind.name)\n" + (body.isEmpty ? "metadata: [5]" : Self.head)
        let found = errors(head + body + "\n")
        #expect(found.contains { $0.contains(": \(field)") && $0.contains("expected a mapping, found ") }, "\(found)")
    }

    @Test(arguments: ObjectKind.allCases)
    func aHugeNameOfAnyKindIsRefused(kind: ObjectKind) throws {
        let body = try #require(Self.bodies[kind])
        let huge = text(kind, kind.versions[0], body).replacing(
            "name: default", with: "name: " + String(repeating: "a", count: 70_000))
        let found = errors(huge)
        #expect(found.count == 1)
        #expect(found.first?.utf8.count ?? 0 < 200, "an error does not repeat what is huge")
    }
}
