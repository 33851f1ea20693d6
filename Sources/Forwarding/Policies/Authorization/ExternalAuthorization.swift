import CEnvoyAPI
import EnvoyAPI
import HTTP
import Protobuf

/// Asks another server whether a request may pass. The value makes the question and reads the answer; who calls sends
/// the one and waits for the other. Source: Envoy, `extensions.filters.http.ext_authz.v3`.
public final class ExternalAuthorization: Sendable {
    public static let filterName = "envoy.filters.http.ext_authz"

    enum Service: Sendable {
        case grpc(GRPCAuthorizationService)
        case http(HTTPAuthorizationService)
    }

    /// How much of a request's body the question carries.
    public struct BodyRule: Hashable, Sendable {
        public let mostBytes: Int
        /// Whether the first bytes of a larger body are enough; otherwise that is answered with 413.
        public let takesPart: Bool
        let isRaw: Bool

        init(_ message: BufferSettings) throws(ConfigurationError) {
            guard message.max_request_bytes > 0 else {
                throw .invalid(path: "max_request_bytes", message: "a number above 0 is needed")
            }
            mostBytes = Int(message.max_request_bytes)
            takesPart = message.allow_partial_message != 0
            isRaw = message.pack_as_bytes != 0
        }
    }

    let service: Service
    let body: BodyRule?
    private let enabled: Fraction
    private let enabledMetadata: MetadataCondition?
    private let deniesWhereDisabled: Bool
    private let passesOnFailure: Bool
    private let marksFailures: Bool
    private let failureStatus: UInt16
    private let ingestsMetadata: Bool
    private let mostBodyBytes: Int
    public let clearsRoute: Bool
    let content: QuestionContent

    public init(_ message: HttpExtAuthz) throws(ConfigurationError) {
        switch message.services {
        case .grpc_service(let grpc):
            service = .grpc(
                try at("grpc_service") { () throws(ConfigurationError) in try GRPCAuthorizationService(grpc.pointee) })
        case .http_service(let http):
            service = .http(
                try at("http_service") { () throws(ConfigurationError) in try HTTPAuthorizationService(http.pointee) })
        case nil: throw .invalid(path: "", message: "neither grpc_service nor http_service is given")
        }
        body = try message.with_request_body.read("with_request_body") { (settings) throws(ConfigurationError) in
            try BodyRule(settings)
        }
        enabled =
            try message.filter_enabled.read("filter_enabled") { (share) throws(ConfigurationError) in
                try Fraction(share)
            } ?? .all
        enabledMetadata = try message.filter_enabled_metadata.read("filter_enabled_metadata") {
            (matcher) throws(ConfigurationError) in try MetadataCondition(matcher)
        }
        deniesWhereDisabled = message.deny_at_disable?.pointee.default_value.flag ?? false
        passesOnFailure = message.failure_mode_allow != 0
        marksFailures = message.failure_mode_allow_header_add != 0
        let code = message.status_on_error?.pointee.code.rawValue ?? 403
        // Neither nothing nor "continue" ends a request.
        failureStatus = (200...599).contains(code) ? UInt16(code) : 403
        ingestsMetadata = message.enable_dynamic_metadata_ingestion.flag ?? true
        mostBodyBytes = message.max_denied_response_body_bytes == 0 ? .max : Int(message.max_denied_response_body_bytes)
        clearsRoute = message.clear_route_cache != 0
        content = try QuestionContent(message)
    }

    // MARK: Before the question

    /// What is done with a request.
    public enum Beginning: Sendable {
        /// It passes unasked.
        case passes
        case denied(AuthorizationDenial)
        /// With this much of its body; nil: without.
        case asks(BodyRule?)
    }

    public func begin(
        _ facts: RequestFacts, route setting: AuthorizationSetting? = nil, random: inout some RandomNumberGenerator
    ) -> Beginning {
        if setting?.isDisabled == true { return .passes }
        let isEnabled =
            (enabled.isAll || enabled.holds(random.next())) && enabledMetadata?.matches(facts.metadata) ?? true
        guard isEnabled else {
            return deniesWhereDisabled ? .denied(AuthorizationDenial(status: failureStatus, isError: false)) : .passes
        }
        guard let setting else { return .asks(body) }
        return .asks(setting.skipsBody ? nil : setting.body ?? body)
    }

    /// The question to send.
    /// - Parameters:
    ///   - body: what ``begin(_:route:random:)`` asked for; `isWhole`: whether that is all of it.
    public func question(
        _ request: AuthorizedRequest, route setting: AuthorizationSetting? = nil, body: [UInt8]? = nil,
        isWhole: Bool = true
    ) -> AuthorizationQuestion {
        let fields = content.fields(of: request.facts.head, hasBody: body != nil, isWhole: isWhole)
        switch service {
        case .grpc(let grpc):
            let rule = setting?.body ?? self.body
            return grpc.question(
                content.message(
                    request, fields: fields, context: setting?.context ?? [], body: body,
                    isRaw: rule?.isRaw ?? false))
        case .http(let http): return http.question(fields, body: body ?? [])
        }
    }

