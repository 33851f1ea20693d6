import Mesh
import XDS

/// Makes sections: each by one call of a ``Translator`` that is made for it, so that what it asked the mesh is known.
struct SectionMaker: Derivation, Sendable {
    typealias Key = Section
    typealias Observation = Fact
    typealias Value = SectionValue
    typealias Sections = Derivations<SectionMaker>

    var index: MeshIndex
    var settings: TranslationSettings
    var scopes = ScopeTable()
    var interning = ResourceInterning()

    init(_ index: MeshIndex, settings: TranslationSettings) {
        self.index = index
        self.settings = settings
    }

    mutating func make(_ key: Section, asking sections: inout Derivations<SectionMaker>) -> SectionValue {
        let translator = Translator(MeshReader(index), settings: settings)
        let content = content(of: key, by: translator, asking: &sections)
        sections.note(translator.mesh.facts)
        return SectionValue(content: content, warnings: translator.mesh.warnings)
    }

    static func isNotable(_ value: SectionValue) -> Bool { !value.warnings.isEmpty }

    private mutating func content(
        of key: Section, by translator: Translator, asking sections: inout Sections
    ) -> SectionValue.Content {
        switch key {
        case .partialObjects: return .partialObjects(translator.mesh.partialObjects())
        case .routedHosts: return .hosts(translator.mesh.routedHosts())
        case .listenerSelectors: return .hosts(translator.mesh.listenerSelectors())
        case .interests(let namespace):
            return .interests(interests(of: namespace, translator.mesh, &sections))
        case .scope(let proxy): return .scope(scope(of: proxy, translator, &sections))
        case .services(let number): return .services(services(of: number, translator, &sections))
        case .ports(let number):
            var ports: [Int: [Int]] = [:]
            for (position, service) in sections.value(of: .services(number), &self).services.enumerated() {
                for port in service.ports where port.statedProtocol?.isHTTP ?? true {
                    ports[port.number, default: []].append(position)
                }
            }
            return .ports(ports)
        case .differences(let number): return .differences(differences(of: number, translator, &sections))
        case .commonClusters: return .resources(interned(translator.commonClusters()))
        case .clusters(let number, let host):
            let scope = scopes[number]
            guard let service = translator.service(exactly: host, for: scope) else { return .resources([]) }
            return .resources(interned(translator.outboundClusters(of: service, for: scope)))
        case .endpoints(let number, let host):
            let scope = scopes[number]
            guard let service = translator.service(exactly: host, for: scope) else { return .resources([]) }
            return .resources(interned(translator.endpoints(of: service, for: scope)))
        case .virtualHost(let number, let port, let host):
            let scope = scopes[number]
            let service = translator.service(exactly: host, for: scope)
            return .packed(
                service.flatMap { translator.virtualHost(for: $0, port: port, for: scope) }.map { [$0] } ?? [])
        case .extraHosts(let number, let port):
            return .packed(translator.extraVirtualHosts(port: port, for: scopes[number]))
        case .frame(let number, let port): return .frame(frame(of: number, port: port, &sections))
        case .routes(let number, let port):
            return .resources(interned(routes(of: number, port: port, translator, &sections)))
        case .outboundListeners(let proxy, let number):
            let services = sections.value(of: .services(number), &self).services
            return .resources(interned(Self.outboundListeners(translator, proxy, scopes[number], services)))
        case .inbound(let proxy): return .resources(interned(Self.inbound(translator, proxy)))
        case .gateway(let proxy): return .resources(interned(Self.gateway(translator, proxy)))
        case .proxyless(let proxy, let number):
            return .resources(interned(Self.proxyless(translator, proxy, scopes[number])))
        }
    }

    // What a class sees beside its scope.

    static func outboundListeners(
        _ translator: Translator, _ proxy: ProxyClass, _ scope: OutboundScope, _ services: [MeshService]
    ) -> [Resource] {
        translator.patched(
            translator.outboundListeners(for: proxy, scope: scope, services: services), for: proxy, .sidecarOutbound)
    }

