import Time

/// Why a host is taken for an outlier. Source: Envoy, `data.cluster.v3.OutlierEjectionType`.
public enum OutlierReason: String, Sendable {
    case consecutive5xx = "consecutive_5xx"
    case consecutiveGatewayFailures = "consecutive_gateway_failure"
    case consecutiveLocalFailures = "consecutive_local_origin_failure"
    case successRate = "success_rate"
    case localSuccessRate = "success_rate_local_origin"
    case failurePercentage = "failure_percentage"
    case localFailurePercentage = "failure_percentage_local_origin"
}

/// How a try at a host ended, as outlier detection sees it.
public enum HostOutcome: Sendable, Equatable {
    /// A response; of gRPC see ``status(ofGRPC:)``.
    case response(status: Int)
    /// A connection was made.
    case connected
    /// A connection could not be made, or was reset.
    case connectFailed
    /// No answer in time.
    case timedOut
    /// All of a TCP connection went well.
    case succeeded
    /// The host did something wrong that is no response.
    case failed

    /// The HTTP status that stands for a gRPC status. Source: Envoy, `Grpc::Utility::grpcToHttpStatus`.
    public static func status(ofGRPC status: Int) -> Int {
        switch status {
        case 0: 200
        case 1: 499
        case 3, 9, 11: 400
        case 4: 504
        case 5: 404
        case 6, 10: 409
        case 7: 403
        case 8: 429
        case 12: 501
        case 14: 503
        case 16: 401
        default: 500
        }
    }
}

/// What outlier detection remembers of a host.
struct OutlierRecord {
    /// Of one interval.
    struct Requests {
        var successes = 0
        var total = 0
    }

    var consecutive5xx = 0
    var consecutiveGatewayFailures = 0
    var consecutiveLocalFailures = 0
    /// Of the interval that is under way.
    var requests = Requests()
    var localRequests = Requests()
    /// Of the last whole interval.
    var lastRequests = Requests()
    var lastLocalRequests = Requests()
    var ejections = 0
    /// The ejection time is the base times this; it falls again while nothing happens.
    var multiplier = 0
    var lastEjection: Instant?
    var lastReturn: Instant?
    var jitter = Duration.zero
    /// In percent, of the last interval with enough requests.
    var shownRate: Double?
    var shownLocalRate: Double?

    mutating func forgetFailures() {
        consecutive5xx = 0
        consecutiveGatewayFailures = 0
        consecutiveLocalFailures = 0
    }
}

extension UpstreamCluster {
    /// How many hosts are ejected.
    public var ejectedHosts: Int { ejectedCount }

    /// To be told of each try. Source: Envoy, "Outlier detection".
    public func report(_ outcome: HostOutcome, of host: UpstreamHost, now: Instant, random: inout SeededRandom) {
        guard let settings = configuration.outlierDetection, !host.isGone else { return }
        if settings.splitsLocalFailures {
            switch outcome {
            case .response(let status): take(status: status, host, settings, now, &random)
            case .failed: take(status: 503, host, settings, now, &random)
            case .connected: takeLocal(isFailure: false, host, settings, now, &random)
            case .succeeded:
                take(status: 200, host, settings, now, &random)
                takeLocal(isFailure: false, host, settings, now, &random)
            case .connectFailed, .timedOut: takeLocal(isFailure: true, host, settings, now, &random)
            }
            return
        }
        switch outcome {
        case .response(let status): take(status: status, host, settings, now, &random)
        case .connected: break
        case .connectFailed: take(status: 503, host, settings, now, &random)
        case .timedOut: take(status: 504, host, settings, now, &random)
        case .succeeded: take(status: 200, host, settings, now, &random)
        case .failed: take(status: 500, host, settings, now, &random)
        }
    }

    private func take(
        status: Int, _ host: UpstreamHost, _ settings: OutlierSettings, _ now: Instant, _ random: inout SeededRandom
    ) {
        host.outlier.requests.total += 1
        guard (500..<600).contains(status) else {
            host.outlier.requests.successes += 1
            host.outlier.consecutive5xx = 0
            host.outlier.consecutiveGatewayFailures = 0
            return
        }
        if (502...504).contains(status) {
            host.outlier.consecutiveGatewayFailures += 1
            if host.outlier.consecutiveGatewayFailures == settings.consecutiveGatewayFailures, !host.isEjected {
                eject(host, .consecutiveGatewayFailures, settings, now, &random)
                host.outlier.consecutiveGatewayFailures = 0
            }
        } else {
            host.outlier.consecutiveGatewayFailures = 0
        }
        host.outlier.consecutive5xx += 1
        if host.outlier.consecutive5xx == settings.consecutive5xx, !host.isEjected {
            eject(host, .consecutive5xx, settings, now, &random)
            host.outlier.consecutive5xx = 0
        }
    }

    private func takeLocal(
        isFailure: Bool, _ host: UpstreamHost, _ settings: OutlierSettings, _ now: Instant,
        _ random: inout SeededRandom
    ) {
        host.outlier.localRequests.total += 1
        guard isFailure else {
            host.outlier.localRequests.successes += 1
            host.outlier.consecutiveLocalFailures = 0
            return
        }
        host.outlier.consecutiveLocalFailures += 1
        if host.outlier.consecutiveLocalFailures == settings.consecutiveLocalFailures, !host.isEjected {
            eject(host, .consecutiveLocalFailures, settings, now, &random)
            host.outlier.consecutiveLocalFailures = 0
        }
    }

