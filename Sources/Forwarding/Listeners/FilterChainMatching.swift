import Addresses
import CEnvoyAPI
import EnvoyAPI

/// What is known of a connection when its filter chain is chosen.
public struct ChainFacts: Sendable {
    public var connection: ConnectionFacts
    /// `tls`, `raw_buffer`; empty: not looked at.
    public var transport: String
    /// What the client offers, in its order: ALPN, or what the inspector of HTTP says (`http/1.1`, `h2c`).
    public var applicationProtocols: [String]

    public init(connection: ConnectionFacts, transport: String = "raw_buffer", applicationProtocols: [String] = []) {
        (self.connection, self.transport) = (connection, transport)
        self.applicationProtocols = applicationProtocols
    }
}

/// Which connections a filter chain takes. Empty lists and nil ask for nothing.
/// Source: Envoy, `config.listener.v3.FilterChainMatch`.
struct ChainMatch: Sendable, Hashable {
    enum Source: Sendable, Hashable { case any, local, external }

    var port: UInt16?
    var destinations: [AddressBlock] = []
    /// In lower case; `.x` stands for `*.x`.
    var serverNames: [String] = []
    var transport = ""
    var applicationProtocols: [String] = []
    var directSources: [AddressBlock] = []
    var source = Source.any
    var sources: [AddressBlock] = []
    var sourcePorts: [UInt16] = []

    init() {}

    init(_ message: FilterChainMatch) throws(ConfigurationError) {
        if let number: UInt32 = message.destination_port.number {
            guard let port = UInt16(exactly: number), port > 0 else {
                throw .invalid(path: "destination_port", message: "\(number) is no port")
            }
            self.port = port
        }
        func blocks(_ ranges: Repeated<CidrRange>, _ field: String) throws(ConfigurationError) -> [AddressBlock] {
            try ranges.read(field) { (range) throws(ConfigurationError) in try AddressBlock(range.pointee).masked }
        }
        destinations = try blocks(message.prefix_ranges_list, "prefix_ranges")
        directSources = try blocks(message.direct_source_prefix_ranges_list, "direct_source_prefix_ranges")
        sources = try blocks(message.source_prefix_ranges_list, "source_prefix_ranges")
        serverNames = try message.server_names_list.read("server_names") { (name) throws(ConfigurationError) in
            let isWildcard = name.hasPrefix("*.")
            guard !(isWildcard ? name.dropFirst() : name[...]).contains("*") else {
                throw .invalid(path: "", message: "`\(name)`: a star stands only for the first labels: `*.x`")
            }
            return (isWildcard ? String(name.dropFirst()) : name).lowercased()
        }
        transport = message.transport_protocol.string
        applicationProtocols = Array(message.application_protocols_list)
        switch message.source_type {
        case .ANY: source = .any
        case .SAME_IP_OR_LOOPBACK: source = .local
        case .EXTERNAL: source = .external
        default: throw .invalid(path: "source_type", message: "unknown value")
        }
        let ports = UnsafeBufferPointer(start: message.source_ports, count: message.n_source_ports)
        sourcePorts = ports.map { UInt16(clamping: $0) }
    }

    /// Whether some connection would be for both, on every level alike: then neither is the better match.
    func overlaps(_ other: ChainMatch) -> Bool {
        func share<T: Equatable>(_ one: [T], _ two: [T]) -> Bool {
            one.isEmpty && two.isEmpty || one.contains { two.contains($0) }
        }
        return port == other.port && transport == other.transport && source == other.source
            && share(destinations, other.destinations) && share(serverNames, other.serverNames)
            && share(applicationProtocols, other.applicationProtocols) && share(directSources, other.directSources)
            && share(sources, other.sources) && share(sourcePorts, other.sourcePorts)
    }
}

/// Finds the chain of a connection. Level by level the most special match is kept and nothing else: where the levels
/// below do not fit, less special ones are not tried. Source: Envoy, `FilterChainMatch`, "the following order applies".
struct ChainTable: Sendable {
    private let matches: [ChainMatch]
    private let byPort: [UInt16: [Int]]
    private let anyPort: [Int]

