import Forwarding
import Reactor
import TLS

/// What one worker has counted, by the name that it is counted under: what is replaced goes on where its predecessor
/// was, as in Envoy.
final class WorkerCounters {
    private var byHTTP: [String: HTTPCounters] = [:]
    private var byTCP: [String: TCPCounters] = [:]
    private var byCluster: [String: ClusterCounters] = [:]
    private var byListener: [String: ListenerCounters] = [:]

    func http(_ prefix: String) -> HTTPCounters { Self.counters(prefix, in: &byHTTP) { HTTPCounters() } }
    func tcp(_ prefix: String) -> TCPCounters { Self.counters(prefix, in: &byTCP) { TCPCounters() } }
    func cluster(_ name: String) -> ClusterCounters { Self.counters(name, in: &byCluster) { ClusterCounters() } }
    func listener(_ address: String) -> ListenerCounters {
        Self.counters(address, in: &byListener) { ListenerCounters() }
    }

    private static func counters<Counters>(
        _ name: String, in table: inout [String: Counters], make: () -> Counters
    ) -> Counters {
        if let there = table[name] { return there }
        let made = make()
        table[name] = made
        return made
    }

    /// Names come and go with the configuration: what is neither named nor counted by anybody is forgotten.
    func forget(but configuration: ProxyConfiguration) {
        byCluster = byCluster.filter { configuration.clusters[$0.key] != nil }
        var prefixes: Set<String> = []
        var addresses: Set<String> = []
        for listener in configuration.listeners.values {
            addresses.insert(Self.address(of: listener))
            for chain in listener.configuration.allChains {
                switch chain.terminal {
                case .http(let settings): prefixes.insert(settings.statPrefix)
                case .stream(let settings): prefixes.insert(settings.statPrefix)
                case .answer, .echo: break
                }
            }
        }
        Self.forget(&byHTTP, but: prefixes)
        Self.forget(&byTCP, but: prefixes)
        Self.forget(&byListener, but: addresses)
    }

    /// Connections of a listener that is gone go on being counted until they end.
    private static func forget<Counters: AnyObject>(_ table: inout [String: Counters], but names: Set<String>) {
        for name in Array(table.keys) where !names.contains(name) && isKnownUniquelyReferenced(&table[name]!) {
            table[name] = nil
        }
    }

    /// What a listener is counted under.
    static func address(of listener: ServedListener) -> String {
        listener.configuration.addresses.first.map { "\($0)" } ?? listener.name
    }

    var statistics: [Statistic] {
        byHTTP.flatMap { $1.statistics(.http($0)) } + byTCP.flatMap { $1.statistics(.tcp($0)) }
            + byCluster.flatMap { $1.statistics(.cluster($0)) } + byListener.flatMap { $1.statistics(.listener($0)) }
    }
}

/// A list of statistics of one scope in the making.
private struct StatisticList {
    let scope: Statistic.Scope
    var all: [Statistic] = []

    mutating func count(_ name: String, _ value: UInt64) {
        all.append(Statistic(scope, name, Int64(clamping: value)))
    }

    mutating func gauge(_ name: String, _ value: Int) { all.append(Statistic(scope, name, Int64(value), .gauge)) }

    mutating func count(_ tls: HandshakeCounters) {
        count("ssl.handshake", tls.handshakes)
        count("ssl.connection_error", tls.errors)
        count("ssl.fail_verify_error", tls.refusedChains)
        count("ssl.fail_verify_san", tls.refusedNames)
        count("ssl.fail_verify_no_cert", tls.missingCertificates)
        count("ssl.fail_verify_cert_hash", tls.refusedPins)
    }

    mutating func count(_ name: String, _ responses: StatusCounters) {
        for (digit, count) in responses.byClass { self.count(name + "_\(digit)xx", count) }
    }
}

extension HTTPCounters {
    func statistics(_ scope: Statistic.Scope) -> [Statistic] {
        var list = StatisticList(scope: scope)
        list.count("downstream_cx_total", connections)
        list.gauge("downstream_cx_active", activeConnections)
        list.count("downstream_cx_protocol_error", protocolErrors)
        list.count("downstream_cx_upgrades_total", upgrades)
        list.gauge("downstream_cx_upgrades_active", activeUpgrades)
        list.count("downstream_rq_total", requests)
        list.gauge("downstream_rq_active", activeRequests)
        list.count("downstream_rq", responses)
        list.count("downstream_rq_completed", responses.all)
        list.count("downstream_rq_too_large", tooLargeHeads)
        list.all.append(Statistic(scope, "downstream_rq_time", times))
        list.count("fault.delays_injected", delaysInjected)
        list.count("fault.aborts_injected", abortsInjected)
        list.count("rbac.allowed", allowed)
        list.count("rbac.denied", denied)
        list.count("tracing.random_sampling", traces.sampled)
        list.count("tracing.service_forced", traces.forcedByService)
        list.count("tracing.client_enabled", traces.forcedByClient)
        list.count("tracing.not_traceable", traces.notTraced)
        return list.all
    }
}

extension TCPCounters {
    func statistics(_ scope: Statistic.Scope) -> [Statistic] {
        var list = StatisticList(scope: scope)
        list.count("downstream_cx_total", connections)
        list.gauge("downstream_cx_active", activeConnections)
        list.count("downstream_cx_rx_bytes_total", bytesReceived)
        list.count("downstream_cx_tx_bytes_total", bytesSent)
        return list.all
    }
}

