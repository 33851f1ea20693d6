import Mesh
import Testing

struct IndexTests {
    private func words(_ index: MeshIndex, _ severity: MeshFinding.Severity? = nil) -> [String] {
        index.findings().filter { severity == nil || $0.severity == severity }.map {
            ($0.object.map { "\($0)" } ?? "") + ": " + line($0)
        }
    }

    @Test func aMeshThatFitsTogetherHasNoFindings() {
        let index = index(
            bookshop,
            object(.virtualService, "hosts: [reviews]\nhttp: [{route: [{destination: {host: reviews, subset: v1}}]}]"))
        #expect(words(index) == [])
        #expect(index.count == 7)
    }

    @Test func hostsAreFoundInEveryFormThatTheyAreWrittenIn() {
        let index = index(
            bookshop,
            object(
                .serviceEntry,
                "hosts: [\"*.example.com\", b.example.com]\nports: [{number: 80, name: http, protocol: HTTP}]"))
        for host in [
            "reviews", "reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local", "REVIEWS.",
        ] {
            #expect(index.services(matching: host, from: "default").map(\.key.name) == ["reviews"], "\(host)")
        }
        #expect(index.services(matching: "reviews", from: "other") == [])
        #expect(index.services(matching: "reviews.default", from: "other").count == 1)
        #expect(index.services(matching: "a.example.com", from: "other").map(\.host) == ["*.example.com"])
        #expect(index.services(matching: "b.example.com", from: "other").map(\.host) == ["b.example.com"])
        #expect(index.services(matching: "example.com", from: "other") == [])
    }

    @Test func destinationRulesOfTheClientComeBeforeThoseOfTheService() {
        let index = index(
            bookshop,
            object(.destinationRule, "host: reviews.default.svc.cluster.local", name: "theirs", namespace: "other"))
        let host = "reviews.default.svc.cluster.local"
        #expect(index.destinationRules(for: host, from: "other").map(\.key.name) == ["theirs"])
        #expect(index.destinationRules(for: host, from: "default").map(\.key.name) == ["reviews"])
        #expect(index.destinationRules(for: host, from: "third").map(\.key.name) == ["reviews"])
    }

    @Test func theNarrowestModeOfMutualTLSHolds() {
        var index = index(
            bookshop, object(.peerAuthentication, "mtls: {mode: STRICT}", namespace: "istio-system"),
            object(
                .peerAuthentication, "selector: {matchLabels: {app: a}}\nportLevelMtls: {80: {mode: DISABLE}}",
                name: "one"))
        #expect(index.mutualTLS(of: ["app": "a"], in: "default", port: 80) == .disable)
        #expect(index.mutualTLS(of: ["app": "a"], in: "default", port: 81) == .strict)
        index.apply(.remove(ObjectKey(.peerAuthentication, "istio-system", "test")))
        #expect(index.mutualTLS(of: ["app": "b"], in: "default", port: 81) == .permissive)
    }

