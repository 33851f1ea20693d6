import HTTP
import Time

/// A host's turn in the queue of checks.
struct CheckTurn {
    var host: UpstreamHost
    /// A turn counts while its number is the host's.
    var number: UInt64
}

/// What checks remember of a host.
struct CheckRecord {
    var isFirst = true
    var successes = 0
    var failures = 0
    var number: UInt64 = 0
    var isUnderWay = false
}

/// A check that the world is to make, now.
public struct Probe {
    public enum Request {
        /// - Parameter bodyLimit: how much of the response's body to hand back.
        case http(HeaderList, body: [UInt8], usesHTTP2: Bool, bodyLimit: Int)
        /// Over HTTP/2; the body is one framed message.
        case grpc(HeaderList, body: [UInt8])
        case tcp(send: [UInt8])
    }

    public let host: UpstreamHost
    public let address: NetworkAddress
    /// An index into ``ClusterConfiguration/transports``.
    public let transport: Int
    public let request: Request
    /// After this the check has failed.
    public let deadline: Instant
    /// Whether the connection may serve the next check too.
    public let reusesConnection: Bool
    /// What ALPN offers; empty: as other connections.
    public let applicationProtocols: [String]
    let number: UInt64
    let receive: [[UInt8]]

    /// Whether enough came back over TCP.
    public func isAnswered(by received: [UInt8]) -> Bool { received.holdsInOrder(receive) }
}

/// How a check ended.
public enum ProbeOutcome {
    case http(status: Int, HeaderList, body: [UInt8])
    /// - Parameter message: the response, framed; empty without one.
    case grpc(status: Int, message: [UInt8])
    case tcp(received: [UInt8])
    /// No connection, or one that broke.
    case failed
    case timedOut
}

extension UpstreamCluster {
    private enum Verdict {
        case healthy(isDegraded: Bool)
        /// - Parameter isFinal: one is enough, whatever the threshold says.
        case unhealthy(isFinal: Bool, isTimeout: Bool, isNetwork: Bool)
    }

    private enum Transition { case unchanged, pending, changed }

    func startChecks(of host: UpstreamHost, now: Instant, random: inout SeededRandom) {
        guard let settings = configuration.check else { return }
        host.failings.insert(.checked)
        host.isPending = true
        pendingChecks += 1
        let number = host.checking.number + 1
        host.checking = CheckRecord()
        host.checking.number = number
        schedule(host, at: now.advanced(by: random.jitter(settings.initialJitter)))
    }

    func stopChecks(of host: UpstreamHost) {
        host.failings.remove(.checked)
        host.checking.number += 1
        if host.isPending { pendingChecks -= 1 }
        host.isPending = false
        host.isCheckedDegraded = false
        healthChanged()
    }

    private func schedule(_ host: UpstreamHost, at time: Instant) {
        if checkQueue.count > hosts.count * 4 + 64 {
            checkQueue.keep { counts($0) }
        }
        checkQueue.insert(CheckTurn(host: host, number: host.checking.number), at: time.nanoseconds)
    }

    /// When ``probes(now:random:)`` has something to do.
    public var nextProbe: Instant? {
        while let first = checkQueue.first, !counts(first.value) { _ = checkQueue.removeFirst() }
        return checkQueue.first.map { Instant(nanoseconds: $0.key) }
    }

    /// Whether the turn is still that of its host.
    private func counts(_ turn: CheckTurn) -> Bool {
        !turn.host.isGone && turn.number == turn.host.checking.number
    }

    /// The checks that are due. Those that were under way too long have failed by now.
    public func probes(now: Instant, random: inout SeededRandom) -> [Probe] {
        guard let settings = configuration.check else { return [] }
        var probes: [Probe] = []
        while let first = checkQueue.first, first.key <= now.nanoseconds {
            let turn = checkQueue.removeFirst().value
            guard counts(turn) else { continue }
            if turn.host.checking.isUnderWay {
                end(turn.host, .unhealthy(isFinal: false, isTimeout: true, isNetwork: true), settings, now, &random)
            } else {
                probes.append(begin(turn.host, settings, now))
            }
        }
        return probes
    }

    private func begin(_ host: UpstreamHost, _ settings: CheckSettings, _ now: Instant) -> Probe {
        host.checking.number += 1
        host.checking.isUnderWay = true
        counts.checks += 1
        let deadline = now.advanced(by: settings.timeout)
        schedule(host, at: deadline)
        let transport = settings.transport ?? host.transport
        var receive: [[UInt8]] = []
        if case .tcp(let check) = settings.kind { receive = check.receive }
        return Probe(
            host: host, address: host.checkAddress(settings.port), transport: transport,
            request: settings.kind.request(
                host, cluster: configuration.name, isPlain: configuration.transports[transport].type.isEmpty),
            deadline: deadline, reusesConnection: settings.reusesConnection,
            applicationProtocols: settings.applicationProtocols, number: host.checking.number, receive: receive)
    }

