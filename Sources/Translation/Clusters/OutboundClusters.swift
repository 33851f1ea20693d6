import EnvoyAPI
import Mesh
import Protobuf
import XDS

extension Translator {
    /// The clusters of all ports and subsets of one host.
    public func outboundClusters(of service: MeshService, for scope: OutboundScope) -> [XDS.Resource] {
        let made = outbound(service, for: scope).map { cluster in
            let dependencies =
                cluster.discovery == .told ? [ResourceReference(.endpoints, cluster.name)] : []
            return resource(.cluster, cluster.name, message(cluster), dependencies: dependencies)
        }
        return patched(made, for: scope)
    }

    private func message(_ outbound: OutboundCluster) -> UnsafeMutablePointer<Cluster> {
        arena.make { cluster in
            cluster.name = arena(outbound.name)
            cluster.connect_timeout = connectTimeout(outbound.policy.connectionPool)
            find(outbound, &cluster)
            balance(outbound, &cluster)
            limit(&cluster, outbound.policy.connectionPool, retryBudget: outbound.policy.retryBudget)
            ejectFailing(outbound.policy, &cluster)
            secure(outbound, &cluster)
            cluster.metadata = metadata(outbound)
            if outbound.scope.kind != .proxyless {
                // Proxies whose bootstrap has a load reporting service report to it; others take no notice.
                cluster.lrs_server = arena.make { $0.set(self: arena.make()) }
                let names = clientNames(outbound)
                setProtocol(
                    &cluster, outbound.port.statedProtocol, outbound.policy.connectionPool,
                    errorCodes: outbound.policy.outlierDetection?.errorCodes ?? [],
                    takesNamesFromRequests: names)
            }
        }
    }

    private func find(_ outbound: OutboundCluster, _ cluster: inout Cluster) {
        switch outbound.discovery {
        case .told:
            cluster.set(type: .EDS)
            cluster.eds_cluster_config = arena.make {
                $0.eds_config = arena.ads()
                $0.service_name = arena(outbound.name)
            }
        case .names, .host:
            let assignment = loadAssignment(outbound)
            // A logical name without an endpoint is refused.
            let isSingle = outbound.isSingle && assignment.pointee.n_endpoints == 1
            cluster.set(type: isSingle ? .LOGICAL_DNS : .STRICT_DNS)
            cluster.load_assignment = assignment
            cluster.dns_lookup_family = .V4_PREFERRED
            cluster.dns_refresh_rate = arena.seconds(60)
            cluster.set(respect_dns_ttl: true)
        case .originalDestination:
            setOriginalDestination(&cluster)
            if case .number(let number) = outbound.port.target, number != outbound.port.number,
                outbound.service.resolution == .originalDestination
            {
                cluster.set(
                    original_dst_lb_config: arena.make { $0.upstream_port_override = arena.u32(UInt32(number)) })
            }
        case .forwardProxy:
            cluster.lb_policy = .CLUSTER_PROVIDED
            cluster.set(
                cluster_type: arena.make {
                    $0.name = arena("envoy.clusters.dynamic_forward_proxy")
                    $0.typed_config = arena.any(
                        arena.make(DynamicForwardProxyClusterConfig.self) {
                            $0.set(dns_cache_config: dnsCache())
                            $0.set(allow_insecure_cluster_options: true)
                        })
                })
        }
    }

    /// What looks up the hosts of requests. The cluster does so itself: listeners need no filter for it, in Envoy (asked:
    /// 1.40) as in this project's proxy.
    private func dnsCache() -> UnsafeMutablePointer<DnsCacheConfig> {
        arena.make {
            $0.name = arena("martinet")
            $0.dns_lookup_family = .V4_PREFERRED
            $0.max_hosts = arena.u32(1024)
        }
    }

    func setOriginalDestination(_ cluster: inout Cluster) {
        cluster.set(type: .ORIGINAL_DST)
        cluster.lb_policy = .CLUSTER_PROVIDED
        cluster.cleanup_interval = arena.seconds(60)
    }

    /// What of it is for people and statistics, as Istio's tools read it.
    private func metadata(_ outbound: OutboundCluster) -> UnsafeMutablePointer<Metadata> {
        var fields: [StructureValue.Field] = []
        if let rule = outbound.policy.rule {
            fields.append(
                .init(
                    "config",
                    .string(
                        "/apis/networking.istio.io/v1/namespaces/\(rule.namespace)/destination-rule/\(rule.name)")))
        }
        fields.append(.init("default_original_port", .number(Double(outbound.number))))
        fields.append(
            .init(
                "services",
                .list([
                    .object([
                        .init("host", .string(outbound.host)), .init("name", .string(outbound.service.key.name)),
                        .init("namespace", .string(outbound.service.namespace)),
                    ])
                ])))
        if let subset = outbound.subset { fields.append(.init("subset", .string(subset.name))) }
        return arena.make {
            ($0.n_filter_metadata, $0.filter_metadata) = arena.map([("istio", arena.structure(fields))])
        }
    }

    // MARK: Balancing

