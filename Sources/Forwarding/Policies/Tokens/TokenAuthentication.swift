import CEnvoyAPI
import Certificates
import EnvoyAPI
import HTTP
import Protobuf
import Time

/// What a token check comes to.
public enum TokenVerdict: Sendable {
    /// The changes are the filter's, whether there was a token or not.
    case allowed(TokenChanges)
    case denied(TokenDenial)
    /// Keys are missing: run the errand (see ``TokenKeys/errand(for:)``), then ask again.
    case waits(provider: Int)
}

/// The answer to a request whose tokens are not good.
public struct TokenDenial: Equatable, Sendable {
    public var status: UInt16
    public var body: String
    /// Of the field `www-authenticate`; nil: none.
    public var challenge: String?
    /// For access logs: `jwt_authn_access_denied{Jwt_is_missing}`. Source: Envoy.
    public var details: String
}

/// What good tokens do to a request.
public struct TokenChanges: Equatable, Sendable {
    /// Fields that a client may not bring itself.
    public var removals: [[UInt8]] = []
    public var additions: [(name: [UInt8], value: [UInt8])] = []
    var takenTokens: [TokenPlace] = []
    /// To be left under ``TokenAuthentication/filterName``.
    public var metadata: [StructureValue.Field] = []
    /// The route is to be chosen anew.
    public var clearsRoute = false

    /// Whether there is nothing to do.
    public var isEmpty: Bool { removals.isEmpty && additions.isEmpty && takenTokens.isEmpty && metadata.isEmpty }

    public func apply(to facts: inout RequestFacts) {
        apply(to: &facts.head)
        if !metadata.isEmpty { facts.metadata.merge(TokenAuthentication.filterName, metadata) }
    }

    /// Removes, then adds, then takes the tokens away that are not to be passed on.
    public func apply(to head: inout HeaderList) {
        for name in removals { name.withUnsafeBytes { _ = head.remove(bytes: $0) } }
        for (name, value) in additions {
            name.withUnsafeBytes { name in value.withUnsafeBytes { head.append(name: name, value: $0) } }
        }
        for place in takenTokens { head.removeToken(at: place) }
    }

    public static func == (left: TokenChanges, right: TokenChanges) -> Bool {
        left.removals == right.removals && left.takenTokens == right.takenTokens && left.metadata == right.metadata
            && left.clearsRoute == right.clearsRoute
            && left.additions.elementsEqual(right.additions) { $0.name == $1.name && $0.value == $1.value }
    }
}

/// Checks the JSON Web Tokens of requests. Source: Envoy, `extensions.filters.http.jwt_authn.v3.JwtAuthentication`.
public final class TokenAuthentication: Sendable {
    /// Where claims are left for later filters.
    public static let filterName = "envoy.filters.http.jwt_authn"

    private struct Rule: Sendable {
        var condition: RequestCondition
        var requirement: TokenRequirement?
    }

    let providers: [TokenProvider]
    private let rules: [Rule]
    private let named: [String: TokenRequirement]
    private let passesPreflights: Bool
    private let hidesReason: Bool
    /// Of each provider: fields that only this filter may write.
    private let ownFields: [[UInt8]]
    let remembersTokens: Int

    public init(_ message: JwtAuthentication, in arena: Arena) throws(ConfigurationError) {
        var providers: [TokenProvider] = []
        var numbers: [String: Int] = [:]
        for entry in message.providers_list {
            let name = entry.pointee.key.string
            let provider = try at("providers[\"\(name)\"]") { () throws(ConfigurationError) in
                try TokenProvider(name, try entry.pointee.value.required(""))
            }
            numbers[name] = providers.count
            providers.append(provider)
        }
        self.providers = providers
        remembersTokens = providers.map(\.cacheSize).max() ?? 0
        var named: [String: TokenRequirement] = [:]
        for entry in message.requirement_map_list {
            let name = entry.pointee.key.string
            named[name] = try at("requirement_map[\"\(name)\"]") { () throws(ConfigurationError) in
                try TokenRequirement(try entry.pointee.value.required(""), numbers)
            }
        }
        self.named = named
        rules = try message.rules_list.read("rules") { (rule) throws(ConfigurationError) in
            let match = try rule.pointee.match.required("match")
            let condition = try at("match") { () throws(ConfigurationError) in try RequestCondition(match, in: arena) }
            switch rule.pointee.requirement_type {
            case .requires(let requirement):
                return Rule(
                    condition: condition,
                    requirement: try at("requires") { () throws(ConfigurationError) in
                        try TokenRequirement(requirement.pointee, numbers)
                    })
            case .requirement_name(let name):
                guard let requirement = named[name] else {
                    throw .invalid(path: "requirement_name", message: "`\(name)` is not in requirement_map")
                }
                return Rule(condition: condition, requirement: requirement)
            case nil: return Rule(condition: condition, requirement: nil)
            }
        }
        passesPreflights = message.bypass_cors_preflight != 0
        hidesReason = message.strip_failure_response != 0
        var fields: [[UInt8]] = []
        for provider in providers {
            if !provider.payloadHeader.isEmpty { fields.append(provider.payloadHeader) }
            fields += provider.claimHeaders.map(\.header)
        }
        ownFields = fields
    }

