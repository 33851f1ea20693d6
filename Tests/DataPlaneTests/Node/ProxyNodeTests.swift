import Identity
import Testing
import XDS

@testable import DataPlane

struct ProxyNodeTests {
    private func node() throws -> ProxyNode {
        ProxyNode(
            name: "web-x7k2p", workload: "web", namespace: "shop", serviceAccount: "web",
            trustDomain: try TrustDomain("cluster.local"))
    }

    @Test func aNodeSaysWhatIstiosProxiesSay() throws {
        var proxy = try node()
        proxy.addresses = ["10.0.0.7", "fd00::7"]
        proxy.labels = ["app": "web", "version": "v1"]
        proxy.ports = [.init(name: "http", number: 9080)]
        proxy.outboundAddress = "127.3.0.1"
        proxy.applicationAddress = "127.2.0.1"
        proxy.clusterID = "Kubernetes"
        proxy.metadata = ["NAMESPACE": .string("another"), "OWNER": .string("me")]
        let node = proxy.node(version: "1")
        #expect(node.id == "sidecar~10.0.0.7~web-x7k2p.shop~shop.svc.cluster.local")
        #expect(node.cluster == "web.shop")
        #expect(
            node.metadata == [
                "NAMESPACE": .string("shop"), "SERVICE_ACCOUNT": .string("web"), "WORKLOAD_NAME": .string("web"),
                "INTERCEPTION_MODE": .string("NONE"), "CLUSTER_ID": .string("Kubernetes"), "OWNER": .string("me"),
                "LABELS": .object(["app": .string("web"), "version": .string("v1")]),
                "INSTANCE_IPS": .string("10.0.0.7,fd00::7"),
                "POD_PORTS": .list([
                    .object(["name": .string("http"), "containerPort": .number(9080), "protocol": .string("TCP")])
                ]),
                "MARTINET": .object([
                    "OUTBOUND_ADDRESS": .string("127.3.0.1"), "APP_ADDRESS": .string("127.2.0.1"),
                ]),
            ])
        proxy.kind = .router
        proxy.addresses = []
        #expect(proxy.id == "router~0.0.0.0~web-x7k2p.shop~shop.svc.cluster.local")
    }

    @Test func theDownwardAPITellsWhatTheCommandLineDoesNot() {
        let files = [
            "/etc/podinfo/labels": "app=\"web\"\nnote=\"a \\\"b\\\" \\\\ c\\n\"\nbroken\nbad=unquoted\n",
            Surroundings.namespaceFile: "shop\n",
        ]
        let here = Surroundings(
            environment: [
                "POD_NAME": "web-1", "INSTANCE_IP": "10.0.0.1,fd00::1", "ISTIO_META_WORKLOAD_NAME": "web",
                "ISTIO_META_OWNER": "me", "SERVICE_ACCOUNT": "",
            ]) { files[$0] }
        #expect(here.namespace == "shop" && here.name == "web-1" && here.workload == "web")
        #expect(here.serviceAccount == nil && here.addresses == ["10.0.0.1", "fd00::1"])
        #expect(here.labels == ["app": "web", "note": "a \"b\" \\ c\n"])
        #expect(here.furtherMetadata == ["WORKLOAD_NAME": .string("web"), "OWNER": .string("me")])
    }
}
