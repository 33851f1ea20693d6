import Mesh
import XDS

// What two clients have in common: the less of a client a section depends on, the more clients share it.

extension SectionMaker {
    /// What a proxy's outbound side depends on.
    mutating func scope(of proxy: ProxyClass, _ translator: Translator, _ sections: inout Sections) -> OutboundScope {
        var scope = OutboundScope(
            namespace: proxy.namespace, kind: proxy.kind, sidecar: translator.sidecar(for: proxy)?.key,
            followsDestination: proxy.isIntercepted)
        var asked = Set<String>()
        for object in sections.value(of: .partialObjects, &self).partialObjects {
            asked.formUnion(object.clientLabels)
            if object.prefersNear { scope.locality = proxy.locality }
            if let selector = object.selector, object.audience?.contains(proxy.namespace) ?? true,
                Istio.WorkloadSelector(labels: selector).selects(proxy.labels)
            {
                scope.choosers.append(object.key)
            }
        }
        scope.choosers.sort()
        scope.labels = proxy.labels.filter { asked.contains($0.key) }
        return scope
    }

    /// Why clients of a namespace are a case of their own.
    mutating func interests(of namespace: String, _ mesh: MeshReader, _ sections: inout Sections) -> Interests {
        var services = Set<String>()
        var routes = Set<String>()
        for object in mesh.objects(of: .destinationRule, in: namespace) {
            services.formUnion(MeshIndex.claimedHosts(object))
        }
        for object in mesh.objects(of: .serviceEntry, in: namespace) {
            services.formUnion(MeshService.services(of: object).map(\.host))
        }
        for object in sections.value(of: .partialObjects, &self).partialObjects where object.isAbout(namespace) {
            if object.key.kind == .virtualService {
                routes.formUnion(object.hosts)
            } else {
                services.formUnion(object.hosts)
            }
        }
        // Routes of a namespace that is not the Service's are for clients of that namespace alone.
        for kind in [ObjectKind.httpRoute, .grpcRoute, .tlsRoute, .tcpRoute] {
            for object in mesh.objects(of: kind, in: namespace) {
                for target in object.namedObjects where target.kind == .service && target.namespace != namespace {
                    routes.insert(MeshIndex.fullHost(of: target))
                }
            }
        }
        // Whether the services of providers are seen depends on the namespace.
        let hasProviders = mesh.config.providers.contains { ($0.takesLogs || $0.takesSpans) && $0.place != nil }
        return Interests(
            services: services.sorted(), routes: routes.sorted(),
            shapesListeners: hasProviders
                || MeshReader.listenerKinds.contains { !mesh.objects(of: $0, in: namespace).isEmpty })
    }

    mutating func differences(
        of number: ScopeNumber, _ translator: Translator, _ sections: inout Sections
    ) -> Differences {
        let mesh = translator.mesh
        let plain = scopes.plain(of: number)
        if number == plain { return Differences() }
        let scope = scopes[number]
        let interests = sections.value(of: .interests(namespace: scope.namespace), &self).interests
        let services = sections.value(of: .services(number), &self).services
        let others = sections.value(of: .services(plain), &self).services
        let list = HostList(services)
        let plainList = HostList(others)
        var found = Differences()
        let isIsolated = translator.isIsolated(scope)
        found.isApart = scope.sidecar != nil || isIsolated

        // Services that others do not have, or have otherwise.
        if found.isApart || !interests.services.isEmpty {
            for service in services where plainList[service.host] != service { found.clusters.insert(service.host) }
        }
        // DestinationRules that others do not have, or in another order.
        for host in list.hosts(matching: interests.services) where !found.clusters.contains(host) {
            let own = mesh.destinationRules(for: host, from: scope.namespace).map(\.key)
            if own != mesh.destinationRules(for: host, from: "").map(\.key) { found.clusters.insert(host) }
        }
        var routePatterns = interests.routes
        for object in sections.value(of: .partialObjects, &self).partialObjects {
            let asksLabels = object.clientLabels.contains { scope.labels[$0] != nil }
            let isNear = object.prefersNear && scope.locality != XDS.Locality()
            let isForNamespace =
                object.key.kind == .envoyFilter && object.selector == nil && object.isAbout(scope.namespace)
            if isForNamespace || scope.choosers.contains(object.key) || isNear
                || (asksLabels && object.key.kind != .virtualService)
            {
                found.clusters.formUnion(list.hosts(matching: object.hosts))
            } else if asksLabels {
                routePatterns += object.hosts
            }
        }

        // Clients know the hosts of their own namespace by short names, whoever serves them.
        let suffix = ".\(scope.namespace).\(MeshIndex.clusterDomain)"
        found.routes = Set(services.lazy.map(\.host).filter { $0.hasSuffix(suffix) })
        found.routes.formUnion(found.clusters)
        found.routes.formUnion(list.hosts(matching: routePatterns))
        // Routes lead to other hosts, whose clusters may be of this scope.
        let isPlain = interests.services.isEmpty && scope.choosers.isEmpty && !found.isApart
        let routedHosts = sections.value(of: .routedHosts, &self).hosts
        if !isPlain || !found.clusters.isEmpty {
            found.routes.formUnion(list.hosts(matching: routedHosts))
        }
        // So are hosts of the namespace that only VirtualServices have: they have short names too.
        let hasOwnHosts = routedHosts.contains { $0.hasSuffix(suffix) && list[$0] == nil }
        let hasOwnRoutes = !routePatterns.isEmpty || !isPlain || hasOwnHosts
        if hasOwnRoutes || !scope.labels.isEmpty {
            found.ports = nil
        } else {
            found.ports = Set(found.routes.flatMap { list[$0]?.ports.map(\.number) ?? [] })
        }
        found.listeners = !isPlain || !routePatterns.isEmpty || !found.clusters.isEmpty
        return found
    }

