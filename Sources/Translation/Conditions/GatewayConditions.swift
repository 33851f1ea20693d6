import Mesh

extension Translator {
    /// What a GatewayClass is told; nil where another controller answers for it.
    public func classCondition(of object: MeshObject) -> Condition? {
        guard case .gatewayClass(let found) = object.body, found.controllerName == GatewayAPI.GatewayClass.ours else {
            return nil
        }
        return .holds(.accepted)
    }

    /// What a Gateway of the Gateway API is told; nil where another controller answers for it.
    public func gatewayStatus(of object: MeshObject) -> GatewayStatus? {
        guard case .kubernetesGateway(let gateway) = object.body, isOurs(gateway) else { return nil }
        let listeners = gateway.listeners.map { status(of: $0, of: gateway, object.key) }
        let valid = listeners.filter { listener in
            listener.conditions.allSatisfy { $0.kind == .conflicted ? !$0.isTrue : $0.isTrue }
        }
        let accepted: Condition =
            valid.count == listeners.count
            ? .holds(.accepted)
            : Condition(
                .accepted, !valid.isEmpty, "ListenersNotValid",
                "not valid: " + listeners.filter { !valid.contains($0) }.map(\.name).joined(separator: ", "))
        var programmed = Condition.holds(.programmed)
        if valid.isEmpty {
            programmed = Condition(.programmed, false, "Invalid", "no listener is valid")
        } else if !isRun(gateway, object.key) {
            programmed = Condition(
                .programmed, false, "NoResources",
                "no proxy has the label \(Self.gatewayNameLabel)=\(object.key.name) in \(object.key.namespace)")
        }
        return GatewayStatus(conditions: [accepted, programmed], listeners: listeners)
    }

    /// Whether some workload is a proxy of the Gateway.
    private func isRun(_ gateway: GatewayAPI.Gateway, _ key: ObjectKey) -> Bool {
        if !mesh.workloads(with: [Self.gatewayNameLabel: key.name], in: key.namespace).isEmpty { return true }
        return gateway.addresses.filter { $0.type == "Hostname" }.contains { address in
            mesh.services(matching: address.value, from: key.namespace).contains { found in
                guard case .service(let service)? = mesh.object(found.key)?.body, !service.selector.isEmpty else {
                    return false
                }
                return !mesh.workloads(with: service.selector, in: found.namespace).isEmpty
            }
        }
    }

    private func status(
        of listener: GatewayAPI.Listener, of gateway: GatewayAPI.Gateway, _ key: ObjectKey
    ) -> GatewayStatus.Listener {
        let kinds = [ObjectKind.grpcRoute, .httpRoute, .tcpRoute, .tlsRoute].filter {
            mesh.takes(listener, ObjectKey($0, "", ""))
        }
        let accepted =
            listener.transport == .udp
            ? Condition(.accepted, false, "UnsupportedProtocol", "no proxy here takes UDP") : .holds(.accepted)
        let conflicted = conflict(of: listener, among: gateway.listeners)
        let resolved = references(of: listener, key)
        let isWhole = accepted.isTrue && !conflicted.isTrue && resolved.isTrue
        let routes = mesh.objects(naming: key).filter { object in
            let isMeant = (object.body.parents ?? []).contains { parent in
                parent.isGateway && parent.name == key.name
                    && parent.namespace ?? object.key.namespace == key.namespace
                    && parent.section ?? listener.name == listener.name && parent.port ?? listener.port == listener.port
            }
            return isMeant && attaches(object, to: listener, in: key.namespace)
        }
        return GatewayStatus.Listener(
            name: listener.name, supportedKinds: kinds, attachedRoutes: routes.count,
            conditions: [
                accepted, conflicted, resolved,
                isWhole ? .holds(.programmed) : Condition(.programmed, false, "Invalid", "the listener is not valid"),
            ])
    }

    private func attaches(_ object: MeshObject, to listener: GatewayAPI.Listener, in namespace: String) -> Bool {
        guard mesh.takes(listener, object.key),
            mesh.allows(listener, object.key.namespace, gatewayNamespace: namespace)
        else { return false }
        let hostnames = object.body.routedHostnames
        guard let host = listener.hostname?.lowercased(), !hostnames.isEmpty else { return true }
        return hostnames.contains { overlap($0, host) != nil }
    }

    /// Two that one port cannot serve; the one that stands first keeps it.
    private func conflict(of listener: GatewayAPI.Listener, among all: [GatewayAPI.Listener]) -> Condition {
        func family(_ transport: GatewayAPI.Listener.Transport) -> Int {
            switch transport {
            case .http: 0
            case .https, .tls: 1
            case .tcp: 2
            case .udp: 3
            }
        }
        let earlier = all.prefix { $0.name != listener.name }.filter { $0.port == listener.port }
        for other in earlier where other.transport != .udp && listener.transport != .udp {
            if family(other.transport) != family(listener.transport) {
                return Condition(
                    .conflicted, true, "ProtocolConflict",
                    "port \(listener.port) is \(other.transport.rawValue) for `\(other.name)`")
            }
            if listener.transport == .tcp || other.hostname?.lowercased() == listener.hostname?.lowercased() {
                return Condition(
                    .conflicted, true, "HostnameConflict", "`\(other.name)` has the same port and host name")
            }
        }
        return Condition(.conflicted, false, "NoConflicts")
    }

    private func references(of listener: GatewayAPI.Listener, _ key: ObjectKey) -> Condition {
        for kind in listener.kinds {
            let known = ObjectKind(group: kind.group, name: kind.kind)
            if known.map({ mesh.takes(listener, ObjectKey($0, "", "")) }) != true {
                return Condition(
                    .resolvedRefs, false, "InvalidRouteKinds",
                    "a listener of \(listener.transport.rawValue) takes no \(kind.kind)")
            }
        }
        for reference in listener.tls?.certificates ?? [] {
            let secret = ObjectKey(.secret, reference.namespace ?? key.namespace, reference.name)
            guard reference.group.isEmpty, reference.kind == "Secret" else {
                return Condition(
                    .resolvedRefs, false, "InvalidCertificateRef",
                    "certificates are in Secrets, not in a \(reference.kind)")
            }
            guard mayRefer(key, to: secret) else {
                return Condition(
                    .resolvedRefs, false, "RefNotPermitted", "no ReferenceGrant in \(secret.namespace) is for \(key)")
            }
            if mesh.object(secret) == nil {
                return Condition(.resolvedRefs, false, "InvalidCertificateRef", "there is no \(secret)")
            }
        }
        return .holds(.resolvedRefs)
    }
}
