import EnvoyAPI
import Protobuf
import Time

/// What clusters say of breakers, outliers and health checks.
enum ProtectionReading {
    static func breakers(
        _ message: UnsafeMutablePointer<CircuitBreakers>?
    ) throws(ConfigurationError) -> ([BreakerSettings], Int?) {
        var settings = RequestPriority.allCases.map { _ in BreakerSettings() }
        guard let message = message?.pointee else { return (settings, nil) }
        var seen: Set<Int> = []
        for (index, thresholds) in message.thresholds_list.enumerated() {
            let priority = try Self.priority(thresholds.pointee, "thresholds[\(index)].priority")
            // The first of a priority counts.
            guard seen.insert(priority).inserted else { continue }
            settings[priority] = try at("thresholds[\(index)]") { () throws(ConfigurationError) in
                try BreakerSettings(thresholds.pointee)
            }
        }
        var connections: Int?
        for (index, thresholds) in message.per_host_thresholds_list.enumerated() {
            let own = thresholds.pointee
            guard own.max_pending_requests == nil, own.max_requests == nil, own.max_retries == nil,
                own.retry_budget == nil
            else {
                throw .unsupported(
                    path: "per_host_thresholds[\(index)]", message: "only `max_connections` is bounded by host")
            }
            guard own.priority == .DEFAULT else {
                throw .unsupported(
                    path: "per_host_thresholds[\(index)].priority", message: "hosts have one bound, that of DEFAULT")
            }
            connections = own.max_connections.number.map { Int($0) } ?? connections
        }
        return (settings, connections)
    }

    private static func priority(
        _ message: CircuitBreakersThresholds, _ path: String
    ) throws(ConfigurationError) -> Int {
        switch message.priority {
        case .DEFAULT: RequestPriority.normal.rawValue
        case .HIGH: RequestPriority.high.rawValue
        default: throw .unsupported(path: path, message: "not known in this version")
        }
    }

    static func check(
        _ message: Cluster, _ http: UpstreamProtocol, _ matches: [ClusterConfiguration.TransportMatch]
    ) throws(ConfigurationError) -> CheckSettings? {
        guard let own = message.health_checks_list.first else { return nil }
        guard message.health_checks_list.count == 1 else {
            throw .unsupported(path: "health_checks[1]", message: "one check for a cluster is supported")
        }
        if case .type(.ORIGINAL_DST)? = message.cluster_discovery_type {
            throw .unsupported(path: "health_checks", message: "hosts of ORIGINAL_DST cannot be checked")
        }
        return try at("health_checks[0]") { () throws(ConfigurationError) in
            var settings = try CheckSettings(own.pointee, http)
            if let criteria = own.pointee.transport_socket_match_criteria {
                let labels = StructureValue.fields(criteria.pointee)
                settings.transport =
                    matches.first { match in match.labels.allSatisfy { labels.value($0.name) == $0.value } }?.transport
                    ?? 0
            }
            return settings
        }
    }
}

extension BreakerSettings {
    init(_ message: CircuitBreakersThresholds) throws(ConfigurationError) {
        connections = message.max_connections.number.map { Int($0) } ?? connections
        pending = message.max_pending_requests.number.map { Int($0) } ?? pending
        requests = message.max_requests.number.map { Int($0) } ?? requests
        retries = message.max_retries.number.map { Int($0) } ?? retries
        guard let budget = message.retry_budget?.pointee else { return }
        let percent = budget.budget_percent?.pointee.value ?? 20
        guard (0...100).contains(percent) else {
            throw .invalid(path: "retry_budget.budget_percent", message: "\(percent) is no percentage")
        }
        retryBudget = RetryBudget(percent: percent, minimum: Int(budget.min_retry_concurrency.number ?? 3))
    }
}

