import Documents
import Mesh
import Testing

struct ObjectTests {
    @Test func aServiceIsReadWithItsPorts() throws {
        let text = object(
            .service,
            """
            clusterIP: None
            selector: {app: a}
            ports:
            - {name: grpc-api, port: 80, targetPort: web}
            - {name: other, port: 81, targetPort: 8081, appProtocol: kubernetes.io/h2c, protocol: TCP}
            sessionAffinity: ClientIP
            sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}
            """)
        guard case .service(let service)? = read(text).first?.body else {
            Issue.record("no Service")
            return
        }
        #expect(service.isHeadless)
        #expect(service.ports.map(\.statedProtocol) == [.grpc, .http2])
        #expect(service.ports.map(\.targetPort) == [.text("web"), .number(8081)])
        #expect(service.affinityTimeout == .seconds(60))
    }

    @Test func aDeploymentIsReadWithoutAComplaintAboutWhatAMeshDoesNotUse() throws {
        let text = object(
            .deployment,
            """
            replicas: 2
            strategy: {type: Recreate}
            selector: {matchLabels: {app: a}}
            template:
              metadata: {labels: {app: a, version: v1}}
              spec:
                serviceAccountName: writers
                nodeSelector: {disk: ssd}
                volumes: [{name: tmp, emptyDir: {}}]
                containers:
                - name: a
                  image: a:1
                  env: [{name: A, value: b}]
                  readinessProbe: {httpGet: {path: /, port: 80}}
                  ports: [{containerPort: 8080, name: web}]
            """)
        let object = try #require(read(text).first)
        #expect(object.warnings == [])
        guard case .deployment(let deployment) = object.body else { return }
        #expect(deployment.replicas == 2)
        #expect(deployment.template.serviceAccount == "writers")
        #expect(deployment.template.port(.text("web")) == 8080)
    }

    @Test func aVirtualServiceIsReadWhole() throws {
        let text = object(
            .virtualService,
            """
            hosts: [reviews, "*.example.com"]
            gateways: [mesh, front/entry]
            exportTo: ["."]
            http:
            - name: first
              match:
              - uri: {prefix: /a}
                ignoreUriCase: true
                headers: {End-User: {exact: jason}, x-there: {}}
                withoutHeaders: {x-not: {regex: "a.*"}}
                queryParams: {q: {exact: "1"}}
                method: {exact: GET}
                port: 80
                sourceLabels: {app: web}
              - authority: {exact: b.example}
              route:
              - destination: {host: reviews, subset: v1, port: {number: 9080}}
                weight: 3
                headers: {request: {set: {a: b}, remove: [c]}}
              - destination: {host: reviews, subset: v2}
                weight: 1
              rewrite: {uri: /b}
              timeout: 1h30m
              retries: {attempts: 3, perTryTimeout: 250ms, retryOn: "5xx,503"}
              fault: {delay: {fixedDelay: 5s, percentage: {value: 0.5}}, abort: {grpcStatus: UNAVAILABLE}}
              mirror: {host: ratings}
              mirrorPercentage: {value: 10}
              corsPolicy: {allowOrigins: [{exact: "https://a.example"}], maxAge: 24h, allowCredentials: true}
            - redirect: {authority: c.example, derivePort: FROM_REQUEST_PORT, redirectCode: 308}
              match: [{uri: {exact: /old}}]
            - match: [{uri: {exact: /teapot}}]
              directResponse: {status: 418, body: {string: short}}
            - delegate: {name: other, namespace: shop}
            tls:
            - match: [{sniHosts: [a.example], port: 443}]
              route: [{destination: {host: a}}]
            tcp:
            - match: [{port: 9000, destinationSubnets: [10.0.0.0/8]}]
              route: [{destination: {host: b}, weight: 7}, {destination: {host: c}, weight: 1}]
            """)
        guard case .virtualService(let service)? = read(text).first?.body else {
            Issue.record("no VirtualService")
            return
        }
        let route = service.http[0]
        #expect(route.match[0].headers == ["end-user": .exact("jason"), "x-there": .present])
        #expect(route.timeout == .seconds(5400))
        #expect(route.retries?.perTryTimeout == .milliseconds(250))
        #expect(route.fault?.delay?.percentage == 0.5)
        #expect(route.fault?.abort?.error == .grpc("UNAVAILABLE"))
        #expect(route.mirrors.map(\.percentage) == [10])
        guard case .route(let destinations) = route.action else { return }
        #expect(destinations.map(\.weight) == [3, 1])
        #expect(destinations[0].destination.port == 9080)
        #expect(service.http.count == 4)
        #expect(service.http[3].action == .delegate(name: "other", namespace: "shop"))
        #expect(service.tls[0].match[0].serverNames == ["a.example"])
        #expect(service.tcp[0].route.map(\.weight) == [7, 1])
    }