    private func balance(_ outbound: OutboundCluster, _ cluster: inout Cluster) {
        let policy = outbound.policy
        let common = arena.make(ClusterCommonLbConfig.self)
        cluster.common_lb_config = common
        common.pointee.healthy_panic_threshold = arena.make {
            $0.value = Double(policy.outlierDetection?.minHealthPercent ?? 0)
        }
        if let minimum = policy.nearness?.zoneAwareMinimum {
            common.pointee.set(
                zone_aware_lb_config: arena.make {
                    $0.routing_enabled = arena.make { $0.value = 100 }
                    $0.min_cluster_size = arena.u64(UInt64(minimum))
                })
        } else if policy.failsOver || policy.nearness?.distribute.isEmpty == false {
            common.pointee.set(locality_weighted_lb_config: arena.make())
        }
        // These have nothing to choose from.
        if cluster.lb_policy == .CLUSTER_PROVIDED { return }
        let isProxyless = outbound.scope.kind == .proxyless
        switch policy.balancing {
        case .simple(.random): cluster.lb_policy = isProxyless ? .ROUND_ROBIN : .RANDOM
        case .simple(.roundRobin): setRoundRobin(policy, &cluster)
        case .simple where isProxyless: cluster.lb_policy = .ROUND_ROBIN
        case .simple:
            cluster.lb_policy = .LEAST_REQUEST
            guard let warmup = policy.warmup else { break }
            cluster.set(least_request_lb_config: arena.make { $0.slow_start_config = slowStart(warmup) })
        case .hash(_, .ringHash(let minimum)):
            cluster.lb_policy = .RING_HASH
            cluster.set(
                ring_hash_lb_config: arena.make {
                    let size = UInt64(minimum ?? 1024)
                    $0.minimum_ring_size = arena.u64(size)
                })
        case .hash(_, .maglev(let size)):
            guard !isProxyless else {
                cluster.lb_policy = .RING_HASH
                break
            }
            cluster.lb_policy = .MAGLEV
            guard let size else { break }
            cluster.set(maglev_lb_config: arena.make { $0.table_size = arena.u64(Self.prime(from: UInt64(size))) })
        }
    }

    /// The first prime number from this on: Maglev takes no others. At most 5,000,011, which is one.
    static func prime(from number: UInt64) -> UInt64 {
        var candidate = min(max(2, number), 5_000_011)
        func hasDivisor() -> Bool {
            var divisor: UInt64 = 2
            while divisor * divisor <= candidate {
                if candidate % divisor == 0 { return true }
                divisor += 1
            }
            return false
        }
        while hasDivisor() { candidate += 1 }
        return candidate
    }

    private func setRoundRobin(_ policy: ClientPolicy, _ cluster: inout Cluster) {
        cluster.lb_policy = .ROUND_ROBIN
        guard let warmup = policy.warmup else { return }
        cluster.set(round_robin_lb_config: arena.make { $0.slow_start_config = slowStart(warmup) })
    }

    private func slowStart(_ warmup: Istio.LoadBalancer.Warmup) -> UnsafeMutablePointer<ClusterSlowStartConfig> {
        arena.make {
            $0.slow_start_window = arena.duration(warmup.duration)
            if let aggression = warmup.aggression {
                $0.aggression = arena.make {
                    $0.default_value = aggression
                    $0.runtime_key = arena("martinet.slow_start.aggression")
                }
            }
            $0.min_weight_percent = arena.make { $0.value = warmup.minimumPercent ?? 10 }
        }
    }

    /// Source: Istio, OutlierDetection: success rates eject nobody.
    private func ejectFailing(_ policy: ClientPolicy, _ cluster: inout Cluster) {
        guard let detection = policy.outlierDetection else { return }
        func enforced(_ count: Int) -> UnsafeMutablePointer<ProtobufUInt32Value> { arena.u32(count > 0 ? 100 : 0) }
        cluster.outlier_detection = arena.make { made in
            made.enforcing_success_rate = arena.u32(0)
            if let count = detection.consecutive5xx {
                made.consecutive_5xx = arena.u32(UInt32(count))
                made.enforcing_consecutive_5xx = enforced(count)
            }
            if let count = detection.consecutiveGatewayErrors {
                made.consecutive_gateway_failure = arena.u32(UInt32(count))
                made.enforcing_consecutive_gateway_failure = enforced(count)
            }
            made.interval = detection.interval.map { arena.duration($0) }
            if let time = detection.baseEjectionTime {
                made.base_ejection_time = arena.duration(time)
                // Envoy's own bound of 300 s must not be shorter.
                if time > .seconds(300) { made.max_ejection_time = arena.duration(time) }
            }
            if let percent = detection.maxEjectionPercent, percent > 0 {
                made.max_ejection_percent = arena.u32(UInt32(percent))
            }
            guard detection.splitsLocalOriginErrors else { return }
            made.set(split_external_local_origin_errors: true)
            made.enforcing_local_origin_success_rate = arena.u32(0)
            if let count = detection.consecutiveLocalOriginFailures {
                made.consecutive_local_origin_failure = arena.u32(UInt32(count))
                made.enforcing_consecutive_local_origin_failure = enforced(count)
            }
        }
    }
}
