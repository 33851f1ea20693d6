/// The filters of a connection manager, in their order; the router, which is the last, is not among them.
public struct HTTPFilterChain: Sendable {
    public struct Entry: Sendable {
        public let name: String
        public let filter: HTTPFilter
        /// Only routes that say so have it.
        public let isDisabled: Bool
    }

    public let entries: [Entry]

    /// - Throws: for a filter that is not known, unless it is optional.
    public init(_ settings: [ExtensionSetting]) throws(ConfigurationError) {
        var entries: [Entry] = []
        for (index, setting) in settings.enumerated() {
            if setting.name.isEmpty { throw .invalid(path: "http_filters[\(index)].name", message: "missing") }
            // Only the kind of filter is optional: what a filter that is known is told to do is never left out.
            if setting.isOptional, !HTTPFilter.knownTypes.contains(setting.typeName) { continue }
            do {
                let filter = try HTTPFilter.read(setting.name, setting.typeName, setting.bytes)
                entries.append(Entry(name: setting.name, filter: filter, isDisabled: setting.isDisabled))
            } catch {
                throw error.under("http_filters[\(index)].typed_config")
            }
        }
        self.entries = entries
    }

    /// The filters that a request of a route passes, with what the route says of them. The same for all requests of a
    /// route: worth to be kept.
    /// - Parameter isForwarded: false for a route that answers itself: pages of other origins are not told of there,
    ///   as in Envoy.
    public func applying(_ settings: FilterSettings, isForwarded: Bool = true) -> [HTTPFilter] {
        places(settings, isForwarded: isForwarded).compactMap(\.self)
    }

    /// The same with nil for a filter that is not passed: a request whose route changes on its way through the filters
    /// goes on at the same place.
    public func places(_ settings: FilterSettings, isForwarded: Bool = true) -> [HTTPFilter?] {
        entries.map { entry in
            if case .crossOrigin = entry.filter, !isForwarded { return nil }
            let levels = settings.byName[entry.name]?.compactMap(\.policy) ?? []
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
            case (.fault(let base), .fault(let own)): filter = .fault(own.counted(with: base))
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
