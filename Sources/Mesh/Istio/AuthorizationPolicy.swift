import Documents

extension Istio {
    /// Who may call what.
    public struct AuthorizationPolicy: Hashable, Sendable {
        public enum Action: String, NamedValue {
            case allow = "ALLOW"
            case deny = "DENY"
            case audit = "AUDIT"
            /// An authorization service decides.
            case custom = "CUSTOM"
        }

        public var scope: PolicyScope
        public var action: Action
        /// Any of them. An ALLOW policy without rules lets nobody in.
        public var rules: [Rule]
        /// Of a CUSTOM policy.
        public var provider: String?
    }

    /// Matches where one of `from`, one of `to`, and all of `when` match; what is empty matches everything.
    public struct Rule: Hashable, Sendable {
        public var from: [Source]
        public var to: [Operation]
        public var when: [Condition]

        /// Whoever one of the sources is, and whatever is called.
        public init(from sources: [Source]) {
            (from, to, when) = (sources, [], [])
        }

        public var matchesEverything: Bool { from.isEmpty && to.isEmpty && when.isEmpty }
    }

    /// Texts of which one must match, and texts of which none may: `a`, `a*`, `*a`, or `*` for anything that is there.
    public struct Values: Hashable, Sendable {
        public var any: [String]
        public var none: [String]

        public init(any: [String] = [], none: [String] = []) {
            self.any = any
            self.none = none
        }

        public var isEmpty: Bool { any.isEmpty && none.isEmpty }
    }

    public struct Source: Hashable, Sendable {
        public var principals: Values
        public var requestPrincipals: Values
        public var namespaces: Values
        public var serviceAccounts: Values
        public var trustDomains: Values
        /// Of the connection.
        public var ipBlocks: Values
        /// Of the client, from X-Forwarded-For or the PROXY protocol.
        public var remoteIPBlocks: Values

        /// Every workload of a namespace.
        public init(namespace: String) {
            (principals, requestPrincipals, namespaces) = (Values(), Values(), Values(any: [namespace]))
            (serviceAccounts, trustDomains, ipBlocks, remoteIPBlocks) = (Values(), Values(), Values(), Values())
        }
    }

    public struct Operation: Hashable, Sendable {
        public var hosts: Values
        public var ports: Values
        public var methods: Values
        public var paths: Values

        /// Whether it asks for something that only HTTP has.
        public var needsHTTP: Bool { !hosts.isEmpty || !methods.isEmpty || !paths.isEmpty }
    }

    public struct Condition: Hashable, Sendable {
        /// `request.headers[X-Token]`, `source.ip` …
        public var key: String
        public var values: Values
    }
}

extension Istio.AuthorizationPolicy: ObjectPart {
    private struct Provider: ObjectPart {
        var name: String
        init(_ fields: inout ObjectFields) { name = fields.requiredText("name") }
    }

    init(_ fields: inout ObjectFields) {
        scope = Istio.PolicyScope(&fields)
        action = fields.value("action", default: .allow)
        rules = fields.list("rules")
        let provider: Provider? = fields.optional("provider")
        self.provider = provider?.name
        switch action {
        case .custom:
            if !fields.has("provider") { fields.failMissing("provider") }
            if rules.isEmpty, !fields.has("rules") { fields.failMissing("rules") }
        case .allow, .deny, .audit:
            if fields.has("provider") {
                fields.contradict("provider", "\(action.rawValue) asks no provider", mend: "write action: CUSTOM")
            }
        }
    }
}

extension ObjectFields {
    /// `names` and `notNames`.
    fileprivate mutating func values(_ name: String, _ rule: TextRule = .matchPattern) -> Istio.Values {
        let negative = "not" + name.prefix(1).uppercased() + name.dropFirst()
        let values = Istio.Values(any: texts(name, rule), none: texts(negative, rule))
        for (field, list) in [(name, values.any), (negative, values.none)] where has(field) && list.isEmpty {
            // Where it could not be read, that is told.
            if place.log.errors.isEmpty { fail(.missingField, field, "it is empty", mend: "remove it, or add a value") }
        }
        return values
    }
}

extension TextRule {
    /// A star stands at one end only.
    fileprivate static let matchPattern = TextRule(mend: "write a text, with * at its beginning or end or alone") {
        text in
        if text.isEmpty { return "it is empty" }
        let inner = text == "*" ? "" : text.dropFirst(text.hasPrefix("*") ? 1 : 0).dropLast(text.hasSuffix("*") ? 1 : 0)
        let isBoth = text.count > 1 && text.hasPrefix("*") && text.hasSuffix("*")
        return inner.contains("*") || isBoth ? "`\(excerpt(text))` has a * that is not at one end" : nil
    }

    /// As texts, or with `{*}` for one part of the path and `{**}` for any number. Source: Istio, path templating.
    fileprivate static let pathPattern = TextRule(mend: "write /PATH, with * at one end, or {*} and {**} for parts") {
        text in
        guard text.contains("{") || text.contains("}") else { return matchPattern.fault(text) }
        let parts = text.split(separator: "/")
        let last = parts.lastIndex { $0 == "{**}" }
        for (index, part) in parts.enumerated() {
            if part == "{*}" { continue }
            if part == "{**}" {
                if index != last { return "`\(excerpt(text))` has two {**}" }
                if parts[(index + 1)...].contains("{*}") { return "`\(excerpt(text))` has {*} behind {**}" }
                continue
            }
            if part.contains(where: { "{}*".contains($0) }) {
                return "`\(excerpt(text))` has a part that is no template"
            }
        }
        return nil
    }

