import Time

extension DiscoveryClient {
    /// Takes a state-of-the-world response.
    public mutating func receive(_ response: DiscoveryResponse, on id: StreamID, now: Instant) -> [Action] {
        precondition(configuration.variant == .stateOfTheWorld, "a state-of-the-world response on a delta stream")
        guard let type = admit(typeURL: response.typeURL, nonce: response.nonce, on: id, now: now) else {
            return settle()
        }
        var error: ErrorDetail?
        if !types[type.order].wanted.isEmpty {
            var intake = Intake(
                response.resources, errors: response.resourceErrors, type: type, version: response.versionInfo,
                variant: .stateOfTheWorld, validate: validate)
            servers[id.server].noteResponse(of: type, names: intake.items.map(\.name))
            apply(&intake, from: id.server, now: now)
            error = intake.errorDetail
        }
        if error == nil {
            servers[id.server].versions[type.order] = response.versionInfo
            servers[id.server].versionNames[type.order] =
                servers[id.server].stream?.subscriptions[type.order].asked ?? []
        }
        servers[id.server].isVersionWhole[type.order] = error == nil
        answer(type, nonce: response.nonce, version: response.versionInfo, error: error, on: id, now: now)
        return settle()
    }

    /// Takes an incremental response.
    public mutating func receive(_ response: DeltaDiscoveryResponse, on id: StreamID, now: Instant) -> [Action] {
        precondition(configuration.variant == .delta, "an incremental response on a state-of-the-world stream")
        guard let type = admit(typeURL: response.typeURL, nonce: response.nonce, on: id, now: now) else {
            return settle()
        }
        var error: ErrorDetail?
        if !types[type.order].wanted.isEmpty {
            var intake = Intake(
                response.resources, removed: response.removedResources, errors: response.resourceErrors, type: type,
                version: response.systemVersionInfo, variant: .delta, validate: validate)
            apply(&intake, from: id.server, now: now)
            error = intake.errorDetail
        }
        answer(type, nonce: response.nonce, version: response.systemVersionInfo, error: error, on: id, now: now)
        return settle()
    }

    /// Whether a response is one to take and to answer. What nothing was asked for gets no answer: the first
    /// request of a type is a subscription, for some types to everything.
    private mutating func admit(typeURL: String, nonce: String, on id: StreamID, now: Instant) -> ResourceType? {
        guard let stream = servers[id.server].stream, stream.id == id, !stream.isOpening else { return nil }
        noteResponse(from: id.server, now: now)
        guard let type = ResourceType(typeURL: typeURL) else {
            collected.append(.ignoredResponse(typeURL: typeURL, nonce: nonce, reason: "unknown type URL"))
            return nil
        }
        guard stream.subscriptions[type.order].isRequested else {
            collected.append(.ignoredResponse(typeURL: typeURL, nonce: nonce, reason: "not subscribed to \(type)"))
            return nil
        }
        return type
    }

    private mutating func answer(
        _ type: ResourceType, nonce: String, version: String, error: ErrorDetail?, on id: StreamID, now: Instant
    ) {
        servers[id.server].stream?.subscriptions[type.order].answer(
            Reply(nonce: nonce, version: version, error: error))
        servers[id.server].stream?.waitingReplies += 1
        flush(id.server, now: now)
        let waiting = servers[id.server].stream?.waitingReplies ?? 0
        if waiting > configuration.limits.waitingReplies {
            collected.append(.closeStream(id))
            let reason = "the server sends, but does not read: \(waiting) replies wait (limits.waitingReplies)"
            streamEnded(id.server, reason: reason, now: now)
        } else if servers[id.server].stream?.mustBeginAnew == true {
            collected.append(.closeStream(id))
            streamEnded(id.server, reason: "begun anew, to tell the server what another one sent", now: now)
        }
    }

    // MARK: Taking in

    /// Uses what is usable of a response. What the limits forbid joins the rejections. Source: gRFC A46.
    private mutating func apply(_ intake: inout Intake, from server: Int, now: Instant) {
        let type = intake.type
        let gone = namesGone(in: intake)
        // What this very response removes makes room, though additions come first, so that users can make before
        // they break.
        let freed = gone.reduce(into: (resources: 0, bytes: 0)) { sum, name in
            guard let holding = types[type.order].entries[name]?.holding else { return }
            sum.resources += 1
            sum.bytes += holding.size
        }
        for item in intake.items {
            guard let reason = take(item, type: type, server: server, freed: freed, now: now) else { continue }
            intake.rejections.append(.init(name: item.name, version: item.version, reason: reason))
        }
        for name in gone { noteAbsent(name, of: type) }
        for error in intake.errors { note(error, type: type, version: intake.version, now: now) }
        for rejection in intake.rejections { note(rejection, type: type, now: now) }
        let saysAll = configuration.variant == .delta || !type.isFullState || intake.isFullSet
        if saysAll, intake.rejections.isEmpty, types[type.order].wantsAll { types[type.order].syncedServer = server }
    }

    /// The names that a response takes away, canonical and sorted.
    private func namesGone(in intake: Intake) -> [String] {
        let cache = types[intake.type.order]
        guard intake.isFullSet else {
            return intake.removed.map(cache.resolved).filter { cache.entries[$0] != nil }
        }
        var present = Set(intake.items.map(\.name))
        present.formUnion(intake.rejections.compactMap(\.name))
        present.formUnion(intake.errors.map { cache.resolved($0.name) })
        // A name that is awaited may have been asked for after the server made this response: its absence proves
        // nothing, and its deadline decides.
        return cache.entries.keys.filter { name in
            !present.contains(name)
                && (cache.entries[name]?.holding != nil || cache.entries[name]?.state != .requested)
        }.sorted()
    }