    @Test(
        arguments: [
            (
                ObjectKind.virtualService, "hosts: [reviews]\nhttp: [{route: [{destination: {host: revews}}]}]",
                "8: spec.http[0].route[0].destination.host: no service has the host `revews` (revews.default.svc.cluster.local)"
            ),
            (
                .virtualService, "hosts: [reviews]\nhttp: [{route: [{destination: {host: reviews, subset: v2}}]}]",
                "8: spec.http[0].route[0].destination.subset: no DestinationRule defines the subset `v2` of `reviews`"
            ),
            (
                .virtualService,
                "hosts: [reviews]\nhttp: [{route: [{destination: {host: reviews, port: {number: 80}}}]}]",
                "8: spec.http[0].route[0].destination.port.number: `reviews` has no port 80"
            ),
            (
                .virtualService,
                "hosts: [reviews]\ngateways: [entry]\nhttp: [{route: [{destination: {host: reviews}}]}]",
                "8: spec.gateways[0]: there is no Gateway `entry`"
            ),
            (
                .virtualService, "hosts: [nobody]\nhttp: [{route: [{destination: {host: reviews}}]}]",
                "7: spec.hosts[0]: no service has the host `nobody` (nobody.default.svc.cluster.local)"
            ),
            (
                .virtualService, "hosts: [reviews]\nhttp: [{delegate: {name: nobody}}]",
                "8: spec.http[0].delegate: there is no VirtualService default/nobody"
            ),
            (
                .virtualService, "hosts: [reviews]\nhttp: [{delegate: {name: test}}]",
                "8: spec.http[0].delegate: it leads back to where it came from: VirtualService default/test → VirtualService default/test"
            ),
            (
                .virtualService,
                "hosts: [reviews]\nhttp:\n- route: [{destination: {host: reviews}}]\n- match: [{uri: {prefix: /a}}]\n  route: [{destination: {host: reviews}}]",
                "10: spec.http[1]: it is never taken: spec.http[0] takes these requests before it"
            ),
            (
                .virtualService,
                "hosts: [reviews]\nhttp:\n- match: [{uri: {prefix: /a}}]\n  route: [{destination: {host: reviews}}]\n- match: [{uri: {exact: /a/b}, headers: {x: {exact: y}}}]\n  route: [{destination: {host: reviews}}]",
                "11: spec.http[1]: it is never taken: spec.http[0] takes these requests before it"
            ),
            (
                .gateway,
                "selector: {app: entry}\nservers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [\"*\"]}]",
                "7: spec.selector: no workload has these labels: nobody runs it"
            ),
            (
                .gateway,
                "selector: {app: reviews}\nservers: [{port: {number: 443, name: h, protocol: HTTPS}, hosts: [\"*\"], tls: {mode: SIMPLE, credentialName: c}}]",
                "8: spec.servers[0].tls.credentialName: there is no Secret `c` in default"
            ),
            (
                .destinationRule, "host: reviews",
                "7: spec.host: DestinationRule default/reviews is for this host too: its traffic policy holds, and subsets are merged"
            ),
            (
                .destinationRule, "host: ratings\nsubsets: [{name: v9, labels: {version: v9}}]",
                "8: spec.subsets[0].labels: no workload of `ratings` has the labels of subset `v9`"
            ),
            (
                .authorizationPolicy, "{}",
                "6: spec: it allows nothing: every workload of the namespace refuse every call"
            ),
            (
                .authorizationPolicy, "action: DENY\nrules: [{}]",
                "8: spec.rules[0]: it denies everything: every workload of the namespace refuse every call"
            ),
            (
                .authorizationPolicy, "selector: {matchLabels: {app: nobody}}\nrules: [{}]",
                "7: spec.selector.matchLabels: no workload has these labels"
            ),
            (
                .sidecar, "egress: [{hosts: [./nobody]}]",
                "7: spec.egress[0].hosts[0]: no service has the host `nobody` (nobody.default.svc.cluster.local)"
            ),
            (
                .service, "selector: {app: reviews}\nports: [{port: 80, targetPort: nobody}]",
                "8: spec.ports[0].targetPort: no workload behind it names a port `nobody`"
            ),
            (
                .httpRoute, "parentRefs: [{name: entry}]\nrules: [{backendRefs: [{name: reviews, port: 9080}]}]",
                "7: spec.parentRefs[0].name: there is no Gateway (Gateway API) default/entry"
            ),
            (
                .httpRoute, "rules: [{backendRefs: [{name: reviews, port: 80}]}]",
                "7: spec.rules[0].backendRefs[0].port: Service default/reviews has no port 80"
            ),
            (
                .httpRoute, "rules: [{backendRefs: [{name: reviews, port: 80, namespace: other}]}]",
                "7: spec.rules[0].backendRefs[0].namespace: the namespace other grants no reference to Service other/reviews"
            ),
        ] as [(ObjectKind, String, String)])
    func whatDoesNotFitIsFoundAtItsLine(kind: ObjectKind, spec: String, expected: String) {
        let index = index(bookshop, object(kind, spec))
        #expect(index.findings(about: ObjectKey(kind, "default", "test")).map(line) == [expected])
    }

