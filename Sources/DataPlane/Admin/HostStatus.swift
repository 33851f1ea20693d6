import Forwarding

/// A host of a cluster as the workers see it, for people.
public struct HostStatus: Hashable, Sendable {
    /// Counters and gauges under Envoy's names: `cx_active`, `rq_success`.
    public var numbers: [String: Int64]
    /// `10.0.0.7:9080`
    public var address: String
    /// `healthy`, or what is wrong: `/failed_active_hc/failed_outlier_check`. Source: Envoy, `/clusters`.
    public var healthFlags: String
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

    public init(name: String) { self.name = name }

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
            line("added_via_api::true")
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
            let hosts = cluster.hosts.map { host -> String in
                let (ip, port) = split(host.address)
                let stats = host.numbers.sorted { $0.key < $1.key }.map { name, value in
                    let type = name.hasSuffix("_active") ? "GAUGE" : "COUNTER"
                    return "{\"name\":\(quotedJSON(name)),\"value\":\"\(value)\",\"type\":\"\(type)\"}"
                }
                var health = ["\"eds_health_status\":\"HEALTHY\""]
                for flag in host.healthFlags.split(separator: "/") where flag != "healthy" {
                    health.append("\(quotedJSON(String(flag))):true")
                }
                let place = [("region", host.region), ("zone", host.zone), ("sub_zone", host.subZone)]
                    .filter { !$0.1.isEmpty }.map { "\"\($0.0)\":\(quotedJSON($0.1))" }
                return "{\"address\":{\"socket_address\":{\"address\":\(quotedJSON(ip)),\"port_value\":\(port)}},"
                    + "\"stats\":[\(stats.joined(separator: ","))],\"health_status\":{\(health.joined(separator: ","))},"
                    + "\"weight\":\(host.weight),\"priority\":\(host.priority),"
                    + "\"locality\":{\(place.joined(separator: ","))}}"
            }
            return "{\"name\":\(quotedJSON(cluster.name)),\"added_via_api\":true,"
                + "\"host_statuses\":[\(hosts.joined(separator: ","))]}"
        }
        return "{\"cluster_statuses\":[\(entries.joined(separator: ","))]}\n"
    }

    private static func split(_ address: String) -> (ip: String, port: String) {
        guard let colon = address.lastIndex(of: ":") else { return (address, "0") }
        return (
            String(address[..<colon]).filter { $0 != "[" && $0 != "]" }, String(address[address.index(after: colon)...])
        )
    }
}
