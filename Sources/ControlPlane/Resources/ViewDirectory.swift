import Synchronization
import XDS

/// Says which view a node belongs to: asked by every event loop when a stream begins, and again for every stream
/// after scopes came or went. Safe to use from any thread.
public final class ViewDirectory: Sendable {
    private struct State {
        var nodeClusters: Set<String> = []
        var nodeIDs: Set<String> = []
        var combined: Set<ViewScopes> = []
        var demanded: [ViewScopes] = []
        var demand: (@Sendable () -> Void)?
        var refusals = 0
    }

    private let state = Mutex(State())
    /// How many views of two scopes are kept. Nodes that would need one more see what is for their ID, and not what is
    /// for their cluster.
    public let combinedLimit: Int

    public init(combinedLimit: Int = 4096) {
        self.combinedLimit = combinedLimit
    }

    /// The view of a node: the overlays for its cluster and its ID, where there are any.
    ///
    /// A view of two scopes that nobody has asked for yet is made upon this call; its streams wait until it is there.
    public func view(of node: Node) -> ViewName {
        let (scopes, demand) = state.withLock { state -> (ViewScopes, (@Sendable () -> Void)?) in
            var scopes = ViewScopes(
                nodeCluster: state.nodeClusters.contains(node.cluster) ? node.cluster : nil,
                nodeID: state.nodeIDs.contains(node.id) ? node.id : nil)
            guard scopes.nodeCluster != nil, scopes.nodeID != nil, !state.combined.contains(scopes) else {
                return (scopes, nil)
            }
            guard state.combined.count < combinedLimit else {
                state.refusals += 1
                scopes.nodeCluster = nil
                return (scopes, nil)
            }
            state.combined.insert(scopes)
            state.demanded.append(scopes)
            return (scopes, state.demand)
        }
        demand?()
        return scopes.name
    }

    /// How many streams were not given a view of two scopes since there were too many.
    public var refusals: Int { state.withLock { $0.refusals } }

    /// - Parameter demand: called, on any thread, when ``takeDemanded()`` has something.
    func onDemand(_ demand: @escaping @Sendable () -> Void) {
        state.withLock { $0.demand = demand }
    }

    /// The views of two scopes that were asked for since the last call.
    func takeDemanded() -> [ViewScopes] {
        state.withLock { state in
            let demanded = state.demanded
            state.demanded = []
            return demanded
        }
    }

    /// Notes scopes that came and went.
    func change(adding: [Scope], removing: [Scope]) {
        state.withLock { state in
            for scope in removing {
                switch scope {
                case .all: break
                case .nodeCluster(let name): state.nodeClusters.remove(name)
                case .nodeID(let id): state.nodeIDs.remove(id)
                }
            }
            for scope in adding {
                switch scope {
                case .all: break
                case .nodeCluster(let name): state.nodeClusters.insert(name)
                case .nodeID(let id): state.nodeIDs.insert(id)
                }
            }
            guard !removing.isEmpty else { return }
            let gone = Set(removing)
            state.combined = state.combined.filter { gone.isDisjoint(with: $0.overlays) }
            state.demanded.removeAll { !gone.isDisjoint(with: $0.overlays) }
        }
    }
}
