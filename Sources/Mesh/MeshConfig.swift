import Documents

/// What holds for the whole mesh unless an object says otherwise: one small object of our own.
///
/// ```yaml
/// apiVersion: martinet.dev/v1
/// kind: MeshConfig
/// metadata:
///   name: default
/// spec:
///   mtls: STRICT
///   outboundTrafficPolicy: REGISTRY_ONLY
///   isolateNamespaces: true
///   extensionProviders:
///   - name: opa
///     envoyExtAuthzGrpc: { service: opa.policy.svc.cluster.local, port: 9191 }
/// ```
public struct MeshConfig: Hashable, Sendable {
    public enum Outbound: String, NamedValue {
        /// What no object names goes where the client meant it to.
        case allowAny = "ALLOW_ANY"
        /// What no object names is refused.
        case registryOnly = "REGISTRY_ONLY"
    }

    public struct AccessLog: Hashable, Sendable {
        /// A path on the proxy's machine, `/dev/stdout` mostly; nil writes none there.
        public var file: String?
        /// Envoy's format string; nil is Envoy's own.
        public var format: String?
        /// Whether proxies send their logs to the control plane.
        public var isSentToControlPlane: Bool

        public init(file: String? = nil, format: String? = nil, isSentToControlPlane: Bool = true) {
            self.file = file
            self.format = format
            self.isSentToControlPlane = isSentToControlPlane
        }
    }

    /// The only name that it may have.
    public static let name = "default"
    public static let key = ObjectKey(.meshConfig, "", name)

    /// What sidecars take where no PeerAuthentication says it.
    public var mutualTLS: Istio.PeerAuthentication.Mode
    public var outbound: Outbound
    /// Whether workloads take calls from their own namespace only, unless a policy allows more.
    public var isolatesNamespaces: Bool
    public var accessLog: AccessLog
    /// Percent of requests of which a trace is taken.
    public var tracingSampling: Double
    /// The namespace whose objects hold for all.
    public var rootNamespace: String
    /// Services outside of the proxies, which policies and Telemetry objects name. Each name once.
    public var providers: [ExtensionProvider] = []
    /// Names of ``providers`` that proxies log to where no Telemetry says it.
    public var loggingProviders: [String] = []
    /// The name of the one that proxies send spans to where no Telemetry says it; nil: what their bootstrap names.
    public var tracingProvider: String?

    /// What holds where nobody wrote one.
    public static let standard = MeshConfig()

    public init(
        mutualTLS: Istio.PeerAuthentication.Mode = .permissive, outbound: Outbound = .allowAny,
        isolatesNamespaces: Bool = false,
        accessLog: AccessLog = AccessLog(), tracingSampling: Double = 1, rootNamespace: String = "istio-system"
    ) {
        self.mutualTLS = mutualTLS
        self.outbound = outbound
        self.isolatesNamespaces = isolatesNamespaces
        self.accessLog = accessLog
        self.tracingSampling = tracingSampling
        self.rootNamespace = rootNamespace
    }

    public func provider(_ name: String) -> ExtensionProvider? { providers.first { $0.name == name } }
}

extension MeshConfig: ObjectPart {
    init(_ fields: inout ObjectFields) {
        self.init()
        mutualTLS = fields.value("mtls", default: mutualTLS)
        fields.check(mutualTLS != .unset, "mtls", "UNSET has nothing to inherit from here", mend: "write PERMISSIVE")
        outbound = fields.value("outboundTrafficPolicy", default: outbound)
        isolatesNamespaces = fields.value("isolateNamespaces", default: isolatesNamespaces)
        accessLog = fields.value("accessLog", default: accessLog)
        tracingSampling = fields.number("tracingSampling", 0...100) ?? tracingSampling
        rootNamespace = fields.text("rootNamespace", .label) ?? rootNamespace
        providers = fields.list("extensionProviders")
        for (index, provider) in providers.enumerated() {
            fields.check(
                !providers.prefix(index).contains { $0.name == provider.name }
                    && !Istio.AccessLogging.ownProviders.contains(provider.name), "extensionProviders",
                "the name `\(excerpt(provider.name))` is taken", mend: "give each provider a name of its own")
        }
        let standard: DefaultProviders? = fields.optional("defaultProviders")
        (loggingProviders, tracingProvider) = (standard?.accessLogging ?? [], standard?.tracing.first)
        for name in loggingProviders + (standard?.tracing ?? []) {
            fields.check(
                provider(name) != nil || Istio.AccessLogging.ownProviders.contains(name), "defaultProviders",
                "there is no provider `\(excerpt(name))`", mend: "add it to `extensionProviders`")
        }
    }
}

/// As Istio has it.
private struct DefaultProviders: ObjectPart {
    var accessLogging: [String]
    var tracing: [String]

    init(_ fields: inout ObjectFields) {
        accessLogging = fields.texts("accessLogging", .notEmpty)
        tracing = fields.texts("tracing", .notEmpty)
        fields.check(tracing.count <= 1, "tracing", "a proxy has one tracer", mend: "name one")
    }
}

extension MeshConfig.AccessLog: ObjectPart {
    init(_ fields: inout ObjectFields) {
        file = fields.text("file", .path)
        format = fields.text("format", .notEmpty)
        isSentToControlPlane = fields.value("controlPlane", default: true)
        if format != nil, file == nil {
            fields.contradict("format", "there is no file for it", mend: "add `file:`")
        }
    }
}
