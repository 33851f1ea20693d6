import EnvoyAPI
import Mesh
import Protobuf

/// How a proxy takes part in traces. Where the bootstrap names no tracer, the decision of what is sampled travels on in
/// the request's id, and no span is sent.
struct TracingPlan: Hashable {
    /// Percent of requests that bring no decision.
    var sampling: Double
    var reportsSpans = true
    var tags: [String: Istio.Tracing.Tag] = [:]
    var usesRequestID = true
    var addsIstioTags = true
}

extension Translator {
    func tracingPlan(for proxy: ProxyClass, _ side: TrafficSide) -> TracingPlan {
        var plan = TracingPlan(sampling: mesh.config.tracingSampling)
        // Clients with different labels share what they have for calls: whose span it is, the proxy's name says.
        plan.addsIstioTags = side != .outbound
        for entry in telemetry(for: proxy).flatMap(\.tracing) where side.isCovered(by: entry.side) {
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
        labels["service.istio.io/canonical-name"] ?? labels["app.kubernetes.io/name"] ?? labels["app"] ?? ""
    }

    var canonicalRevision: String {
        labels["service.istio.io/canonical-revision"] ?? labels["app.kubernetes.io/version"] ?? labels["version"]
            ?? "latest"
    }
}
