import CEnvoyAPI
import EnvoyAPI
import Protobuf

/// A filter or extension as its resource has it, for the part that knows what it means.
public struct ExtensionSetting: Sendable, Equatable {
    public let name: String
    /// The full name of the message; empty: there is none.
    public let typeName: String
    public let bytes: [UInt8]
    /// Left out, not refused, by those who do not know it.
    public let isOptional: Bool
    /// Does nothing unless a route says otherwise.
    public let isDisabled: Bool

    init(name: String, typeName: String, bytes: [UInt8], isOptional: Bool = false, isDisabled: Bool = false) {
        (self.name, self.typeName, self.bytes) = (name, typeName, bytes)
        (self.isOptional, self.isDisabled) = (isOptional, isDisabled)
    }

    init(_ name: String, _ any: ProtobufAny?, isOptional: Bool = false, isDisabled: Bool = false) {
        self.name = name
        typeName = any.map { FieldAudit.typeName($0) } ?? ""
        bytes = any.map { Array($0.value_bytes) } ?? []
        (self.isOptional, self.isDisabled) = (isOptional, isDisabled)
    }
}

/// A listener, compiled: where it listens, what it looks at, and which filter chain a connection gets.
/// Source: Envoy, `config.listener.v3.Listener`.
public final class ListenerConfiguration: Sendable {
    public let name: String
    /// At least one; the first is the main one.
    public let addresses: [NetworkAddress]
    /// False: connections come from listeners that hand them over.
    public let bindsToPort: Bool
    /// Each connection goes to the listener of its original destination, if there is one.
    public let handsOver: Bool
    public let inspection: Inspection
    public let chains: [FilterChain]
    public let defaultChain: FilterChain?
    /// What a connection may hold in memory each way, bytes.
    public let bufferLimit: Int
    /// Bound with IP_TRANSPARENT: for connections to any address.
    public let isTransparent: Bool
    public let backlog: Int?
    /// It takes what goes out of a workload.
    let isOutbound: Bool
    /// Of connections that no chain takes.
    public let accessLogs: [AccessLogRule]
    private let table: ChainTable
    /// The resource without what chains do with their connections, and each chain without it.
    private let frame: [[UInt8]]

    /// - Parameters:
    ///   - bytes: a `Listener`.
    ///   - old: what this one replaces: chains that are the same are the same objects, so that their connections can
    ///     go on.
    ///   - files: reads what the configuration only points to.
    /// - Throws: the first thing that is wrong or not supported, with its path.
    public init(
        _ bytes: [UInt8], replacing old: ListenerConfiguration? = nil,
        files: (GivenBytes) throws(ConfigurationError) -> [UInt8] = GivenBytes.refuse
    ) throws(ConfigurationError) {
        let arena = Arena()
        let message = try FieldAudit.decode(Listener.self, bytes, in: arena, .listeners).pointee
        name = message.name.string
        let main = try message.address.required("address")
        let others = try message.additional_addresses_list.read("additional_addresses") {
            (other) throws(ConfigurationError) in
            let address = try other.pointee.address.required("address")
            return try at("address") { () throws(ConfigurationError) in try NetworkAddress(address) }
        }
        addresses = [try at("address") { () throws(ConfigurationError) in try NetworkAddress(main) }] + others
        bindsToPort = message.bind_to_port.flag ?? message.deprecated_v1?.pointee.bind_to_port.flag ?? true
        handsOver = message.use_original_dst.flag ?? false
        inspection = try Inspection(message, in: arena)
        bufferLimit = Int(message.per_connection_buffer_limit_bytes.number ?? 1 << 20)
        isTransparent = message.transparent.flag ?? false
        backlog = message.tcp_backlog_size.number.map(Int.init)
        let isOutbound = message.traffic_direction == .OUTBOUND
        self.isOutbound = isOutbound
        accessLogs = try AccessLogRule.rules(message.access_log_list, in: arena)
        frame = Self.frame(of: message)
        var known: [[UInt8]: FilterChain] = [:]
        if let old, old.isOutbound == isOutbound {
            for chain in old.allChains where !chain.hasRead { known[chain.bytes] = chain }
        }
        func made(_ chain: UnsafeMutablePointer<EnvoyAPI.FilterChain>) throws(ConfigurationError) -> FilterChain {
            let bytes = encode(chain)
            if let same = known[bytes] { return same }
            return try FilterChain(chain.pointee, bytes, isOutbound: isOutbound, in: arena, files)
        }
        var chains: [FilterChain] = []
        var matches: [ChainMatch] = []
        for (index, chain) in message.filter_chains_list.enumerated() {
            let place = "filter_chains[\(index)]"
            let match = try at(place) { () throws(ConfigurationError) in
                try chain.pointee.filter_chain_match.read("filter_chain_match") {
                    (match) throws(ConfigurationError) in try ChainMatch(match)
                } ?? ChainMatch()
            }
            if let other = matches.firstIndex(where: { $0.overlaps(match) }) {
                throw .invalid(
                    path: place + ".filter_chain_match",
                    message: "the same connections are for filter_chains[\(other)] too")
            }
            matches.append(match)
            chains.append(
                try at(place) { () throws(ConfigurationError) in try made(chain) })
        }
        self.chains = chains
        table = ChainTable(matches)
        if let chain = message.default_filter_chain {
            defaultChain = try at("default_filter_chain") { () throws(ConfigurationError) in try made(chain) }
        } else {
            defaultChain = nil
        }
        guard !chains.isEmpty || defaultChain != nil || handsOver else {
            throw .invalid(path: "filter_chains", message: "no filter chain")
        }
    }

