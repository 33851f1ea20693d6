import Addresses
import EnvoyAPI
import Mesh
import Protobuf

// Who calls, as Envoy's RBAC filters ask it. Source: Istio, AuthorizationPolicy; envoy.config.rbac.v3.Principal.
extension Translator {
    typealias PrincipalPointer = UnsafeMutablePointer<Principal>

    /// Where the JWT filter leaves the claims of a token.
    static let claimsKey = "claims"
    static let tokenFilter = "envoy.filters.http.jwt_authn"

    /// One of the sources, and every condition about the client.
    /// - Returns: nil if the rule asks for what only HTTP has, and can never match here.
    func principal(
        of rule: Istio.Rule, in policy: ObjectKey, _ layer: RuleLayer
    ) -> PrincipalPointer? {
        var sources: [PrincipalPointer] = []
        for source in rule.from {
            guard let principal = principal(source, in: policy, layer) else { continue }
            sources.append(principal)
        }
        if sources.isEmpty, !rule.from.isEmpty { return nil }
        var all = sources.isEmpty ? [] : [anyOf(sources)]
        for condition in rule.when {
            switch conditionPrincipal(condition, in: policy, layer) {
            case .matcher(let principal): all.append(principal)
            case .elsewhere, .leftOut: break
            case .never: return nil
            }
        }
        return allOf(all)
    }

    private func principal(
        _ source: Istio.Source, in policy: ObjectKey, _ layer: RuleLayer
    ) -> PrincipalPointer? {
        if !source.requestPrincipals.isEmpty, layer == .streamThatAllows { return nil }
        var all: [PrincipalPointer] = []
        func add(_ values: Istio.Values, _ make: (String) -> PrincipalPointer) {
            if let principal = combined(values, make) { all.append(principal) }
        }
        add(source.principals) { authenticated(principalMatcher($0)) }
        add(source.namespaces) { authenticated(namespaceMatcher($0)) }
        add(source.serviceAccounts) { authenticated(accountMatcher($0, in: policy.namespace)) }
        add(source.trustDomains) { authenticated(trustDomainMatcher($0)) }
        add(source.ipBlocks) { block in arena.make { $0.set(direct_remote_ip: cidr(block)) } }
        add(source.remoteIPBlocks) { block in arena.make { $0.set(remote_ip: cidr(block)) } }
        if layer == .http { add(source.requestPrincipals) { requestPrincipal($0) } }
        return allOf(all)
    }

    /// What becomes of a condition in one half of a rule.
    enum ConditionPart<Matcher> {
        case matcher(Matcher)
        /// The other half has it.
        case elsewhere
        /// It asks for what only HTTP has, and a DENY rule takes it as met.
        case leftOut
        /// It asks for what only HTTP has, and an ALLOW rule does not match then.
        case never
    }

    private func conditionPrincipal(
        _ condition: Istio.Condition, in policy: ObjectKey, _ layer: RuleLayer
    ) -> ConditionPart<PrincipalPointer> {
        let key = condition.key
        func part(_ make: (String) -> PrincipalPointer) -> ConditionPart<PrincipalPointer> {
            combined(condition.values, make).map { .matcher($0) } ?? .leftOut
        }
        if key.hasPrefix("request.") {
            switch layer {
            case .http: break
            case .streamThatAllows: return .never
            case .streamThatDenies: return .leftOut
            }
        }
        switch key {
        case "source.ip": return part { block in arena.make { $0.set(direct_remote_ip: cidr(block)) } }
        case "remote.ip": return part { block in arena.make { $0.set(remote_ip: cidr(block)) } }
        case "source.namespace": return part { authenticated(namespaceMatcher($0)) }
        case "source.principal": return part { authenticated(principalMatcher($0)) }
        case "source.serviceAccount": return part { authenticated(accountMatcher($0, in: policy.namespace)) }
        case "source.trustDomain": return part { authenticated(trustDomainMatcher($0)) }
        case "request.auth.principal": return part { requestPrincipal($0) }
        case "request.auth.audiences": return part { claim(["aud"], TextPattern($0)) }
        case "request.auth.presenter": return part { claim(["azp"], TextPattern($0)) }
        default: break
        }
        if let name = key.bracketed(after: "request.headers") {
            return part { text in arena.make { $0.set(header: headerMatcher(name, TextPattern(text))) } }
        }
        if let names = key.bracketed(after: "request.auth.claims") {
            let path = names.split(separator: "][").map(String.init)
            return part { claim(path, TextPattern($0)) }
        }
        return .elsewhere
    }

    // MARK: Identities

    /// `cluster.local/ns/shop/sa/web`, without the scheme, as Istio writes principals.
    private func principalMatcher(_ text: String) -> UnsafeMutablePointer<StringMatcher> {
        switch TextPattern(text) {
        case .exact(let name): stringMatcher(.exact("spiffe://" + name))
        case .prefix(let start): stringMatcher(.prefix("spiffe://" + start))
        case .suffix(let end): stringMatcher(.suffix(end))
        case .present: stringMatcher(.present)
        }
    }

