import CEnvoyAPI
import Certificates
import EnvoyAPI
import HTTP
import Time

/// Where in a request a token may be.
enum TokenPlace: Hashable, Sendable {
    /// What follows the prefix, anywhere in the value; the whole value where there is none.
    case header(name: [UInt8], prefix: [UInt8])
    case parameter([UInt8])
    case cookie([UInt8])
}

/// A token of a request.
struct FoundToken: Sendable {
    var bytes: [UInt8]
    var place: TokenPlace
}

/// Who issues tokens, and what is done with theirs. Source: Envoy, `extensions.filters.http.jwt_authn.v3.JwtProvider`.
struct TokenProvider: Sendable {
    enum Keys: Sendable {
        case own(TokenKeySet)
        /// Of a file or the environment: the world reads it.
        case given(GivenBytes)
        case remote(RemoteKeys)
    }

    struct RemoteKeys: Sendable {
        var cluster: String
        var scheme: String
        var authority: String
        var path: String
        var timeout: Duration
        var lifetime: Duration
        /// Whether they are fetched before anybody asks; nil: not.
        var retryAfter: Duration?
    }

    let name: String
    let issuer: String
    let audiences: [String]
    let subject: TextMatcher?
    let needsExpiry: Bool
    let longestLifetime: Duration?
    let leeway: Int64
    let keys: Keys
    let places: [TokenPlace]
    let keepsToken: Bool
    let payloadHeader: [UInt8]
    let padsPayload: Bool
    let claimHeaders: [(header: [UInt8], path: [String])]
    let payloadKey: String
    let headerKey: String
    let spacedClaims: [String]
    let clearsRoute: Bool
    let cacheSize: Int
    let cachedTokenBytes: Int

    init(_ name: String, _ message: JwtProvider) throws(ConfigurationError) {
        self.name = name
        issuer = message.issuer.string
        audiences = message.audiences_list.map(Self.bareAudience)
        subject = try message.subjects.read("subjects") { (text) throws(ConfigurationError) in try TextMatcher(text) }
        needsExpiry = message.require_expiration != 0
        longestLifetime = try message.max_lifetime.duration("max_lifetime")
        // Source: jwt_verify_lib, kClockSkewInSecond.
        leeway = message.clock_skew_seconds == 0 ? 60 : Int64(message.clock_skew_seconds)
        keys = try Self.keys(message)
        places = try Self.places(message)
        keepsToken = message.forward != 0
        payloadHeader = try Self.headerName(message.forward_payload_header.string, "forward_payload_header")
        padsPayload = message.pad_forward_payload_header != 0
        claimHeaders = try message.claim_to_headers_list.read("claim_to_headers") {
            (entry) throws(ConfigurationError) in
            let name = try Self.headerName(entry.pointee.header_name.string, "header_name")
            let claim = entry.pointee.claim_name.string
            if name.isEmpty { throw .invalid(path: "header_name", message: "missing") }
            if claim.isEmpty { throw .invalid(path: "claim_name", message: "missing") }
            return (name, claim.split(separator: ".").map(String.init))
        }
        payloadKey = message.payload_in_metadata.string
        headerKey = message.header_in_metadata.string
        if !payloadKey.isEmpty, payloadKey == headerKey {
            throw .invalid(path: "header_in_metadata", message: "the payload has the same key")
        }
        spacedClaims = message.normalize_payload_in_metadata.map { Array($0.pointee.space_delimited_claims_list) } ?? []
        clearsRoute = message.clear_route_cache != 0
        let cache = message.jwt_cache_config?.pointee
        cacheSize = min(Int(cache?.jwt_cache_size ?? 0) == 0 ? 100 : Int(cache?.jwt_cache_size ?? 0), 10_000)
        cachedTokenBytes = Int(cache?.jwt_max_token_size ?? 0) == 0 ? 4096 : Int(cache?.jwt_max_token_size ?? 0)
    }

    private static func keys(_ message: JwtProvider) throws(ConfigurationError) -> Keys {
        switch message.jwks_source_specifier {
        case .local_jwks(let source):
            let given = try at("local_jwks") { () throws(ConfigurationError) in try GivenBytes(source.pointee) }
            guard case .inline(let bytes) = given else { return .given(given) }
            do {
                return .own(try TokenKeySet(jwks: bytes))
            } catch {
                throw .invalid(path: "local_jwks", message: "\(error)")
            }
        case .remote_jwks(let remote):
            return .remote(
                try at("remote_jwks") { () throws(ConfigurationError) in try RemoteKeys(remote.pointee) })
        case nil: throw .invalid(path: "", message: "neither local_jwks nor remote_jwks is given")
        }
    }

    private static func places(_ message: JwtProvider) throws(ConfigurationError) -> [TokenPlace] {
        var places = try message.from_headers_list.read("from_headers") { (header) throws(ConfigurationError) in
            let name = try headerName(header.pointee.name.string, "name")
            if name.isEmpty { throw .invalid(path: "name", message: "missing") }
            return TokenPlace.header(name: name, prefix: Array(header.pointee.value_prefix.string.utf8))
        }
        places += message.from_params_list.map { .parameter(Array($0.utf8)) }
        places += message.from_cookies_list.map { .cookie(Array($0.utf8)) }
        guard places.isEmpty else { return places }
        return [
            .header(name: Array("authorization".utf8), prefix: Array("Bearer ".utf8)),
            .parameter(Array("access_token".utf8)),
        ]
    }

    private static func headerName(_ name: String, _ field: String) throws(ConfigurationError) -> [UInt8] {
        name.isEmpty ? [] : try FieldText.name(name, field)
    }

