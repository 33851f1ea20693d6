import Addresses
import EnvoyAPI
import Mesh
import Protobuf

/// TLS of clients to services: of the mesh by itself, or as objects say.
extension Translator {
    /// TLS to what is not the mesh's own, whoever asked for it.
    private struct Origin {
        enum Roots {
            case system
            case file(String)
            case inline([UInt8])
            case secret(String)
            /// Named, and not there: nobody is trusted.
            case missing
            /// Whoever answers is believed.
            case unverified
        }

        var roots: Roots
        var certificate: UnsafeMutablePointer<TlsCertificate>?
        var certificateSecret: String?
        var crl: String?
        var sni: String?
        var names: [String] = []
        /// Whether what the request calls is what the server must be.
        var namesFromRequests = RequestNames()
    }

    /// What a cluster's connections are.
    private enum Security {
        case plaintext
        /// Mutual TLS to the endpoints that are known to take it.
        case automatic
        case mutual(sni: String?, names: [String])
        case origin(Origin)
    }

    func secure(_ outbound: OutboundCluster, _ cluster: inout Cluster) {
        let version = outbound.policy.proxyProtocol
        switch security(outbound) {
        case .plaintext:
            if version != nil { cluster.transport_socket = announced(plaintextSocket(), version) }
        case .mutual(let sni, let names):
            let socket = meshSocket(outbound, sni: sni, names: names)
            cluster.transport_socket = announced(socket, version)
        case .origin(let origin):
            cluster.transport_socket = announced(transportSocket(origin, outbound), version)
        case .automatic:
            let mutual = meshSocket(outbound, sni: nil, names: [])
            (cluster.n_transport_socket_matches, cluster.transport_socket_matches) = arena.list(
                arena.make(ClusterTransportSocketMatch.self) {
                    $0.name = arena("tlsMode-istio")
                    $0.match = arena.structure(["tlsMode": "istio"])
                    $0.transport_socket = announced(mutual, version)
                },
                arena.make(ClusterTransportSocketMatch.self) {
                    $0.name = arena("tlsMode-disabled")
                    $0.match = arena.make()
                    $0.transport_socket = announced(plaintextSocket(), version)
                })
        }
    }

    /// What the proxy takes from requests to check the server of a cluster with.
    func clientNames(_ outbound: OutboundCluster) -> RequestNames {
        guard case .origin(let origin) = security(outbound) else { return RequestNames() }
        return origin.namesFromRequests
    }

    private func security(_ outbound: OutboundCluster) -> Security {
        if let tls = outbound.policy.tls {
            switch tls.mode {
            case .disable: return .plaintext
            case .istioMutual: return .mutual(sni: tls.sni, names: tls.subjectAltNames)
            case .simple, .mutual: return .origin(origin(tls, outbound))
            }
        }
        if let policy = backendPolicy(outbound) { return .origin(origin(policy, outbound)) }
        if outbound.service.isExternal { return .plaintext }
        switch outbound.discovery {
        case .host, .forwardProxy: return .plaintext
        case .originalDestination:
            // The endpoints are the client's choice: all of them must take it.
            let endpoints = outbound.endpoints(self)
            return !endpoints.isEmpty && endpoints.allSatisfy(\.isMeshed) ? .mutual(sni: nil, names: []) : .plaintext
        case .told, .names:
            if outbound.scope.kind != .proxyless { return .automatic }
            let endpoints = outbound.endpoints(self)
            let isStrict = endpoints.allSatisfy {
                $0.isMeshed && mutualTLS(of: $0.labels, in: $0.namespace, port: $0.port).mode == .strict
            }
            return isStrict && !endpoints.isEmpty ? .mutual(sni: nil, names: []) : .plaintext
        }
    }

    // MARK: In the mesh

