import Addresses
import EnvoyAPI
import HTTP
import Time

/// What is kept from one record to the next: the clock's text of the second that is written now.
public struct FormatScratch: Sendable {
    fileprivate var second = Int64.min
    fileprivate var secondText: [UInt8] = []
    /// When lines are written.
    public var now: Timestamp

    public init(now: Timestamp = Timestamp(nanoseconds: 0)) { self.now = now }
}

extension FormatCommand {
    /// Appends the value of a record.
    /// - Returns: whether there is one; if not, nothing is appended.
    func append(_ record: AccessRecord, _ scratch: inout FormatScratch, to output: inout [UInt8]) -> Bool {
        let start = output.count
        guard appendWhole(record, &scratch, to: &output) else { return false }
        if let limit, output.count - start > limit { output.removeLast(output.count - start - limit) }
        return true
    }

    private func appendWhole(
        _ record: AccessRecord, _ scratch: inout FormatScratch, to output: inout [UInt8]
    ) -> Bool {
        switch kind {
        case .field(.request, let name, let other): return Self.append(record.request, name, other, to: &output)
        case .field(.response, let name, let other): return Self.append(record.response, name, other, to: &output)
        case .field(.trailers, let name, let other):
            guard let trailers = record.trailers else { return false }
            return Self.append(trailers, name, other, to: &output)
        case .startTime(let format): return Self.append(record.start, format, &scratch, to: &output)
        case .emitTime(let format): return Self.append(scratch.now, format, &scratch, to: &output)
        case .duration(let first, let last, let unit):
            guard let first = first.instant(of: record), let last = last.instant(of: record), first <= last else {
                return false
            }
            output.append(decimal: UInt64(last.nanoseconds - first.nanoseconds) / UInt64(unit.rawValue))
            return true
        case .bytesReceived: return Self.append(record.bytesReceived, to: &output)
        case .bytesSent: return Self.append(record.bytesSent, to: &output)
        case .responseCode: return Self.append(UInt64(record.status), to: &output)
        case .attempts: return Self.append(UInt64(record.attempts), to: &output)
        case .connectionNumber: return Self.append(record.connectionNumber, to: &output)
        case .address(let place, let form): return Self.append(place.address(of: record), form, to: &output)
        case .details(let keepsSpaces):
            return Self.append(record.details, underscores: !keepsSpaces, to: &output)
        case .terminationDetails: return Self.append(record.terminationDetails, to: &output)
        // That there are none is said wherever it is asked for, as Envoy does.
        case .flags: return Self.append(record.flags.isEmpty ? "-" : record.flags.text, to: &output)
        case .longFlags: return Self.append(record.flags.isEmpty ? "-" : record.flags.longText, to: &output)
        case .protocolName: return Self.append(record.protocolName, to: &output)
        case .upstreamProtocolName: return Self.append(record.upstreamProtocolName, to: &output)
        case .cluster: return Self.append(record.cluster, to: &output)
        case .routeName: return Self.append(record.routeName, to: &output)
        case .virtualHost: return Self.append(record.virtualHost, to: &output)
        case .serverName: return Self.append(record.connection.serverName ?? "", to: &output)
        case .hostName: return Self.append(record.hostName, to: &output)
        case .transportFailure: return Self.append(record.transportFailure, underscores: true, to: &output)
        case .traceID:
            guard let trace = record.trace else { return false }
            output += trace.traceID
            return true
        case .logType:
            return Self.append(record.kind == .request ? "DownstreamEnd" : "TcpConnectionEnd", to: &output)
        case .requestID: return Self.append(record.request, "x-request-id", to: &output)
        case .peerURIs: return Self.append(list: record.connection.peer?.uriNames, to: &output)
        case .peerNames: return Self.append(list: record.connection.peer?.dnsNames, to: &output)
        case .peerSubject: return Self.append(record.connection.peer?.subject ?? "", to: &output)
        case .peerSerial: return Self.append(record.connection.peer?.serial ?? "", to: &output)
        case .peerFingerprint: return Self.append(record.connection.peer?.fingerprint ?? "", to: &output)
        case .peerCertificate: return Self.append(record.connection.peer?.encodedPEM ?? "", to: &output)
        case .upstreamName(let withPort):
            return Self.append(record.upstreamName, record.upstream, withPort: withPort, to: &output)
        case .headBytes(.request): return Self.append(bytesOf: record.request, to: &output)
        case .headBytes(.response): return Self.append(bytesOf: record.response, to: &output)
        case .headBytes(.trailers): return Self.append(bytesOf: record.trailers ?? HeaderList(), to: &output)
        case .localURI: return Self.append(record.session.localURI, to: &output)
        case .tlsVersion: return Self.append(record.session.version, to: &output)
        case .tlsCipher: return Self.append(record.session.cipher, to: &output)
        case .grpcStatus(let form):
            guard let status = record.grpcStatus else { return false }
            return Self.append(GRPCStatusName.text(status, form), to: &output)
        case .metadata(let owner, let filter, let path):
            let metadata = owner.metadata(of: record)
            let value = path.isEmpty ? metadata[filter].map { .object($0) } : metadata.value(filter, at: path)
            guard let value else { return false }
            output += value.plainText.utf8
            return true
        case .path(let keepsQuery, let original):
            return Self.appendPath(record, keepsQuery: keepsQuery, original: original, to: &output)
        case .queryParameter(let name): return Self.append(parameter: name, of: record, to: &output)
        }
    }

