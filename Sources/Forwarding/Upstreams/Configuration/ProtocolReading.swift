import EnvoyAPI
import Protobuf
import Time

/// What clusters say of the protocol that their hosts speak.
enum ProtocolReading {
    static func http(_ message: Cluster, in arena: Arena) throws(ConfigurationError) -> UpstreamProtocol {
        var result = UpstreamProtocol()
        // The fields of the cluster itself came before the extension, which takes their place.
        if let second = message.http2_protocol_options {
            result.choice = .http2
            result.http2 = try at("http2_protocol_options") { () throws(ConfigurationError) in
                try UpstreamProtocol.HTTP2(second.pointee)
            }
        }
        if message.protocol_selection == .USE_DOWNSTREAM_PROTOCOL { result.choice = .downstream }
        if let first = message.http_protocol_options { result.http1 = UpstreamProtocol.HTTP1(first.pointee) }
        try take(message.common_http_protocol_options, into: &result, "common_http_protocol_options")
        take(message.upstream_http_protocol_options, into: &result)
        if let count = message.max_requests_per_connection.number { result.requestsPerConnection = Int(count) }
        for entry in message.typed_extension_protocol_options_list {
            let key = entry.pointee.key.string
            guard let any = entry.pointee.value?.pointee,
                FieldAudit.typeName(any) == EnvoyAPI.HttpProtocolOptions.descriptor.fullName
            else { continue }
            try at("typed_extension_protocol_options[\"\(key)\"]") { () throws(ConfigurationError) in
                let options = try FieldAudit.decode(EnvoyAPI.HttpProtocolOptions.self, any, in: arena, .clusters)
                result = try read(options.pointee)
            }
        }
        if result.requestsPerConnection == 0 { result.requestsPerConnection = nil }
        return result
    }

    /// Of TCP connections.
    static func idleTimeout(_ message: Cluster, in arena: Arena) throws(ConfigurationError) -> Duration? {
        for entry in message.typed_extension_protocol_options_list {
            guard let any = entry.pointee.value?.pointee else { continue }
            let key = entry.pointee.key.string
            switch FieldAudit.typeName(any) {
            case UpstreamTcpProtocolOptions.descriptor.fullName:
                return try at("typed_extension_protocol_options[\"\(key)\"]") { () throws(ConfigurationError) in
                    try FieldAudit.decode(UpstreamTcpProtocolOptions.self, any, in: arena, .clusters)
                        .pointee.idle_timeout.time("idle_timeout")
                }
            default: continue
            }
        }
        return nil
    }

    private static func read(_ options: EnvoyAPI.HttpProtocolOptions) throws(ConfigurationError) -> UpstreamProtocol {
        var result = UpstreamProtocol()
        try take(options.common_http_protocol_options, into: &result, "common_http_protocol_options")
        take(options.upstream_http_protocol_options, into: &result)
        switch options.upstream_protocol_options {
        case .explicit_http_config(let explicit):
            switch explicit.pointee.protocol_config {
            case .http2_protocol_options(let second):
                result.choice = .http2
                try take(nil, second, into: &result, "explicit_http_config")
            case .http_protocol_options(let first):
                try take(first, nil, into: &result, "explicit_http_config")
            case .http3_protocol_options, nil:
                throw .unsupported(path: "explicit_http_config", message: "only HTTP/1.1 and HTTP/2")
            }
        case .use_downstream_protocol_config(let same):
            result.choice = .downstream
            try take(
                same.pointee.http_protocol_options, same.pointee.http2_protocol_options, into: &result,
                "use_downstream_protocol_config")
        case .auto_config(let found):
            result.choice = .negotiated
            try take(
                found.pointee.http_protocol_options, found.pointee.http2_protocol_options, into: &result, "auto_config")
        case nil: throw .invalid(path: "upstream_protocol_options", message: "it says no version of HTTP")
        }
        for (index, filter) in options.http_filters_list.enumerated() {
            // The codec ends every list and does what is done without a list too.
            var type = filter.pointee.name.string
            if case .typed_config(let any)? = filter.pointee.config_type { type = FieldAudit.typeName(any.pointee) }
            guard type.hasSuffix("UpstreamCodec") || type == "envoy.filters.http.upstream_codec" else {
                throw .unsupported(path: "http_filters[\(index)]", message: "filters of upstreams are not supported")
            }
        }
        if let matcher = options.outlier_detection?.pointee.error_matcher {
            result.failures = try at("outlier_detection.error_matcher") { () throws(ConfigurationError) in
                try ResponseCondition(matcher.pointee)
            }
        }
        return result
    }

