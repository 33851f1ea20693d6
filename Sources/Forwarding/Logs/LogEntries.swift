import Addresses
import CEnvoyAPI
import EnvoyAPI
import HTTP
import Protobuf
import Time

/// Entries of the access log service. Source: Envoy, `data.accesslog.v3`, `service.accesslog.v3`.
public enum LogEntries {
    /// An `HTTPAccessLogEntry` or a `TCPAccessLogEntry`, by the record's kind.
    public static func encode(_ record: AccessRecord, for service: LogService) -> [UInt8] {
        let arena = Arena()
        let common = common(record, in: arena)
        switch record.kind {
        case .request:
            let entry = arena.make(HTTPAccessLogEntry.self) {
                $0.common_properties = common
                $0.protocol_version =
                    switch record.protocolName {
                    case "HTTP/1.0": .HTTP10
                    case "HTTP/1.1": .HTTP11
                    case "HTTP/2": .HTTP2
                    default: .PROTOCOL_UNSPECIFIED
                    }
                $0.request = request(record, service, in: arena)
                $0.response = response(record, service, in: arena)
            }
            return Protobuf.encode(entry)
        case .connection:
            let entry = arena.make(TCPAccessLogEntry.self) {
                $0.common_properties = common
                $0.connection_properties = arena.make {
                    $0.received_bytes = record.bytesReceived
                    $0.sent_bytes = record.bytesSent
                }
            }
            return Protobuf.encode(entry)
        }
    }

    /// A `StreamAccessLogsMessage` with entries of one kind that are encoded already.
    /// - Parameters:
    ///   - identifier: an `Identifier`; nil on a stream that had one.
    ///   - entries: at least one.
    public static func message(
        identifier: [UInt8]?, _ kind: AccessRecord.Kind, _ entries: [[UInt8]]
    ) -> [UInt8] {
        var list: [UInt8] = []
        for entry in entries { list.appendField(1, entry) }
        var message: [UInt8] = []
        if let identifier { message.appendField(1, identifier) }
        message.appendField(kind == .request ? 2 : 3, list)
        return message
    }

