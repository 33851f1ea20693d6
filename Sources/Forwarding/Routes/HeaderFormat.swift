import EnvoyAPI
import HTTP
import Time

/// What the formats of header values may ask for.
public struct HeaderFacts: Sendable {
    public var connection: ConnectionFacts
    /// Who called, as far as the connection manager believes `x-forwarded-for`.
    public var remote: NetworkAddress
    /// As it came, with what was changed so far.
    public var request: HeaderList
    /// Nil: it has not come yet.
    public var response: HeaderList?
    /// When the request's head came.
    public var start: Timestamp
    /// `HTTP/1.1`, `HTTP/2`.
    public var protocolName: String
    public var routeName: String
    public var virtualHost: String
    public var cluster: String
    public var upstream: NetworkAddress?
    public var metadata: FilterMetadata
    /// Of this machine.
    public var hostName: String
    /// Of the upstream's response; 0 before it has come, and for answers of the route itself.
    public internal(set) var status = 0

    public init(
        connection: ConnectionFacts, request: HeaderList, start: Timestamp, protocolName: String = "HTTP/1.1",
        remote: NetworkAddress? = nil, response: HeaderList? = nil, routeName: String = "", virtualHost: String = "",
        cluster: String = "", upstream: NetworkAddress? = nil, metadata: FilterMetadata = FilterMetadata(),
        hostName: String = ""
    ) {
        (self.connection, self.request, self.start, self.protocolName) = (connection, request, start, protocolName)
        (self.remote, self.response, self.routeName) = (remote ?? connection.source, response, routeName)
        (self.virtualHost, self.cluster, self.upstream) = (virtualHost, cluster, upstream)
        (self.metadata, self.hostName) = (metadata, hostName)
    }
}

/// A header's value with `%COMMANDS%` in it, compiled. What is not known is left out.
/// Source: Envoy, "Custom request/response headers", "Access logging", command operators.
public struct HeaderFormat: Sendable {
    indirect enum Part: Sendable, Equatable {
        case text([UInt8])
        case request(name: [UInt8], other: [UInt8]?)
        case response(name: [UInt8], other: [UInt8]?)
        case remoteAddress(AddressForm)
        case directRemoteAddress(AddressForm)
        case localAddress(AddressForm)
        case upstreamAddress(AddressForm)
        /// A format of strftime; empty: RFC 3339 with milliseconds.
        case startTime(String)
        case protocolName, requestedServerName, routeName, virtualHost, cluster, hostName, responseCode
        case peerURIs, peerNames, peerSubject, peerSerial, peerFingerprint, peerCertificate
        case metadata(filter: String, path: [String])
        /// At most so many bytes.
        case cut(Part, Int)
    }

    enum AddressForm: Sendable { case whole, withoutPort, port }

    let parts: [Part]

    /// Whether the value is the same for every request.
    public var isConstant: Bool {
        parts.allSatisfy { if case .text = $0 { true } else { false } }
    }

    public init(_ text: String) throws(ConfigurationError) {
        var parts: [Part] = []
        var literal: [UInt8] = []
        var rest = text[...]
        while let sign = rest.firstIndex(of: "%") {
            literal += rest[..<sign].utf8
            rest = rest[rest.index(after: sign)...]
            if rest.first == "%" {
                literal.append(UInt8(ascii: "%"))
                rest = rest.dropFirst()
                continue
            }
            if !literal.isEmpty { parts.append(.text(literal)) }
            literal = []
            // The argument may hold the sign: %START_TIME(%Y)%.
            var end = rest.firstIndex(of: "%")
            if let open = rest.firstIndex(of: "("), let sign = end, open < sign {
                end = rest.firstIndex(of: ")").flatMap { rest[$0...].firstIndex(of: "%") }
            }
            guard let end else {
                throw .invalid(path: "", message: "`\(text)` has a % without an end (write %% for one)")
            }
            parts.append(try Self.command(rest[..<end], in: text))
            rest = rest[rest.index(after: end)...]
        }
        literal += rest.utf8
        if !literal.isEmpty { parts.append(.text(literal)) }
        self.parts = parts
    }

    private static func command(_ words: Substring, in text: String) throws(ConfigurationError) -> Part {
        func refuse() -> ConfigurationError {
            .unsupported(path: "", message: "the command %\(words)% of `\(text)` is not supported")
        }
        var name = words
        var argument: Substring?
        var limit: Int?
        if let open = words.firstIndex(of: "("), let close = words.lastIndex(of: ")"), open < close {
            name = words[..<open]
            argument = words[words.index(after: open)..<close]
            let rest = words[words.index(after: close)...]
            if rest.hasPrefix(":") { limit = Int(rest.dropFirst()) }
            if !rest.isEmpty, limit == nil { throw refuse() }
        } else if let colon = words.firstIndex(of: ":") {
            name = words[..<colon]
            limit = Int(words[words.index(after: colon)...])
            if limit == nil { throw refuse() }
        }
        guard let part = part(String(name), argument.map(String.init)) else { throw refuse() }
        return limit.map { .cut(part, max(0, $0)) } ?? part
    }

