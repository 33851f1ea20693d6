import CEnvoyAPI
import EnvoyAPI
import HTTP
import Synchronization

/// Delays and failures on purpose. Source: Envoy, `extensions.filters.http.fault.v3`.
public final class Fault: Sendable {
    /// The body of an abort, and its details in access logs are ``abortDetails``. Source: Envoy.
    public static let abortBody = "fault filter abort"
    public static let abortDetails = "fault_filter_abort"

    public enum Abort: Hashable, Sendable {
        case http(UInt16)
        case grpc(Int)
    }

    /// What is done to one request: first the delay, then the abort.
    public struct Injection: Hashable, Sendable {
        public var delay: Duration?
        public var abort: Abort?
    }

    enum Delay: Sendable {
        case fixed(Duration)
        case header
    }

    enum Failure: Sendable {
        case fixed(Abort)
        case header
    }

    private let delay: (kind: Delay, share: Fraction)?
    private let abort: (kind: Failure, share: Fraction)?
    private let cluster: String
    private let headers: [HeaderCondition]
    /// Of `x-envoy-downstream-service-node`; empty: all.
    private let nodes: [[UInt8]]
    /// How many requests may be under a fault at once.
    private let mostActive: Int
    /// Of all workers; what routes say counts together with the filter's own. Source: Envoy, `active_faults`.
    private final class Activity: Sendable {
        let count = Atomic<Int>(0)
    }
    private let activity: Activity

    public init(_ message: HTTPFault) throws(ConfigurationError) {
        delay = try message.delay.read("delay") { (delay) throws(ConfigurationError) in
            let kind: Delay
            switch delay.fault_delay_secifier {
            case .fixed_delay(let duration):
                kind = .fixed(
                    try at("fixed_delay") { () throws(ConfigurationError) in try Duration(duration.pointee) })
            case .header_delay: kind = .header
            case nil: throw .invalid(path: "", message: "neither fixed_delay nor header_delay is given")
            }
            return (kind, try Self.share(delay.percentage))
        }
        abort = try message.abort.read("abort") { (abort) throws(ConfigurationError) in
            let kind: Failure
            switch abort.error_type {
            case .http_status(let status):
                guard (200...599).contains(status) else {
                    throw .invalid(path: "http_status", message: "\(status) is no status from 200 to 599")
                }
                kind = .fixed(.http(UInt16(status)))
            case .grpc_status(let status): kind = .fixed(.grpc(Int(status)))
            case .header_abort: kind = .header
            case nil: throw .invalid(path: "", message: "no status to abort with is given")
            }
            return (kind, try Self.share(abort.percentage))
        }
        cluster = message.upstream_cluster.string
        headers = try message.headers_list.read("headers") { (header) throws(ConfigurationError) in
            try HeaderCondition(header.pointee)
        }
        nodes = message.downstream_nodes_list.map { Array($0.utf8) }
        mostActive = message.max_active_faults.number.map { Int($0) } ?? .max
        activity = Activity()
    }

    /// What a route says, in place of what the filter does.
    private init(_ own: Fault, activity: Activity) {
        (delay, abort, cluster, headers, nodes) = (own.delay, own.abort, own.cluster, own.headers, own.nodes)
        (mostActive, self.activity) = (own.mostActive, activity)
    }

    /// The same, whose requests are counted with those of the filter.
    func counted(with filter: Fault) -> Fault { Fault(self, activity: filter.activity) }

    /// Counts a request as one under a fault.
    /// - Returns: false if there are as many as may be; otherwise ``end()`` has to follow.
    public func begin() -> Bool {
        let before = activity.count.wrappingAdd(1, ordering: .relaxed).oldValue
        if before < mostActive { return true }
        end()
        return false
    }

    public func end() { _ = activity.count.wrappingSubtract(1, ordering: .relaxed) }

    private static func share(_ message: UnsafeMutablePointer<FractionalPercent>?) throws(ConfigurationError)
        -> Fraction
    {
        try message.read("percentage") { (share) throws(ConfigurationError) in try Fraction(share) }
            ?? Fraction(numerator: 0, denominator: 100)
    }

