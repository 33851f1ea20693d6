import Identity
import Mesh
import Testing
import XDS

@testable import Translation

/// Which sections one change makes anew, and which views it touches: exactly those that depend on it.
@Suite struct RebuildCountTests {
    private var index = MeshIndex()
    private var translation: MeshTranslation

    /// Twelve services in three namespaces, two views in each.
    init() throws {
        var objects: [MeshObject] = []
        for namespace in ["a", "b", "c"] {
            for name in ["one", "two", "three", "four"] {
                objects.append(try Self.service(name, namespace))
                objects.append(try Self.slice(name, namespace, "10.0.0.1"))
            }
        }
        index = MeshIndex(objects)
        translation = MeshTranslation(
            settings: TranslationSettings(trustDomain: try TrustDomain("cluster.local")), index: index)
        for namespace in ["a", "b", "c"] {
            for app in ["one", "two"] { translation.add(ProxyClass(namespace: namespace, labels: ["app": app])) }
        }
    }

    private static func object(_ text: String) throws -> MeshObject {
        try #require(try ObjectText(Array(text.utf8)).objects.first)
    }

    private static func service(_ name: String, _ namespace: String) throws -> MeshObject {
        try object(
            """
            apiVersion: v1
            kind: Service
            metadata: { name: \(name), namespace: \(namespace) }
            spec: { selector: { app: \(name) }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
            """)
    }

    private static func slice(_ name: String, _ namespace: String, _ address: String) throws -> MeshObject {
        try object(
            """
            apiVersion: discovery.k8s.io/v1
            kind: EndpointSlice
            metadata:
              name: \(name)
              namespace: \(namespace)
              labels: { kubernetes.io/service-name: \(name) }
            addressType: IPv4
            endpoints: [{ addresses: ["\(address)"] }]
            ports: [{ name: http, port: 8080 }]
            """)
    }

    private mutating func follow(_ changes: MeshIndex.Change...) -> ViewChanges {
        index = index.applying(changes)
        return translation.follow(index, changes: changes)
    }

    @Test mutating func oneEndpointMakesOneSectionAndEveryViewSharesIt() throws {
        let changes = follow(.put(try Self.slice("one", "a", "10.0.0.2")))
        #expect(changes.different == [.endpoints: 1])
        #expect(changes.views.count == 6)
        let name = "outbound|80||one.a.svc.cluster.local"
        for view in changes.views {
            #expect(view.setting.map(\.name) == [name] && view.removing.isEmpty)
            #expect(view.after[.endpoints] === changes.views[0].after[.endpoints], "one set for all")
            #expect(view.after[.cluster] === view.before[.cluster])
        }
    }

    @Test mutating func whatMeansTheSameChangesNothing() throws {
        let changes = follow(.put(try Self.slice("one", "a", "10.0.0.1")))
        #expect(changes.made.isEmpty && changes.views.isEmpty)
    }

    @Test mutating func aVirtualServiceForOneNamespaceTouchesItsViewsAlone() throws {
        let virtual = try Self.object(
            """
            apiVersion: networking.istio.io/v1
            kind: VirtualService
            metadata: { name: one, namespace: a }
            spec:
              hosts: [one]
              exportTo: ["."]
              http: [{ timeout: 1s, route: [{ destination: { host: one } }] }]
            """)
        let changes = follow(.put(virtual))
        #expect(changes.views.map(\.proxy.namespace) == ["a", "a"])
        #expect(changes.different[.clusters] == nil && changes.different[.endpoints] == nil)
        #expect(changes.views.allSatisfy { $0.setting.map(\.name) == ["80"] })
        let removed = follow(.remove(virtual.key))
        #expect(removed.views.map(\.after[.route].version) == changes.views.map(\.before[.route].version))
    }

