import CEnvoyAPI
import EnvoyAPI
import HTTP
import Protobuf

/// On what a request is tried again. Source: Envoy, `x-envoy-retry-on`, `x-envoy-retry-grpc-on`.
public struct RetryConditions: OptionSet, Hashable, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public static let serverErrors = RetryConditions(rawValue: 1 << 0)
    /// 502, 503, 504.
    public static let gatewayErrors = RetryConditions(rawValue: 1 << 1)
    public static let reset = RetryConditions(rawValue: 1 << 2)
    public static let resetBeforeRequest = RetryConditions(rawValue: 1 << 3)
    public static let connectFailure = RetryConditions(rawValue: 1 << 4)
    public static let rateLimited = RetryConditions(rawValue: 1 << 5)
    /// 409.
    public static let retriable4xx = RetryConditions(rawValue: 1 << 6)
    public static let refusedStream = RetryConditions(rawValue: 1 << 7)
    public static let statusCodes = RetryConditions(rawValue: 1 << 8)
    public static let headers = RetryConditions(rawValue: 1 << 9)
    public static let cancelled = RetryConditions(rawValue: 1 << 10)
    public static let deadlineExceeded = RetryConditions(rawValue: 1 << 11)
    public static let internalError = RetryConditions(rawValue: 1 << 12)
    public static let resourceExhausted = RetryConditions(rawValue: 1 << 13)
    public static let unavailable = RetryConditions(rawValue: 1 << 14)

    static let grpc: RetryConditions = [
        .cancelled, .deadlineExceeded, .internalError, .resourceExhausted, .unavailable,
    ]

    static let httpWords: [String: RetryConditions] = [
        "5xx": .serverErrors, "gateway-error": .gatewayErrors, "reset": .reset,
        "reset-before-request": .resetBeforeRequest, "connect-failure": .connectFailure,
        "envoy-ratelimited": .rateLimited, "retriable-4xx": .retriable4xx, "refused-stream": .refusedStream,
        "retriable-status-codes": .statusCodes, "retriable-headers": .headers,
        // There is no HTTP/3 upstream that could fail so.
        "http3-post-connect-failure": [],
    ]

    static let grpcWords: [String: RetryConditions] = [
        "cancelled": .cancelled, "deadline-exceeded": .deadlineExceeded, "internal": .internalError,
        "resource-exhausted": .resourceExhausted, "unavailable": .unavailable,
    ]

    /// - Returns: also the first word that is none.
    static func parse(_ text: String, _ words: [[String: RetryConditions]]) -> (RetryConditions, unknown: String?) {
        var result: RetryConditions = []
        var unknown: String?
        for word in text.split(separator: ",") {
            let word = String(word.filter { $0 != " " })
            if let condition = words.lazy.compactMap({ $0[word] }).first {
                result.formUnion(condition)
            } else {
                unknown = unknown ?? word
            }
        }
        return (result, unknown)
    }
}

/// When, how often and with which pauses a request is tried again. Source: Envoy, `config.route.v3.RetryPolicy`.
public final class RetryRules: Sendable {
    /// A header of a response that says when to come again.
    struct ResetHeader: Sendable {
        let name: [UInt8]
        /// Unix time; otherwise a number of seconds.
        let isMoment: Bool
    }

    public let conditions: RetryConditions
    public let attempts: UInt32
    /// Nil: as long as the request has.
    public let perTryTimeout: Duration?
    public let perTryIdleTimeout: Duration?
    let statusCodes: [UInt16]
    let responseHeaders: [HeaderCondition]
    /// One of them has to match for the request to be tried again; empty: any request may be.
    let requestHeaders: [HeaderCondition]
    public let baseInterval: Duration
    public let longestInterval: Duration
    let resetHeaders: [ResetHeader]
    let longestReset: Duration
    /// A retry goes to a host that was not tried, if it finds one in so many picks.
    public let avoidsPreviousHosts: Bool
    public let avoidsCanaries: Bool
    public let mostPicks: Int
    /// After so many attempts the priorities that were tried count as unhealthy; nil: they do not.
    public let previousPrioritiesAfter: Int?

