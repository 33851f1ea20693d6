import Identity
import Mesh
import Testing

@testable import Translation

/// A shop of two services: `reviews` in two versions, one workload of each, and `db`.
private let shop = """
    apiVersion: v1
    kind: Service
    metadata: {name: reviews, namespace: shop}
    spec: {selector: {app: reviews}, ports: [{port: 9080, name: http}]}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: db, namespace: shop}
    spec: {selector: {app: db}, ports: [{port: 5432, name: tcp}]}
    ---
    apiVersion: networking.istio.io/v1
    kind: DestinationRule
    metadata: {name: reviews, namespace: shop}
    spec:
      host: reviews
      subsets:
      - {name: v1, labels: {version: v1}}
      - {name: v2, labels: {version: v2}}
    ---
    apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {name: reviews, namespace: shop}
    spec:
      hosts: [reviews]
      http:
      - match: [{headers: {end-user: {exact: jason}}}]
        route: [{destination: {host: reviews, subset: v2}}]
        timeout: 2s
      - match: [{uri: {prefix: /old}}]
        rewrite: {uri: /new}
        route:
        - {destination: {host: reviews, subset: v1}, weight: 3}
        - {destination: {host: reviews, subset: v2}, weight: 1}
      - match: [{uri: {prefix: /gone}}]
        redirect: {uri: /here, redirectCode: 302}
      - match: [{uri: {prefix: /}}]
        route: [{destination: {host: reviews, subset: v1}}]

    """

private let jason = TrafficQuestion.Caller(
    namespace: "shop", name: "page-1", labels: ["app": "page"], serviceAccount: "page", address: "10.0.0.1")

struct ExplainTests {
    private func explain(_ question: TrafficQuestion, _ more: String...) throws -> Explanation {
        let text = shop + more.joined()
        var index = MeshIndex(try ObjectText(Array(text.utf8), file: "shop.yaml").objects)
        for (name, app, version, address) in [
            ("reviews-1", "reviews", "v1", "10.0.0.11"), ("reviews-2", "reviews", "v2", "10.0.0.12"),
            ("db-1", "db", "v1", "10.0.0.21"),
        ] {
            index.apply(
                .connect(
                    Workload(
                        id: Workload.ID(namespace: "shop", name: name), labels: ["app": app, "version": version],
                        serviceAccount: app, addresses: [address])))
        }
        let settings = TranslationSettings(trustDomain: try TrustDomain("cluster.local"))
        return Translator(MeshReader(index), settings: settings).explain(question)
    }

    @Test func aRequestIsFollowedFromTheRuleToTheServer() throws {
        let found = try explain(
            TrafficQuestion(from: jason, to: "reviews", port: 9080, headers: ["End-User": "jason"]))
        #expect(found.identity == "spiffe://cluster.local/ns/shop/sa/page")
        #expect(found.listener == "0.0.0.0_9080" && found.routes == "9080")
        #expect(found.virtualHost == "reviews.shop.svc.cluster.local:9080")
        #expect(found.service?.line == 1 && found.service?.file == "shop.yaml")
        #expect(found.rule?.place?.path == "spec.http[0].match[0]" && found.rule?.place?.line == 26)
        #expect(found.shares.map(\.cluster) == ["outbound|9080|v2|reviews.shop.svc.cluster.local"])
        #expect(found.shares[0].percent == 100 && found.shares[0].subsetPlace?.line == 18)
        let server = try #require(found.shares[0].servers.first)
        #expect(server.address == "10.0.0.12" && server.workload == "reviews-2" && server.security == .mutualTLS)
        #expect(server.mode == .permissive && server.modePlace?.object == MeshConfig.key)
        #expect(server.verdict == .allowed(nil) && found.shares[0].servers.count == 1 && found.isAllowed)
    }

    @Test func sharesRedirectionsAndStreamsAreTold() throws {
        let old = try explain(TrafficQuestion(from: jason, to: "reviews.shop", path: "/old/1"))
        #expect(old.shares.map(\.percent) == [75, 25] && old.port == 9080)
        #expect(old.effects.contains("writes the path anew: /new"))
        let gone = try explain(TrafficQuestion(from: jason, to: "reviews", path: "/gone"))
        #expect(gone.outcome == .redirected(status: 302, to: "http://reviews/here"))
        let stream = try explain(TrafficQuestion(from: jason, to: "db"))
        #expect(stream.routes == nil && stream.rule?.name == "default")
        #expect(stream.shares.map(\.cluster) == ["outbound|5432||db.shop.svc.cluster.local"])
        #expect(stream.shares[0].servers.map(\.address) == ["10.0.0.21"])
    }

