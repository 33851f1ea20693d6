import Time

/// A response of either variant, examined: what is usable, and what is to be said against the rest.
struct Intake {
    struct Item {
        /// Canonical.
        var name: String
        /// The resource's own, or that of the response.
        var version: String
        var resource: ReceivedResource
    }

    struct Rejection {
        /// nil when it cannot be known which resource this is.
        var name: String?
        var version: String
        var reason: String
    }

    var type: ResourceType
    /// Of the response as a whole, for the record.
    var version: String
    var items: [Item] = []
    var removed: [String] = []
    var errors: [ReceivedResourceError] = []
    var rejections: [Rejection] = []
    /// Whether what is not in the response has gone.
    var isFullSet = false

    /// - Parameter version: `version_info`, `system_version_info`.
    init(
        _ resources: [ReceivedResource], removed: [String] = [], errors: [ReceivedResourceError], type: ResourceType,
        version: String, variant: DiscoveryClient.Variant, validate: ResourceValidator
    ) {
        self.type = type
        self.version = version
        for (position, resource) in resources.enumerated() {
            let resourceVersion =
                switch variant {
                case .delta: resource.version
                case .stateOfTheWorld: resource.version.isEmpty ? version : resource.version
                }
            switch Self.judge(resource, at: position, type: type, validate: validate) {
            case .accepted(let name):
                items.append(
                    Item(name: canonicalResourceName(name), version: resourceVersion, resource: resource))
            case .rejected(let name, let reason):
                rejections.append(
                    Rejection(name: name.map(canonicalResourceName), version: resourceVersion, reason: reason))
            }
        }
        self.removed = removed.map(canonicalResourceName)
        self.errors = errors.map { ReceivedResourceError(name: canonicalResourceName($0.name), detail: $0.detail) }
        rejectDuplicates()
        switch variant {
        case .delta: break
        case .stateOfTheWorld:
            // A response of nothing but heartbeats says nothing of the other resources; and while a resource could
            // not be identified, any that is missing may be that one.
            let isHeartbeat = !resources.isEmpty && resources.allSatisfy { $0.body == nil }
            isFullSet = type.isFullState && !isHeartbeat && rejections.allSatisfy { $0.name != nil }
        }
    }

    private static func judge(
        _ resource: ReceivedResource, at position: Int, type: ResourceType, validate: ResourceValidator
    ) -> ResourceVerdict {
        let given = resource.name.isEmpty ? nil : resource.name
        if let ttl = resource.timeToLive, ttl <= .zero {
            return .rejected(name: given, reason: "its ttl is \(ttl), must be above zero")
        }
        guard resource.body != nil else {
            return given.map { .accepted(name: $0) }
                ?? .rejected(name: nil, reason: "resource \(position + 1) has neither a name nor a body")
        }
        guard resource.typeURL == type.typeURL else {
            return .rejected(name: given, reason: "it is a \(resource.typeURL), expected \(type.typeURL)")
        }
        switch validate(type, resource) {
        case .accepted(let name):
            let name = given ?? name
            guard !name.isEmpty, name != "*" else {
                return .rejected(name: nil, reason: "resource \(position + 1) has the name \"\(name)\"")
            }
            return .accepted(name: name)
        case .rejected(let name, let reason):
            return .rejected(name: given ?? name, reason: reason)
        }
    }

    /// A name may occur once in a response, be it as a resource, as removed or as an error. Which of two is meant
    /// cannot be known, so neither is used. Source: Envoy, "xDS REST and gRPC protocol"; xRFC TP3.
    private mutating func rejectDuplicates() {
        var counts: [String: Int] = [:]
        let names = items.map(\.name) + rejections.compactMap(\.name) + removed + errors.map(\.name)
        for name in names { counts[name, default: 0] += 1 }
        let repeated = Set(counts.lazy.filter { $0.value > 1 }.map(\.key))
        guard !repeated.isEmpty else { return }
        items.removeAll { repeated.contains($0.name) }
        rejections.removeAll { $0.name.map(repeated.contains) ?? false }
        removed.removeAll(where: repeated.contains)
        errors.removeAll { repeated.contains($0.name) }
        for name in repeated.sorted() {
            let reason = "it occurs \(counts[name] ?? 0) times in one response"
            rejections.append(Rejection(name: name, version: version, reason: reason))
        }
    }

    /// All that is wrong in one `error_detail`, each resource by name. Bounded: it goes on the wire.
    var errorDetail: ErrorDetail? {
        guard !rejections.isEmpty else { return nil }
        var message = ""
        for (index, rejection) in rejections.enumerated() {
            let name = rejection.name ?? "a resource without a name"
            let part = "\(name.cut(toBytes: 512)): \(rejection.reason.cut(toBytes: 512))"
            if !message.isEmpty, message.utf8.count + part.utf8.count > 4096 {
                message += "; and \(rejections.count - index) more"
                break
            }
            message += (message.isEmpty ? "" : "; ") + part
        }
        return ErrorDetail(message: message)
    }
}
