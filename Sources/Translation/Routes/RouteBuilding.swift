import EnvoyAPI
import Mesh
import Protobuf

/// Names of HTTP filters that routes configure; listeners put these filters before the router.
enum RouteFilterNames {
    static let fault = "envoy.filters.http.fault"
    static let cors = "envoy.filters.http.cors"
}

extension Translator {
    /// Conditions on which a request is tried again where nobody says it. Source: Istio, default retry policy.
    private static let standardConditions = "connect-failure,refused-stream,unavailable,cancelled"

    /// Envoy's route of a rule.
    func route(_ rule: RouteRule, for kind: ProxyClass.Kind) -> UnsafeMutablePointer<Route> {
        arena.make { route in
            route.name = arena(rule.name)
            route.match = match(rule.match)
            switch rule.action {
            case .forward(let forwarding):
                route.set(route: forward(rule, forwarding, for: kind))
                if !rule.operation.isEmpty {
                    route.decorator = arena.make { $0.operation = arena(rule.operation) }
                }
            case .redirect(let redirection): route.set(redirect: redirect(redirection))
            case .respond(let status, let body):
                route.set(
                    direct_response: arena.make { response in
                        response.status = UInt32(status)
                        if let body, !body.isEmpty {
                            response.body = arena.make { $0.set(inline_bytes: arena.bytes(body)) }
                        }
                    })
            }
            (route.n_request_headers_to_add, route.request_headers_to_add) = added(rule.requestHeaders)
            (route.n_request_headers_to_remove, route.request_headers_to_remove) =
                arena.strings(rule.requestHeaders.remove)
            (route.n_response_headers_to_add, route.response_headers_to_add) = added(rule.responseHeaders)
            (route.n_response_headers_to_remove, route.response_headers_to_remove) =
                arena.strings(rule.responseHeaders.remove)
            if let prefix = rule.statPrefix, !prefix.isEmpty { route.stat_prefix = arena(prefix) }
            if let origin = rule.origin { route.metadata = metadata(origin) }
            var filters: [(String, UnsafeMutablePointer<ProtobufAny>)] = []
            if let cors = rule.cors { filters.append((RouteFilterNames.cors, arena.any(crossOrigin(cors)))) }
            if let fault = rule.fault { filters.append((RouteFilterNames.fault, arena.any(self.fault(fault)))) }
            (route.n_typed_per_filter_config, route.typed_per_filter_config) = arena.map(filters)
        }
    }

    /// Which object and which part of it a route is of, for people who read configuration dumps and access logs.
    private func metadata(_ origin: RouteRule.Origin) -> UnsafeMutablePointer<Metadata> {
        let (key, kind) = (origin.object, origin.object.kind)
        let dashed = kind.name.reduce(into: "") { text, letter in
            if letter.isUppercase, let last = text.last, !last.isUppercase, last != "-" { text += "-" }
            text += letter.lowercased()
        }
        let config = "/apis/\(kind.apiVersion)/namespaces/\(key.namespace)/\(dashed)/\(key.name)"
        return arena.make { metadata in
            (metadata.n_filter_metadata, metadata.filter_metadata) = arena.map([
                ("istio", arena.structure(["config": .string(config)])),
                ("martinet", arena.structure(["object": .string(key.description), "rule": .string(origin.path)])),
            ])
        }
    }

    private func forward(
        _ rule: RouteRule, _ forwarding: Forwarding, for kind: ProxyClass.Kind
    ) -> UnsafeMutablePointer<RouteAction> {
        arena.make { action in
            let targets = forwarding.targets
            // A lone cluster has no headers of its own.
            if targets.count == 1, targets[0].requestHeaders.isEmpty, targets[0].responseHeaders.isEmpty {
                action.set(cluster: arena(targets[0].cluster))
            } else {
                action.set(
                    weighted_clusters: arena.make { weighted in
                        (weighted.n_clusters, weighted.clusters) = arena.list(targets.map { self.weight($0) })
                    })
            }
            if targets.contains(where: \.isInvalid) { action.cluster_not_found_response_code = .INTERNAL_SERVER_ERROR }
            switch forwarding.path {
            case .matched(let path): action.prefix_rewrite = arena(path)
            case .regex(let pattern, let substitution): action.regex_rewrite = substitute(pattern, substitution)
            case nil: break
            }
            if let authority = forwarding.authority ?? (targets.count == 1 ? targets[0].authority : nil) {
                action.set(host_rewrite_literal: arena(authority))
            }
            let timeout = rule.timeout ?? .zero
            if kind == .proxyless {
                action.max_stream_duration = arena.make { $0.max_stream_duration = arena.duration(timeout) }
            } else {
                action.timeout = arena.duration(timeout)
                action.max_grpc_timeout = arena.duration(timeout)
            }
            action.retry_policy = retry(rule.retries, isHashed: !forwarding.hash.isEmpty)
            (action.n_request_mirror_policies, action.request_mirror_policies) = arena.list(
                forwarding.mirrors.map { mirror in
                    arena.make(RouteActionRequestMirrorPolicy.self) { policy in
                        policy.cluster = arena(mirror.cluster)
                        policy.runtime_fraction = arena.make { $0.default_value = percent(mirror.percentage) }
                    }
                })
            (action.n_hash_policy, action.hash_policy) = arena.list(forwarding.hash.map { hashPolicy($0) })
        }
    }

