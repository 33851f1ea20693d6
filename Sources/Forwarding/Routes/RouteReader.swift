import CEnvoyAPI
import EnvoyAPI
import HTTP
import Protobuf

/// Compiles virtual hosts and routes; holds what the table says for all of them.
struct RouteReader {
    private let arena: Arena
    private let request: HeaderOperations.Step
    private let response: HeaderOperations.Step
    private let mostSpecialLast: Bool
    private let mirrors: [MirrorRule]
    private let settings: FilterSettings
    private let largestBody: UInt32
    private let losesParameters: Bool
    private let clusterNumbers: [String: Int]
    let clusterNames: [String]

    init(_ table: RouteConfiguration, in arena: Arena) throws(ConfigurationError) {
        self.arena = arena
        request = try .init(table.request_headers_to_add_list, table.request_headers_to_remove_list, side: "request")
        response = try .init(
            table.response_headers_to_add_list, table.response_headers_to_remove_list, side: "response")
        mostSpecialLast = table.most_specific_header_mutations_wins != 0
        mirrors = try Self.mirrors(table.request_mirror_policies_list)
        settings = FilterSettings.none.adding(
            try Self.settings(
                table.typed_per_filter_config_list.map { ($0.pointee.key.string, $0.pointee.value) }, arena))
        losesParameters = table.ignore_path_parameters_in_path_matching != 0
        largestBody = table.max_direct_response_body_size_bytes.number ?? 4_096
        clusterNames = Self.clusterNames(table)
        clusterNumbers = Dictionary(
            uniqueKeysWithValues: clusterNames.enumerated().map { ($0.element, $0.offset) })
    }

    private static func clusterNames(_ table: RouteConfiguration) -> [String] {
        var names: Set<String> = []
        for host in table.virtual_hosts_list {
            for route in host.pointee.routes_list {
                guard case .route(let action) = route.pointee.action else { continue }
                switch action.pointee.cluster_specifier {
                case .cluster(let name): names.insert(name)
                case .weighted_clusters(let weighted):
                    for cluster in weighted.pointee.clusters_list { names.insert(cluster.pointee.name.string) }
                case .cluster_header, .cluster_specifier_plugin, .inline_cluster_specifier_plugin, nil: break
                }
            }
        }
        names.remove("")
        return names.sorted()
    }

    private static func mirrors(
        _ messages: Repeated<RouteActionRequestMirrorPolicy>
    ) throws(ConfigurationError) -> [MirrorRule] {
        try messages.read("request_mirror_policies") { (mirror) throws(ConfigurationError) in
            try MirrorRule(mirror.pointee)
        }
    }

    /// What a level says to filters, sorted by their names.
    private static func settings(
        _ entries: [(String, UnsafeMutablePointer<ProtobufAny>?)], _ arena: Arena
    ) throws(ConfigurationError) -> [(name: String, setting: FilterSetting)] {
        var result: [(name: String, setting: FilterSetting)] = []
        for (name, any) in entries.sorted(by: { $0.0 < $1.0 }) {
            guard let any else { continue }
            let setting = try at("typed_per_filter_config[\"\(name)\"]") { () throws(ConfigurationError) in
                try FilterSetting(any.pointee, in: arena)
            }
            result.append((name, setting))
        }
        return result
    }

    private struct HostLevel {
        var name: String
        var request: HeaderOperations.Step
        var response: HeaderOperations.Step
        var mirrors: [MirrorRule]
        var settings: FilterSettings
        var retries: RetryRules?
        var hedges: Bool
        var bodyLimit: Int?
        var countsAttempts: (request: Bool, response: Bool)
        var tellsTimeoutRetries: Bool
    }