    private static func take(
        _ first: UnsafeMutablePointer<Http1ProtocolOptions>?, _ second: UnsafeMutablePointer<Http2ProtocolOptions>?,
        into result: inout UpstreamProtocol, _ field: String
    ) throws(ConfigurationError) {
        if let first { result.http1 = UpstreamProtocol.HTTP1(first.pointee) }
        guard let second else { return }
        result.http2 = try at("\(field).http2_protocol_options") { () throws(ConfigurationError) in
            try UpstreamProtocol.HTTP2(second.pointee)
        }
    }

    private static func take(
        _ message: UnsafeMutablePointer<CoreHttpProtocolOptions>?, into result: inout UpstreamProtocol, _ field: String
    ) throws(ConfigurationError) {
        guard let common = message?.pointee else { return }
        try at(field) { () throws(ConfigurationError) in
            if let timeout = try common.idle_timeout.time("idle_timeout") {
                result.idleTimeout = timeout > .zero ? timeout : nil
            }
            result.maximumAge = try common.max_connection_duration.time("max_connection_duration")
                .flatMap { $0 > .zero ? $0 : nil }
        }
        result.headerCount = common.max_headers_count.number.map { Int($0) }
        result.responseHeaderKilobytes = common.max_response_headers_kb.number.map { Int($0) }
        if let count = common.max_requests_per_connection.number { result.requestsPerConnection = Int(count) }
    }

    private static func take(
        _ message: UnsafeMutablePointer<UpstreamHttpProtocolOptions>?, into result: inout UpstreamProtocol
    ) {
        guard let names = message?.pointee else { return }
        result.takesServerName = names.auto_sni != 0
        result.takesCertificateName = names.auto_san_validation != 0
        let header = names.override_auto_sni_header.string.lowercased()
        result.serverNameHeader = header.isEmpty ? nil : header
    }
}

extension UpstreamProtocol.HTTP1 {
    fileprivate init(_ message: Http1ProtocolOptions) {
        hasTrailers = message.enable_trailers != 0
        capitalises = message.header_key_format?.pointee.header_format != nil
    }
}

extension UpstreamProtocol.HTTP2 {
    fileprivate init(_ message: Http2ProtocolOptions) throws(ConfigurationError) {
        func number(
            _ field: String, _ value: UnsafeMutablePointer<ProtobufUInt32Value>?, _ range: ClosedRange<UInt32>
        ) throws(ConfigurationError) -> Int? {
            guard let number = value.number else { return nil }
            guard range.contains(number) else {
                throw .invalid(
                    path: field, message: "\(number) where \(range.lowerBound) to \(range.upperBound) is possible")
            }
            return Int(number)
        }
        let windows: ClosedRange<UInt32> = 65_535...2_147_483_647
        concurrentStreams = try number("max_concurrent_streams", message.max_concurrent_streams, 1...2_147_483_647)
        streamWindow = try number("initial_stream_window_size", message.initial_stream_window_size, windows)
        connectionWindow = try number("initial_connection_window_size", message.initial_connection_window_size, windows)
        headerTableSize = try number("hpack_table_size", message.hpack_table_size, 0...UInt32.max)
        guard let keepalive = message.connection_keepalive?.pointee else { return }
        try at("connection_keepalive") { () throws(ConfigurationError) in
            keepaliveInterval = try keepalive.interval.time("interval").flatMap { $0 > .zero ? $0 : nil }
            guard let timeout = try keepalive.timeout.time("timeout"), timeout > .zero else {
                throw .invalid(path: "timeout", message: "must be more than 0")
            }
            keepaliveTimeout = timeout
        }
    }
}

extension ResponseCondition {
    init(_ message: MatchPredicate) throws(ConfigurationError) {
        switch message.rule {
        case .any_match: self = .any
        case .not_match(let other):
            self = .not(try at("not_match") { () throws(ConfigurationError) in try ResponseCondition(other.pointee) })
        case .or_match(let set): self = .either(try Self.rules(set, "or_match"))
        case .and_match(let set): self = .all(try Self.rules(set, "and_match"))
        case .http_response_headers_match(let match):
            self = .headers(
                try match.pointee.headers_list.read("http_response_headers_match.headers") {
                    (header) throws(ConfigurationError) in try HeaderCondition(header.pointee)
                })
        case .http_request_headers_match, .http_request_trailers_match, .http_response_trailers_match,
            .http_request_generic_body_match, .http_response_generic_body_match:
            throw .unsupported(path: "", message: "only conditions on the response's headers")
        case nil: throw .invalid(path: "", message: "it says nothing")
        }
    }

    private static func rules(
        _ set: UnsafeMutablePointer<MatchPredicateMatchSet>, _ field: String
    ) throws(ConfigurationError) -> [ResponseCondition] {
        try set.pointee.rules_list.read("\(field).rules") { (rule) throws(ConfigurationError) in
            try ResponseCondition(rule.pointee)
        }
    }
}