    @Test mutating func aVirtualServiceForAllMakesItsHostAnewInEachNamespaceOnce() throws {
        let virtual = try Self.object(
            """
            apiVersion: networking.istio.io/v1
            kind: VirtualService
            metadata: { name: one, namespace: a }
            spec: { hosts: [one], http: [{ timeout: 1s, route: [{ destination: { host: one } }] }] }
            """)
        let changes = follow(.put(virtual))
        // As clients of its own namespace see it, and as all others do.
        #expect(changes.different[.virtualHost] == 2)
        #expect(changes.different[.routes] == 3)
        #expect(changes.different[.clusters] == nil && changes.different[.endpoints] == nil)
        #expect(changes.views.count == 6)
    }

    @Test mutating func aDestinationRuleOfAClientsNamespaceIsForItsViewsAlone() throws {
        let rule = try Self.object(
            """
            apiVersion: networking.istio.io/v1
            kind: DestinationRule
            metadata: { name: one, namespace: b }
            spec: { host: one.a.svc.cluster.local, trafficPolicy: { connectionPool: { tcp: { maxConnections: 7 } } } }
            """)
        let changes = follow(.put(rule))
        #expect(changes.views.map(\.proxy.namespace) == ["b", "b"])
        #expect(changes.views.allSatisfy { $0.setting.map(\.name) == ["outbound|80||one.a.svc.cluster.local"] })
        // Its endpoints are equal to everybody's, and one object with them.
        let name = "outbound|80||one.a.svc.cluster.local"
        let own = changes.views[0].after[.endpoints].resource(named: name)
        let others = translation.snapshot(of: translation.proxies[0])?[.endpoints].resource(named: name)
        #expect(own != nil && own === others)
        let removed = follow(.remove(rule.key))
        #expect(removed.views.map(\.after[.cluster].version) == changes.views.map(\.before[.cluster].version))
    }

    @Test mutating func aPolicyTouchesTheClassesThatItSelects() throws {
        let policy = try Self.object(
            """
            apiVersion: security.istio.io/v1
            kind: PeerAuthentication
            metadata: { name: strict, namespace: a }
            spec: { selector: { matchLabels: { app: one } }, mtls: { mode: STRICT } }
            """)
        let changes = follow(.put(policy))
        #expect((changes.made[.inbound] ?? 0) <= 1)
        #expect(changes.made[.clusters, default: 0] <= 1 && changes.made[.virtualHost] == nil)
    }

    @Test mutating func aWorkloadThatComesAndGoesIsAnEndpointMeanwhile() throws {
        let before = translation.proxies.compactMap { translation.snapshot(of: $0)?[.endpoints].version }
        let workload = Workload(
            id: Workload.ID(namespace: "a", name: "two-1"), labels: ["app": "two"], serviceAccount: "default",
            addresses: ["10.0.0.9"])
        let came = follow(.connect(workload))
        #expect(came.different[.endpoints] == 1 && came.different[.routes] == nil)
        #expect(came.views.count == 6)
        _ = follow(.disconnect(workload.id))
        #expect(translation.proxies.compactMap { translation.snapshot(of: $0)?[.endpoints].version } == before)
    }

    @Test mutating func aPlanChangesNothing() throws {
        let before = translation.proxies.compactMap { translation.snapshot(of: $0)?.generation }
        let change = MeshIndex.Change.remove(ObjectKey(.service, "a", "one"))
        let plan = translation.plan(index.applying([change]), changes: [change])
        #expect(plan.views.count == 6)
        let name = "outbound|80||one.a.svc.cluster.local"
        #expect(plan.views.allSatisfy { $0.removing.contains(ResourceReference(.cluster, name)) })
        #expect(translation.proxies.compactMap { translation.snapshot(of: $0)?.generation } == before)
    }

    @Test mutating func theLastProxyTakesEverythingWithIt() {
        for proxy in translation.proxies { translation.remove(proxy) }
        #expect(translation.sections.count == 0 && translation.sections.factCount == 0)
        #expect(translation.holders.isEmpty && translation.scopes.isEmpty)
    }
}
