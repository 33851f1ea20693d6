/// What was unusual about a request or connection, for logs. Source: Envoy, access logging, `%RESPONSE_FLAGS%`; the bits
/// are Envoy's (`CoreResponseFlag`), since filters compare them with numbers.
public struct ResponseFlag: OptionSet, Hashable, Sendable {
    public let rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public static let noHealthyUpstream = ResponseFlag(rawValue: 1 << 1)
    public static let upstreamConnectionFailure = ResponseFlag(rawValue: 1 << 5)
    public static let upstreamOverflow = ResponseFlag(rawValue: 1 << 7)
    public static let noRoute = ResponseFlag(rawValue: 1 << 8)
    public static let upstreamRetryLimit = ResponseFlag(rawValue: 1 << 15)
    public static let noCluster = ResponseFlag(rawValue: 1 << 24)
    public static let downstreamTermination = ResponseFlag(rawValue: 1 << 14)
    public static let upstreamConnectionTermination = ResponseFlag(rawValue: 1 << 6)
    public static let upstreamRemoteReset = ResponseFlag(rawValue: 1 << 4)
    public static let localReset = ResponseFlag(rawValue: 1 << 3)
    public static let upstreamTimeout = ResponseFlag(rawValue: 1 << 2)
    public static let delayInjected = ResponseFlag(rawValue: 1 << 9)
    public static let faultInjected = ResponseFlag(rawValue: 1 << 10)
    public static let rateLimited = ResponseFlag(rawValue: 1 << 11)
    /// By an external authorization service.
    public static let unauthorized = ResponseFlag(rawValue: 1 << 12)
    public static let rateLimitServiceError = ResponseFlag(rawValue: 1 << 13)
    public static let streamIdleTimeout = ResponseFlag(rawValue: 1 << 16)
    public static let invalidHeaders = ResponseFlag(rawValue: 1 << 17)
    public static let downstreamProtocolError = ResponseFlag(rawValue: 1 << 18)
    public static let durationTimeout = ResponseFlag(rawValue: 1 << 22)
    public static let upstreamProtocolError = ResponseFlag(rawValue: 1 << 23)
    public static let overloadManager = ResponseFlag(rawValue: 1 << 25)
    public static let upstreamMaximumDuration = ResponseFlag(rawValue: 1 << 19)

    static let names: [(flag: ResponseFlag, short: String, long: String)] = [
        (.noHealthyUpstream, "UH", "NoHealthyUpstream"),
        (.upstreamConnectionFailure, "UF", "UpstreamConnectionFailure"),
        (.upstreamOverflow, "UO", "UpstreamOverflow"),
        (.noRoute, "NR", "NoRouteFound"),
        (.upstreamRetryLimit, "URX", "UpstreamRetryLimitExceeded"),
        (.noCluster, "NC", "NoClusterFound"),
        (.downstreamTermination, "DC", "DownstreamConnectionTermination"),
        (.upstreamConnectionTermination, "UC", "UpstreamConnectionTermination"),
        (.upstreamRemoteReset, "UR", "UpstreamRemoteReset"),
        (.localReset, "LR", "LocalReset"),
        (.upstreamTimeout, "UT", "UpstreamRequestTimeout"),
        (.delayInjected, "DI", "DelayInjected"),
        (.faultInjected, "FI", "FaultInjected"),
        (.rateLimited, "RL", "RateLimited"),
        (.unauthorized, "UAEX", "UnauthorizedExternalService"),
        (.rateLimitServiceError, "RLSE", "RateLimitServiceError"),
        (.streamIdleTimeout, "SI", "StreamIdleTimeout"),
        (.invalidHeaders, "IH", "InvalidEnvoyRequestHeaders"),
        (.downstreamProtocolError, "DPE", "DownstreamProtocolError"),
        (.durationTimeout, "DT", "DurationTimeout"),
        (.upstreamProtocolError, "UPE", "UpstreamProtocolError"),
        (.overloadManager, "OM", "OverloadManagerTerminated"),
        (.upstreamMaximumDuration, "UMSDR", "UpstreamMaxStreamDurationReached"),
    ]

    /// Those that Envoy has and this proxy never sets: a filter may name them.
    static let otherNames: Set<String> = ["LH", "NFCF", "RFCF", "DF", "DO", "DR", "UDO"]

    /// The flag of a short name such as `UH`; nil: there is none.
    public init?(short: String) {
        guard let found = Self.names.first(where: { $0.short == short }) else { return nil }
        self = found.flag
    }

    /// As `%RESPONSE_FLAGS%` writes them: `UH,URX`, or `-`.
    public var text: String {
        isEmpty ? "-" : Self.names.filter { contains($0.flag) }.map(\.short).joined(separator: ",")
    }

    /// As `%RESPONSE_FLAGS_LONG%` writes them.
    public var longText: String {
        isEmpty ? "-" : Self.names.filter { contains($0.flag) }.map(\.long).joined(separator: ",")
    }
}
