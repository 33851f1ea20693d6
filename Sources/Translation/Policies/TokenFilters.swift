import EnvoyAPI
import Mesh
import Protobuf

// JSON Web Tokens. A request may come without one: AuthorizationPolicies say who needs one. One that is there must be
// valid. Source: Istio, RequestAuthentication; envoy.extensions.filters.http.jwt_authn.v3.
extension Translator {
    func tokenFilter(of proxy: ProxyClass) -> UnsafeMutablePointer<HttpFilter>? {
        let rules = tokenRules(for: proxy)
        guard !rules.isEmpty else { return nil }
        let providers = rules.enumerated().map { index, rule in ("origins-\(index)", provider(rule, of: proxy)) }
        var options: [UnsafeMutablePointer<JwtRequirement>] = providers.map { name, _ in
            arena.make { $0.set(provider_name: arena(name)) }
        }
        options.append(arena.make { $0.set(allow_missing: arena.make()) })
        let requirement: UnsafeMutablePointer<JwtRequirement> = arena.make {
            $0.set(requires_any: arena.make { ($0.n_requirements, $0.requirements) = arena.list(options) })
        }
        let message: UnsafeMutablePointer<JwtAuthentication> = arena.make {
            ($0.n_providers, $0.providers) =
                arena.map(providers)
                as (Int, UnsafeMutablePointer<UnsafeMutablePointer<JwtAuthenticationProvidersEntry>?>?)
            ($0.n_rules, $0.rules) = arena.list(
                arena.make(RequirementRule.self) {
                    $0.match = arena.make { $0.set(prefix: arena("/")) }
                    $0.set(requires: requirement)
                })
            $0.set(bypass_cors_preflight: true)
        }
        return arena.make {
            $0.name = arena(Self.tokenFilter)
            $0.set(typed_config: arena.any(message))
        }
    }

    private func tokenRules(for proxy: ProxyClass) -> [Istio.JWTRule] {
        mesh.policies(.requestAuthentication, selecting: proxy.labels, in: proxy.namespace)
            .flatMap { object -> [Istio.JWTRule] in
                if case .requestAuthentication(let policy) = object.body { policy.rules } else { [] }
            }
    }

    private func provider(_ rule: Istio.JWTRule, of proxy: ProxyClass) -> UnsafeMutablePointer<JwtProvider> {
        arena.make {
            $0.issuer = arena(rule.issuer)
            ($0.n_audiences, $0.audiences) = arena.strings(rule.audiences)
            if let keys = rule.jwks {
                $0.set(local_jwks: arena.make { $0.set(inline_string: arena(keys)) })
            } else if let address = rule.jwksURI, let place = KeySetPlace(address) {
                $0.set(
                    remote_jwks: arena.make {
                        $0.http_uri = arena.make {
                            $0.uri = arena(address)
                            $0.set(cluster: arena(keySetCluster(place, of: proxy)))
                            $0.timeout = arena.duration(rule.timeout ?? .seconds(5))
                        }
                        $0.cache_duration = arena.seconds(20 * 60)
                        $0.async_fetch = arena.make()
                    })
            }
            ($0.n_from_headers, $0.from_headers) = arena.list(
                rule.fromHeaders.map { header in
                    arena.make(JwtHeader.self) {
                        $0.name = arena(header.name)
                        if let prefix = header.prefix { $0.value_prefix = arena(prefix) }
                    }
                })
            ($0.n_from_params, $0.from_params) = arena.strings(rule.fromParameters)
            ($0.n_from_cookies, $0.from_cookies) = arena.strings(rule.fromCookies)
            $0.set(forward: rule.forwardsOriginalToken)
            if let header = rule.payloadHeader { $0.forward_payload_header = arena(header) }
            $0.payload_in_metadata = arena(Self.claimsKey)
            ($0.n_claim_to_headers, $0.claim_to_headers) = arena.list(
                rule.claimHeaders.map { pair in
                    arena.make(JwtClaimToHeader.self) {
                        $0.header_name = arena(pair.header)
                        $0.claim_name = arena(pair.claim)
                    }
                })
            if !rule.spaceDelimitedClaims.isEmpty {
                $0.normalize_payload_in_metadata = arena.make {
                    ($0.n_space_delimited_claims, $0.space_delimited_claims) = arena.strings(rule.spaceDelimitedClaims)
                }
            }
        }
    }