    @Test func twoVirtualServicesForOneHostInTheMeshAreAnError() {
        let spec = "hosts: [reviews]\nhttp: [{route: [{destination: {host: reviews}}]}]"
        let index = index(bookshop, object(.virtualService, spec, name: "a"), object(.virtualService, spec, name: "b"))
        #expect(
            words(index, .error) == [
                "VirtualService default/b: 7: spec.hosts[0]: VirtualService default/a routes `reviews` in the sidecars already"
            ])
        #expect(
            index.findings(after: [ObjectKey(.virtualService, "default", "a")]).filter { $0.severity == .error }.count
                == 1)
    }

    @Test func delegatesThatRunInACircleAreAnError() {
        func text(_ name: String, _ next: String) -> String {
            object(.virtualService, "hosts: [\(name).example]\nhttp: [{delegate: {name: \(next)}}]", name: name)
        }
        let index = index(text("a", "b"), text("b", "c"), text("c", "a"))
        #expect(index.findings().filter { $0.kind == .delegateCycle }.count == 3)
    }

    @Test func aGrantLetsARouteReferToAnotherNamespace() {
        let other = object(.service, "ports: [{port: 80}]\nclusterIP: None", name: "a", namespace: "other")
        let route = object(.httpRoute, "rules: [{backendRefs: [{name: a, port: 80, namespace: other}]}]")
        let grant = object(
            .referenceGrant,
            "from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]\nto: [{group: \"\", kind: Service}]",
            namespace: "other")
        #expect(words(index(other, route)).count == 1)
        #expect(words(index(other, route, grant)) == [])
    }

    @Test func aListenerRefusesRoutesOfNamespacesThatItDoesNotAllow() {
        let gateway = object(
            .kubernetesGateway,
            "gatewayClassName: istio\nlisteners: [{name: http, port: 80, protocol: HTTP, hostname: \"*.a.example\"}]",
            name: "entry", namespace: "front")
        let route = object(.httpRoute, "parentRefs: [{name: entry, namespace: front}]\nhostnames: [x.b.example]")
        let same = object(.httpRoute, "parentRefs: [{name: entry}]\nhostnames: [x.b.example]", namespace: "front")
        #expect(
            words(index(gateway, route, same)) == [
                "HTTPRoute default/test: 7: spec.parentRefs[0]: no listener of Gateway (Gateway API) front/entry takes routes of the namespace default",
                "HTTPRoute front/test: 8: spec.hostnames: no listener of Gateway (Gateway API) front/entry has one of these host names",
            ])
    }

    @Test func aProxyThatConnectsIsAWorkload() {
        var index = index(object(.service, "selector: {app: a}\nports: [{port: 80}]", name: "a"))
        #expect(index.findings().map(\.kind) == [.selectsNothing])
        let id = Workload.ID(namespace: "default", name: "a-1")
        index.apply(.connect(Workload(id: id, labels: ["app": "a"], serviceAccount: "default")))
        #expect(index.findings() == [])
        #expect(index.workloads(with: ["app": "a"], in: "default").map(\.id) == [id])
        #expect(index.services(selecting: ["app": "a", "version": "v1"], in: "default").map(\.key.name) == ["a"])
        #expect(index.services(selecting: ["app": "b"], in: "default").isEmpty)
        index.apply(.disconnect(id))
        #expect(index.findings().map(\.kind) == [.selectsNothing])
    }

    /// Whatever the order of changes, the index says the same as one made of what is left.
    @Test func changesOneByOneEqualARebuild() throws {
        let texts = [
            bookshop, object(.virtualService, "hosts: [reviews]\nhttp: [{delegate: {name: x}}]"),
            object(.serviceEntry, "hosts: [\"*.example.com\"]"),
            object(.gateway, "servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: [a]}]"),
            object(.peerAuthentication, "mtls: {mode: STRICT}"), object(.httpRoute, "parentRefs: [{name: entry}]"),
        ]
        let pool = texts.flatMap { read($0) }
        var random = Xorshift(state: 42)
        for _ in 0..<50 {
            var index = MeshIndex()
            var left: [ObjectKey: MeshObject] = [:]
            for _ in 0..<60 {
                let object = pool[Int.random(in: 0..<pool.count, using: &random)]
                if Bool.random(using: &random) {
                    index.apply(.put(object))
                    left[object.key] = object
                } else {
                    index.apply(.remove(object.key))
                    left[object.key] = nil
                }
            }
            let rebuilt = MeshIndex(left.values)
            #expect(index.keys == rebuilt.keys)
            #expect(index.findings() == rebuilt.findings())
            for host in ["reviews", "a.example.com", "nobody"] {
                #expect(
                    index.services(matching: host, from: "default") == rebuilt.services(matching: host, from: "default")
                )
            }
        }
    }
}

private struct Xorshift: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }
}

/// A domain that two have stays with the one whose own host it is.
@Test func anEntryThatTakesTheShortNameOfAServiceIsTold() {
    for host in ["reviews", "reviews.default", "reviews.default.svc"] {
        let entry = object(
            .serviceEntry, "hosts: [\(host)]\nports: [{number: 9080, name: http, protocol: HTTP}]\nresolution: DNS")
        let told = index(bookshop, entry).findings().filter { $0.kind == .hostClaimedTwice }
        #expect(told.map(\.path) == ["spec.hosts[0]"] && told.first?.words.contains("`\(host)` is short") == true)
        #expect(index(entry).findings().filter { $0.kind == .hostClaimedTwice }.isEmpty)
    }
}
