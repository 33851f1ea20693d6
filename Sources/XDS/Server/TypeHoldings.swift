/// What one stream holds of one type, resource by resource: made on demand from what the stream shares with others.
public struct TypeHoldings: Sendable {
    /// How far the client got with one resource.
    public enum State: String, Hashable, Sendable {
        /// Sent, and neither acknowledged nor refused yet.
        case pending
        case acknowledged
        /// Refused, or part of a response that was.
        case rejected
        /// Asked for by name, and not there.
        case missing
    }

    /// One resource.
    public struct Entry: Hashable, Sendable {
        public var name: String
        /// Empty where there is no resource.
        public var version: String
        public var state: State

        public init(name: String, version: String, state: State) {
            self.name = name
            self.version = version
            self.state = state
        }
    }

    public let type: ResourceType
    let subscription: Subscription
    let held: ResourceSet?
    let inFlight: PreparedResponse?
    let rejection: RejectionRecord?

    /// The version and the words of a NACK that stands.
    public var refusal: (version: String, detail: ErrorDetail)? { rejection.map { ($0.version, $0.detail) } }

    /// By name in ascending order. Costs a walk over what is subscribed to.
    /// - Parameter limit: how many at most.
    public func entries(limit: Int) -> [Entry] {
        let pending = inFlight?.resources.map { ($0.name, $0.version) } ?? []
        var names: [String]
        if subscription.isWildcard {
            names = (held?.names ?? []) + pending.map(\.0)
            names += subscription.names
        } else {
            names = subscription.names
        }
        return entries(Array(names.sortedUnique().prefix(limit)))
    }

    /// Those of some names that are subscribed to, in the order given.
    public func entries(named names: [String]) -> [Entry] {
        entries(names.filter { subscription.isWildcard || subscription.contains($0) })
    }

    private func entries(_ names: [String]) -> [Entry] {
        let pending = inFlight?.resources.map { ($0.name, $0.version) } ?? []
        let pendingVersions = Dictionary(pending) { first, _ in first }
        return names.map { name in
            if let version = pendingVersions[name] { return Entry(name: name, version: version, state: .pending) }
            guard let resource = held?.resource(named: name) else {
                return Entry(name: name, version: "", state: .missing)
            }
            return Entry(name: name, version: resource.version, state: isRejected(name) ? .rejected : .acknowledged)
        }
    }

    private func isRejected(_ name: String) -> Bool {
        guard let rejection else { return false }
        return rejection.unresolved.isEmpty || rejection.unresolved.containsSorted(name)
    }
}

extension StreamCore {
    /// By type, those that are subscribed to.
    var holdings: [TypeHoldings] {
        states.compactMap { state in
            guard let subscription = state.subscription else { return nil }
            return TypeHoldings(
                type: state.type, subscription: subscription, held: state.held, inFlight: state.inFlight,
                rejection: state.rejection)
        }
    }
}

extension DeltaStream {
    /// What the client holds, by type.
    public var holdings: [TypeHoldings] { core.holdings }
}

extension StateOfTheWorldStream {
    /// What the client holds, by type.
    public var holdings: [TypeHoldings] { core.holdings }
}
