import EnvoyAPI
import Mesh
import XDS

extension Translator {
    /// Where calls of interception-made connections seem to come from, so that the kernel lets them through.
    /// Source: Istio, the sidecar's rules for 127.0.0.6.
    private static let passedAddress = "127.0.0.6"

    /// The application behind a sidecar, one cluster for each port; with interception also one for ports that no
    /// service has.
    public func inboundClusters(of proxy: ProxyClass) -> [XDS.Resource] {
        guard proxy.kind == .sidecar else { return [] }
        var made = inboundPorts(of: proxy).map { port in
            resource(.cluster, ResourceNames.inbound(port.number), message(port, proxy))
        }
        if proxy.isIntercepted {
            let cluster = passthrough(ResourceNames.inboundPassthrough)
            bind(&cluster.pointee, proxy)
            made.append(resource(.cluster, ResourceNames.inboundPassthrough, cluster))
        }
        return made
    }

    private func message(_ port: InboundPort, _ proxy: ProxyClass) -> UnsafeMutablePointer<Cluster> {
        var pool = inboundPool(port, proxy)
        // How callers' proxies reach this one says nothing of what its application speaks.
        // Source: Istio, cluster builder: bounds hold both ways, the upgrade for callers alone.
        pool?.http?.upgrade = .standard
        return arena.make { cluster in
            cluster.name = arena(ResourceNames.inbound(port.number))
            cluster.connect_timeout = connectTimeout(pool)
            lead(&cluster, port, proxy)
            limit(&cluster, pool)
            setProtocol(&cluster, port.statedProtocol, pool)
            let services = port.services.map { served in
                StructureValue.object([
                    .init("host", .string(served.service.host)), .init("name", .string(served.service.key.name)),
                    .init("namespace", .string(served.service.namespace)),
                ])
            }
            cluster.metadata = arena.make {
                ($0.n_filter_metadata, $0.filter_metadata) = arena.map([
                    ("istio", arena.structure([.init("services", .list(services))]))
                ])
            }
        }
    }

    /// To where the Sidecar says, else to where the call was meant to go, else to where the application listens.
    private func lead(_ cluster: inout Cluster, _ port: InboundPort, _ proxy: ProxyClass) {
        let target = port.ingress?.endpoint.map { InboundTarget($0) } ?? .workload(port.number)
        switch target {
        case .workload(let number) where proxy.isIntercepted:
            setOriginalDestination(&cluster)
            bind(&cluster, proxy)
            if number != port.number {
                cluster.set(
                    original_dst_lb_config: arena.make { $0.upstream_port_override = arena.u32(UInt32(number)) })
            }
        case .workload(let number): setFixed(&cluster, proxy.applicationAddress, number)
        case .address(let host, let number): setFixed(&cluster, host, number)
        }
    }

    private func setFixed(_ cluster: inout Cluster, _ host: String, _ number: Int) {
        let name = String(cString: cluster.name)
        cluster.set(type: .STATIC)
        cluster.load_assignment = arena.make { assignment in
            assignment.cluster_name = arena(name)
            (assignment.n_endpoints, assignment.endpoints) = arena.list(
                arena.make(LocalityLbEndpoints.self) { group in
                    (group.n_lb_endpoints, group.lb_endpoints) = arena.list(
                        arena.make(LbEndpoint.self) {
                            $0.set(endpoint: arena.make { $0.address = address(host, number) })
                        })
                })
        }
    }

    /// With transparent interception the application sees the client's own address.
    private func bind(_ cluster: inout Cluster, _ proxy: ProxyClass) {
        guard proxy.interception == .redirect else { return }
        cluster.upstream_bind_config = arena.make { $0.source_address = socketAddress(Self.passedAddress, 0) }
    }

    /// The Sidecar's listener, the Sidecar, then the DestinationRule of the first service with one.
    /// Source: Istio, Sidecar, inboundConnectionPool.
    private func inboundPool(_ port: InboundPort, _ proxy: ProxyClass) -> Istio.ConnectionPool? {
        if let pool = port.ingress?.connectionPool { return pool }
        if case .sidecar(let sidecar)? = sidecar(for: proxy)?.body, let pool = sidecar.inboundConnectionPool {
            return pool
        }
        let scope = OutboundScope(namespace: proxy.namespace)
        for served in port.services {
            let rule = clientRule(for: served.service.host, scope)
            let policy = clientPolicy(rule, subset: nil, port: served.port.number, of: served.service)
            if let pool = policy.connectionPool { return pool }
        }
        return nil
    }
}

/// Where a Sidecar's listener leads.
private enum InboundTarget {
    /// A port at the workload's own address.
    case workload(Int)
    case address(String, Int)

    /// - Parameter text: `127.0.0.1:80`, `[::1]:80`, `0.0.0.0:80` or `unix:///path`.
    init(_ text: String) {
        guard !text.hasPrefix("unix://"), let colon = text.lastIndex(of: ":"),
            let number = Int(text[text.index(after: colon)...])
        else {
            self = .address(text, 0)
            return
        }
        let host = String(text[..<colon].filter { $0 != "[" && $0 != "]" })
        self = ["0.0.0.0", "::"].contains(host) ? .workload(number) : .address(host, number)
    }
}

extension ProxyClass {
    /// Whether the kernel hands traffic over to it.
    public var isIntercepted: Bool {
        switch interception {
        case .redirect, .transparent: true
        case .explicit: false
        }
    }
}
