import EnvoyAPI
import Mesh
import Protobuf

/// What the HTTP connection managers of a proxy differ in.
struct HTTPChain {
    enum Routes {
        /// Over RDS.
        case named(String)
        case inline(UnsafeMutablePointer<RouteConfiguration>)
    }

    var side: TrafficSide
    /// In front of the statistics' names.
    var statPrefix: String
    var routes: Routes
    /// Who may pass, before anything else is done.
    var policies: [UnsafeMutablePointer<HttpFilter>] = []
    /// Some of its ports speak gRPC-Web.
    var translatesGRPCWeb = false
    /// Nothing stands before it that could have told who the client is.
    var isEdge: Bool { side == .gateway }
    var settings: Istio.ConnectionPool.HTTP?
}

extension Translator {
    /// What Istio's proxies call themselves: users' tests look for it.
    static let serverName = "istio-envoy"

    func httpConnectionManager(_ chain: HTTPChain, of proxy: ProxyClass) -> UnsafeMutablePointer<NetworkFilter> {
        let tracing = tracingPlan(for: proxy, chain.side)
        let manager = arena.make(HttpConnectionManager.self) { manager in
            manager.codec_type = .AUTO
            manager.stat_prefix = arena(chain.statPrefix)
            switch chain.routes {
            case .named(let name):
                manager.set(
                    rds: arena.make {
                        $0.config_source = arena.ads()
                        $0.route_config_name = arena(name)
                    })
            case .inline(let routes): manager.set(route_config: routes)
            }
            manager.server_name = arena(Self.serverName)
            manager.use_remote_address = arena.bool(chain.isEdge)
            manager.normalize_path = arena.bool(true)
            manager.stream_idle_timeout = arena.seconds(0)
            forwardClientCertificate(&manager, chain.side)
            (manager.n_upgrade_configs, manager.upgrade_configs) = arena.list(
                arena.make { $0.upgrade_type = arena("websocket") })
            (manager.n_access_log, manager.access_log) = arena.list(
                accessLogs(for: proxy, chain.side, isHTTP: true))
            manager.tracing = self.tracing(tracing, of: proxy)
            manager.request_id_extension = requestID(tracing)
            manager.common_http_protocol_options = protocolOptions(chain.settings)
            manager.http2_protocol_options = http2Options(chain)
            (manager.n_http_filters, manager.http_filters) = arena.list(httpFilters(chain))
        }
        return networkFilter("envoy.filters.network.http_connection_manager", manager)
    }

    /// A gateway tells who its client is and forgets what the client said of itself; a server's sidecar adds who called
    /// to what gateways before it told; a client's sidecar lets nothing through. Source: Istio; Envoy, XFCC.
    private func forwardClientCertificate(_ manager: inout HttpConnectionManager, _ side: TrafficSide) {
        switch side {
        case .outbound: manager.forward_client_cert_details = .SANITIZE
        case .inbound: manager.forward_client_cert_details = .APPEND_FORWARD
        case .gateway: manager.forward_client_cert_details = .SANITIZE_SET
        }
        guard side != .outbound else { return }
        manager.set_current_client_cert_details = arena.make {
            $0.subject = arena.bool(true)
            $0.set(dns: true)
            $0.set(uri: true)
            if side == .gateway { $0.set(cert: true) }
        }
    }

    private func requestID(_ plan: TracingPlan) -> UnsafeMutablePointer<RequestIDExtension>? {
        guard !plan.usesRequestID else { return nil }
        let uuid = arena.make(UuidRequestIdConfig.self) {
            $0.use_request_id_for_trace_sampling = arena.bool(false)
        }
        return arena.make { $0.typed_config = arena.any(uuid) }
    }

    private func protocolOptions(
        _ settings: Istio.ConnectionPool.HTTP?
    ) -> UnsafeMutablePointer<CoreHttpProtocolOptions>? {
        guard let settings, settings.idleTimeout != nil || settings.maxRequestsPerConnection != nil else { return nil }
        return arena.make { options in
            options.idle_timeout = settings.idleTimeout.map { arena.duration($0) }
            if let limit = settings.maxRequestsPerConnection, limit > 0 {
                options.max_requests_per_connection = arena.u32(UInt32(clamping: limit))
            }
        }
    }

    /// Sidecars take WebSockets over HTTP/2 from each other. Browsers that are offered this leave out the key that a
    /// server of HTTP/1 asks for, and Envoy does not make one: gateways do not offer it. Source: RFC 8441, section 5.
    private func http2Options(_ chain: HTTPChain) -> UnsafeMutablePointer<Http2ProtocolOptions>? {
        let streams = chain.settings?.maxConcurrentStreams
        guard streams != nil || chain.side != .gateway else { return nil }
        return arena.make { options in
            options.max_concurrent_streams = streams.map { arena.u32(UInt32(clamping: $0)) }
            if chain.side != .gateway { options.set(allow_connect: true) }
        }
    }

    private func httpFilters(_ chain: HTTPChain) -> [UnsafeMutablePointer<HttpFilter>] {
        var filters = chain.policies
        if chain.translatesGRPCWeb {
            filters.append(httpFilter("envoy.filters.http.grpc_web", arena.make(GrpcWeb.self)))
        }
        filters.append(
            httpFilter(
                "envoy.filters.http.grpc_stats",
                arena.make(GrpcStatsFilterConfig.self) {
                    $0.set(emit_filter_state: true)
                    $0.set(stats_for_all_methods: arena.bool(false))
                }))
        filters.append(httpFilter("envoy.filters.http.fault", arena.make(HTTPFault.self)))
        filters.append(httpFilter("envoy.filters.http.cors", arena.make(Cors.self)))
        filters.append(httpFilter("envoy.filters.http.router", arena.make(Router.self)))
        return filters
    }

    func httpFilter<M: ProtobufMessage>(
        _ name: String, _ message: UnsafeMutablePointer<M>
    ) -> UnsafeMutablePointer<HttpFilter> {
        arena.make {
            $0.name = arena(name)
            $0.set(typed_config: arena.any(message))
        }
    }

    func networkFilter<M: ProtobufMessage>(
        _ name: String, _ message: UnsafeMutablePointer<M>
    ) -> UnsafeMutablePointer<NetworkFilter> {
        arena.make {
            $0.name = arena(name)
            $0.set(typed_config: arena.any(message))
        }
    }
}
