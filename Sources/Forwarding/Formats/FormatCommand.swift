import HTTP
import Time

/// A command of a format, compiled: `REQ(X?Y):10`. What cannot be known here is refused: of Envoy's, what asks for
/// filter state, the environment, other certificates than the peer's own, bytes on the wire and hosts tried before.
/// Source: Envoy, "Substitution Formatter".
struct FormatCommand: Sendable, Equatable {
    enum Moment: Sendable, Equatable {
        case requestBegan, requestEnded, sendingBegan, sendingEnded, responseBegan, responseEnded, replyBegan, ended
    }

    enum Unit: Int64, Sendable {
        case milliseconds = 1_000_000
        case microseconds = 1_000
        case nanoseconds = 1
    }

    enum Place: Sendable { case remote, directRemote, local, upstream, upstreamLocal }

    /// Whose metadata.
    enum Owner: Sendable { case request, route, host }

    enum Form: Sendable { case whole, withoutPort, port }

    enum StatusForm: Sendable { case camel, snake, number }

    enum List: Sendable { case request, response, trailers }

    enum Kind: Sendable, Equatable {
        case field(List, name: [UInt8], other: [UInt8]?)
        /// A format of strftime; empty: RFC 3339 with milliseconds.
        case startTime(String)
        case emitTime(String)
        case duration(Moment, Moment, Unit)
        case bytesReceived, bytesSent, responseCode, attempts, connectionNumber
        case address(Place, Form)
        case details(keepsSpaces: Bool)
        case terminationDetails, flags, longFlags, protocolName, upstreamProtocolName, cluster, routeName, virtualHost
        case serverName, hostName, transportFailure, traceID, logType, requestID
        case peerURIs, peerNames, peerSubject, peerSerial, peerFingerprint, peerCertificate
        case localURI, tlsVersion, tlsCipher
        case upstreamName(withPort: Bool)
        /// Bytes of names and values.
        case headBytes(List)
        case grpcStatus(StatusForm)
        /// Without a path: all of the filter's.
        case metadata(Owner, filter: String, path: [String])
        case path(keepsQuery: Bool, original: Bool)
        case queryParameter([UInt8])
    }

    var kind: Kind
    /// The most bytes of the value; nil: all.
    var limit: Int?

    /// Whether the value is a number in JSON.
    var isNumber: Bool {
        switch kind {
        case .duration, .bytesReceived, .bytesSent, .responseCode, .attempts, .connectionNumber, .address(_, .port),
            .grpcStatus(.number), .headBytes:
            true
        default: false
        }
    }

    // MARK: Reading

    /// - Parameter words: what stands between the signs: `REQ(X?Y):10`.
    init(_ words: Substring, in text: String) throws(ConfigurationError) {
        func refuse(_ why: String) -> ConfigurationError {
            .unsupported(path: "", message: "the command %\(words)% of `\(text)` \(why)")
        }
        var name = words
        var argument: String?
        var rest = Substring()
        if let open = words.firstIndex(of: "("), let close = words.lastIndex(of: ")"), open < close {
            name = words[..<open]
            argument = String(words[words.index(after: open)..<close])
            rest = words[words.index(after: close)...]
        } else if let colon = words.firstIndex(of: ":") {
            (name, rest) = (words[..<colon], words[colon...])
        }
        if !rest.isEmpty {
            guard rest.first == ":", let limit = Int(rest.dropFirst()), limit >= 0 else {
                throw refuse("has a length that is no number")
            }
            self.limit = limit
        }
        guard let kind = argument.map({ Self.kind(String(name), $0) }) ?? Self.kind(String(name)) else {
            throw refuse("is not supported")
        }
        self.kind = kind
    }

