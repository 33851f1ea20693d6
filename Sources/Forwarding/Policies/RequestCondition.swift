import CEnvoyAPI
import EnvoyAPI
import HTTP
import Protobuf

/// A `RouteMatch` where a filter asks it: path, header fields, parameters of the query.
/// Source: Envoy, `config.route.v3.RouteMatch`.
struct RequestCondition: Sendable {
    private let path: PathCondition
    private let headers: [HeaderCondition]
    private let parameters: [QueryCondition]

    init(_ message: RouteMatch, in arena: Arena) throws(ConfigurationError) {
        path = try PathCondition(message, in: arena)
        headers = try message.headers_list.read("headers") { (header) throws(ConfigurationError) in
            try HeaderCondition(header.pointee)
        }
        parameters = try message.query_parameters_list.read("query_parameters") {
            (parameter) throws(ConfigurationError) in try QueryCondition(parameter.pointee)
        }
    }

    func matches(_ facts: RequestFacts) -> Bool {
        let isConnect = facts.head.value(of: ":method", equals: "CONNECT")
        let pathMatches =
            facts.head.withBarePath { path.matches($0, isConnect: isConnect) }
            ?? path.matches(nil, isConnect: isConnect)
        guard pathMatches, headers.allSatisfy({ $0.matches(facts.head) }) else { return false }
        if parameters.isEmpty { return true }
        return facts.head.withValue(of: ":path") { target in parameters.allSatisfy { $0.matches(target) } } ?? false
    }

    static let fields = SupportedFields([
        "envoy.config.route.v3.RouteMatch": """
        prefix path safe_regex connect_matcher path_separated_prefix path_match_policy case_sensitive headers \
        query_parameters
        """,
        "envoy.config.route.v3.RouteMatch.ConnectMatcher": "",
        "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig": "path_template",
    ])
}
