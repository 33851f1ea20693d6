import EnvoyAPI
import Mesh
import Protobuf

/// What the authorization policies for one proxy come to, in the order in which they are asked: CUSTOM, AUDIT, DENY,
/// ALLOW. What is audited is what came, refused or not.
struct AuthorizationRules {
    struct Named {
        /// `ns[shop]-policy[web]-rule[0]`: what a denial is logged with.
        var name: String
        var policy: ObjectKey
        /// Which of the policy's rules; nil for one that no policy says.
        var index: Int?
        var rule: Istio.Rule
    }

    /// Of policies that are in force, and of those that are only tried.
    struct Part {
        var rules: [Named] = []
        /// Whether there is a policy of this action: an ALLOW policy without rules lets nobody in.
        var isThere = false
    }

    var deny = Part()
    var allow = Part()
    var audit = Part()
    /// Policies with the annotation `istio.io/dry-run`: asked, counted and logged, and not obeyed.
    var triedDeny = Part()
    var triedAllow = Part()
    /// CUSTOM policies whose provider cannot be asked: what their rules match is refused.
    var custom = Part()
    /// CUSTOM policies by their provider, and once it is known who is asked, ``checks`` instead.
    fileprivate var asking: [(provider: String, part: Part)] = []
    var checks: [ExternalCheck] = []

    /// The annotation of policies that are only tried. Source: Istio.
    static let dryRunAnnotation = "istio.io/dry-run"
    /// The rule of a mesh whose namespaces are isolated.
    static let isolationName = "namespace-isolation"

    init(_ objects: [MeshObject], isolating namespace: String?) {
        for object in objects {
            guard case .authorizationPolicy(let policy) = object.body else { continue }
            let isTried = object.metadata.annotations[Self.dryRunAnnotation] == "true"
            let named = policy.rules.enumerated().map { index, rule in
                Named(
                    name: "ns[\(object.key.namespace)]-policy[\(object.key.name)]-rule[\(index)]", policy: object.key,
                    index: index, rule: rule)
            }
            func add(_ part: inout Part) {
                part.rules += named
                part.isThere = true
            }
            switch (policy.action, isTried) {
            case (.deny, false): add(&deny)
            case (.deny, true): add(&triedDeny)
            case (.allow, false): add(&allow)
            case (.allow, true): add(&triedAllow)
            case (.audit, _): add(&audit)
            case (.custom, false):
                asking.append((policy.provider ?? "", Part(rules: named, isThere: true)))
            case (.custom, true): break
            }
        }
        // Whoever writes ALLOW policies says all that is allowed.
        if let namespace, !allow.isThere {
            let own = Istio.Source(namespace: namespace)
            allow = Part(
                rules: [
                    Named(
                        name: "\(Self.isolationName)[\(namespace)]", policy: MeshConfig.key,
                        rule: Istio.Rule(from: [own]))
                ], isThere: true)
        }
    }
}

extension AuthorizationRules {
    /// Connections that are no HTTP cannot be put before a service that is asked over HTTP.
    var refusedStreams: Part {
        var part = custom
        for check in checks where check.authorization.http != nil {
            part.isThere = true
            part.rules += check.part.rules
        }
        return part
    }
}

extension Translator {
    func authorizationRules(for proxy: ProxyClass) -> AuthorizationRules {
        let isolated = mesh.config.isolatesNamespaces && proxy.kind != .gateway ? proxy.namespace : nil
        var rules = AuthorizationRules(
            mesh.policies(.authorizationPolicy, selecting: proxy.labels, in: proxy.namespace), isolating: isolated)
        (rules.checks, rules.custom) = externalChecks(rules.asking, of: proxy)
        return rules
    }