    /// Keeps one accepted resource, if it is wanted.
    /// - Returns: why it cannot be kept, or nil.
    private mutating func take(
        _ item: Intake.Item, type: ResourceType, server: Int, freed: (resources: Int, bytes: Int), now: Instant
    ) -> String? {
        // No copy of the cache is held here: writing to it would copy all of it.
        let aliases = Set(item.resource.aliases.map(canonicalResourceName)).sorted()
            .filter { $0 != item.name && types[type.order].wanted.contains($0) }
        guard types[type.order].wantsAll || types[type.order].wanted.contains(item.name) || !aliases.isEmpty else {
            return nil
        }
        let former = types[type.order].entries[item.name]?.holding
        guard let body = item.resource.body else {
            return takeHeartbeat(item, aliases: aliases, former: former?.resource, type: type, now: now)
        }
        let holding = CacheEntry.Holding(
            resource: HeldResource(name: item.name, version: item.version, body: body), aliases: aliases,
            server: server, receivedAt: now)
        let (limits, formerSize) = (configuration.limits, former?.size ?? 0)
        guard former != nil || keptResources - freed.resources < limits.resources else {
            return "the client keeps \(limits.resources) resources at most (limits.resources)"
        }
        guard keptBytes - freed.bytes - formerSize + holding.size <= limits.bytes else {
            return "the client keeps \(limits.bytes) bytes at most (limits.bytes)"
        }
        keptResources += former == nil ? 1 : 0
        keptBytes += holding.size - formerSize
        let expiry = expiry(of: item.resource, now: now)
        types[type.order].entries[item.name] = CacheEntry(
            state: .acknowledged, holding: holding, failure: nil, absence: nil, expiry: expiry)
        schedule(expiry, of: item.name, type: type)
        detach(item.name, of: type)
        for alias in aliases { attach(alias, to: item.name, of: type) }
        for alias in former?.aliases ?? [] where !aliases.contains(alias) {
            types[type.order].canonicalNames[alias] = nil
            if types[type.order].wanted.contains(alias) {
                types[type.order].entries[alias] = CacheEntry(state: .doesNotExist)
            }
        }
        // In state-of-the-world the version is that of the response, and changes with any resource of it.
        let isNewVersion = configuration.variant == .delta && former?.resource.version != item.version
        if former?.resource.body != body || isNewVersion { collected.append(.update(type, holding.resource)) }
        return nil
    }

    /// A resource without a body renews the time to live of the one that is held. For a virtual host that is not
    /// held it says that there is none. Source: Envoy, "xDS REST and gRPC protocol", TTL; "Virtual Host Discovery".
    private mutating func takeHeartbeat(
        _ item: Intake.Item, aliases: [String], former: HeldResource?, type: ResourceType, now: Instant
    ) -> String? {
        guard let former else {
            guard type == .virtualHost else { return "a heartbeat for a resource that is not held" }
            for name in [item.name] + aliases { noteAbsent(name, of: type) }
            return nil
        }
        guard former.version == item.version else {
            return "a heartbeat for version \(item.version), but version \(former.version) is held"
        }
        let expiry = expiry(of: item.resource, now: now)
        types[type.order].entries[item.name]?.expiry = expiry
        schedule(expiry, of: item.name, type: type)
        return nil
    }

    /// A protobuf duration may exceed what an instant can hold: a century is as good as for ever.
    private func expiry(of resource: ReceivedResource, now: Instant) -> Instant? {
        resource.timeToLive.map { now.advanced(by: min($0, .seconds(3_155_760_000))) }
    }

    private mutating func schedule(_ expiry: Instant?, of name: String, type: ResourceType) {
        guard let expiry else { return }
        deadlines.insert(.init(deadline: expiry, kind: .expiry, type: type, name: name))
    }

    private mutating func note(_ rejection: Intake.Rejection, type: ResourceType, now: Instant) {
        if let name = rejection.name {
            let detail = ErrorDetail(message: rejection.reason.cut(toBytes: 1024))
            fail(
                name, of: type, state: .rejected, drops: true,
                .init(version: rejection.version, detail: detail, failedAt: now))
        }
        collected.append(
            .rejected(type, name: rejection.name, version: rejection.version, reason: rejection.reason))
    }

    private mutating func note(_ error: ReceivedResourceError, type: ResourceType, version: String, now: Instant) {
        let name = types[type.order].resolved(error.name)
        guard types[type.order].isWanted(name) else { return }
        let isDataError = error.detail.code == 5 || error.detail.code == 7  // NOT_FOUND, PERMISSION_DENIED
        fail(
            name, of: type, state: .receivedError, drops: isDataError,
            .init(version: version, detail: error.detail, failedAt: now))
        collected.append(.receivedError(type, name: name, error.detail))
    }

    /// Records why a resource could not be updated, and drops the last good one if that is the policy.
    private mutating func fail(
        _ name: String, of type: ResourceType, state: ResourceStatus.State, drops: Bool,
        _ failure: ResourceStatus.Failure
    ) {
        let name = types[type.order].resolved(name)
        guard types[type.order].isWanted(name), name != "*" else { return }
        if types[type.order].entries[name] == nil {
            // A wildcard's name without a resource: noted for people, as long as there is room.
            let noted = types.reduce(0) { $0 + $1.entries.count }
            guard noted < configuration.limits.resources + configuration.limits.names else { return }
        }
        types[type.order].entries[name, default: CacheEntry()].state = state
        types[type.order].entries[name]?.failure = failure
        types[type.order].entries[name]?.absence = nil
        if drops, configuration.dataErrorPolicy == .drop, types[type.order].entries[name]?.holding != nil {
            types[type.order].syncedServer = nil
            dropHolding(name, of: type, leaving: state)
            collected.append(.removed(type, name: name, .dataError))
        }
    }
}
