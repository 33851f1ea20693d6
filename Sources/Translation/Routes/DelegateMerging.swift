import Mesh

extension Translator {
    /// A delegate's route under the match of the one that delegates; nil if no request is taken by both.
    /// Source: Istio, Delegate.
    func merged(_ root: RoutePart, _ leaf: RoutePart) -> RoutePart? {
        var merged = leaf
        merged.matches = []
        for (_, rootMatch) in root.matches {
            for (leafPath, leafMatch) in leaf.matches {
                switch (rootMatch, leafMatch) {
                case (nil, nil): merged.matches.append((leafPath, nil))
                case (nil, let match?): merged.matches.append((leafPath, match))
                case (let match?, nil): merged.matches.append((leafPath, match))
                case (let one?, let other?):
                    if let both = one.narrowed(by: other) { merged.matches.append((leafPath, both)) }
                }
            }
        }
        guard !merged.matches.isEmpty else { return nil }
        let (outer, inner) = (root.route, leaf.route)
        if case .route = inner.action {
            merged.route.rewrite = inner.rewrite ?? outer.rewrite
            merged.route.timeout = inner.timeout ?? outer.timeout
            merged.route.retries = inner.retries ?? outer.retries
            if inner.mirrors.isEmpty { merged.route.mirrors = outer.mirrors }
        }
        merged.route.fault = inner.fault ?? outer.fault
        merged.route.cors = inner.cors ?? outer.cors
        if inner.headers.isEmpty { merged.route.headers = outer.headers }
        merged.name = [root.name, leaf.name].filter { !$0.isEmpty }.joined(separator: "-")
        return merged
    }
}

extension Istio.HTTPMatch {
    /// What both ask for; nil if they contradict each other, or if it cannot be told: a regular expression goes
    /// together with nothing else.
    fileprivate func narrowed(by other: Istio.HTTPMatch) -> Istio.HTTPMatch? {
        guard ignoresURICase == other.ignoresURICase || uri == nil || other.uri == nil,
            (uri ?? .present).admits(other.uri), (scheme ?? .present).admits(other.scheme),
            (method ?? .present).admits(other.method), (authority ?? .present).admits(other.authority),
            headers.allSatisfy({ $0.value.admits(other.headers[$0.key]) }),
            withoutHeaders.allSatisfy({ $0.value.admits(other.withoutHeaders[$0.key]) }),
            queryParameters.allSatisfy({ $0.value.admits(other.queryParameters[$0.key]) }),
            port == nil || other.port == nil || port == other.port,
            sourceNamespace == nil || other.sourceNamespace == nil || sourceNamespace == other.sourceNamespace,
            sourceLabels.allSatisfy({ other.sourceLabels[$0.key] == nil || other.sourceLabels[$0.key] == $0.value })
        else { return nil }
        var both = other
        if other.uri == nil { both.ignoresURICase = ignoresURICase }
        both.name = [name, other.name].filter { !$0.isEmpty }.joined(separator: "-")
        both.uri = other.uri ?? uri
        both.scheme = other.scheme ?? scheme
        both.method = other.method ?? method
        both.authority = other.authority ?? authority
        both.headers.merge(headers) { inner, _ in inner }
        both.withoutHeaders.merge(withoutHeaders) { inner, _ in inner }
        both.queryParameters.merge(queryParameters) { inner, _ in inner }
        both.port = other.port ?? port
        both.sourceNamespace = other.sourceNamespace ?? sourceNamespace
        both.sourceLabels.merge(sourceLabels) { inner, _ in inner }
        if other.gateways.isEmpty { both.gateways = gateways }
        both.statPrefix = other.statPrefix ?? statPrefix
        return both
    }
}

extension Istio.StringMatch {
    /// Whether what the other takes is taken by this one.
    fileprivate func admits(_ other: Istio.StringMatch?) -> Bool {
        guard let other else { return true }
        return switch (self, other) {
        case (.present, _): true
        case (.exact(let one), .exact(let another)): one == another
        case (.prefix(let one), .exact(let another)), (.prefix(let one), .prefix(let another)):
            another.hasPrefix(one)
        case (.exact, _), (.prefix, _), (.regex, _): false
        }
    }
}
