import CEnvoyAPI
import EnvoyAPI
import HTTP

/// How long requests of a route may take. Source: Envoy, `RouteAction.timeout` and the fields around it.
public struct RequestTimeouts: Sendable {
    /// From the end of the request to the end of the response; nil: no limit.
    public var whole: Duration?
    /// Without a byte either way; nil: what the connection manager says; zero: no limit.
    public var idle: Duration?
    /// Set: it takes the place of `whole`, and is counted by the connection manager.
    public var stream: StreamLimit?
    /// The most that `grpc-timeout` may ask for, in place of `whole` for gRPC; zero: as much as it asks.
    public var longestGRPC: Duration?
    public var grpcOffset: Duration = .zero

    public struct StreamLimit: Sendable {
        /// Nil: what the connection manager says; zero: no limit.
        public var longest: Duration?
        /// The most that `grpc-timeout` may ask for; zero: as much as it asks; nil: it is not looked at.
        public var longestByHeader: Duration?
        public var headerOffset: Duration = .zero
    }

    /// Envoy's default. Source: `RouteAction.timeout`.
    static let standard = Duration.seconds(15)

    init(_ message: RouteAction) throws(ConfigurationError) {
        let timeout = try message.timeout.duration("timeout") ?? Self.standard
        whole = timeout > .zero ? timeout : nil
        idle = try message.idle_timeout.duration("idle_timeout")
        longestGRPC = try message.max_grpc_timeout.duration("max_grpc_timeout")
        grpcOffset = try message.grpc_timeout_offset.duration("grpc_timeout_offset") ?? .zero
        stream = try message.max_stream_duration.read("max_stream_duration") { (limit) throws(ConfigurationError) in
            StreamLimit(
                longest: try limit.max_stream_duration.duration("max_stream_duration"),
                longestByHeader: try limit.grpc_timeout_header_max.duration("grpc_timeout_header_max"),
                headerOffset: try limit.grpc_timeout_header_offset.duration("grpc_timeout_header_offset") ?? .zero)
        }
    }

    /// What holds for one request.
    public struct Limits: Equatable, Sendable {
        /// For all tries together, from the end of the request; nil: no limit.
        public var whole: Duration?
        /// For each try; nil: no limit.
        public var perTry: Duration?
        /// For the stream, from its start; nil: what the connection manager says; zero: no limit.
        public var stream: Duration?
    }

    /// The limits of one request; headers that ask for others are taken out of it, and the upstream is told.
    /// - Parameters:
    ///   - retries: of the route.
    ///   - isHedged: a try may last as long as the request.
    ///   - tellsUpstream: `x-envoy-expected-rq-timeout-ms` and, for gRPC, `grpc-timeout` are written.
    /// Source: Envoy, `FilterUtility::finalTimeout`.
    public func limits(
        _ head: inout HeaderList, retries: RetryRules?, isHedged: Bool = false, tellsUpstream: Bool = true
    ) -> Limits {
        var limits = Limits(perTry: retries?.perTryTimeout)
        let isGRPC = head.isGRPC
        let asked = isGRPC || stream?.longestByHeader != nil ? head.grpcTimeout : nil
        if let stream {
            limits.stream = stream.longest
            if let longest = stream.longestByHeader, let asked {
                var wanted = asked
                if stream.headerOffset < wanted { wanted -= stream.headerOffset }
                limits.stream = longest > .zero ? min(wanted, longest) : wanted
            }
        } else if isGRPC, let longestGRPC {
            var wanted = asked ?? .zero
            if grpcOffset < wanted { wanted -= grpcOffset }
            // Zero is no limit.
            if longestGRPC > .zero, wanted == .zero || wanted > longestGRPC { wanted = longestGRPC }
            limits.whole = wanted > .zero ? wanted : nil
        } else {
            limits.whole = whole
        }
        func milliseconds(_ name: StaticString) -> Duration? {
            let value = head.withValue(of: name) { $0.integer } ?? nil
            if value != nil { head.remove(name) }
            return value.flatMap { $0 >= 0 && $0 < 1 << 40 ? .milliseconds($0) : nil }
        }
        if let asked = milliseconds("x-envoy-upstream-rq-timeout-ms") {
            limits.whole = asked > .zero ? asked : nil
        }
        if let asked = milliseconds("x-envoy-upstream-rq-per-try-timeout-ms") {
            limits.perTry = asked > .zero ? asked : nil
        }
        if let perTry = limits.perTry, let whole = limits.whole, perTry >= whole { limits.perTry = nil }
        guard tellsUpstream else { return limits }
        if let expected = isHedged ? limits.whole : limits.perTry ?? limits.whole {
            let (seconds, attoseconds) = expected.components
            let milliseconds = seconds * 1_000 + attoseconds / 1_000_000_000_000_000
            head.set("x-envoy-expected-rq-timeout-ms", "\(milliseconds)")
            if isGRPC, stream == nil, longestGRPC != nil { head.set("grpc-timeout", "\(milliseconds)m") }
        }
        return limits
    }
}

