import HTTP
import Patterns

/// A condition on a record in the Common Expression Language: the part of it that conditions of logs use. Compiled, with
/// the names of Envoy's attributes checked. What has no value makes its comparison neither true nor false, as CEL's
/// errors do; an expression holds if it is true.
/// Source: Envoy, "Attributes"; cel-spec, "Language Definition".
public struct LogExpression: Sendable {
    indirect enum Node: Sendable {
        case constant(Value)
        case attribute(Attribute)
        /// A field of one of the heads.
        case header(Attribute, Node)
        case not(Node)
        case and(Node, Node)
        case or(Node, Node)
        case choice(Node, Node, Node)
        case compare(Comparison, Node, Node)
        case contained(Node, in: Node)
        case list([Node])
        case has(Node)
        case call(Function, Node, Node)
        case matches(Node, Pattern)
        case size(Node)
    }

    enum Value: Sendable, Equatable {
        case bool(Bool)
        case number(Double)
        case text([UInt8])
        case list([Value])
    }

    enum Comparison: String, Sendable {
        case equal = "=="
        case unequal = "!="
        case less = "<"
        case atMost = "<="
        case more = ">"
        case atLeast = ">="
    }

    enum Function: String, Sendable { case startsWith, endsWith, contains }

    /// By Envoy's names.
    enum Attribute: String, Sendable, CaseIterable {
        case path = "request.path"
        case urlPath = "request.url_path"
        case query = "request.query"
        case host = "request.host"
        case scheme = "request.scheme"
        case method = "request.method"
        case referer = "request.referer"
        case userAgent = "request.useragent"
        case requestID = "request.id"
        case protocolName = "request.protocol"
        case requestHeaders = "request.headers"
        case requestSize = "request.size"
        case code = "response.code"
        case codeDetails = "response.code_details"
        case flags = "response.flags"
        case grpcStatus = "response.grpc_status"
        case responseHeaders = "response.headers"
        case responseTrailers = "response.trailers"
        case responseSize = "response.size"
        case sourceAddress = "source.address"
        case sourcePort = "source.port"
        case destinationAddress = "destination.address"
        case destinationPort = "destination.port"
        case connectionNumber = "connection.id"
        case isMutual = "connection.mtls"
        case serverName = "connection.requested_server_name"
        case tlsVersion = "connection.tls_version"
        case peerURI = "connection.uri_san_peer_certificate"
        case localURI = "connection.uri_san_local_certificate"
        case peerName = "connection.dns_san_peer_certificate"
        case peerSubject = "connection.subject_peer_certificate"
        case terminationDetails = "connection.termination_details"
        case upstreamAddress = "upstream.address"
        case upstreamPort = "upstream.port"
        case transportFailure = "upstream.transport_failure_reason"
        case attempts = "upstream.request_attempt_count"
        case routeName = "xds.route_name"
        case virtualHost = "xds.virtual_host_name"
        case cluster = "xds.cluster_name"

        /// Whether it is a map of fields by name.
        var isMap: Bool { self == .requestHeaders || self == .responseHeaders || self == .responseTrailers }
    }

    let root: Node

    public init(_ text: String) throws(ConfigurationError) {
        guard text.utf8.count <= 8192 else { throw .invalid(path: "", message: "longer than 8192 bytes") }
        var reader = ExpressionReader(text)
        root = try reader.whole()
    }

    public func holds(_ record: AccessRecord) -> Bool { value(root, record) == .bool(true) }

    // MARK: Evaluation

    private func value(_ node: Node, _ record: AccessRecord) -> Value? {
        switch node {
        case .constant(let value): return value
        case .attribute(let attribute): return attribute.value(of: record)
        case .header(let map, let name):
            guard case .text(let name) = value(name, record) else { return nil }
            return map.field(name.map(\.lowerCased), of: record)
        case .not(let node):
            guard case .bool(let flag) = value(node, record) else { return nil }
            return .bool(!flag)
        case .and(let left, let right):
            let first = value(left, record)
            if first == .bool(false) { return first }
            let second = value(right, record)
            return second == .bool(false) ? second : first == .bool(true) && second == .bool(true) ? .bool(true) : nil
        case .or(let left, let right):
            let first = value(left, record)
            if first == .bool(true) { return first }
            let second = value(right, record)
            return second == .bool(true) ? second : first == .bool(false) && second == .bool(false) ? .bool(false) : nil
        case .choice(let condition, let first, let second):
            guard case .bool(let flag) = value(condition, record) else { return nil }
            return value(flag ? first : second, record)
        case .compare(let comparison, let left, let right):
            guard let left = value(left, record), let right = value(right, record) else { return nil }
            return Self.compare(comparison, left, right).map(Value.bool)
        case .contained(let node, .attribute(let map)) where map.isMap:
            guard case .text(let name) = value(node, record) else { return nil }
            return .bool(map.field(name.map(\.lowerCased), of: record) != nil)
        case .contained(let node, let list):
            guard let wanted = value(node, record), case .list(let values) = value(list, record) else { return nil }
            return .bool(values.contains(wanted))
        case .list(let nodes):
            var values: [Value] = []
            for node in nodes {
                guard let value = value(node, record) else { return nil }
                values.append(value)
            }
            return .list(values)
        case .has(let node): return .bool(value(node, record) != nil)
        case .call(let function, let target, let argument):
            guard case .text(let text) = value(target, record), case .text(let part) = value(argument, record) else {
                return nil
            }
            switch function {
            case .startsWith: return .bool(text.starts(with: part))
            case .endsWith: return .bool(text.suffix(part.count).elementsEqual(part))
            case .contains: return .bool(Self.contains(text, part))
            }
        case .matches(let target, let pattern):
            guard case .text(let text) = value(target, record) else { return nil }
            return .bool(text.withUnsafeBytes { pattern.matchesPart($0) })
        case .size(let node):
            switch value(node, record) {
            case .text(let text): return .number(Double(String(decoding: text, as: UTF8.self).unicodeScalars.count))
            case .list(let values): return .number(Double(values.count))
            case .bool, .number, nil: return nil
            }
        }
    }