    private func eject(
        _ host: UpstreamHost, _ reason: OutlierReason, _ settings: OutlierSettings, _ now: Instant,
        _ random: inout SeededRandom
    ) {
        let share = 100 * Double(ejectedCount + 1) / Double(hosts.count)
        guard share <= Double(settings.maximumEjectedPercent) || (settings.alwaysEjectsOne && ejectedCount == 0) else {
            counts.ejectionOverflows += 1
            note(.notEjected(host, reason))
            return
        }
        guard random.hits(percent: settings.enforcement(reason)) else {
            note(.notEjected(host, reason))
            return
        }
        ejectedCount += 1
        counts.ejections += 1
        host.failings.insert(.ejected)
        host.outlier.ejections += 1
        host.outlier.lastEjection = now
        host.outlier.jitter = random.jitter(settings.ejectionJitter + .milliseconds(1))
        if settings.baseEjectionTime * host.outlier.multiplier < settings.maximumEjectionTime
            + settings.baseEjectionTime
        {
            host.outlier.multiplier += 1
        }
        healthChanged()
        note(.ejected(host, reason))
    }

    func admit(_ host: UpstreamHost, now: Instant) {
        guard host.isEjected else { return }
        ejectedCount -= 1
        host.failings.remove(.ejected)
        // A counter that is just under its threshold must not eject it again at the first failure.
        host.outlier.forgetFailures()
        host.outlier.lastReturn = now
        healthChanged()
        note(.returned(host))
    }

    /// Ends ejections whose time is over and looks at the rates of the last interval.
    func checkOutliers(now: Instant, random: inout SeededRandom) {
        guard let settings = configuration.outlierDetection, let due = nextOutlierCheck, due <= now else { return }
        nextOutlierCheck = now.advanced(by: settings.interval)
        for host in hosts {
            if host.isEjected, let since = host.outlier.lastEjection {
                let time = min(settings.baseEjectionTime * host.outlier.multiplier, settings.maximumEjectionTime)
                if since.duration(to: now) >= time + host.outlier.jitter { admit(host, now: now) }
            }
            host.outlier.lastRequests = host.outlier.requests
            host.outlier.lastLocalRequests = host.outlier.localRequests
            host.outlier.requests = OutlierRecord.Requests()
            host.outlier.localRequests = OutlierRecord.Requests()
            host.outlier.shownRate = nil
            host.outlier.shownLocalRate = nil
        }
        checkRates(\.lastRequests, .successRate, .failurePercentage, settings, now, &random)
        checkRates(\.lastLocalRequests, .localSuccessRate, .localFailurePercentage, settings, now, &random)
        for host in hosts where !host.isEjected && host.outlier.multiplier > 0 {
            guard let since = host.outlier.lastReturn, since.duration(to: now) >= settings.interval else { continue }
            host.outlier.multiplier -= 1
        }
    }

    private func checkRates(
        _ requests: KeyPath<OutlierRecord, OutlierRecord.Requests>, _ rateReason: OutlierReason,
        _ percentageReason: OutlierReason, _ settings: OutlierSettings, _ now: Instant, _ random: inout SeededRandom
    ) {
        let (rate, percentage) = (settings.successRate, settings.failurePercentage)
        guard hosts.count >= min(rate.minimumHosts, percentage.minimumHosts) else { return }
        var rated: [(host: UpstreamHost, rate: Double)] = []
        var counted: [(host: UpstreamHost, rate: Double)] = []
        for host in hosts where !host.isEjected {
            let last = host.outlier[keyPath: requests]
            guard last.total > 0 else { continue }
            let share = 100 * Double(last.successes) / Double(last.total)
            if last.total >= min(rate.minimumRequests, percentage.minimumRequests) {
                if rateReason == .successRate {
                    host.outlier.shownRate = share
                } else {
                    host.outlier.shownLocalRate = share
                }
            }
            if last.total >= rate.minimumRequests { rated.append((host, share)) }
            if last.total >= percentage.minimumRequests { counted.append((host, share)) }
        }
        if !rated.isEmpty, rated.count >= rate.minimumHosts {
            let mean = rated.reduce(0) { $0 + $1.rate } / Double(rated.count)
            let variance = rated.reduce(0) { $0 + ($1.rate - mean) * ($1.rate - mean) } / Double(rated.count)
            let least = mean - Double(rate.deviations) / 1000 * variance.squareRoot()
            for (host, rate) in rated where rate < least { eject(host, rateReason, settings, now, &random) }
        }
        if !counted.isEmpty, counted.count >= percentage.minimumHosts {
            for (host, rate) in counted where 100 - rate >= Double(percentage.threshold) && !host.isEjected {
                eject(host, percentageReason, settings, now, &random)
            }
        }
    }
}

extension OutlierSettings {
    func enforcement(_ reason: OutlierReason) -> Int {
        switch reason {
        case .consecutive5xx: enforcing5xx
        case .consecutiveGatewayFailures: enforcingGatewayFailures
        case .consecutiveLocalFailures: enforcingLocalFailures
        case .successRate: enforcingSuccessRate
        case .localSuccessRate: enforcingLocalSuccessRate
        case .failurePercentage: enforcingFailurePercentage
        case .localFailurePercentage: enforcingLocalFailurePercentage
        }
    }
}