/// Headers by which a request asks for more than its route gives it. They are believed from inside only.
public enum RequestOverrides {
    private static let names: [StaticString] = [
        "x-envoy-retriable-status-codes", "x-envoy-retriable-header-names", "x-envoy-retry-on",
        "x-envoy-retry-grpc-on", "x-envoy-max-retries", "x-envoy-upstream-alt-stat-name",
        "x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms",
        "x-envoy-upstream-rq-timeout-alt-response", "x-envoy-expected-rq-timeout-ms", "x-envoy-force-trace",
        "x-envoy-ip-tags", "x-envoy-original-url", "x-envoy-hedge-on-per-try-timeout",
    ]
    private static let edgeNames: [StaticString] = [
        "x-envoy-decorator-operation", "x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node",
    ]

    /// Takes out what a request from outside has no say in. Source: Envoy, `cleanInternalHeaders`.
    /// - Parameters:
    ///   - isEdge: nothing stands before this proxy that could be trusted.
    ///   - internalOnly: names that the route table adds, in lower case.
    public static func remove(from head: inout HeaderList, isEdge: Bool, internalOnly: [[UInt8]] = []) {
        head.removeAll { name, _ in
            if internalOnly.contains(where: { name.equals($0) }) { return true }
            guard name.count > 8, name[0] == UInt8(ascii: "x"), name[2] == UInt8(ascii: "e") else { return false }
            return names.contains { name.equals($0.bytes) } || isEdge && edgeNames.contains { name.equals($0.bytes) }
        }
    }
}

extension HeaderList {
    /// Whether a request is of gRPC. Source: Envoy, `Grpc::Common::hasGrpcContentType`.
    public var isGRPC: Bool {
        withValue(of: "content-type") { value in
            let type = ("application/grpc" as StaticString).bytes
            guard value.count >= type.count,
                UnsafeRawBufferPointer(rebasing: value[..<type.count]).equalsIgnoringCase("application/grpc")
            else { return false }
            if value.count == type.count { return true }
            let next = value[type.count]
            return next == UInt8(ascii: "+") || next == UInt8(ascii: ";")
        } ?? false
    }

    /// What `grpc-timeout` asks for; nil without one that can be read. Source: gRPC over HTTP2, "Timeout".
    public var grpcTimeout: Duration? {
        withValue(of: "grpc-timeout") { value -> Duration? in
            guard (2...9).contains(value.count), let unit = value.last,
                let number = UnsafeRawBufferPointer(rebasing: value.dropLast()).integer, number >= 0
            else { return nil }
            switch unit {
            case UInt8(ascii: "H"): return .seconds(number * 3_600)
            case UInt8(ascii: "M"): return .seconds(number * 60)
            case UInt8(ascii: "S"): return .seconds(number)
            case UInt8(ascii: "m"): return .milliseconds(number)
            // Envoy counts in milliseconds, rounded up.
            case UInt8(ascii: "u"): return .milliseconds((number + 999) / 1_000)
            case UInt8(ascii: "n"): return .milliseconds((number + 999_999) / 1_000_000)
            default: return nil
            }
        } ?? nil
    }
}
