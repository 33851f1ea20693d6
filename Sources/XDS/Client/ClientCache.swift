import Time

/// What the client knows of one name.
struct CacheEntry: Sendable {
    struct Holding: Sendable {
        var resource: HeldResource
        /// Those of its aliases that the user has subscribed to.
        var aliases: [String]
        var server: Int
        var receivedAt: Instant

        /// What it costs to keep.
        var size: Int {
            aliases.reduce(resource.body.count + resource.name.utf8.count + resource.version.utf8.count) {
                $0 + $1.utf8.count
            }
        }
    }

    var state = ResourceStatus.State.requested
    var holding: Holding?
    var failure: ResourceStatus.Failure?
    /// When the name counts as not existing, and the server whose answer is awaited.
    var absence: (deadline: Instant, server: Int)?
    var expiry: Instant?

    /// Whether there is an answer to work with, if only that the resource does not exist.
    /// Source: gRFC A71, "cached resources".
    var isResolved: Bool { holding != nil || state == .doesNotExist }
}

/// All that the client wants and holds of one type.
struct TypeCache: Sendable {
    let type: ResourceType
    /// Canonical names; `*` for all.
    var wanted: Set<String> = []
    /// By canonical name. A wanted name always has one, unless it is an alias that ``canonicalNames`` resolves.
    var entries: [String: CacheEntry] = [:]
    /// From wanted aliases.
    var canonicalNames: [String: String] = [:]
    /// The server whose full set the client holds; nil while the wildcard is unanswered, or something of the set
    /// was lost since.
    var syncedServer: Int?

    var wantsAll: Bool { wanted.contains("*") }

    func resolved(_ name: String) -> String {
        canonicalNames[name] ?? name
    }

    func isWanted(_ name: String) -> Bool {
        wantsAll || wanted.contains(name) || entries[name]?.holding?.aliases.contains(where: wanted.contains) ?? false
    }

    /// Whether some answer is still awaited. Source: gRFC A71: only then a fall-back server is asked.
    var hasUnresolved: Bool {
        if wantsAll, syncedServer == nil { return true }
        return wanted.contains { $0 != "*" && entries[resolved($0)]?.isResolved != true }
    }

    /// Whether what is wanted is held, and all of it from the given server, so that its last version says it all.
    func isWhole(from server: Int) -> Bool {
        // Only of a full-state type does one response prove that nothing of the wildcard's set is missing.
        if wantsAll, syncedServer != server || !type.isFullState { return false }
        return wanted.allSatisfy { name in
            guard name != "*" else { return true }
            return entries[resolved(name)]?.holding?.server == server
        }
    }

    /// `initial_resource_versions` for a stream to the given server. A version means nothing to another server
    /// than the one it came from: what came from elsewhere goes with an empty version, so that the server sends
    /// its own, or says that it has none.
    /// - Parameter asksForAll: all versions are to be empty.
    func initialVersions(for server: Int, asksForAll: Bool) -> [String: String] {
        entries.compactMapValues { entry in
            entry.holding.map { $0.server == server && !asksForAll ? $0.resource.version : "" }
        }
    }

    func status(of name: String) -> ResourceStatus? {
        entries[name].map { entry in
            ResourceStatus(
                type: type, name: name, state: entry.state, held: entry.holding?.resource,
                updatedAt: entry.holding?.receivedAt, failure: entry.failure, server: entry.holding?.server)
        }
    }
}

extension DiscoveryClient {
    /// Takes a resource out of the cache, and leaves the given state for its name and aliases where the user still
    /// wants them.
    mutating func dropHolding(_ name: String, of type: ResourceType, leaving state: ResourceStatus.State) {
        guard let holding = types[type.order].entries[name]?.holding else { return }
        keptResources -= 1
        keptBytes -= holding.size
        types[type.order].entries[name]?.holding = nil
        types[type.order].entries[name]?.expiry = nil
        types[type.order].entries[name]?.state = state
        for alias in holding.aliases {
            types[type.order].canonicalNames[alias] = nil
            if types[type.order].wanted.contains(alias) {
                types[type.order].entries[alias] = CacheEntry(state: state)
            }
        }
    }

