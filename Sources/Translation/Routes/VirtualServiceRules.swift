import Mesh

/// Where rules are made for: what of them can be decided before a request comes.
struct RouteSetting {
    /// `mesh`, or a Gateway as `NAMESPACE/NAME`.
    var gateway: String
    /// The port that clients call.
    var port: Int
    /// Whether the proxy ends the client's TLS.
    var isTLS = false
    var scope: OutboundScope
}

extension Translator {
    /// The rules of a VirtualService for one kind of caller, in order, up to the first that takes everything.
    func rules(
        of object: MeshObject, _ service: Istio.VirtualService, host: String, in setting: RouteSetting
    ) -> [RouteRule] {
        var rules: [RouteRule] = []
        for part in parts(of: object, service) {
            for (path, match) in part.matches {
                if let match, !applies(match, of: object.key.namespace, in: setting) { continue }
                let rule = self.rule(part, path, match, host: host, in: setting)
                rules.append(rule)
                if rule.match.takesEverything { return rules }
            }
        }
        return rules
    }

    /// One HTTP route, and whose words it is: a delegate's routes stand for the one that delegates.
    struct RoutePart {
        var object: ObjectKey
        var index: Int
        var route: Istio.HTTPRoute
        /// Each match with its place; nil takes everything.
        var matches: [(path: String, match: Istio.HTTPMatch?)]
        var name: String
    }

    private func parts(of object: MeshObject, _ service: Istio.VirtualService) -> [RoutePart] {
        service.http.enumerated().flatMap { index, route -> [RoutePart] in
            guard case .delegate(let name, let namespace) = route.action else {
                return [part(object.key, index, route)]
            }
            let key = ObjectKey(.virtualService, namespace ?? object.key.namespace, name)
            guard let found = mesh.object(key), case .virtualService(let delegate) = found.body,
                delegate.hosts.isEmpty, mesh.isExported(found, to: object.key.namespace)
            else { return [] }
            return delegate.http.enumerated().compactMap { number, inner in
                if case .delegate = inner.action { return nil }
                return merged(part(object.key, index, route), part(key, number, inner))
            }
        }
    }

    private func part(_ key: ObjectKey, _ index: Int, _ route: Istio.HTTPRoute) -> RoutePart {
        let path = "spec.http[\(index)]"
        let matches: [(path: String, match: Istio.HTTPMatch?)] =
            route.match.isEmpty
            ? [(path, nil)] : route.match.enumerated().map { ("\(path).match[\($0.offset)]", $0.element) }
        return RoutePart(object: key, index: index, route: route, matches: matches, name: route.name)
    }

    /// Whether a match is for these callers at all.
    private func applies(_ match: Istio.HTTPMatch, of namespace: String, in setting: RouteSetting) -> Bool {
        (match.gateways.isEmpty
            || match.gateways.contains { mesh.fullGateway($0, in: namespace) == setting.gateway })
            && (match.port == nil || match.port == setting.port)
            && (match.sourceNamespace == nil || match.sourceNamespace == setting.scope.namespace)
            && match.sourceLabels.allSatisfy { setting.scope.labels[$0.key] == $0.value }
    }

    private func rule(
        _ part: RoutePart, _ path: String, _ match: Istio.HTTPMatch?, host: String, in setting: RouteSetting
    ) -> RouteRule {
        let (route, namespace) = (part.route, part.object.namespace)
        var requestMatch = match.map { RequestMatch($0) } ?? .everything
        if case .prefix("") = requestMatch.path { requestMatch.path = .prefix("/") }
        var name = part.name
        if name.isEmpty { name = "\(namespace)/\(part.object.name)[\(part.index)]" }
        if let more = match?.name, !more.isEmpty { name += "." + more }
        let action: RouteRule.Action
        switch route.action {
        case .route(let destinations):
            action = .forward(forwarding(route, destinations, from: namespace, in: setting))
        case .redirect(let redirect): action = .redirect(Redirection(redirect, in: setting))
        case .directResponse(let response): action = .respond(status: response.status, body: response.body)
        case .delegate: preconditionFailure("a delegate was not replaced by its routes")
        }
        var rule = RouteRule(
            origin: RouteRule.Origin(part.object, path), name: name, match: requestMatch, action: action,
            timeout: route.timeout, retries: RouteRule.Retries(route.retries),
            operation: "\(host):\(setting.port)\(requestMatch.path.words)")
        rule.fault = route.fault
        rule.cors = route.cors.map { CrossOriginRule($0) }
        (rule.requestHeaders, rule.responseHeaders) = (
            HeaderRule(route.headers.request), HeaderRule(route.headers.response)
        )
        rule.statPrefix = match?.statPrefix
        // One destination alone has no headers of its own in Envoy.
        if case .route(let destinations) = route.action, destinations.count == 1 {
            rule.requestHeaders.append(HeaderRule(destinations[0].headers.request))
            rule.responseHeaders.append(HeaderRule(destinations[0].headers.response))
        }
        return rule
    }

