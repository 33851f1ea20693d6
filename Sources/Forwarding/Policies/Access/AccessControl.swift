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
    /// In front of the names of the shadow rules' results.
    private let shadowPrefix: String
    /// In front of the names of the enforced rules' results.
    private let prefix: String
    /// Of the network form: whether each arrival of data is asked about, not only the first.
    public let isContinuous: Bool
    /// Of the network form: how long a refused connection is kept before it is closed.
    public let refusalDelay: Duration

    public init(_ message: HttpRBAC, in arena: Arena) throws(ConfigurationError) {
        rules = try AccessRules(message.rules, "rules", in: arena)
        shadowRules = try AccessRules(message.shadow_rules, "shadow_rules", in: arena)
        shadowPrefix = message.shadow_rules_stat_prefix.string
        prefix = message.rules_stat_prefix.string
        isContinuous = false
        refusalDelay = .zero
    }

    public init(_ message: NetworkRBAC, in arena: Arena) throws(ConfigurationError) {
        rules = try AccessRules(message.rules, "rules", in: arena)
        shadowRules = try AccessRules(message.shadow_rules, "shadow_rules", in: arena)
        shadowPrefix = message.shadow_rules_stat_prefix.string
        prefix = ""
        isContinuous = message.enforcement_type == .CONTINUOUS
        refusalDelay = try message.delay_deny.duration("delay_deny") ?? .zero
    }

    /// Whether a request may pass.
    public func decide(_ facts: RequestFacts) -> AccessVerdict {
        let shadow = shadowRules.map { $0.decide(facts) }
        guard let rules else { return AccessVerdict(isAllowed: true, policy: nil, isLogged: nil, shadow: shadow) }
        let result = rules.decide(facts)
        return AccessVerdict(
            isAllowed: result.isAllowed, policy: result.policy,
            isLogged: rules.action == .log ? result.policy != nil : nil, shadow: shadow)
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

    /// What Envoy leaves as metadata of a request, under ``httpFilter`` or ``networkFilter``.
    public func metadata(of verdict: AccessVerdict) -> [StructureValue.Field] {
        var fields: [StructureValue.Field] = []
        if let shadow = verdict.shadow {
            if let policy = shadow.policy {
                fields.append(.init(shadowPrefix + "shadow_effective_policy_id", .string(policy)))
            }
            fields.append(
                .init(shadowPrefix + "shadow_engine_result", .string(shadow.isAllowed ? "allowed" : "denied")))
        }
        if rules != nil {
            if let policy = verdict.policy {
                fields.append(.init(prefix + "enforced_effective_policy_id", .string(policy)))
            }
            fields.append(
                .init(prefix + "enforced_engine_result", .string(verdict.isAllowed ? "allowed" : "denied")))
        }
        return fields
    }
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
    /// Of rules that only log: whether this one is to be logged (Envoy's `access_log_hint` of `envoy.common`).
    public var isLogged: Bool?
    /// What the rules say that are only tried; nil: there are none.
    public var shadow: Shadow?

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
    }

    let action: Action
    /// In the order of their names.
    let policies: [Policy]

    init?(_ message: UnsafeMutablePointer<RBAC>?, _ field: String, in arena: Arena) throws(ConfigurationError) {
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
        self.policies = policies.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
    }

    func decide(_ facts: RequestFacts) -> AccessVerdict.Shadow {
        var name: String?
        for policy in policies
        where policy.permissions.contains(where: { $0.matches(facts) })
            && policy.principals.contains(where: { $0.matches(facts) })
        {
            name = policy.name
            break
        }
        switch action {
        case .allow: return .init(isAllowed: name != nil, policy: name)
        case .deny: return .init(isAllowed: name == nil, policy: name)
        case .log: return .init(isAllowed: true, policy: name)
        }
    }
}

extension AccessControl {
    /// What is read of the filters' messages. Of conditions in CEL, of the matcher form and of audit loggers nothing is.
    static let fields =
        SupportedFields([
            "envoy.extensions.filters.http.rbac.v3.RBAC":
                // Statistics are counted per filter.
                "rules rules_stat_prefix shadow_rules shadow_rules_stat_prefix track_per_rule_stats",
            "envoy.extensions.filters.http.rbac.v3.RBACPerRoute": "rbac",
            "envoy.extensions.filters.network.rbac.v3.RBAC":
                "rules shadow_rules shadow_rules_stat_prefix stat_prefix enforcement_type delay_deny",
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
