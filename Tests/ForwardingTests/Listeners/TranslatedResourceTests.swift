import Foundation
import Identity
import Mesh
import Testing
import Translation
import XDS

@testable import Forwarding

/// Whatever the mesh translation makes, this proxy serves.
struct TranslatedResourceTests {
    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Deploy/bookinfo")

    private static let proxies: [ProxyClass] = [
        ProxyClass(
            namespace: "default", labels: ["app": "productpage", "version": "v1"],
            serviceAccount: "bookinfo-productpage"),
        ProxyClass(
            namespace: "default", labels: ["app": "reviews", "version": "v2"], serviceAccount: "bookinfo-reviews",
            interception: .transparent),
        ProxyClass(
            namespace: "default", labels: ["app": "ratings", "version": "v1"],
            interception: .explicit(.init(inbound: "127.3.0.1", outbound: "127.3.0.2"))),
        ProxyClass(
            .gateway, namespace: "istio-system", labels: ["istio": "ingressgateway", "app": "istio-ingressgateway"]),
    ]

    /// Rules that the files of the book shop have none of.
    private static let policies = """
        apiVersion: security.istio.io/v1
        kind: PeerAuthentication
        metadata: {name: default, namespace: default}
        spec: {mtls: {mode: STRICT}, selector: {matchLabels: {app: ratings}}, portLevelMtls: {9080: {mode: PERMISSIVE}}}
        ---
        apiVersion: security.istio.io/v1
        kind: AuthorizationPolicy
        metadata: {name: viewers, namespace: default}
        spec:
          action: DENY
          rules:
          - from: [{source: {notPrincipals: [cluster.local/ns/default/sa/bookinfo-productpage]}}]
            to: [{operation: {paths: [/admin*], methods: [POST], notPorts: ["9080"]}}]
            when: [{key: "request.headers[x-a]", values: [b*]}, {key: source.ip, values: [10.0.0.0/8]}]
        ---
        apiVersion: security.istio.io/v1
        kind: RequestAuthentication
        metadata: {name: tokens, namespace: default}
        spec:
          jwtRules:
          - issuer: me
            jwks: '{"keys":[{"kty":"RSA","e":"AQAB","kid":"DHFbpoIUqrY8t2zpA2qXfCmr5VO5ZEr4RzHU_-envvQ","n":"xAE7eB6qugXyCAG3yhh7pkDkT65pHymX-P7KfIupjf59vsdo91bSP9C8H07pSAGQO1MV_xFj9VswgsCg4R6otmg5PV2He95lZdHtOcU5DXIg_pbhLdKXbi66GlVeK6ABZOUW3WYtnNHD-91gVuoeJT_DwtGGcp4ignkgXfkiEm4sw-4sfb4qdt5oLbyVpmW6x9cfa7vs2WTfURiCrBoUqgBo_-4WTiULmmHSGZHOjzwa8WtrtOQGsAFjIbno85jp6MnGGGZPYZbDAa_b3y5u-YpW7ypZrvD8BgtKVjgtQgZhLAGezMt0ua3DRrWnKqTZ0BJ_EyxOGuHJrLsn00fnMQ"}]}'
            forwardOriginalToken: true
        ---
        apiVersion: telemetry.istio.io/v1
        kind: Telemetry
        metadata: {name: logs, namespace: default}
        spec: {accessLogging: [{providers: [{name: envoy}]}], tracing: [{randomSamplingPercentage: 5}]}
        ---
        apiVersion: networking.istio.io/v1
        kind: ServiceEntry
        metadata: {name: outside, namespace: default}
        spec:
          hosts: [api.example.com, "*.wild.example.com"]
          location: MESH_EXTERNAL
          resolution: NONE
          ports: [{number: 443, name: tls, protocol: TLS}, {number: 80, name: http, protocol: HTTP}]
        ---
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {name: everything, namespace: default}
        spec:
          hosts: [details]
          http:
          - name: odd
            match:
            - uri: {prefix: /a}
              ignoreUriCase: true
              headers: {end-user: {exact: jason}, x: {regex: "a|b"}}
              withoutHeaders: {y: {prefix: z}}
              queryParams: {q: {exact: v}}
              method: {exact: GET}
              authority: {prefix: details}
            rewrite: {uri: /b, authority: c}
            retries: {attempts: 3, perTryTimeout: 2s, retryOn: "5xx,503"}
            timeout: 5s
            mirror: {host: reviews}
            mirrorPercentage: {value: 12.5}
            corsPolicy: {allowOrigins: [{regex: ".*"}], allowMethods: [GET], maxAge: 24h, allowCredentials: true}
            fault: {delay: {percentage: {value: 0.1}, fixedDelay: 5s}, abort: {httpStatus: 400, percentage: {value: 1}}}
            headers: {request: {set: {a: b, c: "%REQ(x)%"}, add: {d: e}, remove: [f]}, response: {add: {g: h}}}
            route:
            - {destination: {host: details}, weight: 10, headers: {response: {set: {v: one}}}}
            - {destination: {host: ratings}, weight: 90}
          - match: [{uri: {regex: "/c/(.*)"}}]
            rewrite: {uriRegexRewrite: {match: "/c/(.*)", rewrite: "/d/\\\\1"}}
            route: [{destination: {host: details}}]
          - match: [{uri: {exact: /r}}]
            redirect: {uri: /s, authority: t, redirectCode: 302, port: 8080, scheme: https}
          - match: [{uri: {exact: /direct}}]
            directResponse: {status: 503, body: {string: gone}}
          - route: [{destination: {host: details}}]
        ---
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {name: sticky, namespace: default}
        spec:
          host: ratings
          trafficPolicy:
            loadBalancer: {consistentHash: {httpCookie: {name: u, ttl: 60s}}}
            connectionPool: {http: {idleTimeout: 5s, maxRequestsPerConnection: 3, maxConcurrentStreams: 9}, tcp: {idleTimeout: 9s}}
        """