    /// Token checks, then who may call: what stands before the router of a workload's inbound connections.
    public func httpPolicyFilters(of proxy: ProxyClass, port: Int) -> [UnsafeMutablePointer<HttpFilter>] {
        let rules = authorizationRules(for: proxy)
        var filters: [UnsafeMutablePointer<HttpFilter>] = []
        if let tokens = tokenFilter(of: proxy) { filters.append(tokens) }
        func add(_ name: String, _ enforced: UnsafeMutablePointer<RBAC>?, _ tried: UnsafeMutablePointer<RBAC>?) {
            guard enforced != nil || tried != nil else { return }
            let message: UnsafeMutablePointer<HttpRBAC> = arena.make {
                $0.rules = enforced
                $0.shadow_rules = tried
                if tried != nil { $0.shadow_rules_stat_prefix = arena("istio_dry_run_\(name)_") }
            }
            filters.append(
                arena.make {
                    $0.name = arena("envoy.filters.http.rbac.\(name)")
                    $0.set(typed_config: arena.any(message))
                })
        }
        add("custom", enforced(.DENY, rules.custom, .http), nil)
        for (index, check) in rules.checks.enumerated() { filters += httpFilters(of: check, index: index) }
        add("audit", enforced(.LOG, rules.audit, .http), nil)
        add("deny", enforced(.DENY, rules.deny, .http), enforced(.DENY, rules.triedDeny, .http))
        add("allow", enforced(.ALLOW, rules.allow, .http), enforced(.ALLOW, rules.triedAllow, .http))
        return filters
    }

    /// Who may open connections to a port that is no HTTP.
    public func networkPolicyFilters(of proxy: ProxyClass, port: Int) -> [UnsafeMutablePointer<NetworkFilter>] {
        let rules = authorizationRules(for: proxy)
        var filters: [UnsafeMutablePointer<NetworkFilter>] = []
        func add(_ name: String, _ enforced: UnsafeMutablePointer<RBAC>?, _ tried: UnsafeMutablePointer<RBAC>?) {
            guard enforced != nil || tried != nil else { return }
            let message: UnsafeMutablePointer<NetworkRBAC> = arena.make {
                $0.stat_prefix = arena("tcp.\(name).")
                $0.rules = enforced
                $0.shadow_rules = tried
                if tried != nil { $0.shadow_rules_stat_prefix = arena("istio_dry_run_\(name)_") }
            }
            filters.append(
                arena.make {
                    $0.name = arena("envoy.filters.network.rbac.\(name)")
                    $0.set(typed_config: arena.any(message))
                })
        }
        let streamChecks = rules.checks.filter { $0.authorization.http == nil }
        add("custom", enforced(.DENY, rules.refusedStreams, .streamThatDenies), nil)
        for (index, check) in streamChecks.enumerated() { filters += networkFilters(of: check, index: index) }
        add("audit", enforced(.LOG, rules.audit, .streamThatAllows), nil)
        add(
            "deny", enforced(.DENY, rules.deny, .streamThatDenies), enforced(.DENY, rules.triedDeny, .streamThatDenies))
        add(
            "allow", enforced(.ALLOW, rules.allow, .streamThatAllows),
            enforced(.ALLOW, rules.triedAllow, .streamThatAllows))
        return filters
    }

    private func enforced(
        _ action: RBACAction, _ part: AuthorizationRules.Part, _ layer: RuleLayer
    ) -> UnsafeMutablePointer<RBAC>? {
        part.isThere ? rbac(action, part, layer) : nil
    }

    func rbac(
        _ action: RBACAction, _ part: AuthorizationRules.Part, _ layer: RuleLayer
    ) -> UnsafeMutablePointer<RBAC> {
        var policies: [(String, UnsafeMutablePointer<Policy>)] = []
        for named in part.rules.sorted(by: { $0.name < $1.name }) {
            guard let permission = permission(of: named.rule, layer),
                let principal = principal(of: named.rule, in: named.policy, layer)
            else { continue }
            let policy: UnsafeMutablePointer<Policy> = arena.make {
                ($0.n_permissions, $0.permissions) = arena.list(permission)
                ($0.n_principals, $0.principals) = arena.list(principal)
            }
            policies.append((named.name, policy))
        }
        return arena.make {
            $0.action = action
            ($0.n_policies, $0.policies) =
                arena.map(policies) as (Int, UnsafeMutablePointer<UnsafeMutablePointer<RBACPoliciesEntry>?>?)
        }
    }
}