    @Test func aDestinationRuleIsReadWhole() throws {
        let text = object(
            .destinationRule,
            """
            host: reviews.default.svc.cluster.local
            trafficPolicy:
              loadBalancer:
                consistentHash: {httpCookie: {name: user, ttl: 0s, path: /}, maglev: {tableSize: 1009}}
                localityLbSetting: {enabled: true, failover: [{from: a, to: b}]}
              connectionPool:
                tcp: {maxConnections: 10, connectTimeout: 30ms, tcpKeepalive: {time: 7200s, interval: 75s}}
                http: {http2MaxRequests: 1000, maxRequestsPerConnection: 10, h2UpgradePolicy: UPGRADE}
              outlierDetection: {consecutive5xxErrors: 7, interval: 5m, baseEjectionTime: 15m, maxEjectionPercent: 50}
              tls: {mode: ISTIO_MUTUAL}
              portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM, warmup: {duration: 30s}}}]
            subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {tls: {mode: DISABLE}}}]
            """)
        guard case .destinationRule(let rule)? = read(text).first?.body, let policy = rule.trafficPolicy else {
            Issue.record("no DestinationRule")
            return
        }
        guard case .consistentHash(let hash) = policy.loadBalancer?.policy else {
            Issue.record("no hash")
            return
        }
        #expect(hash.algorithm == .maglev(tableSize: 1009))
        #expect(policy.outlierDetection?.interval == .seconds(300))
        #expect(policy.ports[0].loadBalancer?.warmup?.duration == .seconds(30))
        #expect(rule.subsets[0].trafficPolicy?.tls?.mode == .disable)
    }

    @Test func policiesAreRead() throws {
        let text = object(
            .authorizationPolicy,
            """
            selector: {matchLabels: {app: a}}
            action: DENY
            rules:
            - from:
              - source: {principals: ["mesh.example/ns/default/sa/a"], notNamespaces: [b]}
              to:
              - operation: {methods: [GET], paths: [/a*, "/x/{*}/y/{**}"], ports: ["80"]}
              when:
              - {key: "request.headers[x-token]", values: [a, "b*"]}
            - {}
            """)
        guard case .authorizationPolicy(let policy)? = read(text).first?.body else {
            Issue.record("no policy")
            return
        }
        #expect(policy.action == .deny)
        #expect(policy.rules[0].from[0].namespaces.none == ["b"])
        #expect(policy.rules[1].matchesEverything)
    }

