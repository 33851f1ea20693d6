import Mesh

extension MeshReader {
    /// `mesh`, or `NAMESPACE/NAME`.
    func fullGateway(_ name: String, in namespace: String) -> String {
        name == Istio.VirtualService.meshGateway || name.contains("/") ? name : namespace + "/" + name
    }

    /// Whether a VirtualService is exported to a namespace.
    func isExported(_ object: MeshObject, to namespace: String) -> Bool {
        guard case .virtualService(let service) = object.body, !service.exportTo.isEmpty else { return true }
        return service.exportTo.contains("*") || service.exportTo.contains(namespace)
            || (service.exportTo.contains(".") && object.key.namespace == namespace)
    }

    /// Whether a listener takes routes of this kind. Source: Gateway API, AllowedRoutes.
    func takes(_ listener: GatewayAPI.Listener, _ route: ObjectKey) -> Bool {
        let fitting: Set<ObjectKind> =
            switch listener.transport {
            case .http, .https: [.httpRoute, .grpcRoute]
            case .tls: listener.tls?.mode == .passthrough ? [.tlsRoute] : [.tlsRoute, .tcpRoute]
            case .tcp: [.tcpRoute]
            case .udp: []
            }
        return fitting.contains(route.kind)
            && (listener.kinds.isEmpty
                || listener.kinds.contains { $0.kind == route.kind.name && $0.group == route.kind.group })
    }

    /// Whether a listener takes routes of a namespace.
    func allows(_ listener: GatewayAPI.Listener, _ namespace: String, gatewayNamespace: String) -> Bool {
        switch listener.from {
        case .all: return true
        case .same: return namespace == gatewayNamespace
        case .none: return false
        case .selector:
            var labels = object(ObjectKey(.namespace, "", namespace))?.metadata.labels ?? [:]
            labels["kubernetes.io/metadata.name"] = namespace
            return listener.namespaceSelector?.selects(labels) ?? false
        }
    }
}
