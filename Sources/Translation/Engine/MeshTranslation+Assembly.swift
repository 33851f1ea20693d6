import Mesh
import XDS

// From sections to snapshots: what changed is put on top of what is shown, so that the work grows with the change, and
// views that showed the same set of resources show the same set afterwards.

extension MeshTranslation {
    /// What one change of the mesh, or of the proxies that are there, comes to.
    struct Step {
        /// Scopes and classes that may show other sections than before.
        var plannedScopes: Set<ScopeNumber> = []
        var plannedClasses: Set<Int> = []
        var newClasses: Set<Int> = []
        /// Sections that came out different, by who shows them.
        var scopeSections: [ScopeNumber: [Section]] = [:]
        var classSections: [Int: [Section]] = [:]
        /// What changed for each scope, and by which name: scopes with one change have one name.
        var deltas: [ScopeNumber: [ResourceType: NamedDelta]] = [:]
        /// Changes that several come to by themselves have one name too.
        var names: [Contents: Int] = [:]
        /// A set of resources and a change of it always come to the same set.
        var known: [Transition: Snapshot] = [:]
        /// Keeps sets alive, so that no other takes the identity of one in ``known``.
        var kept: [Snapshot] = []

        mutating func name(_ delta: ResourceDelta) -> NamedDelta {
            let (setting, removing) = delta.sorted
            let contents = Contents(setting: setting.map(ObjectIdentifier.init), removing: removing)
            let name = names[contents] ?? names.count + 1
            names[contents] = name
            return NamedDelta(name: name, delta: delta)
        }
    }

    struct NamedDelta {
        var name: Int
        var delta: ResourceDelta
    }

    struct Contents: Hashable {
        var setting: [ObjectIdentifier]
        var removing: [ResourceReference]
    }

    struct Transition: Hashable {
        var older: ObjectIdentifier
        var name: Int
    }

    /// A section came out different: who shows it must know.
    func note(_ section: Section, in step: inout Step) {
        guard let found = holders[section] else { return }
        switch section {
        case .scope: step.plannedClasses.formUnion(found.classes)
        case .services, .ports, .differences:
            for scope in found.scopes {
                step.plannedScopes.insert(scope)
                step.plannedClasses.formUnion(scopes[scope]!.classes)
            }
        case .listenerSelectors, .interests: step.plannedClasses.formUnion(found.classes)
        default:
            for scope in found.scopes { step.scopeSections[scope, default: []].append(section) }
            for number in found.classes { step.classSections[number, default: []].append(section) }
        }
    }

    /// The assembly of a scope, made if there is none.
    mutating func enter(_ scope: OutboundScope, _ step: inout Step) -> ScopeNumber {
        let (own, _) = maker.scopes.add(scope)
        open(own, &step)
        return own
    }

    private mutating func open(_ number: ScopeNumber, _ step: inout Step) {
        guard scopes[number] == nil else { return }
        scopes[number] = ScopeAssembly(number: number)
        for section in [Section.services(number), .ports(number), .differences(number)] { hold(section, scope: number) }
        step.plannedScopes.insert(number)
    }

    mutating func leave(_ number: ScopeNumber, class member: Int) {
        scopes[number]!.classes.remove(member)
        close(number)
    }

    private mutating func close(_ number: ScopeNumber) {
        guard let scope = scopes[number], scope.classes.isEmpty, scope.followers == 0 else { return }
        scopes[number] = nil
        defer { if maker.scopes.plain(of: number) != number { maker.scopes.remove(number) } }
        for section in scope.holding.contents.keys { release(section, scope: number) }
        for section in [Section.services(number), .ports(number), .differences(number)] {
            release(section, scope: number)
        }
        if let basis = scope.basis {
            scopes[basis]!.followers -= 1
            close(basis)
        }
    }

    // MARK: Putting together

