import EnvoyAPI
import Protobuf
import XDS

/// How much a request may hold: names of 100,000 subscriptions, and the node's metadata.
private let requestLimits = DecodingLimits(depth: 100, elements: 400_000, memory: 64 << 20)

/// Bytes of the packed node, metadata included: the stream keeps it as long as it is open.
private let longestNode = 256 << 10

extension XDS.DiscoveryRequest {
    /// - Parameter message: one gRPC message from a peer, without its prefix.
    /// - Throws: what is malformed, and where.
    init(decoding message: UnsafeRawBufferPointer) throws(ProtobufError) {
        let arena = Arena()
        let request = try arena.decode(EnvoyAPI.DiscoveryRequest.self, from: message, limits: requestLimits).pointee
        try XDS.Node.checkSize(request.node, in: "envoy.service.discovery.v3.DiscoveryRequest")
        var names = Array(request.resource_names_list)
        names += request.resource_locators_list.map { $0.pointee.name.string }
        self.init(
            versionInfo: request.version_info.string, node: request.node.map { XDS.Node($0.pointee) },
            resourceNames: names, typeURL: request.type_url.string, responseNonce: request.response_nonce.string,
            errorDetail: request.error_detail.map { ErrorDetail($0.pointee) })
    }
}

extension XDS.DeltaDiscoveryRequest {
    /// - Parameter message: one gRPC message from a peer, without its prefix.
    /// - Throws: what is malformed, and where.
    init(decoding message: UnsafeRawBufferPointer) throws(ProtobufError) {
        let arena = Arena()
        let request = try arena.decode(
            EnvoyAPI.DeltaDiscoveryRequest.self, from: message, limits: requestLimits
        ).pointee
        try XDS.Node.checkSize(request.node, in: "envoy.service.discovery.v3.DeltaDiscoveryRequest")
        var versions: [String: String] = [:]
        for entry in request.initial_resource_versions_list {
            versions[entry.pointee.key.string] = entry.pointee.value.string
        }
        self.init(
            node: request.node.map { XDS.Node($0.pointee) }, typeURL: request.type_url.string,
            resourceNamesSubscribe: Array(request.resource_names_subscribe_list)
                + request.resource_locators_subscribe_list.map { $0.pointee.name.string },
            resourceNamesUnsubscribe: Array(request.resource_names_unsubscribe_list)
                + request.resource_locators_unsubscribe_list.map { $0.pointee.name.string },
            initialResourceVersions: versions, responseNonce: request.response_nonce.string,
            errorDetail: request.error_detail.map { ErrorDetail($0.pointee) })
    }
}

extension ErrorDetail {
    init(_ status: EnvoyAPI.RpcStatus) {
        self.init(code: status.code, message: status.message.string)
    }
}

extension XDS.Node {
    fileprivate static func checkSize(
        _ node: UnsafeMutablePointer<EnvoyAPI.Node>?, in type: String
    ) throws(ProtobufError) {
        guard let node, encode(node).count > longestNode else { return }
        throw ProtobufError(type: type, path: "node", offset: 0, problem: .tooMuchMemory(limit: longestNode))
    }

    /// A node as it travels; its size is for the caller to have checked.
    public init(_ node: EnvoyAPI.Node) {
        self.init(
            id: node.id.string, cluster: node.cluster.string,
            metadata: node.metadata.map { MetadataValue.fields(of: $0.pointee) } ?? [:],
            locality: node.locality.map { XDS.Locality($0.pointee) } ?? XDS.Locality(),
            userAgent: Self.userAgent(of: node), clientFeatures: Array(node.client_features_list))
    }

    /// `envoy/1.40.0`: the name, and the version in whichever form it comes.
    private static func userAgent(of node: EnvoyAPI.Node) -> String {
        let name = node.user_agent_name.string
        switch node.user_agent_version_type {
        case .user_agent_version(let version): return name + "/" + version
        case .user_agent_build_version(let build):
            guard let version = build.pointee.version?.pointee else { return name }
            return "\(name)/\(version.major_number).\(version.minor_number).\(version.patch)"
        case nil: return name
        }
    }
}

extension XDS.Locality {
    init(_ locality: EnvoyAPI.Locality) {
        self.init(region: locality.region.string, zone: locality.zone.string, subZone: locality.sub_zone.string)
    }
}

extension MetadataValue {
    static func fields(of structure: ProtobufStruct) -> [String: MetadataValue] {
        var fields: [String: MetadataValue] = [:]
        for entry in structure.fields_list {
            fields[entry.pointee.key.string] = entry.pointee.value.map { MetadataValue($0.pointee) } ?? .null
        }
        return fields
    }

    /// Recurses no deeper than the guard let the message nest.
    private init(_ value: ProtobufValue) {
        switch value.kind {
        case .null_value, nil: self = .null
        case .number_value(let number): self = .number(number)
        case .string_value(let text): self = .string(text)
        case .bool_value(let bool): self = .bool(bool)
        case .struct_value(let structure): self = .object(Self.fields(of: structure.pointee))
        case .list_value(let list): self = .list(list.pointee.values_list.map { MetadataValue($0.pointee) })
        }
    }
}