    init(_ matches: [ChainMatch]) {
        self.matches = matches
        var byPort: [UInt16: [Int]] = [:]
        var anyPort: [Int] = []
        for (number, match) in matches.enumerated() {
            if let port = match.port { byPort[port, default: []].append(number) } else { anyPort.append(number) }
        }
        (self.byPort, self.anyPort) = (byPort, anyPort)
    }

    /// - Returns: nil where none takes the connection: the default chain does.
    func chain(for facts: ChainFacts) -> Int? {
        let connection = facts.connection
        var left = connection.destination.port.flatMap { byPort[$0] } ?? anyPort
        left = narrow(left, connection.destination.ip) { $0.destinations }
        left = narrowByName(left, connection.serverName ?? "")
        left = narrow(left, [facts.transport]) { $0.transport.isEmpty ? [] : [$0.transport] }
        left = narrow(left, facts.applicationProtocols) { $0.applicationProtocols }
        left = narrow(left, connection.directSource.ip) { $0.directSources }
        left = narrowBySource(left, connection)
        left = narrow(left, connection.source.ip) { $0.sources }
        left = narrow(left, connection.source.port.map { [$0] } ?? []) { $0.sourcePorts }
        return left.first
    }

    /// Those with the longest block that the address is in; else those without blocks.
    private func narrow(_ left: [Int], _ address: IPAddress?, _ blocks: (ChainMatch) -> [AddressBlock]) -> [Int] {
        if left.allSatisfy({ blocks(matches[$0]).isEmpty }) { return left }
        var longest = -1
        var kept: [Int] = []
        for number in left {
            let own = blocks(matches[number])
            // A match without blocks is one of every address.
            let bits =
                own.isEmpty
                ? 0
                : own.lazy.filter { block in address.map(block.contains) ?? (block.bits == 0) }
                    .map(\.bits).max() ?? -1
            if bits < 0 || bits < longest { continue }
            if bits > longest { kept = [] }
            longest = bits
            kept.append(number)
        }
        return kept
    }

    /// Those with the first of the values that any has; else those that ask for none.
    private func narrow<Value: Equatable>(
        _ left: [Int], _ values: [Value], _ wanted: (ChainMatch) -> [Value]
    ) -> [Int] {
        for value in values {
            let kept = left.filter { wanted(matches[$0]).contains(value) }
            if !kept.isEmpty { return kept }
        }
        return left.filter { wanted(matches[$0]).isEmpty }
    }

    /// The name itself, else the longest `*.x` that it is in, else those that ask for none.
    private func narrowByName(_ left: [Int], _ name: String) -> [Int] {
        if left.allSatisfy({ matches[$0].serverNames.isEmpty }) { return left }
        var candidates = name.isEmpty ? [] : [name]
        var rest = name.dropFirst()
        while let dot = rest.firstIndex(of: "."), rest.index(after: dot) < rest.endIndex {
            candidates.append(String(rest[dot...]))
            rest = rest[rest.index(after: dot)...]
        }
        return narrow(left, candidates) { $0.serverNames }
    }

    private func narrowBySource(_ left: [Int], _ connection: ConnectionFacts) -> [Int] {
        if left.allSatisfy({ matches[$0].source == .any }) { return left }
        let kind: ChainMatch.Source = connection.isLocal ? .local : .external
        let kept = left.filter { matches[$0].source == kind }
        return kept.isEmpty ? left.filter { matches[$0].source == .any } : kept
    }
}

extension ConnectionFacts {
    /// Whether the client is on this machine. Source: Envoy, `Network::Utility::isSameIpOrLoopback`.
    var isLocal: Bool {
        guard let ip = source.ip else { return true }
        if ip == destination.ip { return true }
        return ip.isIPv4 ? ip.low >> 24 == 127 : ip.high == 0 && ip.low == 1
    }
}
