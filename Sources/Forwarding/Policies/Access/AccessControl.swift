import CEnvoyAPI
import EnvoyAPI
import HTTP
import Protobuf

/// Who may call what: a role-based access control filter, for HTTP or for connections. Its policies are asked in the
/// order of their names. Source: Envoy, `extensions.filters.http.rbac.v3.RBAC`, `filters.network.rbac.v3.RBAC`.
public final class AccessControl: Sendable {
    /// What is answered to those who may not. Source: Envoy.
    public static let refusal = "RBAC: access denied"

    private let rules: AccessRules?
    private let shadowRules: AccessRules?

    public init(_ message: HttpRBAC, in arena: Arena) throws(ConfigurationError) {
        rules = try AccessRules(message.rules, "rules", message.rules_stat_prefix.string + "enforced", in: arena)
        shadowRules = try AccessRules(
            message.shadow_rules, "shadow_rules", message.shadow_rules_stat_prefix.string + "shadow", in: arena)
    }

    public init(_ message: NetworkRBAC, in arena: Arena) throws(ConfigurationError) {
        rules = try AccessRules(message.rules, "rules", "enforced", in: arena)
        shadowRules = try AccessRules(
            message.shadow_rules, "shadow_rules", message.shadow_rules_stat_prefix.string + "shadow", in: arena)
    }

    /// Whether a request may pass.
    public func decide(_ facts: RequestFacts) -> AccessVerdict {
        var verdict = AccessVerdict(isAllowed: true)
        if let shadowRules {
            let result = shadowRules.decide(facts)
            verdict.shadow = .init(isAllowed: result.isAllowed, policy: result.policy)
            verdict.metadata = result.metadata
        }
        guard let rules else { return verdict }
        let result = rules.decide(facts)
        (verdict.isAllowed, verdict.policy) = (result.isAllowed, result.policy)
        if rules.action == .log { verdict.isLogged = result.policy != nil }
        verdict.metadata = verdict.metadata.isEmpty ? result.metadata : verdict.metadata + result.metadata
        return verdict
    }

    /// Whether a connection may stay: what only requests have is not there. Source: Envoy asks with empty headers.
    public func decide(
        _ connection: ConnectionFacts, metadata: FilterMetadata = FilterMetadata()
    ) -> AccessVerdict {
        decide(RequestFacts(connection: connection, head: HeaderList(), metadata: metadata))
    }

    /// The name under which the results are left for access logs and later filters.
    public static let httpFilter = "envoy.filters.http.rbac"
    public static let networkFilter = "envoy.filters.network.rbac"

    /// Where rules that only log leave whether this one is to be. Source: Envoy, `access_log_hint` of `envoy.common`.
    public static let hintFilter = "envoy.common"

    public static func hint(_ isLogged: Bool) -> [StructureValue.Field] { isLogged ? logged : notLogged }

    private static let logged = [StructureValue.Field("access_log_hint", .bool(true))]
    private static let notLogged = [StructureValue.Field("access_log_hint", .bool(false))]
}

/// What an access control comes to.
public struct AccessVerdict: Equatable, Sendable {
    public struct Shadow: Equatable, Sendable {
        public var isAllowed: Bool
        public var policy: String?
    }

    public var isAllowed: Bool
    /// The policy that matched; nil: none did.
    public var policy: String?
    /// Of rules that only log: whether this one is to be logged; see ``AccessControl/hint(_:)``.
    public var isLogged: Bool?
    /// What the rules say that are only tried; nil: there are none.
    public var shadow: Shadow?
    /// What is left for access logs and later filters, under ``AccessControl/httpFilter`` or
    /// ``AccessControl/networkFilter``.
    public var metadata: [StructureValue.Field] = []

    /// Of a refusal, for access logs: `rbac_access_denied_matched_policy[none]`. Source: Envoy.
    public var details: String {
        let name = String((policy ?? "none").map { $0.isWhitespace ? "_" : $0 })
        return "rbac_access_denied_matched_policy[\(name)]"
    }
}

/// Policies with one action.
struct AccessRules: Sendable {
    enum Action: Sendable { case allow, deny, log }

