import CEnvoyAPI
import EnvoyAPI
import HTTP
import Protobuf
import Time

/// A server that is asked over gRPC. Source: Envoy, `service.auth.v3.Authorization`.
struct GRPCAuthorizationService: Sendable {
    let cluster: String
    let authority: String
    let timeout: Duration
    let metadata: [(name: [UInt8], value: [UInt8])]

    init(_ message: GrpcService) throws(ConfigurationError) {
        guard case .envoy_grpc(let target) = message.target_specifier else {
            throw .unsupported(path: "google_grpc", message: "only envoy_grpc with a cluster")
        }
        cluster = target.pointee.cluster_name.string
        if cluster.isEmpty { throw .invalid(path: "envoy_grpc.cluster_name", message: "missing") }
        let authority = target.pointee.authority.string
        self.authority = authority.isEmpty ? cluster : authority
        // Source: Envoy, ext_authz DefaultTimeout.
        timeout = try message.timeout.duration("timeout") ?? .milliseconds(200)
        metadata = try message.initial_metadata_list.read("initial_metadata") { (field) throws(ConfigurationError) in
            let pair = (field.pointee.key.string.utf8.map(\.lowerCased), Array(field.pointee.value.string.utf8))
            guard isSafeField(pair.0, pair.1), pair.0.first != UInt8(ascii: ":") else {
                throw .invalid(path: "key", message: "`\(field.pointee.key.string)` is no metadata")
            }
            return pair
        }
    }

    func question(_ message: [UInt8]) -> AuthorizationQuestion {
        var head = HeaderList([
            (":method", "POST"), (":scheme", "http"), (":authority", authority),
            (":path", "/envoy.service.auth.v3.Authorization/Check"), ("content-type", "application/grpc"),
            ("te", "trailers"), ("grpc-timeout", "\(max(1, timeout.nanoseconds / 1_000_000))m"),
        ])
        for (name, value) in metadata {
            name.withUnsafeBytes { name in value.withUnsafeBytes { head.append(name: name, value: $0) } }
        }
        return AuthorizationQuestion(cluster: cluster, head: head, body: message, isGRPC: true, timeout: timeout)
    }
}

/// What of a request the question tells.
struct QuestionContent: Sendable {
    private let allowed: [TextMatcher]
    private let disallowed: [TextMatcher]
    private let metadataNames: [String]
    private let routeMetadataNames: [String]
    private let tellsCertificate: Bool
    private let tellsServerName: Bool

    init(_ message: HttpExtAuthz) throws(ConfigurationError) {
        var allowed = try Self.matchers(message.allowed_headers, "allowed_headers")
        if case .http_service(let http) = message.services {
            let older = "http_service.authorization_request.allowed_headers"
            if allowed.isEmpty {
                allowed = try Self.matchers(
                    http.pointee.authorization_request.flatMap { $0.pointee.allowed_headers }, older)
            }
            // Always told over HTTP. Source: Envoy, ext_authz `toRequestMatchers`.
            allowed += ["authorization", ":method", ":path", ":authority"].map { TextMatcher(.exact, $0) }
        } else if !allowed.isEmpty {
            allowed += ["authorization", ":method", ":path", ":authority"].map { TextMatcher(.exact, $0) }
        }
        self.allowed = allowed
        disallowed = try Self.matchers(message.disallowed_headers, "disallowed_headers")
        metadataNames = Array(message.metadata_context_namespaces_list)
        routeMetadataNames = Array(message.route_metadata_context_namespaces_list)
        tellsCertificate = message.include_peer_certificate != 0
        tellsServerName = message.include_tls_session != 0
    }

    static func matchers(
        _ list: UnsafeMutablePointer<ListStringMatcher>?, _ field: String
    ) throws(ConfigurationError) -> [TextMatcher] {
        try list.read(field) { (list) throws(ConfigurationError) in
            try list.patterns_list.read("patterns") { (text) throws(ConfigurationError) in
                try TextMatcher(text.pointee)
            }
        } ?? []
    }