    /// - Parameter node: an encoded `Node`.
    public static func identifier(node: [UInt8], logName: String) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.appendField(1, node)
        bytes.appendField(2, Array(logName.utf8))
        return bytes
    }

    // MARK: Parts

    private static func common(
        _ record: AccessRecord, in arena: Arena
    ) -> UnsafeMutablePointer<AccessLogCommon> {
        let connection = record.connection
        return arena.make(AccessLogCommon.self) { common in
            common.sample_rate = 1
            common.downstream_remote_address = record.remote.message(in: arena)
            common.downstream_local_address = connection.destination.message(in: arena)
            common.downstream_direct_remote_address = connection.directSource.message(in: arena)
            common.tls_properties = session(record, in: arena)
            common.start_time = arena.make {
                $0.seconds = record.start.seconds
                $0.nanos = Int32(record.start.nanoseconds - record.start.seconds * 1_000_000_000)
            }
            func since(_ moment: Instant?) -> UnsafeMutablePointer<ProtobufDuration>? {
                guard let moment, moment >= record.began else { return nil }
                let passed = moment.nanoseconds - record.began.nanoseconds
                return arena.make {
                    $0.seconds = passed / 1_000_000_000
                    $0.nanos = Int32(passed % 1_000_000_000)
                }
            }
            common.time_to_last_rx_byte = since(record.requestEnded)
            common.time_to_first_upstream_tx_byte = since(record.sendingBegan)
            common.time_to_last_upstream_tx_byte = since(record.sendingEnded)
            common.time_to_first_upstream_rx_byte = since(record.responseBegan)
            common.time_to_last_upstream_rx_byte = since(record.responseEnded)
            common.time_to_first_downstream_tx_byte = since(record.replyBegan)
            common.time_to_last_downstream_tx_byte = since(record.ended)
            common.duration = since(record.ended)
            common.upstream_remote_address = record.upstream.map { $0.message(in: arena) }
            common.upstream_local_address = record.upstreamLocal.map { $0.message(in: arena) }
            if !record.cluster.isEmpty { common.upstream_cluster = arena(record.cluster) }
            if !record.flags.isEmpty { common.response_flags = flags(record.flags, in: arena) }
            if !record.transportFailure.isEmpty {
                common.upstream_transport_failure_reason = arena(record.transportFailure)
            }
            if !record.routeName.isEmpty { common.route_name = arena(record.routeName) }
            if !record.terminationDetails.isEmpty {
                common.connection_termination_details = arena(record.terminationDetails)
            }
            common.upstream_request_attempt_count = UInt32(clamping: record.attempts)
            common.access_log_type = record.kind == .request ? .DownstreamEnd : .TcpConnectionEnd
            if let id = record.request["x-request-id"] { common.stream_id = arena(id.printable) }
        }
    }

    private static func session(
        _ record: AccessRecord, in arena: Arena
    ) -> UnsafeMutablePointer<TLSProperties>? {
        let connection = record.connection
        guard connection.isTLS || connection.serverName != nil else { return nil }
        let version: TLSPropertiesTLSVersion =
            switch record.session.version {
            case "TLSv1.2": .TLSv1_2
            case "TLSv1.3": .TLSv1_3
            default: .VERSION_UNSPECIFIED
            }
        let localURI = record.session.localURI
        return arena.make(TLSProperties.self) { tls in
            tls.tls_version = version
            if record.session.cipherNumber != 0 {
                tls.tls_cipher_suite = arena.u32(UInt32(record.session.cipherNumber))
            }
            if let name = connection.serverName { tls.tls_sni_hostname = arena(name.printable) }
            if !localURI.isEmpty {
                tls.local_certificate_properties = certificate(uris: [localURI], names: [], subject: "", in: arena)
            }
            if let peer = connection.peer {
                tls.peer_certificate_properties = certificate(
                    uris: peer.uriNames, names: peer.dnsNames, subject: peer.subject, in: arena)
            }
        }
    }

    private static func certificate(
        uris: [String], names: [String], subject: String, in arena: Arena
    ) -> UnsafeMutablePointer<TLSPropertiesCertificateProperties> {
        arena.make(TLSPropertiesCertificateProperties.self) { certificate in
            let all: [UnsafeMutablePointer<TLSPropertiesCertificatePropertiesSubjectAltName>] =
                uris.map { uri in arena.make { $0.set(uri: arena(uri.printable)) } }
                + names.map { name in arena.make { $0.set(dns: arena(name.printable)) } }
            (certificate.n_subject_alt_name, certificate.subject_alt_name) = arena.list(all)
            if !subject.isEmpty { certificate.subject = arena(subject.printable) }
        }
    }

    private static func flags(
        _ flags: ResponseFlag, in arena: Arena
    ) -> UnsafeMutablePointer<EnvoyAPI.ResponseFlags> {
        arena.make(EnvoyAPI.ResponseFlags.self) {
            $0.set(no_healthy_upstream: flags.contains(.noHealthyUpstream))
            $0.set(upstream_request_timeout: flags.contains(.upstreamTimeout))
            $0.set(local_reset: flags.contains(.localReset))
            $0.set(upstream_remote_reset: flags.contains(.upstreamRemoteReset))
            $0.set(upstream_connection_failure: flags.contains(.upstreamConnectionFailure))
            $0.set(upstream_connection_termination: flags.contains(.upstreamConnectionTermination))
            $0.set(upstream_overflow: flags.contains(.upstreamOverflow))
            $0.set(no_route_found: flags.contains(.noRoute))
            $0.set(delay_injected: flags.contains(.delayInjected))
            $0.set(fault_injected: flags.contains(.faultInjected))
            $0.set(rate_limited: flags.contains(.rateLimited))
            if flags.contains(.unauthorized) {
                $0.unauthorized_details = arena.make { $0.reason = .EXTERNAL_SERVICE }
            }
            $0.set(rate_limit_service_error: flags.contains(.rateLimitServiceError))
            $0.set(downstream_connection_termination: flags.contains(.downstreamTermination))
            $0.set(upstream_retry_limit_exceeded: flags.contains(.upstreamRetryLimit))
            $0.set(stream_idle_timeout: flags.contains(.streamIdleTimeout))
            $0.set(invalid_envoy_request_headers: flags.contains(.invalidHeaders))
            $0.set(downstream_protocol_error: flags.contains(.downstreamProtocolError))
            $0.set(upstream_max_stream_duration_reached: flags.contains(.upstreamMaximumDuration))
            $0.set(duration_timeout: flags.contains(.durationTimeout))
            $0.set(upstream_protocol_error: flags.contains(.upstreamProtocolError))
            $0.set(no_cluster_found: flags.contains(.noCluster))
            $0.set(overload_manager: flags.contains(.overloadManager))
        }
    }

    private static func request(
        _ record: AccessRecord, _ service: LogService, in arena: Arena
    ) -> UnsafeMutablePointer<HTTPRequestProperties> {
        let head = record.request
        let received = record.bytesReceived
        return arena.make(HTTPRequestProperties.self) { request in
            func text(_ name: StaticString) -> UnsafeMutablePointer<CChar>? { head[name].map { arena($0.printable) } }
            request.request_method = method(head)
            if let scheme = text(":scheme") { request.scheme = scheme }
            if let authority = text(":authority") { request.authority = authority }
            if let path = text(":path") { request.path = path }
            if let agent = text("user-agent") { request.user_agent = agent }
            if let referer = text("referer") { request.referer = referer }
            if let forwarded = text("x-forwarded-for") { request.forwarded_for = forwarded }
            if let id = text("x-request-id") { request.request_id = id }
            if let original = text("x-envoy-original-path") { request.original_path = original }
            request.request_headers_bytes = size(head)
            request.request_body_bytes = received
            (request.n_request_headers, request.request_headers) = arena.list(
                chosen(service.requestHeaders, of: head).map { name, value in
                    arena.make(HTTPRequestPropertiesRequestHeadersEntry.self) {
                        $0.set(key: arena(name.printable), value: arena(value.printable))
                    }
                })
        }
    }

    private static func response(
        _ record: AccessRecord, _ service: LogService, in arena: Arena
    ) -> UnsafeMutablePointer<HTTPResponseProperties> {
        let (head, trailers, sent) = (record.response, record.trailers, record.bytesSent)
        let (status, details) = (record.status, record.details)
        return arena.make(HTTPResponseProperties.self) { response in
            if status > 0 { response.response_code = arena.make { $0.value = UInt32(clamping: status) } }
            response.response_headers_bytes = size(head)
            response.response_body_bytes = sent
            if !details.isEmpty { response.response_code_details = arena(details.printable) }
            (response.n_response_headers, response.response_headers) = arena.list(
                chosen(service.responseHeaders, of: head).map { name, value in
                    arena.make(HTTPResponsePropertiesResponseHeadersEntry.self) {
                        $0.set(key: arena(name.printable), value: arena(value.printable))
                    }
                })
            (response.n_response_trailers, response.response_trailers) = arena.list(
                chosen(service.trailers, of: trailers ?? HeaderList()).map { name, value in
                    arena.make(HTTPResponsePropertiesResponseTrailersEntry.self) {
                        $0.set(key: arena(name.printable), value: arena(value.printable))
                    }
                })
        }
    }

    private static func method(_ head: HeaderList) -> RequestMethod {
        switch head[":method"] {
        case "GET": .GET
        case "HEAD": .HEAD
        case "POST": .POST
        case "PUT": .PUT
        case "DELETE": .DELETE
        case "CONNECT": .CONNECT
        case "OPTIONS": .OPTIONS
        case "TRACE": .TRACE
        case "PATCH": .PATCH
        default: .METHOD_UNSPECIFIED
        }
    }

    /// As Envoy counts: names and values.
    private static func size(_ list: HeaderList) -> UInt64 { UInt64(list.listSize - list.count * 32) }

    private static func chosen(_ names: [String], of list: HeaderList) -> [(name: String, value: String)] {
        names.compactMap { name in
            Array(name.utf8).withUnsafeBytes { list.joinedValue(ofBytes: $0) }
                .map { (name, String(decoding: $0, as: UTF8.self)) }
        }
    }
}

extension [UInt8] {
    /// Appends a field of bytes, text or a message. Source: Protocol Buffers, "Encoding".
    mutating func appendField(_ number: UInt8, _ bytes: [UInt8]) {
        append(number << 3 | 2)
        var length = bytes.count
        while length >= 0x80 {
            append(UInt8(length & 0x7f) | 0x80)
            length >>= 7
        }
        append(UInt8(length))
        append(contentsOf: bytes)
    }
}
