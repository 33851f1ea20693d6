import Mesh
import XDS

/// Resources that come and go. What is set after it was removed is set.
struct ResourceDelta: Sendable {
    private(set) var setting: [ResourceReference: Resource] = [:]
    private(set) var removing: Set<ResourceReference> = []
    /// The hosts whose sections they are of, if they are of one.
    private var hosts: [ResourceReference: String] = [:]

    var isEmpty: Bool { setting.isEmpty && removing.isEmpty }

    var types: Set<ResourceType> { Set(setting.keys.map(\.type)).union(removing.map(\.type)) }

    mutating func set(_ resource: Resource, of host: String? = nil) {
        let reference = ResourceReference(resource.type, resource.name)
        setting[reference] = resource
        removing.remove(reference)
        hosts[reference] = host
    }

    /// Does nothing to what is set: another section shows it now.
    mutating func remove(_ resource: Resource, of host: String? = nil) {
        let reference = ResourceReference(resource.type, resource.name)
        guard setting[reference] == nil else { return }
        removing.insert(reference)
        hosts[reference] = host
    }

    /// This, and then another.
    func followed(by other: ResourceDelta) -> ResourceDelta {
        if isEmpty { return other }
        var result = self
        for (reference, resource) in other.setting { result.set(resource, of: other.hosts[reference]) }
        for reference in other.removing {
            result.setting[reference] = nil
            result.removing.insert(reference)
            result.hosts[reference] = other.hosts[reference]
        }
        return result
    }

    /// Both at once: what either sets is set.
    func joined(with other: ResourceDelta) -> ResourceDelta {
        if isEmpty { return other }
        var result = self
        for (reference, resource) in other.setting { result.set(resource, of: other.hosts[reference]) }
        for reference in other.removing where result.setting[reference] == nil {
            result.removing.insert(reference)
            result.hosts[reference] = other.hosts[reference]
        }
        return result
    }

    /// What is taken away shows again what lies under it.
    /// - Parameter hosts: what is of these stays hidden.
    func revealing(_ snapshot: Snapshot, hiding hosts: Set<String> = []) -> ResourceDelta {
        var result = self
        for reference in removing {
            let host = self.hosts[reference]
            if let host, hosts.contains(host) { continue }
            guard let under = snapshot[reference.type].resource(named: reference.name) else { continue }
            result.set(under, of: host)
        }
        return result
    }

    func limited(to type: ResourceType) -> ResourceDelta {
        var result = self
        result.setting = setting.filter { $0.key.type == type }
        result.removing = removing.filter { $0.type == type }
        return result
    }

    /// Without what is there already, or is not there anyway.
    func different(from snapshot: Snapshot) -> ResourceDelta {
        var result = self
        result.setting = setting.filter { snapshot[$0.key.type].resource(named: $0.key.name) !== $0.value }
        result.removing = removing.filter { snapshot[$0.type].resource(named: $0.name) != nil }
        return result
    }

    /// Without what is of some hosts; nil where there is nothing of them.
    func without(_ hosts: Set<String>) -> ResourceDelta? {
        func isOfThem(_ reference: ResourceReference) -> Bool {
            self.hosts[reference].map { hosts.contains($0) } ?? false
        }
        guard setting.keys.contains(where: isOfThem) || removing.contains(where: isOfThem) else { return nil }
        var result = self
        result.setting = setting.filter { !isOfThem($0.key) }
        result.removing = removing.filter { !isOfThem($0) }
        return result
    }

    /// In one order, whatever the order in which it was put together.
    var sorted: (setting: [Resource], removing: [ResourceReference]) {
        (
            setting.values.sorted { ($0.type, $0.name) < ($1.type, $1.name) },
            removing.sorted { ($0.type, $0.name) < ($1.type, $1.name) }
        )
    }
}

/// The sections that something shows, with what each showed last: what a changed section takes away is known by it.
struct Holding: Sendable {
    private(set) var contents: [Section: [Resource]] = [:]

    /// Replaces what a section shows, and notes the difference.
    mutating func show(_ section: Section, _ resources: [Resource], noting delta: inout ResourceDelta) {
        let old = contents.updateValue(resources, forKey: section) ?? []
        for resource in old where !resources.contains(where: { $0.name == resource.name && $0.type == resource.type }) {
            delta.remove(resource, of: section.host)
        }
        for resource in resources where !old.contains(where: { $0 === resource }) {
            delta.set(resource, of: section.host)
        }
    }

    mutating func drop(_ section: Section, noting delta: inout ResourceDelta) {
        for resource in contents.removeValue(forKey: section) ?? [] { delta.remove(resource, of: section.host) }
    }

    func holds(_ section: Section) -> Bool { contents[section] != nil }
}

/// What clients of one scope see of others.
struct ScopeAssembly: Sendable {
    var number: ScopeNumber
    /// The scope whose clusters and endpoints this one shares but for what differs; nil: none, all is listed.
    var basis: ScopeNumber?
    /// Hosts whose clusters and endpoints are not those of the basis.
    var ownHosts: Set<String> = []
    var holding = Holding()
    var snapshot = Snapshot.empty
    /// Whether ``snapshot`` is what it should be but for what changed since.
    var isAssembled = false
    /// Classes of proxies, by number, that show it.
    var classes: Set<Int> = []
    /// Scopes that are based on it.
    var followers = 0
}

/// One class of proxies that are there.
struct ClassAssembly: Sendable {
    var proxy: ProxyClass
    var scope: ScopeNumber
    var holding = Holding()
    var snapshot = Snapshot.empty
    /// How often it was added.
    var users = 1
}

/// One view that shows something else than before.
public struct ViewChange: Sendable {
    public var proxy: ProxyClass
    public var before: Snapshot
    public var after: Snapshot
    /// Resources that are new or different, by type and name; none for a new view, in which all are new.
    public var setting: [XDS.Resource]
    public var removing: [ResourceReference]
}

/// What a change of the mesh came to.
public struct ViewChanges: Sendable {
    /// In the order in which the classes came.
    public var views: [ViewChange] = []
    /// How many sections of each kind were made anew, and how many of these came out different.
    public var made: [SectionKind: Int] = [:]
    public var different: [SectionKind: Int] = [:]

    /// Nothing.
    public init() {}
}
