import EnvoyAPI
import Mesh

extension Translator {
    /// What a workload's port takes.
    func mutualTLSMode(of proxy: ProxyClass, port: Int) -> Istio.PeerAuthentication.Mode {
        mesh.index.mutualTLS(of: proxy.labels, in: proxy.namespace, port: port)
    }

    func httpPolicyFilters(of proxy: ProxyClass, port: Int) -> [UnsafeMutablePointer<HttpFilter>] { [] }

    func networkPolicyFilters(of proxy: ProxyClass, port: Int) -> [UnsafeMutablePointer<NetworkFilter>] { [] }

    func inboundRoute(for port: InboundPort) -> UnsafeMutablePointer<RouteConfiguration> {
        let served = port.services.first
        let operation = served.map { "\($0.service.host):\($0.port.number)" } ?? "inbound:\(port.number)"
        return inboundRoute(number: port.number, operation: operation, transport: port.statedProtocol)
    }
}
