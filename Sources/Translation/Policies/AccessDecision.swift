import Addresses
import Mesh

/// A call as the server's sidecar sees it: what authorization policies ask about.
struct AccessQuestion {
    /// `spiffe://…`; nil: it came without mutual TLS.
    var identity: String?
    var address: IPAddress?
    /// Of a valid token.
    var claims: [String: [String]] = [:]
    /// Nil: it is no HTTP.
    var request: RoutedRequest?
    var port: Int
    var serverAddress: IPAddress?
    var serverName: String?
}

enum AccessDecision {
    /// By this rule; nil: there is no policy that allows.
    case allowed(AuthorizationRules.Named?)
    /// By this rule; nil: none of those that allow matches.
    case denied(AuthorizationRules.Named?)
    /// Policies allow it, and a service that this rule asks decides.
    case asked(AuthorizationRules.Named, provider: String)
}

extension AuthorizationRules {
    /// What the filters of ``Translator/httpPolicyFilters(of:port:)`` or of
    /// ``Translator/networkPolicyFilters(of:port:)`` come to.
    func decision(on question: AccessQuestion, trustDomain: String) -> AccessDecision {
        func first(_ part: Part, _ layer: RuleLayer) -> Named? {
            part.rules.sorted { $0.name < $1.name }.first {
                RuleCheck(question: question, layer: layer, policy: $0.policy, trustDomain: trustDomain)
                    .matches($0.rule)
            }
        }
        let isHTTP = question.request != nil
        for part in [isHTTP ? custom : refusedStreams, deny] {
            if let named = first(part, isHTTP ? .http : .streamThatDenies) { return .denied(named) }
        }
        let named = first(allow, isHTTP ? .http : .streamThatAllows)
        if allow.isThere, named == nil { return .denied(nil) }
        for check in checks where isHTTP || check.authorization.http == nil {
            if let asking = first(check.part, isHTTP ? .http : .streamThatDenies) {
                return .asked(asking, provider: check.provider)
            }
        }
        return .allowed(named)
    }
}

/// Whether one rule matches a call: as the RBAC filters that are made of it answer.
private struct RuleCheck {
    var question: AccessQuestion
    var layer: RuleLayer
    var policy: ObjectKey
    var trustDomain: String

    func matches(_ rule: Istio.Rule) -> Bool {
        (rule.from.isEmpty || rule.from.contains { matches($0) })
            && (rule.to.isEmpty || rule.to.contains { matches($0) }) && rule.when.allSatisfy { matches($0) }
    }

    private func holds(_ values: Istio.Values, _ test: (String) -> Bool) -> Bool {
        (values.any.isEmpty || values.any.contains(where: test)) && !values.none.contains(where: test)
    }

    /// What only HTTP has: unknown on a stream.
    private func asked(_ values: Istio.Values, _ test: (String, RoutedRequest) -> Bool) -> Bool {
        if values.isEmpty { return true }
        guard let request = question.request else { return layer == .streamThatDenies }
        return holds(values) { test($0, request) }
    }

    private func matches(_ source: Istio.Source) -> Bool {
        holds(source.principals, isPrincipal) && holds(source.namespaces, isNamespace)
            && holds(source.serviceAccounts, isAccount) && holds(source.trustDomains, isTrustDomain)
            && holds(source.ipBlocks) { contains($0, question.address) }
            && holds(source.remoteIPBlocks) { contains($0, remoteAddress) }
            && asked(source.requestPrincipals) { text, _ in isRequestPrincipal(text) }
    }

    private func matches(_ operation: Istio.Operation) -> Bool {
        holds(operation.ports) { Int($0) == question.port }
            && asked(operation.hosts) { TextPattern($0).matches($1.authority, ignoringCase: true) }
            && asked(operation.methods) { TextPattern($0).matches($1.method) }
            && asked(operation.paths) { PathPattern($0).matches($1.bare) }
    }