    mutating func finish(_ step: inout Step) -> ViewChanges {
        for number in step.plannedClasses.sorted() { moveIfNeeded(number, &step) }
        // A scope may be based on another, which is then put together first.
        for number in step.plannedScopes.sorted(by: { $0.number < $1.number }) { chooseBasis(of: number, &step) }
        let numbers = Set(step.scopeSections.keys).union(step.plannedScopes).filter { scopes[$0] != nil }
        let bases = Set(scopes.values.compactMap(\.basis))
        for number in bases where numbers.contains(number) || !scopes[number]!.isAssembled {
            assemble(number, &step)
        }
        var rest = numbers.subtracting(bases)
        for (number, scope) in scopes where !bases.contains(number) {
            if let basis = scope.basis, step.deltas[basis] != nil { rest.insert(number) }
        }
        for number in rest.sorted(by: { $0.number < $1.number }) { assemble(number, &step) }

        var changed = Set(step.classSections.keys).union(step.plannedClasses).filter { classes[$0] != nil }
        for number in step.deltas.keys { changed.formUnion(scopes[number]!.classes) }
        var result = ViewChanges()
        for number in changed.sorted() {
            if let change = assemble(class: number, &step) { result.views.append(change) }
        }
        for section in sections.made { result.made[section.kind, default: 0] += 1 }
        for section in sections.changed { result.different[section.kind, default: 0] += 1 }
        sections.sweep()
        maker.interning.sweepIfGrown()
        return result
    }

    private mutating func moveIfNeeded(_ number: Int, _ step: inout Step) {
        guard let assembly = classes[number] else { return }
        let scope = sections.value(of: .scope(assembly.proxy), &maker).scope
        if maker.scopes[assembly.scope] == scope { return }
        let new = enter(scope, &step)
        scopes[new]!.classes.insert(number)
        classes[number]!.scope = new
        // Everything may differ: it is put together from nothing.
        step.newClasses.insert(number)
        leave(assembly.scope, class: number)
    }

    private mutating func chooseBasis(of number: ScopeNumber, _ step: inout Step) {
        guard let scope = scopes[number] else { return }
        let plain = maker.scopes.plain(of: number)
        let isApart = sections.value(of: .differences(number), &maker).differences.isApart
        // Programs without a proxy share nothing: each has what it asks for.
        let isAlone = number == plain || isApart || maker.scopes[number].kind == .proxyless
        let basis: ScopeNumber? = isAlone ? nil : plain
        guard basis != scope.basis else { return }
        if let basis {
            open(basis, &step)
            scopes[basis]!.followers += 1
            if step.plannedScopes.contains(basis) { chooseBasis(of: basis, &step) }
        }
        scopes[number]!.basis = basis
        if scope.isAssembled {
            // Everything may differ: it is put together from nothing, and so are its classes.
            for section in scope.holding.contents.keys { release(section, scope: number) }
            scopes[number]!.holding = Holding()
            scopes[number]!.isAssembled = false
            step.newClasses.formUnion(scope.classes)
            step.plannedClasses.formUnion(scope.classes)
        }
        if let old = scope.basis {
            scopes[old]!.followers -= 1
            close(old)
        }
    }

    private mutating func assemble(_ number: ScopeNumber, _ step: inout Step) {
        // Taken out while it changes: what it holds is then not copied.
        guard var scope = scopes.removeValue(forKey: number) else { return }
        let isNew = !scope.isAssembled
        if isNew { scope.snapshot = scope.basis.map { scopes[$0]!.snapshot } ?? .empty }
        step.kept.append(scope.snapshot)
        var own = ResourceDelta()
        for section in step.scopeSections[number] ?? [] where scope.holding.holds(section) {
            scope.holding.show(section, sections.value(of: section, &maker).resources, noting: &own)
        }
        let oldHosts = isNew ? [] : scope.ownHosts
        if isNew || step.plannedScopes.contains(number) { replan(&scope, &own) }
        own = revealed(oldHosts, in: scope).joined(with: own)
        if let basis = scope.basis { own = own.revealing(scopes[basis]!.snapshot, hiding: scope.ownHosts) }
        let inherited = isNew ? [:] : scope.basis.flatMap { step.deltas[$0] } ?? [:]
        let deltas = merge(inherited, own, hiding: scope.ownHosts.intersection(oldHosts), from: scope.snapshot, &step)
        scope.snapshot = advanced(scope.snapshot, by: deltas, &step)
        scope.isAssembled = true
        if isNew || !deltas.isEmpty { step.deltas[number] = deltas }
        scopes[number] = scope
    }

