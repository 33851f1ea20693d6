import Mesh
import Testing

@testable import Translation

/// Numbers that follow from a seed. Source: SplitMix64.
struct SeededNumbers: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func pick<T>(_ list: [T]) -> T { list[Int.random(in: 0..<list.count, using: &self)] }
    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }
}

/// Objects of a small mesh in which everything has to do with everything: few names, many claims on each.
struct RandomMesh {
    var numbers: SeededNumbers
    static let namespaces = ["a", "b", "istio-system"]

    init(seed: UInt64) { numbers = SeededNumbers(seed: seed) }

    private mutating func namespace() -> String { numbers.pick(Self.namespaces) }
    private mutating func name() -> String { numbers.pick(["one", "two", "three"]) }

    private mutating func host() -> String {
        numbers.pick([
            "one", "two", "one.a", "one.a.svc.cluster.local", "two.b.svc.cluster.local", "api.example.com",
            "*.example.com", "three.b.svc.cluster.local", "*.b.svc.cluster.local",
        ])
    }

    private mutating func destination() -> String {
        numbers.pick(["one", "two.b.svc.cluster.local", "one.a.svc.cluster.local", "api.example.com"])
    }

    private mutating func exportTo() -> String {
        numbers.pick(["", "", "", "exportTo: [\".\"]", "exportTo: [b]", "exportTo: [a, istio-system]"])
    }

    mutating func change(of index: MeshIndex) throws -> MeshIndex.Change {
        switch Int.random(in: 0..<10, using: &numbers) {
        case 0, 1:
            if let key = index.keys.isEmpty ? nil : numbers.pick(index.keys) { return .remove(key) }
            return .put(try object())
        case 2:
            let id = Workload.ID(namespace: namespace(), name: numbers.pick(["w1", "w2", "w3"]))
            if numbers.chance(40) { return .disconnect(id) }
            if numbers.chance(30) { return .judge(id, isHealthy: numbers.pick([true, false, nil])) }
            return .connect(
                Workload(
                    id: id, labels: ["app": name(), "version": numbers.pick(["v1", "v2"])],
                    serviceAccount: numbers.pick(["default", "other"]),
                    addresses: ["10.0.0.\(Int.random(in: 1..<9, using: &numbers))"]))
        default: return .put(try object())
        }
    }

    mutating func object() throws -> MeshObject {
        let text = text()
        let read = try ObjectText(Array(text.utf8))
        guard let object = read.objects.first else { throw UnreadableObject(text: text) }
        return object
    }

    struct UnreadableObject: Error { var text: String }

    private mutating func policy(_ meta: String) -> String {
        let selector = numbers.chance(50) ? "selector: { matchLabels: { app: \(name()) } }" : ""
        let action = numbers.pick([
            "action: ALLOW", "action: DENY", "action: AUDIT", "action: CUSTOM\n  provider: { name: one }",
            "action: CUSTOM\n  provider: { name: \(numbers.pick(["two", "nobody"])) }",
        ])
        let rule = numbers.pick([
            "from: [{ source: { namespaces: [a] } }]", "to: [{ operation: { paths: [/x] } }]",
            "from: [{ source: { principals: [\"*/sa/other\"] } }], to: [{ operation: { methods: [GET] } }]",
        ])
        return """
            apiVersion: security.istio.io/v1
            kind: AuthorizationPolicy
            \(meta)
            spec:
              \(selector)
              \(action)
              rules: [{ \(rule) }]
            """
    }