    /// Whether a request's tokens let it pass.
    /// - Parameters:
    ///   - setting: what the route says; nil: nothing, the filter's rules count.
    ///   - date: for the times in tokens; `now` is for the age of keys.
    public func decide(
        _ facts: RequestFacts, route setting: TokenSetting? = nil, keys: inout TokenKeys, now: Instant, date: Timestamp
    ) -> TokenVerdict {
        if passesPreflights, facts.head.isPreflight { return .allowed(TokenChanges()) }
        let requirement: TokenRequirement?
        switch setting {
        case .disabled: return .allowed(TokenChanges())
        case .requirement(let name):
            guard let found = named[name] else { return .denied(unknown(name)) }
            requirement = found
        case nil: requirement = rules.first { $0.condition.matches(facts) }?.requirement
        }
        guard let requirement else { return .allowed(TokenChanges()) }
        var check = TokenCheck(filter: self, keys: keys, now: now, date: date)
        var changes = TokenChanges()
        changes.removals = ownFields.filter { name in name.withUnsafeBytes { facts.head.contains(bytes: $0) } }
        let outcome = check.ask(requirement, facts.head, &changes)
        keys = check.keys
        switch outcome {
        case .met: return .allowed(changes)
        case .waits(let provider): return .waits(provider: provider)
        case .failed(let refusal): return .denied(denial(refusal, facts.head))
        }
    }

    private func denial(_ refusal: TokenRefusal, _ head: HeaderList) -> TokenDenial {
        var challenge = "Bearer realm=\"\(realm(head))\""
        if refusal != .missing { challenge += ", error=\"invalid_token\"" }
        return TokenDenial(
            status: refusal.status, body: hidesReason ? "" : refusal.text, challenge: hidesReason ? nil : challenge,
            details: Self.details(refusal.text))
    }

    private func unknown(_ name: String) -> TokenDenial {
        let reason =
            "Wrong requirement_name: \(name). It should be one of [\(named.keys.sorted().joined(separator: ","))]"
        return TokenDenial(
            status: 403, body: "Failed JWT authentication: \(reason)", challenge: nil, details: Self.details(reason))
    }

    private static func details(_ reason: String) -> String {
        "jwt_authn_access_denied{\(String(reason.map { $0.isWhitespace ? "_" : $0 }))}"
    }

    /// The request's address, its path cut at 256 bytes. Source: Envoy, `Utility::buildOriginalUri`.
    private func realm(_ head: HeaderList) -> String {
        func text(_ name: StaticString, _ limit: Int = .max) -> String {
            head.withValue(of: name) { value in
                // A quotation mark would end the text early.
                String(decoding: value.prefix(limit).filter { $0 != 0x22 && $0 != 0x5C }, as: UTF8.self)
            } ?? ""
        }
        let original = text("x-envoy-original-path", 256)
        return "\(text(":scheme"))://\(text(":authority"))\(original.isEmpty ? text(":path", 256) : original)"
    }
}

/// What a route says of tokens. Source: Envoy, `jwt_authn.v3.PerRouteConfig`.
public enum TokenSetting: Hashable, Sendable {
    case disabled
    /// By its name in the filter's `requirement_map`.
    case requirement(String)

    public init(_ message: JwtPerRouteConfig) throws(ConfigurationError) {
        switch message.requirement_specifier {
        case .disabled(true): self = .disabled
        case .requirement_name(let name) where !name.isEmpty: self = .requirement(name)
        default: throw .invalid(path: "", message: "neither disabled nor a requirement_name")
        }
    }
}

