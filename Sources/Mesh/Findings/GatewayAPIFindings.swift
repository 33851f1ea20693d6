import Documents

extension MeshIndex {
    func findings(_ object: MeshObject, _ gateway: GatewayAPI.Gateway) -> [MeshFinding] {
        var findings: [MeshFinding] = []
        if self[ObjectKey(.gatewayClass, "", gateway.className)] == nil,
            !GatewayAPI.GatewayClass.builtInClasses.contains(gateway.className)
        {
            findings.append(
                object.finding(
                    .warning, .unknownObject, at: "spec.gatewayClassName",
                    "there is no GatewayClass `\(gateway.className)`",
                    mend: "write " + GatewayAPI.GatewayClass.builtInClasses.joined(separator: " or ")))
        }
        for (index, listener) in gateway.listeners.enumerated() {
            for (number, reference) in (listener.tls?.certificates ?? []).enumerated() {
                let path = "spec.listeners[\(index)].tls.certificateRefs[\(number)]"
                guard reference.kind == "Secret", reference.group.isEmpty else {
                    findings.append(
                        object.finding(
                            .warning, .unknownObject, at: path,
                            "certificates are in Secrets, not in a \(reference.kind)",
                            mend: "write kind: Secret"))
                    continue
                }
                findings += referenceFindings(object, reference, .secret, at: path, missing: .unknownSecret)
            }
        }
        return findings
    }

    /// An object that is not there, or is in another namespace that grants nothing.
    private func referenceFindings(
        _ object: MeshObject, _ reference: GatewayAPI.ObjectReference, _ kind: ObjectKind, at path: String,
        missing: MeshFinding.Kind
    ) -> [MeshFinding] {
        let namespace = reference.namespace ?? object.key.namespace
        let key = ObjectKey(kind, namespace, reference.name)
        if namespace != object.key.namespace, !isGranted(object.key, to: key) {
            return [
                object.finding(
                    .warning, .referenceNotGranted, at: path + ".namespace",
                    "the namespace \(namespace) grants no reference to \(key)",
                    mend: "add a ReferenceGrant there, from \(object.key.kind.name) in \(object.key.namespace)")
            ]
        }
        guard self[key] == nil else { return [] }
        let names = objects(of: kind, in: namespace).map(\.key.name)
        return [
            object.finding(
                .warning, missing, at: path + ".name", "there is no \(key)",
                mend: suggestion(for: reference.name, among: names).map { "did you mean `\($0)`?" }
                    ?? "add it, or correct the name")
        ]
    }

    /// Whether the target's namespace lets objects of this kind and namespace refer to it. Source: Gateway API,
    /// ReferenceGrant.
    public func isGranted(_ from: ObjectKey, to target: ObjectKey) -> Bool {
        if from.namespace == target.namespace { return true }
        return objects(of: .referenceGrant, in: target.namespace).contains { object in
            guard case .referenceGrant(let grant) = object.body else { return false }
            return grant.from.contains {
                $0.group == from.kind.group && $0.kind == from.kind.name && $0.namespace == from.namespace
            }
                && grant.to.contains {
                    $0.group == target.kind.group && $0.kind == target.kind.name
                        && ($0.name == nil || $0.name == target.name)
                }
        }
    }

    func findings(_ object: MeshObject, _ route: GatewayAPI.HTTPRoute) -> [MeshFinding] {
        parentFindings(object, route.parents, route.hostnames, [.http, .https])
            + route.rules.enumerated().flatMap { index, rule in
                backendFindings(object, rule.backends, at: "spec.rules[\(index)]")
                    + mirrorFindings(object, rule.filters, at: "spec.rules[\(index)]")
            }
    }

    func findings(_ object: MeshObject, _ route: GatewayAPI.GRPCRoute) -> [MeshFinding] {
        parentFindings(object, route.parents, route.hostnames, [.http, .https])
            + route.rules.enumerated().flatMap { index, rule in
                backendFindings(object, rule.backends, at: "spec.rules[\(index)]")
                    + mirrorFindings(object, rule.filters, at: "spec.rules[\(index)]")
            }
    }

    func findings(_ object: MeshObject, _ route: GatewayAPI.StreamRoute) -> [MeshFinding] {
        parentFindings(object, route.parents, route.hostnames, object.key.kind == .tlsRoute ? [.tls] : [.tcp, .tls])
            + route.rules.enumerated().flatMap { index, rule in
                backendFindings(object, rule.backends, at: "spec.rules[\(index)]")
            }
    }

    func findings(_ object: MeshObject, _ policy: GatewayAPI.BackendTLSPolicy) -> [MeshFinding] {
        policy.targets.enumerated().flatMap { index, target -> [MeshFinding] in
            let reference = GatewayAPI.ObjectReference(group: target.group, kind: target.kind, name: target.name)
            return referenceFindings(
                object, reference, .service, at: "spec.targetRefs[\(index)]", missing: .unknownObject)
        }
    }

    private func mirrorFindings(
        _ object: MeshObject, _ filters: [GatewayAPI.RouteFilter], at path: String
    ) -> [MeshFinding] {
        filters.enumerated().flatMap { index, filter -> [MeshFinding] in
            guard case .mirror(let backend, _) = filter else { return [] }
            return serviceFindings(object, backend, at: "\(path).filters[\(index)].requestMirror.backendRef")
        }
    }

