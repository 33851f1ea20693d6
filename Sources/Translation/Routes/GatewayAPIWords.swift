import Mesh

// What the words of the Gateway API mean in those of rules.

extension TextCondition {
    init(_ match: GatewayAPI.TextMatch) {
        switch match {
        case .exact(let text): self = .exact(text)
        case .regex(let pattern): self = .regex(pattern)
        }
    }
}

extension RequestMatch {
    init(_ match: GatewayAPI.HTTPMatch) {
        self.init(headers: match.headers.map { Header($0.name, TextCondition($0.match)) })
        switch match.path {
        case .exact(let path): self.path = .exact(path)
        case .regex(let pattern): self.path = .regex(pattern)
        case .prefix(let path):
            let bare = path.hasSuffix("/") ? String(path.dropLast()) : path
            self.path = bare.isEmpty ? .prefix("/") : .separatedPrefix(bare)
        }
        if let method = match.method { headers.append(Header(":method", .exact(method.rawValue))) }
        parameters = match.queryParameters.map { Parameter(name: $0.name, condition: TextCondition($0.match)) }
    }

    /// Source: gRPC over HTTP/2: the path is `/SERVICE/METHOD`.
    init(_ match: GatewayAPI.GRPCMatch) {
        self.init(headers: match.headers.map { Header($0.name, TextCondition($0.match)) })
        switch (match.service, match.method) {
        case (nil, nil): path = .prefix("/")
        case (.exact(let service), .exact(let method)): path = .exact("/\(service)/\(method)")
        case (.exact(let service), nil): path = .separatedPrefix("/\(service)")
        case (let service, let method):
            func pattern(_ match: GatewayAPI.TextMatch?) -> String {
                switch match {
                case .exact(let text): quoted(text)
                case .regex(let pattern): "(?:\(pattern))"
                case nil: "[^/]+"
                }
            }
            path = .regex("/\(pattern(service))/\(pattern(method))")
        }
    }
}

extension HeaderRule {
    init(_ changes: GatewayAPI.HeaderChanges) {
        func headers(_ stated: [GatewayAPI.HeaderChanges.Header]) -> [Header] {
            stated.filter { Self.isChangeable($0.name) }.map { Header(name: $0.name, value: $0.value) }
        }
        set = headers(changes.set)
        add = headers(changes.add)
        remove = changes.remove.filter { Self.isChangeable($0) }
    }
}

extension Redirection {
    init(_ redirect: GatewayAPI.Redirect, after match: RequestMatch, in setting: RouteSetting) {
        scheme = redirect.scheme
        authority = redirect.hostname
        // Without a scheme, the port of the listener is meant.
        port = redirect.port ?? (redirect.scheme == nil ? setting.port : nil)
        code = redirect.code
        switch redirect.path {
        case .replaceFullPath(let full): path = .full(full)
        case .replacePrefixMatch: path = nil
        case nil: path = nil
        }
        if case .replacePrefixMatch(let prefix)? = redirect.path {
            switch Forwarding.PathRewrite(.replacePrefixMatch(prefix), after: match) {
            case .matched(let text): path = .prefix(text)
            case .regex(let pattern, let substitution): path = .regex(pattern: pattern, substitution: substitution)
            }
        }
        dropStandardPort(isTLS: setting.isTLS)
    }
}

extension Forwarding.PathRewrite {
    init(_ modifier: GatewayAPI.PathModifier, after match: RequestMatch) {
        switch modifier {
        case .replaceFullPath(let path): self = .regex(pattern: ".*", substitution: substitution(path))
        case .replacePrefixMatch(let prefix):
            let bare = prefix.hasSuffix("/") ? String(prefix.dropLast()) : prefix
            switch match.path {
            case .separatedPrefix(let matched) where bare.isEmpty:
                // The slash stays where nothing else does.
                self = .regex(pattern: "^\(quoted(matched))/?(.*)", substitution: #"/\1"#)
            case .separatedPrefix: self = .matched(bare)
            case .exact, .prefix, .regex:
                // The match is `/`: what follows it follows the new prefix and a slash.
                self = .regex(pattern: "^/(.*)", substitution: substitution(bare) + #"/\1"#)
            }
        }
    }
}

extension RouteRule.Retries {
    init(_ retry: GatewayAPI.Retry?, perTryTimeout: Duration?) {
        guard let retry else {
            self = perTryTimeout.map { .policy(RetryRule(attempts: 2, perTryTimeout: $0)) } ?? .standard
            return
        }
        if retry.attempts == 0 {
            self = .none
            return
        }
        var rule = RetryRule(attempts: retry.attempts ?? 2, perTryTimeout: perTryTimeout)
        rule.statusCodes = retry.codes
        rule.backoff = retry.backoff
        self = .policy(rule)
    }
}

extension CrossOriginRule {
    init(_ cors: GatewayAPI.CORS) {
        origins = cors.allowOrigins.map { origin in
            if origin == "*" { return .present }
            guard origin.contains("*") else { return .exact(origin) }
            let parts = origin.split(separator: "*", omittingEmptySubsequences: false).map { quoted(String($0)) }
            return .regex(parts.joined(separator: ".*"))
        }
        methods = cors.allowMethods
        requestHeaders = cors.allowHeaders
        exposedHeaders = cors.exposeHeaders
        maxAge = cors.maxAge
        allowsCredentials = cors.allowCredentials
    }
}

/// A text as a pattern of RE2 that matches it and nothing else.
func quoted(_ text: String) -> String {
    text.reduce(into: "") { result, letter in
        if #"\.+*?()|[]{}^$"#.contains(letter) { result.append("\\") }
        result.append(letter)
    }
}

/// A text as the substitution of a pattern: `\1` in it is no group.
private func substitution(_ text: String) -> String {
    text.reduce(into: "") { $0 += $1 == "\\" ? #"\\"# : String($1) }
}