    private func meshSocket(
        _ outbound: OutboundCluster, sni: String?, names: [String]
    ) -> UnsafeMutablePointer<TransportSocket> {
        let sans = names.isEmpty ? subjectAltNames(of: outbound.backends) : names
        if outbound.scope.kind == .proxyless { return tlsSocket(proxylessTLSContext(sans: sans)) }
        let isHTTP2 = speaksHTTP2(outbound.port.statedProtocol, outbound.policy.connectionPool)
        // Where the protocol is found out at run time, the proxy offers what it speaks on each connection, so that the
        // server's sidecar knows whether it is HTTP; the server name tells it that the mesh calls.
        let isDetected = outbound.port.statedProtocol == nil && sni == nil
        let alpn = isDetected ? [] : isHTTP2 ? [Self.meshALPN, "h2"] : [Self.meshALPN]
        return tlsSocket(upstreamTLSContext(sans: sans, sni: sni ?? outbound.serverName, alpn: alpn))
    }

    func tlsSocket<M: ProtobufMessage>(_ context: UnsafeMutablePointer<M>) -> UnsafeMutablePointer<TransportSocket> {
        transportSocket("envoy.transport_sockets.tls", context)
    }

    func plaintextSocket() -> UnsafeMutablePointer<TransportSocket> {
        transportSocket("envoy.transport_sockets.raw_buffer", arena.make(RawBuffer.self))
    }

    /// Connections begin with a line that tells of the client.
    private func announced(
        _ socket: UnsafeMutablePointer<TransportSocket>, _ version: Istio.TrafficPolicy.ProxyProtocol?
    ) -> UnsafeMutablePointer<TransportSocket> {
        guard let version else { return socket }
        return transportSocket(
            "envoy.transport_sockets.upstream_proxy_protocol",
            arena.make(ProxyProtocolUpstreamTransport.self) { made in
                made.config = arena.make { $0.version = version == .v1 ? .V1 : .V2 }
                made.transport_socket = socket
            })
    }

    // MARK: Out of the mesh

    private func origin(_ tls: Istio.ClientTLS, _ outbound: OutboundCluster) -> Origin {
        var origin = Origin(roots: .system, crl: tls.crl, sni: tls.sni)
        if tls.skipsVerification {
            origin.roots = .unverified
        } else if let name = tls.credentialName {
            origin.roots = .secret(GatewayTLS.roots(GatewayTLS.secret(name)))
        } else if let file = tls.caCertificates, file != "system" {
            origin.roots = .file(file)
        }
        if tls.mode == .mutual {
            if let name = tls.credentialName { origin.certificateSecret = GatewayTLS.secret(name) }
            if let chain = tls.clientCertificate, let key = tls.privateKey {
                origin.certificate = arena.make {
                    $0.certificate_chain = file(chain)
                    $0.private_key = file(key)
                }
            }
        }
        origin.names = tls.subjectAltNames.isEmpty ? outbound.service.subjectAltNames : tls.subjectAltNames
        let takesRequests = outbound.isHTTP && tls.sni == nil
        if takesRequests {
            origin.namesFromRequests.serverName = true
            origin.namesFromRequests.certificate = origin.names.isEmpty && !tls.skipsVerification
        } else {
            if origin.sni == nil, let host = dialled(outbound) { origin.sni = host }
            if origin.names.isEmpty, let name = origin.sni { origin.names = [name] }
        }
        if tls.skipsVerification { origin.names = [] }
        return origin
    }

    /// The one name that a cluster's servers go by; nil for addresses and patterns.
    private func dialled(_ outbound: OutboundCluster) -> String? {
        let host: String = if case .host(let name, _) = outbound.discovery { name } else { outbound.host }
        return host.hasPrefix("*") || IPAddress(host) != nil ? nil : host
    }

    /// The oldest for the port, else the oldest for all ports. Source: Gateway API, BackendTLSPolicy.
    private func backendPolicy(_ outbound: OutboundCluster) -> (ObjectKey, GatewayAPI.BackendTLSPolicy)? {
        guard outbound.service.key.kind == .service else { return nil }
        let found = mesh.objects(of: .backendTLSPolicy, naming: outbound.service.key)
            .sorted { $0.isOlder(than: $1) }
        for section in [outbound.port.name, nil] {
            for object in found {
                guard case .backendTLSPolicy(let policy) = object.body else { continue }
                let isMeant = policy.targets.contains {
                    $0.name == outbound.service.key.name && $0.section == section && (section == nil || section != "")
                }
                if isMeant { return (object.key, policy) }
            }
        }
        return nil
    }