    struct Policy: Sendable {
        var name: String
        var permissions: [AccessRule]
        var principals: [AccessRule]
        /// What is left where this one matches.
        var metadata: [StructureValue.Field] = []
    }

    struct Result {
        var isAllowed: Bool
        /// Nil: none matched.
        var policy: String?
        var metadata: [StructureValue.Field]
    }

    let action: Action
    /// In the order of their names.
    let policies: [Policy]
    /// What is left where none matches.
    let metadata: [StructureValue.Field]

    /// - Parameter prefix: in front of the names of what is left.
    init?(
        _ message: UnsafeMutablePointer<RBAC>?, _ field: String, _ prefix: String, in arena: Arena
    ) throws(ConfigurationError) {
        guard let message = message?.pointee else { return nil }
        switch message.action {
        case .ALLOW: action = .allow
        case .DENY: action = .deny
        case .LOG: action = .log
        default: throw .unsupported(path: field + ".action", message: "unknown action")
        }
        var policies: [Policy] = []
        for entry in message.policies_list {
            let name = entry.pointee.key.string
            let policy = try at("\(field).policies[\"\(name)\"]") { () throws(ConfigurationError) in
                let policy = try entry.pointee.value.required("")
                return Policy(
                    name: name,
                    permissions: try policy.permissions_list.read("permissions") { (rule) throws(ConfigurationError) in
                        try AccessRule(rule.pointee, in: arena)
                    },
                    principals: try policy.principals_list.read("principals") { (rule) throws(ConfigurationError) in
                        try AccessRule(rule.pointee)
                    })
            }
            policies.append(policy)
        }
        // Made once: every request leaves one of them.
        func result(_ isAllowed: Bool) -> StructureValue.Field {
            .init(prefix + "_engine_result", .string(isAllowed ? "allowed" : "denied"))
        }
        for index in policies.indices {
            policies[index].metadata = [
                .init(prefix + "_effective_policy_id", .string(policies[index].name)), result(action != .deny),
            ]
        }
        metadata = [result(action != .allow)]
        self.policies = policies.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
    }

    func decide(_ facts: RequestFacts) -> Result {
        for policy in policies
        where policy.permissions.contains(where: { $0.matches(facts) })
            && policy.principals.contains(where: { $0.matches(facts) })
        {
            return Result(isAllowed: action != .deny, policy: policy.name, metadata: policy.metadata)
        }
        return Result(isAllowed: action != .allow, policy: nil, metadata: metadata)
    }
}

extension AccessControl {
    /// What is read of the filters' messages. Of conditions in CEL, of the matcher form and of audit loggers nothing is.
    static let fields =
        SupportedFields([
            "envoy.extensions.filters.http.rbac.v3.RBAC":
                // Statistics are counted per filter.
                "rules rules_stat_prefix shadow_rules shadow_rules_stat_prefix track_per_rule_stats~",
            "envoy.extensions.filters.http.rbac.v3.RBACPerRoute": "rbac",
            "envoy.extensions.filters.network.rbac.v3.RBAC":
                // A connection is asked about once, when it comes, and closed at once where it may not stay.
                "rules shadow_rules shadow_rules_stat_prefix stat_prefix enforcement_type=ONE_TIME_ON_FIRST_BYTE",
            "envoy.config.rbac.v3.RBAC": "action policies",
            "envoy.config.rbac.v3.RBAC.PoliciesEntry": "key value",
            "envoy.config.rbac.v3.Policy": "permissions principals",
            "envoy.config.rbac.v3.SourcedMetadata": "metadata_matcher metadata_source",
            "envoy.config.rbac.v3.Permission": """
            and_rules or_rules any header url_path destination_ip destination_port destination_port_range metadata \
            not_rule requested_server_name uri_template sourced_metadata
            """,
            "envoy.config.rbac.v3.Permission.Set": "rules",
            "envoy.config.rbac.v3.Principal": """
            and_ids or_ids any authenticated source_ip direct_remote_ip remote_ip header url_path metadata not_id \
            sourced_metadata
            """,
            "envoy.config.rbac.v3.Principal.Set": "ids",
            "envoy.config.rbac.v3.Principal.Authenticated": "principal_name",
            "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig": "path_template",
        ]) + .common
}
