import Addresses

extension Istio {
    /// A service that no Kubernetes Service tells of.
    public struct ServiceEntry: Hashable, Sendable {
        public enum Location: String, NamedValue {
            case external = "MESH_EXTERNAL"
            case `internal` = "MESH_INTERNAL"
        }

        public enum Resolution: String, NamedValue {
            /// To the address that the client meant.
            case none = "NONE"
            /// To the addresses of its endpoints.
            case fixed = "STATIC"
            case dns = "DNS"
            case dnsRoundRobin = "DNS_ROUND_ROBIN"
            /// Each host that a request names is looked up.
            case dynamicDNS = "DYNAMIC_DNS"
        }

        public struct Port: Hashable, Sendable {
            public var number: Int
            public var transport: PortProtocol
            public var name: String
            public var targetPort: Int?
        }

        public var hosts: [String]
        public var addresses: [AddressBlock]
        public var ports: [Port]
        public var location: Location
        public var resolution: Resolution
        public var endpoints: [WorkloadEntry]
        public var workloadSelector: WorkloadSelector?
        public var exportTo: [String]
        public var subjectAltNames: [String]
    }

    /// One workload outside of Kubernetes.
    public struct WorkloadEntry: Hashable, Sendable {
        /// An address, a DNS name or a `unix://` path; empty where the network's gateway stands for it.
        public var address: String
        /// Numbers by the names of the service's ports.
        public var ports: [String: Int]
        public var labels: [String: String]
        public var network: String?
        /// `region/zone/sub-zone`
        public var locality: String?
        /// 1 where none is written.
        public var weight: Int
        public var serviceAccount: String?
    }

    /// What its WorkloadEntries have in common.
    public struct WorkloadGroup: Hashable, Sendable {
        public var labels: [String: String]
        public var annotations: [String: String]
        public var template: WorkloadEntry
        public var probe: Kubernetes.Probe?
    }
}

extension Istio.ServiceEntry: ObjectPart {
    init(_ fields: inout ObjectFields) {
        hosts = fields.texts("hosts", .hostPattern, atLeastOne: true)
        addresses = fields.texts("addresses", .addressOrBlock).compactMap { AddressBlock($0) }
        ports = fields.list("ports")
        location = fields.value("location", default: .external)
        resolution = fields.value("resolution", default: .none)
        endpoints = fields.list("endpoints")
        workloadSelector = fields.networkingSelector("workloadSelector")
        exportTo = fields.texts("exportTo", .exportTarget)
        subjectAltNames = fields.texts("subjectAltNames", .notEmpty)
        fields.atMostOne("endpoints", "workloadSelector")
        fields.check(!hosts.contains("*"), "hosts", "`*` would be every host", mend: "write the hosts")
        checkPorts(fields)
        checkResolution(fields)
    }

    private func checkPorts(_ fields: ObjectFields) {
        let place = fields.place.field("ports")
        for (index, port) in ports.enumerated() {
            if ports[..<index].contains(where: { $0.number == port.number }) {
                place.index(index).fail(
                    .contradiction, at: fields.position(of: "ports", index), "there is another port \(port.number)",
                    mend: "keep one of them")
            } else if ports[..<index].contains(where: { $0.name == port.name && !port.name.isEmpty }) {
                place.index(index).field("name").fail(
                    .duplicateName, at: fields.position(of: "ports", index), "there is another port `\(port.name)`",
                    mend: "give each its own name")
            }
        }
    }

    private func checkResolution(_ fields: ObjectFields) {
        let wildcards = hosts.filter { $0.hasPrefix("*") }
        switch resolution {
        case .none:
            if fields.has("endpoints") {
                fields.contradict(
                    "endpoints", "resolution NONE uses no endpoints", mend: "write resolution: STATIC or DNS")
            }
        case .fixed:
            for (index, endpoint) in endpoints.enumerated()
            where IPAddress(endpoint.address) == nil && !endpoint.address.hasPrefix("unix://")
                && endpoint.network == nil
            {
                fields.place.field("endpoints").index(index).field("address").fail(
                    .contradiction, at: fields.position(of: "endpoints", index, "address"),
                    "resolution STATIC takes addresses, `\(endpoint.address.prefix(60))` is a name",
                    mend: "write resolution: DNS")
            }
        case .dns, .dnsRoundRobin:
            if let host = wildcards.first, endpoints.isEmpty, !fields.has("endpoints") {
                fields.contradict("hosts", "`\(host)` cannot be looked up", mend: "add endpoints, or DYNAMIC_DNS")
            }
            if resolution == .dnsRoundRobin, endpoints.count > 1 {
                fields.contradict("endpoints", "DNS_ROUND_ROBIN takes one endpoint", mend: "write resolution: DNS")
            }
        case .dynamicDNS:
            if fields.has("endpoints") {
                fields.contradict("endpoints", "DYNAMIC_DNS looks hosts up", mend: "remove them")
            }
        }
    }
}

extension Istio.ServiceEntry.Port: ObjectPart {
    init(_ fields: inout ObjectFields) {
        number = fields.requiredPort("number")
        let word: String = fields.value("protocol", default: "TCP")
        transport = PortProtocol(word: word) ?? .tcp
        fields.check(
            PortProtocol(word: word) != nil, "protocol", "`\(word.prefix(40))` is no protocol that a mesh knows",
            mend: "write HTTP, HTTPS, GRPC, HTTP2, GRPC-Web, MONGO, MYSQL, REDIS, TCP, UDP or TLS")
        name = fields.requiredText("name", .portName)
        targetPort = fields.port("targetPort")
    }
}

extension Istio.WorkloadEntry: ObjectPart {
    init(_ fields: inout ObjectFields) {
        address = fields.text("address", Self.endpointAddress) ?? ""
        ports = fields.value("ports", default: [:])
        fields.check(
            ports.values.allSatisfy { (1...65_535).contains($0) }, "ports", "a number that is no port",
            mend: "write 1 to 65535")
        labels = fields.map("labels", keys: .labelKey, values: .labelValue)
        network = fields.text("network", .notEmpty)
        locality = fields.text("locality", .notEmpty)
        weight = fields.int("weight", 0...Int(UInt32.max)) ?? 1
        serviceAccount = fields.text("serviceAccount", .subdomain)
        if address.hasPrefix("unix://"), !ports.isEmpty {
            fields.contradict("ports", "a socket in the file system has no ports", mend: "remove them")
        }
    }

    private static let endpointAddress = TextRule(mend: "write an address, a DNS name, or unix:// and a path") { text in
        if text.hasPrefix("unix://") { return text.utf8.count > 8 ? nil : "a path is missing" }
        return isHostName(text[...]) || IPAddress(text) != nil ? nil : "`\(text.prefix(60))` is no address"
    }
}

extension Istio.WorkloadGroup: ObjectPart {
    private struct Metadata: ObjectPart {
        var labels: [String: String]
        var annotations: [String: String]

        init(_ fields: inout ObjectFields) {
            labels = fields.map("labels", keys: .labelKey, values: .labelValue)
            annotations = fields.map("annotations", keys: .labelKey)
        }
    }

    init(_ fields: inout ObjectFields) {
        let metadata: Metadata? = fields.optional("metadata")
        labels = metadata?.labels ?? [:]
        annotations = metadata?.annotations ?? [:]
        template = fields.required("template", Istio.WorkloadEntry(address: "", ports: [:], labels: [:], weight: 1))
        probe = fields.optional("probe")
    }
}
