import Time

/// A host of a cluster as one worker sees it. It lives on while requests hold it, also when its cluster let it go.
public final class UpstreamHost {
    /// Why a host gets no requests; several may hold.
    struct Failings: OptionSet {
        let rawValue: UInt8
        /// Its resource says so.
        static let told = Failings(rawValue: 1)
        /// Active checks failed, or none has succeeded yet.
        static let checked = Failings(rawValue: 2)
        /// Ejected as an outlier.
        static let ejected = Failings(rawValue: 4)
        /// Its resource no longer names it; it serves until its checks fail.
        static let leaving = Failings(rawValue: 8)
    }

    enum Health { case healthy, degraded, unhealthy }

    public let address: NetworkAddress
    public internal(set) var endpoint: UpstreamEndpoint
    public internal(set) var priority: Int
    public internal(set) var locality: EndpointLocality
    /// Which of the cluster's transport settings this host wants: an index into ``ClusterConfiguration/transports``.
    public internal(set) var transport: Int
    /// Whether the cluster has let it go: its connections end with the requests they carry.
    public internal(set) var isGone = false
    /// What the world keeps with a host: its connections.
    public var attachment: AnyObject?

    public internal(set) var activeRequests = 0
    public internal(set) var activeConnections = 0
    public internal(set) var totals = HostTotals()
    /// Since loads were last reported.
    var unreported = HostTotals()

    var failings: Failings = []
    /// Its own answers to checks say so.
    var isCheckedDegraded = false
    var hasTimedOutCheck = false
    /// No check of it has ended yet.
    var isPending = false
    /// While that is so it does not count as unhealthy.
    var ignoredUntilChecked = false
    /// It asked to be left alone (an immediate failure by header).
    var isExcluded = false
    var outlier = OutlierRecord()
    var checking = CheckRecord()
    /// Since when it may be used: slow start counts from here.
    var usableSince: Instant?
    /// Of original destinations: when it was last picked.
    var lastUse = Instant(nanoseconds: 0)
    /// Its share of the keys, for clusters that hash.
    private var key: String?

    init(
        _ endpoint: UpstreamEndpoint, address: NetworkAddress, priority: Int, locality: EndpointLocality, transport: Int
    ) {
        self.endpoint = endpoint
        self.address = address
        self.priority = priority
        self.locality = locality
        self.transport = transport
    }

    var health: Health {
        if !failings.subtracting(.leaving).isEmpty { return .unhealthy }
        return isCheckedDegraded || endpoint.state == .degraded ? .degraded : .healthy
    }

    /// Whether requests go to it though nothing is in panic.
    public var isUsable: Bool { health != .unhealthy }
    public var isEjected: Bool { failings.contains(.ejected) }
    public var hasFailedChecks: Bool { failings.contains(.checked) }

    /// What is known of it, of all sources together.
    public var state: HostState {
        if failings.contains(.told) { return endpoint.state }
        if failings.contains(.checked) { return hasTimedOutCheck ? .timeout : .unhealthy }
        if failings.contains(.ejected) { return .unhealthy }
        return isCheckedDegraded ? .degraded : endpoint.state
    }

    /// As Envoy's `/clusters` writes it: `healthy`, or flags such as `/failed_outlier_check`.
    public var flags: String {
        var flags = ""
        if failings.contains(.checked) { flags += "/failed_active_hc" }
        if failings.contains(.ejected) { flags += "/failed_outlier_check" }
        if failings.contains(.told) { flags += "/failed_eds_health" }
        if isCheckedDegraded { flags += "/degraded_active_hc" }
        if endpoint.state == .degraded { flags += "/degraded_eds_health" }
        if failings.contains(.leaving) { flags += "/pending_dynamic_removal" }
        if isPending { flags += "/pending_active_hc" }
        if isExcluded { flags += "/excluded_via_immediate_hc_fail" }
        if hasTimedOutCheck { flags += "/active_hc_timeout" }
        return flags.isEmpty ? "healthy" : flags
    }

    /// In percent, of the last interval of outlier detection, if it had requests enough.
    public var successRate: Double? { outlier.shownRate }
    public var localSuccessRate: Double? { outlier.shownLocalRate }
    public var weight: Int { endpoint.weight }

    func hashKey(usesHostname: Bool) -> String {
        if let key { return key }
        let made = endpoint.hashKey ?? (usesHostname && !endpoint.hostname.isEmpty ? endpoint.hostname : "\(address)")
        key = made
        return made
    }

    func take(_ endpoint: UpstreamEndpoint) {
        if endpoint.hashKey != self.endpoint.hashKey || endpoint.hostname != self.endpoint.hostname { key = nil }
        self.endpoint = endpoint
        switch endpoint.state {
        case .unhealthy, .draining, .timeout: failings.insert(.told)
        case .unknown, .healthy, .degraded: failings.remove(.told)
        }
    }
}

/// What has happened at a host, since its start or since loads were last reported.
public struct HostTotals: Sendable, Equatable {
    public var requests: UInt64 = 0
    public var successes: UInt64 = 0
    public var errors: UInt64 = 0
    public var timeouts: UInt64 = 0
    public var connections: UInt64 = 0
    public var connectFailures: UInt64 = 0

    public init() {}
}
