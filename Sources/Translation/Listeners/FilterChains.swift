import Addresses
import EnvoyAPI
import Mesh
import Protobuf

/// Which connections a filter chain takes: everything that is written must fit.
struct ChainMatch: Hashable {
    var port: Int?
    var serverNames: [String] = []
    var destinations: [AddressBlock] = []
    var sources: [AddressBlock] = []
    /// `tls` or `raw_buffer`.
    var transport: String?
    var applicationProtocols: [String] = []

    static let tls = "tls"
    static let plain = "raw_buffer"
    /// What the inspector of HTTP says of what it recognises.
    static let http = ["http/1.0", "http/1.1", "h2c"]
}

/// Where a stream goes, in shares.
struct StreamTarget: Hashable {
    var cluster: String
    var weight = 1
}

/// A listener whose parts are still to be put together.
struct ListenerParts {
    var name: String
    var address: String
    var port: Int
    var side: TrafficSide
    /// False where the kernel redirects connections to another listener that hands them over.
    var bindsToPort = true
    var chains: [UnsafeMutablePointer<FilterChain>] = []
    var standardChain: UnsafeMutablePointer<FilterChain>?
    /// Whether chains ask for server names, or whether there is TLS at all.
    var inspectsTLS = false
    /// Whether chains ask if it is HTTP.
    var inspectsHTTP = false
    /// The ports on which there is something to detect; nil is all.
    var inspectedPorts: [Int]?
    var usesOriginalDestination = false
    /// Hands each connection to the listener of where it was meant to go, if there is one.
    var handsOver = false
    /// Keeps the client's address.
    var isTransparent = false
}

extension Translator {
    /// How long a connection may be silent before it is taken for something that is neither TLS nor HTTP: protocols in
    /// which the server speaks first.
    static let detectionTimeout = Duration.seconds(5)

    func listener(_ parts: ListenerParts, of proxy: ProxyClass) -> Resource {
        let listener = arena.make(Listener.self) { listener in
            listener.name = arena(parts.name)
            listener.address = address(parts.address, parts.port)
            listener.traffic_direction = parts.side == .inbound ? .INBOUND : .OUTBOUND
            if !parts.bindsToPort { listener.bind_to_port = arena.bool(false) }
            if parts.handsOver { listener.use_original_dst = arena.bool(true) }
            if parts.isTransparent { listener.transparent = arena.bool(true) }
            (listener.n_filter_chains, listener.filter_chains) = arena.list(parts.chains)
            listener.default_filter_chain = parts.standardChain
            let filters = listenerFilters(parts)
            (listener.n_listener_filters, listener.listener_filters) = arena.list(filters)
            if parts.inspectsHTTP || parts.inspectsTLS {
                listener.listener_filters_timeout = arena.duration(Self.detectionTimeout)
                listener.set(continue_on_listener_filters_timeout: true)
            }
            if parts.standardChain == nil {
                (listener.n_access_log, listener.access_log) = arena.list(refusalLogs(for: proxy, parts.side))
            }
        }
        return resource(.listener, parts.name, listener)
    }

    private func listenerFilters(_ parts: ListenerParts) -> [UnsafeMutablePointer<ListenerFilter>] {
        var filters: [UnsafeMutablePointer<ListenerFilter>] = []
        func append<M: ProtobufMessage>(
            _ name: String, _ message: UnsafeMutablePointer<M>,
            disabled: UnsafeMutablePointer<ListenerFilterChainMatchPredicate>? = nil
        ) {
            filters.append(
                arena.make {
                    $0.name = arena(name)
                    $0.set(typed_config: arena.any(message))
                    $0.filter_disabled = disabled
                })
        }
        if parts.usesOriginalDestination {
            append("envoy.filters.listener.original_dst", arena.make(OriginalDst.self))
        }
        if parts.inspectsTLS {
            append("envoy.filters.listener.tls_inspector", arena.make(TlsInspector.self))
        }
        if parts.inspectsHTTP {
            append(
                "envoy.filters.listener.http_inspector", arena.make(HttpInspector.self),
                disabled: parts.inspectedPorts.flatMap { isNone(of: $0) })
        }
        return filters
    }

