import Mesh

/// How specific a match of the Gateway API is: of two that take a request the greater decides. Source: Gateway API,
/// HTTPRouteRule and GRPCRouteRule, precedence of matches.
private struct MatchRank: Comparable {
    var path: Int
    var length: Int
    var hasMethod: Bool
    var headers: Int
    var parameters: Int

    init(_ match: RequestMatch) {
        switch match.path {
        case .exact(let text): (path, length) = (3, text.utf8.count)
        case .prefix(let text), .separatedPrefix(let text): (path, length) = (2, text.utf8.count)
        case .regex(let text): (path, length) = (1, text.utf8.count)
        }
        hasMethod = match.headers.contains { $0.name == ":method" }
        headers = match.headers.count - (hasMethod ? 1 : 0)
        parameters = match.parameters.count
    }

    static func < (left: MatchRank, right: MatchRank) -> Bool {
        (left.path, left.length, left.hasMethod ? 1 : 0, left.headers, left.parameters)
            < (right.path, right.length, right.hasMethod ? 1 : 0, right.headers, right.parameters)
    }
}

extension Translator {
    /// The rules of HTTPRoutes and GRPCRoutes for one host, merged: the more specific match first, then the older route,
    /// then the earlier rule.
    func rules(of routes: [MeshObject], host: String, in setting: RouteSetting) -> [RouteRule] {
        let all = routes.sorted { $0.isOlder(than: $1) }.flatMap { rules(of: $0, host: host, in: setting) }
        let ranked = all.enumerated().map { (rank: MatchRank($0.element.match), place: $0.offset, rule: $0.element) }
        var result: [RouteRule] = []
        for entry in ranked.sorted(by: { $0.rank == $1.rank ? $0.place < $1.place : $0.rank > $1.rank }) {
            result.append(entry.rule)
            if entry.rule.match.takesEverything { break }
        }
        return result
    }

    private func rules(of object: MeshObject, host: String, in setting: RouteSetting) -> [RouteRule] {
        switch object.body {
        case .httpRoute(let route):
            route.rules.enumerated().flatMap { index, rule in
                rule.matches.enumerated().map { number, match in
                    var made = self.rule(
                        object.key, index, number, name: rule.name, match: RequestMatch(match), filters: rule.filters,
                        backends: rule.backends, host: host, in: setting)
                    made.timeout = rule.timeout ?? rule.backendTimeout
                    made.retries = RouteRule.Retries(rule.retry, perTryTimeout: rule.backendTimeout)
                    return made
                }
            }
        case .grpcRoute(let route):
            route.rules.enumerated().flatMap { index, rule in
                rule.matches.enumerated().map { number, match in
                    self.rule(
                        object.key, index, number, name: rule.name, match: RequestMatch(match), filters: rule.filters,
                        backends: rule.backends, host: host, in: setting)
                }
            }
        default: []
        }
    }

    private func rule(
        _ key: ObjectKey, _ index: Int, _ number: Int, name: String?, match: RequestMatch,
        filters: [GatewayAPI.RouteFilter], backends: [GatewayAPI.BackendReference], host: String,
        in setting: RouteSetting
    ) -> RouteRule {
        var targets = backends.filter { $0.weight > 0 }.map {
            target($0.object, weight: $0.weight, filters: $0.filters, of: key)
        }
        var requestHeaders = HeaderRule()
        var responseHeaders = HeaderRule()
        for filter in filters {
            if case .requestHeaders(let changes) = filter { requestHeaders.append(HeaderRule(changes)) }
            if case .responseHeaders(let changes) = filter { responseHeaders.append(HeaderRule(changes)) }
        }
        if targets.count == 1 {
            requestHeaders.append(targets[0].requestHeaders)
            responseHeaders.append(targets[0].responseHeaders)
            (targets[0].requestHeaders, targets[0].responseHeaders) = (HeaderRule(), HeaderRule())
        }
        let path = "spec.rules[\(index)].matches[\(number)]"
        var rule = RouteRule(
            origin: RouteRule.Origin(key, path),
            name: name.map { "\(key.namespace)/\(key.name).\($0)" } ?? "\(key.namespace)/\(key.name)[\(index)]",
            match: match, action: action(filters, targets, match, of: key, in: setting),
            operation: "\(host):\(setting.port)\(match.path.words)")
        (rule.requestHeaders, rule.responseHeaders) = (requestHeaders, responseHeaders)
        for case .cors(let cors) in filters { rule.cors = CrossOriginRule(cors) }
        return rule
    }

