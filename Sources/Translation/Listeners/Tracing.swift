import EnvoyAPI
import Mesh
import Protobuf

/// How a proxy takes part in traces. Where neither an object nor the bootstrap names a tracer, the decision of what is sampled travels on in
/// the request's id, and no span is sent.
struct TracingPlan: Hashable {
    /// Percent of requests that bring no decision.
    var sampling: Double
    var reportsSpans = true
    var tags: [String: Istio.Tracing.Tag] = [:]
    var usesRequestID = true
    var addsIstioTags = true
    /// Of the MeshConfig; nil: the tracer that the bootstrap names.
    var provider: String?
}

extension Translator {
    func tracingPlan(for proxy: ProxyClass, _ side: TrafficSide) -> TracingPlan {
        var plan = TracingPlan(sampling: mesh.config.tracingSampling)
        plan.provider = mesh.config.tracingProvider
        // Clients with different labels share what they have for calls: whose span it is, the proxy's name says.
        plan.addsIstioTags = side != .outbound
        for entry in telemetry(for: proxy).flatMap(\.tracing) where side.isCovered(by: entry.side) {
            plan.provider = entry.providers.first ?? plan.provider
            plan.sampling = entry.sampling ?? plan.sampling
            plan.reportsSpans = entry.disablesReporting.map { !$0 } ?? plan.reportsSpans
            plan.tags.merge(entry.tags) { $1 }
            plan.usesRequestID = entry.usesRequestID ?? plan.usesRequestID
            if entry.addsIstioTags == false { plan.addsIstioTags = false }
        }
        return plan
    }

    /// - Returns: nil where no spans are to be reported.
    func tracing(
        _ plan: TracingPlan, of proxy: ProxyClass
    ) -> UnsafeMutablePointer<HttpConnectionManagerTracing>? {
        guard plan.reportsSpans else { return nil }
        var tags: [UnsafeMutablePointer<CustomTag>] = []
        if plan.addsIstioTags {
            tags += [
                ("istio.canonical_revision", proxy.canonicalRevision), ("istio.canonical_service", proxy.canonicalName),
                ("istio.namespace", proxy.namespace),
            ].filter { plan.tags[$0.0] == nil && !$0.1.isEmpty }.map { tag($0.0, .literal($0.1)) }
        }
        tags += plan.tags.sorted { $0.key < $1.key }.map { tag($0.key, $0.value) }
        return arena.make { tracing in
            tracing.client_sampling = arena.make { $0.value = 100 }
            tracing.random_sampling = arena.make { $0.value = plan.sampling }
            tracing.overall_sampling = arena.make { $0.value = 100 }
            (tracing.n_custom_tags, tracing.custom_tags) = arena.list(tags)
            guard let provider = plan.provider.flatMap({ mesh.config.provider($0) }) else { return }
            tracing.provider = tracer(provider, of: proxy)
            switch provider.work {
            case .zipkin(let zipkin): tracing.max_path_tag_length = zipkin.maxTagLength.map { arena.u32(UInt32($0)) }
            case .openTelemetry(let telemetry):
                tracing.max_path_tag_length = telemetry.maxTagLength.map { arena.u32(UInt32($0)) }
            case .authorization, .fileLog, .httpLog, .streamLog, .prometheus: break
            }
        }
    }

    /// - Returns: nil for what takes no spans, or whose service the proxy does not see: Envoy refuses a tracer without
    ///   its cluster.
    private func tracer(_ provider: ExtensionProvider, of proxy: ProxyClass) -> UnsafeMutablePointer<TracingHttp>? {
        func made<M: ProtobufMessage>(_ name: String, _ message: UnsafeMutablePointer<M>)
            -> UnsafeMutablePointer<TracingHttp>
        {
            arena.make {
                $0.name = arena(name)
                $0.set(typed_config: arena.any(message))
            }
        }
        guard let place = provider.place, let found = cluster(of: place, for: proxy) else { return nil }
        switch provider.work {
        case .zipkin(let zipkin):
            return made(
                "envoy.tracers.zipkin",
                arena.make(ZipkinConfig.self) { config in
                    config.collector_cluster = arena(found.cluster)
                    config.collector_hostname = arena(found.host)
                    config.collector_endpoint = arena(zipkin.path)
                    config.collector_endpoint_version = .HTTP_JSON
                    config.set(trace_id_128bit: true)
                    config.shared_span_context = arena.bool(false)
                })
        case .openTelemetry(let telemetry):
            return made(
                "envoy.tracers.opentelemetry",
                arena.make(OpenTelemetryConfig.self) { config in
                    if !proxy.canonicalName.isEmpty {
                        config.service_name = arena("\(proxy.canonicalName).\(proxy.namespace)")
                    }
                    guard let http = telemetry.http else {
                        config.grpc_service = arena.make {
                            $0.set(
                                envoy_grpc: arena.make {
                                    $0.cluster_name = arena(found.cluster)
                                    $0.authority = arena(found.host)
                                })
                        }
                        return
                    }
                    config.http_service = arena.make { service in
                        service.http_uri = arena.make {
                            $0.uri = arena("http://\(found.host)\(http.path)")
                            $0.set(cluster: arena(found.cluster))
                            $0.timeout = arena.duration(http.timeout ?? .seconds(5))
                        }
                        (service.n_request_headers_to_add, service.request_headers_to_add) = arena.list(
                            http.headers.map { header in
                                arena.make(HeaderValueOption.self) { option in
                                    option.header = arena.make {
                                        ($0.key, $0.value) = (arena(header.name), arena(header.value))
                                    }
                                    option.append_action = .OVERWRITE_IF_EXISTS_OR_ADD
                                }
                            })
                    }
                })
        case .authorization, .fileLog, .httpLog, .streamLog, .prometheus: return nil
        }
    }

    private func tag(_ name: String, _ tag: Istio.Tracing.Tag) -> UnsafeMutablePointer<CustomTag> {
        arena.make { custom in
            custom.tag = arena(name)
            switch tag {
            case .literal(let text): custom.set(literal: arena.make { $0.value = arena(text) })
            case .environment(let name, let standard):
                custom.set(
                    environment: arena.make {
                        ($0.name, $0.default_value) = (arena(name), arena(standard ?? ""))
                    })
            case .header(let name, let standard):
                custom.set(
                    request_header: arena.make {
                        ($0.name, $0.default_value) = (arena(name), arena(standard ?? ""))
                    })
            case .format(let format): custom.set(value: arena(format))
            }
        }
    }
}

extension ProxyClass {
    /// What people call the workload. Source: Istio, canonical service.
    var canonicalName: String {
        Self.nameLabels.lazy.compactMap { labels[$0] }.first ?? ""
    }

    /// The first that is there names the workload.
    static let nameLabels = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]

    var canonicalRevision: String {
        labels["service.istio.io/canonical-revision"] ?? labels["app.kubernetes.io/version"] ?? labels["version"]
            ?? "latest"
    }
}
