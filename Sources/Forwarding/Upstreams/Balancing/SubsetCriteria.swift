import EnvoyAPI

/// What a route asks of hosts' metadata, so that only a subset of them is chosen from.
/// Source: Envoy, `RouteAction.metadata_match`, under `envoy.lb`.
public final class SubsetCriteria: Sendable {
    /// Sorted by name, each once.
    let labels: [Label]
    /// What `fallback_list` says to try in turn; nil without one.
    let alternatives: [SubsetCriteria]?
    /// Without `fallback_list`.
    let withoutAlternatives: SubsetCriteria?
    /// The canonical text of all labels.
    let key: String

    struct Label: Sendable, Hashable {
        var name: String
        var value: String
    }

    /// - Returns: nil without a field.
    public convenience init?(_ fields: [StructureValue.Field]) {
        guard !fields.isEmpty else { return nil }
        self.init(labels: fields.map { Label(name: $0.name, value: $0.value.canonicalText) }, fields: fields)
    }

    /// - Returns: nil where nothing stands under `envoy.lb`.
    public convenience init?(_ metadata: FilterMetadata) {
        self.init(metadata["envoy.lb"] ?? [])
    }

    init(labels: [Label], fields: [StructureValue.Field] = []) {
        self.labels = labels.sorted { $0.name < $1.name }
        key = SubsetCriteria.key(self.labels)
        guard case .list(let items) = fields.value("fallback_list") else {
            alternatives = nil
            withoutAlternatives = nil
            return
        }
        let base = labels.filter { $0.name != "fallback_list" }
        withoutAlternatives = SubsetCriteria(labels: base)
        alternatives = items.map { item in
            var merged = base
            if case .object(let others) = item {
                for other in others {
                    merged.removeAll { $0.name == other.name }
                    merged.append(Label(name: other.name, value: other.value.canonicalText))
                }
            }
            return SubsetCriteria(labels: merged)
        }
    }

    /// Those labels alone; nil where one is missing.
    func only(_ names: [String]) -> SubsetCriteria? {
        let found = labels.filter { names.contains($0.name) }
        return found.count == names.count ? SubsetCriteria(labels: found) : nil
    }

    static func key(_ labels: [Label]) -> String {
        var text = ""
        for label in labels { text += "\(label.name.utf8.count):\(label.name)=\(label.value);" }
        return text
    }
}

extension StructureValue {
    /// The same for equal values, whatever the order of their fields.
    var canonicalText: String {
        switch self {
        case .null: return "n"
        case .bool(let flag): return flag ? "t" : "f"
        case .number(let number): return "#\(number)"
        case .string(let text): return "\(text.utf8.count):\(text)"
        case .list(let items): return "[" + items.map(\.canonicalText).joined(separator: ",") + "]"
        case .object(let fields):
            let parts = fields.sorted { $0.name < $1.name }.map {
                "\($0.name.utf8.count):\($0.name)=\($0.value.canonicalText)"
            }
            return "{" + parts.joined(separator: ",") + "}"
        }
    }
}

/// How hosts are divided by their metadata.
public struct SubsetSettings: Sendable {
    /// Whom a request goes to that asks for no subset, or for one without hosts.
    public enum Fallback: Sendable, Equatable { case none, any, standard }

    public struct Selector: Sendable {
        /// Nil: that of the settings.
        public enum Otherwise: Sendable, Equatable {
            case settings, none, any, standard
            /// The same question, of these keys alone.
            case keys([String])
        }
        /// Sorted.
        public var keys: [String]
        public var otherwise = Otherwise.settings
        /// Each subset is one host, which serves whatever its health.
        public var isSingle = false
    }

    public var fallback = Fallback.none
    public var standard: [StructureValue.Field] = []
    public var selectors: [Selector] = []
    /// Localities keep their weights within a subset.
    public var keepsLocalityWeights = false
    /// In proportion to the share of the locality's hosts that are in the subset.
    public var scalesLocalityWeights = false
    /// Where the fallback has no host either, any host serves.
    public var panicsToAny = false
    /// A list among a host's metadata stands for each of its items.
    public var listsAreAny = false
    /// A request may ask for more than a selector's keys.
    public var ignoresFurtherKeys = false
    /// A request's `fallback_list` says what else to try.
    public var takesFallbackList = false

    public init() {}
}
