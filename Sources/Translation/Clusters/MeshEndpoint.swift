import Addresses
import Mesh
import XDS

/// One place where a port of a service is served.
struct MeshEndpoint: Hashable, Sendable {
    /// An IP address, a DNS name, or `unix://PATH`.
    var address: String
    var port: Int
    /// The same endpoint in the other IP version.
    var otherAddress: String?
    var labels: [String: String] = [:]
    var namespace: String
    /// Of the workload behind it; empty if unknown.
    var workload = ""
    var serviceAccount: String?
    var locality = Locality()
    var node: String?
    var weight = 1
    /// It ends, and serves what it has.
    var isDraining = false
    /// What was found where it is checked; nil: nobody checks it.
    var isHealthy: Bool?
    /// Whether its sidecar takes mutual TLS.
    var isMeshed = false

    var isName: Bool { !address.hasPrefix("unix://") && IPAddress(address) == nil }
}

/// What may serve a service, gathered once for all of its ports.
struct ServiceBackends {
    var service: MeshService
    var slices: [(object: MeshObject, slice: Kubernetes.EndpointSlice)] = []
    /// Chosen by the service's selector, expected ones included.
    var workloads: [Workload] = []
    /// Written in the ServiceEntry itself.
    var entries: [Istio.WorkloadEntry] = []
    /// Who is known to be at an address.
    var tenants: [String: Workload] = [:]
    var publishesNotReady = false
    /// What was worked out of them already.
    let worked = Worked()

    final class Worked {
        struct Asked: Hashable {
            var labels: [String: String]
            var port: Int
        }
        var modes: [Asked: Istio.PeerAuthentication.Mode] = [:]
        var endpoints: [MeshService.Port: [MeshEndpoint]] = [:]
    }
}

extension Translator {
    func backends(of service: MeshService) -> ServiceBackends {
        var backends = ServiceBackends(service: service)
        var neighbours: [Workload] = []
        switch mesh.object(service.key)?.body {
        case .service(let own):
            for object in mesh.objects(of: .endpointSlice, naming: service.key) {
                if case .endpointSlice(let slice) = object.body { backends.slices.append((object, slice)) }
            }
            backends.publishesNotReady = own.publishesNotReadyAddresses
            if !own.selector.isEmpty {
                backends.workloads = mesh.workloads(with: own.selector, in: service.namespace)
            } else if !backends.slices.isEmpty {
                neighbours = mesh.workloads(with: [:], in: service.namespace)
            }
        case .serviceEntry(let entry):
            backends.entries = entry.endpoints
            if let selector = entry.workloadSelector {
                backends.workloads = mesh.workloads(with: selector.labels, in: service.namespace)
            } else if !service.isExternal, !entry.endpoints.isEmpty {
                neighbours = mesh.workloads(with: [:], in: service.namespace)
            }
        default: break
        }
        for workload in backends.workloads + neighbours {
            for address in workload.addresses where backends.tenants[address]?.hasSidecar != true {
                backends.tenants[address] = workload
            }
        }
        return backends
    }

    /// The endpoints of one port, each address and port once, sorted.
    func endpoints(of backends: ServiceBackends, port: MeshService.Port) -> [MeshEndpoint] {
        if let known = backends.worked.endpoints[port] { return known }
        let found = gatheredEndpoints(of: backends, port: port)
        backends.worked.endpoints[port] = found
        return found
    }

    private func gatheredEndpoints(of backends: ServiceBackends, port: MeshService.Port) -> [MeshEndpoint] {
        var found: [MeshEndpoint] = []
        // Addresses that are known not to be ready are not called, though their proxies are connected.
        var unready: Set<String> = []
        for (object, slice) in backends.slices {
            add(slice, object, backends, port, to: &found, unready: &unready)
        }
        for workload in backends.workloads {
            guard let address = workload.addresses.first, !unready.contains(address),
                let number = portNumber(of: workload, for: port)
            else { continue }
            found.append(endpoint(workload, address: address, port: number, backends))
        }
        for entry in backends.entries where !entry.address.isEmpty {
            let number = entry.ports[port.name] ?? targetNumber(port)
            found.append(endpoint(entry, port: number, backends))
        }
        return merged(found, port: port)
    }

    /// Identities that may serve it, sorted. Source: Istio, secure naming.
    func subjectAltNames(of backends: ServiceBackends) -> [String] {
        var names = Set(backends.service.subjectAltNames)
        for workload in backends.workloads {
            names.insert(identity(namespace: workload.id.namespace, serviceAccount: workload.serviceAccount))
        }
        for (object, slice) in backends.slices {
            for endpoint in slice.endpoints {
                guard let tenant = tenant(of: endpoint, object, backends) else { continue }
                names.insert(identity(namespace: tenant.id.namespace, serviceAccount: tenant.serviceAccount))
            }
        }
        for entry in backends.entries {
            let account = entry.serviceAccount ?? backends.tenants[entry.address]?.serviceAccount
            if let account { names.insert(identity(namespace: backends.service.namespace, serviceAccount: account)) }
        }
        return names.sorted()
    }

    private func tenant(
        of endpoint: Kubernetes.EndpointSlice.Endpoint, _ object: MeshObject, _ backends: ServiceBackends
    ) -> Workload? {
        if let connected = endpoint.addresses.lazy.compactMap({ backends.tenants[$0] }).first { return connected }
        return endpoint.pod.flatMap { mesh.object(ObjectKey(.pod, object.key.namespace, $0)) }.flatMap { Workload($0) }
    }

