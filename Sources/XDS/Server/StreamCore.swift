import Time

/// What both variants of the protocol share: one client's stream as a value, without socket, clock or thread.
/// The variants differ in how a request changes a subscription, and in the form of responses.
struct StreamCore: Sendable {
    let service: DiscoveryService
    let limits: StreamLimits
    var form: ResponseForm
    /// nil until the first request.
    private(set) var nodeID: String?
    private(set) var error: StreamError?
    /// When the first request came.
    private(set) var openedAt = Instant.never
    var snapshot: Snapshot?
    /// By type, in the order of sending.
    var states: [TypeState] = []
    /// What the call under way has decided so far.
    var actions: [StreamAction] = []

    init(service: DiscoveryService, form: ResponseForm, limits: StreamLimits) {
        self.service = service
        self.form = form
        self.limits = limits
    }

    /// Hands the decisions of this call to the caller.
    mutating func takeActions() -> [StreamAction] {
        defer { actions = [] }
        return actions
    }

    mutating func fail(_ code: StreamError.Code, _ message: String) {
        let error = StreamError(code, message)
        self.error = error
        snapshot = nil
        states = []
        actions.append(.fail(error))
    }

    // MARK: What every request says

    /// Checks node and type.
    /// - Returns: the type, or nil when the stream has failed.
    mutating func begin(node: Node?, typeURL: String, now: Instant) -> ResourceType? {
        guard error == nil, accept(node) else { return nil }
        openedAt = min(openedAt, now)
        return resolve(typeURL)
    }

    private mutating func accept(_ node: Node?) -> Bool {
        guard let nodeID else {
            guard let node, !node.id.isEmpty else {
                fail(.invalidArgument, "the first request of a stream must carry a node with an id; set node.id")
                return false
            }
            guard node.id.utf8.count <= limits.nodeIDBytes else {
                fail(
                    .invalidArgument,
                    "node.id has \(node.id.utf8.count) bytes, the limit is \(limits.nodeIDBytes); use a shorter one")
                return false
            }
            guard !node.id.utf8.contains(0) else {
                fail(.invalidArgument, "node.id \(node.id.debugDescription) contains a NUL; remove it")
                return false
            }
            nodeID = node.id
            if form != .delta, node.clientFeatures.contains("xds.config.supports-resource-in-sotw") {
                form = .stateOfTheWorldWithWrappers
            }
            actions.append(.opened(node))
            return true
        }
        if let node, !node.id.isEmpty, node.id != nodeID {
            fail(
                .invalidArgument,
                "this stream belongs to node \"\(nodeID)\", and a later request came from node "
                    + "\(node.id.prefix(100).debugDescription); open a stream for each node")
            return false
        }
        return true
    }

    private mutating func resolve(_ typeURL: String) -> ResourceType? {
        switch service {
        case .single(let type):
            if typeURL.isEmpty || typeURL == type.typeURL { return type }
            fail(
                .invalidArgument,
                "this service serves \(type.typeURL) only, not \(typeURL.prefix(200).debugDescription); "
                    + "leave type_url empty, or use the aggregated service")
            return nil
        case .aggregated:
            if let type = ResourceType(typeURL: typeURL) { return type }
            let served = ResourceType.all.map(\.typeURL).joined(separator: ", ")
            fail(
                .invalidArgument,
                typeURL.isEmpty
                    ? "type_url is empty; on the aggregated service every request must carry one of \(served)"
                    : "type URL \(typeURL.prefix(200).debugDescription) is not served; served are \(served)")
            return nil
        }
    }

    /// Checks names from a request before they are used for anything.
    mutating func accept(names: [String], of type: ResourceType) -> Bool {
        if names.count > limits.namesPerType {
            failNames(type, "\(names.count) names in one request")
            return false
        }
        for name in names where name.utf8.contains(0) {
            fail(
                .invalidArgument,
                "\(type) resource name \(name.prefix(100).debugDescription) contains a NUL; remove it")
            return false
        }
        return true
    }