    /// A check is over. One that comes too late changes nothing.
    public func report(_ outcome: ProbeOutcome, of probe: Probe, now: Instant, random: inout SeededRandom) {
        let host = probe.host
        guard let settings = configuration.check, !host.isGone, host.checking.isUnderWay,
            host.checking.number == probe.number
        else { return }
        let network = Verdict.unhealthy(isFinal: false, isTimeout: false, isNetwork: true)
        switch (outcome, settings.kind) {
        case (.http(let status, let head, let body), .http(let check)):
            if head.contains("x-envoy-immediate-health-check-fail") { host.isExcluded = true }
            end(host, judge(check, status, head, body), settings, now, &random)
        case (.grpc(let status, let message), .grpc):
            let serves = status == 0 && message.saysServing
            end(
                host,
                serves ? .healthy(isDegraded: false) : .unhealthy(isFinal: true, isTimeout: false, isNetwork: false),
                settings, now, &random)
        case (.tcp(let received), .tcp):
            end(
                host, probe.isAnswered(by: received) ? .healthy(isDegraded: false) : network, settings, now, &random)
        case (.timedOut, _):
            end(host, .unhealthy(isFinal: false, isTimeout: true, isNetwork: true), settings, now, &random)
        case (.failed, _), (.http, _), (.grpc, _), (.tcp, _): end(host, network, settings, now, &random)
        }
    }

    private func judge(
        _ check: CheckSettings.HTTPCheck, _ status: Int, _ head: HeaderList, _ body: [UInt8]
    ) -> Verdict {
        guard check.expected.contains(where: { $0.contains(Int64(status)) }) else {
            let isRetriable = check.retriable.contains { $0.contains(Int64(status)) }
            return .unhealthy(isFinal: !isRetriable, isTimeout: false, isNetwork: false)
        }
        if let service = check.service, !service.matches(head["x-envoy-upstream-healthchecked-cluster"] ?? "") {
            return .unhealthy(isFinal: true, isTimeout: false, isNetwork: false)
        }
        guard body.prefix(check.bodyLimit == 0 ? body.count : check.bodyLimit).holdsInOrder(check.receive) else {
            return .unhealthy(isFinal: true, isTimeout: false, isNetwork: false)
        }
        return .healthy(isDegraded: head.contains("x-envoy-degraded"))
    }

    /// A response of ordinary traffic asked to be left alone. Without checks nobody would find out that it is well
    /// again, so then nothing happens.
    public func failAtOnce(_ host: UpstreamHost, now: Instant, random: inout SeededRandom) {
        guard let settings = configuration.check, host.endpoint.isChecked, !host.isGone else { return }
        host.isExcluded = true
        let isUnderWay = host.checking.isUnderWay
        let number = host.checking.number
        fail(host, isFinal: true, isTimeout: false, settings, now)
        // The check that is under way, or the next one, stays what it was.
        (host.checking.isUnderWay, host.checking.number) = (isUnderWay, number)
    }

    private func end(
        _ host: UpstreamHost, _ verdict: Verdict, _ settings: CheckSettings, _ now: Instant,
        _ random: inout SeededRandom
    ) {
        host.checking.isUnderWay = false
        host.checking.number += 1
        let transition: Transition
        let isHealthy: Bool
        switch verdict {
        case .healthy(let isDegraded):
            isHealthy = true
            counts.checkSuccesses += 1
            transition = pass(host, isDegraded: isDegraded, settings, now)
        case .unhealthy(let isFinal, let isTimeout, let isNetwork):
            isHealthy = false
            if isNetwork { counts.checkNetworkFailures += 1 }
            transition = fail(host, isFinal: isFinal, isTimeout: isTimeout, settings, now)
        }
        guard !host.isGone else { return }
        var pause = settings.pause(
            isHealthy: isHealthy, isPending: transition == .pending, hasTraffic: counts.connections > 0)
        pause += random.jitter(pause * settings.jitterPercent / 100) + random.jitter(settings.jitter)
        schedule(host, at: now.advanced(by: max(pause, .milliseconds(1))))
    }

    private func pass(
        _ host: UpstreamHost, isDegraded: Bool, _ settings: CheckSettings, _ now: Instant
    ) -> Transition {
        var transition = Transition.unchanged
        host.checking.failures = 0
        if host.failings.contains(.checked) {
            host.checking.successes += 1
            // The first check of all decides at once, so that a start is quick.
            if host.checking.isFirst || host.checking.successes >= settings.healthyThreshold {
                host.failings.remove(.checked)
                host.hasTimedOutCheck = false
                host.isExcluded = false
                host.usableSince = now
                transition = .changed
                note(.checkPassed(host))
            } else {
                transition = .pending
            }
        }
        if clearPending(host) { transition = .changed }
        if isDegraded != host.isCheckedDegraded {
            host.isCheckedDegraded = isDegraded
            if transition == .unchanged { transition = .changed }
        }
        host.checking.isFirst = false
        if configuration.outlierDetection?.checksEndEjections == true, !host.failings.contains(.checked) {
            admit(host, now: now)
        }
        if transition == .changed { healthChanged() }
        return transition
    }

