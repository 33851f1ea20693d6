import Mesh

extension Translator {
    /// What an HTTPRoute, GRPCRoute, TLSRoute or TCPRoute is told about each of its parents; empty for other kinds.
    public func parentStatuses(of object: MeshObject) -> [ParentStatus] {
        let references = referenceCondition(of: object)
        return (object.body.parents ?? []).map { parent in
            ParentStatus(parent: parent, conditions: [acceptance(of: object, by: parent), references])
        }
    }

    private func acceptance(of object: MeshObject, by parent: GatewayAPI.ParentReference) -> Condition {
        let namespace = parent.namespace ?? object.key.namespace
        if parent.isService {
            let key = ObjectKey(.service, namespace, parent.name)
            guard case .service(let service)? = mesh.object(key)?.body else {
                return Condition(.accepted, false, "NoMatchingParent", "there is no \(key)")
            }
            let fits = service.ports.contains {
                parent.port ?? $0.port == $0.port && parent.section ?? $0.name == $0.name
            }
            return fits
                ? .holds(.accepted) : Condition(.accepted, false, "NoMatchingParent", "\(key) has no such port")
        }
        let key = ObjectKey(.kubernetesGateway, namespace, parent.name)
        guard case .kubernetesGateway(let gateway)? = mesh.object(key)?.body, isOurs(gateway) else {
            return Condition(.accepted, false, "NoMatchingParent", "there is no \(key) of this controller")
        }
        let named = gateway.listeners.filter {
            parent.section ?? $0.name == $0.name && parent.port ?? $0.port == $0.port
        }
        if named.isEmpty {
            return Condition(.accepted, false, "NoMatchingParent", "no listener of \(key) has that name or port")
        }
        let open = named.filter {
            mesh.takes($0, object.key) && mesh.allows($0, object.key.namespace, gatewayNamespace: namespace)
        }
        if open.isEmpty {
            return Condition(
                .accepted, false, "NotAllowedByListeners",
                "no listener of \(key) takes a \(object.key.kind.name) of the namespace \(object.key.namespace)")
        }
        let hostnames = object.body.routedHostnames
        let meets = open.contains { listener in
            guard let host = listener.hostname?.lowercased(), !hostnames.isEmpty else { return true }
            return hostnames.contains { overlap($0, host) != nil }
        }
        return meets
            ? .holds(.accepted)
            : Condition(
                .accepted, false, "NoMatchingListenerHostname", "no listener of \(key) has one of these host names")
    }

    private func referenceCondition(of object: MeshObject) -> Condition {
        for reference in backends(of: object.body) {
            let target = ObjectKey(.service, reference.namespace ?? object.key.namespace, reference.name)
            if reference.group == "networking.istio.io", reference.kind == "Hostname" {
                if mesh.services(matching: reference.name, from: object.key.namespace).isEmpty {
                    return Condition(
                        .resolvedRefs, false, "BackendNotFound", "no service has the host `\(reference.name)`")
                }
                continue
            }
            guard reference.group.isEmpty, reference.kind == "Service" else {
                return Condition(
                    .resolvedRefs, false, "InvalidKind", "no traffic goes to a \(reference.kind)")
            }
            guard mayRefer(object.key, to: target) else {
                return Condition(
                    .resolvedRefs, false, "RefNotPermitted",
                    "no ReferenceGrant in \(target.namespace) is for \(object.key.kind.name)s of \(object.key.namespace)"
                )
            }
            guard case .service(let service)? = mesh.object(target)?.body else {
                return Condition(.resolvedRefs, false, "BackendNotFound", "there is no \(target)")
            }
            if let port = reference.port, !service.ports.contains(where: { $0.port == port }) {
                return Condition(.resolvedRefs, false, "BackendNotFound", "\(target) has no port \(port)")
            }
        }
        return .holds(.resolvedRefs)
    }

    /// Backends and mirrors, in order.
    private func backends(of body: ObjectBody) -> [GatewayAPI.ObjectReference] {
        func mirrors(_ filters: [GatewayAPI.RouteFilter]) -> [GatewayAPI.ObjectReference] {
            filters.compactMap { if case .mirror(let backend, _) = $0 { backend } else { nil } }
        }
        return switch body {
        case .httpRoute(let route): route.rules.flatMap { $0.backends.map(\.object) + mirrors($0.filters) }
        case .grpcRoute(let route): route.rules.flatMap { $0.backends.map(\.object) + mirrors($0.filters) }
        case .tlsRoute(let route), .tcpRoute(let route): route.rules.flatMap { $0.backends.map(\.object) }
        default: []
        }
    }
}