    /// Whether there is anything to do for anybody: a filter's own message often only makes place for the routes'.
    public var isEmpty: Bool { delay == nil && abort == nil }

    /// What happens to a request; nil: nothing.
    /// - Parameters:
    ///   - upstream: the cluster of its route.
    public func injection(
        for head: HeaderList, upstream: String?, random: inout some RandomNumberGenerator
    ) -> Injection? {
        guard !isEmpty, cluster.isEmpty || cluster == upstream, isForNode(head),
            headers.allSatisfy({ $0.matches(head) })
        else { return nil }
        var injection = Injection()
        if let delay, let duration = duration(delay.kind, head),
            share(delay.share, "x-envoy-fault-delay-request-percentage", delay.kind.isByHeader, head)
                .holds(random.next())
        {
            injection.delay = duration
        }
        if let abort, let status = status(abort.kind, head),
            share(abort.share, "x-envoy-fault-abort-request-percentage", abort.kind.isByHeader, head)
                .holds(random.next())
        {
            injection.abort = status
        }
        return injection == Injection() ? nil : injection
    }

    private func isForNode(_ head: HeaderList) -> Bool {
        nodes.isEmpty
            || head.withValue(of: "x-envoy-downstream-service-node") { node in nodes.contains { node.equals($0) } }
                ?? false
    }

    private func duration(_ kind: Delay, _ head: HeaderList) -> Duration? {
        switch kind {
        case .fixed(let duration): return duration
        case .header:
            guard let milliseconds = head.number("x-envoy-fault-delay-request") else { return nil }
            return .milliseconds(Int64(min(milliseconds, 1 << 40)))
        }
    }

    private func status(_ kind: Failure, _ head: HeaderList) -> Abort? {
        switch kind {
        case .fixed(let abort): return abort
        case .header:
            if let status = head.number("x-envoy-fault-abort-request") {
                return (200...599).contains(status) ? .http(UInt16(status)) : nil
            }
            return head.number("x-envoy-fault-abort-grpc-request").flatMap { Int(exactly: $0) }.map { .grpc($0) }
        }
    }

    /// Clients may make the share of their faults smaller, not larger.
    private func share(_ share: Fraction, _ name: StaticString, _ isByHeader: Bool, _ head: HeaderList) -> Fraction {
        guard isByHeader, let asked = head.number(name) else { return share }
        return Fraction(
            numerator: min(UInt32(clamping: asked), share.numerator), denominator: share.denominator)
    }

    static let fields =
        SupportedFields([
            // There is no runtime that could override what is written, and statistics are not kept by caller.
            "envoy.extensions.filters.http.fault.v3.HTTPFault": """
            delay abort upstream_cluster headers downstream_nodes max_active_faults delay_percent_runtime~ \
            abort_percent_runtime~ delay_duration_runtime~ abort_http_status_runtime~ max_active_faults_runtime~ \
            response_rate_limit_percent_runtime~ abort_grpc_status_runtime~ disable_downstream_cluster_stats~ \
            filter_metadata
            """,
            "envoy.extensions.filters.http.fault.v3.FaultAbort": "http_status grpc_status header_abort percentage",
            "envoy.extensions.filters.http.fault.v3.FaultAbort.HeaderAbort": "",
            "envoy.extensions.filters.common.fault.v3.FaultDelay": "fixed_delay header_delay percentage",
            "envoy.extensions.filters.common.fault.v3.FaultDelay.HeaderDelay": "",
        ]) + .common
}

extension Fault.Delay {
    fileprivate var isByHeader: Bool { if case .header = self { true } else { false } }
}

extension Fault.Failure {
    fileprivate var isByHeader: Bool { if case .header = self { true } else { false } }
}

extension HeaderList {
    /// The number that a field's value is; nil without such a field and for anything else.
    func number(_ name: StaticString) -> UInt64? {
        withValue(of: name) { value in
            value.isEmpty || value.count > 18 || !value.allSatisfy { (48...57).contains($0) }
                ? nil : value.reduce(0) { $0 * 10 + UInt64($1 - 48) }
        } ?? nil
    }
}
