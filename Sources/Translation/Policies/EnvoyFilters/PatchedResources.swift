import EnvoyAPI
import Mesh
import Protobuf
import XDS

/// What some patches do to resources.
struct ResourcePatching {
    let translator: Translator
    let patches: [FilterPatch]
    let side: Istio.EnvoyFilter.PatchContext

    init(_ translator: Translator, _ patches: [FilterPatch], _ side: Istio.EnvoyFilter.PatchContext) {
        self.translator = translator
        self.side = side
        self.patches = patches.filter { $0.patch.match.context == .any || $0.patch.match.context == side }
    }

    func callAsFunction(_ resources: [XDS.Resource]) -> [XDS.Resource] {
        patches.isEmpty ? resources : resources.compactMap { patched($0) }
    }

    private func patched(_ resource: XDS.Resource) -> XDS.Resource? {
        switch resource.type {
        case .listener: repacked(resource, Listener.self) { listener(&$0) }
        case .cluster where isAbout(.cluster): repacked(resource, Cluster.self) { cluster(&$0, resource.name) }
        case .route where isAbout(.routeConfiguration, .virtualHost, .httpRoute):
            repacked(resource, RouteConfiguration.self) { routes(&$0) }
        default: resource
        }
    }

    private func isAbout(_ targets: Istio.EnvoyFilter.Target...) -> Bool {
        patches.contains { targets.contains($0.patch.target) }
    }

    /// - Parameter change: false takes the resource away.
    private func repacked<M: ProtobufMessage>(
        _ resource: XDS.Resource, _ type: M.Type, _ change: (inout UnsafeMutablePointer<M>) -> Bool
    ) -> XDS.Resource? {
        guard var message = try? translator.arena.decode(M.self, from: resource.body) else { return resource }
        guard change(&message) else { return nil }
        let body = encode(message)
        if body == resource.body { return resource }
        return Resource(resource.type, name: resource.name, body: body, dependencies: resource.dependencies)
    }

    func patches(of target: Istio.EnvoyFilter.Target) -> [FilterPatch] { patches.filter { $0.patch.target == target } }

    // MARK: Clusters

    private func cluster(_ cluster: inout UnsafeMutablePointer<Cluster>, _ name: String) -> Bool {
        for patch in patches(of: .cluster) where takes(patch.patch.match.resource, cluster: name) {
            switch patch.patch.operation {
            case .remove: return false
            case .merge, .mergeAndReplaceList, .replace:
                guard let value: UnsafeMutablePointer<Cluster> = translator.value(of: patch) else { continue }
                if patch.patch.operation == .replace {
                    cluster = value
                    cluster.pointee.name = translator.arena(name)
                    continue
                }
                let (old, new) = (cluster.pointee.transport_socket, value.pointee.transport_socket)
                cluster = translator.merged(cluster, value, by: patch.patch.operation)
                if let old, let new, case .typed_config(let one)? = old.pointee.config_type,
                    case .typed_config(let other)? = new.pointee.config_type
                {
                    let content = translator.merged(one, other, by: patch.patch.operation)
                    cluster.pointee.transport_socket?.pointee.set(typed_config: content)
                }
            case .add, .insertBefore, .insertAfter, .insertFirst: continue
            }
        }
        return true
    }

    /// `outbound|9080|v1|reviews.default.svc.cluster.local`, `inbound|9080||` or another name.
    private func takes(_ match: Istio.EnvoyFilter.Match.Resource, cluster name: String) -> Bool {
        guard case .cluster(let wanted) = match else { return match == .any }
        if let exact = wanted.name { return exact == name }
        let parts = name.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 4 else { return wanted.port == nil && wanted.service == nil && wanted.subset == nil }
        return (wanted.port == nil || wanted.port.map(String.init) == parts[1])
            && (wanted.subset == nil || wanted.subset == parts[2])
            && (wanted.service == nil || wanted.service == parts[3])
    }

    /// Clusters and listeners that patches add.
    func added(_ target: Istio.EnvoyFilter.Target) -> [XDS.Resource] {
        patches(of: target).filter { $0.patch.operation == .add }.compactMap { patch in
            switch target {
            case .cluster:
                let value: UnsafeMutablePointer<Cluster>? = translator.value(of: patch)
                return value.map { translator.resource(.cluster, $0.pointee.name.string, $0) }
            case .listener:
                let value: UnsafeMutablePointer<Listener>? = translator.value(of: patch)
                return value.map { translator.resource(.listener, $0.pointee.name.string, $0) }
            default: return nil
            }
        }
    }

    // MARK: Lists

    /// Elements of a list changed one after another: by name where a patch names one, else all that it takes.
    /// - Parameters:
    ///   - names: what the patch says its place is by: the name of another element; nil: it says none.
    ///   - end: where an added element goes; nil is the end.
    func changed<M: ProtobufMessage>(
        _ list: [UnsafeMutablePointer<M>], by patch: FilterPatch, takes: (UnsafeMutablePointer<M>) -> Bool,
        namesOne: Bool, end: ([UnsafeMutablePointer<M>]) -> Int = { $0.count },
        merge: (UnsafeMutablePointer<M>, UnsafeMutablePointer<M>) -> UnsafeMutablePointer<M>
    ) -> [UnsafeMutablePointer<M>] {
        var list = list
        let operation = patch.patch.operation
        if operation == .remove { return list.filter { !takes($0) } }
        guard let value: UnsafeMutablePointer<M> = translator.value(of: patch) else { return list }
        // Each place needs a message of its own: two lists never share one.
        switch operation {
        case .remove: break
        case .add: list.insert(value, at: end(list))
        case .insertFirst: list.insert(value, at: 0)
        case .insertBefore:
            // Without a name it stands before all.
            if !namesOne {
                list.insert(value, at: 0)
            } else if let index = list.firstIndex(where: takes) {
                list.insert(value, at: index)
            }
        case .insertAfter:
            if !namesOne {
                list.append(value)
            } else if let index = list.firstIndex(where: takes) {
                list.insert(value, at: index + 1)
            }
        case .replace: list = list.map { takes($0) ? value : $0 }
        case .merge, .mergeAndReplaceList: list = list.map { takes($0) ? merge($0, value) : $0 }
        }
        return list
    }
}

extension Translator {
    /// What a proxy's own resources become by the EnvoyFilters that are for it, and what these add.
    func patched(
        _ resources: [XDS.Resource], for proxy: ProxyClass, _ side: Istio.EnvoyFilter.PatchContext
    ) -> [XDS.Resource] {
        guard proxy.kind != .proxyless else { return resources }
        let all = filterPatches(of: proxy)
        if all.isEmpty { return resources }
        var patching = ResourcePatching(self, all, side)
        var result = patching(resources)
        // What is for both sides is added once.
        if side == .sidecarOutbound {
            patching = ResourcePatching(self, all.filter { $0.patch.match.context == side }, side)
        }
        let names = Set(result.map { ResourceReference($0.type, $0.name) })
        for resource in patching.added(.listener) + patching.added(.cluster)
        where !names.contains(ResourceReference(resource.type, resource.name)) {
            result.append(resource)
        }
        return result
    }

    /// What resources that clients of a scope share become.
    func patched(_ resources: [XDS.Resource], for scope: OutboundScope) -> [XDS.Resource] {
        switch scope.kind {
        case .sidecar: ResourcePatching(self, filterPatches(for: scope), .sidecarOutbound)(resources)
        case .gateway: ResourcePatching(self, filterPatches(for: scope), .gateway)(resources)
        case .proxyless: resources
        }
    }
}