    fileprivate static let portText = TextRule(mend: "write a port in quotes, like \"8080\"") { text in
        Int(text).map { (1...65_535).contains($0) } == true ? nil : "`\(excerpt(text))` is no port"
    }

    fileprivate static let serviceAccount = TextRule(mend: "write NAME or NAMESPACE/NAME") { text in
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        return (1...2).contains(parts.count) && parts.allSatisfy(isSubdomain)
            ? nil : "`\(excerpt(text))` is no service account"
    }
}

extension Istio.Rule: ObjectPart {
    private struct From: ObjectPart {
        var source: Istio.Source?
        init(_ fields: inout ObjectFields) {
            source = fields.optional("source")
            if !fields.has("source") { fields.failMissing("source") }
        }
    }

    private struct To: ObjectPart {
        var operation: Istio.Operation?
        init(_ fields: inout ObjectFields) {
            operation = fields.optional("operation")
            if !fields.has("operation") { fields.failMissing("operation") }
        }
    }

    init(_ fields: inout ObjectFields) {
        let from: [From] = fields.list("from")
        let to: [To] = fields.list("to")
        self.from = from.compactMap(\.source)
        self.to = to.compactMap(\.operation)
        when = fields.list("when")
        for name in ["from", "to", "when"] where fields.has(name) {
            let isEmpty = name == "from" ? from.isEmpty : name == "to" ? to.isEmpty : when.isEmpty
            if isEmpty, fields.place.log.errors.isEmpty {
                fields.fail(.missingField, name, "it is empty", mend: "remove it, or add an element")
            }
        }
    }
}

extension Istio.Source: ObjectPart {
    init(_ fields: inout ObjectFields) {
        principals = fields.values("principals")
        requestPrincipals = fields.values("requestPrincipals")
        namespaces = fields.values("namespaces")
        serviceAccounts = fields.values("serviceAccounts", .serviceAccount)
        trustDomains = fields.values("trustDomains")
        ipBlocks = fields.values("ipBlocks", .addressOrBlock)
        remoteIPBlocks = fields.values("remoteIpBlocks", .addressOrBlock)
        let all = [
            principals, requestPrincipals, namespaces, serviceAccounts, trustDomains, ipBlocks, remoteIPBlocks,
        ]
        if all.allSatisfy(\.isEmpty), fields.place.log.errors.isEmpty {
            fields.place.fail(
                .missingField, at: fields.position, "it names no source", mend: "add principals, namespaces or ipBlocks"
            )
        }
        if !serviceAccounts.isEmpty, !principals.isEmpty || !namespaces.isEmpty {
            fields.contradict(
                "serviceAccounts", "it excludes `principals` and `namespaces`", mend: "keep one way to name the source")
        }
    }
}

extension Istio.Operation: ObjectPart {
    init(_ fields: inout ObjectFields) {
        hosts = fields.values("hosts")
        ports = fields.values("ports", .portText)
        methods = fields.values("methods")
        paths = fields.values("paths", .pathPattern)
        if hosts.isEmpty, ports.isEmpty, methods.isEmpty, paths.isEmpty, fields.place.log.errors.isEmpty {
            fields.place.fail(
                .missingField, at: fields.position, "it names no operation", mend: "add hosts, ports, methods or paths")
        }
    }
}

extension Istio.Condition: ObjectPart {
    /// Source: Istio, authorization policy conditions.
    public static let keys = [
        "request.headers[NAME]", "source.ip", "remote.ip", "source.namespace", "source.principal",
        "source.serviceAccount", "source.trustDomain", "request.auth.principal", "request.auth.audiences",
        "request.auth.presenter", "request.auth.claims[NAME]", "destination.ip", "destination.port", "connection.sni",
        "experimental.envoy.filters.NAME[KEY]",
    ]

    init(_ fields: inout ObjectFields) {
        key = fields.requiredText("key", Self.keyRule)
        let rule: TextRule =
            switch key {
            case "source.ip", "remote.ip", "destination.ip": .addressOrBlock
            case "destination.port": .portText
            case "source.serviceAccount": .serviceAccount
            default: .notEmpty
            }
        values = Istio.Values(any: fields.texts("values", rule), none: fields.texts("notValues", rule))
        if values.isEmpty, !fields.has("values"), !fields.has("notValues") { fields.failMissing("values") }
    }

    private static let keyRule = TextRule(mend: "write one of " + keys.joined(separator: ", ")) { text in
        if keys.contains(text), !text.contains("[") { return nil }
        for prefix in ["request.headers[", "request.auth.claims["] where text.hasPrefix(prefix) && text.hasSuffix("]") {
            return text.utf8.count > prefix.utf8.count + 1 ? nil : "`\(text)` names nothing between the brackets"
        }
        if text.hasPrefix("experimental.envoy.filters."), text.hasSuffix("]"), text.contains("[") { return nil }
        let near = suggestion(for: text, among: keys).map { " (did you mean \($0)?)" } ?? ""
        return "`\(excerpt(text))` is no key of a condition" + near
    }
}