    init(_ message: RetryPolicy) throws(ConfigurationError) {
        let (conditions, unknown) = RetryConditions.parse(
            message.retry_on.string, [RetryConditions.httpWords, RetryConditions.grpcWords])
        if let unknown { throw .unsupported(path: "retry_on", message: "`\(unknown)` is no condition that is known") }
        self.conditions = conditions
        attempts = message.num_retries.number ?? 1
        perTryTimeout = try message.per_try_timeout.duration("per_try_timeout").flatMap { $0 > .zero ? $0 : nil }
        perTryIdleTimeout = try message.per_try_idle_timeout.duration("per_try_idle_timeout")
            .flatMap { $0 > .zero ? $0 : nil }
        statusCodes = message.retriable_status_codes_list.map { UInt16(clamping: $0) }
        responseHeaders = try message.retriable_headers_list.read("retriable_headers") {
            (header) throws(ConfigurationError) in try HeaderCondition(header.pointee)
        }
        requestHeaders = try message.retriable_request_headers_list.read("retriable_request_headers") {
            (header) throws(ConfigurationError) in try HeaderCondition(header.pointee)
        }
        var base = Duration.milliseconds(25)
        var longest: Duration?
        if let backOff = message.retry_back_off?.pointee {
            guard let stated = try backOff.base_interval.duration("retry_back_off.base_interval") else {
                throw .invalid(path: "retry_back_off.base_interval", message: "missing")
            }
            base = max(stated, .milliseconds(1))
            longest = try backOff.max_interval.duration("retry_back_off.max_interval").map { max($0, .milliseconds(1)) }
            if let longest, longest < base {
                throw .invalid(path: "retry_back_off.max_interval", message: "less than the base_interval")
            }
        }
        (baseInterval, longestInterval) = (base, longest ?? base * 10)
        let limited = message.rate_limited_retry_back_off?.pointee
        resetHeaders =
            limited?.reset_headers_list.map {
                ResetHeader(
                    name: $0.pointee.name.string.utf8.map(\.lowerCased), isMoment: $0.pointee.format == .UNIX_TIMESTAMP)
            } ?? []
        longestReset = try limited?.max_interval.duration("rate_limited_retry_back_off.max_interval") ?? .seconds(300)
        var (previous, canaries) = (false, false)
        for (index, predicate) in message.retry_host_predicate_list.enumerated() {
            switch predicate.pointee.name.string {
            case "envoy.retry_host_predicates.previous_hosts":
                previous = true
                try at("retry_host_predicate[\(index)]") { () throws(ConfigurationError) in
                    try Self.checkEmpty(PreviousHostsPredicate.self, predicate.pointee)
                }
            case "envoy.retry_host_predicates.omit_canary_hosts":
                canaries = true
                try at("retry_host_predicate[\(index)]") { () throws(ConfigurationError) in
                    try Self.checkEmpty(OmitCanaryHostsPredicate.self, predicate.pointee)
                }
            case let name:
                throw .unsupported(path: "retry_host_predicate[\(index)].name", message: "`\(name)` is not known")
            }
        }
        (avoidsPreviousHosts, avoidsCanaries) = (previous, canaries)
        mostPicks = max(1, Int(clamping: message.host_selection_retry_max_attempts))
        previousPrioritiesAfter = try message.retry_priority.read("retry_priority") {
            (priority) throws(ConfigurationError) in
            guard priority.name.string == "envoy.retry_priorities.previous_priorities" else {
                throw .unsupported(path: "name", message: "`\(priority.name.string)` is not known")
            }
            guard case .typed_config(let any) = priority.config_type else { return 1 }
            return try at("typed_config") { () throws(ConfigurationError) in try Self.updateFrequency(any.pointee) }
        }
    }

