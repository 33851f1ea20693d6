import XDS

/// What a request or the client's state should not have been.
struct ClientViolation: Error, CustomStringConvertible {
    var description: String

    static func require(_ condition: Bool, _ words: @autoclosure () -> String) throws {
        if !condition { throw ClientViolation(description: words()) }
    }
}

/// The simplest server that can be right, to hold the client against: plain maps per stream, every request checked
/// for its form.
struct ClientModelServer {
    struct Resource {
        var version: Int
        var content: String
    }

    /// What one stream knows of one type.
    struct TypeView {
        var subscribed: Set<String> = []
        /// Name to version of what the client has, as far as the server knows.
        var sent: [String: String] = [:]
        /// Names to answer whether changed or not.
        var owed: Set<String> = []
        var owesResponse = false
        /// Sent and not answered yet, oldest first.
        var outstanding: [String] = []
        var lastNonce = ""
        var lastVersion = ""
        var hasNamed = false
    }

    struct Stream {
        var views: [ResourceType: TypeView] = [:]
        var responses = 0
        var requests = 0
    }

    let variant: DiscoveryClient.Variant
    let label: String
    var contents: [ResourceType: [String: Resource]] = [:]
    var generations: [ResourceType: Int] = [:]
    var streams: [StreamID: Stream] = [:]
    private var versions = 0

    init(variant: DiscoveryClient.Variant, label: String) {
        self.variant = variant
        self.label = label
    }

    mutating func publish(_ type: ResourceType, _ name: String, _ content: String?) {
        versions += 1
        generations[type, default: 0] += 1
        contents[type, default: [:]][name] = content.map { Resource(version: versions, content: $0) }
    }

    func body(_ type: ResourceType, _ name: String) -> [UInt8]? {
        contents[type]?[name].map { Array("\(name)|\($0.content)".utf8) }
    }

    private func version(_ type: ResourceType, _ name: String) -> String? {
        contents[type]?[name].map { "\(label)\($0.version)" }
    }

    private func covered(_ type: ResourceType, by view: TypeView) -> [String] {
        contents[type, default: [:]].keys.filter { view.subscribed.contains("*") || view.subscribed.contains($0) }
            .sorted()
    }

    // MARK: Delta

    mutating func receive(_ request: DeltaDiscoveryRequest, on id: StreamID) throws {
        var stream = streams[id, default: Stream()]
        stream.requests += 1
        try ClientViolation.require(
            (request.node != nil) == (stream.requests == 1), "node in request \(stream.requests)")
        guard let type = ResourceType(typeURL: request.typeURL) else {
            throw ClientViolation(description: "type \(request.typeURL)")
        }
        let isFirst = stream.views[type] == nil
        var view = stream.views[type, default: TypeView()]
        let (new, gone) = (request.resourceNamesSubscribe, request.resourceNamesUnsubscribe)
        try ClientViolation.require(Set(new).isDisjoint(with: gone), "\(type): a name both subscribed and unsubscribed")
        try ClientViolation.require(Set(new).count == new.count && !new.contains(""), "\(type): names \(new)")
        try ClientViolation.require(isFirst || request.initialResourceVersions.isEmpty, "\(type): versions again")
        if isFirst {
            try ClientViolation.require(request.responseNonce.isEmpty && gone.isEmpty, "\(type): first \(request)")
            try ClientViolation.require(!new.isEmpty || type.isFullState, "\(type): an empty first request")
            view.sent = request.initialResourceVersions
            view.subscribed = new.isEmpty ? ["*"] : []
            view.owesResponse = view.subscribed.contains("*") || new.contains("*")
        } else if request.responseNonce.isEmpty {
            try ClientViolation.require(!new.isEmpty || !gone.isEmpty, "\(type): a request that says nothing")
            try ClientViolation.require(request.errorDetail == nil, "\(type): a NACK of nothing")
        } else {
            try ClientViolation.require(
                view.outstanding.first == request.responseNonce,
                "\(type): nonce \(request.responseNonce), outstanding \(view.outstanding)")
            view.outstanding.removeFirst()
        }
        for name in gone {
            try ClientViolation.require(view.subscribed.remove(name) != nil, "\(type): \(name) was not subscribed")
            if view.subscribed.contains("*") { view.owed.insert(name) }
        }
        if !gone.isEmpty, !view.subscribed.contains("*") {
            view.sent = view.sent.filter { view.subscribed.contains($0.key) }
        }
        for name in new {
            try ClientViolation.require(view.subscribed.insert(name).inserted, "\(type): \(name) again")
            if name != "*", !isFirst || view.sent[name] == nil { view.owed.insert(name) }
        }
        stream.views[type] = view
        streams[id] = stream
    }

