import EnvoyAPI
import Mesh
import Protobuf

/// What a consistent hash is made of: routes and TCP proxies must say it beside the cluster.
extension Translator {
    /// For HTTP routes to a port of a host, or to a subset there; empty where no hash decides.
    public func hashPolicies(
        for host: String, port: Int, subset: String? = nil, scope: OutboundScope
    ) -> [UnsafeMutablePointer<RouteActionHashPolicy>] {
        guard let key = hashKey(host, port, subset, scope) else { return [] }
        return [
            arena.make { policy in
                switch key {
                case .header(let name): policy.set(header: arena.make { $0.header_name = arena(name) })
                case .queryParameter(let name): policy.set(query_parameter: arena.make { $0.name = arena(name) })
                case .sourceAddress: policy.set(connection_properties: arena.make { $0.set(source_ip: true) })
                case .cookie(let cookie):
                    policy.set(
                        cookie: arena.make { made in
                            made.name = arena(cookie.name)
                            made.path = arena(cookie.path ?? "")
                            made.ttl = cookie.ttl.map { arena.duration($0) }
                            (made.n_attributes, made.attributes) = arena.list(
                                cookie.attributes.map { attribute in
                                    arena.make(RouteActionHashPolicyCookieAttribute.self) {
                                        $0.name = arena(attribute.name)
                                        $0.value = arena(attribute.value ?? "")
                                    }
                                })
                        })
                }
            }
        ]
    }

    /// For TCP proxies: of all keys, a connection has its source alone.
    public func streamHashPolicies(
        for host: String, port: Int, subset: String? = nil, scope: OutboundScope
    ) -> [UnsafeMutablePointer<HashPolicy>] {
        guard hashKey(host, port, subset, scope) == .sourceAddress else { return [] }
        return [arena.make { $0.set(source_ip: arena.make()) }]
    }

    /// What a client's requests are bound by: of a DestinationRule, else of the Service's session affinity.
    func hashKey(
        _ host: String, _ port: Int, _ subset: String?, _ scope: OutboundScope
    ) -> Istio.ConsistentHash.Key? {
        guard let service = service(host, in: scope.namespace, for: scope) else { return nil }
        let rule = clientRule(for: service.host, scope)
        let chosen = subset.flatMap { name in rule.subsets.first { $0.name == name } }
        guard case .hash(let key, _) = clientPolicy(rule, subset: chosen, port: port, of: service).balancing else {
            return nil
        }
        return key
    }
}
