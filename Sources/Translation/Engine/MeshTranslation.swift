import Mesh
import XDS

/// What every class of proxies sees of a mesh, kept current: a change of the mesh makes anew the sections that depend on
/// it and no others, and tells which views show something else. A value: a copy tells what a change would do without
/// doing it.
public struct MeshTranslation: Sendable {
    var maker: SectionMaker
    var sections = Derivations<SectionMaker>()
    var scopes: [ScopeNumber: ScopeAssembly] = [:]
    var classes: [Int: ClassAssembly] = [:]
    var classNumbers: [ProxyClass: Int] = [:]
    var lastClass = 0
    /// Who shows a section.
    var holders: [Section: Holders] = [:]

    /// What shows a section: scopes and classes, by number.
    struct Holders: Sendable {
        var scopes: Set<ScopeNumber> = []
        var classes: Set<Int> = []

        var isEmpty: Bool { scopes.isEmpty && classes.isEmpty }
    }

    public init(settings: TranslationSettings, index: MeshIndex = MeshIndex()) {
        maker = SectionMaker(index, settings: settings)
    }

    public var index: MeshIndex { maker.index }
    public var settings: TranslationSettings { maker.settings }

    /// The classes that were added, in the order in which they came.
    public var proxies: [ProxyClass] { classes.sorted { $0.key < $1.key }.map(\.value.proxy) }

    /// What a class sees; nil for one that was not added.
    public func snapshot(of proxy: ProxyClass) -> Snapshot? { classNumbers[proxy].map { classes[$0]!.snapshot } }

    /// Some of the classes that were added, in the order in which they came.
    public func ordered(_ some: Set<ProxyClass>) -> [ProxyClass] {
        some.compactMap { proxy in classNumbers[proxy].map { ($0, proxy) } }.sorted { $0.0 < $1.0 }.map(\.1)
    }

    /// As long as this is the same number, so are ``warnings``.
    public var warningsVersion: UInt64 { sections.notableVersion }

    /// What users should know of their objects as they are now, sorted; each thing once. Work grows with the number of
    /// sections that have something to tell.
    public var warnings: [MeshFinding] {
        var found = Set<MeshFinding>()
        sections.forEachNotable { found.formUnion($0.warnings) }
        return found.sorted { left, right in
            func order(_ finding: MeshFinding) -> (String, String, String) {
                (finding.object.map { "\($0)" } ?? "", finding.path, finding.words)
            }
            return order(left) < order(right)
        }
    }

    // MARK: Changes

    /// Follows the mesh to a new state.
    /// - Parameters:
    ///   - index: the state.
    ///   - changes: everything in which it differs from the state before; more does no harm.
    public mutating func follow(_ index: MeshIndex, changes: [MeshIndex.Change]) -> ViewChanges {
        let facts = Fact.touched(by: changes, from: maker.index, to: index)
        maker.index = index
        var step = Step()
        sections.beginCount()
        sections.touch(facts)
        sections.settleAll(&maker)
        for section in sections.changed { note(section, in: &step) }
        return finish(&step)
    }

    /// What ``follow(_:changes:)`` would do.
    public func plan(_ index: MeshIndex, changes: [MeshIndex.Change]) -> ViewChanges {
        var copy = self
        return copy.follow(index, changes: changes)
    }

    /// A proxy of this class is there: its class has a snapshot from now on.
    /// - Returns: the view if it is new.
    @discardableResult
    public mutating func add(_ proxy: ProxyClass) -> ViewChanges { add([proxy]) }

    @discardableResult
    public mutating func add(_ proxies: some Sequence<ProxyClass>) -> ViewChanges {
        var step = Step()
        sections.beginCount()
        for proxy in proxies {
            if let known = classNumbers[proxy] {
                classes[known]!.users += 1
                continue
            }
            lastClass += 1
            classNumbers[proxy] = lastClass
            let scope = enter(sections.value(of: .scope(proxy), &maker).scope, &step)
            sections.hold(.scope(proxy))
            classes[lastClass] = ClassAssembly(proxy: proxy, scope: scope)
            holders[.scope(proxy), default: Holders()].classes.insert(lastClass)
            scopes[scope]!.classes.insert(lastClass)
            step.newClasses.insert(lastClass)
            step.plannedClasses.insert(lastClass)
        }
        return finish(&step)
    }

    /// A proxy of this class is gone: with the last one goes the view.
    public mutating func remove(_ proxy: ProxyClass) {
        guard let number = classNumbers[proxy] else { return }
        classes[number]!.users -= 1
        guard classes[number]!.users == 0 else { return }
        classNumbers[proxy] = nil
        let gone = classes.removeValue(forKey: number)!
        for section in gone.holding.contents.keys { release(section, class: number) }
        for section in [Section.scope(proxy), .listenerSelectors, .interests(namespace: proxy.namespace)] {
            release(section, class: number)
        }
        leave(gone.scope, class: number)
        sections.sweep()
        maker.interning.sweepIfGrown()
    }

    // MARK: Holding

    func holds(_ section: Section, scope: ScopeNumber) -> Bool { scopes[scope]!.holding.holds(section) }

    mutating func hold(_ section: Section, scope: ScopeNumber) {
        if holders[section, default: Holders()].scopes.insert(scope).inserted { sections.hold(section) }
    }

    mutating func hold(_ section: Section, class number: Int) {
        if holders[section, default: Holders()].classes.insert(number).inserted { sections.hold(section) }
    }

    mutating func release(_ section: Section, scope: ScopeNumber) {
        guard holders[section]?.scopes.remove(scope) != nil else { return }
        if holders[section]!.isEmpty { holders[section] = nil }
        sections.release(section)
    }

    mutating func release(_ section: Section, class number: Int) {
        guard holders[section]?.classes.remove(number) != nil else { return }
        if holders[section]!.isEmpty { holders[section] = nil }
        sections.release(section)
    }
}
