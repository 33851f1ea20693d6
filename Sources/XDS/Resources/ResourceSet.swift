import HashTreeCollections
import Synchronization

/// The resources of one type at one moment: immutable, and shared by every stream that was sent them. A set made
/// from another by a change shares all but the change with it, and knows the names that differ.
public final class ResourceSet: Sendable {
    /// The type of every resource in the set.
    public let type: ResourceType
    /// The version that the publisher gave; nil takes the hash of the content.
    public let label: String?

    /// Unique in the process, and greater than that of every set made before.
    let id: UInt64
    let resources: TreeDictionary<String, Resource>
    /// Alias to canonical name.
    let aliases: TreeDictionary<String, String>
    /// The resources with a time to live.
    let expiring: TreeDictionary<String, Duration>
    /// The sum of the fingerprints.
    let digest: ContentHash
    /// Whether the label was given to other content before, so that it proves nothing.
    let labelIsAmbiguous: Bool
    let history: [HistoryStep]
    let memos = Mutex(SetMemos())

    /// One change back: the set before it, and the names that it touched.
    struct HistoryStep: Sendable {
        var olderID: UInt64
        var names: [String]
    }

    private static let lastID = Atomic<UInt64>(0)
    /// Steps of history that a set keeps. A stream that is further behind costs one full comparison.
    static let historyLimit = 32

    init(_ draft: SetDraft, label: String?, labelIsAmbiguous: Bool = false) {
        type = draft.type
        self.label = label
        self.labelIsAmbiguous = labelIsAmbiguous
        id = Self.lastID.wrappingAdd(1, ordering: .relaxed).newValue
        resources = draft.resources
        aliases = draft.aliases
        expiring = draft.expiring
        digest = draft.digest
        history = draft.history()
    }

    /// The set of no resources: one object for each type.
    static func empty(_ type: ResourceType) -> ResourceSet { emptySets[type.order] }
    private static let emptySets = ResourceType.all.map { ResourceSet(SetDraft(type: $0), label: nil) }

    /// How many resources there are, error entries included.
    public var count: Int { resources.count }
    /// The version that responses carry: the label, or 32 hexadecimal digits of the content's hash.
    public var version: String { label ?? digest.hex }
    /// The names in ascending order. Costs a sort.
    public var names: [String] { resources.keys.sorted() }

    /// - Parameter name: the canonical name or an alias.
    public func resource(named name: String) -> Resource? {
        if let found = resources[name] { return found }
        guard !aliases.isEmpty, let canonical = aliases[name] else { return nil }
        return resources[canonical]
    }

    /// This set with a change made to it; the work grows with the change alone.
    /// - Parameter label: nil keeps the label of unchanged content, and takes the hash for changed content.
    /// - Returns: this very set when neither content nor label differ.
    func applying(
        setting: [Resource], removing: [String], label: String?
    ) throws(PublishError) -> ResourceSet {
        var draft = SetDraft(from: self)
        for name in removing { draft.remove(name) }
        try draft.set(setting)
        let isUnchanged = draft.digest == digest
        if isUnchanged && (label == nil || label == self.label) { return self }
        return ResourceSet(draft, label: label, labelIsAmbiguous: !isUnchanged && label == self.label)
    }

    /// A set with this one's content that knows how it came from `older`: `older` itself when nothing differs, and
    /// this very set when the two share a past, so that views that are given one set share it.
    func continuing(_ older: ResourceSet) throws(PublishError) -> ResourceSet {
        if self === older || (digest == older.digest && (label == nil || label == older.label)) { return older }
        if sharesPast(with: older), digest != older.digest || label != older.label {
            let reusesLabel = label != nil && label == older.label
            if !reusesLabel || labelIsAmbiguous { return self }
        }
        let change = difference(from: older)
        return try older.applying(
            setting: change.changed.compactMap { resources[$0] }, removing: change.removed, label: label)
    }

    /// This set and what `older` has besides: what a client may keep until nothing refers to it any more.
    /// - Returns: this very set when `older` has nothing besides.
    func union(with older: ResourceSet) -> ResourceSet {
        let gone = difference(from: older).removed
        if gone.isEmpty { return self }
        return memos.withLock { memos in
            if let known = memos.unions[older.id] { return known }
            memos.statistics.unions += 1
            var draft = SetDraft(from: self)
            for name in gone { draft.keep(older.resources[name]!) }
            let union = ResourceSet(draft, label: label, labelIsAmbiguous: labelIsAmbiguous)
            memos.unions.insert(union, for: older.id)
            return union
        }
    }

    /// All resources by name, error entries included; sorted once.
    public func sortedResources() -> [Resource] {
        memos.withLock { memos in
            if let known = memos.sortedResources { return known }
            let sorted = resources.values.sorted { $0.name < $1.name }
            memos.sortedResources = sorted
            return sorted
        }
    }

    /// Forgets what was prepared for streams on their way to this set. Called when another set has taken its place,
    /// so that a client that never reads holds a set and no copies of encoded responses.
    func retire() {
        let unions = memos.withLock { memos in
            defer { memos.forget() }
            return memos.unions.values
        }
        for union in unions { union.retire() }
    }
}

/// Results kept inside a set because many streams ask for the same. All bounded, all forgotten with the set.
struct SetMemos: Sendable {
    var differences = BoundedMemo<UInt64, SetDifference>(capacity: 16)
    var unions = BoundedMemo<UInt64, ResourceSet>(capacity: 8)
    /// Weighed in bytes of the bodies.
    var transitions = BoundedMemo<TransitionKey, Transition>(capacity: 64, weightLimit: 16 << 20)
    var sortedResources: [Resource]?
    var statistics = Statistics()

    /// How often something had to be computed: what the tests count.
    struct Statistics: Sendable {
        var differences = 0
        var fullComparisons = 0
        var unions = 0
        var transitions = 0
    }

    mutating func forget() {
        differences.removeAll()
        unions.removeAll()
        transitions.removeAll()
        sortedResources = nil
    }
}