    /// Makes this the subscription of the type, unless it is too large.
    mutating func subscribe(_ index: Int, isWildcard: Bool, names: [String]) -> Bool {
        let type = states[index].type
        let bytes = names.reduce(0) { $0 + $1.utf8.count }
        guard names.count <= limits.namesPerType, states[index].owed.names.count <= limits.namesPerType else {
            failNames(type, "\(max(names.count, states[index].owed.names.count)) names on one stream")
            return false
        }
        guard bytes <= limits.nameBytesPerType else {
            fail(
                .resourceExhausted,
                "\(bytes) bytes of \(type) resource names on one stream, the limit is "
                    + "\(limits.nameBytesPerType); subscribe to fewer, or to *")
            return false
        }
        if !names.isEmpty { states[index].flags.insert(.everNamed) }
        let subscription = Subscription.interned(isWildcard: isWildcard, names: names)
        if states[index].subscription !== subscription {
            states[index].subscription = subscription
            states[index].flags.insert(.digestIsStale)
        }
        return true
    }

    private mutating func failNames(_ type: ResourceType, _ what: String) {
        fail(
            .resourceExhausted,
            "\(what) for \(type), the limit is \(limits.namesPerType); subscribe to fewer, or to *")
    }

    // MARK: States

    func index(of type: ResourceType) -> Int? { states.firstIndex { $0.type == type } }

    /// Finds the state of a type, or makes it.
    mutating func makeIndex(of type: ResourceType) -> Int {
        let place = states.firstIndex { $0.type >= type } ?? states.count
        if place == states.count || states[place].type != type { states.insert(TypeState(type), at: place) }
        return place
    }

    // MARK: ACK and NACK

    /// Matches a request with the response under way. Both ACK and NACK free the slot and mean that the client has
    /// seen the response: a refused one is not sent again.
    /// - Returns: whether the nonce is that of the response under way.
    mutating func answer(_ index: Int, nonce: String, detail: ErrorDetail?, now: Instant) -> Bool {
        let type = states[index].type
        guard let response = states[index].inFlight, response.nonce == nonce else { return false }
        states[index].inFlight = nil
        states[index].held = states[index].target
        states[index].target = nil
        states[index].digest = response.digest
        if let detail {
            let cut = ErrorDetail(code: detail.code, message: detail.message.cut(toBytes: limits.errorDetailBytes))
            // What was unsubscribed from meanwhile is not missed; in a full-state type the next ACK is for all.
            let missed =
                form != .delta && type.listsEverything
                ? [] : response.resources.filter { states[index].subscription?.covers($0) ?? false }
            let names = missed.map(\.name)
            let earlier = states[index].rejection
            let suspects = RejectionRecord.names(names, mentionedIn: cut.message)
            states[index].rejection = RejectionRecord(
                version: response.version, detail: cut, at: now,
                unresolved: names.mergedSorted(with: earlier?.unresolved ?? []),
                suspects: suspects.mergedSorted(with: earlier?.suspects ?? []))
            actions.append(.rejected(type, version: response.version, nonce: nonce, detail: cut))
        } else {
            if !response.isHeartbeat { states[index].acknowledgedVersion = response.version }
            if let rejection = states[index].rejection, !response.isHeartbeat {
                let resent = response.resources.map(\.name).mergedSorted(with: response.removedNames)
                states[index].rejection = rejection.resolving(resent.containsSorted)
            }
            actions.append(.acknowledged(type, version: response.version, nonce: nonce))
        }
        return true
    }

    /// Nothing that a client no longer subscribes to counts as refused.
    mutating func forgetRejections(_ index: Int, of dropped: [String]) {
        guard let rejection = states[index].rejection else { return }
        if states[index].subscription?.isEmpty ?? true {
            states[index].rejection = nil
        } else if !rejection.unresolved.isEmpty {
            states[index].rejection = rejection.resolving(dropped.containsSorted)
        }
    }
}