    private static func part(_ name: String, _ argument: String?) -> Part? {
        if let argument { return part(name, argument) }
        return switch name {
        case "DOWNSTREAM_REMOTE_ADDRESS": .remoteAddress(.whole)
        case "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": .remoteAddress(.withoutPort)
        case "DOWNSTREAM_REMOTE_PORT": .remoteAddress(.port)
        case "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": .directRemoteAddress(.whole)
        case "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": .directRemoteAddress(.withoutPort)
        case "DOWNSTREAM_DIRECT_REMOTE_PORT": .directRemoteAddress(.port)
        case "DOWNSTREAM_LOCAL_ADDRESS": .localAddress(.whole)
        case "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": .localAddress(.withoutPort)
        case "DOWNSTREAM_LOCAL_PORT": .localAddress(.port)
        case "UPSTREAM_HOST", "UPSTREAM_REMOTE_ADDRESS": .upstreamAddress(.whole)
        case "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": .upstreamAddress(.withoutPort)
        case "UPSTREAM_REMOTE_PORT": .upstreamAddress(.port)
        case "START_TIME": .startTime("")
        case "PROTOCOL": .protocolName
        case "REQUESTED_SERVER_NAME": .requestedServerName
        case "ROUTE_NAME": .routeName
        case "VIRTUAL_CLUSTER_NAME": nil
        case "UPSTREAM_CLUSTER", "UPSTREAM_CLUSTER_RAW": .cluster
        case "HOSTNAME": .hostName
        case "RESPONSE_CODE": .responseCode
        case "DOWNSTREAM_PEER_URI_SAN": .peerURIs
        case "DOWNSTREAM_PEER_DNS_SAN": .peerNames
        case "DOWNSTREAM_PEER_SUBJECT": .peerSubject
        case "DOWNSTREAM_PEER_SERIAL": .peerSerial
        case "DOWNSTREAM_PEER_FINGERPRINT_256": .peerFingerprint
        case "DOWNSTREAM_PEER_CERT": .peerCertificate
        default: nil
        }
    }

    private static func part(_ name: String, _ argument: String) -> Part? {
        func headers() -> (name: [UInt8], other: [UInt8]?)? {
            let names = argument.split(separator: "?", omittingEmptySubsequences: false)
            guard (1...2).contains(names.count), let first = names.first, !first.isEmpty else { return nil }
            return (first.utf8.map(\.lowerCased), names.count == 2 ? names[1].utf8.map(\.lowerCased) : nil)
        }
        switch name {
        case "REQ": return headers().map { .request(name: $0.name, other: $0.other) }
        case "RESP": return headers().map { .response(name: $0.name, other: $0.other) }
        case "START_TIME": return .startTime(argument)
        case "DYNAMIC_METADATA":
            let path = argument.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
            return path.count < 2 ? nil : .metadata(filter: path[0], path: Array(path.dropFirst()))
        default: return nil
        }
    }

    /// The value for one request. Control characters of what it is made from (a claim of a token, the path of a socket)
    /// are left out: they would end the field.
    public func value(_ facts: HeaderFacts) -> [UInt8] {
        var value: [UInt8] = []
        for part in parts { Self.append(part, facts, to: &value) }
        if !FieldText.isValue(value) { value.removeAll { !FieldText.isOfValue($0) } }
        return value
    }

    /// The value if it is the same for every request.
    var constant: [UInt8]? {
        guard isConstant else { return nil }
        return parts.reduce(into: []) { if case .text(let text) = $1 { $0 += text } }
    }

    private static func append(_ part: Part, _ facts: HeaderFacts, to value: inout [UInt8]) {
        func add(_ address: NetworkAddress?, _ form: AddressForm) {
            guard let address else { return }
            switch (form, address) {
            case (.whole, _), (.withoutPort, .pipe): value += "\(address)".utf8
            case (.withoutPort, .ip(let ip, _)): value += "\(ip)".utf8
            case (.port, .ip(_, let port)): value += "\(port)".utf8
            case (.port, .pipe): break
            }
        }
        func add(_ head: HeaderList?, _ name: [UInt8], _ other: [UInt8]?) {
            for name in [name, other ?? []] where !name.isEmpty {
                if name.withUnsafeBytes({ head?.withValue(ofBytes: $0) { value += $0 } }) != nil { return }
            }
        }
        let peer = facts.connection.peer
        switch part {
        case .text(let text): value += text
        case .request(let name, let other): add(facts.request, name, other)
        case .response(let name, let other): add(facts.response, name, other)
        case .remoteAddress(let form): add(facts.remote, form)
        case .directRemoteAddress(let form): add(facts.connection.directSource, form)
        case .localAddress(let form): add(facts.connection.destination, form)
        case .upstreamAddress(let form): add(facts.upstream, form)
        case .startTime(let format): value += facts.start.formatted(format).utf8
        case .protocolName: value += facts.protocolName.utf8
        case .requestedServerName: value += (facts.connection.serverName ?? "").utf8
        case .routeName: value += facts.routeName.utf8
        case .virtualHost: value += facts.virtualHost.utf8
        case .cluster: value += facts.cluster.utf8
        case .hostName: value += facts.hostName.utf8
        case .responseCode: value += "\(facts.status)".utf8
        case .peerURIs: value += (peer?.uriNames.joined(separator: ",") ?? "").utf8
        case .peerNames: value += (peer?.dnsNames.joined(separator: ",") ?? "").utf8
        case .peerSubject: value += (peer?.subject ?? "").utf8
        case .peerSerial: value += (peer?.serial ?? "").utf8
        case .peerFingerprint: value += (peer?.fingerprint ?? "").utf8
        case .peerCertificate: value += (peer?.encodedPEM ?? "").utf8
        case .metadata(let filter, let path):
            if let found = facts.metadata.value(filter, at: path) { value += found.plainText.utf8 }
        case .cut(let part, let limit):
            let start = value.count
            append(part, facts, to: &value)
            value.removeLast(max(0, value.count - start - limit))
        }
    }
}

