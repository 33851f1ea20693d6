import Discovery
import GRPC
import XDS

/// Which views there are for proxies that have proved who they are, and what they show: a value.
struct IdentityViews: Sendable {
    /// What the owner must do, in order.
    enum Change: Sendable {
        case show(Snapshot, ViewName)
        case remove(ViewName)
        /// Cannot happen as long as reserved names are kept from users' secrets.
        case failed(ViewName, PublishError)
    }

    typealias Ready = @Sendable (GRPCStatus?) -> Void

    /// Whether a holder has a certificate.
    enum Demand {
        case isThere
        /// Asked for already; the caller is told too.
        case isUnderWay
        case begins
    }

    private struct ClassView: Sendable {
        /// As the configuration has it.
        var given: Snapshot
        /// With what everybody trusts, and without users' secrets of reserved names.
        var base: Snapshot
        /// Names of the views that follow it.
        var members: Set<ViewName> = []
    }

    private struct View: Sendable {
        var parent: ViewName
        /// nil: everybody with a certificate that names no identity.
        var holder: SecretHolder?
        /// nil as long as the class shows nothing.
        var snapshot: Snapshot?
        /// The class's secrets that those of ``snapshot`` were made of.
        var common: ResourceSet?
        var streams = 0
    }

    private struct Holder: Sendable {
        var own: [Resource] = []
        var streams = 0
        var views: Set<ViewName> = []
    }

    private struct Place: Sendable {
        var node: Node
        var view: ViewName
    }

    private var classes: [ViewName: ClassView] = [:]
    private var views: [ViewName: View] = [:]
    private var holders: [SecretHolder: Holder] = [:]
    private var streams: [StreamToken: Place] = [:]
    /// Those that may enter, or end before that.
    private var expected: Set<StreamToken> = []
    private var demands: [SecretHolder: [Ready]] = [:]
    private var bundle: [Resource] = []
    private var shared: [Resource] = []
    private var changes: [Change] = []

    var holderList: [SecretHolder] { holders.keys.sorted() }
    var viewCount: Int { views.count }
    /// What is kept, for tests of the bounds.
    var counts: (classes: Int, views: Int, holders: Int, streams: Int, demands: Int) {
        (classes.count, views.count, holders.count, streams.count + expected.count, demands.count)
    }

    mutating func takeChanges() -> [Change] {
        defer { changes = [] }
        return changes
    }

    // MARK: Names

    /// The view of a node: that of its class as long as it has proved nothing.
    static func name(of node: Node, in parent: ViewName) -> ViewName {
        guard let principal = node.principal else { return parent }
        guard node.holder != nil else { return ViewName("\(parent),certificate") }
        return ViewName("\(parent),identity=\(escaped(principal)),node=\(escaped(node.id))")
    }

    /// As ``ViewScopes/name`` escapes, so that no two views have one name.
    private static func escaped(_ text: String) -> String {
        var result = ""
        for character in text {
            switch character {
            case "%": result += "%25"
            case ",": result += "%2C"
            default: result.append(character)
            }
        }
        return result
    }

    /// Whether a name is for the authority to give.
    private func isReserved(_ name: String) -> Bool {
        SecretDirectory.isReserved(name) || shared.contains { $0.name == name } || bundle.contains { $0.name == name }
    }

    // MARK: Classes

    mutating func show(_ snapshot: Snapshot, as name: ViewName) {
        let older = classes[name]
        var next = ClassView(given: snapshot, base: snapshot, members: older?.members ?? members(of: name))
        if let older, older.given[.secret] === snapshot[.secret] {
            next.base = snapshot.taking([.secret], from: older.base)
        } else {
            next.base = base(of: snapshot, for: name)
        }
        classes[name] = next
        changes.append(.show(snapshot.taking([.secret], from: .empty), name))
        for member in next.members.sorted() { follow(member) }
    }

    mutating func remove(_ name: ViewName) {
        guard classes.removeValue(forKey: name) != nil else { return }
        changes.append(.remove(name))
    }

    /// Views that were made before their class.
    private func members(of name: ViewName) -> Set<ViewName> {
        Set(views.filter { $0.value.parent == name }.keys)
    }

    private mutating func base(of given: Snapshot, for name: ViewName) -> Snapshot {
        let common = bundle + shared
        // Without an authority users name their secrets as they like.
        if common.isEmpty { return given }
        let hidden = given[.secret].sortedResources()
            .filter { ([$0.name] + $0.aliases).contains(where: isReserved) }
        do throws(PublishError) {
            return try given.applying(
                setting: common, removing: hidden.map { ResourceReference(.secret, $0.name) })
        } catch {
            changes.append(.failed(name, error))
            return given.taking([.secret], from: .empty)
        }
    }

    // MARK: What the authority gives

    mutating func setBundle(_ resources: [Resource]) {
        let older = bundle
        bundle = resources
        commonChanged(from: older, to: resources)
    }

    mutating func setShared(_ resources: [Resource]) {
        let older = shared
        shared = resources
        commonChanged(from: older, to: resources)
    }

