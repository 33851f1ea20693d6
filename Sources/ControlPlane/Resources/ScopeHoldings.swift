import HashTreeCollections
import XDS

/// The resources of one scope: a value that shares its storage with the one that it was copied from.
struct ScopeHoldings: Sendable {
    private(set) var resources: TreeDictionary<ResourceReference, HeldResource> = [:]
    private var canonicalNames: TreeDictionary<ResourceReference, ResourceReference> = [:]
    private var tallies = [TypeTally](repeating: TypeTally(), count: ResourceType.all.count)
    /// The version given with the last change of a type through the control service.
    private(set) var appliedLabels: [ResourceType: String] = [:]

    private struct TypeTally: Sendable {
        var names: TreeSet<String> = []
        var applied = 0
        /// How many resources from files have which `version_info`, none included.
        var fileLabels: [String?: Int] = [:]
    }

    var isEmpty: Bool { resources.isEmpty }

    /// - Parameter key: with a name or an alias.
    subscript(key: ResourceReference) -> HeldResource? {
        resources[key] ?? canonicalNames[key].flatMap { resources[$0] }
    }

    func count(of type: ResourceType) -> Int { tallies[type.order].names.count }

    /// The types of which there is something.
    var types: [ResourceType] { ResourceType.all.filter { count(of: $0) > 0 } }

    func resources(of type: ResourceType) -> [HeldResource] {
        tallies[type.order].names.map { resources[ResourceReference(type, $0)]! }
    }

    mutating func put(_ resource: HeldResource) {
        remove(resource.key)
        resources[resource.key] = resource
        for alias in resource.names.dropFirst() { canonicalNames[alias] = resource.key }
        tally(resource, 1)
    }

    mutating func remove(_ key: ResourceReference) {
        guard let old = resources.removeValue(forKey: key) else { return }
        for alias in old.names.dropFirst() { canonicalNames[alias] = nil }
        tally(old, -1)
    }

    private mutating func tally(_ resource: HeldResource, _ step: Int) {
        let order = resource.resource.type.order
        if step > 0 {
            tallies[order].names.insert(resource.resource.name)
        } else {
            tallies[order].names.remove(resource.resource.name)
        }
        switch resource.origin {
        case .applied: tallies[order].applied += step
        case .file:
            let count = tallies[order].fileLabels[resource.fileLabel, default: 0] + step
            tallies[order].fileLabels[resource.fileLabel] = count == 0 ? .none : .some(count)
        }
    }

    mutating func setAppliedLabel(_ label: String?, of type: ResourceType) {
        appliedLabels[type] = label
    }

    /// The versions that the resources of a type were given as a whole: one for each file or application that says
    /// another. nil stands for none.
    func labels(of type: ResourceType) -> Set<String?> {
        let tally = tallies[type.order]
        var labels = Set(tally.fileLabels.keys)
        if tally.applied > 0 { labels.insert(appliedLabels[type]) }
        return labels
    }
}