    private static func contains(_ text: [UInt8], _ part: [UInt8]) -> Bool {
        guard part.count <= text.count else { return false }
        return (0...(text.count - part.count)).contains { text[$0..<$0 + part.count].elementsEqual(part) }
    }

    private static func compare(_ comparison: Comparison, _ left: Value, _ right: Value) -> Bool? {
        switch (comparison, left, right) {
        case (.equal, _, _): left == right
        case (.unequal, _, _): left != right
        case (.less, .number(let left), .number(let right)): left < right
        case (.atMost, .number(let left), .number(let right)): left <= right
        case (.more, .number(let left), .number(let right)): left > right
        case (.atLeast, .number(let left), .number(let right)): left >= right
        case (.less, .text(let left), .text(let right)): left.lexicographicallyPrecedes(right)
        case (.atMost, .text(let left), .text(let right)): !right.lexicographicallyPrecedes(left)
        case (.more, .text(let left), .text(let right)): right.lexicographicallyPrecedes(left)
        case (.atLeast, .text(let left), .text(let right)): !left.lexicographicallyPrecedes(right)
        default: nil
        }
    }
}

extension LogExpression.Attribute {
    typealias Value = LogExpression.Value

    /// nil: there is none.
    func value(of record: AccessRecord) -> Value? {
        func text(_ string: String?) -> Value? {
            guard let string, !string.isEmpty else { return nil }
            return .text(Array(string.utf8))
        }
        func number(_ number: some BinaryInteger) -> Value { .number(Double(number)) }
        func field(_ name: StaticString) -> Value? {
            record.request.withValue(of: name) { .text(Array($0)) }
        }
        func address(_ address: NetworkAddress?) -> Value? { address.map { .text(Array("\($0)".utf8)) } }
        func port(_ address: NetworkAddress?) -> Value? { address?.port.map { number($0) } }
        switch self {
        case .path: return field(":path")
        case .urlPath, .query:
            return record.request.withValue(of: ":path") { path in
                let mark = path.firstIndex(of: UInt8(ascii: "?")) ?? path.count
                return .text(Array(self == .urlPath ? path[..<mark] : path[mark...].dropFirst()))
            }
        case .host: return field(":authority")
        case .scheme: return field(":scheme")
        case .method: return field(":method")
        case .referer: return field("referer")
        case .userAgent: return field("user-agent")
        case .requestID: return field("x-request-id")
        case .protocolName: return text(record.protocolName)
        case .requestSize: return number(record.bytesReceived)
        case .code: return record.kind == .request ? number(record.status) : nil
        case .codeDetails: return text(record.details)
        case .flags: return number(record.flags.rawValue)
        case .grpcStatus: return record.grpcStatus.map { number($0) }
        case .responseSize: return number(record.bytesSent)
        case .sourceAddress: return address(record.remote)
        case .sourcePort: return port(record.remote)
        case .destinationAddress: return address(record.connection.destination)
        case .destinationPort: return port(record.connection.destination)
        case .connectionNumber: return number(record.connectionNumber)
        case .isMutual: return .bool(record.connection.peer != nil)
        case .serverName: return text(record.connection.serverName)
        case .tlsVersion: return text(record.session.version)
        case .peerURI: return text(record.connection.peer?.uriNames.first)
        case .localURI: return text(record.session.localURI)
        case .peerName: return text(record.connection.peer?.dnsNames.first)
        case .peerSubject: return text(record.connection.peer?.subject)
        case .terminationDetails: return text(record.terminationDetails)
        case .upstreamAddress: return address(record.upstream)
        case .upstreamPort: return port(record.upstream)
        case .transportFailure: return text(record.transportFailure)
        case .attempts: return number(record.attempts)
        case .routeName: return text(record.routeName)
        case .virtualHost: return text(record.virtualHost)
        case .cluster: return text(record.cluster)
        case .requestHeaders, .responseHeaders, .responseTrailers: return nil
        }
    }

    /// Of a map, the field of that name, all its values joined.
    func field(_ name: [UInt8], of record: AccessRecord) -> Value? {
        let list: HeaderList?
        switch self {
        case .requestHeaders: list = record.request
        case .responseHeaders: list = record.response
        case .responseTrailers: list = record.trailers
        default: list = nil
        }
        return name.withUnsafeBytes { list?.joinedValue(ofBytes: $0) }.map { .text($0) }
    }
}