    @discardableResult
    private func fail(
        _ host: UpstreamHost, isFinal: Bool, isTimeout: Bool, _ settings: CheckSettings, _ now: Instant
    ) -> Transition {
        counts.checkFailures += 1
        host.checking.successes = 0
        var transition = Transition.unchanged
        if !host.failings.contains(.checked) {
            host.checking.failures += 1
            if isFinal || host.checking.failures >= settings.unhealthyThreshold {
                host.failings.insert(.checked)
                transition = .changed
                note(.checkFailed(host))
            } else {
                transition = .pending
            }
        }
        host.hasTimedOutCheck = isTimeout && host.failings.contains(.checked)
        if clearPending(host) { transition = .changed }
        host.checking.isFirst = false
        if transition == .changed { healthChanged() }
        if host.failings.isSuperset(of: [.checked, .leaving]) { remove(host) }
        return transition
    }

    private func clearPending(_ host: UpstreamHost) -> Bool {
        guard host.isPending else { return false }
        host.isPending = false
        pendingChecks -= 1
        return true
    }
}

extension CheckSettings {
    /// Until the next check. Source: Envoy, `HealthCheck.interval` and its kin.
    fileprivate func pause(isHealthy: Bool, isPending: Bool, hasTraffic: Bool) -> Duration {
        guard hasTraffic else { return isHealthy && !isPending ? noTrafficHealthyInterval : noTrafficInterval }
        if isHealthy { return isPending ? healthyEdgeInterval : interval }
        return isPending ? unhealthyEdgeInterval : unhealthyInterval
    }
}

extension CheckSettings.Kind {
    fileprivate func request(_ host: UpstreamHost, cluster: String, isPlain: Bool) -> Probe.Request {
        func authority(_ given: String) -> String {
            if !host.endpoint.checkHostname.isEmpty { return host.endpoint.checkHostname }
            return given.isEmpty ? cluster : given
        }
        let scheme = isPlain ? "http" : "https"
        switch self {
        case .http(let check):
            var head = HeaderList([
                (":method", check.method), (":scheme", scheme), (":authority", authority(check.host)),
                (":path", check.path),
            ])
            if !check.removed.contains("user-agent") { head.append("user-agent", "Envoy/HC") }
            if !check.send.isEmpty { head.append("content-length", "\(check.send.count)") }
            for field in check.added { head.append(field.name, field.value) }
            return .http(head, body: check.send, usesHTTP2: check.usesHTTP2, bodyLimit: check.bodyLimit)
        case .grpc(let check):
            var head = HeaderList([
                (":method", "POST"), (":scheme", scheme), (":authority", authority(check.authority)),
                (":path", "/grpc.health.v1.Health/Check"), ("te", "trailers"), ("content-type", "application/grpc"),
                ("user-agent", "Envoy/HC"),
            ])
            for field in check.metadata { head.append(field.name, field.value) }
            return .grpc(head, body: Self.framed(service: check.service))
        case .tcp(let check): return .tcp(send: check.send)
        }
    }

    /// `grpc.health.v1.HealthCheckRequest`, in a frame of gRPC.
    private static func framed(service: String) -> [UInt8] {
        var message: [UInt8] = []
        if !service.isEmpty {
            let name = Array(service.utf8)
            message.append(0x0A)
            var count = name.count
            while count >= 0x80 {
                message.append(UInt8(count & 0x7F) | 0x80)
                count >>= 7
            }
            message.append(UInt8(count))
            message += name
        }
        let count = UInt32(message.count)
        return [0, UInt8(count >> 24), UInt8(count >> 16 & 0xFF), UInt8(count >> 8 & 0xFF), UInt8(count & 0xFF)]
            + message
    }
}

extension UpstreamHost {
    fileprivate func checkAddress(_ port: UInt16) -> NetworkAddress {
        let address = endpoint.checkAddress ?? address
        let port = endpoint.checkPort != 0 ? endpoint.checkPort : port
        guard port != 0, let ip = address.ip else { return address }
        return .ip(ip, port: port)
    }
}

extension Collection<UInt8> {
    /// Whether the parts are found, each after the one before.
    fileprivate func holdsInOrder(_ parts: [[UInt8]]) -> Bool {
        if parts.isEmpty { return true }
        let bytes = Array(self)
        var start = 0
        for part in parts {
            guard part.count <= bytes.count - start,
                let found = (start...(bytes.count - part.count)).first(where: { place in
                    part.indices.allSatisfy { bytes[place + $0] == part[$0] }
                })
            else { return false }
            start = found + part.count
        }
        return true
    }
}

extension [UInt8] {
    /// Whether it is a `grpc.health.v1.HealthCheckResponse`, framed, that says SERVING.
    fileprivate var saysServing: Bool {
        guard count >= 5, self[0] == 0 else { return false }
        let length = self[1..<5].reduce(0) { $0 << 8 | Int($1) }
        guard count >= 5 + length else { return false }
        var place = 5
        var status = 0
        // Field 1 is the status; the last one counts.
        while place + 1 < 5 + length, self[place] == 0x08 {
            status = Int(self[place + 1])
            place += 2
        }
        return place == 5 + length && status == 1
    }
}
