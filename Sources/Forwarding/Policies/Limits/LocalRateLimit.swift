import CEnvoyAPI
import EnvoyAPI
import HTTP
import Time

/// How many requests a proxy lets through by itself. Source: Envoy, `extensions.filters.http.local_ratelimit.v3`.
public final class LocalRateLimit: Sendable {
    public enum Verdict: Hashable, Sendable {
        case passes
        /// Too many, and only counted: ``LocalRateLimit/unenforcedHeaders`` apply to the request.
        case wouldBeLimited
        /// To be answered with ``LocalRateLimit/status`` and ``LocalRateLimit/refusal``.
        case limited
    }

    /// The body of the answer, and its details in access logs. Source: Envoy.
    public static let refusal = "local_rate_limited"

    public let status: UInt16
    /// What gRPC clients are told: RESOURCE_EXHAUSTED or UNAVAILABLE.
    public let grpcStatus: Int
    public let responseHeaders: HeaderOperations
    public let unenforcedHeaders: HeaderOperations
    /// Whether each connection has a bucket of its own: ``makeBucket()``.
    public let countsPerConnection: Bool
    private let enabled: Fraction
    private let enforced: Fraction
    /// Nil: the routes say.
    private let bucket: TokenBucket?

    public init(_ message: HttpLocalRateLimit) throws(ConfigurationError) {
        let code = try message.status.read("status") { (status) throws(ConfigurationError) in status.code.rawValue }
        status = code.flatMap { (400...599).contains($0) ? UInt16($0) : nil } ?? 429
        grpcStatus = message.rate_limited_as_resource_exhausted != 0 ? 8 : 14
        bucket = try message.token_bucket.read("token_bucket") { (bucket) throws(ConfigurationError) in
            try TokenBucket(bucket)
        }
        let none = Fraction(numerator: 0, denominator: 100)
        enabled =
            try message.filter_enabled.read("filter_enabled") { (value) throws(ConfigurationError) in
                try Fraction(value)
            } ?? none
        enforced =
            try message.filter_enforced.read("filter_enforced") { (value) throws(ConfigurationError) in
                try Fraction(value)
            } ?? none
        responseHeaders = try HeaderOperations(message.response_headers_to_add_list, "response_headers_to_add")
        unenforcedHeaders = try HeaderOperations(
            message.request_headers_to_add_when_not_enforced_list, "request_headers_to_add_when_not_enforced")
        countsPerConnection = message.local_rate_limit_per_downstream_connection != 0
    }

    /// A bucket for a connection; nil where all connections share one.
    public func makeBucket() -> TokenBucket? { countsPerConnection ? bucket.map { TokenBucket(like: $0) } : nil }

    /// - Parameter own: the connection's bucket, where each has one.
    public func decide(
        bucket own: TokenBucket? = nil, now: Instant, random: inout some RandomNumberGenerator
    ) -> Verdict {
        guard let bucket = own ?? bucket, enabled.isAll || enabled.holds(random.next()) else { return .passes }
        if bucket.take(now: now) { return .passes }
        return enforced.isAll || enforced.holds(random.next()) ? .limited : .wouldBeLimited
    }

    static let fields =
        SupportedFields([
            "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit": """
            stat_prefix status token_bucket filter_enabled filter_enforced response_headers_to_add \
            request_headers_to_add_when_not_enforced local_rate_limit_per_downstream_connection \
            rate_limited_as_resource_exhausted
            """,
            "envoy.type.v3.HttpStatus": "code",
        ]) + .tokenBucket + .common
}

/// How many connections a listener takes per time. Source: Envoy, `extensions.filters.network.local_ratelimit.v3`.
public final class ConnectionRateLimit: Sendable {
    private let bucket: TokenBucket
    private let isEnabled: Bool

    public init(_ message: NetworkLocalRateLimit) throws(ConfigurationError) {
        let settings = try message.token_bucket.required("token_bucket")
        bucket = try at("token_bucket") { () throws(ConfigurationError) in try TokenBucket(settings) }
        isEnabled = message.runtime_enabled?.pointee.default_value.flag ?? true
    }

    /// Whether a new connection may stay.
    public func admits(now: Instant) -> Bool { !isEnabled || bucket.take(now: now) }

    static let fields =
        SupportedFields([
            "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit":
                "stat_prefix token_bucket runtime_enabled"
        ]) + .tokenBucket + .common
}

extension Fraction {
    /// Whether nobody has to throw dice.
    var isAll: Bool { numerator >= denominator }
}

extension HeaderOperations {
    /// Fields that a filter adds.
    init(_ options: Repeated<HeaderValueOption>, _ field: String) throws(ConfigurationError) {
        let additions = try options.read(field) { (option) throws(ConfigurationError) in try Addition(option.pointee) }
        self.init([Step(removals: [], additions: additions)])
    }
}