    /// Predicates are there or not: their messages are empty.
    private static func checkEmpty<M: ProtobufMessage>(
        _ type: M.Type, _ predicate: RetryPolicyRetryHostPredicate
    ) throws(ConfigurationError) {
        guard case .typed_config(let any) = predicate.config_type else { return }
        try at("typed_config") { () throws(ConfigurationError) in
            _ = try FieldAudit.decode(
                M.self, any.pointee, in: Arena(), SupportedFields([M.descriptor.fullName: ""]))
        }
    }

    /// `update_frequency`, field 1 and a varint: all that a `PreviousPrioritiesConfig` has.
    private static func updateFrequency(_ any: ProtobufAny) throws(ConfigurationError) -> Int {
        let name = FieldAudit.typeName(any)
        guard name == "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig" else {
            throw .unsupported(path: "", message: "`\(name)` is no setting of previous_priorities")
        }
        var rest = Array(any.value_bytes)[...]
        var value: UInt64 = 0
        while !rest.isEmpty {
            guard rest.takeVarint() == 0x08, let number = rest.takeVarint() else {
                throw .unsupported(path: "", message: "only update_frequency is supported")
            }
            value = number
        }
        guard value > 0, value <= UInt64(Int32.max) else {
            throw .invalid(path: "update_frequency", message: "\(value) is no number of attempts")
        }
        return Int(value)
    }
}

/// The retries that one request has left.
public struct RetryState: Sendable {
    /// Why a try failed without a response.
    public enum Failure: Sendable {
        /// The connection was not made.
        case connect
        /// HTTP/2 REFUSED_STREAM, or a GOAWAY that leaves the stream out.
        case refused
        /// Anything else: the connection or the stream ended.
        case reset(hadStarted: Bool)
        /// The try took too long.
        case timeout
        /// A circuit breaker was open: never tried again.
        case overflow
    }

    public let rules: RetryRules?
    public private(set) var conditions: RetryConditions
    public private(set) var remaining: UInt32
    private var statusCodes: [UInt16] = []
    private var headerNames: [[UInt8]] = []
    private var nextInterval: Duration
    private let longestInterval: Duration

    /// - Parameters:
    ///   - rules: of the route; nil: it has none.
    ///   - head: of the request; its headers on retries are taken out, as far as they are still there: who does not
    ///     trust the client removes them before. See ``RequestOverrides``.
    /// - Returns: nil where nothing is tried again.
    public init?(_ rules: RetryRules?, _ head: inout HeaderList) {
        // Most requests say nothing about it: two walks tell so, and not one for each name.
        let asks = head.contains(namesBeginningWith: "x-envoy-ret") || head.contains("x-envoy-max-retries")
        guard rules != nil || asks else { return nil }
        self.rules = rules
        var conditions = rules?.conditions ?? []
        if asks {
            if let text = head["x-envoy-retry-on"] {
                conditions.formUnion(RetryConditions.parse(text, [RetryConditions.httpWords]).0)
            }
            if let text = head["x-envoy-retry-grpc-on"] {
                conditions.formUnion(RetryConditions.parse(text, [RetryConditions.grpcWords]).0)
            }
        }
        if let rules, !rules.requestHeaders.isEmpty, !rules.requestHeaders.contains(where: { $0.matches(head) }) {
            conditions = []
        }
        remaining = rules?.attempts ?? 1
        if asks {
            if let text = head["x-envoy-max-retries"], let number = UInt32(text) { remaining = number }
            if let text = head["x-envoy-retriable-status-codes"] {
                statusCodes = text.split(separator: ",").compactMap { UInt16($0.filter { $0 != " " }) }
            }
            if let text = head["x-envoy-retriable-header-names"] {
                headerNames = text.split(separator: ",").map { $0.utf8.filter { $0 != 32 }.map(\.lowerCased) }
            }
            head.removeAll { name, _ in
                name.equals(("x-envoy-retry-on" as StaticString).bytes)
                    || name.equals(("x-envoy-retry-grpc-on" as StaticString).bytes)
                    || name.equals(("x-envoy-max-retries" as StaticString).bytes)
                    || name.equals(("x-envoy-retriable-status-codes" as StaticString).bytes)
                    || name.equals(("x-envoy-retriable-header-names" as StaticString).bytes)
            }
        }
        nextInterval = rules?.baseInterval ?? .milliseconds(25)
        longestInterval = rules?.longestInterval ?? .milliseconds(250)
        self.conditions = conditions
        if conditions.isEmpty { return nil }
    }

