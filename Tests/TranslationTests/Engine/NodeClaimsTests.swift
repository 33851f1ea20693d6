import Mesh
import Testing
import Translation
import XDS

private func node(
    _ id: String = "sidecar~10.0.0.7~reviews-v1-abc.shop~shop.svc.cluster.local",
    _ metadata: [String: MetadataValue] = [:], principal: String? = nil
) -> Node {
    Node(
        id: id, metadata: metadata, locality: Locality(region: "eu", zone: "eu-1"), principal: principal)
}

@Test func istiosMetadataTellsClassAndWorkload() throws {
    let ports = #"[{"name":"http","containerPort":9080,"protocol":"TCP"},{"containerPort":9081}]"#
    let claims = try NodeClaims(
        node(
            "sidecar~10.0.0.7~reviews-v1-abc.shop~shop.svc.cluster.local",
            [
                "NAMESPACE": .string("shop"), "SERVICE_ACCOUNT": .string("bookinfo-reviews"),
                "LABELS": .object(["app": .string("reviews"), "version": .string("v1")]),
                "INSTANCE_IPS": .string("10.0.0.7,fd00::7"), "POD_PORTS": .string(ports),
                "INTERCEPTION_MODE": .string("REDIRECT"),
            ], principal: "spiffe://cluster.local/ns/shop/sa/bookinfo-reviews"))
    let workload = Workload(claims)
    #expect(workload.id == Workload.ID(namespace: "shop", name: "reviews-v1-abc"))
    #expect(workload.addresses == ["10.0.0.7", "fd00::7"])
    #expect(workload.ports.map(\.port) == [9080, 9081])
    let proxy = ProxyClass(claims)
    #expect(proxy.kind == .sidecar && proxy.namespace == "shop" && proxy.interception == .redirect)
    #expect(proxy.namedPorts == ["http": 9080] && proxy.labels == ["app": "reviews", "version": "v1"])
    #expect(proxy.locality.zone == "eu-1")
}

@Test func proxiesWhoseAddressDoesNotMatterShareAClass() throws {
    let labels: [String: MetadataValue] = ["LABELS": .object(["app": .string("web")])]
    let first = ProxyClass(node: node("sidecar~10.0.0.1~web-1.shop~x", labels))
    let second = ProxyClass(node: node("sidecar~10.0.0.2~web-2.shop~x", labels))
    #expect(first != nil && first == second)
    let explicit = labels.merging(["INTERCEPTION_MODE": .string("NONE")]) { $1 }
    let third = try #require(ProxyClass(node: node("sidecar~10.0.0.1~web-1.shop~x", explicit)))
    #expect(third.interception == .explicit(.init(inbound: "10.0.0.1", outbound: "127.0.0.1")))
}

@Test func gatewaysAndProgramsWithoutAProxyAreKindsOfTheirOwn() throws {
    #expect(ProxyClass(node: node("router~10.0.0.1~ingress.istio-system~x"))?.kind == .gateway)
    #expect(ProxyClass(node: node("sidecar~10.0.0.1~a.shop~x", ["GENERATOR": .string("grpc")]))?.kind == .proxyless)
    let own: MetadataValue = .object(["OUTBOUND_ADDRESS": .string("127.3.0.9"), "APP_ADDRESS": .string("127.9.0.1")])
    let proxy = try #require(
        ProxyClass(
            node: node(
                "plain",
                [
                    "NAMESPACE": .string("shop"), "INTERCEPTION_MODE": .string("NONE"),
                    "INSTANCE_IPS": .string("127.3.0.1"), "MARTINET": own,
                ])))
    #expect(proxy.interception == .explicit(.init(inbound: "127.3.0.1", outbound: "127.3.0.9")))
    #expect(proxy.applicationAddress == "127.9.0.1")
}

private struct Lie: Sendable {
    var field: String
    var value: MetadataValue
    var words: String
}

private let manyLabels = Dictionary(uniqueKeysWithValues: (0..<65).map { ("l\($0)", MetadataValue.string("")) })
private let manyAddresses = (0..<17).map { "10.0.0.\($0)" }.joined(separator: ",")
private let lies: [Lie] = [
    Lie(field: "NAMESPACE", value: .string("bank"), words: "identity says `shop`"),
    Lie(field: "SERVICE_ACCOUNT", value: .string("admin"), words: "identity says `web`"),
    Lie(field: "LABELS", value: .object(["app": .number(1)]), words: "no text"),
    Lie(field: "LABELS", value: .object(["a b": .string("x")]), words: "no label"),
    Lie(field: "LABELS", value: .object(["app": .string(String(repeating: "x", count: 64))]), words: "no label"),
    Lie(field: "LABELS", value: .object(manyLabels), words: "more than 64"),
    Lie(field: "INSTANCE_IPS", value: .string("10.0.0.300"), words: "no address"),
    Lie(field: "INSTANCE_IPS", value: .string(manyAddresses), words: "more than 16"),
    Lie(field: "POD_PORTS", value: .string("[{\"containerPort\":70000}]"), words: "no number"),
    Lie(field: "POD_PORTS", value: .string(String(repeating: "[", count: 9000)), words: "JSON"),
    Lie(field: "INTERCEPTION_MODE", value: .string("MAGIC"), words: "neither"),
    Lie(field: "MARTINET", value: .string("x"), words: "no mapping"),
    Lie(field: "NAME", value: .string(String(repeating: "n", count: 300)), words: "more than 255"),
]

@Test func aLieIsRefusedWithItsField() {
    for lie in lies {
        let proxy = node(
            "sidecar~10.0.0.1~web-1.shop~x", [lie.field: lie.value], principal: "spiffe://cluster.local/ns/shop/sa/web")
        let error = #expect(throws: NodeClaimError.self) { try NodeClaims(proxy) }
        #expect(error?.description.contains(lie.words) == true, "\(lie.field): \(String(describing: error))")
    }
}

@Test func withoutAnyNamespaceThereIsNoClass() {
    #expect(ProxyClass(node: node("web-1")) == nil)
    #expect(ProxyClass(node: node("other~10.0.0.1~a.b~c")) == nil)
}
