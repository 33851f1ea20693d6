import Mesh
import Store
import Time
import Translation

extension MeshSource {
    /// The most objects of one answer's history.
    static let historyLimit = 1_000

    /// The objects that a query means, by kind, namespace and name, with what is known of them.
    func objects(_ query: ObjectQuery) throws(MeshRequestError) -> ObjectsReport {
        let labels = LabelExpression(query.selector)
        let isCurrent = query.revision == 0 || query.revision == state.revision
        let index = isCurrent ? state.index : try self.index(at: query.revision)
        let kinds = Set(query.kinds)
        let names = Set(query.names)
        let keys = index.keys.filter { key in
            (kinds.isEmpty || kinds.contains(key.kind)) && (names.isEmpty || names.contains(key.name))
                && (query.namespace.isEmpty || key.namespace == query.namespace)
        }
        let authors: [Int64: StoredRevision]
        do throws(StoreError) {
            authors = Dictionary(
                try store.revisions(limit: configuration.history.revisions).map { ($0.number, $0) },
                uniquingKeysWith: { first, _ in first })
        } catch {
            throw .store(error)
        }
        let translator = configuration.translation.map { Translator(MeshReader(index), settings: $0) }
        let told = isCurrent ? Dictionary(grouping: translationFindings?() ?? []) { $0.object } : [:]
        let objects = keys.compactMap { key -> StandingObject? in
            guard let object = index[key], labels?.matches(object.metadata.labels) ?? false else { return nil }
            let revision = isCurrent ? state.revision(of: key) : nil
            let entry = revision.flatMap { authors[$0] }
            return StandingObject(
                object, revision: revision, changedAt: entry?.time, author: entry?.author ?? "",
                findings: index.allFindings(about: key) + (told[key] ?? []),
                status: translator.flatMap { ObjectStatus(of: object, $0) })
        }
        return ObjectsReport(
            objects: objects, revision: isCurrent ? state.revision : query.revision,
            problems: isCurrent ? problems : [])
    }

    /// The objects as they were in an older revision; what this program does not understand any more is left out.
    func index(at revision: Int64) throws(MeshRequestError) -> MeshIndex {
        var index = state.index
        for way in try ways(backTo: revision) {
            guard let key = ObjectKey(way.key) else { continue }
            index.apply(.remove(key))
            guard let spelling = way.after else { continue }
            do throws(UnreadableReason) {
                index.apply(.put(try MeshObject(way.key, spelling)))
            } catch {
                continue
            }
        }
        return index
    }

    /// - Throws: also for a revision that is not kept.
    func ways(backTo revision: Int64) throws(MeshRequestError) -> [StoredObjectChange] {
        let (isKept, kept, ways): (Bool, ClosedRange<Int64>?, [StoredObjectChange])
        do throws(StoreError) {
            (isKept, kept, ways) = (
                try store.revision(revision) != nil, try keptRevisions(), try store.waysBack(to: revision)
            )
        } catch {
            throw .store(error)
        }
        guard isKept else { throw .noSuchRevision(revision, kept: kept) }
        return ways
    }

    /// Newest first.
    func history(_ query: HistoryQuery) throws(MeshRequestError) -> [RevisionEntry] {
        do throws(StoreError) {
            let limit = min(query.limit ?? Self.historyLimit, Self.historyLimit)
            return try store.revisions(limit: limit, before: query.before, of: query.object?.stored)
                .map { RevisionEntry($0) }
        } catch {
            throw .store(error)
        }
    }

    func detail(of number: Int64) throws(MeshRequestError) -> RevisionDetail {
        let (revision, changes, kept): (StoredRevision?, [StoredObjectChange], ClosedRange<Int64>?)
        do throws(StoreError) {
            (revision, changes, kept) = (
                try store.revision(number), try store.changes(of: number), try keptRevisions()
            )
        } catch {
            throw .store(error)
        }
        guard let revision else { throw .noSuchRevision(number, kept: kept) }
        return RevisionDetail(revision, changes)
    }
}
