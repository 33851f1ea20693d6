import Addresses
import CEnvoyAPI
import EnvoyAPI
import HTTP
import Protobuf

/// A permission or a principal of a policy, compiled. Source: Envoy, `config.rbac.v3`, `rbac/matchers.cc`.
indirect enum AccessRule: Sendable {
    case always
    case all([AccessRule])
    case any([AccessRule])
    case not(AccessRule)
    case header(HeaderCondition)
    /// The path without query and fragment.
    case path(TextMatcher)
    case template(PathTemplate)
    case metadata(MetadataCondition)
    case routeMetadata(MetadataCondition)
    case destination(AddressBlock)
    /// Start ..< end.
    case destinationPort(Range<Int>)
    case serverName(TextMatcher)
    /// Nil: whoever speaks TLS.
    case authenticated(TextMatcher?)
    case source(AddressBlock)
    case directSource(AddressBlock)
    case remote(AddressBlock)

    init(_ message: Permission, in arena: Arena) throws(ConfigurationError) {
        switch message.rule {
        case .and_rules(let set): self = .all(try Self.permissions(set.pointee.rules_list, "and_rules.rules", arena))
        case .or_rules(let set): self = .any(try Self.permissions(set.pointee.rules_list, "or_rules.rules", arena))
        case .any(let isSet): self = try Self.always(isSet)
        case .header(let header): self = try Self.header(header)
        case .url_path(let path): self = try Self.path(path)
        case .destination_ip(let block): self = .destination(try Self.block("destination_ip", block))
        case .destination_port(let port):
            guard port <= 65535 else { throw .invalid(path: "destination_port", message: "\(port) is no port") }
            self = .destinationPort(Int(port)..<Int(port) + 1)
        case .destination_port_range(let range):
            let (start, end) = (Int(range.pointee.start), Int(range.pointee.end))
            guard start >= 0, end <= 65536, start < end else {
                throw .invalid(path: "destination_port_range", message: "\(start) to \(end) is no range of ports")
            }
            self = .destinationPort(start..<end)
        case .metadata(let matcher):
            self = .metadata(
                try at("metadata") { () throws(ConfigurationError) in try MetadataCondition(matcher.pointee) })
        case .sourced_metadata(let sourced): self = try Self.sourced(sourced)
        case .not_rule(let rule):
            self = .not(
                try at("not_rule") { () throws(ConfigurationError) in try AccessRule(rule.pointee, in: arena) })
        case .requested_server_name(let text):
            self = .serverName(
                try at("requested_server_name") { () throws(ConfigurationError) in try TextMatcher(text.pointee) })
        case .uri_template(let extensionConfig):
            self = .template(
                try at("uri_template") { () throws(ConfigurationError) in
                    try PathTemplate(extensionConfig.pointee, in: arena)
                })
        case .matcher: throw .unsupported(path: "matcher", message: "extensions of permissions are not supported")
        case nil: throw .invalid(path: "", message: "a permission that asks for nothing")
        }
    }

    init(_ message: Principal) throws(ConfigurationError) {
        switch message.identifier {
        case .and_ids(let set): self = .all(try Self.principals(set.pointee.ids_list, "and_ids.ids"))
        case .or_ids(let set): self = .any(try Self.principals(set.pointee.ids_list, "or_ids.ids"))
        case .any(let isSet): self = try Self.always(isSet)
        case .authenticated(let authenticated):
            self = .authenticated(
                try authenticated.pointee.principal_name.read("authenticated.principal_name") {
                    (text) throws(ConfigurationError) in try TextMatcher(text)
                })
        case .source_ip(let block): self = .source(try Self.block("source_ip", block))
        case .direct_remote_ip(let block): self = .directSource(try Self.block("direct_remote_ip", block))
        case .remote_ip(let block): self = .remote(try Self.block("remote_ip", block))
        case .header(let header): self = try Self.header(header)
        case .url_path(let path): self = try Self.path(path)
        case .metadata(let matcher):
            self = .metadata(
                try at("metadata") { () throws(ConfigurationError) in try MetadataCondition(matcher.pointee) })
        case .sourced_metadata(let sourced): self = try Self.sourced(sourced)
        case .not_id(let principal):
            self = .not(try at("not_id") { () throws(ConfigurationError) in try AccessRule(principal.pointee) })
        case .filter_state: throw .unsupported(path: "filter_state", message: "there is no filter state here")
        case .custom: throw .unsupported(path: "custom", message: "extensions of principals are not supported")
        case nil: throw .invalid(path: "", message: "a principal that asks for nothing")
        }
    }

    private static func permissions(
        _ list: Repeated<Permission>, _ field: String, _ arena: Arena
    ) throws(ConfigurationError) -> [AccessRule] {
        let rules = try list.read(field) { (rule) throws(ConfigurationError) in try AccessRule(rule.pointee, in: arena)
        }
        guard !rules.isEmpty else { throw .invalid(path: field, message: "empty") }
        return rules
    }

    private static func principals(
        _ list: Repeated<Principal>, _ field: String
    ) throws(ConfigurationError) -> [AccessRule] {
        let rules = try list.read(field) { (rule) throws(ConfigurationError) in try AccessRule(rule.pointee) }
        guard !rules.isEmpty else { throw .invalid(path: field, message: "empty") }
        return rules
    }

    private static func always(_ isSet: Bool) throws(ConfigurationError) -> AccessRule {
        guard isSet else { throw .invalid(path: "any", message: "only true means something") }
        return .always
    }

    private static func header(_ message: UnsafeMutablePointer<HeaderMatcher>) throws(ConfigurationError) -> AccessRule
    {
        .header(try at("header") { () throws(ConfigurationError) in try HeaderCondition(message.pointee) })
    }

    private static func path(_ message: UnsafeMutablePointer<PathMatcher>) throws(ConfigurationError) -> AccessRule {
        guard case .path(let text) = message.pointee.rule else {
            throw .invalid(path: "url_path", message: "nothing to compare with is given")
        }
        return .path(try at("url_path.path") { () throws(ConfigurationError) in try TextMatcher(text.pointee) })
    }

    private static func block(
        _ field: String, _ message: UnsafeMutablePointer<CidrRange>
    ) throws(ConfigurationError) -> AddressBlock {
        try at(field) { () throws(ConfigurationError) in try AddressBlock(message.pointee) }
    }

    private static func sourced(
        _ message: UnsafeMutablePointer<SourcedMetadata>
    ) throws(ConfigurationError) -> AccessRule {
        let field = "sourced_metadata.metadata_matcher"
        let matcher = try message.pointee.metadata_matcher.required(field)
        let condition = try at(field) { () throws(ConfigurationError) in try MetadataCondition(matcher) }
        return message.pointee.metadata_source == .ROUTE ? .routeMetadata(condition) : .metadata(condition)
    }
}

