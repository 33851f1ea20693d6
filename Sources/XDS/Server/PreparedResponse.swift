import Synchronization

/// How responses are written on a stream.
public enum ResponseForm: Hashable, Sendable {
    /// DeltaDiscoveryResponse.
    case delta
    /// DiscoveryResponse, each resource as an Any of its own type.
    case stateOfTheWorld
    /// DiscoveryResponse, where a resource with a time to live is an Any of
    /// `type.googleapis.com/envoy.service.discovery.v3.Resource`: for clients with the feature
    /// `xds.config.supports-resource-in-sotw`. The wrapper's version is that of the response, which is what Envoy
    /// compares a heartbeat with.
    case stateOfTheWorldWithWrappers
}

/// One response, ready to be encoded. Shared by all the streams that need the same, bytes and nonce included.
/// Source: envoy.service.discovery.v3.DiscoveryResponse, DeltaDiscoveryResponse.
public final class PreparedResponse: Sendable {
    /// `type_url`.
    public let type: ResourceType
    /// Which message, and how resources are packed in it.
    public let form: ResponseForm
    /// `version_info`, or `system_version_info`.
    public let version: String
    /// Unique in the process: hexadecimal digits of a counter.
    public let nonce: String
    /// By name in ascending order; no error entries.
    public let resources: [Resource]
    /// Delta only; in ascending order.
    public let removedNames: [String]
    /// Error entries for `resource_errors`: each has an ``Resource/error``. By name in ascending order.
    public let errors: [Resource]
    /// Whether the resources with a time to live are sent without bodies, only to renew it.
    public let isHeartbeat: Bool

    let nonceNumber: UInt64
    /// What resources that are new to the client need to be warmed, by type; names in ascending order.
    let dependencies: [Dependencies]
    /// Hash of the subscribed subset once the client has this.
    let digest: ContentHash
    private let bytes = Mutex<[UInt8]?>(nil)

    struct Dependencies: Sendable {
        var type: ResourceType
        var names: [String]
    }

    private static let lastNonce = Atomic<UInt64>(0)

    init(
        type: ResourceType, form: ResponseForm, version: String, resources: [Resource], removedNames: [String] = [],
        errors: [Resource] = [], isHeartbeat: Bool = false, dependencies: [Dependencies] = [], digest: ContentHash
    ) {
        self.type = type
        self.form = form
        self.version = version
        self.resources = resources
        self.removedNames = removedNames
        self.errors = errors
        self.isHeartbeat = isHeartbeat
        self.dependencies = dependencies
        self.digest = digest
        nonceNumber = Self.lastNonce.wrappingAdd(1, ordering: .relaxed).newValue
        nonce = Self.text(ofNonce: nonceNumber)
    }

    /// The same response under a new nonce.
    func renewed() -> PreparedResponse {
        PreparedResponse(
            type: type, form: form, version: version, resources: resources, removedNames: removedNames,
            errors: errors, isHeartbeat: isHeartbeat, dependencies: dependencies, digest: digest)
    }

    static func text(ofNonce number: UInt64) -> String { String(number, radix: 16) }

    /// Whether the wire carries this resource in the wrapper `envoy.service.discovery.v3.Resource`.
    public func wraps(_ resource: Resource) -> Bool {
        switch form {
        case .delta: true
        case .stateOfTheWorld: false
        case .stateOfTheWorldWithWrappers: resource.timeToLive != nil
        }
    }

    /// Whether the wrapper of this resource goes without a body. In a full-state type the body stays: Envoy drops
    /// what has none before it compares the list with what it runs, and would delete the resource.
    public func omitsBody(of resource: Resource) -> Bool {
        guard isHeartbeat, resource.timeToLive != nil else { return false }
        return form == .delta || !type.listsEverything
    }

    /// The version in the wrapper of this resource.
    public func wrapperVersion(of resource: Resource) -> String { form == .delta ? resource.version : version }

    /// The response as bytes; made once, whatever the number of streams.
    /// - Parameter encode: packs the response; called under a lock that only this response's other streams wait for.
    public func encoded(by encode: (PreparedResponse) -> [UInt8]) -> [UInt8] {
        bytes.withLock { bytes in
            if let bytes { return bytes }
            let made = encode(self)
            bytes = made
            return made
        }
    }

    /// What the memo that keeps this response should count for it, in bytes.
    var weight: Int {
        resources.reduce(256) { $0 + $1.body.count + $1.name.utf8.count + 64 }
            + removedNames.reduce(0) { $0 + $1.utf8.count }
    }
}

extension ResourceType {
    /// Whether a state-of-the-world response lists the whole subscribed subset. Scoped routes are not full state in
    /// the protocol's words, yet Envoy deletes the scopes that a response does not list.
    var listsEverything: Bool { isFullState || self == .scopedRoute }
    /// Whether an empty first request subscribes to everything. Defined for LDS and CDS; Envoy asks so for scoped
    /// routes too.
    var hasLegacyWildcard: Bool { listsEverything }
}
