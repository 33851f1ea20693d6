import CEnvoyAPI
import EnvoyAPI
import Protobuf

/// The filters of a connection manager, in their order; the router is the last.
public struct HTTPFilterChain: Sendable {
    public struct Entry: Sendable {
        public let name: String
        public let filter: HTTPFilter
        /// Only routes that say so have it.
        public let isDisabled: Bool
    }

    public let entries: [Entry]

    /// - Throws: for a filter that is not known, unless it is optional, and for a chain that does not end in a router.
    public init(_ filters: Repeated<HttpFilter>, in arena: Arena) throws(ConfigurationError) {
        var entries: [Entry] = []
        for (index, filter) in filters.enumerated() {
            let entry = try at("http_filters[\(index)]") { () throws(ConfigurationError) in
                try Self.entry(filter.pointee, in: arena)
            }
            if let entry { entries.append(entry) }
        }
        guard case .router? = entries.last?.filter, entries.last?.isDisabled == false else {
            throw .invalid(path: "http_filters", message: "the last filter has to be envoy.filters.http.router")
        }
        let routers = entries.filter { if case .router = $0.filter { true } else { false } }
        guard routers.count == 1 else { throw .invalid(path: "http_filters", message: "more than one router") }
        self.entries = entries
    }

    private static func entry(_ message: HttpFilter, in arena: Arena) throws(ConfigurationError) -> Entry? {
        let name = message.name.string
        if name.isEmpty { throw .invalid(path: "name", message: "missing") }
        switch message.config_type {
        case .typed_config(let any):
            do {
                let filter = try HTTPFilter.read(name, any.pointee, in: arena)
                return Entry(name: name, filter: filter, isDisabled: message.disabled != 0)
            } catch {
                if message.is_optional != 0, case .unsupported(path: "", _) = error { return nil }
                throw error.under("typed_config")
            }
        case .config_discovery:
            throw .unsupported(path: "config_discovery", message: "filters are not fetched one by one")
        case nil:
            throw .invalid(path: "typed_config", message: "missing")
        }
    }

    /// The filters that a request of a route passes, with what the route says of them. The same for all requests of a
    /// route: worth to be kept.
    public func applying(_ policies: RoutePolicies) -> [HTTPFilter] {
        entries.compactMap { entry in
            let levels = policies.byName[entry.name] ?? []
            switch levels.last {
            case .disabled: return nil
            case nil where entry.isDisabled: return nil
            default: return Self.filter(entry.filter, levels)
            }
        }
    }

    private static func filter(_ filter: HTTPFilter, _ levels: [RoutePolicy]) -> HTTPFilter {
        var filter = filter
        var crossOrigin: CrossOriginPolicy?
        var mutations: [HeaderMutations] = []
        for level in levels {
            switch (filter, level) {
            case (.accessControl, .accessControl(let own)): filter = .accessControl(own)
            case (.tokens(let tokens, _), .tokens(let setting)): filter = .tokens(tokens, setting)
            case (.localRateLimit, .localRateLimit(let own)): filter = .localRateLimit(own)
            case (.fault, .fault(let own)): filter = .fault(own)
            case (.crossOrigin, .crossOrigin(let own)): crossOrigin = crossOrigin.map { own.over($0) } ?? own
            case (.externalAuthorization(let authorization, let general), .externalAuthorization(let setting)):
                filter = .externalAuthorization(authorization, general.map { setting.over($0) } ?? setting)
            case (.statefulSession, .statefulSession(let own)): filter = .statefulSession(own)
            case (.headerMutation, .headerMutation(let own)): mutations.append(own)
            case (.bodyLimit, .bodyLimit(let own)): filter = .bodyLimit(own)
            // What is of another kind than the filter of that name is nothing to it, as in Envoy.
            default: break
            }
        }
        if let crossOrigin { filter = .crossOrigin(crossOrigin) }
        if case .headerMutation(let own) = filter, !mutations.isEmpty {
            let lastWins = own.first?.mostSpecialComesLast ?? false
            filter = .headerMutation(own + (lastWins ? mutations : mutations.reversed()))
        }
        return filter
    }
}

extension AuthorizationSetting {
    /// What a special level says, with the context of the level above. Source: Envoy,
    /// `FilterConfigPerRoute::merge`.
    func over(_ general: AuthorizationSetting) -> AuthorizationSetting {
        if isDisabled { return self }
        let own = Set(context.map(\.key))
        return AuthorizationSetting(
            context: general.context.filter { !own.contains($0.key) } + context, skipsBody: skipsBody, body: body)
    }

    private init(
        context: [(key: String, value: String)], skipsBody: Bool, body: ExternalAuthorization.BodyRule?
    ) {
        (isDisabled, self.context, self.skipsBody, self.body) = (false, context, skipsBody, body)
    }
}