    mutating func nextDeltaResponse(_ type: ResourceType, on id: StreamID) -> DeltaDiscoveryResponse? {
        guard var stream = streams[id], var view = stream.views[type] else { return nil }
        let names = covered(type, by: view)
        let changed = names.filter { view.owed.contains($0) || view.sent[$0] != version(type, $0) }
        let removed = Set(view.sent.keys).union(view.owed).subtracting(names).sorted()
        guard view.owesResponse || !changed.isEmpty || !removed.isEmpty else { return nil }
        stream.responses += 1
        let nonce = "\(id)-\(stream.responses)"
        for name in removed { view.sent[name] = nil }
        for name in changed { view.sent[name] = version(type, name) }
        view.owed = []
        view.owesResponse = false
        view.outstanding.append(nonce)
        stream.views[type] = view
        streams[id] = stream
        let resources = changed.map { name in
            ReceivedResource(
                name: name, version: version(type, name) ?? "", typeURL: type.typeURL, body: body(type, name))
        }
        return DeltaDiscoveryResponse(
            systemVersionInfo: "\(generations[type] ?? 0)", resources: resources, removedResources: removed,
            typeURL: type.typeURL, nonce: nonce)
    }

    // MARK: State of the world

    mutating func receive(_ request: DiscoveryRequest, on id: StreamID) throws {
        var stream = streams[id, default: Stream()]
        stream.requests += 1
        try ClientViolation.require(
            (request.node != nil) == (stream.requests == 1), "node in request \(stream.requests)")
        guard let type = ResourceType(typeURL: request.typeURL) else {
            throw ClientViolation(description: "type \(request.typeURL)")
        }
        let names = request.resourceNames
        try ClientViolation.require(Set(names).count == names.count, "\(type): names \(names)")
        let isFirst = stream.views[type] == nil
        var view = stream.views[type, default: TypeView()]
        if isFirst { try ClientViolation.require(request.responseNonce.isEmpty, "\(type): first \(request)") }
        if let position = view.outstanding.firstIndex(of: request.responseNonce) {
            try ClientViolation.require(position == 0, "\(type): nonce \(request.responseNonce) before an earlier one")
            view.outstanding.removeFirst()
        } else {
            try ClientViolation.require(request.errorDetail == nil, "\(type): a second NACK")
        }
        // A stale nonce: the whole request is void. The client will answer the newer response.
        if request.responseNonce == view.lastNonce || (request.responseNonce.isEmpty && view.lastNonce.isEmpty) {
            let isLegacy = names.isEmpty && !view.hasNamed && type.isFullState
            let former = view.subscribed
            view.subscribed = isLegacy ? ["*"] : Set(names)
            if !names.isEmpty { view.hasNamed = true }
            if !view.subscribed.isSubset(of: former), !isFirst { view.owesResponse = true }
            if isFirst {
                // As trusting as a server may be: an equal version is proof.
                view.lastVersion = request.versionInfo
                view.owesResponse = request.versionInfo != sotwVersion(type)
            }
        }
        stream.views[type] = view
        streams[id] = stream
    }

    private func sotwVersion(_ type: ResourceType) -> String {
        "\(label)\(generations[type] ?? 0)"
    }

    mutating func nextResponse(_ type: ResourceType, on id: StreamID) -> DiscoveryResponse? {
        guard var stream = streams[id], var view = stream.views[type] else { return nil }
        guard view.owesResponse || view.lastVersion != sotwVersion(type), !view.subscribed.isEmpty else { return nil }
        stream.responses += 1
        view.lastNonce = "\(id)-\(stream.responses)"
        view.lastVersion = sotwVersion(type)
        view.owesResponse = false
        view.outstanding.append(view.lastNonce)
        stream.views[type] = view
        streams[id] = stream
        let resources = covered(type, by: view).map { name in
            ReceivedResource(typeURL: type.typeURL, body: body(type, name))
        }
        return DiscoveryResponse(
            versionInfo: sotwVersion(type), resources: resources, typeURL: type.typeURL, nonce: view.lastNonce)
    }
}
