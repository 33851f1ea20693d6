import Addresses

extension GatewayAPI {
    public struct GatewayClass: Hashable, Sendable {
        public var controllerName: String
        public var description: String?

        /// The controller that this program is.
        public static let ours = "martinet.dev/gateway-controller"
        /// Class names that mean this program though no GatewayClass is there: files of users of Istio work unchanged.
        public static let builtInClasses = ["martinet", "istio"]
    }

    public struct Gateway: Hashable, Sendable {
        public var className: String
        public var listeners: [Listener]
        public var addresses: [Address]
        /// Put on the gateway's workload.
        public var labels: [String: String]
        public var annotations: [String: String]
        /// Client certificate that the gateway presents to backends.
        public var backendCertificate: ObjectReference?
        public var clientValidation: ClientValidation?
        public var clientValidationByPort: [Int: ClientValidation]
    }

    public struct Address: Hashable, Sendable {
        public var type: String
        public var value: String
    }

    public struct Listener: Hashable, Sendable {
        public enum Transport: String, NamedValue {
            case http = "HTTP"
            case https = "HTTPS"
            case tls = "TLS"
            case tcp = "TCP"
            case udp = "UDP"
        }

        public enum TLSMode: String, NamedValue {
            case terminate = "Terminate"
            case passthrough = "Passthrough"
        }

        public enum From: String, NamedValue {
            case all = "All"
            case selector = "Selector"
            case same = "Same"
            case none = "None"
        }

        public struct TLS: Hashable, Sendable {
            public var mode: TLSMode
            public var certificates: [ObjectReference]
            public var options: [String: String]
        }

        public struct RouteKind: Hashable, Sendable {
            public var group: String
            public var kind: String
        }

        public var name: String
        /// Nil is all.
        public var hostname: String?
        public var port: Int
        public var transport: Transport
        public var tls: TLS?
        /// Namespaces whose routes may hang on it.
        public var from: From
        public var namespaceSelector: Kubernetes.LabelSelector?
        /// Empty: those that its protocol takes.
        public var kinds: [RouteKind]
    }

    /// What clients must present.
    public struct ClientValidation: Hashable, Sendable {
        public enum Mode: String, NamedValue {
            case validOnly = "AllowValidOnly"
            case insecureFallback = "AllowInsecureFallback"
        }

        public var roots: [ObjectReference]
        public var mode: Mode
    }
}

private struct ParametersReference: ObjectPart {
    init(_ fields: inout ObjectFields) {
        let _: String = fields.required("group", "")
        _ = fields.requiredText("kind")
        _ = fields.requiredText("name")
        _ = fields.text("namespace", .label)
    }
}

extension GatewayAPI.GatewayClass: ObjectPart {
    init(_ fields: inout ObjectFields) {
        controllerName = fields.requiredText("controllerName", Self.controllerRule)
        description = fields.optional("description")
        let _: ParametersReference? = fields.optional("parametersRef")
    }

    private static let controllerRule = TextRule(mend: "write DOMAIN/PATH") { text in
        text.contains("/") && isHostName(text.prefix { $0 != "/" }) ? nil : "`\(text.prefix(60))` is no controller"
    }
}

extension GatewayAPI.Gateway: ObjectPart {
    private struct Infrastructure: ObjectPart {
        var labels: [String: String]
        var annotations: [String: String]
        init(_ fields: inout ObjectFields) {
            labels = fields.map("labels", keys: .labelKey, values: .labelValue)
            annotations = fields.map("annotations", keys: .labelKey)
            let _: ParametersReference? = fields.optional("parametersRef")
        }
    }

    private struct TLS: ObjectPart {
        struct Backend: ObjectPart {
            var certificate: SecretReference?
            init(_ fields: inout ObjectFields) { certificate = fields.optional("clientCertificateRef") }
        }

        struct Client: ObjectPart {
            var validation: GatewayAPI.ClientValidation?
            init(_ fields: inout ObjectFields) { validation = fields.optional("validation") }
        }

        struct ByPort: ObjectPart {
            var port: Int
            var tls: Client?
            init(_ fields: inout ObjectFields) {
                port = fields.requiredPort("port")
                tls = fields.optional("tls")
            }
        }

        struct Frontend: ObjectPart {
            var standard: Client?
            var perPort: [ByPort]
            init(_ fields: inout ObjectFields) {
                standard = fields.optional("default")
                perPort = fields.list("perPort")
            }
        }

        var backend: Backend?
        var frontend: Frontend?
        init(_ fields: inout ObjectFields) {
            backend = fields.optional("backend")
            frontend = fields.optional("frontend")
        }
    }