    private func forwarding(
        _ route: Istio.HTTPRoute, _ destinations: [Istio.HTTPDestination], from namespace: String,
        in setting: RouteSetting
    ) -> Forwarding {
        let weighted = destinations.count > 1 ? destinations.filter { $0.weight > 0 } : destinations
        var forwarding = Forwarding(
            targets: weighted.map { destination in
                var target = self.target(
                    destination.destination, from: namespace, calledPort: setting.port,
                    weight: max(1, destination.weight))
                target.authority = destination.headers.request.authority
                if destinations.count > 1 {
                    target.requestHeaders = HeaderRule(destination.headers.request)
                    target.responseHeaders = HeaderRule(destination.headers.response)
                }
                return target
            })
        forwarding.path =
            route.rewrite?.regex.map { .regex(pattern: $0.match, substitution: $0.rewrite) }
            ?? route.rewrite?.uri.map { .matched($0) }
        forwarding.authority = route.rewrite?.authority ?? route.headers.request.authority
        forwarding.mirrors = route.mirrors.filter { $0.percentage > 0 }.map { mirror in
            Forwarding.Mirror(
                cluster: destinationCluster(mirror.destination, from: namespace, defaultPort: setting.port),
                percentage: mirror.percentage)
        }
        for key in forwarding.targets.compactMap({ hashKey(of: $0, for: setting.scope) })
        where !forwarding.hash.contains(key) {
            forwarding.hash.append(key)
        }
        return forwarding
    }
}

extension RequestMatch {
    init(_ match: Istio.HTTPMatch) {
        self.init(ignoresCase: match.ignoresURICase)
        switch match.uri {
        case .exact(let path): self.path = .exact(path)
        case .prefix(let path): self.path = .prefix(path)
        case .regex(let pattern): self.path = .regex(pattern)
        case .present, nil: self.path = .prefix("/")
        }
        headers =
            match.headers.sorted { $0.key < $1.key }.map { Header($0.key, TextCondition($0.value)) }
            + match.withoutHeaders.sorted { $0.key < $1.key }.map {
                Header($0.key, TextCondition($0.value), isInverted: true)
            }
        let pseudo = [(":method", match.method), (":authority", match.authority), (":scheme", match.scheme)]
        for case (let name, let condition?) in pseudo { headers.append(Header(name, TextCondition(condition))) }
        parameters = match.queryParameters.sorted { $0.key < $1.key }.map {
            Parameter(name: $0.key, condition: TextCondition($0.value))
        }
    }
}

extension RequestMatch.Path {
    /// For the name of an operation in traces.
    var words: String {
        switch self {
        case .exact(let path): path
        case .prefix(let path): path + "*"
        case .separatedPrefix(let path): path + "/*"
        case .regex(let pattern): pattern
        }
    }
}

extension TextCondition {
    init(_ match: Istio.StringMatch) {
        switch match {
        case .exact(let text): self = .exact(text)
        case .prefix(let text): self = .prefix(text)
        // No pattern of RE2; Istio takes it for any value.
        case .regex("*"), .present: self = .present
        case .regex(let pattern): self = .regex(pattern)
        }
    }
}

extension Redirection {
    init(_ redirect: Istio.HTTPRedirect, in setting: RouteSetting) {
        scheme = redirect.scheme
        authority = redirect.authority
        path = redirect.prefixRewrite.map { .prefix($0) } ?? redirect.uri.map { .full($0) }
        code = redirect.code
        switch redirect.port {
        case .number(let number): port = number
        case .ofRequest: port = setting.port
        case .ofScheme, nil: port = nil
        }
        dropStandardPort(isTLS: setting.isTLS)
    }

    /// Nobody wants to see `:80` after `http`.
    mutating func dropStandardPort(isTLS: Bool) {
        let scheme = scheme ?? (isTLS ? "https" : "http")
        if (scheme == "http" && port == 80) || (scheme == "https" && port == 443) { port = nil }
    }
}

extension RouteRule.Retries {
    init(_ retry: Istio.HTTPRetry?) {
        guard let retry else {
            self = .standard
            return
        }
        guard retry.attempts > 0 else {
            self = .none
            return
        }
        var rule = RetryRule(attempts: retry.attempts, perTryTimeout: retry.perTryTimeout)
        if let conditions = retry.retryOn {
            let words = conditions.split(separator: ",").map { $0.filter { $0 != " " } }
            rule.statusCodes = words.compactMap { Int($0) }
            rule.conditions = words.filter { Int($0) == nil }.joined(separator: ",")
        }
        rule.triesRemoteLocalities = retry.retriesRemoteLocalities ?? false
        rule.avoidsPreviousHosts = retry.ignoresPreviousHosts
        rule.backoff = retry.backoff
        self = .policy(rule)
    }
}

extension HeaderRule {
    init(_ operations: Istio.HeaderChanges.Operations) {
        func headers(_ values: [String: String]) -> [Header] {
            values.filter { Self.isChangeable($0.key) }.sorted { $0.key < $1.key }.map {
                Header(name: $0.key, value: $0.value)
            }
        }
        set = headers(operations.set)
        add = headers(operations.add)
        remove = operations.remove.filter { Self.isChangeable($0) }
    }

    mutating func append(_ other: HeaderRule) {
        self.set += other.set
        add += other.add
        remove += other.remove
    }

    /// Envoy refuses routes that change the others.
    static func isChangeable(_ name: String) -> Bool { !name.hasPrefix(":") && name.lowercased() != "host" }
}

extension Istio.HeaderChanges.Operations {
    /// The host that requests are sent under instead of their own.
    var authority: String? {
        (self.set.sorted { $0.key < $1.key } + add.sorted { $0.key < $1.key })
            .first { [":authority", "host"].contains($0.key.lowercased()) }?.value
    }
}

extension CrossOriginRule {
    init(_ policy: Istio.CORSPolicy) {
        origins = policy.allowOrigins.map { TextCondition($0) }
        methods = policy.allowMethods
        requestHeaders = policy.allowHeaders
        exposedHeaders = policy.exposeHeaders
        maxAge = policy.maxAge
        allowsCredentials = policy.allowCredentials
        forwardsUnmatchedPreflights =
            switch policy.unmatchedPreflights {
            case .unspecified: nil
            case .forward: true
            case .ignore: false
            }
    }
}
