import CEnvoyAPI
import EnvoyAPI
import Protobuf

/// The load of one cluster since the last report.
public struct ClusterLoad: Sendable {
    public var name: String
    /// As its endpoints are named.
    public var serviceName: String
    public var localities: [LocalityLoad]
    /// Requests that were dropped to relieve the hosts.
    public var dropped: UInt64

    public init(name: String, serviceName: String, localities: [LocalityLoad], dropped: UInt64 = 0) {
        (self.name, self.serviceName, self.localities, self.dropped) = (name, serviceName, localities, dropped)
    }

    /// What several workers know of the same clusters, as one, sorted by name.
    public static func merged(_ loads: [ClusterLoad]) -> [ClusterLoad] {
        var clusters: [String: ClusterLoad] = [:]
        for load in loads {
            guard var sum = clusters[load.name] else {
                clusters[load.name] = load
                continue
            }
            sum.dropped += load.dropped
            for locality in load.localities {
                if let index = sum.localities.firstIndex(where: { $0.place == locality.place }) {
                    sum.localities[index].add(locality)
                } else {
                    sum.localities.append(locality)
                }
            }
            clusters[load.name] = sum
        }
        return clusters.values.sorted { $0.name < $1.name }
    }
}

/// What a load reporting service wants to hear. Source: `envoy.service.load_stats.v3.LoadStatsResponse`.
public struct LoadOrders: Sendable, Equatable {
    /// By name; nil: all.
    public var clusters: Set<String>?
    public var interval: Duration
    public var tellsHosts: Bool

    /// Intervals under this one are taken for it.
    public static let shortest = Duration.milliseconds(100)

    public init(_ bytes: [UInt8]) throws(ConfigurationError) {
        let arena = Arena()
        let message: LoadStatsResponse
        do throws(ProtobufError) {
            message = try arena.decode(LoadStatsResponse.self, from: bytes).pointee
        } catch {
            throw ConfigurationError(error)
        }
        clusters = message.send_all_clusters != 0 ? nil : Set(message.clusters_list)
        let given = try message.load_reporting_interval.duration("load_reporting_interval") ?? .seconds(10)
        interval = max(Self.shortest, given)
        tellsHosts = message.report_endpoint_granularity != 0
    }
}

/// What is sent to a load reporting service: `LoadStatsRequest`.
public enum LoadReport {
    /// The first message of a stream.
    /// - Parameter node: an encoded `Node`.
    public static func opening(node: [UInt8]) -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(LoadStatsRequest.self) {
                $0.node = try? arena.decode(EnvoyAPI.Node.self, from: node)
            })
    }

    /// - Parameter elapsed: since the report before.
    public static func message(_ loads: [ClusterLoad], _ orders: LoadOrders, elapsed: Duration) -> [UInt8] {
        let arena = Arena()
        let wanted = loads.filter { load in
            (orders.clusters?.contains(load.name) ?? true)
                && (load.dropped > 0 || load.localities.contains { !$0.isEmpty })
        }
        let clusters = wanted.map { load in
            arena.make(ClusterStats.self) {
                $0.cluster_name = arena(load.name)
                $0.cluster_service_name = arena(load.serviceName)
                $0.total_dropped_requests = load.dropped
                $0.load_report_interval = arena.duration(elapsed)
                let localities = load.localities.filter { !$0.isEmpty }.map {
                    locality($0, orders.tellsHosts, in: arena)
                }
                ($0.n_upstream_locality_stats, $0.upstream_locality_stats) = arena.list(localities)
            }
        }
        return encode(
            arena.make(LoadStatsRequest.self) { ($0.n_cluster_stats, $0.cluster_stats) = arena.list(clusters) })
    }

    private static func locality(
        _ load: LocalityLoad, _ tellsHosts: Bool, in arena: Arena
    ) -> UnsafeMutablePointer<UpstreamLocalityStats> {
        arena.make(UpstreamLocalityStats.self) {
            $0.locality = arena.make(EnvoyAPI.Locality.self) {
                $0.region = arena(load.place.locality.region)
                $0.zone = arena(load.place.locality.zone)
                $0.sub_zone = arena(load.place.locality.subZone)
            }
            $0.priority = UInt32(clamping: load.place.priority)
            $0.total_issued_requests = load.totals.requests
            $0.total_successful_requests = load.totals.successes
            $0.total_error_requests = load.totals.errors
            $0.total_requests_in_progress = UInt64(clamping: load.activeRequests)
            $0.total_new_connections = load.totals.connections
            $0.total_fail_connections = load.totals.connectFailures
            guard tellsHosts else { return }
            let hosts = load.hosts.map { host in
                arena.make(UpstreamEndpointStats.self) {
                    $0.address = host.address.message(in: arena)
                    $0.total_issued_requests = host.totals.requests
                    $0.total_successful_requests = host.totals.successes
                    $0.total_error_requests = host.totals.errors
                    $0.total_requests_in_progress = UInt64(clamping: host.activeRequests)
                }
            }
            ($0.n_upstream_endpoint_stats, $0.upstream_endpoint_stats) = arena.list(hosts)
        }
    }
}