/// One question, with the keys that it may have to remember tokens in.
private struct TokenCheck {
    enum Outcome {
        case met
        case failed(TokenRefusal)
        case waits(Int)
    }

    let filter: TokenAuthentication
    var keys: TokenKeys
    let now: Instant
    let date: Timestamp

    mutating func ask(_ requirement: TokenRequirement, _ head: HeaderList, _ changes: inout TokenChanges) -> Outcome {
        switch requirement {
        case .provider(let number, let audiences):
            var refusal = TokenRefusal.missing
            // The last place first, as Envoy does it: one good token is enough.
            for place in filter.providers[number].places.reversed() {
                guard let found = head.token(at: place) else { continue }
                switch believe(found, number, audiences, &changes) {
                case .met: return .met
                case .waits(let provider): return .waits(provider)
                case .failed(let reason): refusal = reason
                }
            }
            return .failed(refusal)
        case .any(let children): return askAny(children, head, &changes)
        case .all(let children):
            for child in children {
                let outcome = ask(child, head, &changes)
                guard case .met = outcome else { return outcome }
            }
            return .met
        case .allowMissing, .allowMissingOrFailed:
            var worst: Outcome = .met
            for (found, numbers) in everyToken(head) {
                switch believeAny(found, numbers, &changes) {
                case .met: break
                case .waits(let provider): return .waits(provider)
                case .failed(let reason): worst = .failed(reason)
                }
            }
            if case .allowMissing = requirement { return worst }
            return .met
        }
    }

    private mutating func askAny(
        _ children: [TokenRequirement], _ head: HeaderList, _ changes: inout TokenChanges
    ) -> Outcome {
        var refusal: TokenRefusal?
        var waiting: Int?
        for child in children {
            var own = changes
            switch ask(child, head, &own) {
            case .met:
                changes = own
                return .met
            case .waits(let provider): waiting = waiting ?? provider
            case .failed(let reason):
                // What is wrong with a token says more than that there is none, or none of that issuer.
                let isVague = reason == .missing || reason == .unknownIssuer
                if refusal == nil || !isVague || refusal == .missing { refusal = reason }
            }
        }
        if let waiting { return .waits(waiting) }
        return .failed(refusal ?? .missing)
    }

    /// Each token of the request once, with the providers that may have one there.
    private func everyToken(_ head: HeaderList) -> [(FoundToken, [Int])] {
        var places: [(place: TokenPlace, numbers: [Int])] = []
        for (number, provider) in filter.providers.enumerated() {
            for place in provider.places {
                if let index = places.firstIndex(where: { $0.place == place }) {
                    places[index].numbers.append(number)
                } else {
                    places.append((place, [number]))
                }
            }
        }
        return places.compactMap { place in head.token(at: place.place).map { ($0, place.numbers) } }
    }

    /// A token of whoever says to have issued it.
    private mutating func believeAny(
        _ found: FoundToken, _ numbers: [Int], _ changes: inout TokenChanges
    ) -> Outcome {
        let token: WebToken
        do {
            token = try WebToken(found.bytes)
        } catch {
            return .failed(error.refusal)
        }
        let providers = filter.providers
        guard
            let number = numbers.first(where: { providers[$0].issuer == token.issuer ?? "" })
                ?? numbers.first(where: { providers[$0].issuer.isEmpty })
        else { return .failed(.unknownIssuer) }
        return believe(found, number, nil, &changes)
    }

    private mutating func believe(
        _ found: FoundToken, _ number: Int, _ audiences: [String]?, _ changes: inout TokenChanges
    ) -> Outcome {
        let provider = filter.providers[number]
        do {
            let remembered = keys.remembered(found.bytes, of: number)
            let token = try remembered ?? WebToken(found.bytes)
            try provider.check(token, audiences: audiences, now: date)
            switch keys.keys(of: number, now: now) {
            case .waits: return .waits(number)
            case .failed: throw TokenFault(refusal: .keysNotFetched)
            case .keys(let set):
                if remembered == nil {
                    try token.isSigned(by: set)
                    keys.remember(token, found.bytes, of: number)
                }
            }
            changes.add(token, found, provider)
            return .met
        } catch let fault as TokenFault {
            return .failed(fault.refusal)
        } catch {
            return .failed(.signatureInvalid)
        }
    }
}

