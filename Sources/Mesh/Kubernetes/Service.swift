import Addresses

extension Kubernetes {
    /// A Service: names for a set of endpoints. Source: Kubernetes, core/v1 Service.
    public struct Service: Hashable, Sendable {
        public enum Kind: String, NamedValue {
            case clusterIP = "ClusterIP"
            case nodePort = "NodePort"
            case loadBalancer = "LoadBalancer"
            case externalName = "ExternalName"
        }

        public enum Affinity: String, NamedValue {
            case none = "None"
            case clientIP = "ClientIP"
        }

        /// Where the traffic of a client prefers to stay.
        public enum Distribution: String, NamedValue {
            case preferClose = "PreferClose"
            case preferSameZone = "PreferSameZone"
            case preferSameNode = "PreferSameNode"
        }

        public var kind: Kind
        /// Its virtual addresses; empty where the cluster has given none yet, and for a headless one.
        public var clusterIPs: [String]
        /// Clients get the addresses of the endpoints themselves.
        public var isHeadless: Bool
        public var ports: [ServicePort]
        /// Labels of the workloads behind it; empty where its endpoints come from EndpointSlices alone.
        public var selector: [String: String]
        public var externalName: String?
        public var affinity: Affinity
        /// How long a client stays with an endpoint; Kubernetes says three hours.
        public var affinityTimeout: Duration
        public var publishesNotReadyAddresses: Bool
        public var distribution: Distribution?
        /// Endpoints on the client's own node only.
        public var isLocalOnly: Bool
    }

    public struct ServicePort: Hashable, Sendable {
        public enum Transport: String, NamedValue, Codable {
            case tcp = "TCP"
            case udp = "UDP"
            case sctp = "SCTP"
        }

        /// Empty for a Service's only port.
        public var name: String
        public var port: Int
        /// The workload's port, or its name there; nil is the same as `port`.
        public var targetPort: IntOrString?
        public var transport: Transport
        public var appProtocol: String?
        public var nodePort: Int?

        /// What it speaks, by `appProtocol` or the first part of its name; nil leaves it to be detected.
        /// Source: Istio, protocol selection.
        public var statedProtocol: PortProtocol? {
            if transport == .udp { return .udp }
            return appProtocol.flatMap { PortProtocol(appProtocol: $0) } ?? PortProtocol(portName: name)
        }
    }
}

extension Kubernetes.Service: ObjectPart {
    init(_ fields: inout ObjectFields) {
        kind = fields.value("type", default: .clusterIP)
        let address: String? = fields.text("clusterIP", Self.clusterAddress)
        let addresses = fields.texts("clusterIPs", Self.clusterAddress)
        isHeadless = address == "None" || addresses.first == "None"
        clusterIPs =
            isHeadless ? [] : addresses.isEmpty ? [address].compactMap { $0?.isEmpty == false ? $0 : nil } : addresses
        ports = fields.list("ports")
        selector = fields.map("selector", keys: .labelKey, values: .labelValue)
        externalName = fields.text("externalName", .hostName)
        affinity = fields.value("sessionAffinity", default: .none)
        let affinityConfig: AffinityConfig? = fields.optional("sessionAffinityConfig")
        affinityTimeout = affinityConfig?.clientIP?.timeout ?? .seconds(10_800)
        publishesNotReadyAddresses = fields.value("publishNotReadyAddresses", default: false)
        distribution = fields.optional("trafficDistribution")
        let policy: InternalPolicy = fields.value("internalTrafficPolicy", default: .cluster)
        isLocalOnly = policy == .local
        fields.ignore(KubernetesFields.service)
        if kind == .externalName {
            if externalName == nil, !fields.has("externalName") { fields.failMissing("externalName") }
        } else if !isHeadless {
            if !fields.has("ports") || (ports.isEmpty && fields.place.log.hasRoom && !fields.has("selector")) {
                fields.failMissing("ports")
            }
        }
        checkPorts(fields)
    }

    private static let clusterAddress = TextRule(mend: "write an address, or None for a headless Service") {
        $0.isEmpty || $0 == "None" || IPAddress($0) != nil ? nil : "`\($0.prefix(60))` is no address"
    }