    // MARK: Kinds of values

    @inline(__always)
    private static func append(_ number: UInt64, to output: inout [UInt8]) -> Bool {
        output.append(decimal: number)
        return true
    }

    @inline(__always)
    private static func append(
        _ text: String, underscores: Bool = false, to output: inout [UInt8]
    ) -> Bool {
        if text.isEmpty { return false }
        let start = output.count
        output.append(contentsOf: text.utf8)
        if underscores {
            for index in start..<output.count where output[index] == 0x20 { output[index] = UInt8(ascii: "_") }
        }
        return true
    }

    /// The name of a host, or else its address.
    private static func append(
        _ name: String, _ address: NetworkAddress?, withPort: Bool, to output: inout [UInt8]
    ) -> Bool {
        guard !name.isEmpty else { return append(address, withPort ? .whole : .withoutPort, to: &output) }
        let colon = withPort ? nil : name.lastIndex(of: ":")
        return append(String(name[..<(colon ?? name.endIndex)]), to: &output)
    }

    private static func append(bytesOf list: HeaderList, to output: inout [UInt8]) -> Bool {
        var count = 0
        list.forEachField { name, value in count += name.count + value.count }
        return append(UInt64(count), to: &output)
    }

    private static func append(list: [String]?, to output: inout [UInt8]) -> Bool {
        guard let list, !list.isEmpty else { return false }
        return append(list.joined(separator: ","), to: &output)
    }

    /// The first of both fields that is there.
    private static func append(
        _ list: HeaderList, _ name: [UInt8], _ other: [UInt8]?, to output: inout [UInt8]
    ) -> Bool {
        if append(list, name, to: &output) { return true }
        return other.map { append(list, $0, to: &output) } ?? false
    }

    private static func append(_ list: HeaderList, _ name: [UInt8], to output: inout [UInt8]) -> Bool {
        name.withUnsafeBytes { name in
            list.withValue(ofBytes: name) { value in
                output.append(contentsOf: value)
                return true
            } ?? false
        }
    }

    private static func append(_ list: HeaderList, _ name: StaticString, to output: inout [UInt8]) -> Bool {
        list.withValue(of: name) { value in
            output.append(contentsOf: value)
            return true
        } ?? false
    }

    private static func append(_ address: NetworkAddress?, _ form: Form, to output: inout [UInt8]) -> Bool {
        guard let address else { return false }
        switch (form, address) {
        case (.whole, .ip(let ip, let port)):
            if ip.isIPv4 {
                append(ipv4: ip, to: &output)
            } else {
                output += "[\(ip)]".utf8
            }
            output.append(UInt8(ascii: ":"))
            output.append(decimal: UInt64(port))
        case (.withoutPort, .ip(let ip, _)):
            if ip.isIPv4 { append(ipv4: ip, to: &output) } else { output += "\(ip)".utf8 }
        case (.port, .ip(_, let port)): output.append(decimal: UInt64(port))
        case (.whole, .pipe(let path)), (.withoutPort, .pipe(let path)): output += path.utf8
        case (.port, .pipe): return false
        }
        return true
    }

    private static func append(ipv4 ip: IPAddress, to output: inout [UInt8]) {
        for shift in stride(from: 24, through: 0, by: -8) {
            output.append(decimal: ip.low >> UInt64(shift) & 0xFF)
            if shift > 0 { output.append(UInt8(ascii: ".")) }
        }
    }