extension ListenerCounters {
    func statistics(_ scope: Statistic.Scope) -> [Statistic] {
        var list = StatisticList(scope: scope)
        list.count("downstream_cx_total", connections)
        list.count("no_filter_chain_match", noChain)
        list.count("downstream_pre_cx_timeout", detectionTimeouts)
        list.count("downstream_proxy_header_error", badProxyHeaders)
        list.count(tls)
        list.count("rbac.denied", denied)
        list.count("connection_limit.limited_connections", limited)
        return list.all
    }
}

extension ClusterCounters {
    func statistics(_ scope: Statistic.Scope) -> [Statistic] {
        var list = StatisticList(scope: scope)
        list.count("upstream_rq_total", requests)
        list.count("upstream_rq", responses)
        list.count("upstream_rq_completed", responses.all)
        list.all.append(Statistic(scope, "upstream_rq_time", times))
        list.count("upstream_rq_retry", retries)
        list.count("upstream_internal_redirect_succeeded_total", redirectsFollowed)
        list.count("upstream_internal_redirect_failed_total", redirectsFailed)
        list.count("upstream_rq_timeout", timeouts)
        list.count("upstream_rq_per_try_timeout", perTryTimeouts)
        list.count("upstream_cx_total", connections)
        list.gauge("upstream_cx_active", activeConnections)
        list.count("upstream_cx_connect_fail", connectFailed)
        list.count(tls)
        return list.all
    }
}

/// Responses by the first digit of their status.
struct StatusCounters {
    private var counts: (UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0)

    /// - Parameter status: outside of 100 to 599: there was no response.
    mutating func count(_ status: Int) {
        switch status / 100 {
        case 1: counts.0 += 1
        case 2: counts.1 += 1
        case 3: counts.2 += 1
        case 4: counts.3 += 1
        case 5: counts.4 += 1
        default: break
        }
    }

    var byClass: [(digit: Int, count: UInt64)] {
        [(1, counts.0), (2, counts.1), (3, counts.2), (4, counts.3), (5, counts.4)]
    }
    var all: UInt64 { byClass.reduce(0) { $0 + $1.count } }
}

/// How TLS handshakes ended, under the names of Envoy's `ssl.` statistics.
struct HandshakeCounters {
    var handshakes: UInt64 = 0
    /// Other than by a certificate that was refused here.
    var errors: UInt64 = 0
    var refusedChains: UInt64 = 0
    var refusedNames: UInt64 = 0
    var missingCertificates: UInt64 = 0
    var refusedPins: UInt64 = 0

    /// A connection ended before it was secured, perhaps before it was there at all.
    mutating func note(failure reason: CloseReason) {
        switch reason {
        case .tls(.certificateRefused): refusedChains += 1
        case .tls(.peerNameRefused): refusedNames += 1
        case .tls(.certificateNotPinned): refusedPins += 1
        case .tls(.peerCertificateMissing): missingCertificates += 1
        case .tls, .handshakeTimedOut, .handshakeBrokenOff: errors += 1
        case .finished, .requested, .violation, .failed, .connectFailed, .connectTimedOut, .outputLimit, .loopStopped:
            break
        }
    }
}

extension Worker {
    /// What it has counted, that of its clusters included.
    var statistics: [Statistic] {
        var all = counters.statistics
        all.append(
            Statistic(
                .proxy("access_logs"), "grpc_access_log.logs_dropped", Int64(clamping: logs.droppedEntries)))
        all += spans.statistics
        for cluster in usedClusters {
            let scope = Statistic.Scope.cluster(cluster.name)
            let counts = cluster.state.counts
            let hosts = cluster.state.hosts
            all += [
                .shared(scope, "membership_total", hosts.count),
                .shared(scope, "membership_healthy", hosts.count { $0.flags == "healthy" }),
                Statistic(scope, "lb_healthy_panic", Int64(clamping: counts.panicPicks)),
                Statistic(scope, "outlier_detection.ejections_enforced_total", Int64(clamping: counts.ejections)),
                .shared(
                    scope, "outlier_detection.ejections_active",
                    hosts.count { $0.flags.contains("failed_outlier_check") }),
                Statistic(scope, "health_check.attempt", Int64(clamping: counts.checks)),
                Statistic(scope, "health_check.success", Int64(clamping: counts.checkSuccesses)),
                Statistic(scope, "health_check.failure", Int64(clamping: counts.checkFailures)),
            ]
        }
        return all
    }

    /// What went to hosts since the last time, of clusters that report it.
    func takeLoads() -> [ClusterLoad] {
        usedClusters.filter(\.configuration.reportsLoad).map { cluster in
            var service = cluster.name
            if case .told(let name) = cluster.configuration.discovery { service = name }
            return ClusterLoad(
                name: cluster.name, serviceName: service, localities: cluster.state.takeLoads(),
                dropped: cluster.state.takeDropped())
        }
    }

    /// The clusters that requests have gone to, with their hosts.
    var clusterStatuses: [ClusterStatus] {
        usedClusters.map { cluster in
            var status = ClusterStatus(name: cluster.name)
            status.limits = ClusterStatus.limits(of: cluster.configuration)
            status.hosts = cluster.state.hosts.map { host in
                var shown = HostStatus(address: "\(host.address)")
                for (name, value) in host.listed where name.hasPrefix("cx_") || name.hasPrefix("rq_") {
                    shown.numbers[name] = Int64(value) ?? 0
                }
                shown.healthFlags = host.flags
                shown.toldHealth = host.endpoint.state.shown
                (shown.weight, shown.priority) = (host.weight, host.priority)
                (shown.region, shown.zone, shown.subZone) = (
                    host.locality.region, host.locality.zone, host.locality.subZone
                )
                return shown
            }
            return status
        }
    }
}
