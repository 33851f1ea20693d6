import Time

/// A resource that the client has accepted and keeps.
public struct HeldResource: Equatable, Sendable {
    /// The canonical name.
    public var name: String
    /// The resource's own version, or in state-of-the-world without wrappers that of the response.
    public var version: String
    /// The packed message.
    public var body: [UInt8]

    public init(name: String, version: String, body: [UInt8]) {
        self.name = name
        self.version = version
        self.body = body
    }
}

/// What a client knows of one name: for the client status service and for people.
/// Source: gRFC A40 and A88; envoy.admin.v3.ClientResourceStatus, UpdateFailureState.
public struct ResourceStatus: Equatable, Sendable {
    public enum State: String, Sendable {
        /// Subscribed, and nothing has come yet.
        case requested = "REQUESTED"
        /// The server has removed it, or did not send it in time.
        case doesNotExist = "DOES_NOT_EXIST"
        /// The last one that came is in use.
        case acknowledged = "ACKED"
        /// The last one that came was rejected; an older one may still be held.
        case rejected = "NACKED"
        /// The server says why it cannot send it (`resource_errors`); an older one may still be held.
        case receivedError = "RECEIVED_ERROR"
    }

    /// Why the last attempt to update the resource failed.
    public struct Failure: Equatable, Sendable {
        /// The version that was rejected; of the response where the resource has none.
        public var version: String
        public var detail: ErrorDetail
        public var failedAt: Instant
    }

    public var type: ResourceType
    public var name: String
    public var state: State
    /// What is in use; nil while there is nothing.
    public var held: HeldResource?
    /// When ``held`` was last received. CSDS wants civil time: the owner of both clocks converts.
    public var updatedAt: Instant?
    /// In states ``State/rejected`` and ``State/receivedError``.
    public var failure: Failure?
    /// Position in ``DiscoveryClient/Configuration/servers`` of the server that ``held`` came from.
    public var server: Int?
}
