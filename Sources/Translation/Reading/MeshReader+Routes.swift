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

    /// Whether the target's namespace lets objects of this kind and namespace refer to it. Source: Gateway API,
    /// ReferenceGrant.
    func isGranted(_ from: ObjectKey, to target: ObjectKey) -> Bool {
        from.namespace == target.namespace
            || objects(of: .referenceGrant, in: target.namespace).contains { object in
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
