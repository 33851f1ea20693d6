import EnvoyAPI
import Mesh
import Protobuf

/// Where a rule is asked. What only HTTP has is unknown on a plain stream: an ALLOW rule that asks for it never matches
/// there, and a DENY rule matches without it. Source: Istio, AuthorizationPolicy on TCP.
enum RuleLayer {
    case http
    case streamThatAllows
    case streamThatDenies
}

// What is called, as Envoy's RBAC filters ask it. Source: envoy.config.rbac.v3.Permission.
extension Translator {
    typealias PermissionPointer = UnsafeMutablePointer<Permission>

    /// One of the operations, and every condition about the server.
    /// - Returns: nil if the rule asks for what only HTTP has, and can never match here.
    func permission(of rule: Istio.Rule, _ layer: RuleLayer) -> PermissionPointer? {
        var operations: [PermissionPointer] = []
        for operation in rule.to {
            if layer == .streamThatAllows, operation.needsHTTP { continue }
            operations.append(permission(operation, layer))
        }
        if operations.isEmpty, !rule.to.isEmpty { return nil }
        var all = operations.isEmpty ? [] : [anyOf(operations)]
        for condition in rule.when {
            guard let matcher = conditionPermission(condition) else { continue }
            all.append(matcher)
        }
        return allOf(all)
    }

    private func permission(_ operation: Istio.Operation, _ layer: RuleLayer) -> PermissionPointer {
        var all: [PermissionPointer] = []
        func add(_ values: Istio.Values, _ make: (String) -> PermissionPointer) {
            if let permission = combined(values, make) { all.append(permission) }
        }
        add(operation.ports) { port in arena.make { $0.set(destination_port: UInt32(port) ?? 0) } }
        guard layer == .http else { return allOf(all) }
        add(operation.hosts) { host in
            arena.make { $0.set(header: headerMatcher(":authority", TextPattern(host), ignoringCase: true)) }
        }
        add(operation.methods) { method in
            arena.make { $0.set(header: headerMatcher(":method", TextPattern(method))) }
        }
        add(operation.paths) { path in pathPermission(path) }
        return allOf(all)
    }

    private func pathPermission(_ path: String) -> PermissionPointer {
        if path.contains("{") {
            return arena.make {
                $0.set(
                    uri_template: arena.make {
                        $0.name = arena("envoy.path.match.uri_template.uri_template_matcher")
                        $0.typed_config = arena.any(
                            arena.make(UriTemplateMatchConfig.self) {
                                $0.path_template = arena(
                                    path.replacing("{**}", with: "**").replacing("{*}", with: "*"))
                            })
                    })
            }
        }
        return arena.make { $0.set(url_path: arena.make { $0.set(path: stringMatcher(TextPattern(path))) }) }
    }

    private func conditionPermission(_ condition: Istio.Condition) -> PermissionPointer? {
        switch condition.key {
        case "destination.ip":
            return combined(condition.values) { block in arena.make { $0.set(destination_ip: cidr(block)) } }
        case "destination.port":
            return combined(condition.values) { port in
                arena.make { $0.set(destination_port: UInt32(port) ?? 0) }
            }
        case "connection.sni":
            return combined(condition.values) { name in
                arena.make { $0.set(requested_server_name: stringMatcher(TextPattern(name))) }
            }
        default: break
        }
        // experimental.envoy.filters.NAME[KEY]: what a filter left as metadata.
        let prefix = "experimental."
        guard condition.key.hasPrefix(prefix + "envoy.filters."), let open = condition.key.firstIndex(of: "[") else {
            return nil
        }
        let filter = String(condition.key[..<open].dropFirst(prefix.count))
        let key = String(condition.key[condition.key.index(after: open)...].dropLast())
        return combined(condition.values) { text in
            let isList = text.hasPrefix("[") && text.hasSuffix("]")
            let one: UnsafeMutablePointer<ValueMatcher> = arena.make {
                $0.set(string_match: stringMatcher(TextPattern(isList ? String(text.dropFirst().dropLast()) : text)))
            }
            let value: UnsafeMutablePointer<ValueMatcher> =
                isList ? arena.make { $0.set(list_match: arena.make { $0.set(one_of: one) }) } : one
            return arena.make { $0.set(metadata: metadataMatcher(filter, [key], value)) }
        }
    }

    // MARK: Together

    private func combined(_ values: Istio.Values, _ make: (String) -> PermissionPointer) -> PermissionPointer? {
        var all: [PermissionPointer] = []
        if !values.any.isEmpty { all.append(anyOf(values.any.map(make))) }
        if !values.none.isEmpty {
            let none = anyOf(values.none.map(make))
            all.append(arena.make { $0.set(not_rule: none) })
        }
        return all.isEmpty ? nil : allOf(all)
    }

    private func anyOf(_ list: [PermissionPointer]) -> PermissionPointer {
        if list.count == 1 { return list[0] }
        return arena.make { $0.set(or_rules: arena.make { ($0.n_rules, $0.rules) = arena.list(list) }) }
    }

    /// Everything where nothing is asked.
    private func allOf(_ list: [PermissionPointer]) -> PermissionPointer {
        switch list.count {
        case 0: arena.make { $0.set(any: true) }
        case 1: list[0]
        default: arena.make { $0.set(and_rules: arena.make { ($0.n_rules, $0.rules) = arena.list(list) }) }
        }
    }
}
