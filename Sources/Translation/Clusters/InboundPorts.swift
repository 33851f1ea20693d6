import Mesh

/// A port on which a workload is called.
public struct InboundPort: Hashable, Sendable {
    /// One service's port that leads there.
    public struct Served: Hashable, Sendable {
        public var service: MeshService
        public var port: MeshService.Port
    }

    /// Of the workload.
    public var number: Int
    /// Sorted by host; the first says the protocol.
    public var services: [Served]
    /// nil leaves it to be detected.
    public var statedProtocol: PortProtocol?
    /// The listener of a Sidecar object that says it, instead of the services.
    public var ingress: Istio.Sidecar.Ingress?
}

extension Translator {
    /// Where the application behind a proxy is called, sorted: at the target ports of the services that select it, or at
    /// the listeners of its Sidecar.
    public func inboundPorts(of proxy: ProxyClass) -> [InboundPort] {
        guard proxy.kind != .gateway else { return [] }
        var served: [Int: [InboundPort.Served]] = [:]
        for service in servicesServed(by: proxy) {
            for port in service.ports where port.statedProtocol != .udp {
                guard let number = workloadPort(port, of: service, proxy) else { continue }
                served[number, default: []].append(InboundPort.Served(service: service, port: port))
            }
        }
        if let object = sidecar(for: proxy), case .sidecar(let sidecar) = object.body, !sidecar.ingress.isEmpty {
            return sidecar.ingress.map { listener in
                InboundPort(
                    number: listener.port.number, services: served[listener.port.number] ?? [],
                    statedProtocol: listener.port.transport ?? PortProtocol(portName: listener.port.name),
                    ingress: listener)
            }.sorted { $0.number < $1.number }
        }
        return served.sorted { $0.key < $1.key }.map { number, services in
            InboundPort(number: number, services: services, statedProtocol: services.first?.port.statedProtocol)
        }
    }

    /// Services and ServiceEntries of its namespace that select a proxy's workload, sorted by host.
    private func servicesServed(by proxy: ProxyClass) -> [MeshService] {
        let entries = mesh.objects(of: .serviceEntry, in: proxy.namespace).filter { object in
            guard case .serviceEntry(let entry) = object.body, let selector = entry.workloadSelector else {
                return false
            }
            return !selector.labels.isEmpty && selector.selects(proxy.labels)
        }
        return (mesh.services(selecting: proxy.labels, in: proxy.namespace) + entries)
            .flatMap { MeshService.services(of: $0) }.sorted { ($0.host, $0.key) < ($1.host, $1.key) }
    }

    private func workloadPort(_ port: MeshService.Port, of service: MeshService, _ proxy: ProxyClass) -> Int? {
        switch port.target {
        case .number(let number): number
        case .text(let name): proxy.namedPorts[name]
        case nil: port.number
        }
    }
}
