/// What a proxy says of itself. Guaranteed in the first request of a stream only.
/// Source: envoy.config.core.v3.Node.
public struct Node: Hashable, Sendable {
    public var id: String
    public var cluster: String
    public var metadata: [String: MetadataValue]
    public var locality: Locality
    /// For example `envoy/1.40.0`, `gRPC C++/1.85.1`.
    public var userAgent: String
    /// For example `xds.config.supports-resource-in-sotw`, `envoy.lb.does_not_support_overprovisioning`.
    public var clientFeatures: [String]
    /// What the peer has proved of itself: a SPIFFE ID, or another name that its owner gives it. Set by the owner of
    /// the stream alone, never from the wire; nil: nothing was proved.
    public var principal: String?

    public init(
        id: String, cluster: String = "", metadata: [String: MetadataValue] = [:], locality: Locality = Locality(),
        userAgent: String = "", clientFeatures: [String] = [], principal: String? = nil
    ) {
        self.id = id
        self.cluster = cluster
        self.metadata = metadata
        self.locality = locality
        self.userAgent = userAgent
        self.clientFeatures = clientFeatures
        self.principal = principal
    }
}

/// Source: envoy.config.core.v3.Locality.
public struct Locality: Hashable, Sendable {
    public var region: String
    public var zone: String
    public var subZone: String

    public init(region: String = "", zone: String = "", subZone: String = "") {
        self.region = region
        self.zone = zone
        self.subZone = subZone
    }
}

/// Source: google.protobuf.Value.
public indirect enum MetadataValue: Hashable, Sendable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case list([MetadataValue])
    case object([String: MetadataValue])
}

/// A gRPC status as one peer reports it to the other: the code and the words.
/// Source: google.rpc.Status.
public struct ErrorDetail: Hashable, Sendable {
    /// A gRPC status code, for example 3 for INVALID_ARGUMENT.
    public var code: Int32
    public var message: String

    public init(code: Int32 = 3, message: String) {
        self.code = code
        self.message = message
    }
}

/// A state-of-the-world request. Source: envoy.service.discovery.v3.DiscoveryRequest.
public struct DiscoveryRequest: Equatable, Sendable {
    public var versionInfo: String
    /// nil after the first request of most clients.
    public var node: Node?
    public var resourceNames: [String]
    public var typeURL: String
    /// Empty in the first request of a type on a stream.
    public var responseNonce: String
    /// Present in a NACK.
    public var errorDetail: ErrorDetail?

    public init(
        versionInfo: String = "", node: Node? = nil, resourceNames: [String] = [], typeURL: String,
        responseNonce: String = "", errorDetail: ErrorDetail? = nil
    ) {
        self.versionInfo = versionInfo
        self.node = node
        self.resourceNames = resourceNames
        self.typeURL = typeURL
        self.responseNonce = responseNonce
        self.errorDetail = errorDetail
    }
}

/// An incremental request. Source: envoy.service.discovery.v3.DeltaDiscoveryRequest.
public struct DeltaDiscoveryRequest: Equatable, Sendable {
    public var node: Node?
    public var typeURL: String
    public var resourceNamesSubscribe: [String]
    public var resourceNamesUnsubscribe: [String]
    /// Name to version of what the client holds; only in the first request of a type on a stream.
    public var initialResourceVersions: [String: String]
    /// Empty in a spontaneous request.
    public var responseNonce: String
    /// Present in a NACK.
    public var errorDetail: ErrorDetail?

    public init(
        node: Node? = nil, typeURL: String, resourceNamesSubscribe: [String] = [],
        resourceNamesUnsubscribe: [String] = [], initialResourceVersions: [String: String] = [:],
        responseNonce: String = "", errorDetail: ErrorDetail? = nil
    ) {
        self.node = node
        self.typeURL = typeURL
        self.resourceNamesSubscribe = resourceNamesSubscribe
        self.resourceNamesUnsubscribe = resourceNamesUnsubscribe
        self.initialResourceVersions = initialResourceVersions
        self.responseNonce = responseNonce
        self.errorDetail = errorDetail
    }
}