    @Test func anObjectWithoutASpecIsOneWithAnEmptyOne() throws {
        let text = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: deny-all}\n"
        guard case .authorizationPolicy(let policy)? = read(text).first?.body else {
            Issue.record("no policy")
            return
        }
        #expect(policy.action == .allow && policy.rules.isEmpty && policy.scope.isWide)
        #expect(errors("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n").count == 2)
    }

    @Test func anHTTPRouteIsRead() throws {
        let text = object(
            .httpRoute,
            """
            parentRefs: [{name: entry, sectionName: http}, {group: "", kind: Service, name: reviews, port: 9080}]
            hostnames: ["*.example.com"]
            rules:
            - matches: [{path: {type: Exact, value: /a}, headers: [{name: X-A, value: b}], method: GET}]
              filters:
              - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}], remove: [c]}}
              - {type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /b}}}
              backendRefs: [{name: a, port: 80, weight: 9}, {name: b, port: 80, namespace: other}]
              timeouts: {request: 10s, backendRequest: 2s}
            - {}
            """)
        guard case .httpRoute(let route)? = read(text).first?.body else {
            Issue.record("no HTTPRoute")
            return
        }
        #expect(route.parents.map(\.isService) == [false, true])
        #expect(route.rules[0].matches[0].headers[0].name == "x-a")
        #expect(route.rules[0].backends.map(\.weight) == [9, 1])
        #expect(route.rules[0].timeout == .seconds(10))
        #expect(route.rules[1].matches == [.everything])
    }

    @Test func aSecretKeepsItsContentOutOfDescriptions() throws {
        let text = """
            apiVersion: v1
            kind: Secret
            metadata: {name: a}
            type: kubernetes.io/tls
            stringData: {tls.crt: PUBLIC, tls.key: VERYSECRET}
            """
        guard case .secret(let secret)? = read(text).first?.body else {
            Issue.record("no Secret")
            return
        }
        #expect(secret.privateKey == Array("VERYSECRET".utf8))
        #expect("\(secret)" == "Secret of tls.crt, tls.key (kubernetes.io/tls)")
        var dumped = ""
        dump(secret, to: &dumped)
        #expect(!dumped.contains("86") && !dumped.contains("SECRET"))
    }

    @Test func aFieldThatNothingActsOnIsAWarning() throws {
        let text = object(.proxyConfig, "concurrency: 2")
        let found = try #require(read(text).first).warnings
        #expect(
            found.map(line) == [
                "7: spec.concurrency: nothing acts on it: the one who starts the proxy sets its threads"
            ])
    }

    @Test func whatWasWrittenIsKept() throws {
        let objects = read(
            "# a\n" + object(.gatewayClass, "controllerName: a.example/b") + "---\n\n# b\n"
                + object(.meshConfig, "mtls: STRICT"))
        #expect(objects.map(\.source.line) == [1, 11])
        #expect(objects[1].source.yaml.hasPrefix("# b\napiVersion"))
        #expect(objects[1].source.yaml.contains("# a comment"))
        #expect(read(objects[1].source.json, file: "a.json").first?.isAlike(objects[1]) == true)
        #expect(objects[1].finding(.error, .invalidValue, at: "spec.mtls", "", mend: "").position?.line == 18)
    }

    @Test(arguments: ["\n", "\r\n", "\r"])
    func documentsAreToldApartWhateverEndsTheirLines(end: String) {
        let text =
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n--- {apiVersion: v1,\nkind: Namespace,\nmetadata: {name: b}}\n...\n# c\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: c}\n"
        let objects = read(text.replacing("\n", with: end))
        #expect(objects.map(\.source.line) == [1, 4, 10])
        #expect(objects.map { $0.source.node?["metadata"]?["name"]?.text } == ["a", "b", "c"])
        #expect(objects.map { $0.finding(.error, .syntax, at: "kind", "", mend: "").position?.line } == [2, 5, 11])
    }

    @Test func aListIsReadAsItsItems() throws {
        let text = """
            {"apiVersion": "v1", "kind": "List", "items": [
              {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}},
              {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "b"}}]}
            """
        let objects = read(text)
        #expect(objects.map(\.key.name) == ["a", "b"])
        #expect(objects[1].source.yaml == "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: b\n")
    }

    @Test(arguments: ObjectKind.allCases)
    func everyKindAndVersionIsKnownByItsName(kind: ObjectKind) {
        #expect(ObjectKind(group: kind.group, name: kind.name) == kind)
        #expect(!kind.versions.isEmpty)
    }
}
