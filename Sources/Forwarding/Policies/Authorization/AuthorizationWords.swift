import HTTP
import Time

/// A request as the question tells of it.
public struct AuthorizedRequest: Sendable {
    public var facts: RequestFacts
    public var id: String
    /// `HTTP/1.1`, `HTTP/2`.
    public var protocolName: String
    /// When its head came.
    public var start: Timestamp

    public init(facts: RequestFacts, id: String, protocolName: String, start: Timestamp) {
        (self.facts, self.id, self.protocolName, self.start) = (facts, id, protocolName, start)
    }
}

/// What is sent to the server that decides.
public struct AuthorizationQuestion: Sendable {
    public var cluster: String
    public var head: HeaderList
    /// Of a gRPC call the message, without its prefix.
    public var body: [UInt8]
    public var isGRPC: Bool
    public var timeout: Duration
}

/// What came of it.
public enum AuthorizationAnswer: Sendable {
    /// The status of the call and, where it is 0, the message without its prefix.
    case grpc(status: Int, message: [UInt8])
    case http(head: HeaderList, body: [UInt8])
    /// No connection, a time-out, a reset.
    case failed
}

/// What the answer comes to.
public enum AuthorizationVerdict: Equatable, Sendable {
    case allowed(AuthorizationChanges)
    case denied(AuthorizationDenial)
}

/// The answer to a request that may not pass.
public struct AuthorizationDenial: Equatable, Sendable {
    public var status: UInt16
    public var headers: HeaderList
    public var body: [UInt8]
    public var metadata: [FilterMetadata.Field]
    /// For access logs: `ext_authz_denied`, `ext_authz_error`. Source: Envoy.
    public var details: String

    init(status: UInt16, isError: Bool, headers: HeaderList = HeaderList(), body: [UInt8] = []) {
        (self.status, self.headers, self.body, metadata) = (status, headers, body, [])
        details = isError ? "ext_authz_error" : "ext_authz_denied"
    }

}

/// What is changed of a request that may pass, and of its response.
public struct AuthorizationChanges: Equatable, Sendable {
    /// Of the request: in place of what is there, or new.
    public var sets: [(name: [UInt8], value: [UInt8])] = []
    /// Of the request: besides what is there.
    public var adds: [(name: [UInt8], value: [UInt8])] = []
    /// Of the request: only where there is a field of that name already.
    public var appends: [(name: [UInt8], value: [UInt8])] = []
    public var removals: [[UInt8]] = []
    var setsIfAbsent: [(name: [UInt8], value: [UInt8])] = []
    /// Of the response.
    public var response: [ResponseChange] = []
    var removedParameters: [[UInt8]] = []
    var parameters: [(name: [UInt8], value: [UInt8])] = []
    /// To be left under ``ExternalAuthorization/filterName``.
    public var metadata: [FilterMetadata.Field] = []

    public struct ResponseChange: Equatable, Sendable {
        enum Action: Sendable { case add, addIfAbsent, set, setIfPresent }
        var name: [UInt8]
        var value: [UInt8]
        var action: Action
    }

    public init() {}

    /// Changes a request's head. Fields that carry the connection's own sense (`host`, pseudo-headers other than the
    /// path, `content-length`) are not for others to remove. Source: Envoy, ext_authz `onComplete`.
    public func apply(to head: inout HeaderList) {
        func each(
            _ pairs: [(name: [UInt8], value: [UInt8])], _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Void
        ) {
            for (name, value) in pairs { name.withUnsafeBytes { name in value.withUnsafeBytes { body(name, $0) } } }
        }
        each(sets) { head.set(name: $0, value: $1) }
        each(adds) { head.append(name: $0, value: $1) }
        each(setsIfAbsent) { if !head.contains(bytes: $0) { head.append(name: $0, value: $1) } }
        each(appends) { if head.contains(bytes: $0) { head.append(name: $0, value: $1) } }
        for name in removals where name.first != UInt8(ascii: ":") && name != Array("host".utf8) {
            name.withUnsafeBytes { _ = head.remove(bytes: $0) }
        }
        for name in removedParameters { head.removeToken(at: .parameter(name)) }
        for (name, value) in parameters {
            head.removeToken(at: .parameter(name))
            guard let path = head.withValue(of: ":path", { Array($0) }) else { continue }
            let mark = path.contains(UInt8(ascii: "?")) ? UInt8(ascii: "&") : UInt8(ascii: "?")
            let longer = path + [mark] + name + [UInt8(ascii: "=")] + value
            longer.withUnsafeBytes { head.set(":path", value: $0) }
        }
    }

    public func applyToResponse(_ head: inout HeaderList) {
        for change in response {
            change.name.withUnsafeBytes { name in
                change.value.withUnsafeBytes { value in
                    switch change.action {
                    case .add: head.append(name: name, value: value)
                    case .addIfAbsent: if !head.contains(bytes: name) { head.append(name: name, value: value) }
                    case .set: head.set(name: name, value: value)
                    case .setIfPresent: if head.contains(bytes: name) { head.set(name: name, value: value) }
                    }
                }
            }
        }
    }

    public static func == (left: AuthorizationChanges, right: AuthorizationChanges) -> Bool {
        func same(_ one: [(name: [UInt8], value: [UInt8])], _ other: [(name: [UInt8], value: [UInt8])]) -> Bool {
            one.elementsEqual(other) { $0.name == $1.name && $0.value == $1.value }
        }
        return same(left.sets, right.sets) && same(left.adds, right.adds) && same(left.appends, right.appends)
            && same(left.setsIfAbsent, right.setsIfAbsent) && same(left.parameters, right.parameters)
            && left.removals == right.removals && left.response == right.response
            && left.removedParameters == right.removedParameters && left.metadata == right.metadata
    }
}

/// Whether bytes may stand in a head: another server wrote them.
func isSafeField(_ name: [UInt8], _ value: [UInt8]) -> Bool {
    FieldText.isValue(value) && FieldText.isName(name.dropFirst(name.first == UInt8(ascii: ":") ? 1 : 0))
}
