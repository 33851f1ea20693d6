import EnvoyAPI
import Mesh
import Protobuf

/// CUSTOM policies of one provider: a service of the mesh is asked about what their rules match.
struct ExternalCheck {
    var provider: String
    var authorization: ExternalAuthorization
    /// Over which the service is reached, and its name.
    var cluster: String
    var host: String
    var part: AuthorizationRules.Part
}

// What authorization services are asked, as Istio has it: an RBAC filter that denies nothing marks what the rules match,
// and the filter behind it asks about what is marked. Source: Istio, "Better external authorization"; Envoy, ext_authz.
extension Translator {
    /// The first words of the names of marking rules: Istio's.
    private static let ruleMark = "istio-ext-authz"
    static let requestRoles = "envoy.filters.http.rbac"
    static let streamRoles = "envoy.filters.network.rbac"

    /// The cluster of a provider's service, as far as a proxy sees it; nil: it does not, and cannot ask.
    func cluster(of place: ExtensionProvider.Place, for proxy: ProxyClass) -> (cluster: String, host: String)? {
        let scope = OutboundScope(namespace: proxy.namespace, kind: proxy.kind, sidecar: sidecar(for: proxy)?.key)
        guard let service = service(place.host, in: place.namespace ?? mesh.config.rootNamespace, for: scope),
            place.namespace ?? service.namespace == service.namespace, service.port(place.port) != nil,
            isSeen(service, by: scope)
        else { return nil }
        return (ResourceNames.outbound(place.port, service.host), service.host)
    }

    /// Which provider is asked about which policies, in the order of the policies; what nobody can be asked about is
    /// refused where its rules match.
    func externalChecks(
        _ policies: [(provider: String, part: AuthorizationRules.Part)], of proxy: ProxyClass
    ) -> (checks: [ExternalCheck], refused: AuthorizationRules.Part) {
        var checks: [ExternalCheck] = []
        var refused = AuthorizationRules.Part()
        for policy in policies {
            if let index = checks.firstIndex(where: { $0.provider == policy.provider }) {
                checks[index].part.rules += policy.part.rules
            } else if proxy.kind != .proxyless,  // gRPC asks nobody: it would let pass what is only marked.
                case .authorization(let authorization)? = mesh.config.provider(policy.provider)?.work,
                let found = cluster(of: authorization.place, for: proxy)
            {
                checks.append(
                    ExternalCheck(
                        provider: policy.provider, authorization: authorization, cluster: found.cluster,
                        host: found.host, part: policy.part))
            } else {
                refused.isThere = true
                refused.rules += policy.part.rules
            }
        }
        return (checks, refused)
    }

    /// - Parameter index: of the check among those of the proxy.
    func httpFilters(of check: ExternalCheck, index: Int) -> [UnsafeMutablePointer<HttpFilter>] {
        let (suffix, mark) = Self.names(index)
        let roles = arena.make(HttpRBAC.self) {
            $0.shadow_rules = rbac(.DENY, check.marking(Self.ruleMark), .http)
            $0.shadow_rules_stat_prefix = arena(mark)
        }
        let authorization = check.authorization
        let filter = arena.make(HttpExtAuthz.self) { filter in
            if let http = authorization.http {
                filter.set(http_service: httpService(check, http))
                if !http.requestHeaders.isEmpty { filter.allowed_headers = names(http.requestHeaders) }
            } else {
                filter.set(grpc_service: grpcService(check))
            }
            filter.transport_api_version = .V3
            filter.set(failure_mode_allow: authorization.failsOpen)
            filter.set(clear_route_cache: authorization.clearsRouteCache)
            if let status = authorization.statusOnError {
                filter.status_on_error = arena.make { $0.code = .init(UInt32(status)) }
            }
            if let body = authorization.body {
                filter.with_request_body = arena.make {
                    $0.max_request_bytes = UInt32(clamping: body.limit)
                    $0.set(allow_partial_message: body.allowsPart)
                    $0.set(pack_as_bytes: body.isPacked)
                }
            }
            filter.filter_enabled_metadata = marked(Self.requestRoles, mark)
        }
        return [
            httpFilter("envoy.filters.http.rbac.custom.marks\(suffix)", roles),
            httpFilter("envoy.filters.http.ext_authz\(suffix)", filter),
        ]
    }