    private static let plain: [String: Kind] = [
        "START_TIME": .startTime(""), "EMIT_TIME": .emitTime(""),
        "DURATION": .duration(.requestBegan, .ended, .milliseconds),
        "REQUEST_DURATION": .duration(.requestBegan, .requestEnded, .milliseconds),
        "REQUEST_TX_DURATION": .duration(.requestBegan, .sendingEnded, .milliseconds),
        "RESPONSE_DURATION": .duration(.requestBegan, .responseBegan, .milliseconds),
        "RESPONSE_TX_DURATION": .duration(.responseBegan, .ended, .milliseconds),
        "BYTES_RECEIVED": .bytesReceived, "BYTES_SENT": .bytesSent, "RESPONSE_CODE": .responseCode,
        "RESPONSE_CODE_DETAILS": .details(keepsSpaces: false), "CONNECTION_TERMINATION_DETAILS": .terminationDetails,
        "RESPONSE_FLAGS": .flags, "RESPONSE_FLAGS_LONG": .longFlags, "PROTOCOL": .protocolName,
        "UPSTREAM_PROTOCOL": .upstreamProtocolName, "UPSTREAM_REQUEST_ATTEMPT_COUNT": .attempts,
        "UPSTREAM_CLUSTER": .cluster, "UPSTREAM_CLUSTER_RAW": .cluster,
        "UPSTREAM_TRANSPORT_FAILURE_REASON": .transportFailure, "ROUTE_NAME": .routeName,
        "VIRTUAL_HOST_NAME": .virtualHost, "REQUESTED_SERVER_NAME": .serverName, "HOSTNAME": .hostName,
        "TRACE_ID": .traceID, "ACCESS_LOG_TYPE": .logType, "CONNECTION_ID": .connectionNumber, "STREAM_ID": .requestID,
        "DOWNSTREAM_PEER_URI_SAN": .peerURIs, "DOWNSTREAM_PEER_DNS_SAN": .peerNames,
        "DOWNSTREAM_PEER_SUBJECT": .peerSubject, "DOWNSTREAM_PEER_SERIAL": .peerSerial,
        "DOWNSTREAM_PEER_FINGERPRINT_256": .peerFingerprint, "DOWNSTREAM_PEER_CERT": .peerCertificate,
        "DOWNSTREAM_LOCAL_URI_SAN": .localURI,
        "DOWNSTREAM_TLS_VERSION": .tlsVersion, "DOWNSTREAM_TLS_CIPHER": .tlsCipher,
        "GRPC_STATUS": .grpcStatus(.camel), "GRPC_STATUS_NUMBER": .grpcStatus(.number),
        "PATH": .path(keepsQuery: true, original: true),
        "DOWNSTREAM_REMOTE_ADDRESS": .address(.remote, .whole),
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": .address(.remote, .withoutPort),
        "DOWNSTREAM_REMOTE_PORT": .address(.remote, .port),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": .address(.directRemote, .whole),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": .address(.directRemote, .withoutPort),
        "DOWNSTREAM_DIRECT_REMOTE_PORT": .address(.directRemote, .port),
        "DOWNSTREAM_LOCAL_ADDRESS": .address(.local, .whole),
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": .address(.local, .withoutPort),
        "DOWNSTREAM_LOCAL_PORT": .address(.local, .port),
        "UPSTREAM_HOST": .address(.upstream, .whole), "UPSTREAM_REMOTE_ADDRESS": .address(.upstream, .whole),
        "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": .address(.upstream, .withoutPort),
        "UPSTREAM_REMOTE_PORT": .address(.upstream, .port),
        "UPSTREAM_HOST_NAME": .upstreamName(withPort: true),
        "UPSTREAM_HOST_NAME_WITHOUT_PORT": .upstreamName(withPort: false),
        "REQUEST_HEADERS_BYTES": .headBytes(.request), "RESPONSE_HEADERS_BYTES": .headBytes(.response),
        "RESPONSE_TRAILERS_BYTES": .headBytes(.trailers),
        "UPSTREAM_LOCAL_ADDRESS": .address(.upstreamLocal, .whole),
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": .address(.upstreamLocal, .withoutPort),
        "UPSTREAM_LOCAL_PORT": .address(.upstreamLocal, .port),
    ]

    private static func kind(_ name: String) -> Kind? { plain[name] }

