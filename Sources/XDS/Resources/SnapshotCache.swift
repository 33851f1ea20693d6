import Synchronization

/// The name of a view: a class of proxies that see the same configuration.
public struct ViewName: Hashable, Comparable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    /// The name as people write it.
    public var text: String

    /// The view of this name.
    public init(_ text: String) { self.text = text }
    /// The view of this name.
    public init(stringLiteral text: String) { self.text = text }
    /// A name for what differs in many fields: the prefix, and a hash of the fields. Equal fields have equal names, in
    /// every process.
    public init(_ prefix: String, hashing fields: [String]) {
        text = prefix + ContentHash(ofFields: fields.map { Array($0.utf8) }).hex
    }
    /// The name.
    public var description: String { text }
    /// By name.
    public static func < (left: ViewName, right: ViewName) -> Bool { left.text < right.text }
}

/// Where a control plane publishes and streams look: the current snapshot of each view. Safe to use from any thread.
///
/// A view that was never published has no snapshot, and its proxies wait: after a restart they keep what they have
/// until the control plane knows what they should have. Publish an empty snapshot to take everything away.
public final class SnapshotCache: Sendable {
    /// Called after each change of a view, on the publisher's thread, with no lock held. Calls from several
    /// publishers may overlap: look up ``snapshot(of:)`` instead of counting them.
    public typealias Observer = @Sendable (ViewName) -> Void

    /// What ``addObserver(_:)`` returns, to take the observer away again.
    public struct ObserverToken: Hashable, Sendable {
        fileprivate var number: Int
    }

    private struct State {
        var snapshots: [ViewName: Snapshot] = [:]
        var observers: [Int: Observer] = [:]
        var lastObserver = 0
    }

    private let assignment: @Sendable (Node) -> ViewName
    private let state = Mutex(State())
    /// Held while a new snapshot is made, so that no change is lost between two publishers; streams never wait for it.
    /// Its memo lets views that go from one snapshot to the same other share the result.
    private let publishing = Mutex(BoundedMemo<Step, Snapshot>(capacity: 16))

    private struct Step: Hashable {
        var older: UInt64
        var newer: UInt64
    }

    /// - Parameter assignment: the view that a node belongs to; every node sees the view `default` if not given.
    public init(assignment: @escaping @Sendable (Node) -> ViewName = { _ in "default" }) {
        self.assignment = assignment
    }

    /// The view that the assignment gives a node.
    public func view(of node: Node) -> ViewName { assignment(node) }

    /// - Returns: nil when nothing was published to the view yet.
    public func snapshot(of view: ViewName) -> Snapshot? { state.withLock { $0.snapshots[view] } }

    /// The views with a snapshot, by name.
    public var views: [ViewName] { state.withLock { $0.snapshots.keys.sorted() } }

    /// Replaces all that a view shows.
    /// - Returns: the snapshot now current: the one before when nothing differs.
    /// - Throws: ``PublishError``; then the view shows what it showed.
    @discardableResult
    public func publish(
        _ resources: [Resource], labels: [ResourceType: String] = [:], to view: ViewName = "default"
    ) throws(PublishError) -> Snapshot {
        let snapshot = try Snapshot(resources, labels: labels)
        return try publish(snapshot, to: view)
    }

    /// Replaces all that a view shows by a snapshot made elsewhere. Several views may show one snapshot.
    /// - Throws: ``PublishError``; then the view shows what it showed.
    @discardableResult
    public func publish(_ snapshot: Snapshot, to view: ViewName = "default") throws(PublishError) -> Snapshot {
        try change(view) { (older, memo) throws(PublishError) in
            guard let older else { return snapshot }
            let step = Step(older: older.generation, newer: snapshot.generation)
            if let known = memo[step] { return known }
            let continued = try snapshot.continuing(older)
            memo.insert(continued, for: step)
            return continued
        }
    }

    /// Shows a snapshot as it is, its sets shared by identity with every other view that shows them. For who derives
    /// it from what the view shows, or from what another view shows; a snapshot made from nothing is compared in full
    /// with what each stream has: ``publish(_:to:)`` is cheaper then.
    public func adopt(_ snapshot: Snapshot, as view: ViewName) {
        do {
            _ = try change(view) { (_, _) throws(PublishError) in snapshot }
        } catch {
            preconditionFailure("nothing is checked here: \(error)")
        }
    }

    /// Sets some resources of a view and removes others; the work grows with the change alone.
    /// - Returns: the snapshot now current.
    /// - Throws: ``PublishError``; then the view shows what it showed.
    @discardableResult
    public func update(
        _ view: ViewName = "default", setting: [Resource] = [], removing: [ResourceReference] = [],
        labels: [ResourceType: String] = [:]
    ) throws(PublishError) -> Snapshot {
        try change(view) { (older, _) throws(PublishError) in
            try (older ?? .empty).applying(setting: setting, removing: removing, labels: labels)
        }
    }

    /// Forgets a view. Streams of it keep what they have.
    public func remove(_ view: ViewName) {
        state.withLock { _ = $0.snapshots.removeValue(forKey: view) }
    }

    /// Calls back after each change of any view, until the token is given to ``removeObserver(_:)``.
    public func addObserver(_ observer: @escaping Observer) -> ObserverToken {
        state.withLock { state in
            state.lastObserver += 1
            state.observers[state.lastObserver] = observer
            return ObserverToken(number: state.lastObserver)
        }
    }

    /// Ends the calls that ``addObserver(_:)`` began; one that is under way may still arrive.
    public func removeObserver(_ token: ObserverToken) {
        state.withLock { _ = $0.observers.removeValue(forKey: token.number) }
    }

    private func change(
        _ view: ViewName,
        _ make: (Snapshot?, inout BoundedMemo<Step, Snapshot>) throws(PublishError) -> Snapshot
    ) throws(PublishError) -> Snapshot {
        let (older, newer) = try publishing.withLock { (memo) throws(PublishError) in
            let older = snapshot(of: view)
            let newer = try make(older, &memo)
            state.withLock { $0.snapshots[view] = newer }
            return (older, newer)
        }
        if older === newer { return newer }
        older?.retire(for: newer)
        let observers = state.withLock { state in state.observers.sorted { $0.key < $1.key }.map(\.value) }
        for observer in observers { observer(view) }
        return newer
    }
}