    private func action(
        _ filters: [GatewayAPI.RouteFilter], _ targets: [Forwarding.Target], _ match: RequestMatch, of key: ObjectKey,
        in setting: RouteSetting
    ) -> RouteRule.Action {
        var forwarding = Forwarding(targets: targets)
        for filter in filters {
            switch filter {
            case .redirect(let redirect): return .redirect(Redirection(redirect, after: match, in: setting))
            case .rewrite(let rewrite):
                forwarding.authority = rewrite.hostname
                forwarding.path = rewrite.path.map { Forwarding.PathRewrite($0, after: match) }
            case .mirror(let backend, let percentage):
                let target = target(backend, of: key)
                if !target.isInvalid, percentage > 0 {
                    forwarding.mirrors.append(Forwarding.Mirror(cluster: target.cluster, percentage: percentage))
                }
            // A filter that nobody here knows must not be left out.
            case .extension, .externalAuthorization: return .respond(status: 500, body: nil)
            case .requestHeaders, .responseHeaders, .cors: break
            }
        }
        if targets.allSatisfy(\.isInvalid) { return .respond(status: 500, body: nil) }
        for hash in targets.compactMap({ hashKey(of: $0, for: setting.scope) })
        where !forwarding.hash.contains(hash) {
            forwarding.hash.append(hash)
        }
        return .forward(forwarding)
    }

    /// A backend that exists and may be used, or one that fails.
    func target(
        _ object: GatewayAPI.ObjectReference, weight: Int = 1, filters: [GatewayAPI.RouteFilter] = [], of key: ObjectKey
    ) -> Forwarding.Target {
        let namespace = object.namespace ?? key.namespace
        var host: String?
        let port = object.port ?? 0
        if object.group.isEmpty, object.kind == "Service" {
            let service = ObjectKey(.service, namespace, object.name)
            if mayRefer(key, to: service), case .service(let found)? = mesh.object(service)?.body,
                found.ports.contains(where: { $0.port == port })
            {
                host = MeshIndex.fullHost(of: service)
            }
        } else if object.group == "networking.istio.io", object.kind == "Hostname" {
            let name = mesh.fullHost(object.name, in: key.namespace)
            if mesh.services(matching: name, from: key.namespace).contains(where: { $0.port(port) != nil }) {
                host = name
            }
        }
        var target = Forwarding.Target(
            cluster: host.map { ResourceNames.outbound(port, $0) } ?? ResourceNames.invalidBackend, host: host ?? "",
            port: port, subset: "", weight: weight)
        for filter in filters {
            if case .requestHeaders(let changes) = filter { target.requestHeaders.append(HeaderRule(changes)) }
            if case .responseHeaders(let changes) = filter { target.responseHeaders.append(HeaderRule(changes)) }
        }
        return target
    }

    /// The routes of the Gateway API that hang on a port of a service: those of the client's own namespace, else those
    /// of the service's. Source: Gateway API, GAMMA, producer and consumer routes.
    func routes(
        _ kinds: Set<ObjectKind>, on service: MeshService, port: Int, for scope: OutboundScope
    ) -> [MeshObject] {
        guard service.key.kind == .service else { return [] }
        let found = kinds.sorted { $0.rawValue < $1.rawValue }.flatMap { mesh.objects(of: $0, naming: service.key) }
            .filter {
                object in
                (object.body.parents ?? []).contains { parent in
                    parent.isService && parent.name == service.key.name
                        && parent.namespace ?? object.key.namespace == service.namespace
                        && parent.port ?? port == port
                        && (parent.section == nil || parent.section == service.port(port)?.name)
                }
            }
        let own = found.filter { $0.key.namespace == scope.namespace }
        return own.isEmpty ? found.filter { $0.key.namespace == service.namespace } : own
    }
}

extension ObjectBody {
    /// What a route of the Gateway API hangs on; nil for other kinds.
    var parents: [GatewayAPI.ParentReference]? {
        switch self {
        case .httpRoute(let route): route.parents
        case .grpcRoute(let route): route.parents
        case .tlsRoute(let route), .tcpRoute(let route): route.parents
        default: nil
        }
    }

    /// The host names that a route of the Gateway API is for; empty is all of its parent's.
    var routedHostnames: [String] {
        switch self {
        case .httpRoute(let route): route.hostnames
        case .grpcRoute(let route): route.hostnames
        case .tlsRoute(let route), .tcpRoute(let route): route.hostnames
        default: []
        }
    }
}
