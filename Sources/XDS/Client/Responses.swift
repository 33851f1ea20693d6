import Time

/// One resource as a response carries it, decoded down to its opaque body.
/// Source: envoy.service.discovery.v3.Resource; for a bare `Any` in a state-of-the-world response only
/// ``typeURL`` and ``body`` are set.
public struct ReceivedResource: Equatable, Sendable {
    /// Empty when the name lies inside the body only (a bare resource of a state-of-the-world response).
    public var name: String
    /// Empty in a bare resource: the version of the response counts instead.
    public var version: String
    /// Other names under which the server knows the resource (xdstp, VHDS).
    public var aliases: [String]
    /// How long the resource lives without a heartbeat; nil for ever.
    public var timeToLive: Duration?
    /// The `type_url` of the body; empty when there is no body.
    public var typeURL: String
    /// The packed message; nil in a heartbeat, and for a virtual host that does not exist.
    public var body: [UInt8]?

    public init(
        name: String = "", version: String = "", aliases: [String] = [], timeToLive: Duration? = nil,
        typeURL: String = "", body: [UInt8]? = nil
    ) {
        self.name = name
        self.version = version
        self.aliases = aliases
        self.timeToLive = timeToLive
        self.typeURL = typeURL
        self.body = body
    }
}

/// Why the server cannot send one resource. Source: envoy.service.discovery.v3.ResourceError, xRFC TP3.
public struct ReceivedResourceError: Equatable, Sendable {
    public var name: String
    public var detail: ErrorDetail

    public init(name: String, detail: ErrorDetail) {
        self.name = name
        self.detail = detail
    }
}

/// A state-of-the-world response as a client receives it.
/// Source: envoy.service.discovery.v3.DiscoveryResponse.
public struct DiscoveryResponse: Equatable, Sendable {
    public var versionInfo: String
    public var resources: [ReceivedResource]
    public var typeURL: String
    public var nonce: String
    /// `control_plane.identifier`; empty when the server does not name itself.
    public var controlPlane: String
    public var resourceErrors: [ReceivedResourceError]

    public init(
        versionInfo: String = "", resources: [ReceivedResource] = [], typeURL: String, nonce: String,
        controlPlane: String = "", resourceErrors: [ReceivedResourceError] = []
    ) {
        self.versionInfo = versionInfo
        self.resources = resources
        self.typeURL = typeURL
        self.nonce = nonce
        self.controlPlane = controlPlane
        self.resourceErrors = resourceErrors
    }
}

/// An incremental response as a client receives it.
/// Source: envoy.service.discovery.v3.DeltaDiscoveryResponse.
public struct DeltaDiscoveryResponse: Equatable, Sendable {
    /// For people only: versions count per resource.
    public var systemVersionInfo: String
    public var resources: [ReceivedResource]
    public var removedResources: [String]
    public var typeURL: String
    public var nonce: String
    /// `control_plane.identifier`; empty when the server does not name itself.
    public var controlPlane: String
    public var resourceErrors: [ReceivedResourceError]

    public init(
        systemVersionInfo: String = "", resources: [ReceivedResource] = [], removedResources: [String] = [],
        typeURL: String, nonce: String, controlPlane: String = "", resourceErrors: [ReceivedResourceError] = []
    ) {
        self.systemVersionInfo = systemVersionInfo
        self.resources = resources
        self.removedResources = removedResources
        self.typeURL = typeURL
        self.nonce = nonce
        self.controlPlane = controlPlane
        self.resourceErrors = resourceErrors
    }
}

/// What the user of a client says of one received resource.
public enum ResourceVerdict: Equatable, Sendable {
    /// Usable, under this name. Where the response names the resource itself (delta, wrapped resources), that
    /// name counts: versions, heartbeats and removals will use it.
    case accepted(name: String)
    /// Not usable, in words for the operator of the server. The name is nil when the body cannot even be decoded.
    case rejected(name: String?, reason: String)
}

/// Judges one received resource, whose ``ReceivedResource/body`` is never nil. Called once per resource and
/// response, synchronously; it must be a pure function of its arguments.
public typealias ResourceValidator = @Sendable (ResourceType, ReceivedResource) -> ResourceVerdict
