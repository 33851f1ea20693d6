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
