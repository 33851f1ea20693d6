import Mesh
import Translation
import XDS

// What some proxies see before others.

extension MeshPublisher {
    /// Whether a revision comes to a part of the proxies first: then what they see is kept.
    func begins(
        _ old: MeshIndex, _ new: MeshIndex, _ proxies: [ProxyClass], _ changes: [MeshIndex.Change]
    ) -> Bool {
        // Before the first object and after the last one, proxies are part of no mesh.
        let isMesh = old.count > 0 && new.count > 0
        guard let pacing, !changes.areOfWorkloads, pacing.paces(isMesh ? members(of: Set(proxies)) : []) else {
            return false
        }
        kept = KeptMesh(old, before: changes)
        return true
    }

    func followRevision(_ proxies: [ProxyClass], _ changes: [MeshIndex.Change]) {
        kept?.differ(by: changes)
        kept?.diverge(proxies)
        let names = proxies.flatMap { viewsOfClass[$0]?.sorted() ?? [] }.compactMap { shown[$0]?.view.commonName }
        affected.note(names, by: source.state.revision)
        showCandidates(proxies)
        pacing?.revisionCame(source.state.revision, affecting: Set(names))
    }

    func followWorkloads(_ proxies: [ProxyClass], _ changes: [MeshIndex.Change]) {
        // Both translations follow.
        let older = kept?.follow(changes, beside: &translation)
        let all = older.map { Set($0).union(proxies) } ?? Set(viewsOfClass.keys)
        var names: [ViewName] = []
        for proxy in all where kept?.diverged.contains(proxy) == false && isDiverged(proxy) {
            names += viewsOfClass[proxy]?.sorted() ?? []
        }
        if !names.isEmpty { pacing?.affect(names) }
        let ordered = translation.ordered(all)
        show(ordered)
        showCandidates(ordered)
    }

    /// Shows what a part of the proxies gets.
    private func showCandidates(_ proxies: [ProxyClass]) {
        for proxy in proxies where kept?.diverged.contains(proxy) == true {
            for name in viewsOfClass[proxy]?.sorted() ?? [] {
                guard var view = shown[name]?.view, !view.isCandidate else { continue }
                view.isCandidate = true
                show(view)
            }
        }
    }

    /// Whether a class sees something else by the newest mesh than by the one that is kept.
    func isDiverged(_ proxy: ProxyClass) -> Bool {
        guard kept != nil else { return false }
        if kept?.diverged.contains(proxy) == true { return true }
        kept?.translate(beside: translation)
        guard let newest = translation.snapshot(of: proxy), let older = kept?.translation?.snapshot(of: proxy),
            !newest.shows(theSameAs: older)
        else { return false }
        kept?.diverge([proxy])
        return true
    }

    /// The proxies of some classes, once for each stream; nil: of all classes that see something else.
    func members(of classes: Set<ProxyClass>? = nil) -> [RolloutShare.Member] {
        guard let classes = classes ?? kept?.diverged else { return [] }
        return places.values.compactMap { place in
            guard let view = place.view, classes.contains(view.proxy), let name = place.commonName else { return nil }
            return RolloutShare.Member(place.node.id, name)
        }
    }

    /// What the proxy of a workload has as long as a roll-out has not reached it; nil: it has the newest, or is not there.
    func indexBefore(_ id: Workload.ID) -> MeshIndex? {
        guard let kept, let stream = registry.stream(of: id), places[stream]?.view?.isCandidate == false else {
            return nil
        }
        return kept.index
    }

    /// Proxies see the mesh as it was, until ``release()``. For a control plane that begins again.
    func keep(_ index: MeshIndex) { kept = KeptMesh(index, settings: configuration.settings) }

    /// Moves proxies to the views that they belong to now.
    /// - Parameter nodes: by ID.
    func move(_ nodes: Set<String>) {
        secrets.assignAgain(of: nodes)
        for stream in places.filter({ nodes.contains($0.value.node.id) }).keys.sorted() { place(stream) }
    }

    /// All proxies see the newest mesh.
    func release() {
        guard let kept = self.kept else { return }
        self.kept = nil
        // What was translated may be other objects that say the same.
        show(kept.translation == nil ? translation.proxies.filter(kept.diverged.contains) : translation.proxies)
    }

    /// Forgets views that no proxy belongs to any more.
    func forgetCandidates() {
        for (name, entry) in shown where entry.view.isCandidate {
            shown[name] = nil
            viewsOfClass[entry.view.proxy]?.remove(name)
            viewsOfRaw[entry.view.raw]?.remove(name)
            secrets.remove(name)
        }
    }
}

extension [MeshIndex.Change] {
    /// Whether no object has changed.
    var areOfWorkloads: Bool {
        allSatisfy { change in
            switch change {
            case .connect, .disconnect, .judge: true
            case .put, .remove: false
            }
        }
    }
}