    /// Decides which sections a scope shows.
    private mutating func replan(_ scope: inout ScopeAssembly, _ delta: inout ResourceDelta) {
        let number = scope.number
        let plain = maker.scopes.plain(of: number)
        let services = sections.value(of: .services(number), &maker).services
        let differences = sections.value(of: .differences(number), &maker).differences
        var wanted: [Section] = []
        if maker.scopes[number].kind == .proxyless {
            scope.ownHosts = []
        } else if scope.basis == nil {
            wanted.append(.commonClusters)
            for service in services {
                let owner = differences.clusters.contains(service.host) ? number : plain
                wanted += [.clusters(owner, host: service.host), .endpoints(owner, host: service.host)]
            }
            scope.ownHosts = []
        } else {
            for host in differences.clusters.sorted() {
                wanted += [.clusters(number, host: host), .endpoints(number, host: host)]
            }
            scope.ownHosts = differences.clusters
        }
        // A scope that is there only for others to share has no clients, and no routes.
        if maker.scopes[number].kind == .sidecar, !scope.classes.isEmpty {
            for port in sections.value(of: .ports(number), &maker).ports.keys.sorted() {
                let isOwn = differences.ports?.contains(port) ?? true
                wanted.append(.routes(isOwn ? number : plain, port: port))
            }
        }
        let kept = Set(wanted)
        var gone = ResourceDelta()
        for section in Array(scope.holding.contents.keys) where !kept.contains(section) {
            scope.holding.drop(section, noting: &gone)
            release(section, scope: number)
        }
        delta = delta.followed(by: gone)
        for section in wanted {
            hold(section, scope: number)
            scope.holding.show(section, sections.value(of: section, &maker).resources, noting: &delta)
        }
    }

    /// Hosts that a scope has for itself hide what the basis shows of them; hosts that it no longer has for itself show
    /// it again.
    private func revealed(_ oldHosts: Set<String>, in scope: ScopeAssembly) -> ResourceDelta {
        var delta = ResourceDelta()
        guard let basis = scope.basis, oldHosts != scope.ownHosts else { return delta }
        let holding = scopes[basis]!.holding
        func shown(_ host: String) -> [Resource] {
            [Section.clusters(basis, host: host), .endpoints(basis, host: host)].flatMap { holding.contents[$0] ?? [] }
        }
        for host in oldHosts.subtracting(scope.ownHosts) {
            for resource in shown(host) { delta.set(resource, of: host) }
        }
        for host in scope.ownHosts.subtracting(oldHosts) {
            for resource in shown(host) { delta.remove(resource, of: host) }
        }
        return delta
    }

    /// What the basis changed, without what is hidden, and then what the scope changed itself.
    private func merge(
        _ inherited: [ResourceType: NamedDelta], _ own: ResourceDelta, hiding hosts: Set<String>,
        from snapshot: Snapshot, _ step: inout Step
    ) -> [ResourceType: NamedDelta] {
        var result = inherited
        for (type, named) in inherited {
            guard let limited = named.delta.without(hosts) else { continue }
            result[type] = limited.isEmpty ? nil : step.name(limited)
        }
        for type in own.types {
            let limited = own.limited(to: type)
            let whole = (result[type]?.delta.followed(by: limited) ?? limited).different(from: snapshot)
            result[type] = whole.isEmpty ? nil : step.name(whole)
        }
        return result
    }

