import EnvoyAPI
import Mesh
import Protobuf

/// What bounds the connections and requests of clusters, and what is spoken there.
extension Translator {
    /// Names that the proxy takes from each request rather than from the configuration.
    struct RequestNames {
        /// The server's name in the greeting.
        var serverName = false
        /// What the server's certificate must say.
        var certificate = false
    }

    func connectTimeout(_ pool: Istio.ConnectionPool?) -> UnsafeMutablePointer<ProtobufDuration> {
        arena.duration(pool?.tcp?.connectTimeout ?? .seconds(10))
    }

    /// Without a word of the user nothing is bounded but by the endpoints themselves. Source: Istio, ConnectionPoolSettings.
    func limit(
        _ cluster: inout Cluster, _ pool: Istio.ConnectionPool?, retryBudget: Istio.TrafficPolicy.RetryBudget? = nil
    ) {
        func bound(_ value: Int?) -> UnsafeMutablePointer<ProtobufUInt32Value> {
            arena.u32(value.flatMap { $0 > 0 ? UInt32($0) : nil } ?? .max)
        }
        cluster.circuit_breakers = arena.make {
            ($0.n_thresholds, $0.thresholds) = arena.list(
                arena.make(CircuitBreakersThresholds.self) { made in
                    made.max_connections = bound(pool?.tcp?.maxConnections)
                    made.max_pending_requests = bound(pool?.http?.maxPendingRequests)
                    made.max_requests = bound(pool?.http?.maxRequests)
                    made.max_retries = bound(pool?.http?.maxRetries)
                    made.set(track_remaining: true)
                    guard let retryBudget else { return }
                    made.retry_budget = arena.make {
                        $0.budget_percent = arena.make { $0.value = retryBudget.percent ?? 20 }
                        $0.min_retry_concurrency = retryBudget.minRetryConcurrency.map { arena.u32(UInt32($0)) }
                    }
                })
        }
        if let keepalive = pool?.tcp?.keepalive {
            cluster.upstream_connection_options = arena.make {
                $0.tcp_keepalive = arena.make {
                    $0.keepalive_probes = keepalive.probes.map { arena.u32(UInt32($0)) }
                    $0.keepalive_time = keepalive.time.map { arena.u32(seconds($0)) }
                    $0.keepalive_interval = keepalive.interval.map { arena.u32(seconds($0)) }
                }
            }
        }
    }

    private func seconds(_ duration: Duration) -> UInt32 {
        UInt32(clamping: max(1, duration.components.seconds))
    }

    /// HTTP/1.1, HTTP/2 or whichever the client spoke, with timeouts. Source: Istio, protocol selection.
    func setProtocol(
        _ cluster: inout Cluster, _ stated: PortProtocol?, _ pool: Istio.ConnectionPool?, errorCodes: [Int] = [],
        takesNamesFromRequests names: RequestNames = RequestNames()
    ) {
        var options: [(String, UnsafeMutablePointer<ProtobufAny>)] = []
        if stated?.isHTTP ?? true {
            let http = httpOptions(stated, pool)
            if names.serverName || names.certificate {
                http.pointee.upstream_http_protocol_options = arena.make {
                    $0.set(auto_sni: names.serverName)
                    $0.set(auto_san_validation: names.certificate)
                }
            }
            if !errorCodes.isEmpty {
                http.pointee.outlier_detection = arena.make { $0.error_matcher = anyStatus(errorCodes) }
            }
            options.append(("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", arena.any(http)))
        }
        if let timeout = pool?.tcp?.idleTimeout, !(stated?.isHTTP ?? false) {
            let tcp = arena.make(UpstreamTcpProtocolOptions.self) { $0.idle_timeout = arena.duration(timeout) }
            options.append(("envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions", arena.any(tcp)))
        }
        (cluster.n_typed_extension_protocol_options, cluster.typed_extension_protocol_options) = arena.map(options)
    }

    private func httpOptions(
        _ stated: PortProtocol?, _ pool: Istio.ConnectionPool?
    ) -> UnsafeMutablePointer<HttpProtocolOptions> {
        let http = pool?.http
        return arena.make { options in
            options.common_http_protocol_options = arena.make {
                $0.idle_timeout = http?.idleTimeout.map { arena.duration($0) }
                $0.max_connection_duration = pool?.tcp?.maxConnectionDuration.map { arena.duration($0) }
                if let count = http?.maxRequestsPerConnection, count > 0 {
                    $0.max_requests_per_connection = arena.u32(UInt32(count))
                }
            }
            let second = arena.make(Http2ProtocolOptions.self) { made in
                made.set(allow_connect: true)
                if let streams = http?.maxConcurrentStreams, streams > 0 {
                    made.max_concurrent_streams = arena.u32(UInt32(streams))
                }
                guard let interval = http?.keepaliveInterval else { return }
                made.connection_keepalive = arena.make {
                    $0.interval = arena.duration(interval)
                    $0.timeout = arena.duration(http?.keepaliveTimeout ?? .seconds(10))
                }
            }
            if http?.usesClientProtocol == true || (stated == nil && http?.upgrade != .always) {
                options.set(
                    use_downstream_protocol_config: arena.make {
                        $0.http_protocol_options = arena.make()
                        $0.http2_protocol_options = second
                    })
            } else if speaksHTTP2(stated, pool) {
                options.set(explicit_http_config: arena.make { $0.set(http2_protocol_options: second) })
            } else {
                options.set(explicit_http_config: arena.make { $0.set(http_protocol_options: arena.make()) })
            }
        }
    }

    /// Whether nothing but HTTP/2 is spoken.
    func speaksHTTP2(_ stated: PortProtocol?, _ pool: Istio.ConnectionPool?) -> Bool {
        if pool?.http?.usesClientProtocol == true || stated?.isHTTP == false { return false }
        return stated?.isHTTP2 ?? false || pool?.http?.upgrade == .always
    }

    private func anyStatus(_ codes: [Int]) -> UnsafeMutablePointer<MatchPredicate> {
        let matches = codes.map { code in
            arena.make(MatchPredicate.self) { predicate in
                predicate.set(
                    http_response_headers_match: arena.make { match in
                        (match.n_headers, match.headers) = arena.list(
                            arena.make(HeaderMatcher.self) { header in
                                header.name = arena(":status")
                                header.set(string_match: arena.make { $0.set(exact: arena("\(code)")) })
                            })
                    })
            }
        }
        guard matches.count > 1 else { return matches[0] }
        return arena.make { $0.set(or_match: arena.make { ($0.n_rules, $0.rules) = arena.list(matches) }) }
    }
}