    private func namespaceMatcher(_ text: String) -> UnsafeMutablePointer<StringMatcher> {
        let name =
            switch TextPattern(text) {
            case .exact(let name): quotedForRegex(name)
            case .prefix(let start): quotedForRegex(start) + "[^/]*"
            case .suffix(let end): "[^/]*" + quotedForRegex(end)
            case .present: "[^/]+"
            }
        return arena.make { $0.set(safe_regex: regexMatcher("spiffe://[^/]+/ns/\(name)/sa/.+")) }
    }

    /// `NAME` in the policy's namespace, or `NAMESPACE/NAME`; of this trust domain.
    private func accountMatcher(_ text: String, in namespace: String) -> UnsafeMutablePointer<StringMatcher> {
        let parts = text.split(separator: "/").map(String.init)
        let (owner, name) = parts.count == 2 ? (parts[0], parts[1]) : (namespace, text)
        return stringMatcher(.exact("spiffe://\(settings.trustDomain)/ns/\(owner)/sa/\(name)"))
    }

    private func trustDomainMatcher(_ text: String) -> UnsafeMutablePointer<StringMatcher> {
        switch TextPattern(text) {
        case .exact(let name): stringMatcher(.prefix("spiffe://\(name)/"))
        case .prefix(let start): stringMatcher(.prefix("spiffe://" + start))
        case .suffix(let end):
            arena.make { $0.set(safe_regex: regexMatcher("spiffe://[^/]*\(quotedForRegex(end))/.+")) }
        case .present: stringMatcher(.prefix("spiffe://"))
        }
    }

    private func authenticated(_ name: UnsafeMutablePointer<StringMatcher>) -> PrincipalPointer {
        arena.make { $0.set(authenticated: arena.make { $0.principal_name = name }) }
    }

    // MARK: Tokens

    /// `ISSUER/SUBJECT`; an issuer may have slashes, a subject has none.
    private func requestPrincipal(_ text: String) -> PrincipalPointer {
        guard text != "*" else { return allOf([claim(["iss"], .present), claim(["sub"], .present)]) }
        guard let slash = text.lastIndex(of: "/") else {
            return text.hasPrefix("*") ? claim(["sub"], TextPattern(text)) : claim(["iss"], TextPattern(text))
        }
        let (issuer, subject) = (String(text[..<slash]), String(text[text.index(after: slash)...]))
        return allOf([claim(["iss"], TextPattern(issuer)), claim(["sub"], TextPattern(subject))])
    }

    /// A claim that is a text, or a list with such a text.
    private func claim(_ path: [String], _ pattern: TextPattern) -> PrincipalPointer {
        func metadata(_ value: UnsafeMutablePointer<ValueMatcher>) -> PrincipalPointer {
            arena.make { $0.set(metadata: metadataMatcher(Self.tokenFilter, [Self.claimsKey] + path, value)) }
        }
        let text: UnsafeMutablePointer<ValueMatcher> = arena.make { $0.set(string_match: stringMatcher(pattern)) }
        let list: UnsafeMutablePointer<ValueMatcher> = arena.make {
            $0.set(list_match: arena.make { $0.set(one_of: text) })
        }
        return anyOf([metadata(text), metadata(list)])
    }

    func metadataMatcher(
        _ filter: String, _ path: [String], _ value: UnsafeMutablePointer<ValueMatcher>
    ) -> UnsafeMutablePointer<MetadataMatcher> {
        arena.make {
            $0.filter = arena(filter)
            ($0.n_path, $0.path) = arena.list(
                path.map { step in arena.make(MetadataMatcherPathSegment.self) { $0.set(key: arena(step)) } })
            $0.value = value
        }
    }

    // MARK: Together

    /// One of `any`, and none of `none`; nil where both are empty.
    private func combined(_ values: Istio.Values, _ make: (String) -> PrincipalPointer) -> PrincipalPointer? {
        var all: [PrincipalPointer] = []
        if !values.any.isEmpty { all.append(anyOf(values.any.map(make))) }
        if !values.none.isEmpty {
            let none = anyOf(values.none.map(make))
            all.append(arena.make { $0.set(not_id: none) })
        }
        return all.isEmpty ? nil : allOf(all)
    }

    private func anyOf(_ list: [PrincipalPointer]) -> PrincipalPointer {
        if list.count == 1 { return list[0] }
        return arena.make { $0.set(or_ids: arena.make { ($0.n_ids, $0.ids) = arena.list(list) }) }
    }

    /// Everybody where nothing is asked.
    private func allOf(_ list: [PrincipalPointer]) -> PrincipalPointer {
        switch list.count {
        case 0: arena.make { $0.set(any: true) }
        case 1: list[0]
        default: arena.make { $0.set(and_ids: arena.make { ($0.n_ids, $0.ids) = arena.list(list) }) }
        }
    }

    /// `10.0.0.0/8` or an address; the decoder let nothing else through.
    func cidr(_ text: String) -> UnsafeMutablePointer<CidrRange> {
        let block = AddressBlock(text)
        return arena.make {
            $0.address_prefix = arena(block.map { "\($0.address)" } ?? text)
            $0.prefix_len = arena.u32(UInt32(block?.bits ?? 128))
        }
    }
}

extension String {
    /// `X-Token` of `request.headers[X-Token]`.
    func bracketed(after prefix: String) -> String? {
        guard hasPrefix(prefix + "["), hasSuffix("]") else { return nil }
        return String(dropFirst(prefix.count + 1).dropLast())
    }
}