    /// A snapshot with changes made to it; each change of each set is made once in a step.
    private func advanced(
        _ snapshot: Snapshot, by deltas: [ResourceType: NamedDelta], _ step: inout Step
    ) -> Snapshot {
        var result = snapshot
        for (type, named) in deltas.sorted(by: { $0.key < $1.key }) {
            let transition = Transition(older: ObjectIdentifier(snapshot[type]), name: named.name)
            if let known = step.known[transition] {
                result = result.taking([type], from: known)
                continue
            }
            let (setting, removing) = named.delta.sorted
            do {
                result = try result.applying(setting: setting, removing: removing)
            } catch {
                preconditionFailure("names of resources are made here, and valid: \(error)")
            }
            step.known[transition] = result
        }
        return result
    }

    // MARK: Classes

    private mutating func assemble(class number: Int, _ step: inout Step) -> ViewChange? {
        guard var assembly = classes.removeValue(forKey: number) else { return nil }
        defer { classes[number] = assembly }
        let isNew = step.newClasses.contains(number)
        var own = ResourceDelta()
        for section in step.classSections[number] ?? [] where assembly.holding.holds(section) {
            assembly.holding.show(section, sections.value(of: section, &maker).resources, noting: &own)
        }
        if isNew || step.plannedClasses.contains(number) { replan(&assembly, number, &own) }
        let before = assembly.snapshot
        own = own.revealing(scopes[assembly.scope]!.snapshot)
        var deltas = step.deltas[assembly.scope] ?? [:]
        if isNew {
            assembly.snapshot = scopes[assembly.scope]!.snapshot
            own = ResourceDelta()
            for resources in assembly.holding.contents.values {
                for resource in resources { own.set(resource) }
            }
            deltas = [:]
        }
        deltas = merge(deltas, own, hiding: [], from: assembly.snapshot, &step)
        assembly.snapshot = advanced(assembly.snapshot, by: deltas, &step)
        guard assembly.snapshot !== before else { return nil }
        var change = ViewChange(
            proxy: assembly.proxy, before: before, after: assembly.snapshot, setting: [], removing: [])
        if !isNew {
            for type in deltas.keys.sorted() {
                let (setting, removing) = deltas[type]!.delta.sorted
                change.setting += setting
                change.removing += removing
            }
        } else if before !== Snapshot.empty {
            (change.setting, change.removing) = assembly.snapshot.difference(from: before)
        }
        return change
    }

    private mutating func replan(_ assembly: inout ClassAssembly, _ number: Int, _ delta: inout ResourceDelta) {
        let proxy = assembly.proxy
        let scope = assembly.scope
        let differs = sections.value(of: .differences(scope), &maker).differences.listeners
        let owner = differs ? scope : maker.scopes.plain(of: scope)
        for section in [Section.listenerSelectors, .interests(namespace: proxy.namespace)] {
            hold(section, class: number)
        }
        let wanted: [Section] =
            switch proxy.kind {
            case .sidecar: [.outboundListeners(maker.listenerClass(of: proxy, &sections), owner), .inbound(proxy)]
            case .gateway: [.gateway(proxy)]
            case .proxyless: [.proxyless(proxy, scope)]
            }
        for section in Array(assembly.holding.contents.keys) where !wanted.contains(section) {
            var gone = ResourceDelta()
            assembly.holding.drop(section, noting: &gone)
            delta = delta.followed(by: gone)
            release(section, class: number)
        }
        for section in wanted {
            hold(section, class: number)
            assembly.holding.show(section, sections.value(of: section, &maker).resources, noting: &delta)
        }
    }
}

extension Snapshot {
    /// What differs from another, by comparing all of both.
    fileprivate func difference(from older: Snapshot) -> ([Resource], [ResourceReference]) {
        var setting: [Resource] = []
        var removing: [ResourceReference] = []
        for type in ResourceType.all where self[type] !== older[type] {
            for name in self[type].names {
                guard let resource = self[type].resource(named: name) else { continue }
                if older[type].resource(named: name)?.version != resource.version { setting.append(resource) }
            }
            for name in older[type].names where self[type].resource(named: name) == nil {
                removing.append(ResourceReference(type, name))
            }
        }
        return (setting, removing)
    }
}