    /// The fields that are told, each name once, its values joined by commas.
    func fields(of head: HeaderList, hasBody: Bool, isWhole: Bool) -> [(name: [UInt8], value: [UInt8])] {
        var fields: [(name: [UInt8], value: [UInt8])] = []
        head.forEachField { name, value in
            guard allowed.isEmpty || allowed.contains(where: { $0.matches(name) }),
                !disallowed.contains(where: { $0.matches(name) }), !name.equals(Self.partial)
            else { return }
            if let index = fields.firstIndex(where: { name.equals($0.name) }) {
                fields[index].value += [UInt8(ascii: ",")] + value
            } else {
                fields.append((Array(name), Array(value)))
            }
        }
        if hasBody { fields.append((Self.partial, Array((isWhole ? "false" : "true").utf8))) }
        return fields
    }

    private static let partial = Array("x-envoy-auth-partial-body".utf8)

    /// A `CheckRequest`.
    func message(
        _ request: AuthorizedRequest, fields: [(name: [UInt8], value: [UInt8])],
        context: [(key: String, value: String)], body: [UInt8]?, isRaw: Bool
    ) -> [UInt8] {
        let arena = Arena()
        let facts = request.facts
        let head = facts.head
        /// Text as a protobuf string can carry it.
        func text(_ bytes: some Sequence<UInt8>) -> UnsafeMutablePointer<CChar> {
            arena(String(decoding: bytes.filter { $0 != 0 }, as: UTF8.self))
        }
        func field(_ name: StaticString) -> UnsafeMutablePointer<CChar> {
            text(head.withValue(of: name) { Array($0) } ?? [])
        }
        let http: UnsafeMutablePointer<AttributeContextHttpRequest> = arena.make { http in
            http.id = arena(request.id)
            (http.method, http.path) = (field(":method"), field(":path"))
            (http.host, http.scheme) = (field(":authority"), field(":scheme"))
            http.protocol = arena(request.protocolName)
            http.size = head.number("content-length").flatMap { Int64(exactly: $0) } ?? -1
            (http.n_headers, http.headers) =
                arena.map(fields.map { (String(decoding: $0.name, as: UTF8.self), text($0.value)) })
                as (Int, UnsafeMutablePointer<UnsafeMutablePointer<AttributeContextHttpRequestHeadersEntry>?>?)
            if let body {
                if isRaw { http.raw_body = arena.bytes(body) } else { http.body = text(body) }
            }
        }
        let attributes: UnsafeMutablePointer<AttributeContext> = arena.make { attributes in
            attributes.source = arena.make { peer in
                peer.address = facts.remote.message(in: arena)
                peer.service = field("x-envoy-downstream-service-cluster")
                if let certificate = facts.connection.peer {
                    if certificate.isVerified { peer.principal = arena(certificate.principal) }
                    if tellsCertificate { peer.certificate = arena(certificate.encodedPEM) }
                }
            }
            attributes.destination = arena.make { $0.address = facts.connection.destination.message(in: arena) }
            attributes.request = arena.make {
                let nanos = request.start.nanoseconds - request.start.seconds * 1_000_000_000
                $0.time = arena.timestamp(seconds: request.start.seconds, nanoseconds: Int32(nanos))
                $0.http = http
            }
            (attributes.n_context_extensions, attributes.context_extensions) =
                arena.map(context.map { ($0.key, arena($0.value)) })
                as (Int, UnsafeMutablePointer<UnsafeMutablePointer<AttributeContextContextExtensionsEntry>?>?)
            attributes.metadata_context = metadata(facts.metadata, metadataNames, arena)
            attributes.route_metadata_context = metadata(facts.routeMetadata, routeMetadataNames, arena)
            if tellsServerName, facts.connection.isTLS {
                attributes.tls_session = arena.make { $0.sni = arena(facts.connection.serverName ?? "") }
            }
        }
        return encode(arena.make(CheckRequest.self) { $0.attributes = attributes })
    }

    private func metadata(
        _ all: FilterMetadata, _ names: [String], _ arena: Arena
    ) -> UnsafeMutablePointer<EnvoyAPI.Metadata>? {
        let found = names.compactMap { name in all[name].map { (name, arena.structure($0)) } }
        guard !found.isEmpty else { return nil }
        return arena.make {
            ($0.n_filter_metadata, $0.filter_metadata) =
                arena.map(found) as (Int, UnsafeMutablePointer<UnsafeMutablePointer<MetadataFilterMetadataEntry>?>?)
        }
    }
}