    mutating func host(
        _ message: VirtualHost, _ files: (GivenBytes) throws(ConfigurationError) -> [UInt8]
    ) throws(ConfigurationError) -> RouteTable.Host {
        guard message.n_domains > 0 else { throw .invalid(path: "domains", message: "a virtual host without a domain") }
        let requirement: RouteTable.Host.Requirement
        switch message.require_tls {
        case .NONE: requirement = .none
        case .EXTERNAL_ONLY: requirement = .external
        case .ALL: requirement = .all
        default: throw .invalid(path: "require_tls", message: "unknown value")
        }
        let own = try Self.mirrors(message.request_mirror_policies_list)
        let level = HostLevel(
            name: message.name.string,
            request: try .init(
                message.request_headers_to_add_list, message.request_headers_to_remove_list, side: "request"),
            response: try .init(
                message.response_headers_to_add_list, message.response_headers_to_remove_list, side: "response"),
            mirrors: own.isEmpty ? mirrors : own,
            settings: settings.adding(
                try Self.settings(
                    message.typed_per_filter_config_list.map { ($0.pointee.key.string, $0.pointee.value) }, arena)),
            retries: try message.retry_policy.read("retry_policy") { (policy) throws(ConfigurationError) in
                try RetryRules(policy)
            },
            hedges: message.hedge_policy.map { $0.pointee.hedge_on_per_try_timeout != 0 } ?? false,
            bodyLimit: message.per_request_buffer_limit_bytes.number.map { Int($0) },
            countsAttempts: (
                message.include_request_attempt_count != 0, message.include_attempt_count_in_response != 0
            ),
            tellsTimeoutRetries: message.include_is_timeout_retry_header != 0)
        let routes = try message.routes_list.read("routes") { (route) throws(ConfigurationError) in
            try self.route(route.pointee, level, files)
        }
        return RouteTable.Host(
            requirement: requirement, routes: routes,
            index: RouteIndex(routes.map(\.condition.path), losesParameters: losesParameters))
    }

    private func operations(
        _ route: HeaderOperations.Step, _ host: HeaderOperations.Step, _ table: HeaderOperations.Step,
        target: HeaderOperations.Step = .empty
    ) -> HeaderOperations {
        HeaderOperations([target] + (mostSpecialLast ? [table, host, route] : [route, host, table]))
    }

    private func route(
        _ message: EnvoyAPI.Route, _ host: HostLevel, _ files: (GivenBytes) throws(ConfigurationError) -> [UInt8]
    ) throws(ConfigurationError) -> Route {
        let match = try message.match.required("match")
        let condition = try at("match") { () throws(ConfigurationError) in try self.condition(match) }
        let request = try HeaderOperations.Step(
            message.request_headers_to_add_list, message.request_headers_to_remove_list, side: "request")
        let response = try HeaderOperations.Step(
            message.response_headers_to_add_list, message.response_headers_to_remove_list, side: "response")
        let settings = host.settings.adding(
            try Self.settings(
                message.typed_per_filter_config_list.map { ($0.pointee.key.string, $0.pointee.value) }, arena))
        let action: Route.Action
        switch message.action {
        case .route(let forwarding):
            action = .forward(
                try at("route") { () throws(ConfigurationError) in
                    try forwarded(forwarding.pointee, condition.path, host, request, response, settings)
                })
        case .redirect(let redirect):
            action = .redirect(
                try at("redirect") { () throws(ConfigurationError) in
                    try Redirection(redirect.pointee, of: condition.path)
                })
        case .direct_response(let answer):
            action = try at("direct_response") { () throws(ConfigurationError) in
                try respond(answer.pointee, files)
            }
        case .non_forwarding_action: action = .nothing
        case .filter_action: throw .unsupported(path: "filter_action", message: "actions of filters are not supported")
        case nil: throw .invalid(path: "", message: "a route without an action")
        }
        let tracing = try message.tracing.read("tracing") { (tracing) throws(ConfigurationError) in
            try RouteTracingRules(tracing, files)
        }
        let operation = try message.decorator.read("decorator") { (decorator) throws(ConfigurationError) in
            try FieldText.value(decorator.operation.string, "operation")
        }
        return Route(
            name: message.name.string, virtualHost: host.name, condition: condition, action: action,
            metadata: message.metadata.map { FilterMetadata($0.pointee) } ?? FilterMetadata(),
            requestHeaders: operations(request, host.request, self.request),
            responseHeaders: operations(response, host.response, self.response), filterSettings: settings,
            bodyLimit: message.per_request_buffer_limit_bytes.number.map { Int($0) } ?? host.bodyLimit,
            operation: operation ?? [], tellsOperation: message.decorator?.pointee.propagate.flag ?? true,
            tracing: tracing,
            countsAttempts: host.countsAttempts, tellsTimeoutRetries: host.tellsTimeoutRetries)
    }