    private func weight(_ target: Forwarding.Target) -> UnsafeMutablePointer<WeightedClusterClusterWeight> {
        arena.make { weight in
            weight.name = arena(target.cluster)
            weight.weight = arena.u32(UInt32(clamping: target.weight))
            (weight.n_request_headers_to_add, weight.request_headers_to_add) = added(target.requestHeaders)
            (weight.n_request_headers_to_remove, weight.request_headers_to_remove) =
                arena.strings(target.requestHeaders.remove)
            (weight.n_response_headers_to_add, weight.response_headers_to_add) = added(target.responseHeaders)
            (weight.n_response_headers_to_remove, weight.response_headers_to_remove) =
                arena.strings(target.responseHeaders.remove)
            if let authority = target.authority { weight.set(host_rewrite_literal: arena(authority)) }
        }
    }

    private func added(
        _ rule: HeaderRule
    ) -> (Int, UnsafeMutablePointer<UnsafeMutablePointer<HeaderValueOption>?>?) {
        func option(
            _ header: HeaderRule.Header, _ action: HeaderValueOptionHeaderAppendAction
        ) -> UnsafeMutablePointer<HeaderValueOption> {
            arena.make { option in
                option.header = arena.make {
                    $0.key = arena(header.name)
                    $0.value = arena(header.value)
                }
                option.append_action = action
                if header.value.isEmpty { option.set(keep_empty_value: true) }
            }
        }
        return arena.list(
            rule.set.map { option($0, .OVERWRITE_IF_EXISTS_OR_ADD) }
                + rule.add.map { option($0, .APPEND_IF_EXISTS_OR_ADD) })
    }

    private func redirect(_ redirection: Redirection) -> UnsafeMutablePointer<RedirectAction> {
        arena.make { action in
            if let scheme = redirection.scheme { action.set(scheme_redirect: arena(scheme)) }
            if let authority = redirection.authority { action.host_redirect = arena(authority) }
            if let port = redirection.port { action.port_redirect = UInt32(port) }
            switch redirection.path {
            case .full(let path): action.set(path_redirect: arena(path))
            case .prefix(let path): action.set(prefix_rewrite: arena(path))
            case .regex(let pattern, let substitution):
                action.set(regex_rewrite: substitute(pattern, substitution))
            case nil: break
            }
            action.response_code =
                switch redirection.code {
                case 302: .FOUND
                case 303: .SEE_OTHER
                case 307: .TEMPORARY_REDIRECT
                case 308: .PERMANENT_REDIRECT
                default: .MOVED_PERMANENTLY
                }
        }
    }

