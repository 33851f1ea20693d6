import Mesh

/// What a controller says of an object of the Gateway API. Source: Kubernetes, meta/v1 Condition; Gateway API, the
/// condition types and reasons of each kind.
public struct Condition: Hashable, Sendable {
    public enum Kind: String, Hashable, Sendable {
        case accepted = "Accepted"
        case resolvedRefs = "ResolvedRefs"
        case programmed = "Programmed"
        case conflicted = "Conflicted"
    }

    public var kind: Kind
    public var isTrue: Bool
    /// A word of the specification.
    public var reason: String
    /// For people; empty where the reason says it all.
    public var message: String

    public init(_ kind: Kind, _ isTrue: Bool, _ reason: String, _ message: String = "") {
        self.kind = kind
        self.isTrue = isTrue
        self.reason = reason
        self.message = message
    }

    static func holds(_ kind: Kind) -> Condition { Condition(kind, true, kind.rawValue) }
}

/// What a route is told about one of its parents.
public struct ParentStatus: Hashable, Sendable {
    public var parent: GatewayAPI.ParentReference
    public var conditions: [Condition]
}

/// What a Gateway is told.
public struct GatewayStatus: Hashable, Sendable {
    public struct Listener: Hashable, Sendable {
        public var name: String
        /// The kinds of routes that it takes: those that it asks for and that its protocol has.
        public var supportedKinds: [ObjectKind]
        public var attachedRoutes: Int
        public var conditions: [Condition]
    }

    public var conditions: [Condition]
    public var listeners: [Listener]
}