    private mutating func commonChanged(from older: [Resource], to newer: [Resource]) {
        let names = Set(newer.map(\.name))
        let gone = older.filter { !names.contains($0.name) }.map { ResourceReference(.secret, $0.name) }
        let hasNewNames = !names.isSubset(of: older.map(\.name))
        for name in classes.keys.sorted() {
            guard let view = classes[name] else { continue }
            var next = view.base
            if hasNewNames {
                // Users' secrets of such names go.
                next = base(of: view.given, for: name)
            } else {
                do throws(PublishError) {
                    next = try view.base.applying(setting: newer, removing: gone)
                } catch {
                    changes.append(.failed(name, error))
                }
            }
            classes[name]?.base = next
            for member in view.members.sorted() { follow(member) }
        }
    }

    /// - Returns: false: the holder has gone.
    mutating func setIdentity(_ resources: [Resource], of holder: SecretHolder) -> Bool {
        guard holders[holder] != nil else { return false }
        holders[holder]?.own = resources
        for name in holders[holder]?.views.sorted() ?? [] { follow(name, ownChanged: true) }
        return true
    }

    /// Brings a view up to date with its class and its holder.
    private mutating func follow(_ name: ViewName, ownChanged: Bool = false) {
        guard let view = views[name], let base = classes[view.parent]?.base else { return }
        let own = view.holder.flatMap { holders[$0]?.own } ?? []
        var next = base
        if let snapshot = view.snapshot, view.common === base[.secret], !ownChanged {
            // The same secrets as before: nothing is compared.
            next = base.taking([.secret], from: snapshot)
        } else if !own.isEmpty {
            do throws(PublishError) {
                next = try base.applying(setting: own)
            } catch {
                changes.append(.failed(name, error))
            }
        }
        views[name]?.common = base[.secret]
        guard next !== view.snapshot else { return }
        views[name]?.snapshot = next
        changes.append(.show(next, name))
    }

    // MARK: Streams

    mutating func expect(_ stream: StreamToken) { expected.insert(stream) }

    /// Lets a stream in that was expected and has not ended meanwhile.
    /// - Parameters:
    ///   - node: is kept: without what its class does not depend on.
    ///   - parent: says the class of a node.
    /// - Returns: whether it is the first stream of its holder.
    mutating func enter(_ stream: StreamToken, _ node: Node, parent: (Node) -> ViewName) -> Bool {
        guard expected.remove(stream) != nil, node.principal != nil else { return false }
        var isFirst = false
        if let holder = node.holder {
            isFirst = holders[holder] == nil
            holders[holder, default: Holder()].streams += 1
        }
        let view = enterView(of: node, in: parent(node))
        streams[stream] = Place(node: node, view: view)
        return isFirst
    }

    /// - Returns: the holder, whether this was its last stream, and who waits for a certificate that nobody needs any
    ///   more.
    mutating func leave(_ stream: StreamToken) -> (holder: SecretHolder?, isLast: Bool, waiting: [Ready]) {
        expected.remove(stream)
        guard let place = streams.removeValue(forKey: stream) else { return (nil, false, []) }
        leaveView(place.view)
        guard let holder = place.node.holder, let count = holders[holder]?.streams else { return (nil, false, []) }
        guard count == 1 else {
            holders[holder]?.streams = count - 1
            return (holder, false, [])
        }
        holders[holder] = nil
        return (holder, true, takeDemands(of: holder))
    }

    /// - Parameter nodes: by ID; nil: all of them.
    mutating func assignAgain(of nodes: Set<String>? = nil, parent: (Node) -> ViewName) {
        let asked = streams.filter { nodes?.contains($0.value.node.id) ?? true }
        for (stream, place) in asked.sorted(by: { $0.key < $1.key }) {
            let parent = parent(place.node)
            guard Self.name(of: place.node, in: parent) != place.view else { continue }
            let view = enterView(of: place.node, in: parent)
            streams[stream]?.view = view
            leaveView(place.view)
        }
    }

    private mutating func enterView(of node: Node, in parent: ViewName) -> ViewName {
        let name = Self.name(of: node, in: parent)
        if views[name] == nil {
            let holder = node.holder
            views[name] = View(parent: parent, holder: holder)
            classes[parent]?.members.insert(name)
            if let holder { holders[holder]?.views.insert(name) }
            follow(name)
        }
        views[name]?.streams += 1
        return name
    }

    private mutating func leaveView(_ name: ViewName) {
        guard let view = views[name] else { return }
        guard view.streams == 1 else {
            views[name]?.streams = view.streams - 1
            return
        }
        views[name] = nil
        classes[view.parent]?.members.remove(name)
        if let holder = view.holder { holders[holder]?.views.remove(name) }
        if view.snapshot != nil { changes.append(.remove(name)) }
    }

    // MARK: Demands

    mutating func demand(_ holder: SecretHolder, _ ready: @escaping Ready) -> Demand {
        // One that has gone meanwhile needs nothing.
        guard let state = holders[holder], state.own.isEmpty else { return .isThere }
        guard demands[holder] == nil else {
            demands[holder]?.append(ready)
            return .isUnderWay
        }
        demands[holder] = [ready]
        return .begins
    }

    mutating func takeDemands(of holder: SecretHolder) -> [Ready] { demands.removeValue(forKey: holder) ?? [] }

    /// Whether a name of a secret is another's: another workload's, or another node's.
    func isForeign(_ name: String, to holder: SecretHolder?) -> Bool {
        guard name.hasPrefix("spiffe://"), name != holder.map({ "\($0.identity)" }) else { return false }
        return !bundle.contains { $0.name == name }
    }
}