    /// The chain of a connection; nil: it is closed.
    public func chain(for facts: ChainFacts) -> FilterChain? {
        table.chain(for: facts).map { chains[$0] } ?? defaultChain
    }

    /// All chains, the default one last.
    public var allChains: [FilterChain] { chains + (defaultChain.map { [$0] } ?? []) }

    /// The chain that takes from now on what one of an older configuration's took.
    /// - Returns: nil if it is not certain: what is looked at, what the chains take, or how they secure it has changed.
    public func successor(of chain: FilterChain, in old: ListenerConfiguration) -> FilterChain? {
        guard frame == old.frame, let place = old.allChains.firstIndex(where: { $0 === chain }) else { return nil }
        return allChains[place]
    }

    private static func frame(of message: Listener) -> [[UInt8]] {
        func bytes(_ chain: UnsafeMutablePointer<EnvoyAPI.FilterChain>) -> [UInt8] {
            var chain = chain.pointee
            (chain.n_filters, chain.filters) = (0, nil)
            return withUnsafePointer(to: chain) { encode($0) }
        }
        var rest = message
        (rest.n_filter_chains, rest.filter_chains, rest.default_filter_chain) = (0, nil, nil)
        (rest.n_access_log, rest.access_log) = (0, nil)
        let chains = message.filter_chains_list.map(bytes)
        return [withUnsafePointer(to: rest) { encode($0) }] + chains + [message.default_filter_chain.map(bytes) ?? []]
    }
}

/// What is looked at before a chain is chosen. Source: Envoy, listener filters.
public struct Inspection: Sendable {
    /// When a filter is left out.
    indirect enum Condition: Sendable {
        case all([Condition])
        case any([Condition])
        case not(Condition)
        case always(Bool)
        case port(Range<Int32>)

        init(_ message: ListenerFilterChainMatchPredicate) throws(ConfigurationError) {
            switch message.rule {
            case .or_match(let set):
                self = .any(
                    try set.pointee.rules_list.read("or_match.rules") { (rule) throws(ConfigurationError) in
                        try Condition(rule.pointee)
                    })
            case .and_match(let set):
                self = .all(
                    try set.pointee.rules_list.read("and_match.rules") { (rule) throws(ConfigurationError) in
                        try Condition(rule.pointee)
                    })
            case .not_match(let rule):
                self = .not(try at("not_match") { () throws(ConfigurationError) in try Condition(rule.pointee) })
            case .any_match(let always): self = .always(always)
            case .destination_port_range(let range):
                guard range.pointee.start <= range.pointee.end else {
                    throw .invalid(path: "destination_port_range", message: "the end is before the start")
                }
                self = .port(range.pointee.start..<range.pointee.end)
            case nil: throw .invalid(path: "", message: "no rule")
            }
        }

        func holds(_ port: UInt16?) -> Bool {
            switch self {
            case .all(let rules): rules.allSatisfy { $0.holds(port) }
            case .any(let rules): rules.contains { $0.holds(port) }
            case .not(let rule): !rule.holds(port)
            case .always(let always): always
            case .port(let range): port.map { range.contains(Int32($0)) } ?? false
            }
        }
    }