    private static func append(
        _ time: Timestamp, _ format: String, _ scratch: inout FormatScratch, to output: inout [UInt8]
    ) -> Bool {
        guard format.isEmpty else { return append(time.formatted(format), to: &output) }
        // Lines of one second share all but the milliseconds.
        let second = time.seconds
        if second != scratch.second {
            (scratch.second, scratch.secondText) = (second, Array(time.formatted("%Y-%m-%dT%H:%M:%S.").utf8))
        }
        output.append(contentsOf: scratch.secondText)
        let milliseconds = (time.nanoseconds - second * 1_000_000_000) / 1_000_000
        output.append(0x30 + UInt8(milliseconds / 100))
        output.append(0x30 + UInt8(milliseconds / 10 % 10))
        output.append(0x30 + UInt8(milliseconds % 10))
        output.append(UInt8(ascii: "Z"))
        return true
    }

    private static func appendPath(
        _ record: AccessRecord, keepsQuery: Bool, original: Bool, to output: inout [UInt8]
    ) -> Bool {
        let start = output.count
        guard
            original && append(record.request, "x-envoy-original-path", to: &output)
                || append(record.request, ":path", to: &output)
        else { return false }
        if !keepsQuery, let mark = output[start...].firstIndex(of: UInt8(ascii: "?")) {
            output.removeLast(output.count - mark)
        }
        return true
    }

    private static func append(
        parameter name: [UInt8], of record: AccessRecord, to output: inout [UInt8]
    ) -> Bool {
        record.request.withValue(of: ":path") { path in
            guard let value = QueryParameters(path).first(name) else { return false }
            output += percentDecoded(value)
            return true
        } ?? false
    }
}

extension FormatCommand.Moment {
    fileprivate func instant(of record: AccessRecord) -> Instant? {
        switch self {
        case .requestBegan: record.began
        case .requestEnded: record.requestEnded
        case .sendingBegan: record.sendingBegan
        case .sendingEnded: record.sendingEnded
        case .responseBegan: record.responseBegan
        case .responseEnded: record.responseEnded
        case .replyBegan: record.replyBegan
        case .ended: record.ended
        }
    }
}

extension FormatCommand.Owner {
    fileprivate func metadata(of record: AccessRecord) -> FilterMetadata {
        switch self {
        case .request: record.metadata
        case .route: record.routeMetadata
        case .host: record.upstreamMetadata
        }
    }
}

extension FormatCommand.Place {
    fileprivate func address(of record: AccessRecord) -> NetworkAddress? {
        switch self {
        case .remote: record.remote
        case .directRemote: record.connection.directSource
        case .local: record.connection.destination
        case .upstream: record.upstream
        case .upstreamLocal: record.upstreamLocal
        }
    }
}

/// Source: grpc, "Status codes and their use in gRPC".
enum GRPCStatusName {
    private static let names = [
        ("OK", "OK"), ("Canceled", "CANCELLED"), ("Unknown", "UNKNOWN"), ("InvalidArgument", "INVALID_ARGUMENT"),
        ("DeadlineExceeded", "DEADLINE_EXCEEDED"), ("NotFound", "NOT_FOUND"), ("AlreadyExists", "ALREADY_EXISTS"),
        ("PermissionDenied", "PERMISSION_DENIED"), ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
        ("FailedPrecondition", "FAILED_PRECONDITION"), ("Aborted", "ABORTED"), ("OutOfRange", "OUT_OF_RANGE"),
        ("Unimplemented", "UNIMPLEMENTED"), ("Internal", "INTERNAL"), ("Unavailable", "UNAVAILABLE"),
        ("DataLoss", "DATA_LOSS"), ("Unauthenticated", "UNAUTHENTICATED"),
    ]

    static func text(_ status: Int, _ form: FormatCommand.StatusForm) -> String {
        guard names.indices.contains(status) else { return form == .number ? "\(status)" : "InvalidCode" }
        return switch form {
        case .camel: names[status].0
        case .snake: names[status].1
        case .number: "\(status)"
        }
    }
}

extension [UInt8] {
    /// Appends a number in decimal digits.
    mutating func append(decimal number: UInt64) {
        var divisor: UInt64 = 1
        while number / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            append(0x30 + UInt8(number / divisor % 10))
            divisor /= 10
        }
    }
}