    /// Who serves a key set: a service of the mesh under the cluster that its callers have, else a server of the web.
    private func keySetCluster(_ place: KeySetPlace, of proxy: ProxyClass) -> String {
        let scope = OutboundScope(namespace: proxy.namespace, kind: proxy.kind)
        guard let service = service(place.host, in: proxy.namespace, for: scope), !service.host.hasPrefix("*"),
            service.port(place.port) != nil
        else { return place.cluster }
        return ResourceNames.outbound(place.port, service.host)
    }

    /// The servers outside the mesh that key sets are fetched from.
    func keySetClusters(of proxy: ProxyClass) -> [Resource] {
        let places = Set(
            tokenRules(for: proxy).compactMap { $0.jwks == nil ? $0.jwksURI.flatMap(KeySetPlace.init) : nil }
        ).filter { keySetCluster($0, of: proxy) == $0.cluster }
        return places.sorted { $0.cluster < $1.cluster }.map { place in
            let cluster: UnsafeMutablePointer<Cluster> = arena.make {
                $0.name = arena(place.cluster)
                $0.set(type: .STRICT_DNS)
                $0.connect_timeout = arena.seconds(10)
                $0.load_assignment = arena.make {
                    $0.cluster_name = arena(place.cluster)
                    ($0.n_endpoints, $0.endpoints) = arena.list(
                        arena.make(LocalityLbEndpoints.self) {
                            ($0.n_lb_endpoints, $0.lb_endpoints) = arena.list(
                                arena.make(LbEndpoint.self) {
                                    $0.set(
                                        endpoint: arena.make {
                                            $0.address = arena.make {
                                                $0.set(
                                                    socket_address: arena.make {
                                                        $0.address = arena(place.host)
                                                        $0.set(port_value: UInt32(place.port))
                                                    })
                                            }
                                        })
                                })
                        })
                }
                if place.isSecure { $0.transport_socket = webTransport(place.host) }
            }
            return resource(.cluster, place.cluster, cluster)
        }
    }

    /// TLS to a server of the web, whose certificate the machine's own authorities vouch for.
    private func webTransport(_ host: String) -> UnsafeMutablePointer<TransportSocket> {
        let context: UnsafeMutablePointer<UpstreamTlsContext> = arena.make {
            $0.sni = arena(host)
            $0.common_tls_context = arena.make {
                $0.set(
                    validation_context: arena.make {
                        $0.trusted_ca = arena.make {
                            $0.set(filename: arena(settings.systemRoots))
                        }
                        ($0.n_match_typed_subject_alt_names, $0.match_typed_subject_alt_names) = arena.list(
                            arena.make(SubjectAltNameMatcher.self) {
                                $0.san_type = .DNS
                                $0.matcher = stringMatcher(.exact(host))
                            })
                    })
            }
        }
        return arena.make {
            $0.name = arena("envoy.transport_sockets.tls")
            $0.set(typed_config: arena.any(context))
        }
    }
}

/// Where a key set is fetched from: `https://HOST[:PORT]/PATH`.
struct KeySetPlace: Hashable {
    var isSecure: Bool
    var host: String
    var port: Int

    var cluster: String { "jwks|\(port)||\(host)" }

    init?(_ address: String) {
        guard let scheme = address.firstRange(of: "://") else { return nil }
        isSecure = address[..<scheme.lowerBound].lowercased() == "https"
        let authority = address[scheme.upperBound...].prefix { $0 != "/" && $0 != "?" }
        guard !authority.isEmpty else { return nil }
        if !authority.hasSuffix("]"), let colon = authority.lastIndex(of: ":") {
            guard let number = Int(authority[authority.index(after: colon)...]) else { return nil }
            port = number
            host = String(authority[..<colon])
        } else {
            port = isSecure ? 443 : 80
            host = String(authority)
        }
        if host.hasPrefix("[") { host = String(host.dropFirst().dropLast()) }
    }
}