    /// A filter that is there, with when it is not.
    struct Use: Sendable {
        let disabled: Condition?
        func applies(_ port: UInt16?) -> Bool { disabled.map { !$0.holds(port) } ?? true }
    }

    /// How connections that start with a PROXY header are taken.
    public struct ProxyHeader: Sendable, Equatable {
        public let isOptional: Bool
        public let versions: Set<Int>
    }

    /// Whether the original destination is asked for: it is before any port is known.
    public let looksForDestination: Bool
    private let tls: Use?
    private let http: Use?
    private let proxy: (header: ProxyHeader, use: Use)?
    /// How long to wait for bytes; nil: for ever.
    public let timeout: Duration?
    /// After the timeout the connection goes on with what is known; otherwise it is closed.
    public let continuesOnTimeout: Bool
    /// A client hello that cannot be read closes the connection; otherwise it counts as no TLS.
    public let closesOnBadHello: Bool

    init(_ message: Listener, in arena: Arena) throws(ConfigurationError) {
        var destination = false
        var (tls, http): (Use?, Use?) = (nil, nil)
        var proxy: (ProxyHeader, Use)?
        var closes = false
        for (index, filter) in message.listener_filters_list.enumerated() {
            do throws(ConfigurationError) {
                let disabled = try filter.pointee.filter_disabled.read("filter_disabled") {
                    (rule) throws(ConfigurationError) in try Condition(rule)
                }
                let use = Use(disabled: disabled)
                guard case .typed_config(let any) = filter.pointee.config_type else {
                    throw .unsupported(path: "", message: "a listener filter without typed_config")
                }
                switch FieldAudit.typeName(any.pointee) {
                case OriginalDst.descriptor.fullName:
                    guard disabled == nil else {
                        throw .unsupported(
                            path: "filter_disabled",
                            message: "the original destination is asked for before any port is known: always or never")
                    }
                    destination = true
                case HttpInspector.descriptor.fullName: http = use
                case TlsInspector.descriptor.fullName:
                    tls = use
                    let inspector = try FieldAudit.decode(TlsInspector.self, any.pointee, in: arena, .listeners)
                    closes = inspector.pointee.close_connection_on_client_hello_parsing_errors != 0
                case ProxyProtocol.descriptor.fullName:
                    let header = try FieldAudit.decode(ProxyProtocol.self, any.pointee, in: arena, .listeners).pointee
                    let refused = UnsafeBufferPointer(
                        start: header.disallowed_versions, count: header.n_disallowed_versions)
                    let versions = Set([1, 2]).subtracting(refused.map { $0 == .V2 ? 2 : 1 })
                    proxy = (
                        ProxyHeader(
                            isOptional: header.allow_requests_without_proxy_protocol != 0, versions: versions), use
                    )
                case let other: throw .unsupported(path: "", message: "the listener filter `\(other)` is not supported")
                }
            } catch {
                throw error.under("listener_filters[\(index)]")
            }
        }
        (looksForDestination, self.tls, self.http, self.proxy) = (destination, tls, http, proxy)
        let stated = try message.listener_filters_timeout.duration("listener_filters_timeout") ?? .seconds(15)
        timeout = stated > .zero ? stated : nil
        continuesOnTimeout = message.continue_on_listener_filters_timeout != 0
        closesOnBadHello = closes
    }

    /// - Parameter port: where the connection goes.
    public func looksForTLS(_ port: UInt16?) -> Bool { tls?.applies(port) ?? false }
    public func looksForHTTP(_ port: UInt16?) -> Bool { http?.applies(port) ?? false }
    public func proxyHeader(_ port: UInt16?) -> ProxyHeader? {
        proxy.flatMap { $0.use.applies(port) ? $0.header : nil }
    }

    /// Whether nothing has to be read before a chain is chosen.
    public var needsNoBytes: Bool { tls == nil && http == nil && proxy == nil }
}
