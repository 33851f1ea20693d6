import Mesh

/// What a BackendTLSPolicy is told about one of the Services that it is for.
public struct AncestorStatus: Hashable, Sendable {
    public var target: GatewayAPI.BackendTLSPolicy.Target
    public var conditions: [Condition]
}

extension Translator {
    /// What a BackendTLSPolicy is told about each of its targets; empty for other kinds. Source: Gateway API,
    /// BackendTLSPolicy and PolicyStatus.
    public func ancestorStatuses(of object: MeshObject) -> [AncestorStatus] {
        guard case .backendTLSPolicy(let policy) = object.body else { return [] }
        let (roots, hasRoots) = rootsCondition(of: policy, in: object.key.namespace)
        return policy.targets.map { target in
            let accepted =
                hasRoots
                ? acceptance(of: object, for: target)
                : Condition(
                    .accepted, false, "NoValidCACertificate", "no root certificate is there: its calls fail")
            return AncestorStatus(target: target, conditions: [accepted, roots])
        }
    }

    private func acceptance(of object: MeshObject, for target: GatewayAPI.BackendTLSPolicy.Target) -> Condition {
        let key = ObjectKey(.service, object.key.namespace, target.name)
        guard case .service(let service)? = mesh.object(key)?.body else {
            return Condition(.accepted, false, "TargetNotFound", "there is no \(key)")
        }
        if let section = target.section, !service.ports.contains(where: { $0.name == section }) {
            return Condition(.accepted, false, "TargetNotFound", "\(key) has no port `\(section)`")
        }
        let other = mesh.objects(of: .backendTLSPolicy, naming: key).first { other in
            guard other.key != object.key, other.isOlder(than: object), case .backendTLSPolicy(let policy) = other.body
            else { return false }
            return policy.targets.contains { $0.name == target.name && $0.section == target.section }
        }
        guard let other else { return .holds(.accepted) }
        return Condition(.accepted, false, "Conflicted", "\(other.key) is for the same, and older")
    }

    private func rootsCondition(
        of policy: GatewayAPI.BackendTLSPolicy, in namespace: String
    ) -> (condition: Condition, hasRoots: Bool) {
        if policy.usesSystemRoots { return (.holds(.resolvedRefs), true) }
        var problem: Condition?
        var hasRoots = false
        for reference in policy.roots {
            guard ObjectKind(group: reference.group, name: reference.kind) == .secret else {
                problem =
                    problem
                    ?? Condition(
                        .resolvedRefs, false, "InvalidKind",
                        "root certificates are in Secrets, not in a \(reference.kind)")
                continue
            }
            let key = ObjectKey(.secret, namespace, reference.name)
            if case .secret(let secret)? = mesh.object(key)?.body, secret.roots != nil {
                hasRoots = true
            } else {
                problem =
                    problem
                    ?? Condition(
                        .resolvedRefs, false, "InvalidCACertificateRef", "there is no \(key) with root certificates")
            }
        }
        return (problem ?? .holds(.resolvedRefs), hasRoots)
    }
}
