import Forwarding
import Identity
import Mesh
import Testing
import XDS

@testable import Translation

/// What the mesh translation makes of users' objects is taken as it is.
struct TranslatedClusterTests {
    private static let services = """
        apiVersion: v1
        kind: Service
        metadata: {name: reviews, namespace: default}
        spec:
          selector: {app: reviews}
          ports:
          - {port: 9080, name: http, targetPort: 8080}
          - {port: 9090, name: grpc}
          - {port: 7000, name: tcp-data}
          - {port: 7001, name: other}
        ---
        apiVersion: v1
        kind: Service
        metadata: {name: headless, namespace: default}
        spec:
          clusterIP: None
          selector: {app: reviews}
          ports: [{port: 9080, name: http}]
        ---
        apiVersion: v1
        kind: Service
        metadata: {name: elsewhere, namespace: default}
        spec:
          type: ExternalName
          externalName: www.example.com
          ports: [{port: 80, name: http}]
        ---
        apiVersion: networking.istio.io/v1
        kind: ServiceEntry
        metadata: {name: outside, namespace: default}
        spec:
          hosts: [api.example.com]
          ports: [{number: 443, name: tls, protocol: TLS}, {number: 80, name: http, protocol: HTTP}]
          location: MESH_EXTERNAL
          resolution: DNS
          endpoints: [{address: a.example.com}, {address: b.example.com, weight: 3}]
        ---
        apiVersion: networking.istio.io/v1
        kind: ServiceEntry
        metadata: {name: patterns, namespace: default}
        spec:
          hosts: ['*.example.org']
          ports: [{number: 80, name: http, protocol: HTTP}]
          resolution: DYNAMIC_DNS

        """

    private static let hosts = [
        "reviews.default.svc.cluster.local", "headless.default.svc.cluster.local",
        "elsewhere.default.svc.cluster.local", "api.example.com", "*.example.org",
    ]

    private func rule(_ policy: String, host: String = "reviews") -> String {
        let lines = policy.split(separator: "\n").map { "    " + $0 }.joined(separator: "\n")
        return """
            ---
            apiVersion: networking.istio.io/v1
            kind: DestinationRule
            metadata: {name: rule, namespace: default}
            spec:
              host: \(host)
              trafficPolicy:
            \(lines)
              subsets:
              - {name: v1, labels: {version: v1}}

            """
    }

    @Test(arguments: [
        "loadBalancer: {simple: RANDOM}", "loadBalancer: {simple: LEAST_REQUEST, warmup: {duration: 60s}}",
        "loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 60s, aggression: 2, minimumPercent: 20}}",
        "loadBalancer: {simple: PASSTHROUGH}",
        "loadBalancer: {consistentHash: {httpHeaderName: x-user, ringHash: {minimumRingSize: 4096}}}",
        "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 1000}}}",
        """
        outlierDetection: {consecutive5xxErrors: 3, interval: 5s, baseEjectionTime: 10m, maxEjectionPercent: 50,
          minHealthPercent: 30, splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 4}
        loadBalancer: {localityLbSetting: {enabled: true, failover: [{from: a, to: b}]}}
        """,
        """
        connectionPool:
          tcp: {maxConnections: 10, connectTimeout: 3s, idleTimeout: 60s, maxConnectionDuration: 10s,
            tcpKeepalive: {probes: 3, time: 60s, interval: 5s}}
          http: {http1MaxPendingRequests: 5, http2MaxRequests: 6, maxRequestsPerConnection: 7, maxRetries: 2,
            idleTimeout: 30s, h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 8}
        """,
        "connectionPool: {http: {useClientProtocol: true}}",
        "tls: {mode: SIMPLE, sni: reviews.example.com, subjectAltNames: [reviews.example.com]}",
        "tls: {mode: DISABLE}", "tls: {mode: ISTIO_MUTUAL}", "proxyProtocol: {version: V2}",
        "retryBudget: {percent: 30, minRetryConcurrency: 5}",
    ])
    func clustersAreTaken(_ policy: String) throws {
        var taken = 0
        for host in ["reviews", "api.example.com"] {
            let text = Self.services + rule(policy, host: host)
            let index = MeshIndex(try ObjectText(Array(text.utf8)).objects)
            let translator = Translator(
                MeshReader(index), settings: TranslationSettings(trustDomain: try TrustDomain("cluster.local")))
            let scope = OutboundScope(namespace: "default")
            for host in Self.hosts {
                guard let service = translator.service(host, in: "default", for: scope) else {
                    Issue.record("no service \(host)")
                    continue
                }
                for resource in translator.outboundClusters(of: service, for: scope) {
                    taken += expectTaken(resource)
                }
                for resource in translator.endpoints(of: service, for: scope) {
                    _ = try EndpointSet(resource.body)
                }
            }
            for proxy in [ProxyClass(namespace: "default", labels: ["app": "reviews"])] {
                for resource in translator.inboundClusters(of: proxy) + translator.commonClusters() {
                    taken += expectTaken(resource)
                }
            }
        }
        #expect(taken >= 30)
    }

    private func expectTaken(_ resource: XDS.Resource) -> Int {
        do {
            let cluster = try ClusterConfiguration(resource.body)
            #expect(cluster.name == resource.name)
            return 1
        } catch {
            Issue.record("\(resource.name): \(error)")
            return 0
        }
    }
}