extension AuthorizationVerdict {
    /// - Returns: nil for bytes that are no `CheckResponse`, and for one that says that the server failed.
    init?(checkResponse bytes: [UInt8]) {
        let arena = Arena()
        guard let message = try? arena.decode(CheckResponse.self, from: bytes).pointee else { return nil }
        // The older place of metadata counts where the newer is not used.
        let metadata = message.dynamic_metadata.map { StructureValue.fields($0.pointee) }
        let isAllowed = message.status.map { $0.pointee.code == 0 } ?? true
        switch message.http_response {
        case .ok_response(let answer) where isAllowed:
            guard var changes = AuthorizationChanges(answer.pointee) else { return nil }
            changes.metadata =
                metadata ?? answer.pointee.dynamic_metadata.map { StructureValue.fields($0.pointee) } ?? []
            self = .allowed(changes)
        case .denied_response(let answer) where !isAllowed:
            let code = answer.pointee.status?.pointee.code.rawValue ?? 0
            var denial = AuthorizationDenial(
                status: (200...599).contains(code) ? UInt16(code) : 403, isError: false,
                body: Array(answer.pointee.body.string.utf8))
            for option in answer.pointee.headers_list {
                guard let field = option.pointee.safeField else { return nil }
                if field.name.first == UInt8(ascii: ":") { continue }
                field.name.withUnsafeBytes { name in
                    field.value.withUnsafeBytes { value in
                        if option.pointee.append.flag == true {
                            denial.headers.append(name: name, value: value)
                        } else {
                            denial.headers.set(name: name, value: value)
                        }
                    }
                }
            }
            denial.metadata = metadata ?? []
            self = .denied(denial)
        case .error_response: return nil
        default:
            if isAllowed {
                var changes = AuthorizationChanges()
                changes.metadata = metadata ?? []
                self = .allowed(changes)
            } else {
                self = .denied(AuthorizationDenial(status: 403, isError: false))
            }
        }
    }
}

extension HeaderValueOption {
    /// Name and value, if both may stand in a head.
    fileprivate var safeField: (name: [UInt8], value: [UInt8])? {
        guard let header = header?.pointee else { return nil }
        let raw = Array(header.raw_value_bytes)
        let field = (
            name: header.key.string.utf8.map(\.lowerCased), value: raw.isEmpty ? Array(header.value.string.utf8) : raw
        )
        return isSafeField(field.name, field.value) ? field : nil
    }
}

extension AuthorizationChanges {
    /// - Returns: nil if a field cannot stand in a head.
    fileprivate init?(_ message: OkHttpResponse) {
        self.init()
        for option in message.headers_list {
            guard let field = option.pointee.safeField else { return nil }
            switch option.pointee.append.flag {
            case true: appends.append(field)
            case false: sets.append(field)
            default:
                switch option.pointee.append_action {
                case .ADD_IF_ABSENT: setsIfAbsent.append(field)
                default: sets.append(field)
                }
            }
        }
        removals = message.headers_to_remove_list.map { $0.utf8.map(\.lowerCased) }
        for option in message.response_headers_to_add_list {
            guard let field = option.pointee.safeField, field.name.first != UInt8(ascii: ":") else { return nil }
            let action: ResponseChange.Action
            switch (option.pointee.append.flag, option.pointee.append_action) {
            case (true, _): action = .add
            case (false, _): action = .set
            case (nil, .ADD_IF_ABSENT): action = .addIfAbsent
            case (nil, .OVERWRITE_IF_EXISTS_OR_ADD): action = .set
            case (nil, .OVERWRITE_IF_EXISTS): action = .setIfPresent
            case (nil, _): action = .add
            }
            response.append(ResponseChange(name: field.name, value: field.value, action: action))
        }
        for parameter in message.query_parameters_to_set_list {
            let pair = (Array(parameter.pointee.key.string.utf8), Array(parameter.pointee.value.string.utf8))
            guard isSafeParameter(pair.0), isSafeParameter(pair.1) else { return nil }
            parameters.append(pair)
        }
        removedParameters = message.query_parameters_to_remove_list.map { Array($0.utf8) }
    }

    private func isSafeParameter(_ bytes: [UInt8]) -> Bool {
        bytes.allSatisfy { $0 > 0x20 && $0 < 0x7F && !"#&".utf8.contains($0) }
    }
}
