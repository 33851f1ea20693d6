import Addresses

extension Istio {
    public enum StringMatch: Hashable, Sendable {
        case exact(String)
        case prefix(String)
        /// RE2, the whole text.
        case regex(String)
        /// Written `{}`: a header or parameter that is there, whatever it says.
        case present
    }

    /// What a request must be like: everything that is written.
    public struct HTTPMatch: Hashable, Sendable {
        public var name: String
        public var uri: StringMatch?
        public var ignoresURICase: Bool
        public var scheme: StringMatch?
        public var method: StringMatch?
        public var authority: StringMatch?
        /// Names in lower case.
        public var headers: [String: StringMatch]
        public var withoutHeaders: [String: StringMatch]
        public var queryParameters: [String: StringMatch]
        public var port: Int?
        public var sourceLabels: [String: String]
        public var sourceNamespace: String?
        /// The gateways to which it is limited; empty means all of the VirtualService's.
        public var gateways: [String]
        public var statPrefix: String?
    }

    public struct TLSMatch: Hashable, Sendable {
        public var serverNames: [String]
        public var destinationSubnets: [AddressBlock]
        public var port: Int?
        public var sourceLabels: [String: String]
        public var sourceNamespace: String?
        public var gateways: [String]
    }

    public struct StreamMatch: Hashable, Sendable {
        public var destinationSubnets: [AddressBlock]
        public var port: Int?
        public var sourceSubnet: AddressBlock?
        public var sourceLabels: [String: String]
        public var sourceNamespace: String?
        public var gateways: [String]
    }
}

extension Istio.StringMatch: ObjectPart {
    init(_ fields: inout ObjectFields) {
        let exact: String? = fields.optional("exact")
        let prefix: String? = fields.optional("prefix")
        let regex = fields.text("regex", .regex)
        fields.atMostOne("exact", "prefix", "regex")
        self = exact.map { .exact($0) } ?? prefix.map { .prefix($0) } ?? regex.map { .regex($0) } ?? .present
    }

    public func matches(exactly text: String) -> Bool? {
        switch self {
        case .exact(let wanted): wanted == text
        case .prefix(let wanted): text.hasPrefix(wanted)
        case .present: true
        case .regex: nil
        }
    }
}

extension ObjectFields {
    /// A match of something that is always there, so that `{}` says nothing.
    fileprivate mutating func match(_ name: String) -> Istio.StringMatch? {
        let match: Istio.StringMatch? = optional(name)
        if match == .present, place.log.errors.isEmpty {
            fail(.missingField, name, "none of `exact`, `prefix`, `regex` is given", mend: "add one of them")
        }
        return match
    }

    fileprivate mutating func headerMatches(_ name: String) -> [String: Istio.StringMatch] {
        let matches: [String: Istio.StringMatch] = value(name, default: [:])
        checkMap(name, keys: .headerOrPseudo, values: .any)
        return Dictionary(matches.map { ($0.key.lowercased(), $0.value) }, uniquingKeysWith: { first, _ in first })
    }

    fileprivate mutating func sourceLabels() -> [String: String] {
        map("sourceLabels", keys: .labelKey, values: .labelValue)
    }

    fileprivate mutating func blocks(_ name: String) -> [AddressBlock] {
        texts(name, .addressOrBlock).compactMap { AddressBlock($0) }
    }
}

extension Istio.HTTPMatch: ObjectPart {
    init(_ fields: inout ObjectFields) {
        name = fields.value("name", default: "")
        uri = fields.match("uri")
        ignoresURICase = fields.value("ignoreUriCase", default: false)
        scheme = fields.match("scheme")
        method = fields.match("method")
        authority = fields.match("authority")
        headers = fields.headerMatches("headers")
        withoutHeaders = fields.headerMatches("withoutHeaders")
        queryParameters = fields.value("queryParams", default: [:])
        port = fields.port("port")
        sourceLabels = fields.sourceLabels()
        sourceNamespace = fields.text("sourceNamespace", .label)
        gateways = fields.texts("gateways", .gatewayReference)
        statPrefix = fields.optional("statPrefix")
    }
}

extension Istio.TLSMatch: ObjectPart {
    init(_ fields: inout ObjectFields) {
        serverNames = fields.texts("sniHosts", .hostPattern, atLeastOne: true)
        destinationSubnets = fields.blocks("destinationSubnets")
        port = fields.port("port")
        sourceLabels = fields.sourceLabels()
        sourceNamespace = fields.text("sourceNamespace", .label)
        gateways = fields.texts("gateways", .gatewayReference)
    }
}

extension Istio.StreamMatch: ObjectPart {
    init(_ fields: inout ObjectFields) {
        destinationSubnets = fields.blocks("destinationSubnets")
        port = fields.port("port")
        sourceSubnet = fields.text("sourceSubnet", .addressOrBlock).flatMap { AddressBlock($0) }
        sourceLabels = fields.sourceLabels()
        sourceNamespace = fields.text("sourceNamespace", .label)
        gateways = fields.texts("gateways", .gatewayReference)
    }
}
