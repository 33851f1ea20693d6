import CEnvoyAPI
import EnvoyAPI
import HTTP

/// What of a request decides which endpoint gets it, where the cluster's balancer goes by a hash.
/// Source: Envoy, `RouteAction.HashPolicy`, `HashPolicyImpl`.
public struct HashRules: Sendable {
    enum Rule: Sendable {
        case header([UInt8], TextRewrite?)
        case cookie(CookieRule)
        case sourceAddress
        case query([UInt8])
    }

    struct CookieRule: Sendable {
        let cookie: ResponseCookie
        /// Whether a cookie that is not there is made.
        let isMade: Bool
    }

    private let rules: [(rule: Rule, isTerminal: Bool)]

    public var isEmpty: Bool { rules.isEmpty }

    public static let none = HashRules(rules: [])

    private init(rules: [(rule: Rule, isTerminal: Bool)]) { self.rules = rules }

    init(_ messages: Repeated<RouteActionHashPolicy>) throws(ConfigurationError) {
        var rules: [(rule: Rule, isTerminal: Bool)] = []
        for (index, policy) in messages.enumerated() {
            let rule = try at("hash_policy[\(index)]") { () throws(ConfigurationError) -> Rule? in
                try Self.rule(policy.pointee)
            }
            if let rule { rules.append((rule, policy.pointee.terminal != 0)) }
        }
        self.rules = rules
    }

    private static func rule(_ policy: RouteActionHashPolicy) throws(ConfigurationError) -> Rule? {
        switch policy.policy_specifier {
        case .header(let header):
            let rewrite = try header.pointee.regex_rewrite.read("header.regex_rewrite") {
                (rewrite) throws(ConfigurationError) in try TextRewrite(rewrite)
            }
            return .header(header.pointee.header_name.string.utf8.map(\.lowerCased), rewrite)
        case .cookie(let cookie):
            let lifetime = try cookie.pointee.ttl.duration("cookie.ttl")
            return .cookie(
                CookieRule(
                    cookie: try at("cookie") { () throws(ConfigurationError) in
                        try ResponseCookie(
                            name: cookie.pointee.name.string, path: cookie.pointee.path.string,
                            lifetime: lifetime ?? .zero,
                            attributes: cookie.pointee.attributes_list.map {
                                ($0.pointee.name.string, $0.pointee.value.string)
                            })
                    }, isMade: lifetime != nil))
        case .connection_properties(let properties): return properties.pointee.source_ip != 0 ? .sourceAddress : nil
        case .query_parameter(let parameter): return .query(Array(parameter.pointee.name.string.utf8))
        case .filter_state: throw .unsupported(path: "filter_state", message: "there is no filter state here")
        case nil: throw .invalid(path: "", message: "nothing to hash is given")
        }
    }

    public struct Outcome: Equatable, Sendable {
        /// Nil: nothing in the request decides.
        public var hash: UInt64?
        /// The values of `set-cookie` that the response gets.
        public var cookies: [[UInt8]] = []
    }

    /// - Parameter source: the address that the request is held to come from.
    public func hash(_ head: HeaderList, source: NetworkAddress, connection: ConnectionFacts) -> Outcome {
        var outcome = Outcome()
        for (rule, isTerminal) in rules {
            if let value = value(rule, head, source, connection, &outcome.cookies) {
                // Turning the old value keeps equal rules from cancelling each other.
                outcome.hash = (outcome.hash.map { $0 << 1 | $0 >> 63 } ?? 0) ^ value
            }
            if isTerminal, outcome.hash != nil { break }
        }
        return outcome
    }

    private func value(
        _ rule: Rule, _ head: HeaderList, _ source: NetworkAddress, _ connection: ConnectionFacts,
        _ cookies: inout [[UInt8]]
    ) -> UInt64? {
        switch rule {
        case .header(let name, let rewrite):
            var values: [[UInt8]] = []
            name.withUnsafeBytes { head.forEachValue(ofBytes: $0) { values.append(rewrite?($0) ?? Array($0)) } }
            if values.isEmpty { return nil }
            values.sort { $0.lexicographicallyPrecedes($1) }
            return values.reduce(0) { seed, value in value.withUnsafeBytes { KeyHash.xx($0, seed: seed) } }
        case .sourceAddress:
            guard let ip = source.ip else { return nil }
            return KeyHash.xx("\(ip)")
        case .query(let name):
            return head.withValue(of: ":path") { QueryParameters($0).first(name).map { KeyHash.xx($0) } } ?? nil
        case .cookie(let rule):
            if let value = head.unquotedCookie(rule.cookie.name), !value.isEmpty {
                return value.withUnsafeBytes { KeyHash.xx($0) }
            }
            guard rule.isMade else { return nil }
            let seed = KeyHash.xx("\(connection.source)\(connection.destination)")
            let hex = String(seed, radix: 16)
            let value = String(repeating: "0", count: 16 - hex.utf8.count) + hex
            cookies.append(rule.cookie.field(value))
            return KeyHash.xx(value)
        }
    }
}

extension HeaderList {
    /// The value of a cookie; quotes around it are taken off. Source: RFC 6265, section 4.2.
    func unquotedCookie(_ name: [UInt8]) -> [UInt8]? {
        var found: [UInt8]?
        forEachValue(of: "cookie") { value in
            var start = 0
            while found == nil, start < value.count {
                let end = value[start...].firstIndex(of: UInt8(ascii: ";")) ?? value.count
                var (low, high) = (start, end)
                while low < high, value[low] == 32 { low += 1 }
                while high > low, value[high - 1] == 32 { high -= 1 }
                start = end + 1
                guard let sign = value[low..<high].firstIndex(of: UInt8(ascii: "=")),
                    UnsafeRawBufferPointer(rebasing: value[low..<sign]).equals(name)
                else { continue }
                low = sign + 1
                if high - low >= 2, value[low] == 34, value[high - 1] == 34 { (low, high) = (low + 1, high - 1) }
                found = Array(value[low..<high])
            }
        }
        return found
    }
}