    /// The class that a proxy's outbound listeners are made for: without what does not change them.
    mutating func listenerClass(of proxy: ProxyClass, _ sections: inout Sections) -> ProxyClass {
        let asked = sections.value(of: .listenerSelectors, &self).hosts
        let isShaped = sections.value(of: .interests(namespace: proxy.namespace), &self).interests.shapesListeners
        var interception = proxy.interception
        if case .explicit(let addresses) = interception {
            interception = .explicit(.init(inbound: "", outbound: addresses.outbound))
        }
        return ProxyClass(
            proxy.kind, namespace: isShaped ? proxy.namespace : "",
            labels: proxy.labels.filter { asked.contains($0.key) }, interception: interception)
    }
}

/// Services by their hosts, of a list that is sorted by host.
struct HostList {
    private let services: [MeshService]

    init(_ services: [MeshService]) {
        self.services = services
    }

    subscript(host: String) -> MeshService? {
        var low = 0
        var high = services.count
        while low < high {
            let middle = (low + high) / 2
            if services[middle].host < host { low = middle + 1 } else { high = middle }
        }
        return low < services.count && services[low].host == host ? services[low] : nil
    }

    /// Hosts that a pattern names, and wildcards that it lies below.
    func hosts(matching patterns: some Sequence<String>) -> Set<String> {
        var found = Set<String>()
        var suffixes: [Substring] = []
        let wildcards = services.prefix { $0.host < "+" }.map(\.host).filter { $0.hasPrefix("*") }
        for pattern in Set(patterns) {
            if pattern.hasPrefix("*") {
                suffixes.append(pattern.dropFirst())
            } else if self[pattern] != nil {
                found.insert(pattern)
            }
            for wildcard in wildcards where pattern.hasSuffix(wildcard.dropFirst()) { found.insert(wildcard) }
        }
        if !suffixes.isEmpty {
            for service in services where suffixes.contains(where: { service.host.hasSuffix($0) }) {
                found.insert(service.host)
            }
        }
        return found
    }
}

extension MeshReader {
    /// Hosts that routes of the mesh are about, sorted.
    func routedHosts() -> [String] {
        var hosts = Set(objects(of: .virtualService).flatMap(MeshIndex.claimedHosts))
        for kind in [ObjectKind.httpRoute, .grpcRoute, .tlsRoute, .tcpRoute] {
            for object in objects(of: kind) {
                for target in object.namedObjects where target.kind == .service {
                    hosts.insert(MeshIndex.fullHost(of: target))
                }
            }
        }
        return hosts.sorted()
    }

    /// Kinds of objects that shape the outbound listeners of the workloads that they select.
    static let listenerKinds = [ObjectKind.telemetry, .envoyFilter, .sidecar, .proxyConfig]

    /// Label keys, sorted.
    func listenerSelectors() -> [String] {
        var keys = Set<String>()
        for kind in Self.listenerKinds {
            for object in objects(of: kind) { keys.formUnion(object.policyScope?.selector?.labels.keys ?? [:].keys) }
        }
        // Spans carry the name of the workload.
        let namesWorkloads = config.providers.contains {
            if case .openTelemetry = $0.work { true } else { false }
        }
        if namesWorkloads { keys.formUnion(ProxyClass.nameLabels) }
        return keys.sorted()
    }
}
