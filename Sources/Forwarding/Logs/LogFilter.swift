import CEnvoyAPI
import EnvoyAPI
import HTTP
import Protobuf

/// Which records a log takes, compiled. Source: Envoy, `config.accesslog.v3.AccessLogFilter`.
public indirect enum LogFilter: Sendable {
    public struct Comparison: Sendable, Equatable {
        enum Operation: Sendable { case equal, atLeast, atMost, unequal }

        var operation: Operation
        var value: UInt64

        func holds(_ number: UInt64) -> Bool {
            switch operation {
            case .equal: number == value
            case .atLeast: number >= value
            case .atMost: number <= value
            case .unequal: number != value
            }
        }
    }

    case status(Comparison)
    /// In milliseconds.
    case duration(Comparison)
    /// - Parameter isIndependent: requests of one identifier are taken or left together unless this is set.
    case fraction(Fraction, isIndependent: Bool)
    case all([LogFilter])
    case any([LogFilter])
    case header(HeaderCondition)
    /// Any flag at all where none is named.
    case flags(ResponseFlag, isAny: Bool)
    case grpc(Set<Int>, isExcluding: Bool)
    case metadata(MetadataCondition, takesMissing: Bool)
    case kinds(requests: Bool, connections: Bool)
    case expression(LogExpression)
    case traced

    static let deepest = 32

    init(
        _ message: AccessLogFilter, in arena: Arena, depth: Int = 0
    ) throws(ConfigurationError) {
        guard depth < Self.deepest else { throw .invalid(path: "", message: "nested deeper than \(Self.deepest)") }
        switch message.filter_specifier {
        case .status_code_filter(let filter):
            self = .status(try Comparison(filter.pointee.comparison, "status_code_filter"))
        case .duration_filter(let filter):
            self = .duration(try Comparison(filter.pointee.comparison, "duration_filter"))
        // No filter of this proxy answers health checks: none is told apart from other requests.
        case .not_health_check_filter: self = .all([])
        case .traceable_filter: self = .traced
        case .runtime_filter(let filter):
            // There is no runtime: the default holds.
            self = .fraction(
                try filter.pointee.percent_sampled.read("runtime_filter.percent_sampled") {
                    (value) throws(ConfigurationError) in try Fraction(value)
                } ?? Fraction(numerator: 0, denominator: 100),
                isIndependent: filter.pointee.use_independent_randomness != 0)
        case .and_filter(let filter):
            self = .all(try Self.list(filter.pointee.filters_list, "and_filter.filters", in: arena, depth))
        case .or_filter(let filter):
            self = .any(try Self.list(filter.pointee.filters_list, "or_filter.filters", in: arena, depth))
        case .header_filter(let filter):
            let header = try filter.pointee.header.required("header_filter.header")
            self = .header(
                try at("header_filter.header") { () throws(ConfigurationError) in try HeaderCondition(header) })
        case .response_flag_filter(let filter): self = try Self.flags(filter.pointee)
        case .grpc_status_filter(let filter):
            self = .grpc(
                Set(filter.pointee.statuses_list.map { Int($0.rawValue) }), isExcluding: filter.pointee.exclude != 0)
        case .metadata_filter(let filter):
            guard let matcher = filter.pointee.matcher else {
                // Without a condition everything passes that has it, and nothing does not.
                self = .all([])
                return
            }
            self = .metadata(
                try at("metadata_filter.matcher") { () throws(ConfigurationError) in
                    try MetadataCondition(matcher.pointee)
                }, takesMissing: filter.pointee.match_if_key_not_found.flag ?? true)
        case .log_type_filter(let filter):
            let types = filter.pointee.types_list
            let excludes = filter.pointee.exclude != 0
            self = .kinds(
                requests: types.contains(.DownstreamEnd) != excludes,
                connections: types.contains(.TcpConnectionEnd) != excludes)
        case .extension_filter(let filter):
            self = .expression(
                try at("extension_filter") { () throws(ConfigurationError) in
                    try Self.expression(filter.pointee, in: arena)
                })
        case nil: throw .invalid(path: "", message: "no filter is given")
        }
    }

    private static func list(
        _ messages: Repeated<AccessLogFilter>, _ field: String, in arena: Arena, _ depth: Int
    ) throws(ConfigurationError) -> [LogFilter] {
        guard messages.count >= 2 else { throw .invalid(path: field, message: "two filters or more are needed") }
        return try messages.read(field) { (filter) throws(ConfigurationError) in
            try LogFilter(filter.pointee, in: arena, depth: depth + 1)
        }
    }

    private static func flags(_ message: ResponseFlagFilter) throws(ConfigurationError) -> LogFilter {
        var flags: ResponseFlag = []
        let names = try message.flags_list.read("response_flag_filter.flags") { (name) throws(ConfigurationError) in
            if let flag = ResponseFlag(short: name) {
                flags.insert(flag)
            } else if !ResponseFlag.otherNames.contains(name) {
                throw .invalid(path: "", message: "no flag is called `\(name)`")
            }
            return name
        }
        return .flags(flags, isAny: names.isEmpty)
    }

    /// The filter's message has the expression as its first field, as a StringValue has its text.
    static let expressionType = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"

    private static func expression(_ message: ExtensionFilter, in arena: Arena) throws(ConfigurationError)
        -> LogExpression
    {
        guard case .typed_config(let any) = message.config_type else {
            throw .invalid(path: "typed_config", message: "missing")
        }
        let name = FieldAudit.typeName(any.pointee)
        guard name == expressionType else {
            throw .unsupported(path: "typed_config", message: "the filter `\(name)` is not supported")
        }
        return try at("typed_config") { () throws(ConfigurationError) in
            let text: UnsafeMutablePointer<ProtobufStringValue>
            do throws(ProtobufError) {
                text = try arena.decode(
                    ProtobufStringValue.self, from: Array(any.pointee.value_bytes), types: envoyTypes)
            } catch {
                throw ConfigurationError(error)
            }
            guard DynamicMessage(text).unknownFieldCount == 0 else {
                throw .unsupported(path: "", message: "the filter has more than an expression")
            }
            return try at("expression") { () throws(ConfigurationError) in
                try LogExpression(text.pointee.value.string)
            }
        }
    }

    // MARK: Asking

    /// - Parameter random: a new number for each record.
    public func takes(_ record: AccessRecord, random: UInt64) -> Bool {
        switch self {
        case .status(let comparison): return comparison.holds(UInt64(record.status))
        case .duration(let comparison):
            let passed = record.ended.map { $0.nanoseconds - record.began.nanoseconds } ?? 0
            return comparison.holds(UInt64(max(0, passed)) / 1_000_000)
        case .fraction(let fraction, let isIndependent):
            return fraction.holds(isIndependent ? random : Self.stable(record) ?? random)
        case .all(let filters):
            for filter in filters where !filter.takes(record, random: random) { return false }
            return true
        case .any(let filters):
            for filter in filters where filter.takes(record, random: random) { return true }
            return false
        case .header(let condition): return condition.matches(record.request)
        case .flags(let flags, let isAny): return isAny ? !record.flags.isEmpty : !record.flags.isDisjoint(with: flags)
        case .grpc(let statuses, let isExcluding):
            return statuses.contains(record.grpcStatus ?? Self.grpcStatus(of: record.status)) != isExcluding
        case .metadata(let condition, let takesMissing):
            if record.metadata.value(condition.filter, at: condition.path) == nil { return takesMissing }
            return condition.matches(record.metadata)
        case .kinds(let requests, let connections): return record.kind == .request ? requests : connections
        case .expression(let expression): return expression.holds(record)
        case .traced: return record.traceReason.isTraced
        }
    }

    /// The same for all proxies that a request goes through. Source: Envoy, `UuidUtils`: the first 32 bits of the
    /// identifier.
    private static func stable(_ record: AccessRecord) -> UInt64? {
        record.request.withValue(of: "x-request-id") { value in
            value.count == 36 ? UInt64(String(decoding: value[..<8], as: UTF8.self), radix: 16) : nil
        } ?? nil
    }

    /// Source: Envoy, `Grpc::Utility::httpToGrpcStatus`.
    private static func grpcStatus(of status: Int) -> Int {
        switch status {
        case 200: 2
        case 400: 13
        case 401: 16
        case 403: 7
        case 404: 12
        case 429, 502, 503, 504: 14
        default: 2
        }
    }
}

extension LogFilter.Comparison {
    fileprivate init(_ message: UnsafeMutablePointer<ComparisonFilter>?, _ field: String) throws(ConfigurationError) {
        let comparison = try message.required("\(field).comparison")
        switch comparison.op {
        case .EQ: operation = .equal
        case .GE: operation = .atLeast
        case .LE: operation = .atMost
        case .NE: operation = .unequal
        default: throw .unsupported(path: "\(field).comparison.op", message: "not known in this version")
        }
        value = UInt64(try comparison.value.required("\(field).comparison.value").default_value)
    }
}
