import CEnvoyAPI
import EnvoyAPI
import HTTP

/// Which pages of other origins may ask here. Source: Fetch, CORS protocol; Envoy, `extensions.filters.http.cors.v3`.
public struct CrossOriginPolicy: Sendable {
    /// What becomes of a request.
    public enum Outcome: Equatable, Sendable {
        /// Nothing: it is none of another origin, or of one that may not.
        case passes
        /// Its response gets ``CrossOriginPolicy/apply(to:origin:)``.
        case allowed(origin: [UInt8])
        /// A preflight, answered here.
        case answered(HeaderList)
    }

    private var origins: [TextMatcher] = []
    private var allowMethods: [UInt8] = []
    private var allowHeaders: [UInt8] = []
    private var exposeHeaders: [UInt8] = []
    private var maxAge: [UInt8] = []
    private var allowsCredentials: Bool?
    private var allowsPrivateNetworks: Bool?
    private var forwardsUnmatched: Bool?
    private var enabled: Fraction = .all

    /// Details of an answered preflight in access logs. Source: Envoy.
    public static let details = "cors_response"

    /// The filter's message.
    public init(_ message: EnvoyAPI.CorsPolicy) throws(ConfigurationError) {
        origins = try message.allow_origin_string_match_list.read("allow_origin_string_match") {
            (origin) throws(ConfigurationError) in try TextMatcher(origin.pointee)
        }
        allowMethods = try FieldText.value(message.allow_methods.string, "allow_methods")
        allowHeaders = try FieldText.value(message.allow_headers.string, "allow_headers")
        exposeHeaders = try FieldText.value(message.expose_headers.string, "expose_headers")
        maxAge = try FieldText.value(message.max_age.string, "max_age")
        allowsCredentials = message.allow_credentials.flag
        allowsPrivateNetworks = message.allow_private_network_access.flag
        forwardsUnmatched = message.forward_not_matching_preflights.flag
        try readShares(message.filter_enabled, message.shadow_enabled)
    }

    /// The message of routes and virtual hosts, from before filters had their own there.
    public init(_ message: RouteCorsPolicy) throws(ConfigurationError) {
        origins = try message.allow_origin_string_match_list.read("allow_origin_string_match") {
            (origin) throws(ConfigurationError) in try TextMatcher(origin.pointee)
        }
        allowMethods = try FieldText.value(message.allow_methods.string, "allow_methods")
        allowHeaders = try FieldText.value(message.allow_headers.string, "allow_headers")
        exposeHeaders = try FieldText.value(message.expose_headers.string, "expose_headers")
        maxAge = try FieldText.value(message.max_age.string, "max_age")
        allowsCredentials = message.allow_credentials.flag
        allowsPrivateNetworks = message.allow_private_network_access.flag
        forwardsUnmatched = message.forward_not_matching_preflights.flag
        if case .filter_enabled(let share) = message.enabled_specifier {
            try readShares(share, message.shadow_enabled)
        } else {
            try readShares(nil, message.shadow_enabled)
        }
    }

    private mutating func readShares(
        _ enabled: UnsafeMutablePointer<RuntimeFractionalPercent>?,
        _ shadow: UnsafeMutablePointer<RuntimeFractionalPercent>?
    ) throws(ConfigurationError) {
        self.enabled =
            try enabled.read("filter_enabled") { (share) throws(ConfigurationError) in try Fraction(share) } ?? .all
        _ = try shadow.read("shadow_enabled") { (share) throws(ConfigurationError) in try Fraction(share) }
    }

    /// What a route says, and where it says nothing what the level above says.
    public func over(_ general: CrossOriginPolicy) -> CrossOriginPolicy {
        var merged = self
        if origins.isEmpty { merged.origins = general.origins }
        if allowMethods.isEmpty { merged.allowMethods = general.allowMethods }
        if allowHeaders.isEmpty { merged.allowHeaders = general.allowHeaders }
        if exposeHeaders.isEmpty { merged.exposeHeaders = general.exposeHeaders }
        if maxAge.isEmpty { merged.maxAge = general.maxAge }
        merged.allowsCredentials = allowsCredentials ?? general.allowsCredentials
        merged.allowsPrivateNetworks = allowsPrivateNetworks ?? general.allowsPrivateNetworks
        merged.forwardsUnmatched = forwardsUnmatched ?? general.forwardsUnmatched
        return merged
    }

    public func decide(_ head: HeaderList, random: inout some RandomNumberGenerator) -> Outcome {
        guard let origin = head.withValue(of: "origin", { Array($0) }), !origin.isEmpty,
            enabled.isAll || enabled.holds(random.next())
        else { return .passes }
        guard allows(origin) else {
            guard forwardsUnmatched == false, head.isPreflight else { return .passes }
            return .answered(HeaderList([(":status", "200")]))
        }
        guard head.isPreflight else { return .allowed(origin: origin) }
        var answer = HeaderList([(":status", "200")])
        func append(_ name: StaticString, _ value: [UInt8]) {
            if !value.isEmpty { value.withUnsafeBytes { answer.append(name, value: $0) } }
        }
        append("access-control-allow-origin", origin)
        if allowsCredentials == true { append("access-control-allow-credentials", Array("true".utf8)) }
        append("access-control-allow-methods", allowMethods)
        append("access-control-allow-headers", allowHeaders)
        append("access-control-max-age", maxAge)
        // Of no use to a preflight; Envoy adds it to every response of an allowed origin.
        append("access-control-expose-headers", exposeHeaders)
        if allowsPrivateNetworks == true, head.value(of: "access-control-request-private-network", equals: "true") {
            append("access-control-allow-private-network", Array("true".utf8))
        }
        return .answered(answer)
    }

    /// Tells the browser that the page may read the response.
    public func apply(to response: inout HeaderList, origin: [UInt8]) {
        func set(_ name: StaticString, _ value: [UInt8]) {
            if !value.isEmpty { value.withUnsafeBytes { response.set(name, value: $0) } }
        }
        set("access-control-allow-origin", origin)
        if allowsCredentials == true { set("access-control-allow-credentials", Array("true".utf8)) }
        set("access-control-expose-headers", exposeHeaders)
    }

    /// A condition that a lone star meets is for everybody. Source: Envoy, `CorsFilter::isOriginAllowed`.
    private func allows(_ origin: [UInt8]) -> Bool {
        origin.withUnsafeBytes { bytes in origins.contains { $0.matches("*") || $0.matches(bytes) } }
    }

    static let fields =
        SupportedFields([
            "envoy.extensions.filters.http.cors.v3.Cors": "",
            // What is only tried is counted, and nothing else.
            "envoy.extensions.filters.http.cors.v3.CorsPolicy": """
            allow_origin_string_match allow_methods allow_headers expose_headers max_age allow_credentials \
            filter_enabled shadow_enabled allow_private_network_access forward_not_matching_preflights
            """,
            "envoy.config.route.v3.CorsPolicy": """
            allow_origin_string_match allow_methods allow_headers expose_headers max_age allow_credentials \
            filter_enabled shadow_enabled allow_private_network_access forward_not_matching_preflights
            """,
        ]) + .common
}

extension Optional where Wrapped == UnsafeMutablePointer<CChar> {
    /// The field's text as bytes.
    var bytes: [UInt8] { Array(string.utf8) }
}
