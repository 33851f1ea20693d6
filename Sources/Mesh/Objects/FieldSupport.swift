/// Which fields of each kind are understood, and which of those nothing acts on. A field is in one of four classes:
///
/// - **acted on**: everything that is not below;
/// - **unsupported**: read and checked, and then nothing acts on it: its user sees a warning with the reason;
/// - **ignored by design**: legal Kubernetes that means nothing to a mesh (``KubernetesFields``, ``ObjectMetadata``,
///   `status`): no warning, and what is below it is not looked at;
/// - **unknown**: an error.
public enum FieldSupport {
    private static let zoneAwareness =
        "proxies share by zone only if their bootstrap names the cluster that they are in; write `localityLbSetting`"

    /// Values that are understood and not acted on, by kind.
    static func unsupportedValues(of body: ObjectBody) -> [(path: String, words: String, mend: String)] {
        switch body {
        case .service(let service) where service.isLocalOnly:
            [
                (
                    "spec.internalTrafficPolicy",
                    "proxies do not keep calls on their own node: `Local` is as `Cluster`",
                    "write `trafficDistribution: PreferSameZone`, or remove it"
                )
            ]
        case .pod(let pod): callProbe(pod.readiness, "spec.containers[].readinessProbe")
        case .deployment(let deployment):
            callProbe(deployment.template.readiness, "spec.template.spec.containers[].readinessProbe")
        case .workloadGroup(let group): callProbe(group.probe, "spec.probe")
        default: []
        }
    }

    private static func callProbe(
        _ probe: Kubernetes.Probe?, _ path: String
    ) -> [(path: String, words: String, mend: String)] {
        guard case .grpc? = probe?.check else { return [] }
        return [
            (
                path + ".grpc", "proxies see whether the port takes connections, and ask no health service",
                "write `tcpSocket`, or know that it is as that"
            )
        ]
    }

    private static func probe(_ path: String) -> [String: String] {
        [
            "\(path).exec": "proxies run no commands",
            "\(path).initialDelaySeconds": "checks begin when the proxy is there; write `failureThreshold`",
        ]
    }

    /// A path is dotted, with `[]` for each element of a list and `*` for each key of a mapping.
    static let table: [ObjectKind: [String: String]] = [
        .gateway: [
            "spec.servers.[].defaultEndpoint": "gateways route by VirtualService",
            "spec.servers.[].port.targetPort": "it is deprecated: gateways listen on `number`",
            "spec.servers.[].tls.verifyCertificateSpki": "gateways verify names, not keys",
            "spec.servers.[].tls.verifyCertificateHash": "gateways verify names, not hashes",
        ],
        .service: [
            "spec.sessionAffinityConfig": "a client keeps its endpoint as long as the endpoints are the same"
        ],
        .destinationRule: [
            "spec.trafficPolicy.tunnel": "no CONNECT tunnels are made",
            "spec.subsets.[].trafficPolicy.tunnel": "no CONNECT tunnels are made",
            "spec.trafficPolicy.retryBudget.budgetInterval": "a budget is a share of the requests under way",
            "spec.subsets.[].trafficPolicy.retryBudget.budgetInterval":
                "a budget is a share of the requests under way",
            "spec.trafficPolicy.loadBalancer.zoneAwareLbSetting": zoneAwareness,
            "spec.trafficPolicy.portLevelSettings.[].loadBalancer.zoneAwareLbSetting": zoneAwareness,
            "spec.subsets.[].trafficPolicy.loadBalancer.zoneAwareLbSetting": zoneAwareness,
        ],
        .serviceEntry: ["spec.endpoints.[].network": "all workloads are in one network"],
        .workloadEntry: ["spec.network": "all workloads are in one network"],
        .sidecar: [
            "spec.outboundTrafficPolicy.egressProxy": "write a VirtualService and a Gateway for an egress proxy",
            "spec.ingress.[].port.targetPort": "it is deprecated: write `defaultEndpoint`",
            "spec.egress.[].port.targetPort": "it is deprecated",
        ],
        .telemetry: [
            "spec.metrics": "the proxies' own statistics are what they are; see the access log",
            "spec.tracing.[].disableContextPropagation": "proxies pass on the trace that a request is part of",
        ],
        .workloadGroup: [
            "spec.template.network": "all workloads are in one network"
        ].merging(probe("spec.probe")) { own, _ in own },
        .pod: probe("spec.containers.[].readinessProbe"),
        .deployment: probe("spec.template.spec.containers.[].readinessProbe"),
        .proxyConfig: [
            "spec.image": "nobody injects proxies here",
            "spec.environmentVariables": "nobody injects proxies here",
            "spec.concurrency": "the one who starts the proxy sets its threads",
        ],
        .gatewayClass: ["spec.parametersRef": "this controller has no parameters"],
        .kubernetesGateway: [
            "spec.infrastructure.parametersRef": "this controller has no parameters",
            "spec.allowedListeners": "there are no ListenerSets here",
            "spec.defaultScope": "there are no default gateways here",
        ],
        .httpRoute: [
            "spec.useDefaultGateways": "there are no default gateways here",
            "spec.rules.[].filters.[].extensionRef": "this controller has no extensions; its requests fail",
            "spec.rules.[].backendRefs.[].filters.[].extensionRef":
                "this controller has no extensions; its requests fail",
            "spec.rules.[].filters.[].externalAuth": "write an AuthorizationPolicy; until then its requests fail",
            "spec.rules.[].sessionPersistence": "write a DestinationRule with `consistentHash`",
            "spec.rules.[].backendRefs.[].filters.[].requestMirror": "write it as a filter of the rule",
            "spec.rules.[].backendRefs.[].filters.[].requestRedirect": "write it as a filter of the rule",
            "spec.rules.[].backendRefs.[].filters.[].urlRewrite": "write it as a filter of the rule",
            "spec.rules.[].backendRefs.[].filters.[].cors": "write it as a filter of the rule",
            "spec.rules.[].backendRefs.[].filters.[].externalAuth": "write an AuthorizationPolicy",
        ],
        .grpcRoute: [
            "spec.useDefaultGateways": "there are no default gateways here",
            "spec.rules.[].filters.[].extensionRef": "this controller has no extensions; its requests fail",
            "spec.rules.[].backendRefs.[].filters.[].extensionRef":
                "this controller has no extensions; its requests fail",
            "spec.rules.[].filters.[].externalAuth": "write an AuthorizationPolicy; until then its requests fail",
            "spec.rules.[].sessionPersistence": "write a DestinationRule with `consistentHash`",
            "spec.rules.[].backendRefs.[].filters.[].requestMirror": "write it as a filter of the rule",
            "spec.rules.[].backendRefs.[].filters.[].externalAuth": "write an AuthorizationPolicy",
        ],
        .tlsRoute: ["spec.useDefaultGateways": "there are no default gateways here"],
        .tcpRoute: ["spec.useDefaultGateways": "there are no default gateways here"],
        .backendTLSPolicy: ["spec.options": "this controller has no options"],
    ]

    private static let parsed = table.mapValues { paths in
        paths.sorted { $0.key < $1.key }.map { ($0.key.split(separator: ".").map(String.init), $0.value) }
    }

    /// Paths as steps, sorted, each with the reason.
    static func unsupported(in kind: ObjectKind) -> [(path: [String], reason: String)] { parsed[kind] ?? [] }

    /// The fields of a kind that are read and that nothing acts on, as dotted paths with the reason. For the manual.
    public static func unsupportedFields(of kind: ObjectKind) -> [(path: String, reason: String)] {
        (table[kind] ?? [:]).sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }
}