    private func origin(_ found: (ObjectKey, GatewayAPI.BackendTLSPolicy), _ outbound: OutboundCluster) -> Origin {
        let (key, policy) = found
        var origin = Origin(roots: .system, sni: policy.hostname)
        origin.names = policy.subjectAltNames.map {
            switch $0 {
            case .hostname(let name), .uri(let name): name
            }
        }
        if origin.names.isEmpty { origin.names = [policy.hostname] }
        guard !policy.usesSystemRoots else { return origin }
        // Of several, those that are there count.
        let pem = policy.roots.compactMap { reference -> [UInt8]? in
            guard ObjectKind(group: reference.group, name: reference.kind) == .secret,
                case .secret(let secret)? = mesh.object(ObjectKey(.secret, key.namespace, reference.name))?.body
            else { return nil }
            return secret.roots
        }
        origin.roots = pem.isEmpty ? .missing : .inline(Array(pem.joined(separator: [UInt8(ascii: "\n")])))
        // Without roots Envoy takes no names to check either.
        if pem.isEmpty { origin.names = [] }
        return origin
    }

    private func transportSocket(_ origin: Origin, _ outbound: OutboundCluster) -> UnsafeMutablePointer<TransportSocket>
    {
        let validation = arena.make(CertificateValidationContext.self) { made in
            (made.n_match_typed_subject_alt_names, made.match_typed_subject_alt_names) = arena.list(
                origin.names.map { exactName($0) })
            made.crl = origin.crl.map { file($0) }
            switch origin.roots {
            case .system: made.trusted_ca = file(settings.systemRoots)
            case .file(let path): made.trusted_ca = file(path)
            case .inline(let pem): made.trusted_ca = arena.make { $0.set(inline_bytes: arena.bytes(pem)) }
            case .secret: break
            case .missing:
                (made.n_verify_certificate_hash, made.verify_certificate_hash) = arena.strings([
                    String(repeating: "00", count: 32)
                ])
            case .unverified: made.trust_chain_verification = .ACCEPT_UNTRUSTED
            }
        }
        let common = arena.make(CommonTlsContext.self) { common in
            if let certificate = origin.certificate {
                (common.n_tls_certificates, common.tls_certificates) = arena.list(certificate)
            }
            if let name = origin.certificateSecret {
                (common.n_tls_certificate_sds_secret_configs, common.tls_certificate_sds_secret_configs) = arena.list(
                    secret(name))
            }
            if case .secret(let name) = origin.roots {
                common.set(
                    combined_validation_context: arena.make {
                        $0.default_validation_context = validation
                        $0.validation_context_sds_secret_config = secret(name)
                    })
            } else {
                common.set(validation_context: validation)
            }
            if speaksHTTP2(outbound.port.statedProtocol, outbound.policy.connectionPool) {
                (common.n_alpn_protocols, common.alpn_protocols) = arena.strings(["h2"])
            }
        }
        return tlsSocket(
            arena.make(UpstreamTlsContext.self) {
                $0.common_tls_context = common
                $0.sni = arena(origin.sni ?? "")
            })
    }

    func file(_ path: String) -> UnsafeMutablePointer<DataSource> {
        arena.make { $0.set(filename: arena(path)) }
    }
}

/// What the connections of a cluster are, in one word.
enum ClientSecurity {
    case plaintext
    /// Mutual TLS to the endpoints that are known to take it.
    case automatic
    case mutual
    /// TLS to what is not the mesh's own.
    case origin
}

extension Translator {
    func clientSecurity(_ outbound: OutboundCluster) -> ClientSecurity {
        switch security(outbound) {
        case .plaintext: .plaintext
        case .automatic: .automatic
        case .mutual: .mutual
        case .origin: .origin
        }
    }
}
