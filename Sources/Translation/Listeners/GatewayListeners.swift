import EnvoyAPI
import Mesh
import Protobuf
import XDS

extension Translator {
    /// What gateways of a class call as: objects for gateways count, and no Sidecar narrows what they see.
    func gatewayScope(of proxy: ProxyClass) -> OutboundScope {
        OutboundScope(namespace: proxy.namespace, kind: .gateway)
    }

    /// The listeners of a gateway's proxies, sorted by name: one for each address and port that a server has.
    public func gatewayListeners(of proxy: ProxyClass) -> [XDS.Resource] {
        var address = Self.anyAddress
        if case .explicit(let addresses) = proxy.interception { address = addresses.inbound }
        struct Place: Hashable {
            var address: String
            var port: Int
        }
        var groups: [Place: [GatewayServer]] = [:]
        for server in gatewayServers(of: proxy) {
            groups[Place(address: server.bind ?? address, port: server.listenerPort), default: []].append(server)
        }
        return groups.compactMap { place, servers in
            gatewayListener(of: proxy, at: place.address, place.port, servers)
        }.sorted { $0.name < $1.name }
    }

    /// - Parameter servers: the oldest first: it says what the port speaks; those that speak otherwise have no place.
    private func gatewayListener(
        of proxy: ProxyClass, at address: String, _ port: Int, _ servers: [GatewayServer]
    ) -> Resource? {
        let name = address.hasPrefix("unix://") ? address : ResourceNames.listener(address, port)
        var parts = ListenerParts(name: name, address: address, port: port, side: .gateway)
        guard let first = servers.first else { return nil }
        switch first.transport {
        case .http:
            let chain = HTTPChain(
                side: .gateway, statPrefix: "outbound_\(name);", routes: .named(first.routeName ?? name),
                policies: httpPolicyFilters(of: proxy, port: port),
                translatesGRPCWeb: servers.contains(where: \.translatesGRPCWeb))
            parts.chains = [filterChain(name, [httpConnectionManager(chain, of: proxy)])]
        case .tcp:
            for server in servers where server.transport == .tcp { addStreams(of: server, to: &parts, proxy) }
        case .https, .tls, .passthrough, .automaticPassthrough:
            parts.inspectsTLS = true
            for server in servers {
                switch server.transport {
                case .https: addHTTPS(server, to: &parts, proxy)
                case .tls, .passthrough: addStreams(of: server, to: &parts, proxy)
                case .automaticPassthrough: addAutomaticPassthrough(server, to: &parts, proxy)
                case .http, .tcp: continue
                }
            }
        }
        parts.chains = distinct(parts.chains)
        return parts.chains.isEmpty ? nil : listener(parts, of: proxy)
    }

    private func addHTTPS(_ server: GatewayServer, to parts: inout ListenerParts, _ proxy: ProxyClass) {
        guard let tls = server.tls, let routes = server.routeName, let socket = serverSocket(tls, isHTTP: true) else {
            return
        }
        let chain = HTTPChain(
            side: .gateway, statPrefix: "outbound_\(parts.name);", routes: .named(routes),
            policies: httpPolicyFilters(of: proxy, port: parts.port), translatesGRPCWeb: server.translatesGRPCWeb)
        parts.chains.append(
            filterChain(
                routes, ChainMatch(serverNames: Self.chainNames(server.serverNames)),
                [httpConnectionManager(chain, of: proxy)], transportSocket: socket))
    }

    /// Streams go where the routes that hang on the server say; without any, the server takes nothing.
    private func addStreams(of server: GatewayServer, to parts: inout ListenerParts, _ proxy: ProxyClass) {
        var socket: UnsafeMutablePointer<TransportSocket>?
        if server.transport == .tls {
            guard let tls = server.tls, let found = serverSocket(tls, isHTTP: false) else { return }
            socket = found
        }
        for route in streamRoutes(of: server, for: proxy) {
            let names =
                server.transport == .tcp
                ? [] : server.transport == .tls && route.serverNames.isEmpty ? server.serverNames : route.serverNames
            let match = ChainMatch(
                serverNames: Self.chainNames(names), destinations: route.destinations, sources: route.sources)
            let filters =
                networkPolicyFilters(of: proxy, port: parts.port) + [
                    streamProxy(
                        route.targets.map { StreamTarget(cluster: $0.cluster, weight: $0.weight) }, side: .gateway,
                        of: proxy, statPrefix: route.targets.first.map { $0.cluster })
                ]
            let origin = route.origin.map { "\($0.object.namespace)/\($0.object.name)" } ?? ""
            parts.chains.append(
                filterChain(
                    "\(server.transport == .tcp ? "tcp" : "tls").\(server.port).\(server.name).\(origin)", match,
                    filters, transportSocket: socket))
        }
    }

