@testable import XDS

/// A client that shares no code with the machines: it keeps plain maps of what it wants and what it has.
struct ModelClient {
    enum Kind: String {
        /// Takes all clusters and listeners, and asks for the endpoints and routes that those name, as Envoy does.
        case proxy
        /// Asks for names at random, existing or not.
        case picker
    }

    struct Want: Equatable {
        var isWildcard = false
        /// The wildcard is asked for by an empty first request.
        var isLegacy = false
        var names: Set<String> = []

        func covers(_ name: String) -> Bool { isWildcard || names.contains(name) }
    }

    struct Holding: Equatable {
        var version: String
        var body: String
    }

    /// What a client sends: one of both variants.
    enum Request {
        case delta(DeltaDiscoveryRequest)
        case stateOfTheWorld(DiscoveryRequest)
    }

    let number: Int
    let kind: Kind
    let isDelta: Bool
    let service: DiscoveryService
    /// Refuses some contents, always the same.
    let isPicky: Bool

    var wants: [ResourceType: Want] = [:]
    var holds: [ResourceType: [String: Holding]] = [:]
    var errors: [ResourceType: [String: String]] = [:]
    /// State of the world: what was given up while the server may still think that the client has it.
    var limbo: [ResourceType: [String: Holding]] = [:]
    var acceptedVersions: [ResourceType: String] = [:]
    /// Taken back from limbo: the server may have seen that it was given up, and will send it again.
    var restored: [ResourceType: Set<String>] = [:]
    /// State of the world: types of which something was given up, until a response that the server sent after it
    /// saw that. The accepted version stands for more than the client has, and must not be said on a new stream.
    var reduced: Set<ResourceType> = []
    private var nonces: [ResourceType: String] = [:]
    private var opened: Set<ResourceType> = []
    private var hasSentNode = false

    init(number: Int, kind: Kind, isDelta: Bool, service: DiscoveryService, isPicky: Bool) {
        self.number = number
        self.kind = kind
        self.isDelta = isDelta
        self.service = service
        self.isPicky = isPicky
    }

    func refuses(_ name: String, _ body: String) -> Bool {
        isPicky && stableHash("\(number)/\(name)/\(body)") % 9 == 0
    }

    // MARK: Requests

    /// The first requests on a new connection: one for each wanted type.
    mutating func connect() -> [Request] {
        nonces = [:]
        opened = []
        hasSentNode = false
        limbo = [:]
        for type in reduced { acceptedVersions[type] = nil }
        reduced = []
        return wants.keys.sorted().filter { wants[$0] != Want() }.map { open($0) }
    }

    /// The first request for a type on this connection.
    mutating func open(_ type: ResourceType) -> Request {
        opened.insert(type)
        let want = wants[type] ?? Want()
        let node = takeNode()
        if isDelta {
            var asked = want.names.sorted()
            if want.isWildcard && !(want.isLegacy && asked.isEmpty) { asked.insert("*", at: 0) }
            let versions = (holds[type] ?? [:]).mapValues(\.version)
            return .delta(
                DeltaDiscoveryRequest(
                    node: node, typeURL: url(type), resourceNamesSubscribe: asked, initialResourceVersions: versions))
        }
        return .stateOfTheWorld(
            DiscoveryRequest(
                versionInfo: acceptedVersions[type] ?? "", node: node, resourceNames: listed(want), typeURL: url(type)))
    }

    /// Changes what is wanted of a type.
    /// - Returns: the request that says so, or nil when nothing changes or the type is opened first.
    mutating func want(_ new: Want, _ type: ResourceType) -> Request? {
        let old = wants[type]
        if old == new { return nil }
        wants[type] = new
        for (name, holding) in holds[type] ?? [:] where !new.covers(name) {
            holds[type]?[name] = nil
            if !isDelta {
                limbo[type, default: [:]][name] = holding
                reduced.insert(type)
            }
        }
        for (name, holding) in limbo[type] ?? [:] where new.covers(name) {
            limbo[type]?[name] = nil
            holds[type, default: [:]][name] = holding
            restored[type, default: []].insert(name)
        }
        for name in (errors[type] ?? [:]).keys where !new.covers(name) { errors[type]?[name] = nil }
        guard opened.contains(type), let old else {
            // An empty first request would ask for all clusters.
            return new == Want() ? nil : open(type)
        }
        if !isDelta { return .stateOfTheWorld(plainRequest(type)) }
        var subscribe = new.names.subtracting(old.names).sorted()
        var unsubscribe = old.names.subtracting(new.names).sorted()
        if new.isWildcard && !old.isWildcard { subscribe.append("*") }
        if old.isWildcard && !new.isWildcard { unsubscribe.append("*") }
        return .delta(
            DeltaDiscoveryRequest(
                typeURL: url(type), resourceNamesSubscribe: subscribe, resourceNamesUnsubscribe: unsubscribe))
    }