    static func inbound(_ translator: Translator, _ proxy: ProxyClass) -> [Resource] {
        translator.patched(
            translator.inboundClusters(of: proxy) + translator.keySetClusters(of: proxy)
                + translator.inboundListeners(of: proxy), for: proxy, .sidecarInbound)
    }

    static func gateway(_ translator: Translator, _ proxy: ProxyClass) -> [Resource] {
        translator.patched(
            translator.keySetClusters(of: proxy) + translator.serverNameClusters(of: proxy)
                + translator.gatewaySecrets(of: proxy)
                + translator.gatewayListeners(of: proxy)
                + translator.gatewayRouteConfigurations(of: proxy), for: proxy, .gateway)
    }

    static func proxyless(_ translator: Translator, _ proxy: ProxyClass, _ scope: OutboundScope) -> [Resource] {
        translator.proxylessResources(of: proxy, scope: scope)
    }

    private mutating func interned(_ resources: [Resource]) -> [Resource] {
        resources.map { interning.interned($0) }
    }

    private mutating func services(
        of number: ScopeNumber, _ translator: Translator, _ sections: inout Sections
    ) -> [MeshService] {
        let scope = scopes[number]
        let plain = scopes.plain(of: number)
        if number != plain, scope.sidecar == nil, !translator.isIsolated(scope),
            sections.value(of: .interests(namespace: scope.namespace), &self).interests.services.isEmpty
        {
            return sections.value(of: .services(plain), &self).services
        }
        return translator.visibleServices(for: scope)
    }

    private mutating func routes(
        of number: ScopeNumber, port: Int, _ translator: Translator, _ sections: inout Sections
    ) -> [Resource] {
        let plain = scopes.plain(of: number)
        let services = sections.value(of: .services(number), &self).services
        let differences = sections.value(of: .differences(number), &self).differences
        let positions = sections.value(of: .ports(number), &self).ports[port] ?? []
        let further = sections.value(of: .extraHosts(number, port: port), &self).packed
        let name = ResourceNames.routes(port)
        func packed(_ host: String) -> [[UInt8]] {
            let owner = differences.routes.contains(host) ? number : plain
            return sections.value(of: .virtualHost(owner, port: port, host: host), &self).packed
        }
        // Clients of a Sidecar see so little that nothing is gained by what others see.
        if !differences.isApart {
            var framed = FramedHosts(sections.value(of: .frame(plain, port: port), &self).frame)
            for position in positions {
                let host = services[position].host
                if differences.routes.contains(host) || !framed.take(host) { framed.replace(host, by: packed(host)) }
            }
            let scope = scopes[number]
            framed.finish(further + translator.packedCatchAll(for: scope))
            if framed.isDistinct {
                return [translator.routeConfiguration(named: name, packedHosts: framed.bytes, for: scope)]
            }
        }
        let hosts = positions.flatMap { packed(services[$0].host) } + further
        return [translator.routeConfiguration(named: name, port: port, virtualHosts: hosts, for: scopes[number])]
    }

    private mutating func frame(of number: ScopeNumber, port: Int, _ sections: inout Sections) -> RouteFrame {
        var frame = RouteFrame()
        let services = sections.value(of: .services(number), &self).services
        for position in sections.value(of: .ports(number), &self).ports[port] ?? [] {
            let host = services[position].host
            frame.append(host, sections.value(of: .virtualHost(number, port: port, host: host), &self).packed)
        }
        return frame
    }
}

extension Translator {
    /// What clients of a scope reach under a host of the list of ``visibleServices(for:)``, which may be a wildcard.
    func service(exactly host: String, for scope: OutboundScope) -> MeshService? {
        if !host.hasPrefix("*") {
            // A wildcard above it is another service.
            return service(host, in: scope.namespace, for: scope).flatMap { $0.host == host ? $0 : nil }
        }
        return mesh.services(matching: host, from: scope.namespace).filter { $0.host == host && isOpen($0, to: scope) }
            .min { precedes($0, $1, scope) }
    }
}
