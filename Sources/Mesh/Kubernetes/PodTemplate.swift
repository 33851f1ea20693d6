extension Kubernetes {
    /// What a Deployment's template or a Pod says of a workload.
    public struct PodTemplate: Hashable, Sendable {
        public var labels: [String: String]
        public var annotations: [String: String]
        /// `default` where none is written.
        public var serviceAccount: String
        public var ports: [ContainerPort]
        public var hostname: String?
        public var subdomain: String?
        /// Of the first container that has one.
        public var readiness: Probe?

        /// The number that a Service's target port means here; nil if no container has a port of that name.
        public func port(_ target: IntOrString) -> Int? {
            switch target {
            case .number(let number): number
            case .text(let name): ports.first { $0.name == name }?.port
            }
        }
    }

    public struct ContainerPort: Hashable, Sendable, Codable {
        public var name: String?
        public var port: Int
        public var transport: ServicePort.Transport

        public init(name: String? = nil, port: Int, transport: ServicePort.Transport = .tcp) {
            self.name = name
            self.port = port
            self.transport = transport
        }
    }

    /// A Deployment: an expected workload, until its proxies connect. Source: Kubernetes, apps/v1 Deployment.
    public struct Deployment: Hashable, Sendable {
        /// How many proxies to expect; Kubernetes says 1.
        public var replicas: Int
        public var selector: LabelSelector
        public var template: PodTemplate
    }

    /// A Pod. Source: Kubernetes, core/v1 Pod.
    public struct Pod: Hashable, Sendable {
        public var serviceAccount: String
        public var ports: [ContainerPort]
        public var hostname: String?
        public var subdomain: String?
        /// Of the first container that has one.
        public var readiness: Probe?
    }

    /// Labels that must be equal, and rules. Source: Kubernetes, meta/v1 LabelSelector.
    public struct LabelSelector: Hashable, Sendable {
        public struct Requirement: Hashable, Sendable {
            public enum Operation: String, NamedValue {
                case isIn = "In"
                case isNotIn = "NotIn"
                case exists = "Exists"
                case doesNotExist = "DoesNotExist"
            }

            public var key: String
            public var operation: Operation
            public var values: [String]
        }

        public var matchLabels: [String: String]
        public var matchExpressions: [Requirement]

        /// An empty one selects everything.
        public var isEmpty: Bool { matchLabels.isEmpty && matchExpressions.isEmpty }

        public func selects(_ labels: [String: String]) -> Bool {
            matchLabels.allSatisfy { labels[$0.key] == $0.value }
                && matchExpressions.allSatisfy { requirement in
                    let value = labels[requirement.key]
                    return switch requirement.operation {
                    case .isIn: value.map { requirement.values.contains($0) } ?? false
                    case .isNotIn: value.map { !requirement.values.contains($0) } ?? true
                    case .exists: value != nil
                    case .doesNotExist: value == nil
                    }
                }
        }
    }
}

extension Kubernetes.LabelSelector: ObjectPart {
    init(_ fields: inout ObjectFields) {
        matchLabels = fields.map("matchLabels", keys: .labelKey, values: .labelValue)
        matchExpressions = fields.list("matchExpressions")
    }
}

extension Kubernetes.LabelSelector.Requirement: ObjectPart {
    init(_ fields: inout ObjectFields) {
        key = fields.requiredText("key", .labelKey)
        operation = fields.required("operator", .exists)
        values = fields.texts("values", .labelValue)
        switch operation {
        case .isIn, .isNotIn: if values.isEmpty, !fields.has("values") { fields.failMissing("values") }
        case .exists, .doesNotExist:
            if !values.isEmpty {
                fields.contradict("values", "\(operation.rawValue) takes no values", mend: "remove `values`")
            }
        }
    }
}

extension Kubernetes.ContainerPort: ObjectPart {
    init(_ fields: inout ObjectFields) {
        name = fields.text("name", .portName)
        port = fields.requiredPort("containerPort")
        transport = fields.value("protocol", default: .tcp)
        fields.ignore(["hostIP", "hostPort"])
    }
}

private struct Container: ObjectPart {
    var ports: [Kubernetes.ContainerPort]
    var readiness: Kubernetes.Probe?

    init(_ fields: inout ObjectFields) {
        _ = fields.requiredText("name", .label)
        ports = fields.list("ports")
        readiness = fields.optional("readinessProbe")
        fields.ignore(KubernetesFields.container)
    }
}

extension Kubernetes.Pod: ObjectPart {
    init(_ fields: inout ObjectFields) {
        let containers: [Container] = fields.list("containers", atLeastOne: true)
        let initContainers: [Container] = fields.list("initContainers")
        ports = (containers + initContainers).flatMap(\.ports)
        readiness = containers.lazy.compactMap(\.readiness).first
        let name = fields.text("serviceAccountName", .subdomain)
        let deprecatedName = fields.text("serviceAccount", .subdomain)
        if let name, let deprecatedName, name != deprecatedName {
            fields.contradict(
                "serviceAccount", "serviceAccountName says \(name)",
                mend: "remove `serviceAccount`, which is deprecated")
        }
        serviceAccount = [name, deprecatedName].compactMap { $0 }.first { !$0.isEmpty } ?? "default"
        hostname = fields.text("hostname", .label)
        subdomain = fields.text("subdomain", .label)
        fields.ignore(KubernetesFields.pod)
    }
}

extension Kubernetes.PodTemplate: ObjectPart {
    init(_ fields: inout ObjectFields) {
        let metadata: TemplateMetadata? = fields.optional("metadata")
        labels = metadata?.common.labels ?? [:]
        annotations = metadata?.common.annotations ?? [:]
        let pod: Kubernetes.Pod? = fields.optional("spec")
        if !fields.has("spec") { fields.failMissing("spec") }
        serviceAccount = pod?.serviceAccount ?? "default"
        ports = pod?.ports ?? []
        hostname = pod?.hostname
        subdomain = pod?.subdomain
        readiness = pod?.readiness
    }

    fileprivate init() {
        (labels, annotations, serviceAccount, ports) = ([:], [:], "default", [])
    }
}

extension Kubernetes.Deployment: ObjectPart {
    init(_ fields: inout ObjectFields) {
        replicas = fields.int("replicas", 0...1_000_000) ?? 1
        selector = fields.required("selector", Kubernetes.LabelSelector(matchLabels: [:], matchExpressions: []))
        template = fields.required("template", Kubernetes.PodTemplate())
        fields.ignore(KubernetesFields.deployment)
        if fields.has("selector"), fields.has("template"), fields.place.log.hasRoom {
            fields.check(
                !selector.isEmpty || !selector.matchLabels.isEmpty, "selector", "it selects everything",
                mend: "write matchLabels")
            fields.check(
                selector.selects(template.labels), "selector", "it does not select the template's labels",
                mend: "make spec.template.metadata.labels and spec.selector.matchLabels agree")
        }
    }
}
