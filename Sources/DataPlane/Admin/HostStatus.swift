import Documents
import Forwarding

/// A host of a cluster as the workers see it, for people.
public struct HostStatus: Hashable, Sendable {
    /// Counters and gauges under Envoy's names: `cx_active`, `rq_success`.
    public var numbers: [String: Int64]
    /// `10.0.0.7:9080`
    public var address: String
    /// `healthy`, or what is wrong: `/failed_active_hc/failed_outlier_check`. Source: Envoy, `/clusters`.
    public var healthFlags: String
    /// What the control plane says of it: `HEALTHY`, `DEGRADED`, …
    public var toldHealth = "HEALTHY"
    public var weight: Int
    public var priority: Int
    public var region: String
    public var zone: String
    public var subZone: String

    public init(address: String) {
        self.address = address
        numbers = [:]
        healthFlags = "healthy"
        (weight, priority) = (1, 0)
        (region, zone, subZone) = ("", "", "")
    }
}

/// A cluster and its hosts.
public struct ClusterStatus: Sendable {
    public var name: String
    /// Of the default priority: connections, pending requests, requests, retries.
    public var limits: [(name: String, value: Int64)] = []
    public var hosts: [HostStatus] = []
    /// Of the bootstrap file, not of the control plane.
    public var isFixed = false

    public init(name: String) { self.name = name }

    /// One that no request has gone to: its hosts are known, and nothing happened there.
    init(unused served: ServedCluster) {
        self.init(name: served.name)
        limits = Self.limits(of: served.configuration)
        for (priority, groups) in Self.levels(of: served).enumerated() {
            for group in groups {
                for endpoint in group.endpoints {
                    var host = HostStatus(address: Self.shown(endpoint.place))
                    host.toldHealth = endpoint.state.shown
                    host.healthFlags = endpoint.state.flags
                    (host.weight, host.priority) = (endpoint.weight, priority)
                    (host.region, host.zone, host.subZone) = (
                        group.locality.region, group.locality.zone, group.locality.subZone
                    )
                    hosts.append(host)
                }
            }
        }
    }

    private static func levels(of served: ServedCluster) -> [[EndpointSet.Group]] {
        switch served.configuration.discovery {
        case .told: served.endpoints?.levels ?? []
        case .fixed(let set), .names(let set, _): set.levels
        case .originalDestination, .forwardProxy: []
        }
    }

    private static func shown(_ place: EndpointPlace) -> String {
        switch place {
        case .address(let address): "\(address)"
        case .name(let name, let port): "\(name):\(port)"
        }
    }

    static func limits(of configuration: ClusterConfiguration) -> [(name: String, value: Int64)] {
        let breaker = configuration.breakers[RequestPriority.normal.rawValue]
        return [
            ("max_connections", Int64(clamping: breaker.connections)),
            ("max_pending_requests", Int64(clamping: breaker.pending)),
            ("max_requests", Int64(clamping: breaker.requests)), ("max_retries", Int64(clamping: breaker.retries)),
        ]
    }

    /// The same cluster of several workers.
    static func merged(_ statuses: [ClusterStatus]) -> [ClusterStatus] {
        var byName: [String: ClusterStatus] = [:]
        for status in statuses {
            guard var merged = byName[status.name] else {
                byName[status.name] = status
                continue
            }
            for host in status.hosts {
                guard let place = merged.hosts.firstIndex(where: { $0.address == host.address }) else {
                    merged.hosts.append(host)
                    continue
                }
                merged.hosts[place].numbers.merge(host.numbers, uniquingKeysWith: +)
                if host.healthFlags != "healthy" { merged.hosts[place].healthFlags = host.healthFlags }
            }
            byName[status.name] = merged
        }
        return byName.values.sorted { $0.name < $1.name }
    }

    /// As Envoy's `/clusters` prints it.
    static func text(_ clusters: [ClusterStatus]) -> String {
        var text = ""
        for cluster in clusters {
            func line(_ rest: String) { text += cluster.name + "::" + rest + "\n" }
            line("observability_name::\(cluster.name)")
            for limit in cluster.limits { line("default_priority::\(limit.name)::\(limit.value)") }
            line("added_via_api::\(!cluster.isFixed)")
            for host in cluster.hosts {
                for (name, value) in host.numbers.sorted(by: { $0.key < $1.key }) {
                    line("\(host.address)::\(name)::\(value)")
                }
                line("\(host.address)::health_flags::\(host.healthFlags)")
                line("\(host.address)::weight::\(host.weight)")
                line("\(host.address)::region::\(host.region)")
                line("\(host.address)::zone::\(host.zone)")
                line("\(host.address)::sub_zone::\(host.subZone)")
                line("\(host.address)::priority::\(host.priority)")
            }
        }
        return text
    }

    /// As Envoy's `/clusters?format=json`: envoy.admin.v3.Clusters.
    static func json(_ clusters: [ClusterStatus]) -> String {
        let entries = clusters.map { cluster in
            DocumentNode.object([
                ("name", .text(cluster.name)), ("added_via_api", .flag(!cluster.isFixed)),
                ("host_statuses", .list(cluster.hosts.map(document))),
            ])
        }
        return DocumentNode.object([("cluster_statuses", .list(entries))]).line
    }

    private static func document(_ host: HostStatus) -> DocumentNode {
        let stats = host.numbers.sorted { $0.key < $1.key }.map { name, value in
            DocumentNode.object([
                ("name", .text(name)), ("value", .text("\(value)")),
                ("type", .text(name.hasSuffix("_active") ? "GAUGE" : "COUNTER")),
            ])
        }
        var health: [(String, DocumentNode)] = [("eds_health_status", .text(host.toldHealth))]
        for flag in host.healthFlags.split(separator: "/") where flag != "healthy" {
            health.append((String(flag), .flag(true)))
        }
        let place = [("region", host.region), ("zone", host.zone), ("sub_zone", host.subZone)]
        return .object([
            ("address", socketAddress(host.address)), ("stats", .list(stats)), ("health_status", .object(health)),
            ("weight", .number(host.weight)), ("priority", .number(host.priority)),
            ("locality", .object(place.filter { !$0.1.isEmpty }.map { ($0.0, .text($0.1)) })),
        ])
    }

    /// `10.0.0.7:80` as Envoy's `Address`.
    static func socketAddress(_ address: String) -> DocumentNode {
        let colon = address.lastIndex(of: ":") ?? address.endIndex
        let port = colon == address.endIndex ? 0 : Int(address[address.index(after: colon)...]) ?? 0
        let ip = address[..<colon].filter { $0 != "[" && $0 != "]" }
        return .object([
            ("socket_address", .object([("address", .text(String(ip))), ("port_value", .number(port))]))
        ])
    }
}

extension HostState {
    /// Envoy tells no more of what the control plane says. Source: Envoy, admin `/clusters`, `setHealthFlag`.
    var shown: String {
        switch self {
        case .unknown, .healthy: "HEALTHY"
        case .degraded: "DEGRADED"
        case .draining: "DRAINING"
        case .unhealthy, .timeout: "UNHEALTHY"
        }
    }

    /// Of a host that nothing else is known of.
    fileprivate var flags: String {
        switch self {
        case .unknown, .healthy: "healthy"
        case .degraded: "/degraded_eds_health"
        case .draining, .unhealthy, .timeout: "/failed_eds_health"
        }
    }
}