    private func condition(_ match: RouteMatch) throws(ConfigurationError) -> RouteCondition {
        var condition = RouteCondition(path: try PathCondition(match, in: arena))
        condition.share = try match.runtime_fraction.read("runtime_fraction") { (share) throws(ConfigurationError) in
            try Fraction(share)
        }
        condition.headers = try match.headers_list.read("headers") { (header) throws(ConfigurationError) in
            try HeaderCondition(header.pointee)
        }
        condition.parameters = try match.query_parameters_list.read("query_parameters") {
            (parameter) throws(ConfigurationError) in try QueryCondition(parameter.pointee)
        }
        condition.isGRPC = match.grpc != nil
        condition.presentsCertificate = match.tls_context?.pointee.presented.flag
        condition.verifiesCertificate = match.tls_context?.pointee.validated.flag
        condition.metadata = try match.dynamic_metadata_list.read("dynamic_metadata") {
            (metadata) throws(ConfigurationError) in try MetadataCondition(metadata.pointee)
        }
        return condition
    }

    private func respond(
        _ message: DirectResponseAction, _ files: (GivenBytes) throws(ConfigurationError) -> [UInt8]
    ) throws(ConfigurationError) -> Route.Action {
        guard (200...599).contains(message.status) else {
            throw .invalid(path: "status", message: "\(message.status) is no status to answer with")
        }
        let body =
            try message.body.read("body") { (source) throws(ConfigurationError) -> [UInt8] in
                try files(try GivenBytes(source))
            } ?? []
        guard body.count <= largestBody else {
            throw .invalid(
                path: "body",
                message: "\(body.count) bytes, more than max_direct_response_body_size_bytes (\(largestBody))")
        }
        return .respond(status: UInt16(message.status), body: body)
    }
}

// MARK: - Passing on

extension RouteReader {
    private func forwarded(
        _ message: RouteAction, _ path: PathCondition, _ host: HostLevel, _ request: HeaderOperations.Step,
        _ response: HeaderOperations.Step, _ settings: FilterSettings
    ) throws(ConfigurationError) -> Route.Forwarded {
        let metadataMatch = balancerFields(message.metadata_match)
        func target(
            _ cluster: String, header: String = "", _ weighted: WeightedClusterClusterWeight? = nil
        ) throws(ConfigurationError) -> Route.Target {
            var (ownRequest, ownResponse) = (HeaderOperations.Step.empty, HeaderOperations.Step.empty)
            var (ownSettings, ownMatch) = (settings, metadataMatch)
            var authority: [UInt8]?
            if let weighted {
                ownRequest = try .init(
                    weighted.request_headers_to_add_list, weighted.request_headers_to_remove_list, side: "request")
                ownResponse = try .init(
                    weighted.response_headers_to_add_list, weighted.response_headers_to_remove_list, side: "response")
                ownSettings = settings.adding(
                    try Self.settings(
                        weighted.typed_per_filter_config_list.map { ($0.pointee.key.string, $0.pointee.value) }, arena))
                for field in balancerFields(weighted.metadata_match) {
                    ownMatch.removeAll { $0.name == field.name }
                    ownMatch.append(field)
                }
                if case .host_rewrite_literal(let text) = weighted.host_rewrite_specifier, !text.isEmpty {
                    authority = try FieldText.value(text, "host_rewrite_literal")
                }
            }
            return Route.Target(
                cluster: cluster, number: clusterNumbers[cluster], header: header.utf8.map(\.lowerCased),
                weight: weighted?.weight.number ?? 1, metadataMatch: ownMatch, authority: authority,
                ownRequest: HeaderOperations([ownRequest]),
                request: operations(request, host.request, self.request),
                response: operations(response, host.response, self.response, target: ownResponse),
                settings: ownSettings)
        }
        var targets: [Route.Target] = []
        var (weightHeader, hashChooses) = ("", false)
        switch message.cluster_specifier {
        case .cluster(let name):
            guard !name.isEmpty else { throw .invalid(path: "cluster", message: "empty") }
            targets = [try target(name)]
        case .cluster_header(let header):
            guard !header.isEmpty else { throw .invalid(path: "cluster_header", message: "empty") }
            targets = [try target("", header: header)]
        case .weighted_clusters(let weighted):
            targets = try at("weighted_clusters") { () throws(ConfigurationError) in
                try weighted.pointee.clusters_list.read("clusters") { (cluster) throws(ConfigurationError) in
                    let (name, header) = (cluster.pointee.name.string, cluster.pointee.cluster_header.string)
                    guard name.isEmpty != header.isEmpty else {
                        throw .invalid(path: "name", message: "one of name and cluster_header is needed")
                    }
                    guard cluster.pointee.weight != nil else { throw .invalid(path: "weight", message: "missing") }
                    return try target(name, header: header, cluster.pointee)
                }
            }
            switch weighted.pointee.random_value_specifier {
            case .header_name(let name): weightHeader = name
            case .use_hash_policy(let uses): hashChooses = uses.pointee.value != 0
            case nil: break
            }
        case .cluster_specifier_plugin, .inline_cluster_specifier_plugin:
            throw .unsupported(path: "cluster_specifier_plugin", message: "plugins are not supported")
        case nil: throw .invalid(path: "", message: "no cluster is given")
        }
        let total = targets.reduce(UInt64(0)) { $0 + UInt64($1.weight) }
        guard total > 0, total <= UInt64(UInt32.max) else {
            throw .invalid(path: "weighted_clusters", message: "the weights sum up to \(total)")
        }
        let mirrors = try Self.mirrors(message.request_mirror_policies_list)
        return Route.Forwarded(
            targets: targets, totalWeight: total, weightHeader: weightHeader.utf8.map(\.lowerCased),
            hashChoosesTarget: hashChooses, missingClusterStatus: try missingStatus(message),
            pathRewrite: try pathRewrite(message, path), hostRewrite: try hostRewrite(message),
            appendsForwardedHost: message.append_x_forwarded_host != 0, timeouts: try RequestTimeouts(message),
            retries: try message.retry_policy.read("retry_policy") { (policy) throws(ConfigurationError) in
                try RetryRules(policy)
            } ?? host.retries,
            hedgesOnTimeout: message.hedge_policy.map { $0.pointee.hedge_on_per_try_timeout != 0 } ?? host.hedges,
            redirects: try message.internal_redirect_policy.read("internal_redirect_policy") {
                (policy) throws(ConfigurationError) in try InternalRedirects(policy)
            },
            mirrors: mirrors.isEmpty ? host.mirrors : mirrors, isHighPriority: message.priority == .HIGH,
            hash: try HashRules(message.hash_policy_list), upgrades: try UpgradeRules(message.upgrade_configs_list))
    }