    /// Asks for a name once more, as a client may.
    mutating func askAgain(_ type: ResourceType, _ name: String) -> Request {
        .delta(DeltaDiscoveryRequest(typeURL: url(type), resourceNamesSubscribe: [name]))
    }

    private func plainRequest(_ type: ResourceType) -> DiscoveryRequest {
        DiscoveryRequest(
            versionInfo: acceptedVersions[type] ?? "", resourceNames: listed(wants[type] ?? Want()),
            typeURL: url(type), responseNonce: nonces[type] ?? "")
    }

    private func listed(_ want: Want) -> [String] {
        want.isWildcard && !(want.isLegacy && want.names.isEmpty) ? ["*"] + want.names.sorted() : want.names.sorted()
    }

    private func url(_ type: ResourceType) -> String {
        if case .single = service, number % 2 == 0 { return "" }
        return type.typeURL
    }

    private mutating func takeNode() -> Node? {
        if hasSentNode { return nil }
        hasSentNode = true
        let features = number % 2 == 0 ? ["xds.config.supports-resource-in-sotw"] : []
        return Node(id: "n\(number)", clientFeatures: features)
    }

    // MARK: Responses

    /// Applies what is valid of a response.
    /// - Returns: the ACK or NACK, and what went wrong in the eyes of the protocol.
    mutating func apply(_ response: PreparedResponse) -> (answer: Request, complaints: [String]) {
        let type = response.type
        let want = wants[type] ?? Want()
        var complaints: [String] = []
        var refused: [String] = []
        var listed: Set<String> = []
        for resource in response.resources {
            listed.insert(resource.name)
            restored[type]?.remove(resource.name)
            guard want.covers(resource.name) else {
                if limbo[type]?[resource.name] != nil, !response.omitsBody(of: resource) {
                    let body = String(decoding: resource.body, as: UTF8.self)
                    limbo[type]?[resource.name] = Holding(version: resource.version, body: body)
                }
                continue
            }
            let version = response.wrapperVersion(of: resource)
            if response.omitsBody(of: resource) {
                let known =
                    isDelta ? holds[type]?[resource.name]?.version == version : acceptedVersions[type] == version
                if !known {
                    complaints.append("heartbeat of \(resource.name) at a version that the client does not hold")
                }
                continue
            }
            let body = String(decoding: resource.body, as: UTF8.self)
            if refuses(resource.name, body) {
                refused.append(resource.name)
            } else {
                holds[type, default: [:]][resource.name] = Holding(version: resource.version, body: body)
                errors[type]?[resource.name] = nil
            }
        }
        for name in response.removedNames {
            holds[type]?[name] = nil
            errors[type]?[name] = nil
        }
        for entry in response.errors where want.covers(entry.name) {
            errors[type, default: [:]][entry.name] = entry.error?.message
        }
        if !isDelta && (type.isFullState || type == .scopedRoute) {
            let failed = Set(response.errors.map(\.name))
            for name in (holds[type] ?? [:]).keys where !listed.contains(name) && !failed.contains(name) {
                holds[type]?[name] = nil
            }
        }
        nonces[type] = response.nonce
        let detail = refused.isEmpty ? nil : ErrorDetail(message: "refused \(refused.joined(separator: " "))")
        if detail == nil { acceptedVersions[type] = response.version }
        if isDelta {
            return (
                .delta(
                    DeltaDiscoveryRequest(typeURL: url(type), responseNonce: response.nonce, errorDetail: detail)),
                complaints
            )
        }
        var answer = plainRequest(type)
        answer.errorDetail = detail
        return (.stateOfTheWorld(answer), complaints)
    }

    /// What a proxy wants of a type after a change of another: endpoints by cluster, routes by listener.
    func follow(_ type: ResourceType) -> (ResourceType, Want)? {
        guard kind == .proxy, type == .cluster || type == .listener else { return nil }
        let names = (holds[type] ?? [:]).values.flatMap { references(in: $0.body) }
        return (type == .cluster ? .endpoints : .route, Want(names: Set(names)))
    }
}
