import Mesh
import Translation
import XDS

/// What proxies see that a roll-out has not reached: the mesh as it was before, followed by the workloads that come and
/// go.
///
/// It is translated when something changes or a proxy comes that needs it: most changes are with all proxies before
/// that, and cost no translation of what they replace.
struct KeptMesh {
    /// The objects of the revision before, and the workloads of now.
    private(set) var index: MeshIndex
    /// nil: views show what they showed.
    private(set) var translation: MeshTranslation?
    /// Classes that see something else by the newest revision.
    private(set) var diverged: Set<ProxyClass> = []
    /// Objects in which the newest mesh may differ.
    private var keys: Set<ObjectKey> = []

    /// - Parameter changes: that led to the newest mesh.
    init(_ index: MeshIndex, before changes: [MeshIndex.Change]) {
        self.index = index
        differ(by: changes)
    }

    /// For a control plane that begins again: no proxy is there yet.
    init(_ index: MeshIndex, settings: TranslationSettings) {
        self.index = index
        translation = MeshTranslation(settings: settings, index: index)
    }

    /// The newest mesh has changed further.
    mutating func differ(by changes: [MeshIndex.Change]) {
        for change in changes {
            switch change {
            case .put(let object): keys.insert(object.key)
            case .remove(let key): keys.insert(key)
            case .connect, .disconnect, .judge: break
            }
        }
    }

    mutating func diverge(_ proxies: some Sequence<ProxyClass>) { diverged.formUnion(proxies) }

    /// Makes the translation if there is none.
    /// - Returns: whether there was none.
    @discardableResult
    mutating func translate(beside newest: MeshTranslation) -> Bool {
        guard translation == nil else { return false }
        let back = keys.sorted().map { key in
            index[key].map { MeshIndex.Change.put($0) } ?? .remove(key)
        }
        translation = newest.moved(to: index, changes: back)
        return true
    }

    /// Follows workloads, after the newest mesh has.
    /// - Returns: classes that may see something else; nil: all of them.
    mutating func follow(
        _ changes: [MeshIndex.Change], beside newest: inout MeshTranslation
    ) -> [ProxyClass]? {
        index = index.applying(changes)
        if translate(beside: newest) { return nil }
        return translation?.follow(index, changes: changes, beside: &newest).views.map(\.proxy)
    }

    mutating func add(_ proxy: ProxyClass) { translation?.add(proxy) }

    mutating func remove(_ proxy: ProxyClass) {
        translation?.remove(proxy)
        diverged.remove(proxy)
    }
}

extension Snapshot {
    /// Whether a proxy sees the same by both.
    func shows(theSameAs other: Snapshot) -> Bool {
        self === other
            || ResourceType.all.allSatisfy { self[$0] === other[$0] || self[$0].version == other[$0].version }
    }
}
