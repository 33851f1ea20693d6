import Mesh

// Where namespaces are isolated, clients see what they may call: their own namespace, what is outside of the mesh, and
// what a policy opens to one of them. The servers' side of it is the rule of ``AuthorizationRules/isolationName``.
extension Translator {
    /// Whether clients of a scope are isolated from other namespaces. Gateways are not: they are there to lead in.
    func isIsolated(_ scope: OutboundScope) -> Bool { mesh.config.isolatesNamespaces && scope.kind != .gateway }

    /// Whether a service is to be seen by clients of a scope.
    func isOpen(_ service: MeshService, to scope: OutboundScope) -> Bool {
        guard isIsolated(scope), service.namespace != scope.namespace, !service.isExternal else { return true }
        var labels: Set<[String: String]> = []
        switch mesh.object(service.key)?.body {
        case .service(let own): labels.insert(own.selector)
        case .serviceEntry(let entry): labels.insert(entry.workloadSelector?.labels ?? [:])
        default: break
        }
        for selector in labels where !selector.isEmpty {
            labels.formUnion(mesh.workloads(with: selector, in: service.namespace).map(\.labels))
        }
        return labels.contains { labels in
            mesh.policies(.authorizationPolicy, selecting: labels, in: service.namespace).contains { object in
                guard case .authorizationPolicy(let policy) = object.body, policy.action == .allow,
                    object.metadata.annotations[AuthorizationRules.dryRunAnnotation] != "true"
                else { return false }
                return policy.rules.contains { mayMatch($0, callersOf: scope.namespace, policy: object.key) }
            }
        }
    }

    /// Whether a rule lets in some workload of a namespace, as far as it asks who calls.
    private func mayMatch(_ rule: Istio.Rule, callersOf namespace: String, policy: ObjectKey) -> Bool {
        let sources = rule.from.isEmpty || rule.from.contains { mayBe($0, of: namespace, policy: policy) }
        return sources
            && rule.when.allSatisfy { condition in
                switch condition.key {
                case "source.namespace": may(condition.values) { TextPattern($0).matches(namespace) }
                case "source.principal": mayAny(condition.values) { isPrincipal($0, of: namespace) }
                case "source.serviceAccount":
                    mayAny(condition.values) { isAccount($0, of: namespace, policy: policy) }
                default: true
                }
            }
    }

    private func mayBe(_ source: Istio.Source, of namespace: String, policy: ObjectKey) -> Bool {
        may(source.namespaces) { TextPattern($0).matches(namespace) }
            && mayAny(source.principals) { isPrincipal($0, of: namespace) }
            && mayAny(source.serviceAccounts) { isAccount($0, of: namespace, policy: policy) }
    }

    private func may(_ values: Istio.Values, _ test: (String) -> Bool) -> Bool {
        mayAny(values, test) && !values.none.contains(where: test)
    }

    /// What none of them may be says nothing of the others.
    private func mayAny(_ values: Istio.Values, _ test: (String) -> Bool) -> Bool {
        values.any.isEmpty || values.any.contains(where: test)
    }

    /// Whether some principal of a namespace is meant: `cluster.local/ns/shop/sa/web`, with a star at one end.
    private func isPrincipal(_ text: String, of namespace: String) -> Bool {
        let all = "\(settings.trustDomain)/ns/\(namespace)/sa/"
        let federated = "/ns/\(namespace)/sa/"
        return switch TextPattern(text) {
        case .exact(let name): name.contains(federated)
        case .prefix(let start): start.contains(federated) || all.hasPrefix(start)
        case .suffix(let end): !end.contains("/ns/") || end.contains(federated)
        case .present: true
        }
    }

    private func isAccount(_ text: String, of namespace: String, policy: ObjectKey) -> Bool {
        let parts = text.split(separator: "/").map(String.init)
        return (parts.count == 2 ? parts[0] : policy.namespace) == namespace
    }
}