    // MARK: After the answer

    public func read(_ answer: AuthorizationAnswer) -> AuthorizationVerdict {
        switch (service, answer) {
        case (_, .failed): return failure()
        case (.grpc, .grpc(let status, let message)):
            guard status == 0, let verdict = AuthorizationVerdict(checkResponse: message) else { return failure() }
            return limited(verdict)
        case (.http(let http), .http(let head, let body)):
            guard let verdict = http.read(head, body) else { return failure() }
            return limited(verdict)
        case (.grpc, .http), (.http, .grpc): return failure()
        }
    }

    private func limited(_ verdict: AuthorizationVerdict) -> AuthorizationVerdict {
        switch verdict {
        case .allowed(var changes):
            if !ingestsMetadata { changes.metadata = [] }
            return .allowed(changes)
        case .denied(var denial):
            if denial.body.count > mostBodyBytes { denial.body.removeLast(denial.body.count - mostBodyBytes) }
            return .denied(denial)
        }
    }

    /// The server is not there, late, or talks nonsense.
    private func failure() -> AuthorizationVerdict {
        guard passesOnFailure else {
            return .denied(AuthorizationDenial(status: failureStatus, isError: true))
        }
        var changes = AuthorizationChanges()
        if marksFailures {
            changes.sets.append((Array("x-envoy-auth-failure-mode-allowed".utf8), Array("true".utf8)))
        }
        return .allowed(changes)
    }

    static let fields =
        SupportedFields([
            // Only version 3 is spoken; the flag's other values have no meaning any more.
            // Statistics are not kept apart.
            "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz": """
            grpc_service http_service transport_api_version=AUTO|V3 failure_mode_allow failure_mode_allow_header_add \
            with_request_body clear_route_cache status_on_error metadata_context_namespaces \
            route_metadata_context_namespaces filter_enabled filter_enabled_metadata deny_at_disable \
            include_peer_certificate stat_prefix allowed_headers disallowed_headers include_tls_session \
            charge_cluster_response_stats~ enable_dynamic_metadata_ingestion filter_metadata \
            max_denied_response_body_bytes
            """,
            "envoy.extensions.filters.http.ext_authz.v3.BufferSettings":
                "max_request_bytes allow_partial_message pack_as_bytes",
            "envoy.extensions.filters.http.ext_authz.v3.HttpService":
                "server_uri path_prefix authorization_request authorization_response",
            "envoy.extensions.filters.http.ext_authz.v3.AuthorizationRequest": "allowed_headers headers_to_add",
            "envoy.extensions.filters.http.ext_authz.v3.AuthorizationResponse": """
            allowed_upstream_headers allowed_upstream_headers_to_append allowed_client_headers \
            allowed_client_headers_on_success dynamic_metadata_from_headers
            """,
            "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute": "disabled check_settings",
            "envoy.extensions.filters.http.ext_authz.v3.CheckSettings":
                "context_extensions disable_request_body_buffering with_request_body",
            "envoy.extensions.filters.http.ext_authz.v3.CheckSettings.ContextExtensionsEntry": "key value",
            "envoy.config.core.v3.GrpcService": "envoy_grpc timeout initial_metadata",
            // No `x-envoy-` fields are added to questions in any case.
            "envoy.config.core.v3.GrpcService.EnvoyGrpc": "cluster_name authority skip_envoy_headers~",
            "envoy.config.core.v3.HttpUri": "uri cluster timeout",
            "envoy.type.v3.HttpStatus": "code",
        ]) + .common
}

/// What a route says of the question. Source: Envoy, `ext_authz.v3.ExtAuthzPerRoute`.
public struct AuthorizationSetting: Sendable {
    public let isDisabled: Bool
    /// What the question carries besides.
    let context: [(key: String, value: String)]
    let skipsBody: Bool
    let body: ExternalAuthorization.BodyRule?

    public init(_ message: ExtAuthzPerRoute) throws(ConfigurationError) {
        switch message.override {
        case .disabled(let flag):
            guard flag else { throw .invalid(path: "disabled", message: "only true means something") }
            (isDisabled, context, skipsBody, body) = (true, [], false, nil)
        case .check_settings(let settings):
            isDisabled = false
            context = settings.pointee.context_extensions_list.map { ($0.pointee.key.string, $0.pointee.value.string) }
            skipsBody = settings.pointee.disable_request_body_buffering != 0
            body = try settings.pointee.with_request_body.read("check_settings.with_request_body") {
                (settings) throws(ConfigurationError) in try ExternalAuthorization.BodyRule(settings)
            }
        case nil: throw .invalid(path: "", message: "neither disabled nor check_settings")
        }
    }
}
