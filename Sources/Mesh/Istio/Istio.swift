/// The objects of Istio's API, field for field. Source: istio.io/api, networking v1, security v1, telemetry v1.
public enum Istio {
    /// Workloads by their labels; without labels, all of the namespace.
    public struct WorkloadSelector: Hashable, Sendable {
        public var labels: [String: String]

        public init(labels: [String: String]) {
            self.labels = labels
        }

        public func selects(_ labels: [String: String]) -> Bool {
            self.labels.allSatisfy { labels[$0.key] == $0.value }
        }
    }

    /// Another object that a policy is for.
    public struct TargetReference: Hashable, Sendable {
        public var group: String
        public var kind: String
        public var name: String
        public var namespace: String?

        /// A Gateway of the Gateway API: others need a waypoint, and there are none here.
        public var isGateway: Bool { group == "gateway.networking.k8s.io" && kind == "Gateway" }
    }

    /// What a policy is for: workloads by labels, other objects, or (neither) all of its namespace.
    public struct PolicyScope: Hashable, Sendable {
        public var selector: WorkloadSelector?
        public var targets: [TargetReference]

        public init(selector: WorkloadSelector? = nil, targets: [TargetReference] = []) {
            self.selector = selector
            self.targets = targets
        }

        /// All of the namespace, or in the root namespace all of the mesh.
        public var isWide: Bool { targets.isEmpty && selector?.labels.isEmpty ?? true }

        /// The label that says to which Gateway of the Gateway API a proxy belongs. Source: Gateway API, GEP-1762.
        public static let gatewayNameLabel = "gateway.networking.k8s.io/gateway-name"

        /// Whether it is for a workload with these labels: by them, or as a proxy of a Gateway that it names.
        public func selects(_ labels: [String: String]) -> Bool {
            if targets.isEmpty { return selector?.selects(labels) ?? true }
            return targets.contains { $0.isGateway && labels[Self.gatewayNameLabel] == $0.name }
        }
    }
}

/// A selector that calls its labels `labels`, as networking objects do.
struct NetworkingSelector: ObjectPart {
    var selector: Istio.WorkloadSelector

    init(_ fields: inout ObjectFields) {
        selector = Istio.WorkloadSelector(labels: fields.map("labels", keys: .labelKey, values: .labelValue))
    }
}

/// A selector that calls its labels `matchLabels`, as policies do.
extension Istio.WorkloadSelector: ObjectPart {
    init(_ fields: inout ObjectFields) {
        labels = fields.map("matchLabels", keys: .labelKey, values: .labelValue)
        fields.check(
            !labels.keys.contains { $0.contains("*") } && !labels.values.contains { $0.contains("*") }, "matchLabels",
            "labels have no wildcards", mend: "write whole labels")
    }
}

extension Istio.TargetReference: ObjectPart {
    init(_ fields: inout ObjectFields) {
        group = fields.value("group", default: "")
        kind = fields.requiredText("kind")
        name = fields.requiredText("name", .subdomain)
        namespace = fields.text("namespace", .label)
    }
}

extension Istio.PolicyScope {
    init(_ fields: inout ObjectFields) {
        selector = fields.optional("selector")
        let target: Istio.TargetReference? = fields.optional("targetRef")
        targets = fields.list("targetRefs") + [target].compactMap { $0 }
        fields.atMostOne("selector", "targetRef", "targetRefs")
        if targets.count > 16 {
            fields.fail(.tooMuch, "targetRefs", "\(targets.count) targets, 16 are allowed", mend: "write two policies")
        }
    }
}

extension ObjectFields {
    /// A `workloadSelector` or the like that holds `labels`.
    mutating func networkingSelector(_ name: String) -> Istio.WorkloadSelector? {
        let selector: NetworkingSelector? = optional(name)
        return selector?.selector
    }
}