    private func backendFindings(
        _ object: MeshObject, _ backends: [GatewayAPI.BackendReference], at path: String
    ) -> [MeshFinding] {
        var findings: [MeshFinding] = []
        if backends.count > 1, backends.allSatisfy({ $0.weight == 0 }) {
            findings.append(
                object.finding(
                    .warning, .contradiction, at: path + ".backendRefs", "the weights sum to 0: every request fails",
                    mend: "give one of them a weight"))
        }
        for (index, backend) in backends.enumerated() {
            findings += serviceFindings(object, backend.object, at: "\(path).backendRefs[\(index)]")
        }
        return findings
    }

    private func serviceFindings(
        _ object: MeshObject, _ reference: GatewayAPI.ObjectReference, at path: String
    ) -> [MeshFinding] {
        guard reference.group.isEmpty, reference.kind == "Service" else {
            if reference.group == "networking.istio.io", reference.kind == "Hostname" {
                return services(matching: reference.name, from: object.key.namespace).isEmpty
                    ? [noSuchHost(object, reference.name, at: path + ".name")] : []
            }
            return [
                object.finding(
                    .warning, .unknownObject, at: path + ".kind", "no traffic goes to a \(reference.kind)",
                    mend: "write kind: Service")
            ]
        }
        let found = referenceFindings(object, reference, .service, at: path, missing: .unknownHost)
        let key = ObjectKey(.service, reference.namespace ?? object.key.namespace, reference.name)
        guard found.isEmpty, let port = reference.port, case .service(let service)? = self[key]?.body,
            !service.ports.contains(where: { $0.port == port })
        else { return found }
        let ports = service.ports.map { String($0.port) }.joined(separator: ", ")
        return [
            object.finding(
                .warning, .unknownPort, at: path + ".port", "\(key) has no port \(port)", mend: "it has \(ports)")
        ]
    }

    private func parentFindings(
        _ object: MeshObject, _ parents: [GatewayAPI.ParentReference], _ hostnames: [String],
        _ transports: Set<GatewayAPI.Listener.Transport>
    ) -> [MeshFinding] {
        parents.enumerated().compactMap { index, parent in
            let path = "spec.parentRefs[\(index)]"
            let namespace = parent.namespace ?? object.key.namespace
            let kind: ObjectKind = parent.isGateway ? .kubernetesGateway : .service
            let key = ObjectKey(kind, namespace, parent.name)
            switch self[key]?.body {
            case .kubernetesGateway(let gateway):
                return refusal(object, parent, gateway, key, hostnames, transports, at: path)
            case .service(let service):
                guard let port = parent.port, !service.ports.contains(where: { $0.port == port }) else { return nil }
                return object.finding(
                    .warning, .unknownPort, at: path + ".port", "\(key) has no port \(port)", mend: "correct the port")
            default:
                return object.finding(
                    .warning, parent.isGateway ? .unknownGateway : .unknownHost, at: path + ".name",
                    "there is no \(key)",
                    mend: suggestion(for: parent.name, among: objects(of: kind, in: namespace).map(\.key.name))
                        .map { "did you mean `\($0)`?" } ?? "add it, or correct the name")
            }
        }
    }

    /// Why no listener of a Gateway takes a route. Source: Gateway API, route attachment.
    private func refusal(
        _ object: MeshObject, _ parent: GatewayAPI.ParentReference, _ gateway: GatewayAPI.Gateway, _ key: ObjectKey,
        _ hostnames: [String], _ transports: Set<GatewayAPI.Listener.Transport>, at path: String
    ) -> MeshFinding? {
        let named = gateway.listeners.filter {
            (parent.section == nil || parent.section == $0.name) && (parent.port == nil || parent.port == $0.port)
        }
        guard !named.isEmpty else {
            return object.finding(
                .warning, .refusedByParent, at: path, "no listener of \(key) has that name or port",
                mend: "it has " + gateway.listeners.map { "\($0.name) (\($0.port))" }.joined(separator: ", "))
        }
        let fitting = named.filter { listener in
            transports.contains(listener.transport)
                && (listener.kinds.isEmpty || listener.kinds.contains { $0.kind == object.key.kind.name })
        }
        guard !fitting.isEmpty else {
            return object.finding(
                .warning, .refusedByParent, at: path, "no listener of \(key) takes a \(object.key.kind.name)",
                mend: "correct the listener's protocol or allowedRoutes.kinds")
        }
        let open = fitting.filter { allows($0, object.key.namespace, gatewayNamespace: key.namespace) }
        guard !open.isEmpty else {
            return object.finding(
                .warning, .refusedByParent, at: path,
                "no listener of \(key) takes routes of the namespace \(object.key.namespace)",
                mend: "correct the listener's allowedRoutes.namespaces")
        }
        let meets = open.contains { listener in
            guard let host = listener.hostname?.lowercased(), !hostnames.isEmpty else { return true }
            return hostnames.contains { hostsOverlap($0, host) }
        }
        guard !meets else { return nil }
        return object.finding(
            .warning, .refusedByParent, at: "spec.hostnames", "no listener of \(key) has one of these host names",
            mend: "correct the host names")
    }

    /// Whether a listener takes routes of a namespace.
    public func allows(_ listener: GatewayAPI.Listener, _ namespace: String, gatewayNamespace: String) -> Bool {
        switch listener.from {
        case .all: return true
        case .same: return namespace == gatewayNamespace
        case .none: return false
        case .selector:
            var labels = self[ObjectKey(.namespace, "", namespace)]?.metadata.labels ?? [:]
            labels["kubernetes.io/metadata.name"] = namespace
            return listener.namespaceSelector?.selects(labels) ?? false
        }
    }
}
