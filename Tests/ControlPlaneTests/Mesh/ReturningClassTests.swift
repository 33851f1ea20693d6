import Discovery
import Testing
import Translation
import XDS

@testable import ControlPlane

struct ReturningClassTests {
    /// A proxy that comes back within the grace, as often as it likes, leaves nothing behind when it goes for good.
    @Test func aClassThatComesBackIsHeldOnce() throws {
        let rig = try RolloutRig()
        defer { rig.stop() }
        try rig.apply(
            "apiVersion: v1\nkind: Service\nmetadata: {name: api, namespace: shop}\nspec: {ports: [{port: 80}]}")
        let isThere = try rig.onControl { mesh in
            let node = Node(
                id: "sidecar~10.1.0.1~web.shop~shop.svc.cluster.local",
                metadata: ["NAMESPACE": .string("shop"), "SERVICE_ACCOUNT": .string("web")])
            guard let proxy = ProxyClass(node: node) else { return [true] }
            for _ in 0..<5 {
                let stream = StreamToken()
                mesh.publisher.begin(stream, node)
                mesh.publisher.end(stream)
            }
            var copy = mesh.publisher.translation
            let before = copy.snapshot(of: proxy) != nil
            // What its end does once the grace is over.
            copy.remove(proxy)
            return [before, copy.snapshot(of: proxy) != nil]
        }
        #expect(isThere == [true, false])
    }
}