    init(_ fields: inout ObjectFields) {
        className = fields.requiredText("gatewayClassName", .subdomain)
        listeners = fields.list("listeners", atLeastOne: true)
        addresses = fields.list("addresses")
        let infrastructure: Infrastructure? = fields.optional("infrastructure")
        labels = infrastructure?.labels ?? [:]
        annotations = infrastructure?.annotations ?? [:]
        let tls: TLS? = fields.optional("tls")
        backendCertificate = tls?.backend?.certificate?.object
        clientValidation = tls?.frontend?.standard?.validation
        clientValidationByPort = Dictionary(
            (tls?.frontend?.perPort ?? []).compactMap { entry in entry.tls?.validation.map { (entry.port, $0) } },
            uniquingKeysWith: { first, _ in first })
        let _: AnyDocument? = fields.optional("allowedListeners")
        let _: String? = fields.optional("defaultScope")
        checkListeners(fields)
    }

    private func checkListeners(_ fields: ObjectFields) {
        for (index, listener) in listeners.enumerated() {
            let place = fields.place.field("listeners").index(index)
            for other in listeners[..<index] {
                if other.name == listener.name {
                    place.field("name").fail(
                        .duplicateName, at: fields.position(of: "listeners", index),
                        "there is another listener `\(listener.name)`", mend: "give each its own name")
                }
                let isSamePlace = other.port == listener.port && other.hostname == listener.hostname
                if isSamePlace, (other.transport == .udp) == (listener.transport == .udp),
                    other.transport == listener.transport || other.hostname == nil
                {
                    place.fail(
                        .contradiction, at: fields.position(of: "listeners", index),
                        "the listener `\(other.name)` has the same port and host name", mend: "change one of them")
                }
            }
        }
    }
}

extension GatewayAPI.Address: ObjectPart {
    init(_ fields: inout ObjectFields) {
        type = fields.value("type", default: "IPAddress")
        value = fields.value("value", default: "")
    }
}

extension GatewayAPI.Listener: ObjectPart {
    private struct Allowed: ObjectPart {
        struct Namespaces: ObjectPart {
            var from: GatewayAPI.Listener.From
            var selector: Kubernetes.LabelSelector?
            init(_ fields: inout ObjectFields) {
                from = fields.value("from", default: .same)
                selector = fields.optional("selector")
                if from == .selector, !fields.has("selector") { fields.failMissing("selector") }
            }
        }

        var namespaces: Namespaces?
        var kinds: [GatewayAPI.Listener.RouteKind]
        init(_ fields: inout ObjectFields) {
            namespaces = fields.optional("namespaces")
            kinds = fields.list("kinds")
        }
    }

    init(_ fields: inout ObjectFields) {
        name = fields.requiredText("name", .subdomain)
        hostname = fields.text("hostname", .gatewayHostname)
        port = fields.requiredPort("port")
        transport = fields.required("protocol", .http)
        tls = fields.optional("tls")
        let allowed: Allowed? = fields.optional("allowedRoutes")
        from = allowed?.namespaces?.from ?? .same
        namespaceSelector = allowed?.namespaces?.selector
        kinds = allowed?.kinds ?? []
        switch transport {
        case .https, .tls:
            if !fields.has("tls") { fields.failMissing("tls") }
            if transport == .https, tls?.mode == .passthrough {
                fields.contradict("tls", "HTTPS is terminated here", mend: "write protocol: TLS to pass it through")
            }
        case .http, .tcp, .udp:
            if fields.has("tls") {
                fields.contradict("tls", "\(transport.rawValue) has no TLS", mend: "write protocol: HTTPS or TLS")
            }
            if transport != .http, fields.has("hostname") {
                fields.contradict("hostname", "\(transport.rawValue) has no host names", mend: "remove it")
            }
            if transport == .udp {
                fields.fail(.invalidValue, "protocol", "UDP is not served here", mend: "write TCP, TLS, HTTP or HTTPS")
            }
        }
    }
}

extension GatewayAPI.Listener.TLS: ObjectPart {
    init(_ fields: inout ObjectFields) {
        mode = fields.value("mode", default: .terminate)
        let references: [SecretReference] = fields.list("certificateRefs")
        certificates = references.map(\.object)
        options = fields.map("options")
        if mode == .terminate, certificates.isEmpty, options.isEmpty, !fields.has("certificateRefs") {
            fields.failMissing("certificateRefs")
        }
    }
}

extension GatewayAPI.Listener.RouteKind: ObjectPart {
    init(_ fields: inout ObjectFields) {
        group = fields.value("group", default: GatewayAPI.group)
        kind = fields.requiredText("kind")
    }
}

extension GatewayAPI.ClientValidation: ObjectPart {
    private struct Reference: ObjectPart {
        var object: GatewayAPI.ObjectReference
        init(_ fields: inout ObjectFields) {
            object = GatewayAPI.ObjectReference(
                object: &fields, standardGroup: "", standardKind: "", takesPort: false)
        }
    }

    init(_ fields: inout ObjectFields) {
        let references: [Reference] = fields.list("caCertificateRefs", atLeastOne: true)
        roots = references.map(\.object)
        mode = fields.value("mode", default: .validOnly)
    }
}