    private static func kind(_ name: String, _ argument: String) -> Kind? {
        switch name {
        case "REQ": return fields(argument).map { .field(.request, name: alias($0), other: $1.map(alias)) }
        case "RESP": return fields(argument).map { .field(.response, name: $0, other: $1) }
        case "TRAILER": return fields(argument).map { .field(.trailers, name: $0, other: $1) }
        case "START_TIME": return .startTime(argument)
        case "EMIT_TIME": return .emitTime(argument)
        case "RESPONSE_CODE_DETAILS":
            return argument.isEmpty || argument == "ALLOW_WHITESPACES" ? .details(keepsSpaces: !argument.isEmpty) : nil
        case "COMMON_DURATION": return duration(argument)
        case "GRPC_STATUS":
            switch argument {
            case "", "CAMEL_STRING": return .grpcStatus(.camel)
            case "SNAKE_STRING": return .grpcStatus(.snake)
            case "NUMBER": return .grpcStatus(.number)
            default: return nil
            }
        case "DYNAMIC_METADATA": return metadata(.request, argument[...])
        case "UPSTREAM_METADATA": return metadata(.host, argument[...])
        case "METADATA":
            guard let colon = argument.firstIndex(of: ":"), let owner = owners[argument[..<colon]] else { return nil }
            return metadata(owner, argument[argument.index(after: colon)...])
        case "PATH":
            let words = argument.split(separator: ":", omittingEmptySubsequences: false)
            guard words.count <= 2, ["", "WQ", "NQ"].contains(words.first ?? "") else { return nil }
            switch words.count == 2 ? words[1] : "" {
            case "", "ORIG_OR_PATH": return .path(keepsQuery: words.first != "NQ", original: true)
            case "PATH": return .path(keepsQuery: words.first != "NQ", original: false)
            default: return nil
            }
        case "QUERY_PARAM": return argument.isEmpty ? nil : .queryParameter(Array(argument.utf8))
        // Commands that take no argument may be written with empty parentheses.
        default: return argument.isEmpty ? plain[name] : nil
        }
    }

    private static let owners: [Substring: Owner] = ["DYNAMIC": .request, "ROUTE": .route, "UPSTREAM_HOST": .host]

    private static func metadata(_ owner: Owner, _ argument: Substring) -> Kind? {
        let path = argument.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard path.allSatisfy({ !$0.isEmpty }) else { return nil }
        return .metadata(owner, filter: path[0], path: Array(path.dropFirst()))
    }

    private static func fields(_ argument: String) -> (name: [UInt8], other: [UInt8]?)? {
        let names = argument.split(separator: "?", omittingEmptySubsequences: false)
        guard (1...2).contains(names.count), !names[0].isEmpty else { return nil }
        let other = names.count == 2 && !names[1].isEmpty ? names[1].utf8.map(\.lowerCased) : nil
        return (names[0].utf8.map(\.lowerCased), other)
    }

    /// Whatever the protocol, the host is in the pseudo-header.
    private static func alias(_ name: [UInt8]) -> [UInt8] {
        name == Array("host".utf8) ? Array(":authority".utf8) : name
    }

    private static let moments: [Substring: Moment] = [
        "DS_RX_BEG": .requestBegan, "DS_RX_END": .requestEnded, "US_TX_BEG": .sendingBegan, "US_TX_END": .sendingEnded,
        "US_RX_BEG": .responseBegan, "US_RX_END": .responseEnded, "DS_TX_BEG": .replyBegan, "DS_TX_END": .ended,
    ]

    private static func duration(_ argument: String) -> Kind? {
        let words = argument.split(separator: ":")
        guard (2...3).contains(words.count), let first = moments[words[0]], let last = moments[words[1]] else {
            return nil
        }
        switch words.count == 3 ? words[2] : "ms" {
        case "ms": return .duration(first, last, .milliseconds)
        case "us": return .duration(first, last, .microseconds)
        case "ns": return .duration(first, last, .nanoseconds)
        default: return nil
        }
    }
}