    private func balancerFields(_ metadata: UnsafeMutablePointer<EnvoyAPI.Metadata>?) -> [StructureValue.Field] {
        metadata.flatMap { FilterMetadata($0.pointee)["envoy.lb"] } ?? []
    }

    private func missingStatus(_ message: RouteAction) throws(ConfigurationError) -> UInt16 {
        switch message.cluster_not_found_response_code {
        case .SERVICE_UNAVAILABLE: return 503
        case .NOT_FOUND: return 404
        case .INTERNAL_SERVER_ERROR: return 500
        default: throw .invalid(path: "cluster_not_found_response_code", message: "unknown value")
        }
    }

    private func pathRewrite(_ message: RouteAction, _ path: PathCondition) throws(ConfigurationError) -> PathRewrite? {
        let prefix = message.prefix_rewrite.string
        let stated = [!prefix.isEmpty, message.regex_rewrite != nil, message.path_rewrite_policy != nil]
        guard stated.filter({ $0 }).count <= 1 else {
            throw .invalid(path: "", message: "only one of prefix_rewrite, regex_rewrite and path_rewrite_policy")
        }
        if !prefix.isEmpty {
            if case .template = path {
                throw .invalid(path: "prefix_rewrite", message: "no rewrite for paths that a template matches")
            }
            return .matched(try FieldText.value(prefix, "prefix_rewrite"))
        }
        if let rewrite = try message.regex_rewrite.read(
            "regex_rewrite",
            { (rewrite) throws(ConfigurationError) in
                try TextRewrite(rewrite)
            })
        {
            return .pattern(rewrite)
        }
        return try message.path_rewrite_policy.read("path_rewrite_policy") { (policy) throws(ConfigurationError) in
            try PathRewrite.template(policy, path, in: arena)
        }
    }

    private func hostRewrite(_ message: RouteAction) throws(ConfigurationError) -> HostRewrite? {
        switch message.host_rewrite_specifier {
        case .host_rewrite_literal(let text):
            return text.isEmpty ? nil : .literal(try FieldText.value(text, "host_rewrite_literal"))
        case .auto_host_rewrite(let flag): return flag.pointee.value != 0 ? .endpoint : nil
        case .host_rewrite_header(let name): return name.isEmpty ? nil : .header(name.utf8.map(\.lowerCased))
        case .host_rewrite_path_regex(let rewrite):
            return .path(
                try at("host_rewrite_path_regex") { () throws(ConfigurationError) in
                    try TextRewrite(rewrite.pointee)
                })
        case .host_rewrite: throw .unsupported(path: "host_rewrite", message: "formats of hosts are not supported")
        case nil: return nil
        }
    }
}