    /// For connections that are no HTTP: only a service over gRPC can be asked.
    func networkFilters(of check: ExternalCheck, index: Int) -> [UnsafeMutablePointer<NetworkFilter>] {
        let (suffix, mark) = Self.names(index)
        let roles = arena.make(NetworkRBAC.self) {
            $0.stat_prefix = arena("tcp.custom\(suffix).")
            $0.shadow_rules = rbac(.DENY, check.marking(Self.ruleMark), .streamThatDenies)
            $0.shadow_rules_stat_prefix = arena(mark)
        }
        let filter = arena.make(NetworkExtAuthz.self) { filter in
            filter.stat_prefix = arena("tcp.")
            filter.grpc_service = grpcService(check)
            filter.transport_api_version = .V3
            filter.set(failure_mode_allow: check.authorization.failsOpen)
            filter.filter_enabled_metadata = marked(Self.streamRoles, mark)
        }
        return [
            networkFilter("envoy.filters.network.rbac.custom.marks\(suffix)", roles),
            networkFilter("envoy.filters.network.ext_authz\(suffix)", filter),
        ]
    }

    /// The first is as Istio has it; several providers need several marks.
    private static func names(_ index: Int) -> (suffix: String, mark: String) {
        index == 0 ? ("", "istio_ext_authz_") : (".\(index)", "istio_ext_authz_\(index)_")
    }

    private func marked(_ filter: String, _ mark: String) -> UnsafeMutablePointer<MetadataMatcher> {
        let value: UnsafeMutablePointer<ValueMatcher> = arena.make {
            $0.set(string_match: arena.make { $0.set(prefix: arena(Self.ruleMark)) })
        }
        return metadataMatcher(filter, [mark + "shadow_effective_policy_id"], value)
    }

    private func grpcService(_ check: ExternalCheck) -> UnsafeMutablePointer<GrpcService> {
        arena.make { service in
            service.set(
                envoy_grpc: arena.make {
                    $0.cluster_name = arena(check.cluster)
                    $0.authority = arena(check.host)
                })
            service.timeout = arena.duration(check.authorization.timeout)
        }
    }

    private func httpService(
        _ check: ExternalCheck, _ http: ExternalAuthorization.HTTP
    ) -> UnsafeMutablePointer<ExtAuthzHttpService> {
        arena.make { service in
            service.server_uri = arena.make {
                // Only its host is used: as the authority of what is asked.
                $0.uri = arena("http://\(check.host)")
                $0.set(cluster: arena(check.cluster))
                $0.timeout = arena.duration(check.authorization.timeout)
            }
            service.path_prefix = arena(http.pathPrefix ?? "")
            if !http.additionalHeaders.isEmpty {
                service.authorization_request = arena.make { request in
                    let headers = http.additionalHeaders.sorted { $0.key < $1.key }.map { name, value in
                        arena.make(HeaderValue.self) { ($0.key, $0.value) = (arena(name), arena(value)) }
                    }
                    (request.n_headers_to_add, request.headers_to_add) = arena.list(headers)
                }
            }
            guard !(http.upstreamHeaders + http.headersOnDeny + http.headersOnAllow).isEmpty else { return }
            service.authorization_response = arena.make { response in
                if !http.upstreamHeaders.isEmpty { response.allowed_upstream_headers = names(http.upstreamHeaders) }
                if !http.headersOnDeny.isEmpty { response.allowed_client_headers = names(http.headersOnDeny) }
                if !http.headersOnAllow.isEmpty {
                    response.allowed_client_headers_on_success = names(http.headersOnAllow)
                }
            }
        }
    }

    private func names(_ patterns: [String]) -> UnsafeMutablePointer<ListStringMatcher> {
        arena.make { list in
            (list.n_patterns, list.patterns) = arena.list(
                patterns.map { stringMatcher(TextPattern($0), ignoringCase: true) })
        }
    }
}

extension ExternalCheck {
    /// The rules under names that begin with a mark.
    fileprivate func marking(_ mark: String) -> AuthorizationRules.Part {
        var part = part
        for index in part.rules.indices { part.rules[index].name = "\(mark)-\(part.rules[index].name)" }
        return part
    }
}
