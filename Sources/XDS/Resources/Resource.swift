/// One resource that a control plane serves: a packed message that this library never opens, or an error in its
/// place. Immutable, and shared by identity between sets, snapshots and responses.
/// Source: envoy.service.discovery.v3.Resource, ResourceError.
public final class Resource: Sendable {
    /// Decides the type URL on the wire.
    public let type: ResourceType
    /// The canonical name, for example `xdstp://…` or `outbound|80||web.shop.svc.cluster.local`.
    public let name: String
    /// The publisher's text, or 32 hexadecimal digits of the body's hash.
    public let version: String
    /// The packed message: the `value` of an Any whose type URL is that of ``type``. Empty in an error entry.
    public let body: [UInt8]
    /// How long a client may keep the resource without hearing of it again; nil for ever. Heartbeats are sent
    /// at half of it.
    public let timeToLive: Duration?
    /// Further names by which a client may subscribe. Answers carry ``name``.
    public let aliases: [String]
    /// What a client warms this resource with: for a cluster, the endpoints that it needs. They are sent again
    /// after a change of this resource.
    public let dependencies: [ResourceReference]
    /// Why the resource cannot be served; the body is empty then.
    public let error: ErrorDetail?
    /// Where the resource was written, for messages to people: `routes.yaml:12`.
    public let origin: String?

    /// Hash of everything that a client gets to see. Two resources with equal fingerprints are the same.
    let fingerprint: ContentHash
    /// A resource of which only a client's word is known: it held this version before it reconnected.
    let isPlaceholder: Bool

    /// - Parameters:
    ///   - body: the packed message.
    ///   - version: the publisher's own text; nil takes the hash of the body.
    ///   - timeToLive: at least 100 ms.
    public init(
        _ type: ResourceType, name: String, body: [UInt8], version: String? = nil, timeToLive: Duration? = nil,
        aliases: [String] = [], dependencies: [ResourceReference] = [], origin: String? = nil
    ) {
        let content = ContentHash(of: body)
        self.type = type
        self.name = name
        self.body = body
        if let version, !version.isEmpty {
            self.version = version
        } else {
            self.version = content.hex
        }
        self.timeToLive = timeToLive
        self.aliases = aliases
        self.dependencies = dependencies
        self.error = nil
        self.origin = origin
        isPlaceholder = false
        var fields = [name, self.version, content.hex, timeToLive.map { "\($0.nanoseconds)" } ?? ""]
        fields += aliases
        fingerprint = ContentHash(ofFields: fields.map { Array($0.utf8) })
    }

    /// An error entry: subscribers of `name` get the error in place of the resource, once.
    public init(_ type: ResourceType, name: String, error: ErrorDetail, origin: String? = nil) {
        self.type = type
        self.name = name
        body = []
        timeToLive = nil
        aliases = []
        dependencies = []
        self.error = error
        self.origin = origin
        isPlaceholder = false
        fingerprint = ContentHash(ofFields: [name, "error", "\(error.code)", error.message].map { Array($0.utf8) })
        version = fingerprint.hex
    }

    /// What a client said that it holds.
    init(placeholderFor name: String, type: ResourceType, version: String) {
        self.type = type
        self.name = name
        self.version = version
        body = []
        timeToLive = nil
        aliases = []
        dependencies = []
        error = nil
        origin = nil
        isPlaceholder = true
        fingerprint = ContentHash(ofFields: [name, "placeholder", version].map { Array($0.utf8) })
    }
}

/// A resource by its type and name.
public struct ResourceReference: Hashable, Sendable {
    /// The type of the resource that is referred to.
    public var type: ResourceType
    /// Its canonical name.
    public var name: String

    /// A reference to the resource of this type and name.
    public init(_ type: ResourceType, _ name: String) {
        self.type = type
        self.name = name
    }
}

/// Why resources cannot be published. Nothing is published then.
public enum PublishError: Error, Hashable, Sendable {
    /// A name or alias is used twice. The places are the resources' origins, or their positions in the list.
    case duplicateName(ResourceType, name: String, first: String, second: String)
    /// Empty, `*`, or with a NUL.
    case invalidName(ResourceType, name: String, place: String)
    /// Under 100 ms: heartbeats would go out more often than every 50 ms.
    case timeToLiveTooShort(ResourceType, name: String, place: String)
}

extension PublishError: CustomStringConvertible {
    /// What is wrong, where, and the mend.
    public var description: String {
        switch self {
        case .duplicateName(let type, let name, let first, let second):
            "\(type) \"\(name)\" is defined twice: \(first) and \(second). Remove or rename one of them."
        case .invalidName(let type, let name, let place):
            "\(type) resource name \(name.debugDescription) at \(place) is not allowed: "
                + "give it a name that is not empty, not \"*\", and has no NUL."
        case .timeToLiveTooShort(let type, let name, let place):
            "\(type) \"\(name)\" at \(place) has a time to live under 100 ms. Set 100 ms or more, or none."
        }
    }
}