    private enum InternalPolicy: String, NamedValue {
        case cluster = "Cluster"
        case local = "Local"
    }

    private struct AffinityConfig: ObjectPart {
        struct ClientIP: ObjectPart {
            var timeout: Duration?
            init(_ fields: inout ObjectFields) {
                timeout = fields.int("timeoutSeconds", 1...86_400).map { .seconds($0) }
            }
        }

        var clientIP: ClientIP?
        init(_ fields: inout ObjectFields) { clientIP = fields.optional("clientIP") }
    }

    private func checkPorts(_ fields: ObjectFields) {
        var names: Set<String> = []
        var numbers: Set<[String]> = []
        for (index, port) in ports.enumerated() {
            let place = fields.place.field("ports").index(index)
            if port.name.isEmpty && ports.count > 1 {
                place.fail(
                    .missingField, at: fields.position(of: "ports", index), "a Service with several ports names each",
                    mend: "add `name:`, like http-web")
            } else if !port.name.isEmpty, !names.insert(port.name).inserted {
                place.fail(
                    .duplicateName, at: fields.position(of: "ports", index), "there is another port `\(port.name)`",
                    mend: "give each its own name")
            }
            if !numbers.insert([String(port.port), port.transport.rawValue]).inserted {
                place.fail(
                    .contradiction, at: fields.position(of: "ports", index),
                    "there is another port \(port.port) for \(port.transport.rawValue)", mend: "keep one of them")
            }
        }
    }
}

extension Kubernetes.ServicePort: ObjectPart {
    init(_ fields: inout ObjectFields) {
        name = fields.text("name", .portName) ?? ""
        port = fields.requiredPort("port")
        targetPort = fields.portOrName("targetPort")
        transport = fields.value("protocol", default: .tcp)
        appProtocol = fields.text("appProtocol", .labelKey)
        nodePort = fields.int("nodePort", 0...65_535)
    }
}

/// What is spoken on a port.
public enum PortProtocol: String, Hashable, Sendable, CaseIterable {
    case http, http2, grpc, grpcWeb, https, tls, tcp, mongo, mysql, redis, udp
    /// HTTP/1.1 that may upgrade to a WebSocket; served as HTTP.
    case webSocket

    public var isHTTP: Bool {
        switch self {
        case .http, .http2, .grpc, .grpcWeb, .webSocket: true
        case .https, .tls, .tcp, .mongo, .mysql, .redis, .udp: false
        }
    }

    /// Whether the upstream speaks HTTP/2.
    public var isHTTP2: Bool { self == .http2 || self == .grpc || self == .grpcWeb }

    /// Whether the client's TLS reaches the workload untouched.
    public var isTLS: Bool { self == .https || self == .tls }

    /// `http`, `http-web`, `grpc-web-api`: the part before the first dash, `grpc-web` as a whole.
    public init?(portName name: String) {
        if name == "grpc-web" || name.hasPrefix("grpc-web-") {
            self = .grpcWeb
            return
        }
        self.init(word: String(name.prefix { $0 != "-" }))
    }

    /// `http`, `kubernetes.io/h2c`. Source: Kubernetes, application protocols.
    public init?(appProtocol text: String) {
        switch text.lowercased() {
        case "kubernetes.io/h2c": self = .http2
        case "kubernetes.io/ws": self = .webSocket
        case "kubernetes.io/wss": self = .https
        case let word: self.init(word: word)
        }
    }

    /// Istio's names, in any case: `HTTP`, `HTTP2`, `GRPC-Web`, `TLS`.
    public init?(word: String) {
        switch word.lowercased() {
        case "http", "http1": self = .http
        case "http2", "h2c": self = .http2
        case "grpc": self = .grpc
        case "grpc-web": self = .grpcWeb
        case "https": self = .https
        case "tls": self = .tls
        case "tcp": self = .tcp
        case "mongo": self = .mongo
        case "mysql": self = .mysql
        case "redis": self = .redis
        case "udp": self = .udp
        default: return nil
        }
    }
}
