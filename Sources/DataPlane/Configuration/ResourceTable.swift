import XDS

/// An accepted resource: what it compiles to, and what it needs of others.
public struct StoredResource<Value: Sendable>: Sendable {
    public let name: String
    /// The control plane's, for people.
    public let version: String
    public let references: ResourceReferences
    public let value: Value
    /// Tells two updates of one name apart; counts up.
    let number: UInt64
}

/// Resources by type and name.
public struct ResourceTable<Value: Sendable>: Sendable {
    public typealias Resource = StoredResource<Value>

    /// By ``XDS/ResourceType/order``.
    private var resources = [[String: Resource]](repeating: [:], count: ResourceType.all.count)

    public init() {}

    /// Those of a type, by name.
    public subscript(type: ResourceType) -> [String: Resource] {
        get { resources[type.order] }
        set { resources[type.order] = newValue }
    }

    public subscript(type: ResourceType, name: String) -> Resource? {
        get { resources[type.order][name] }
        set { resources[type.order][name] = newValue }
    }

    public var listeners: [String: Resource] { self[.listener] }
    public var routes: [String: Resource] { self[.route] }
    public var clusters: [String: Resource] { self[.cluster] }
    public var endpoints: [String: Resource] { self[.endpoints] }
    public var secrets: [String: Resource] { self[.secret] }
}