extension StructureValue {
    /// A text as it is, others as JSON.
    var plainText: String {
        if case .string(let text) = self { text } else { json }
    }

    var json: String {
        switch self {
        case .null: "null"
        case .bool(let flag): flag ? "true" : "false"
        case .number(let number):
            number == number.rounded() && abs(number) < 1e15 ? "\(Int64(number))" : "\(number)"
        case .string(let text): Self.quoted(text)
        case .list(let items): "[" + items.map(\.json).joined(separator: ",") + "]"
        case .object(let fields):
            "{" + fields.map { Self.quoted($0.name) + ":" + $0.value.json }.joined(separator: ",") + "}"
        }
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where scalar.value < 0x20:
                let hex = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

extension Timestamp {
    /// - Parameter format: of strftime, with `%f` (and `%3f`) for fractions of a second, `%s` for Unix seconds; empty:
    ///   `2026-11-23T16:39:51.123Z`. UTC. Source: Envoy, `START_TIME`.
    func formatted(_ format: String) -> String {
        let (days, second) = seconds.quotientAndRemainder(flooringBy: 86_400)
        let date = CivilDate(day: days)
        func padded(_ number: Int64, _ width: Int = 2) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
        }
        let nanos = nanoseconds - seconds * 1_000_000_000
        func fraction(_ digits: Int) -> String { String(padded(nanos, 9).prefix(digits)) }
        var result = ""
        var letters = (format.isEmpty ? "%Y-%m-%dT%H:%M:%S.%3fZ" : format)[...]
        while let letter = letters.popFirst() {
            guard letter == "%", let next = letters.popFirst() else {
                result.append(letter)
                continue
            }
            switch next {
            case "Y": result += padded(date.year, 4)
            case "m": result += padded(date.month)
            case "d": result += padded(date.day)
            case "H": result += padded(second / 3_600)
            case "M": result += padded(second / 60 % 60)
            case "S": result += padded(second % 60)
            case "F": result += "\(padded(date.year, 4))-\(padded(date.month))-\(padded(date.day))"
            case "T": result += "\(padded(second / 3_600)):\(padded(second / 60 % 60)):\(padded(second % 60))"
            case "s": result += String(seconds)
            case "f": result += fraction(9)
            case "1", "2", "3", "4", "5", "6", "7", "8", "9":
                if letters.first == "f" {
                    letters.removeFirst()
                    result += fraction(next.wholeNumberValue ?? 9)
                }
            case "b": result += CivilDate.months[Int(date.month) - 1]
            case "a": result += CivilDate.weekdays[Int((days % 7 + 11) % 7)]
            case "e": result += date.day < 10 ? " \(date.day)" : "\(date.day)"
            case "y": result += padded(date.year % 100)
            case "z": result += "+0000"
            case "Z": result += "UTC"
            case "%": result += "%"
            default: result += "%\(next)"
            }
        }
        return result
    }
}

/// A day of the Gregorian calendar. Source: Hinnant, "chrono-Compatible Low-Level Date Algorithms".
private struct CivilDate {
    static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    static let weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    var year: Int64
    var month: Int64
    var day: Int64

    /// - Parameter day: since 1970-01-01.
    init(day: Int64) {
        let shifted = day + 719_468
        let era = shifted.quotientAndRemainder(flooringBy: 146_097)
        let ofEra = era.remainder
        let yearOfEra = (ofEra - ofEra / 1_460 + ofEra / 36_524 - ofEra / 146_096) / 365
        let ofYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * ofYear + 2) / 153
        self.day = ofYear - (153 * shiftedMonth + 2) / 5 + 1
        month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        year = yearOfEra + era.quotient * 400 + (month <= 2 ? 1 : 0)
    }
}

extension Int64 {
    fileprivate func quotientAndRemainder(flooringBy divisor: Int64) -> (quotient: Int64, remainder: Int64) {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }
}