    @Test func whatNobodyHasIsPassedOrRefused() throws {
        let elsewhere = TrafficQuestion(from: jason, to: "example.com", port: 9080)
        #expect(try explain(elsewhere).outcome == .passedThrough)
        let closed = meshConfig("outboundTrafficPolicy: REGISTRY_ONLY")
        guard case .refused(status: 502, _) = try explain(elsewhere, closed).outcome else {
            Issue.record("it is not refused")
            return
        }
        let unknown = try explain(TrafficQuestion(from: jason, to: "nothing", port: 81))
        #expect(unknown.listener == "virtualOutbound")
        #expect(unknown.notes == ["no Service and no ServiceEntry has the host nothing.shop.svc.cluster.local"])
    }

    @Test func thePolicyThatDecidesSeesWhatTheServerSees() throws {
        let policy = """
            ---
            apiVersion: security.istio.io/v1
            kind: AuthorizationPolicy
            metadata: {name: reviews, namespace: shop}
            spec:
              selector: {matchLabels: {app: reviews}}
              rules:
              - from: [{source: {principals: [cluster.local/ns/shop/sa/other]}}]
              - from: [{source: {namespaces: [shop]}}]
                to: [{operation: {paths: ["/new*"], methods: [GET]}}]

            """
        let new = try explain(TrafficQuestion(from: jason, to: "reviews", path: "/old/1"), policy)
        let servers = new.shares.flatMap(\.servers)
        #expect(servers.count == 2)
        for server in servers {
            guard case .allowed(let rule?) = server.verdict else {
                Issue.record("\(server.verdict)")
                continue
            }
            #expect(rule.name == "ns[shop]-policy[reviews]-rule[1]")
            #expect(rule.place?.path == "spec.rules[1]" && rule.place?.line == 46)
        }
        let put = try explain(TrafficQuestion(from: jason, to: "reviews", method: "PUT", path: "/old"), policy)
        #expect(put.shares.flatMap(\.servers).map(\.verdict) == [.denied(nil), .denied(nil)])
        #expect(!put.isAllowed)
    }

    @Test func whoHasNoSidecarHasNoIdentity() throws {
        var rogue = jason
        rogue.hasSidecar = false
        let question = TrafficQuestion(from: rogue, to: "reviews")
        let open = try explain(question)
        #expect(open.identity == nil && open.rule == nil)
        // Both versions: nobody routes for it.
        #expect(open.shares.flatMap(\.servers).map(\.security) == [.plaintext, .plaintext])
        #expect(open.isAllowed)
        let strict = try explain(question, meshConfig("mtls: STRICT"))
        #expect(
            strict.shares.flatMap(\.servers).map(\.verdict)
                == Array(repeating: .noConnection("its sidecar takes mutual TLS alone"), count: 2))
        let isolated = try explain(question, meshConfig("isolateNamespaces: true"))
        #expect(isolated.shares.flatMap(\.servers).map(\.verdict) == [.denied(nil), .denied(nil)])
        let own = try explain(TrafficQuestion(from: jason, to: "reviews"), meshConfig("isolateNamespaces: true"))
        guard case .allowed(let rule?) = own.shares[0].servers[0].verdict else {
            Issue.record("\(own.shares[0].servers[0].verdict)")
            return
        }
        #expect(rule.name == "namespace-isolation[shop]" && rule.place?.path == "spec.isolateNamespaces")
    }

    @Test func theTextNamesEveryObjectWithItsLine() throws {
        let found = try explain(
            TrafficQuestion(from: jason, to: "reviews", port: 9080, headers: ["end-user": "jason"]),
            made(.peerAuthentication, "all", in: "shop", "mtls: {mode: STRICT}"))
        #expect(
            found.text == """
                from       shop/page-1, spiffe://cluster.local/ns/shop/sa/page
                to         GET reviews.shop.svc.cluster.local:9080/
                service    Service shop/reviews shop.yaml:1
                listener   0.0.0.0_9080, routes 9080
                host       reviews.shop.svc.cluster.local:9080
                rule       shop/reviews[0], VirtualService shop/reviews spec.http[0].match[0] shop.yaml:26
                           ends after 2.0 seconds
                share      100 % to outbound|9080|v2|reviews.shop.svc.cluster.local
                             subset v2, DestinationRule shop/reviews spec.subsets[1] shop.yaml:18
                  server     10.0.0.12:9080 reviews-2: mutual TLS
                             STRICT, PeerAuthentication shop/all spec.mtls.mode shop.yaml:43
                             allowed: no policy asks

                """)
    }
}
