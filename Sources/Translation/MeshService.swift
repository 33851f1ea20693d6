import Addresses
import Mesh

/// Something that can be called under a host: a Kubernetes Service or one host of a ServiceEntry, told alike.
public struct MeshService: Hashable, Sendable {
    public struct Port: Hashable, Sendable {
        public var number: Int
        public var name: String
        /// nil leaves it to be detected.
        public var statedProtocol: PortProtocol?
        /// The workload's port, or its name there; nil is the same as ``number``.
        public var target: IntOrString?
    }

    /// How its endpoints are found.
    public enum Resolution: Hashable, Sendable {
        /// Told by the control plane: from EndpointSlices, workloads, WorkloadEntries and the entry itself.
        case endpoints
        /// The proxy looks names up: those of the entry's endpoints, or the host itself.
        case dns(isRoundRobin: Bool)
        /// Wherever the client meant it to go.
        case originalDestination
        /// The name in each request is looked up.
        case dynamicDNS
        /// Another name for another host: a Service of type ExternalName.
        case alias(String)
    }

    public var key: ObjectKey
    /// In full; may begin with `*.`.
    public var host: String
    public var ports: [Port]
    public var resolution: Resolution
    /// Virtual addresses that clients may call; ServiceEntries may have ranges.
    public var addresses: [AddressBlock]
    /// Headless: clients call the endpoints' own addresses.
    public var isHeadless: Bool
    /// Not part of the mesh: no identity is expected there.
    public var isExternal: Bool
    /// Identities that may serve it, beside those of its workloads.
    public var subjectAltNames: [String]

    public var namespace: String { key.namespace }

    public func port(_ number: Int) -> Port? { ports.first { $0.number == number } }
}

extension MeshService {
    /// Everything that an object serves: one for a Service, one for each host of a ServiceEntry, none for others.
    public static func services(of object: MeshObject) -> [MeshService] {
        switch object.body {
        case .service(let service):
            let resolution: Resolution =
                if service.kind == .externalName, let name = service.externalName {
                    .alias(name.lowercased())
                } else {
                    .endpoints
                }
            return [
                MeshService(
                    key: object.key, host: MeshIndex.fullHost(of: object.key),
                    ports: service.ports.map {
                        Port(number: $0.port, name: $0.name, statedProtocol: $0.statedProtocol, target: $0.targetPort)
                    },
                    resolution: resolution, addresses: service.clusterIPs.compactMap { AddressBlock($0) },
                    isHeadless: service.isHeadless,
                    isExternal: service.kind == .externalName, subjectAltNames: [])
            ]
        case .serviceEntry(let entry):
            let resolution: Resolution =
                switch entry.resolution {
                case .none: .originalDestination
                case .fixed: .endpoints
                case .dns: .dns(isRoundRobin: false)
                case .dnsRoundRobin: .dns(isRoundRobin: true)
                case .dynamicDNS: .dynamicDNS
                }
            return entry.hosts.map { host in
                MeshService(
                    key: object.key, host: host.lowercased(),
                    ports: entry.ports.map {
                        Port(
                            number: $0.number, name: $0.name, statedProtocol: $0.transport,
                            target: $0.targetPort.map { .number($0) })
                    },
                    resolution: resolution, addresses: entry.addresses, isHeadless: false,
                    isExternal: entry.location == .external, subjectAltNames: entry.subjectAltNames)
            }
        default: return []
        }
    }
}