    private static func objects(_ names: [String]) throws -> [MeshObject] {
        try names.flatMap { name in
            let bytes = Array(try Data(contentsOf: folder.appendingPathComponent(name)))
            return try ObjectText(bytes, file: name).objects
        }
    }

    /// What does not compile of what the proxies get, in words; and how many resources there were.
    private static func refusals(_ objects: [MeshObject]) throws -> (words: [String], listeners: Int, tables: Int) {
        var translation = MeshTranslation(
            settings: TranslationSettings(trustDomain: try TrustDomain("cluster.local")), index: MeshIndex(objects))
        translation.add(proxies)
        var result: (words: [String], listeners: Int, tables: Int) = ([], 0, 0)
        for proxy in proxies {
            let snapshot = try #require(translation.snapshot(of: proxy))
            for resource in snapshot[.listener].sortedResources() {
                result.listeners += 1
                do {
                    _ = try ListenerConfiguration(resource.body)
                } catch {
                    result.words.append("\(resource.name): \(error)")
                }
            }
            for resource in snapshot[.route].sortedResources() {
                result.tables += 1
                do {
                    _ = try RouteTable(resource.body)
                } catch {
                    result.words.append("\(resource.name): \(error)")
                }
            }
        }
        return result
    }

    private static let base = [
        "kube/bookinfo.yaml", "kube/bookinfo-versions.yaml", "networking/destination-rule-all.yaml",
    ]

    @Test func everyFileOfTheBookShopBecomesListenersAndRoutesThatCompile() throws {
        var compiled = 0
        for part in ["networking", "gateway-api"] {
            let names = try FileManager.default.contentsOfDirectory(
                atPath: Self.folder.appendingPathComponent(part).path
            ).filter { $0.hasSuffix(".yaml") && !$0.hasPrefix("destination-rule-all") }.sorted()
            #expect(!names.isEmpty)
            for name in names {
                let gateway = name.contains("gateway") ? [] : ["networking/bookinfo-gateway.yaml"]
                let result = try Self.refusals(try Self.objects(Self.base + gateway + ["\(part)/\(name)"]))
                #expect(result.words == [], "\(name)")
                #expect(result.listeners >= 8 && result.tables >= 3)
                compiled += result.listeners + result.tables
            }
        }
        #expect(compiled > 200)
    }

    @Test func policiesAndEveryKindOfRuleCompileToo() throws {
        let more = try ObjectText(Array(Self.policies.utf8)).objects
        #expect(more.count == 7)
        let result = try Self.refusals(
            try Self.objects(Self.base + ["networking/bookinfo-gateway.yaml"]) + more)
        #expect(result.words == [])
        #expect(result.listeners >= 8 && result.tables >= 3)
    }
}