    private func add(
        _ slice: Kubernetes.EndpointSlice, _ object: MeshObject, _ backends: ServiceBackends, _ port: MeshService.Port,
        to found: inout [MeshEndpoint], unready: inout Set<String>
    ) {
        guard slice.addressType != .fqdn, let served = slice.ports.first(where: { $0.name == port.name }) else {
            return
        }
        let number = served.port ?? targetNumber(port)
        for listed in slice.endpoints {
            guard let address = listed.addresses.first else { continue }
            let drains = !listed.isReady && listed.isServing && listed.isTerminating
            guard listed.isReady || drains || backends.publishesNotReady else {
                unready.formUnion(listed.addresses)
                continue
            }
            let tenant = tenant(of: listed, object, backends)
            var endpoint = MeshEndpoint(address: address, port: number, namespace: object.key.namespace)
            if let tenant {
                endpoint = self.endpoint(tenant, address: address, port: number, backends)
            } else {
                endpoint.labels = [:]
            }
            if endpoint.locality == Locality(), let zone = listed.zone { endpoint.locality = Locality(zone: zone) }
            endpoint.node = listed.nodeName
            endpoint.isDraining = drains
            found.append(endpoint)
        }
    }

    private func endpoint(
        _ workload: Workload, address: String, port: Int, _ backends: ServiceBackends
    ) -> MeshEndpoint {
        let family = IPAddress(address)?.isIPv4
        var made = MeshEndpoint(
            address: address, port: port,
            otherAddress: workload.addresses.first { other in
                family != nil && IPAddress(other).map { $0.isIPv4 != family } ?? false
            },
            labels: workload.labels, namespace: workload.id.namespace, workload: workload.id.name,
            serviceAccount: workload.serviceAccount, locality: Locality(text: workload.locality),
            weight: max(1, workload.weight),
            isMeshed: takesMutualTLS(
                workload.labels, in: workload.id.namespace, port: port, backends,
                hasSidecar: workload.hasSidecar || backends.tenants[address]?.hasSidecar == true,
                isProxyless: workload.isProxyless || backends.tenants[address]?.isProxyless == true))
        made.isHealthy = mesh.isHealthy(workload.id)
        return made
    }

    private func endpoint(
        _ entry: Istio.WorkloadEntry, port: Int, _ backends: ServiceBackends
    ) -> MeshEndpoint {
        let tenant = backends.tenants[entry.address]
        return MeshEndpoint(
            address: entry.address, port: port, labels: entry.labels, namespace: backends.service.namespace,
            workload: tenant?.id.name ?? "", serviceAccount: entry.serviceAccount ?? tenant?.serviceAccount,
            locality: Locality(text: entry.locality), weight: max(1, entry.weight),
            isMeshed: takesMutualTLS(
                tenant?.labels ?? entry.labels, in: backends.service.namespace, port: port, backends,
                hasSidecar: entry.labels[Workload.modeLabel] == "istio" || tenant?.hasSidecar == true))
    }

    private func takesMutualTLS(
        _ labels: [String: String], in namespace: String, port: Int, _ backends: ServiceBackends, hasSidecar: Bool,
        isProxyless: Bool = false
    ) -> Bool {
        guard hasSidecar, labels[Workload.modeLabel] != "disabled" else { return false }
        let asked = ServiceBackends.Worked.Asked(labels: labels, port: port)
        func takes(_ mode: Istio.PeerAuthentication.Mode) -> Bool { isProxyless ? mode == .strict : mode != .disable }
        if let mode = backends.worked.modes[asked] { return takes(mode) }
        let mode = mutualTLS(of: labels, in: namespace, port: port).mode
        backends.worked.modes[asked] = mode
        return takes(mode)
    }

    /// The workload's number for a service's port; nil if it has no port of that name.
    private func portNumber(of workload: Workload, for port: MeshService.Port) -> Int? {
        if let source = workload.source, case .workloadEntry(let entry)? = mesh.object(source)?.body {
            if let number = entry.ports[port.name] { return number }
            if case .text(let name) = port.target { return entry.ports[name] }
            return targetNumber(port)
        }
        guard case .text(let name) = port.target else { return targetNumber(port) }
        return workload.ports.first { $0.name == name }?.port
    }

    private func targetNumber(_ port: MeshService.Port) -> Int {
        if case .number(let number) = port.target { return number }
        return port.number
    }

    /// One endpoint where several tell of the same; what one knows and the other does not, it takes over.
    private func merged(_ found: [MeshEndpoint], port: MeshService.Port) -> [MeshEndpoint] {
        struct Place: Hashable {
            var address: String
            var port: Int
        }
        var places: [Place: Int] = [:]
        var result: [MeshEndpoint] = []
        for endpoint in found {
            let place = Place(address: endpoint.address, port: endpoint.port)
            guard let index = places[place] else {
                places[place] = result.count
                result.append(endpoint)
                continue
            }
            result[index].isMeshed = result[index].isMeshed || endpoint.isMeshed
            if result[index].labels.isEmpty { result[index].labels = endpoint.labels }
            if result[index].locality == Locality() { result[index].locality = endpoint.locality }
            if result[index].serviceAccount == nil { result[index].serviceAccount = endpoint.serviceAccount }
            if result[index].workload.isEmpty { result[index].workload = endpoint.workload }
            result[index].isHealthy = result[index].isHealthy ?? endpoint.isHealthy
            result[index].weight = max(result[index].weight, endpoint.weight)
        }
        return result.sorted { ($0.address, $0.port) < ($1.address, $1.port) }
    }
}

extension Locality {
    /// `region/zone/sub-zone`, the later parts may be missing.
    init(text: String?) {
        let parts = (text ?? "").split(separator: "/", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
        self.init(
            region: parts.first ?? "", zone: parts.count > 1 ? parts[1] : "", subZone: parts.count > 2 ? parts[2] : "")
    }
}
