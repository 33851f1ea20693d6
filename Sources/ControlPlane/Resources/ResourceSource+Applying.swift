import Store
import XDS

extension ResourceSource {
    /// Changes what was applied: all that the request says, or nothing. What has changed is on disk before any proxy
    /// sees it.
    public func apply(_ request: ApplyRequest) throws(ApplyError) -> ApplyOutcome {
        precondition(isStarted, "a source is started before it is used")
        let application: Application
        do { application = try Application(request) } catch { throw .invalid(error) }
        var next = catalog
        let change: CatalogChange
        do { change = try next.apply(application) } catch { throw .refused(error) }
        if (request.isStrict || configuration.isStrict) && !change.newFindings.isEmpty {
            throw .dangling(change.newFindings)
        }
        var nextSnapshots = snapshots
        do { try nextSnapshots.follow(change, of: next) } catch { throw .unpublishable(error) }
        let concerned = change.entries.flatMap { next.findings(about: $0.place) }
        let outcome = ApplyOutcome(change: change, warnings: Set(concerned + change.newFindings).sorted())
        if request.isDryRun { return outcome }
        if !change.isEmpty {
            do { try commit(change, label: application.label) } catch { throw .store(error) }
            adopt(next, nextSnapshots, change)
            // Files may have been waiting for a name to become free.
            if !(pending.isEmpty && pendingRemovals.isEmpty) { settle(ResourceFiles.Outcome()) }
        }
        return outcome
    }

    private func commit(_ change: CatalogChange, label: String?) throws(StoreError) {
        let changed = change.entries.filter { $0.kind != .unchanged }
        let types = Set(
            changed.map { entry in
                AppliedVersion(
                    scope: entry.place.scope.text, typeURL: entry.place.key.type.typeURL, version: label ?? "")
            })
        try store.commit(
            putting: changed.compactMap { $0.resource.map { AppliedResource($0) } },
            removing: changed.filter { $0.kind == .removed }.map(\.place.storeKey),
            versions: types.sorted { ($0.scope, $0.typeURL) < ($1.scope, $1.typeURL) })
    }

    // MARK: Publishing

    /// Puts a new state in the place of the old one, and shows it.
    func adopt(_ next: ResourceCatalog, _ nextSnapshots: ViewSnapshots, _ change: CatalogChange) {
        let older = snapshots
        (catalog, snapshots) = (next, nextSnapshots)
        for finding in change.newFindings { logger.warning("\(finding)") }
        for finding in change.mendedFindings { logger.info("mended", metadata: ["problem": "\(finding)"]) }
        guard isStarted, !change.isEmpty else { return }
        let names = snapshots.names.filter { snapshots.snapshot(of: $0) !== older.snapshot(of: $0) }
        for name in names { show(name) }
        let scopesAdded = change.addedScopes.filter { $0 != .all }
        let scopesRemoved = change.removedScopes.filter { $0 != .all }
        if !(scopesAdded.isEmpty && scopesRemoved.isEmpty) {
            views.change(adding: scopesAdded, removing: scopesRemoved)
            secrets?.assignAgain()
            scopesChanged?()
            for name in older.names where snapshots.snapshot(of: name) == nil {
                if let secrets { secrets.remove(name) } else { cache.remove(name) }
            }
        }
        logger.info(
            "published",
            metadata: [
                "added": "\(change.count(of: .added))", "changed": "\(change.count(of: .changed))",
                "removed": "\(change.count(of: .removed))", "views": "\(names.count)",
            ])
        published?(Publication(change: change, views: names))
    }

    func show(_ name: ViewName) {
        guard let snapshot = snapshots.snapshot(of: name) else { preconditionFailure("no view \(name)") }
        if let secrets { secrets.show(snapshot, as: name) } else { cache.adopt(snapshot, as: name) }
    }

    /// Makes the views of two scopes that streams have asked for.
    func makeDemandedViews() {
        guard isStarted else { return }
        for scopes in views.takeDemanded() {
            do {
                try snapshots.demand(scopes, of: catalog)
                if snapshots.snapshot(of: scopes.name) != nil { show(scopes.name) }
            } catch {
                logger.error("the view \(scopes.name) cannot be made: \(error)")
            }
        }
    }
}
