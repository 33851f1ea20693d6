import Addresses

extension Kubernetes {
    /// Addresses of a Service. Source: Kubernetes, discovery.k8s.io/v1 EndpointSlice; its fields are not in a spec.
    public struct EndpointSlice: Hashable, Sendable {
        public enum AddressType: String, NamedValue {
            case ipv4 = "IPv4"
            case ipv6 = "IPv6"
            case fqdn = "FQDN"
        }

        public struct Endpoint: Hashable, Sendable {
            public var addresses: [String]
            /// Not written means ready.
            public var isReady: Bool
            public var isServing: Bool
            public var isTerminating: Bool
            public var hostname: String?
            public var nodeName: String?
            public var zone: String?
            /// The Pod that it is, if the cluster says so.
            public var pod: String?
        }

        public struct Port: Hashable, Sendable {
            /// The name of the Service's port.
            public var name: String
            /// Nil means any port.
            public var port: Int?
            public var transport: ServicePort.Transport
            public var appProtocol: String?
        }

        /// The label that names the Service of a slice.
        public static let serviceLabel = "kubernetes.io/service-name"

        public var addressType: AddressType
        public var endpoints: [Endpoint]
        public var ports: [Port]
    }

    public struct Namespace: Hashable, Sendable {}

    public struct ServiceAccount: Hashable, Sendable {}

    /// A Secret: certificates for gateways, and whatever else. Descriptions leave its content out.
    public struct Secret: Hashable, Sendable {
        public var type: String
        /// Bytes by key, what `stringData` says on top.
        public var content: [String: [UInt8]]

        public static let tlsType = "kubernetes.io/tls"

        /// PEM certificate chain and key.
        public var certificate: [UInt8]? { content["tls.crt"] ?? content["cert"] }
        public var privateKey: [UInt8]? { content["tls.key"] ?? content["key"] }
        /// PEM roots to verify clients with.
        public var roots: [UInt8]? { content["ca.crt"] ?? content["cacert"] }
    }
}

extension Kubernetes.Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    public var description: String {
        "Secret of \(content.keys.sorted().joined(separator: ", ")) (\(type))"
    }

    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: ["type": type, "keys": content.keys.sorted()]) }
}

extension Kubernetes.EndpointSlice: ObjectPart {
    init(_ fields: inout ObjectFields) {
        addressType = fields.required("addressType", .ipv4)
        endpoints = fields.list("endpoints")
        ports = fields.list("ports")
        for (index, endpoint) in endpoints.enumerated() {
            for (number, address) in endpoint.addresses.enumerated() where !fits(address) {
                fields.place.field("endpoints").index(index).field("addresses").index(number).fail(
                    .invalidValue, at: fields.position(of: "endpoints", index),
                    "`\(address.prefix(60))` is no address of type \(addressType.rawValue)",
                    mend: "correct it, or addressType")
            }
        }
    }

    private func fits(_ address: String) -> Bool {
        switch addressType {
        case .ipv4: IPAddress(address)?.isIPv4 == true
        case .ipv6: IPAddress(address)?.isIPv4 == false
        case .fqdn: isHostName(address[...])
        }
    }
}

extension Kubernetes.EndpointSlice.Endpoint: ObjectPart {
    private struct Conditions: ObjectPart {
        var ready: Bool?
        var serving: Bool?
        var terminating: Bool?

        init(_ fields: inout ObjectFields) {
            ready = fields.optional("ready")
            serving = fields.optional("serving")
            terminating = fields.optional("terminating")
        }
    }

    private struct Reference: ObjectPart {
        var kind: String?
        var name: String?

        init(_ fields: inout ObjectFields) {
            kind = fields.optional("kind")
            name = fields.optional("name")
            fields.ignore(["namespace", "uid", "apiVersion", "resourceVersion", "fieldPath"])
        }
    }

    init(_ fields: inout ObjectFields) {
        addresses = fields.list("addresses", atLeastOne: true)
        let conditions: Conditions? = fields.optional("conditions")
        isReady = conditions?.ready ?? true
        isServing = conditions?.serving ?? isReady
        isTerminating = conditions?.terminating ?? false
        hostname = fields.text("hostname", .label)
        nodeName = fields.optional("nodeName")
        zone = fields.optional("zone")
        let target: Reference? = fields.optional("targetRef")
        pod = target?.kind == "Pod" ? target?.name : nil
        fields.ignore(KubernetesFields.endpoint + ["hints"])
    }
}

extension Kubernetes.EndpointSlice.Port: ObjectPart {
    init(_ fields: inout ObjectFields) {
        name = fields.value("name", default: "")
        port = fields.port("port")
        transport = fields.value("protocol", default: .tcp)
        appProtocol = fields.text("appProtocol", .labelKey)
    }
}

extension Kubernetes.Namespace {
    init(_ fields: inout ObjectFields) { fields.ignore(["spec"]) }
}

extension Kubernetes.ServiceAccount {
    init(_ fields: inout ObjectFields) { fields.ignore(KubernetesFields.serviceAccount) }
}