extension AccessRule {
    func matches(_ facts: RequestFacts) -> Bool {
        switch self {
        case .always: return true
        case .all(let rules):
            for rule in rules where !rule.matches(facts) { return false }
            return true
        case .any(let rules):
            for rule in rules where rule.matches(facts) { return true }
            return false
        case .not(let rule): return !rule.matches(facts)
        case .header(let condition): return condition.matches(facts.head)
        case .path(let text): return facts.head.withBarePath { text.matches($0) } ?? false
        case .template(let template): return facts.head.withBarePath { template.pattern.matchesWhole($0) } ?? false
        case .metadata(let condition): return condition.matches(facts.metadata)
        case .routeMetadata(let condition): return condition.matches(facts.routeMetadata)
        case .destination(let block): return block.contains(facts.connection.destination)
        case .destinationPort(let ports):
            return facts.connection.destination.port.map { ports.contains(Int($0)) } ?? false
        case .serverName(let text): return text.matches(facts.connection.serverName ?? "")
        case .authenticated(let text): return Self.isAuthenticated(facts.connection, text)
        case .source(let block): return block.contains(facts.connection.source)
        case .directSource(let block): return block.contains(facts.connection.directSource)
        case .remote(let block): return block.contains(facts.remote)
        }
    }

    /// Any of the peer's names, as Envoy asks: each URI, each DNS name, the subject. But what an unverified certificate
    /// says is nobody's name: Envoy takes that too, where a listener accepts untrusted certificates.
    private static func isAuthenticated(_ connection: ConnectionFacts, _ text: TextMatcher?) -> Bool {
        guard connection.isTLS else { return false }
        guard let text else { return true }
        guard let peer = connection.peer, peer.isVerified else { return text.matches("") }
        return peer.uriNames.contains { text.matches($0) } || peer.dnsNames.contains { text.matches($0) }
            || text.matches(peer.subject)
    }
}

extension AddressBlock {
    /// A pipe is in no block.
    func contains(_ address: NetworkAddress) -> Bool {
        if case .ip(let ip, _) = address { contains(ip) } else { false }
    }
}

extension HeaderList {
    /// Calls `body` with the path, without query and fragment; nil without a path.
    func withBarePath<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result? {
        withValue(of: ":path") { path in
            let end = path.firstIndex { $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: "#") } ?? path.count
            return body(UnsafeRawBufferPointer(rebasing: path[..<end]))
        }
    }
}
