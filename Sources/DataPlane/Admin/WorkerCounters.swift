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

    /// Clusters come and go; those that are gone are forgotten.
    func forgetClusters(but names: some Sequence<String>) {
        let kept = Set(names)
        byCluster = byCluster.filter { kept.contains($0.key) }
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

    mutating func count(_ name: String, _ classes: (UInt64, UInt64, UInt64, UInt64, UInt64)) {
        count(name + "_1xx", classes.0)
        count(name + "_2xx", classes.1)
        count(name + "_3xx", classes.2)
        count(name + "_4xx", classes.3)
        count(name + "_5xx", classes.4)
    }
}

extension HTTPCounters {
    func statistics(_ scope: Statistic.Scope) -> [Statistic] {
        var list = StatisticList(scope: scope)
        list.count("downstream_cx_total", connections)
        list.gauge("downstream_cx_active", activeConnections)
        list.count("downstream_cx_protocol_error", protocolErrors)
        list.count("downstream_rq_total", requests)
        list.gauge("downstream_rq_active", activeRequests)
        list.count("downstream_rq", classes)
        list.count("downstream_rq_completed", classes.0 + classes.1 + classes.2 + classes.3 + classes.4)
        list.count("downstream_rq_too_large", tooLargeHeads)
        list.all.append(Statistic(scope, "downstream_rq_time", times))
        list.count("fault.delays_injected", delaysInjected)
        list.count("fault.aborts_injected", abortsInjected)
        list.count("rbac.allowed", allowed)
        list.count("rbac.denied", denied)
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
        list.count("upstream_rq", classes)
        list.count("upstream_rq_completed", classes.0 + classes.1 + classes.2 + classes.3 + classes.4)
        list.all.append(Statistic(scope, "upstream_rq_time", times))
        list.count("upstream_rq_retry", retries)
        list.count("upstream_rq_timeout", timeouts)
        list.count("upstream_rq_per_try_timeout", perTryTimeouts)
        list.count("upstream_cx_total", connections)
        list.gauge("upstream_cx_active", activeConnections)
        list.count("upstream_cx_connect_fail", connectFailed)
        list.count(tls)
        return list.all
    }
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
        counters.forgetClusters(but: configuration.clusters.keys)
        var all = counters.statistics
        for cluster in usedClusters {
            let scope = Statistic.Scope.cluster(cluster.name)
            let counts = cluster.state.counts
            let hosts = cluster.state.hosts
            all += [
                Statistic(scope, "membership_total", Int64(hosts.count), .gauge),
                Statistic(scope, "membership_healthy", Int64(hosts.count { $0.flags == "healthy" }), .gauge),
                Statistic(scope, "lb_healthy_panic", Int64(clamping: counts.panicPicks)),
                Statistic(scope, "outlier_detection.ejections_enforced_total", Int64(clamping: counts.ejections)),
                Statistic(
                    scope, "outlier_detection.ejections_active",
                    Int64(hosts.count { $0.flags.contains("failed_outlier_check") }), .gauge),
                Statistic(scope, "health_check.attempt", Int64(clamping: counts.checks)),
                Statistic(scope, "health_check.success", Int64(clamping: counts.checkSuccesses)),
                Statistic(scope, "health_check.failure", Int64(clamping: counts.checkFailures)),
            ]
        }
        return all
    }

    /// The clusters that requests have gone to, with their hosts.
    var clusterStatuses: [ClusterStatus] {
        usedClusters.map { cluster in
            var status = ClusterStatus(name: cluster.name)
            let breaker = cluster.configuration.breakers[RequestPriority.normal.rawValue]
            status.limits = [
                ("max_connections", Int64(clamping: breaker.connections)),
                ("max_pending_requests", Int64(clamping: breaker.pending)),
                ("max_requests", Int64(clamping: breaker.requests)),
                ("max_retries", Int64(clamping: breaker.retries)),
            ]
            status.hosts = cluster.state.hosts.map { host in
                var shown = HostStatus(address: "\(host.address)")
                for (name, value) in host.listed where name.hasPrefix("cx_") || name.hasPrefix("rq_") {
                    shown.numbers[name] = Int64(value) ?? 0
                }
                shown.healthFlags = host.flags
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