    private func matches(_ condition: Istio.Condition) -> Bool {
        let (key, values) = (condition.key, condition.values)
        switch key {
        case "source.ip": return holds(values) { contains($0, question.address) }
        case "remote.ip": return holds(values) { contains($0, remoteAddress) }
        case "source.namespace": return holds(values, isNamespace)
        case "source.principal": return holds(values, isPrincipal)
        case "source.serviceAccount": return holds(values, isAccount)
        case "source.trustDomain": return holds(values, isTrustDomain)
        case "destination.ip": return holds(values) { contains($0, question.serverAddress) }
        case "destination.port": return holds(values) { Int($0) == question.port }
        case "connection.sni": return holds(values) { TextPattern($0).matches(question.serverName ?? "") }
        case "request.auth.principal": return asked(values) { text, _ in isRequestPrincipal(text) }
        case "request.auth.audiences": return asked(values) { text, _ in hasClaim("aud", text) }
        case "request.auth.presenter": return asked(values) { text, _ in hasClaim("azp", text) }
        default: break
        }
        if let name = key.bracketed(after: "request.headers") {
            return asked(values) { text, request in
                guard let value = request.header(name.lowercased()) else { return false }
                return text == "*" || TextPattern(text).matches(value)
            }
        }
        if let name = key.bracketed(after: "request.auth.claims") {
            return asked(values) { text, _ in hasClaim(name, text) }
        }
        // What other filters leave behind is not known here: nothing is there.
        return holds(values) { _ in false }
    }

    // MARK: Who

    private func isPrincipal(_ text: String) -> Bool {
        guard let identity = question.identity, identity.hasPrefix("spiffe://") else { return false }
        return TextPattern(text).matches(String(identity.dropFirst("spiffe://".count)))
    }

    /// Trust domain, namespace, service account.
    private var parts: [String]? {
        guard let identity = question.identity, identity.hasPrefix("spiffe://") else { return nil }
        let parts = identity.dropFirst("spiffe://".count).split(separator: "/").map(String.init)
        return parts.count == 5 && parts[1] == "ns" && parts[3] == "sa" ? [parts[0], parts[2], parts[4]] : nil
    }

    private func isNamespace(_ text: String) -> Bool { parts.map { TextPattern(text).matches($0[1]) } ?? false }

    private func isTrustDomain(_ text: String) -> Bool { parts.map { TextPattern(text).matches($0[0]) } ?? false }

    private func isAccount(_ text: String) -> Bool {
        let names = text.split(separator: "/").map(String.init)
        let (owner, name) = names.count == 2 ? (names[0], names[1]) : (policy.namespace, text)
        return parts == [trustDomain, owner, name]
    }

    private func isRequestPrincipal(_ text: String) -> Bool {
        guard text != "*" else { return hasClaim("iss", "*") && hasClaim("sub", "*") }
        guard let slash = text.lastIndex(of: "/") else { return hasClaim(text.hasPrefix("*") ? "sub" : "iss", text) }
        return hasClaim("iss", String(text[..<slash])) && hasClaim("sub", String(text[text.index(after: slash)...]))
    }

    private func hasClaim(_ name: String, _ text: String) -> Bool {
        question.claims[name]?.contains { TextPattern(text).matches($0) } ?? false
    }

    /// Who called first, as far as the request says it.
    private var remoteAddress: IPAddress? {
        guard let list = question.request?.header("x-forwarded-for") else { return question.address }
        return list.split(separator: ",").last.flatMap { IPAddress(String($0.filter { $0 != " " })) }
            ?? question.address
    }

    private func contains(_ block: String, _ address: IPAddress?) -> Bool {
        guard let address, let block = AddressBlock(block) else { return false }
        return block.contains(address)
    }
}

/// A path of a policy: a text with a star at one end, or parts of which `{*}` is one and `{**}` any number.
private struct PathPattern {
    var text: String

    init(_ text: String) { self.text = text }

    func matches(_ path: Substring) -> Bool {
        guard text.contains("{") else { return TextPattern(text).matches(String(path)) }
        return Self.matches(
            text.split(separator: "/", omittingEmptySubsequences: false)[...],
            path.split(separator: "/", omittingEmptySubsequences: false)[...])
    }

    private static func matches(_ pattern: ArraySlice<Substring>, _ parts: ArraySlice<Substring>) -> Bool {
        guard let first = pattern.first else { return parts.isEmpty }
        guard !parts.isEmpty else { return false }
        if first == "{**}" {
            // The decoder lets one of these through, so this ends.
            return parts.indices.contains { matches(pattern.dropFirst(), parts[($0 + 1)...]) }
        }
        guard first == "{*}" ? parts.first?.isEmpty == false : first == parts.first else { return false }
        return matches(pattern.dropFirst(), parts.dropFirst())
    }
}