extension OutlierSettings {
    init(_ message: OutlierDetection) throws(ConfigurationError) {
        func percent(
            _ field: String, _ value: UnsafeMutablePointer<ProtobufUInt32Value>?, _ otherwise: Int
        ) throws(ConfigurationError) -> Int {
            let number = value.number.map { Int($0) } ?? otherwise
            guard number <= 100 else { throw .invalid(path: field, message: "\(number) is no percentage") }
            return number
        }
        func time(
            _ field: String, _ value: UnsafeMutablePointer<ProtobufDuration>?, _ otherwise: Duration
        ) throws(ConfigurationError) -> Duration {
            let duration = try value.time(field) ?? otherwise
            guard duration > .zero else { throw .invalid(path: field, message: "must be more than 0") }
            return duration
        }
        interval = try time("interval", message.interval, interval)
        baseEjectionTime = try time("base_ejection_time", message.base_ejection_time, baseEjectionTime)
        maximumEjectionTime = try time(
            "max_ejection_time", message.max_ejection_time, max(maximumEjectionTime, baseEjectionTime))
        guard maximumEjectionTime >= baseEjectionTime else {
            throw .invalid(path: "max_ejection_time", message: "less than `base_ejection_time`")
        }
        ejectionJitter = try message.max_ejection_time_jitter.time("max_ejection_time_jitter") ?? .zero
        maximumEjectedPercent = try percent("max_ejection_percent", message.max_ejection_percent, 10)
        alwaysEjectsOne = message.always_eject_one_host.flag ?? false
        consecutive5xx = message.consecutive_5xx.number.map { Int($0) } ?? 5
        consecutiveGatewayFailures = message.consecutive_gateway_failure.number.map { Int($0) } ?? 5
        consecutiveLocalFailures = message.consecutive_local_origin_failure.number.map { Int($0) } ?? 5
        splitsLocalFailures = message.split_external_local_origin_errors != 0
        successRate.minimumHosts = message.success_rate_minimum_hosts.number.map { Int($0) } ?? 5
        successRate.minimumRequests = message.success_rate_request_volume.number.map { Int($0) } ?? 100
        successRate.deviations = message.success_rate_stdev_factor.number.map { Int($0) } ?? 1900
        failurePercentage.threshold = try percent(
            "failure_percentage_threshold", message.failure_percentage_threshold, 85)
        failurePercentage.minimumHosts = message.failure_percentage_minimum_hosts.number.map { Int($0) } ?? 5
        failurePercentage.minimumRequests = message.failure_percentage_request_volume.number.map { Int($0) } ?? 50
        checksEndEjections = message.successful_active_health_check_uneject_host.flag ?? true
        enforcing5xx = try percent("enforcing_consecutive_5xx", message.enforcing_consecutive_5xx, 100)
        enforcingGatewayFailures = try percent(
            "enforcing_consecutive_gateway_failure", message.enforcing_consecutive_gateway_failure, 0)
        enforcingLocalFailures = try percent(
            "enforcing_consecutive_local_origin_failure", message.enforcing_consecutive_local_origin_failure, 100)
        enforcingSuccessRate = try percent("enforcing_success_rate", message.enforcing_success_rate, 100)
        enforcingLocalSuccessRate = try percent(
            "enforcing_local_origin_success_rate", message.enforcing_local_origin_success_rate, 100)
        enforcingFailurePercentage = try percent(
            "enforcing_failure_percentage", message.enforcing_failure_percentage, 0)
        enforcingLocalFailurePercentage = try percent(
            "enforcing_failure_percentage_local_origin", message.enforcing_failure_percentage_local_origin, 0)
    }
}

extension CheckSettings {
    fileprivate init(_ message: HealthCheck, _ http: UpstreamProtocol) throws(ConfigurationError) {
        switch message.health_checker {
        case .http_health_check(let own):
            kind = .http(try at("http_health_check") { () throws(ConfigurationError) in try HTTPCheck(own.pointee) })
        case .grpc_health_check(let own):
            guard http.choice == .http2 else {
                throw .invalid(path: "grpc_health_check", message: "the cluster's hosts must be spoken to in HTTP/2")
            }
            kind = .grpc(try at("grpc_health_check") { () throws(ConfigurationError) in try GRPCCheck(own.pointee) })
        case .tcp_health_check(let own):
            kind = .tcp(try at("tcp_health_check") { () throws(ConfigurationError) in try TCPCheck(own.pointee) })
        case .custom_health_check:
            throw .unsupported(path: "custom_health_check", message: "only HTTP, gRPC and TCP checks")
        case nil: throw .invalid(path: "", message: "it says neither HTTP, gRPC nor TCP")
        }
        func time(
            _ field: String, _ value: UnsafeMutablePointer<ProtobufDuration>?, _ otherwise: Duration?
        ) throws(ConfigurationError) -> Duration {
            guard let duration = try value.time(field) ?? otherwise, duration > .zero else {
                throw .invalid(path: field, message: "must be more than 0")
            }
            return duration
        }
        timeout = try time("timeout", message.timeout, nil)
        interval = try time("interval", message.interval, nil)
        initialJitter = try message.initial_jitter.time("initial_jitter") ?? .zero
        jitter = try message.interval_jitter.time("interval_jitter") ?? .zero
        guard message.interval_jitter_percent <= 1000 else {
            throw .invalid(path: "interval_jitter_percent", message: "more than 1000")
        }
        jitterPercent = Int(message.interval_jitter_percent)
        guard let unhealthy = message.unhealthy_threshold.number else {
            throw .invalid(path: "unhealthy_threshold", message: "missing")
        }
        guard let healthy = message.healthy_threshold.number else {
            throw .invalid(path: "healthy_threshold", message: "missing")
        }
        (unhealthyThreshold, healthyThreshold) = (max(1, Int(unhealthy)), max(1, Int(healthy)))
        unhealthyInterval = try time("unhealthy_interval", message.unhealthy_interval, interval)
        unhealthyEdgeInterval = try time("unhealthy_edge_interval", message.unhealthy_edge_interval, unhealthyInterval)
        healthyEdgeInterval = try time("healthy_edge_interval", message.healthy_edge_interval, interval)
        noTrafficInterval = try time("no_traffic_interval", message.no_traffic_interval, .seconds(60))
        noTrafficHealthyInterval = try time(
            "no_traffic_healthy_interval", message.no_traffic_healthy_interval, noTrafficInterval)
        let port = message.alt_port.number ?? 0
        guard let port = UInt16(exactly: port) else { throw .invalid(path: "alt_port", message: "\(port) is no port") }
        self.port = port
        reusesConnection = message.reuse_connection.flag ?? true
        applicationProtocols = message.tls_options.map { Array($0.pointee.alpn_protocols_list) } ?? []
    }
}