    private func isNone(of ports: [Int]) -> UnsafeMutablePointer<ListenerFilterChainMatchPredicate>? {
        let rules = ports.sorted().map { port in
            arena.make(ListenerFilterChainMatchPredicate.self) {
                $0.set(
                    destination_port_range: arena.make {
                        $0.start = Int32(port)
                        $0.end = Int32(port + 1)
                    })
            }
        }
        guard let first = rules.first else { return nil }
        let any =
            rules.count == 1
            ? first
            : arena.make(ListenerFilterChainMatchPredicate.self) {
                $0.set(or_match: arena.make { ($0.n_rules, $0.rules) = arena.list(rules) })
            }
        return arena.make { $0.set(not_match: any) }
    }

    func filterChain(
        _ name: String, _ match: ChainMatch, _ filters: [UnsafeMutablePointer<NetworkFilter>],
        transportSocket: UnsafeMutablePointer<TransportSocket>? = nil
    ) -> UnsafeMutablePointer<FilterChain> {
        arena.make { chain in
            chain.name = arena(name)
            if match != ChainMatch() { chain.filter_chain_match = filterChainMatch(match) }
            (chain.n_filters, chain.filters) = arena.list(filters)
            chain.transport_socket = transportSocket
        }
    }

    /// One that takes every connection.
    func filterChain(
        _ name: String, _ filters: [UnsafeMutablePointer<NetworkFilter>],
        transportSocket: UnsafeMutablePointer<TransportSocket>? = nil
    ) -> UnsafeMutablePointer<FilterChain> {
        filterChain(name, ChainMatch(), filters, transportSocket: transportSocket)
    }

    private func filterChainMatch(_ match: ChainMatch) -> UnsafeMutablePointer<FilterChainMatch> {
        arena.make { result in
            result.destination_port = match.port.map { arena.u32(UInt32($0)) }
            (result.n_server_names, result.server_names) = arena.strings(match.serverNames)
            (result.n_prefix_ranges, result.prefix_ranges) = arena.list(match.destinations.map { range($0) })
            (result.n_source_prefix_ranges, result.source_prefix_ranges) = arena.list(match.sources.map { range($0) })
            if let transport = match.transport { result.transport_protocol = arena(transport) }
            (result.n_application_protocols, result.application_protocols) = arena.strings(match.applicationProtocols)
        }
    }

    private func range(_ block: AddressBlock) -> UnsafeMutablePointer<CidrRange> {
        arena.make {
            $0.address_prefix = arena(block.address.text)
            $0.prefix_len = arena.u32(UInt32(block.bits))
        }
    }

    /// Leads bytes on as they are.
    /// - Parameters:
    ///   - pool: limits of the connection that the clients of the target have.
    ///   - hashesSource: the same client stays with the same endpoint.
    func streamProxy(
        _ targets: [StreamTarget], side: TrafficSide, of proxy: ProxyClass, statPrefix: String? = nil,
        pool: Istio.ConnectionPool.TCP? = nil, hashesSource: Bool = false
    ) -> UnsafeMutablePointer<NetworkFilter> {
        let stream = arena.make(TcpProxy.self) { stream in
            stream.stat_prefix = arena(statPrefix ?? targets.first?.cluster ?? ResourceNames.blackHole)
            if targets.count > 1 {
                stream.set(
                    weighted_clusters: arena.make {
                        ($0.n_clusters, $0.clusters) = arena.list(
                            targets.map { target in
                                arena.make {
                                    $0.name = arena(target.cluster)
                                    $0.weight = UInt32(clamping: target.weight)
                                }
                            })
                    })
            } else {
                stream.set(cluster: arena(targets.first?.cluster ?? ResourceNames.blackHole))
            }
            stream.idle_timeout = pool?.idleTimeout.map { arena.duration($0) }
            stream.max_downstream_connection_duration = pool?.maxConnectionDuration.map { arena.duration($0) }
            if hashesSource {
                (stream.n_hash_policy, stream.hash_policy) = arena.list(
                    arena.make { $0.set(source_ip: arena.make()) })
            }
            (stream.n_access_log, stream.access_log) = arena.list(accessLogs(for: proxy, side, isHTTP: false))
        }
        return networkFilter("envoy.filters.network.tcp_proxy", stream)
    }
}