    /// Whether a response is one to try again on. Does not count.
    public func wants(retryOn response: HeaderList) -> Bool {
        if response.contains("x-envoy-ratelimited") { return conditions.contains(.rateLimited) }
        let status = response.withValue(of: ":status") { $0.integer.map { UInt16(clamping: $0) } ?? 0 } ?? 0
        if conditions.contains(.serverErrors), (500...599).contains(status) { return true }
        if conditions.contains(.gatewayErrors), (502...504).contains(status) { return true }
        if conditions.contains(.retriable4xx), status == 409 { return true }
        if conditions.contains(.statusCodes) {
            if rules?.statusCodes.contains(status) == true || statusCodes.contains(status) { return true }
        }
        if conditions.contains(.headers) {
            if rules?.responseHeaders.contains(where: { $0.matches(response) }) == true { return true }
            if headerNames.contains(where: { $0.withUnsafeBytes { response.contains(bytes: $0) } }) { return true }
        }
        guard !conditions.isDisjoint(with: .grpc) else { return false }
        switch response.withValue(of: "grpc-status", { $0.integer }) ?? nil {
        case 1: return conditions.contains(.cancelled)
        case 4: return conditions.contains(.deadlineExceeded)
        case 8: return conditions.contains(.resourceExhausted)
        case 13: return conditions.contains(.internalError)
        case 14: return conditions.contains(.unavailable)
        default: return false
        }
    }

    /// Whether a try that failed is one to try again. Does not count.
    public func wants(retryOn failure: Failure) -> Bool {
        if case .overflow = failure { return false }
        if !conditions.isDisjoint(with: [.serverErrors, .gatewayErrors]) { return true }
        switch failure {
        case .connect:
            return !conditions.isDisjoint(with: [.connectFailure, .reset, .resetBeforeRequest])
        case .refused: return !conditions.isDisjoint(with: [.refusedStream, .reset])
        case .reset(let hadStarted):
            return conditions.contains(.reset) || (!hadStarted && conditions.contains(.resetBeforeRequest))
        // The proxy itself resets a try that takes too long. Source: Envoy, `Filter::onPerTryTimeoutCommon`.
        case .timeout: return conditions.contains(.reset)
        case .overflow: return false
        }
    }

    /// Takes one of the retries that remain.
    /// - Returns: false where there is none.
    public mutating func take() -> Bool {
        if remaining == 0 { return false }
        remaining -= 1
        return true
    }

    /// How long to wait before the next try.
    /// - Parameters:
    ///   - response: what is tried again on; its headers may say when to come again.
    ///   - now: in seconds since 1970.
    public mutating func pause(after response: HeaderList?, now: Int64, random: UInt64) -> Duration {
        if let rules, let response {
            for header in rules.resetHeaders {
                let value = header.name.withUnsafeBytes { response.withValue(ofBytes: $0) { $0.integer } ?? nil }
                // An upstream may write any number here.
                guard let value, value > 0 else { continue }
                let wait = Duration.seconds(header.isMoment ? value - max(0, now) : value)
                if wait > .zero, wait <= rules.longestReset {
                    let jitter = Int64(clamping: wait.components.seconds) * 500
                    return wait + .milliseconds(Int64(random % UInt64(max(1, jitter))))
                }
            }
        }
        let interval = nextInterval
        nextInterval = min(nextInterval * 2, longestInterval)
        return .nanoseconds(Int64(random % UInt64(max(1, interval.nanoseconds))))
    }
}