    /// Without scheme and trailing slash: `https://api.example/` is `api.example`. Source: jwt_verify_lib.
    static func bareAudience(_ name: String) -> String {
        var name = name[...]
        for scheme in ["http://", "https://"] where name.hasPrefix(scheme) { name = name.dropFirst(scheme.count) }
        if name.hasSuffix("/") { name = name.dropLast() }
        return String(name)
    }

    /// - Parameter audiences: instead of the provider's own.
    /// - Returns: nothing if all but the signature is in order.
    func check(_ token: WebToken, audiences: [String]?, now: Timestamp) throws(TokenFault) {
        func refuse(_ refusal: TokenRefusal) -> TokenFault { TokenFault(refusal: refusal) }
        if !issuer.isEmpty, token.issuer != issuer { throw refuse(.unknownIssuer) }
        if let start = token.notBefore, start > now.seconds + leeway { throw refuse(.notYetValid) }
        if let end = token.expiry, now.seconds > end + leeway { throw refuse(.expired) }
        if needsExpiry, token.expiry == nil { throw refuse(.expiryMissing) }
        if let longestLifetime {
            guard let end = token.expiry else { throw refuse(.expiryMissing) }
            let start = token.issuedAt ?? token.notBefore ?? now.seconds
            if end - start > longestLifetime.components.seconds { throw refuse(.lifetimeTooLong) }
        }
        let wanted = audiences ?? self.audiences
        if !wanted.isEmpty, !token.audiences.contains(where: { wanted.contains(Self.bareAudience($0)) }) {
            throw refuse(.audienceNotAllowed)
        }
        if let subject, !subject.matches(token.subject ?? "") { throw refuse(.subjectNotAllowed) }
    }

    /// The payload as it is left for other filters.
    func leftPayload(_ token: WebToken) -> StructureValue {
        guard !spacedClaims.isEmpty else { return .object(token.payload) }
        return .object(
            token.payload.map { field in
                guard spacedClaims.contains(field.name), case .string(let words) = field.value else { return field }
                return .init(field.name, .list(words.split(separator: " ").map { .string(String($0)) }))
            })
    }
}

extension TokenProvider.RemoteKeys {
    init(_ message: RemoteJwks) throws(ConfigurationError) {
        let place = try message.http_uri.required("http_uri")
        guard case .cluster(let cluster) = place.http_upstream_type, !cluster.isEmpty else {
            throw .invalid(path: "http_uri.cluster", message: "missing")
        }
        self.cluster = cluster
        let uri = place.uri.string
        guard let separator = uri.firstRange(of: "://") else {
            throw .invalid(path: "http_uri.uri", message: "`\(uri)` is no address of the web")
        }
        scheme = uri[..<separator.lowerBound].lowercased()
        let rest = uri[separator.upperBound...]
        authority = String(rest.prefix { $0 != "/" && $0 != "?" })
        let path = String(rest.dropFirst(authority.count))
        self.path = path.hasPrefix("/") ? path : "/" + path
        guard scheme == "http" || scheme == "https", !authority.isEmpty,
            uri.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else { throw .invalid(path: "http_uri.uri", message: "`\(uri)` is no address of the web") }
        timeout = try place.timeout.duration("http_uri.timeout") ?? .seconds(5)
        lifetime = try message.cache_duration.duration("cache_duration") ?? .seconds(600)
        retryAfter = try message.async_fetch.read("async_fetch") { (fetch) throws(ConfigurationError) in
            try fetch.failed_refetch_duration.duration("failed_refetch_duration") ?? .seconds(1)
        }
    }
}

// MARK: Finding tokens

extension HeaderList {
    /// The token at a place, if there is one.
    func token(at place: TokenPlace) -> FoundToken? {
        let bytes: [UInt8]?
        switch place {
        case .header(let name, let prefix):
            bytes =
                withJoinedValue(ofBytes: name) { value in
                    if prefix.isEmpty { return Array(value) }
                    guard let start = Array(value).firstRange(of: prefix)?.upperBound else { return nil }
                    let rest = value[start...].drop { !$0.isOfToken }
                    return rest.isEmpty ? Array(value[start...]) : Array(rest.prefix { $0.isOfToken })
                } ?? nil
        case .parameter(let name):
            bytes = withValue(of: ":path") { QueryParameters($0).first(name).map(percentDecoded) } ?? nil
        case .cookie(let name): bytes = unquotedCookie(name)
        }
        return bytes.map { FoundToken(bytes: $0, place: place) }
    }

    /// Takes a token away, so that nobody behind sees it. A cookie stays, as in Envoy.
    mutating func removeToken(at place: TokenPlace) {
        switch place {
        case .header(let name, _): name.withUnsafeBytes { _ = remove(bytes: $0) }
        case .parameter(let name):
            guard let path = withValue(of: ":path", { withoutParameter($0, name) }) else { return }
            path.withUnsafeBytes { set(":path", value: $0) }
        case .cookie: break
        }
    }
}

/// A target without the parameters of a name.
private func withoutParameter(_ target: UnsafeRawBufferPointer, _ name: [UInt8]) -> [UInt8] {
    guard let mark = target.firstIndex(of: UInt8(ascii: "?")) else { return Array(target) }
    let kept = target[(mark + 1)...].split(separator: UInt8(ascii: "&"), omittingEmptySubsequences: false)
        .filter { part in !part.prefix { $0 != UInt8(ascii: "=") }.elementsEqual(name) }
    return Array(target[..<mark]) + (kept.isEmpty ? [] : [UInt8(ascii: "?")])
        + kept.joined(separator: [UInt8(ascii: "&")])
}

extension UInt8 {
    /// Letters, digits, `-`, `_` and the dot between a token's parts.
    fileprivate var isOfToken: Bool {
        switch self {
        case 48...57, 65...90, 97...122, 45, 46, 95: true
        default: false
        }
    }
}