    /// - Parameter isHashed: whether requests are bound to an endpoint: then it is tried again too.
    func retry(_ retries: RouteRule.Retries, isHashed: Bool = false) -> UnsafeMutablePointer<RetryPolicy>? {
        let rule: RetryRule
        switch retries {
        case .none: return nil
        case .standard: rule = RetryRule(attempts: 2)
        case .policy(let stated): rule = stated
        }
        return arena.make { policy in
            var conditions = rule.conditions ?? Self.standardConditions
            if !rule.statusCodes.isEmpty, !conditions.split(separator: ",").contains("retriable-status-codes") {
                conditions += (conditions.isEmpty ? "" : ",") + "retriable-status-codes"
            }
            policy.retry_on = arena(conditions)
            policy.num_retries = arena.u32(UInt32(clamping: rule.attempts))
            policy.host_selection_retry_max_attempts = 5
            if rule.avoidsPreviousHosts ?? !isHashed {
                (policy.n_retry_host_predicate, policy.retry_host_predicate) = arena.list(
                    arena.make(RetryPolicyRetryHostPredicate.self) {
                        $0.name = arena("envoy.retry_host_predicates.previous_hosts")
                        $0.set(typed_config: arena.any(arena.make(PreviousHostsPredicate.self)))
                    })
            }
            if rule.triesRemoteLocalities {
                policy.retry_priority = arena.make {
                    $0.name = arena("envoy.retry_priorities.previous_priorities")
                    // `update_frequency: 2`: the load moves to the next priority after two attempts.
                    $0.set(
                        typed_config: arena.any(
                            typeURL: "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3"
                                + ".PreviousPrioritiesConfig", arena.bytes([0x08, 0x02])))
                }
            }
            if let timeout = rule.perTryTimeout { policy.per_try_timeout = arena.duration(timeout) }
            if let backoff = rule.backoff {
                policy.retry_back_off = arena.make { $0.base_interval = arena.duration(backoff) }
            }
            (policy.n_retriable_status_codes, policy.retriable_status_codes) =
                arena.values(rule.statusCodes.map { UInt32($0) })
        }
    }

    private func hashPolicy(_ key: Istio.ConsistentHash.Key) -> UnsafeMutablePointer<RouteActionHashPolicy> {
        arena.make { policy in
            switch key {
            case .header(let name): policy.set(header: arena.make { $0.header_name = arena(name) })
            case .queryParameter(let name): policy.set(query_parameter: arena.make { $0.name = arena(name) })
            case .sourceAddress: policy.set(connection_properties: arena.make { $0.set(source_ip: true) })
            case .cookie(let cookie):
                policy.set(
                    cookie: arena.make { made in
                        made.name = arena(cookie.name)
                        if let path = cookie.path { made.path = arena(path) }
                        if let ttl = cookie.ttl { made.ttl = arena.duration(ttl) }
                        (made.n_attributes, made.attributes) = arena.list(
                            cookie.attributes.map { attribute in
                                arena.make(RouteActionHashPolicyCookieAttribute.self) {
                                    $0.name = arena(attribute.name)
                                    $0.value = arena(attribute.value ?? "")
                                }
                            })
                    })
            }
        }
    }

    private func fault(_ fault: Istio.HTTPFault) -> UnsafeMutablePointer<EnvoyAPI.HTTPFault> {
        arena.make { made in
            if let delay = fault.delay {
                made.delay = arena.make {
                    $0.set(fixed_delay: arena.duration(delay.fixed))
                    $0.percentage = percent(delay.percentage)
                }
            }
            if let abort = fault.abort {
                made.abort = arena.make {
                    switch abort.error {
                    case .http(let status): $0.set(http_status: UInt32(status))
                    case .grpc(let status):
                        let number = Istio.HTTPFault.Abort.grpcStatusNames.firstIndex(of: status) ?? Int(status) ?? 2
                        $0.set(grpc_status: UInt32(number))
                    }
                    $0.percentage = percent(abort.percentage)
                }
            }
        }
    }

    private func crossOrigin(_ rule: CrossOriginRule) -> UnsafeMutablePointer<CorsPolicy> {
        arena.make { policy in
            (policy.n_allow_origin_string_match, policy.allow_origin_string_match) =
                arena.list(rule.origins.map { self.text($0) })
            policy.allow_methods = arena(rule.methods.joined(separator: ","))
            policy.allow_headers = arena(rule.requestHeaders.joined(separator: ","))
            policy.expose_headers = arena(rule.exposedHeaders.joined(separator: ","))
            if let age = rule.maxAge { policy.max_age = arena("\(age.components.seconds)") }
            if let credentials = rule.allowsCredentials { policy.allow_credentials = arena.bool(credentials) }
            if let forwards = rule.forwardsUnmatchedPreflights {
                policy.forward_not_matching_preflights = arena.bool(forwards)
            }
            policy.filter_enabled = arena.make { $0.default_value = percent(100) }
        }
    }

    func percent(_ value: Double) -> UnsafeMutablePointer<FractionalPercent> {
        arena.make {
            let whole = value.rounded()
            $0.numerator = UInt32(clamping: Int(whole == value ? value : (value * 10_000).rounded()))
            $0.denominator = whole == value ? .HUNDRED : .MILLION
        }
    }

    private func substitute(
        _ pattern: String, _ substitution: String
    ) -> UnsafeMutablePointer<RegexMatchAndSubstitute> {
        arena.make {
            $0.pattern = regex(pattern)
            $0.substitution = arena(substitution)
        }
    }
}