    private mutating func text() -> String {
        let meta = "metadata: { name: \(name()), namespace: \(namespace()) }"
        switch Int.random(in: 0..<21, using: &numbers) {
        case 14: return policy(meta)
        case 15:
            let hosts = numbers.pick(["[\"*.example.com\"]", "[one.example.com, \"a/two.example.com\"]", "[\"*\"]"])
            let server = numbers.pick([
                "port: { number: 80, name: http, protocol: HTTP }",
                "port: { number: 443, name: tls, protocol: TLS }, tls: { mode: PASSTHROUGH }",
                "port: { number: 443, name: https, protocol: HTTPS }, tls: { mode: SIMPLE, credentialName: one }",
                "port: { number: 9000, name: tcp, protocol: TCP }",
            ])
            return """
                apiVersion: networking.istio.io/v1
                kind: Gateway
                \(meta)
                spec:
                  selector: { istio: ingressgateway }
                  servers: [{ hosts: \(hosts), \(server) }]
                """
        case 16:
            return """
                apiVersion: v1
                kind: Secret
                \(meta)
                type: kubernetes.io/tls
                stringData: { tls.crt: "\(numbers.pick(["x", "y"]))", tls.key: z }
                """
        case 17:
            let provider = numbers.pick(["envoy", "martinet", "logs", "nobody"])
            return """
                apiVersion: telemetry.istio.io/v1
                kind: Telemetry
                \(meta)
                spec:
                  accessLogging: [{ providers: [{ name: \(provider) }], disabled: \(numbers.chance(30)) }]
                  tracing: [{ providers: [{ name: \(numbers.pick(["spans", "zipkin", "nobody"])) }] }]
                """
        case 18:
            return """
                apiVersion: security.istio.io/v1
                kind: RequestAuthentication
                \(meta)
                spec:
                  selector: { matchLabels: { app: \(name()) } }
                  jwtRules: [{ issuer: "https://issuer", jwksUri: "https://\(numbers.pick(["one", "two"])).example.com/keys" }]
                """
        case 19:
            let place = "service: \(numbers.pick(["one.a.svc.cluster.local", "nobody.example.com"])), port: 80"
            return """
                apiVersion: martinet.dev/v1
                kind: MeshConfig
                metadata: { name: default }
                spec:
                  isolateNamespaces: \(numbers.chance(20))
                  extensionProviders:
                  - { name: one, envoyExtAuthzGrpc: { \(place) } }
                  - { name: two, envoyExtAuthzHttp: { \(place) } }
                  - { name: logs, envoyHttpAls: { \(place) } }
                  - { name: spans, opentelemetry: { \(place) } }
                  - { name: zipkin, zipkin: { \(place) } }
                """
        case 20:
            return """
                apiVersion: networking.istio.io/v1
                kind: VirtualService
                \(meta)
                spec:
                  hosts: [\"\(host())\"]
                  gateways: [\(namespace())/\(name())]
                  http: [{ route: [{ destination: { host: \(destination()) } }] }]
                """
        case 0, 1:
            let export = numbers.pick(["", "", "annotations: { networking.istio.io/exportTo: \".\" }, "])
            let extra = numbers.pick(["", "", "clusterIP: None"])
            return """
                apiVersion: v1
                kind: Service
                metadata: { \(export)name: \(name()), namespace: \(namespace()) }
                spec:
                  selector: { app: \(name()) }
                  ports: [{ name: \(numbers.pick(["http", "tcp", "grpc"])), port: \(numbers.pick([80, 90])) }]
                  \(extra)
                """
        case 2:
            let service = name()
            return """
                apiVersion: discovery.k8s.io/v1
                kind: EndpointSlice
                metadata:
                  name: \(service)
                  namespace: \(namespace())
                  labels: { kubernetes.io/service-name: \(service) }
                addressType: IPv4
                endpoints: [{ addresses: ["10.0.0.\(Int.random(in: 1..<9, using: &numbers))"] }]
                ports: [{ name: http, port: 8080 }]
                """
        case 3, 4:
            let match = numbers.pick([
                "", "match: [{ sourceLabels: { version: v1 } }], ", "match: [{ sourceNamespace: b }], ",
                "match: [{ uri: { prefix: /x } }], ",
            ])
            return """
                apiVersion: networking.istio.io/v1
                kind: VirtualService
                \(meta)
                spec:
                  hosts: [\"\(host())\"]
                  http: [{ \(match)route: [{ destination: { host: \(destination()) } }] }]
                  \(exportTo())
                """
        case 5:
            return """
                apiVersion: networking.istio.io/v1
                kind: VirtualService
                \(meta)
                spec:
                  hosts: [\"\(host())\"]
                  http: [{ delegate: { name: \(name()), namespace: \(namespace()) } }]
                """
        case 6, 7:
            let selector = numbers.pick(["", "", "workloadSelector: { matchLabels: { version: v1 } }"])
            let policy = numbers.pick([
                "loadBalancer: { consistentHash: { useSourceIp: true } }",
                "outlierDetection: { consecutive5xxErrors: 3 }",
                "loadBalancer: { localityLbSetting: { failover: [{ from: eu, to: us }] } }",
                "connectionPool: { tcp: { maxConnections: \(Int.random(in: 1..<9, using: &numbers)) } }",
                "tls: { mode: ISTIO_MUTUAL }",
            ])
            return """
                apiVersion: networking.istio.io/v1
                kind: DestinationRule
                \(meta)
                spec:
                  host: \"\(host())\"
                  trafficPolicy: { \(policy) }
                  subsets: [{ name: v1, labels: { version: v1 } }]
                  \(selector)
                  \(exportTo())
                """
        case 8:
            return """
                apiVersion: networking.istio.io/v1
                kind: ServiceEntry
                \(meta)
                spec:
                  hosts: [\"\(numbers.pick(["api.example.com", "*.example.com", "one.a.svc.cluster.local"]))\"]
                  ports: [{ number: \(numbers.pick([80, 443])), name: http, protocol: HTTP }]
                  resolution: NONE
                  \(exportTo())
                """
        case 9:
            return """
                apiVersion: networking.istio.io/v1
                kind: WorkloadEntry
                \(meta)
                spec:
                  address: 10.1.0.\(Int.random(in: 1..<9, using: &numbers))
                  labels: { app: \(name()), version: \(numbers.pick(["v1", "v2"])) }
                """
        case 10:
            let selector = numbers.pick(["", "workloadSelector: { labels: { app: one } }"])
            let hosts = numbers.pick(["./*", "*/one.a.svc.cluster.local", "a/*", "*/*"])
            return """
                apiVersion: networking.istio.io/v1
                kind: Sidecar
                \(meta)
                spec:
                  egress: [{ hosts: [\"\(hosts)\"] }]
                  \(selector)
                """
        case 11:
            return """
                apiVersion: security.istio.io/v1
                kind: PeerAuthentication
                \(meta)
                spec:
                  mtls: { mode: \(numbers.pick(["STRICT", "DISABLE", "PERMISSIVE"])) }
                """
        case 12:
            let selector = numbers.pick(["", "workloadSelector: { labels: { version: v1 } }"])
            let patch = numbers.pick([
                "applyTo: CLUSTER, patch: { operation: MERGE, value: { connect_timeout: 7s } }",
                "applyTo: CLUSTER, match: { context: GATEWAY }, patch: { operation: REMOVE }",
                "applyTo: VIRTUAL_HOST, patch: { operation: MERGE, value: { include_attempt_count_in_response: true } }",
                "applyTo: LISTENER, patch: { operation: MERGE, value: { stat_prefix: patched } }",
                "applyTo: CLUSTER, patch: { operation: ADD, value: { name: more, type: STATIC } }",
            ])
            return """
                apiVersion: networking.istio.io/v1alpha3
                kind: EnvoyFilter
                \(meta)
                spec:
                  configPatches: [{ \(patch) }]
                  \(selector)
                """
        default:
            return """
                apiVersion: gateway.networking.k8s.io/v1
                kind: HTTPRoute
                \(meta)
                spec:
                  parentRefs: [{ group: "", kind: Service, name: \(name()), namespace: \(namespace()) }]
                  rules: [{ backendRefs: [{ name: \(name()), port: 80 }] }]
                """
        }
    }
}