    /// The client asks for a cluster by its server name. Source: Istio, AUTO_PASSTHROUGH.
    private func addAutomaticPassthrough(
        _ server: GatewayServer, to parts: inout ListenerParts, _ proxy: ProxyClass
    ) {
        let filters =
            networkPolicyFilters(of: proxy, port: parts.port) + [
                networkFilter("envoy.filters.network.sni_cluster", arena.make(SniCluster.self)),
                streamProxy([StreamTarget(cluster: ResourceNames.blackHole)], side: .gateway, of: proxy),
            ]
        parts.chains.append(
            filterChain(
                "auto_passthrough.\(server.port).\(server.name)",
                ChainMatch(
                    serverNames: Self.chainNames(server.serverNames), transport: ChainMatch.tls,
                    applicationProtocols: [
                        "istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2",
                    ]),
                filters))
    }

    /// Envoy knows a star only in place of whole labels at the beginning.
    private static func chainNames(_ names: [String]) -> [String] {
        names.contains("*") ? [] : names.filter { !$0.dropFirst().contains("*") }
    }

    /// Envoy refuses a listener with two chains that ask for the same: the first has it.
    private func distinct(
        _ chains: [UnsafeMutablePointer<FilterChain>]
    ) -> [UnsafeMutablePointer<FilterChain>] {
        var taken: Set<[UInt8]> = []
        return chains.filter { chain in
            guard let match = chain.pointee.filter_chain_match else { return taken.insert([]).inserted }
            let names = Array(match.pointee.server_names_list)
            func condition(_ name: String?) -> [UInt8] {
                (match.pointee.n_server_names, match.pointee.server_names) = arena.strings(name.map { [$0] } ?? [])
                return encode(match)
            }
            guard !names.isEmpty else { return taken.insert(encode(match)).inserted }
            let free = names.filter { taken.insert(condition($0)).inserted }
            (match.pointee.n_server_names, match.pointee.server_names) = arena.strings(free)
            return !free.isEmpty
        }
    }

    // MARK: TLS

    /// - Returns: nil if it has no certificate: Envoy would refuse the listener.
    func serverSocket(_ tls: GatewayTLS, isHTTP: Bool) -> UnsafeMutablePointer<TransportSocket>? {
        let protocols = isHTTP ? ["h2", "http/1.1"] : []
        if tls.isOfMesh { return meshServerSocket(protocols + ["istio"]) }
        guard !tls.certificateSecrets.isEmpty || !tls.files.isEmpty else { return nil }
        let context = arena.make(DownstreamTlsContext.self) { context in
            context.require_client_certificate = arena.bool(tls.clientCertificate == .required)
            context.common_tls_context = arena.make { common in
                common.tls_params = arena.make { parameters in
                    parameters.tls_minimum_protocol_version = tls.minVersion == .auto ? .TLSv1_2 : tls.minVersion.word
                    parameters.tls_maximum_protocol_version = tls.maxVersion.word
                    (parameters.n_cipher_suites, parameters.cipher_suites) = arena.strings(tls.cipherSuites)
                }
                (common.n_alpn_protocols, common.alpn_protocols) = arena.strings(protocols)
                (common.n_tls_certificate_sds_secret_configs, common.tls_certificate_sds_secret_configs) = arena.list(
                    tls.certificateSecrets.map { secret($0) })
                (common.n_tls_certificates, common.tls_certificates) = arena.list(tls.files.map { certificate($0) })
                if tls.clientCertificate != .none { setValidation(&common, tls) }
            }
        }
        return transportSocket("envoy.transport_sockets.tls", context)
    }

    private func setValidation(_ common: inout CommonTlsContext, _ tls: GatewayTLS) {
        let validation = arena.make(CertificateValidationContext.self) { validation in
            (validation.n_match_typed_subject_alt_names, validation.match_typed_subject_alt_names) = arena.list(
                tls.subjectAltNames.map { exactName($0) })
            if tls.skipsVerification { validation.trust_chain_verification = .ACCEPT_UNTRUSTED }
            if tls.rootSecret == nil {
                validation.trusted_ca = tls.rootFile.map { file($0) }
                validation.crl = tls.revocationFile.map { file($0) }
            }
        }
        if let root = tls.rootSecret {
            common.set(
                combined_validation_context: arena.make {
                    $0.default_validation_context = validation
                    $0.validation_context_sds_secret_config = secret(root)
                })
        } else {
            common.set(validation_context: validation)
        }
    }

    private func certificate(_ files: Istio.ServerTLS.Files) -> UnsafeMutablePointer<TlsCertificate> {
        arena.make {
            $0.certificate_chain = file(files.certificate)
            $0.private_key = file(files.privateKey)
        }
    }
}

extension Istio.ServerTLS.Version {
    fileprivate var word: TlsParametersTlsProtocol {
        switch self {
        case .auto: .TLS_AUTO
        case .tls10: .TLSv1_0
        case .tls11: .TLSv1_1
        case .tls12: .TLSv1_2
        case .tls13: .TLSv1_3
        }
    }
}
