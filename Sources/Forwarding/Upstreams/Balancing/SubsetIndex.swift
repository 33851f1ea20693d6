import EnvoyAPI
import Time

/// A cluster's hosts, divided by their metadata.
final class SubsetIndex {
    private let settings: SubsetSettings
    /// By the canonical text of a subset's labels.
    private var views: [String: Part] = [:]
    private var any = HostView([])
    private var standard = HostView([])

    private struct Part {
        var view: HostView
        /// The only host, where subsets are single hosts.
        var single: UpstreamHost?
    }

    /// How many subsets one host may be in: lists of values multiply.
    private static let partsPerHost = 1024

    init(_ settings: SubsetSettings) {
        self.settings = settings
    }

    var count: Int { views.count }

    func rebuild(_ members: [LevelMembers]) {
        var parts: [String: (members: [LevelMembers], isSingle: Bool)] = [:]
        let empty = members.map { level in
            LevelMembers(
                hosts: [],
                places: level.places.map { LevelMembers.Place(locality: $0.locality, weight: $0.weight, hosts: []) })
        }
        for (priority, level) in members.enumerated() {
            for host in level.hosts {
                for (key, isSingle) in keys(of: host) {
                    if isSingle, parts[key].map({ $0.members.contains { !$0.hosts.isEmpty } }) == true { continue }
                    parts[key, default: (empty, isSingle)].members[priority].add(host)
                }
            }
        }
        let old = views
        views = [:]
        for (key, part) in parts {
            let weighed = weigh(part.members, of: members)
            let view = old[key]?.view ?? HostView([])
            view.replace(weighed)
            views[key] = Part(view: view, single: part.isSingle ? view.hosts.first : nil)
        }
        any.replace(weigh(members, of: members))
        var others = empty
        for (priority, level) in members.enumerated() {
            for host in level.hosts where isStandard(host) { others[priority].add(host) }
        }
        standard.replace(weigh(others, of: members))
    }

    private func isStandard(_ host: UpstreamHost) -> Bool {
        let labels = host.endpoint.metadata["envoy.lb"] ?? []
        return settings.standard.allSatisfy { wanted in
            guard let value = labels.value(wanted.name) else { return false }
            if settings.listsAreAny, case .list(let items) = value { return items.contains(wanted.value) }
            return value == wanted.value
        }
    }

    /// Localities keep no weight in a subset unless the settings say so.
    private func weigh(_ members: [LevelMembers], of all: [LevelMembers]) -> [LevelMembers] {
        var members = members
        for priority in members.indices {
            for place in members[priority].places.indices {
                let whole = all[priority].places[place]
                var weight = settings.keepsLocalityWeights ? whole.weight : 0
                if settings.scalesLocalityWeights, !whole.hosts.isEmpty {
                    let part = Double(weight * members[priority].places[place].hosts.count)
                    weight = Int((part / Double(whole.hosts.count)).rounded())
                }
                members[priority].places[place].weight = weight
            }
        }
        return members
    }

    /// The subsets that a host is in.
    private func keys(of host: UpstreamHost) -> [(key: String, isSingle: Bool)] {
        let labels = host.endpoint.metadata["envoy.lb"] ?? []
        var keys: [(key: String, isSingle: Bool)] = []
        for selector in settings.selectors {
            var combinations: [[SubsetCriteria.Label]] = [[]]
            for name in selector.keys {
                guard let value = labels.value(name) else {
                    combinations = []
                    break
                }
                var values = [value]
                if settings.listsAreAny, case .list(let items) = value {
                    values = Array(items.prefix(Self.partsPerHost))
                }
                combinations = combinations.flatMap { labels in
                    values.map { labels + [SubsetCriteria.Label(name: name, value: $0.canonicalText)] }
                }
                combinations = Array(combinations.prefix(Self.partsPerHost))
            }
            keys += combinations.map { (SubsetCriteria.key($0), selector.isSingle) }
        }
        return keys
    }

    func pick(
        _ criteria: SubsetCriteria?, _ choose: (HostView) -> UpstreamHost?
    ) -> UpstreamHost? {
        guard settings.takesFallbackList, let criteria, let alternatives = criteria.alternatives,
            let base = criteria.withoutAlternatives
        else { return pickOnce(criteria, choose, depth: 0) }
        if alternatives.isEmpty { return pickOnce(base, choose, depth: 0) }
        for other in alternatives {
            if let host = pickOnce(other, choose, depth: 0) { return host }
        }
        return nil
    }

    private func pickOnce(
        _ asked: SubsetCriteria?, _ choose: (HostView) -> UpstreamHost?, depth: Int
    ) -> UpstreamHost? {
        var criteria = asked
        if settings.ignoresFurtherKeys, let asked {
            for selector in settings.selectors {
                guard let found = asked.only(selector.keys) else { continue }
                criteria = found
                break
            }
        }
        if let criteria {
            if let part = views[criteria.key], !part.view.isEmpty {
                // The subset answers, even if it is that no host of it can serve.
                return part.single ?? choose(part.view)
            }
            let names = criteria.labels.map(\.name)
            if let selector = settings.selectors.first(where: { $0.keys == names }) {
                switch selector.otherwise {
                case .none: return nil
                case .any: return choose(any)
                case .standard: return choose(standard)
                case .keys(let fewer):
                    // Each step has fewer keys, so this ends.
                    guard depth < 64, let less = criteria.only(fewer) else { return nil }
                    return pickOnce(less, choose, depth: depth + 1)
                case .settings: break
                }
            }
        }
        switch settings.fallback {
        case .none: return nil
        case .any: if let host = choose(any) { return host }
        case .standard: if let host = choose(standard) { return host }
        }
        return settings.panicsToAny ? choose(any) : nil
    }
}

extension LevelMembers {
    /// Adds a host that is among the same level's hosts of the whole.
    mutating func add(_ host: UpstreamHost) {
        hosts.append(host)
        if let place = places.firstIndex(where: { $0.locality == host.locality }) { places[place].hosts.append(host) }
    }
}