    /// The resource has gone: tells the user, and forgets the name unless it was asked for.
    mutating func remove(_ name: String, of type: ResourceType, because reason: RemovalReason) {
        dropHolding(name, of: type, leaving: .doesNotExist)
        types[type.order].entries[name]?.failure = nil
        if !types[type.order].wanted.contains(name) {
            types[type.order].entries[name] = nil
        }
        collected.append(.removed(type, name: name, reason))
    }

    /// There is no such resource: tells the user once.
    mutating func noteAbsent(_ name: String, of type: ResourceType) {
        guard let entry = types[type.order].entries[name] else { return }
        if entry.holding != nil {
            remove(name, of: type, because: .removedByServer)
        } else if !types[type.order].wanted.contains(name) {
            // Only a rejection was noted for it.
            types[type.order].entries[name] = nil
        } else {
            types[type.order].entries[name]?.absence = nil
            types[type.order].entries[name]?.failure = nil
            guard entry.state != .doesNotExist else { return }
            types[type.order].entries[name]?.state = .doesNotExist
            collected.append(.doesNotExist(type, name: name))
        }
    }

    /// Makes a wanted alias stand for the given resource, and no longer for another.
    mutating func attach(_ alias: String, to name: String, of type: ResourceType) {
        if types[type.order].canonicalNames[alias] != name { detach(alias, of: type) }
        if types[type.order].entries[alias]?.holding != nil {
            remove(alias, of: type, because: .removedByServer)
        }
        types[type.order].entries[alias] = nil
        types[type.order].canonicalNames[alias] = name
    }

    /// The name no longer stands for another resource, which goes if nothing else asks for it.
    mutating func detach(_ alias: String, of type: ResourceType) {
        guard let former = types[type.order].canonicalNames.removeValue(forKey: alias),
            let holding = types[type.order].entries[former]?.holding
        else { return }
        types[type.order].entries[former]?.holding?.aliases.removeAll { $0 == alias }
        keptBytes += (types[type.order].entries[former]?.holding?.size ?? 0) - holding.size
        if !types[type.order].isWanted(former) { remove(former, of: type, because: .removedByServer) }
    }

    /// Starts the wait for names that a server has just been asked for. A name that is cached does not wait again.
    /// Source: gRFC A57, "Handling Resources That Do Not Exist".
    mutating func awaitAnswers(to names: some Sequence<String>, of type: ResourceType, from server: Int, now: Instant) {
        let deadline = now.advanced(by: configuration.absenceTimeout)
        for name in names {
            guard let entry = types[type.order].entries[name], entry.state == .requested, entry.holding == nil,
                entry.absence == nil
            else { continue }
            types[type.order].entries[name]?.absence = (deadline, server)
            deadlines.insert(.init(deadline: deadline, kind: .absence, type: type, name: name))
        }
    }

    /// A stream has ended: what was asked for on it is not late, it cannot come.
    mutating func stopAwaiting(server: Int) {
        for type in types.indices {
            for (name, entry) in types[type].entries where entry.absence?.server == server {
                types[type].entries[name]?.absence = nil
            }
        }
    }

    func isLive(_ item: DeadlineQueue.Item) -> Bool {
        guard let entry = types[item.type.order].entries[item.name] else { return false }
        return switch item.kind {
        case .absence: entry.absence?.deadline == item.deadline
        case .expiry: entry.expiry == item.deadline
        }
    }

    mutating func fireDeadlines(now: Instant) {
        while let first = deadlines.first, first.deadline <= now {
            let item = deadlines.removeFirst()
            guard isLive(item) else { continue }
            switch item.kind {
            case .absence:
                noteAbsent(item.name, of: item.type)
            case .expiry:
                types[item.type.order].syncedServer = nil
                remove(item.name, of: item.type, because: .expired)
            }
        }
    }
}
