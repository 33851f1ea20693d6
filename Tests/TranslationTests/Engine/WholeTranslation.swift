import Mesh
import XDS

@testable import Translation

/// Everything that a proxy sees, made from nothing, with nothing shared and everything known of the client: what the
/// engine's results must equal.
struct WholeTranslation {
    var resources: [ResourceReference: String] = [:]

    init(of proxy: ProxyClass, in index: MeshIndex, settings: TranslationSettings) {
        let translator = Translator(MeshReader(index), settings: settings)
        let scope = translator.wholeScope(of: proxy)
        let services = translator.visibleServices(for: scope)
        if proxy.kind == .proxyless {
            add(SectionMaker.proxyless(translator, proxy, scope))
            return
        }
        add(translator.commonClusters())
        for service in services {
            add(translator.outboundClusters(of: service, for: scope))
            add(translator.endpoints(of: service, for: scope))
        }
        switch proxy.kind {
        case .sidecar:
            let ports = Set(services.flatMap { $0.ports.filter { $0.statedProtocol?.isHTTP ?? true }.map(\.number) })
            for port in ports.sorted() {
                var hosts: [[UInt8]] = []
                for service in services where service.port(port).map({ $0.statedProtocol?.isHTTP ?? true }) == true {
                    if let host = translator.virtualHost(for: service, port: port, for: scope) { hosts.append(host) }
                }
                hosts += translator.extraVirtualHosts(port: port, for: scope)
                add([
                    translator.routeConfiguration(
                        named: ResourceNames.routes(port), port: port, virtualHosts: hosts, for: scope)
                ])
            }
            add(SectionMaker.outboundListeners(translator, proxy, scope, services))
            add(SectionMaker.inbound(translator, proxy))
        case .gateway: add(SectionMaker.gateway(translator, proxy))
        case .proxyless: break
        }
    }

    init(_ snapshot: Snapshot) {
        for type in ResourceType.all { add(snapshot[type].sortedResources()) }
    }

    private mutating func add(_ list: [Resource]) {
        for resource in list { resources[ResourceReference(resource.type, resource.name)] = resource.version }
    }

    /// Names that only one of the two has, or that differ; empty where both are equal.
    func difference(from other: WholeTranslation) -> [String] {
        Set(resources.keys).union(other.resources.keys).filter { resources[$0] != other.resources[$0] }
            .map {
                "\($0.type) \($0.name)"
                    + (resources[$0] == nil ? " missing" : other.resources[$0] == nil ? " too much" : "")
            }
            .sorted()
    }
}
