import Mesh
import Testing
import XDS

@testable import Translation

struct EndpointTests {
    private let slice = """
        ---
        apiVersion: discovery.k8s.io/v1
        kind: EndpointSlice
        metadata: {name: reviews-1, namespace: default, labels: {kubernetes.io/service-name: reviews}}
        addressType: IPv4
        ports: [{name: http, port: 8080}, {name: metrics, port: 9100}]
        endpoints:
        - {addresses: [10.0.0.1], zone: a}
        - {addresses: [10.0.0.2], conditions: {ready: false}}
        - {addresses: [10.0.0.3], conditions: {ready: false, serving: true, terminating: true}}

        """

    @Test func aSliceTellsWhatIsReadyAndDrainsWhatEnds() throws {
        let rig = try ClusterRig(ClusterRig.reviews + slice)
        #expect(
            try rig.endpoints(ClusterRig.reviewsCluster) == [
                "0  1: 10.0.0.3:8080 DRAINING", "0 a 1: 10.0.0.1:8080",
            ])
    }

    @Test func anEndpointThatASliceAndAProxyTellOfIsOneOfTheMesh() throws {
        let rig = try ClusterRig(
            ClusterRig.reviews + slice,
            connected: [
                ClusterRig.workload("a", "10.0.0.1", labels: ["app": "reviews"], locality: "r/a/s"),
                ClusterRig.workload("b", "10.0.0.2", labels: ["app": "reviews"]),
                ClusterRig.workload("c", "10.0.0.4", labels: ["app": "reviews"]),
            ])
        // 10.0.0.2 is there and not ready.
        #expect(
            try rig.endpoints(ClusterRig.reviewsCluster) == [
                "0  2: 10.0.0.3:8080 DRAINING, 10.0.0.4:8080+istio", "0 r/a 1: 10.0.0.1:8080+istio",
            ])
    }

    @Test func subsetsHaveTheEndpointsWithTheirLabels() throws {
        let rig = try ClusterRig(
            ClusterRig.reviews
                + ClusterRig.rule(
                    """
                    subsets:
                    - {name: v1, labels: {version: v1}}
                    - {name: v3, labels: {version: v3}}
                    """),
            connected: [
                ClusterRig.workload("a", "10.0.0.1", labels: ["app": "reviews", "version": "v1"]),
                ClusterRig.workload("b", "10.0.0.2", labels: ["app": "reviews", "version": "v2"]),
                ClusterRig.workload("c", "10.0.0.3", labels: ["app": "ratings", "version": "v1"]),
            ])
        #expect(
            try rig.endpoints(ClusterRig.reviewsCluster) == ["0  2: 10.0.0.1:8080+istio, 10.0.0.2:8080+istio"])
        #expect(
            try rig.endpoints("outbound|9080|v1|reviews.default.svc.cluster.local") == ["0  1: 10.0.0.1:8080+istio"])
        #expect(try rig.endpoints("outbound|9080|v3|reviews.default.svc.cluster.local") == [])
    }

    @Test func aNamedPortIsTheWorkloadsOwn() throws {
        let text = ClusterRig.reviews.replacing("targetPort: 8080", with: "targetPort: web")
        let port = try #require(
            try meshIndex(
                """
                apiVersion: v1
                kind: Pod
                metadata: {name: p, namespace: default}
                spec: {containers: [{name: c, image: i, ports: [{name: web, containerPort: 7070}]}]}
                """
            ).workloads(in: "default").first?.ports)
        let rig = try ClusterRig(
            text,
            connected: [
                ClusterRig.workload("a", "10.0.0.1", labels: ["app": "reviews"], ports: port),
                ClusterRig.workload("b", "10.0.0.2", labels: ["app": "reviews"]),
            ])
        #expect(try rig.endpoints(ClusterRig.reviewsCluster) == ["0  1: 10.0.0.1:7070+istio"])
    }

    @Test func mutualTLSIsNotSpokenToWhoRefusesIt() throws {
        let rig = try ClusterRig(
            ClusterRig.reviews + """
                ---
                apiVersion: security.istio.io/v1
                kind: PeerAuthentication
                metadata: {name: plain, namespace: default}
                spec: {selector: {matchLabels: {version: v1}}, mtls: {mode: DISABLE}}
                """,
            connected: [
                ClusterRig.workload("a", "10.0.0.1", labels: ["app": "reviews", "version": "v1"]),
                ClusterRig.workload("b", "10.0.0.2", labels: ["app": "reviews", "version": "v2"]),
            ])
        #expect(try rig.endpoints(ClusterRig.reviewsCluster) == ["0  2: 10.0.0.1:8080, 10.0.0.2:8080+istio"])
    }

    @Test func entriesOfAServiceEntryHavePortsWeightsAndPlaces() throws {
        let rig = try ClusterRig(
            """
            apiVersion: networking.istio.io/v1
            kind: ServiceEntry
            metadata: {name: db, namespace: default}
            spec:
              hosts: [db.example.com]
              ports: [{number: 3306, name: tcp, protocol: TCP, targetPort: 3307}]
              resolution: STATIC
              location: MESH_INTERNAL
              endpoints:
              - {address: 10.1.0.1, weight: 3, locality: r/z1}
              - {address: 10.1.0.2, ports: {tcp: 4000}, locality: r/z1, labels: {security.istio.io/tlsMode: istio}}
              - {address: 10.1.0.3, locality: r/z2}
            """,
            connected: [ClusterRig.workload("x", "10.1.0.3", labels: [:])])
        #expect(
            try rig.endpoints("outbound|3306||db.example.com") == [
                "0 r/z1 4: 10.1.0.1:3307, 10.1.0.2:4000+istio", "0 r/z2 1: 10.1.0.3:3307+istio",
            ])
    }

    @Test func workloadEntriesServeWhoSelectsThem() throws {
        let rig = try ClusterRig(
            ClusterRig.reviews + """
                ---
                apiVersion: networking.istio.io/v1
                kind: ServiceEntry
                metadata: {name: vm, namespace: default}
                spec:
                  hosts: [vm.example.com]
                  ports: [{number: 80, name: http, protocol: HTTP}]
                  resolution: STATIC
                  location: MESH_INTERNAL
                  workloadSelector: {labels: {app: reviews}}
                ---
                apiVersion: networking.istio.io/v1
                kind: WorkloadEntry
                metadata: {name: vm1, namespace: default}
                spec: {address: 10.2.0.1, labels: {app: reviews}, weight: 5, serviceAccount: vm, ports: {http: 8888}}
                """)
        #expect(try rig.endpoints(ClusterRig.reviewsCluster) == ["0  5: 10.2.0.1:8888"])
        #expect(try rig.endpoints("outbound|80||vm.example.com") == ["0  5: 10.2.0.1:8888"])
    }

    // MARK: Where they are

    private func places(_ settings: String, outliers: Bool = true, _ client: String, labels: [String: String] = [:])
        throws -> [String]
    {
        let detection = outliers ? "outlierDetection: {consecutive5xxErrors: 1}" : "connectionPool: {}"
        let rig = try ClusterRig(
            ClusterRig.reviews
                + ClusterRig.rule(
                    """
                    trafficPolicy:
                      \(detection)
                      loadBalancer: {simple: ROUND_ROBIN, localityLbSetting: \(settings)}
                    """),
            connected: [
                ("a", "10.0.0.1", "eu/z1/s1"), ("b", "10.0.0.2", "eu/z1/s2"), ("c", "10.0.0.3", "eu/z2/s1"),
                ("d", "10.0.0.4", "us/z1/s1"), ("e", "10.0.0.5", "asia/z1/s1"),
            ].map { name, address, place in
                ClusterRig.workload(
                    name, address, labels: ["app": "reviews", "version": name == "d" ? "v2" : "v1"], locality: place)
            })
        let scope = OutboundScope(namespace: "default", labels: labels, locality: Locality(text: client))
        return try rig.endpoints(ClusterRig.reviewsCluster, scope).map { $0.replacing(":8080+istio", with: "") }
    }

    @Test func theNearestComeFirstIfSomethingEjectsThem() throws {
        #expect(
            try places("{}", "eu/z1/s1") == [
                "0 eu/z1 1: 10.0.0.1", "1 eu/z1 1: 10.0.0.2", "2 eu/z2 1: 10.0.0.3", "3 asia/z1 1: 10.0.0.5",
                "3 us/z1 1: 10.0.0.4",
            ])
        #expect(try places("{}", outliers: false, "eu/z1/s1").allSatisfy { $0.hasPrefix("0") })
        #expect(try places("{enabled: false}", "eu/z1/s1").allSatisfy { $0.hasPrefix("0") })
    }

    @Test func aFailoverNamesTheRegionThatComesNext() throws {
        #expect(
            try places("{failover: [{from: eu, to: us}]}", "eu/z2/s1") == [
                "0 eu/z2 1: 10.0.0.3", "1 eu/z1 1: 10.0.0.1", "1 eu/z1 1: 10.0.0.2", "2 us/z1 1: 10.0.0.4",
                "3 asia/z1 1: 10.0.0.5",
            ])
    }

    @Test func labelsDecideWhoComesFirst() throws {
        #expect(
            try places(
                "{failoverPriority: [version, topology.kubernetes.io/region]}", "us/z9/s9", labels: ["version": "v2"])
                == [
                    "0 us/z1 1: 10.0.0.4", "1 asia/z1 1: 10.0.0.5", "1 eu/z1 1: 10.0.0.1", "1 eu/z1 1: 10.0.0.2",
                    "1 eu/z2 1: 10.0.0.3",
                ])
        #expect(
            try places("{failoverPriority: ['version=v1', topology.kubernetes.io/region]}", "eu/z9/s9").prefix(2) == [
                "0 eu/z1 1: 10.0.0.1", "0 eu/z1 1: 10.0.0.2",
            ])
    }

    @Test func sharesGoToTheLocalitiesThatARuleNames() throws {
        #expect(
            try places(
                "{distribute: [{from: 'us/*', to: {'us/*': 100}}, {from: 'eu/z1/*', to: {'eu/z1/*': 80, 'eu/*': 20}}]}",
                outliers: false, "eu/z1/s1")
                == ["0 eu/z1 4000: 10.0.0.1", "0 eu/z1 4000: 10.0.0.2", "0 eu/z2 2000: 10.0.0.3"])
    }
}