extension TokenChanges {
    /// What a good token of a provider does.
    fileprivate mutating func add(_ token: WebToken, _ found: FoundToken, _ provider: TokenProvider) {
        if !provider.payloadHeader.isEmpty {
            var value = token.encodedPayload
            while provider.padsPayload, value.count % 4 != 0 { value.append(UInt8(ascii: "=")) }
            additions.append((provider.payloadHeader, value))
        }
        for (header, path) in provider.claimHeaders {
            guard let text = token.claimText(path), !text.isEmpty else { continue }
            additions.append((header, Array(text.utf8)))
        }
        if !provider.keepsToken { takenTokens.append(found.place) }
        if !provider.headerKey.isEmpty { metadata.merge([.init(provider.headerKey, .object(token.header))]) }
        if !provider.payloadKey.isEmpty { metadata.merge([.init(provider.payloadKey, provider.leftPayload(token))]) }
        if provider.clearsRoute { clearsRoute = true }
    }
}

extension WebToken {
    /// A claim as a header's value: texts, numbers and flags as they are, others as Base64 of their JSON.
    fileprivate func claimText(_ path: [String]) -> String? {
        guard let first = path.first, var value = payload.value(first) else { return nil }
        for name in path.dropFirst() {
            guard case .object(let fields) = value, let next = fields.value(name) else { return nil }
            value = next
        }
        switch value {
        case .null: return nil
        case .string(let text):
            // What would break the head is not written into one.
            return FieldText.isValue(text.utf8) ? text : nil
        case .bool, .number: return value.plainText
        case .list, .object: return String(decoding: Base64.encode(Array(value.json.utf8)), as: UTF8.self)
        }
    }
}

extension HeaderList {
    /// Whether a browser asks beforehand if it may ask. Source: Fetch, CORS-preflight request.
    var isPreflight: Bool {
        value(of: ":method", equals: "OPTIONS") && withValue(of: "origin") { !$0.isEmpty } ?? false
            && withValue(of: "access-control-request-method") { !$0.isEmpty } ?? false
    }
}

extension TokenAuthentication {
    /// What is read of the filter's messages.
    static let fields =
        SupportedFields([
            "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication": """
            providers rules bypass_cors_preflight requirement_map strip_failure_response stat_prefix
            """,
            "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication.ProvidersEntry": "key value",
            "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication.RequirementMapEntry": "key value",
            "envoy.extensions.filters.http.jwt_authn.v3.JwtProvider": """
            issuer audiences subjects require_expiration max_lifetime remote_jwks local_jwks forward from_headers \
            from_params from_cookies forward_payload_header pad_forward_payload_header payload_in_metadata \
            normalize_payload_in_metadata header_in_metadata clock_skew_seconds jwt_cache_config claim_to_headers \
            clear_route_cache
            """,
            "envoy.extensions.filters.http.jwt_authn.v3.JwtProvider.NormalizePayload": "space_delimited_claims",
            "envoy.extensions.filters.http.jwt_authn.v3.JwtCacheConfig": "jwt_cache_size jwt_max_token_size",
            "envoy.extensions.filters.http.jwt_authn.v3.RemoteJwks": "http_uri cache_duration async_fetch",
            "envoy.config.core.v3.HttpUri": "uri cluster timeout",
            // Listeners do not wait for keys here: requests do, and only those that need them.
            "envoy.extensions.filters.http.jwt_authn.v3.JwksAsyncFetch": "fast_listener~ failed_refetch_duration",
            "envoy.extensions.filters.http.jwt_authn.v3.JwtHeader": "name value_prefix",
            "envoy.extensions.filters.http.jwt_authn.v3.JwtClaimToHeader": "header_name claim_name",
            "envoy.extensions.filters.http.jwt_authn.v3.ProviderWithAudiences": "provider_name audiences",
            "envoy.extensions.filters.http.jwt_authn.v3.JwtRequirement": """
            provider_name provider_and_audiences requires_any requires_all allow_missing_or_failed allow_missing
            """,
            "envoy.extensions.filters.http.jwt_authn.v3.JwtRequirementOrList": "requirements",
            "envoy.extensions.filters.http.jwt_authn.v3.JwtRequirementAndList": "requirements",
            "envoy.extensions.filters.http.jwt_authn.v3.RequirementRule": "match requires requirement_name",
            "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig": "disabled requirement_name",
        ]) + RequestCondition.fields + .common
}
