import XDS

/// What a resource needs of others to serve.
public struct ResourceReferences: Hashable, Sendable {
    /// Names of cluster load assignments (EDS).
    public var endpoints: Set<String> = []
    /// Names of route configurations (RDS).
    public var routes: Set<String> = []
    /// Names of secrets (SDS).
    public var secrets: Set<String> = []
    /// Clusters that requests or connections may be sent to.
    public var clusters: Set<String> = []

    /// The longest `initial_fetch_timeout` that is given for any of them, ``forever`` for zero; nil: none is given.
    public var patience: Duration?
    /// For some of them none is given: the default counts beside.
    public var hasDefaultPatience = false

    /// As long as anybody needs to know. Source: Envoy, `initial_fetch_timeout`: 0 is no timeout.
    public static let forever = Duration.seconds(10 * 365 * 86_400)

    public init() {}

    /// How long to wait for all of them.
    /// - Parameter usual: where nothing else is given.
    func patience(_ usual: Duration) -> Duration {
        guard let patience else { return usual }
        return hasDefaultPatience ? max(patience, usual) : patience
    }

    /// The names of a type; none for types that nothing is waited for.
    func names(of type: ResourceType) -> Set<String> {
        switch type {
        case .endpoints: endpoints
        case .route: routes
        case .secret: secrets
        case .cluster: clusters
        default: []
        }
    }

    /// What resources are fetched by name, and so are subscribed to when they are needed.
    static let fetchedByName: [ResourceType] = [.secret, .endpoints, .route]
}

/// How many resources refer to each name.
struct ReferenceCounts: Sendable {
    /// By ``ResourceType/order``.
    private var counts = [[String: Int]](repeating: [:], count: ResourceType.all.count)

    func has(_ type: ResourceType, _ name: String) -> Bool { counts[type.order][name] != nil }

    mutating func add(_ references: ResourceReferences) { change(references, by: 1) }

    mutating func subtract(_ references: ResourceReferences) { change(references, by: -1) }

    private mutating func change(_ references: ResourceReferences, by step: Int) {
        for type in ResourceReferences.fetchedByName + [.cluster] {
            for name in references.names(of: type) {
                let count = counts[type.order][name, default: 0] + step
                precondition(count >= 0, "a reference to \(type) \(name) was taken back twice")
                counts[type.order][name] = count == 0 ? nil : count
            }
        }
    }
}