extension CheckSettings.HTTPCheck {
    fileprivate init(_ message: HealthCheckHttpHealthCheck) throws(ConfigurationError) {
        host = message.host.string
        path = message.path.string
        guard path.hasPrefix("/") else { throw .invalid(path: "path", message: "must begin with /") }
        method = try Self.method(message.method)
        send = try message.send.read("send") { (payload) throws(ConfigurationError) in try payload.given() } ?? []
        guard send.isEmpty || !["GET", "HEAD", "DELETE", "TRACE", "CONNECT"].contains(method) else {
            throw .invalid(path: "send", message: "\(method) has no body")
        }
        receive = try message.receive_list.read("receive") { (payload) throws(ConfigurationError) in
            try payload.pointee.given()
        }
        bodyLimit = Int(clamping: min(message.response_buffer_size.number ?? 1024, 1 << 20))
        added = try message.request_headers_to_add_list.read("request_headers_to_add") {
            (option) throws(ConfigurationError) in try option.pointee.plain()
        }
        removed = message.request_headers_to_remove_list.map { $0.lowercased() }
        let expected = try Self.ranges(message.expected_statuses_list, "expected_statuses")
        if !expected.isEmpty { self.expected = expected }
        retriable = try Self.ranges(message.retriable_statuses_list, "retriable_statuses")
        usesHTTP2 = message.codec_client_type == .HTTP2
        service = try message.service_name_matcher.read("service_name_matcher") {
            (matcher) throws(ConfigurationError) in try TextMatcher(matcher)
        }
    }

    private static func method(_ value: RequestMethod) throws(ConfigurationError) -> String {
        switch value {
        case .METHOD_UNSPECIFIED, .GET: "GET"
        case .HEAD: "HEAD"
        case .POST: "POST"
        case .PUT: "PUT"
        case .DELETE: "DELETE"
        case .OPTIONS: "OPTIONS"
        case .TRACE: "TRACE"
        case .PATCH: "PATCH"
        default: throw .invalid(path: "method", message: "cannot be used for checks")
        }
    }

    private static func ranges(
        _ list: Repeated<Int64Range>, _ field: String
    ) throws(ConfigurationError) -> [Range<Int64>] {
        try list.read(field) { (range) throws(ConfigurationError) in
            let (start, end) = (range.pointee.start, range.pointee.end)
            guard start >= 100, end <= 600, start < end else {
                throw .invalid(path: "", message: "\(start) to \(end) where 100 to 600 is possible")
            }
            return start..<end
        }
    }
}

extension CheckSettings.GRPCCheck {
    fileprivate init(_ message: HealthCheckGrpcHealthCheck) throws(ConfigurationError) {
        service = message.service_name.string
        authority = message.authority.string
        metadata = try message.initial_metadata_list.read("initial_metadata") {
            (option) throws(ConfigurationError) in try option.pointee.plain()
        }
    }
}

extension CheckSettings.TCPCheck {
    fileprivate init(_ message: HealthCheckTcpHealthCheck) throws(ConfigurationError) {
        send = try message.send.read("send") { (payload) throws(ConfigurationError) in try payload.given() } ?? []
        receive = try message.receive_list.read("receive") { (payload) throws(ConfigurationError) in
            try payload.pointee.given()
        }
    }
}

extension HealthCheckPayload {
    /// Text is hexadecimal. Source: Envoy, `HealthCheck.Payload.text`.
    fileprivate func given() throws(ConfigurationError) -> [UInt8] {
        switch payload {
        case .binary(let bytes): return Array(bytes)
        case .text(let text):
            var bytes: [UInt8] = []
            var high: UInt8?
            for digit in text.utf8 {
                guard let value = Character(UnicodeScalar(digit)).hexDigitValue.map({ UInt8($0) }) else {
                    throw .invalid(path: "text", message: "`\(text)` is not hexadecimal")
                }
                if let first = high { bytes.append(first << 4 | value) }
                high = high == nil ? value : nil
            }
            guard high == nil, !bytes.isEmpty else {
                throw .invalid(path: "text", message: "`\(text)` is not hexadecimal")
            }
            return bytes
        case nil: throw .invalid(path: "", message: "neither text nor bytes")
        }
    }
}

extension HeaderValueOption {
    /// A field to add as it is: checks have no request whose parts `%…%` could stand for.
    fileprivate func plain() throws(ConfigurationError) -> (name: String, value: String) {
        let field = try header.required("header")
        let value = field.value.string
        guard !value.contains("%") else {
            throw .unsupported(path: "header.value", message: "`\(value)`: checks have nothing that % could stand for")
        }
        guard !field.key.string.isEmpty else { throw .invalid(path: "header.key", message: "missing") }
        return (field.key.string.lowercased(), value)
    }
}
