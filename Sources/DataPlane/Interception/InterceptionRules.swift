import Addresses

/// Rules of the kernel that lead a workload's TCP connections through its proxy, in the words of `iptables-restore`:
/// those that come in to one port, those that it opens to another. Source: Istio, `istio-iptables`; iptables(8).
///
/// They live in four chains of the nat table that nothing else uses, and are set and taken away in one step each.
public struct InterceptionRules: Equatable, Sendable {
    public enum Family: String, CaseIterable, Sendable {
        case ipv4, ipv6

        var loopback: String { self == .ipv4 ? "127.0.0.1/32" : "::1/128" }

        /// The address that a proxy may connect to the application from, so that it is not taken for another's.
        var passThrough: String { self == .ipv4 ? "127.0.0.6/32" : "::6/128" }

        /// What sets the rules of this family.
        public var restoreProgram: String { self == .ipv4 ? "iptables-restore" : "ip6tables-restore" }
        /// What shows them.
        public var saveProgram: String { self == .ipv4 ? "iptables-save" : "ip6tables-save" }

        /// Whether there is nothing of this family to lead: every machine has IPv4, and one without any IPv6 address
        /// has no IPv6. Whatever else keeps rules from being read or set is a failure, since connections would go past
        /// the proxy.
        /// - Parameter addresses: what `/proc/net/if_inet6` holds; nil: it is not there.
        public func isMissing(addresses: String?) -> Bool {
            self == .ipv6 && (addresses ?? "").allSatisfy(\.isWhitespace)
        }
    }

    /// Where the proxy takes connections that come in.
    public var inboundPort: UInt16 = 15006
    /// Where it takes those that the workload opens.
    public var outboundPort: UInt16 = 15001
    /// The users, by number, whose connections are the proxy's own.
    public var proxyUsers: [UInt32] = [1337]
    /// The groups likewise.
    public var proxyGroups: [UInt32] = [1337]
    /// Ports where connections come in past the proxy: its own for probes and metrics.
    public var excludedInboundPorts: [UInt16] = [15000, 15020, 15021, 15090]
    /// Only these ports come in through the proxy; empty: all.
    public var includedInboundPorts: [UInt16] = []
    public var excludedOutboundPorts: [UInt16] = []
    /// Users whose connections go out past the proxy.
    public var excludedUsers: [UInt32] = []
    /// Blocks that are connected to past the proxy.
    public var excludedBlocks: [AddressBlock] = []
    /// Only these blocks are connected to through the proxy; empty: all.
    public var includedBlocks: [AddressBlock] = []

    public init() {}

    static let inbound = "MARTINET_INBOUND"
    static let inboundRedirect = "MARTINET_IN_REDIRECT"
    static let outbound = "MARTINET_OUTPUT"
    static let redirect = "MARTINET_REDIRECT"
    private static let chains = [inbound, inboundRedirect, outbound, redirect]

    // MARK: Text for iptables-restore --noflush

    /// Sets these rules in place of those that are there.
    /// - Parameter current: what `iptables-save -t nat` prints now.
    public func setting(_ family: Family, current: String) -> String {
        let lines =
            ["*nat"] + Self.chains.map { ":\($0) - [0:0]" } + Self.jumps(in: current).map { "-D \($0)" }
            + rules(family) + ["COMMIT"]
        return lines.joined(separator: "\n") + "\n"
    }

    /// Takes the rules away.
    /// - Returns: nil: there are none.
    public static func removing(current: String) -> String? {
        let present = chains.filter { chain in current.split(separator: "\n").contains { $0.hasPrefix(":\(chain) ") } }
        guard !present.isEmpty else { return nil }
        let lines =
            ["*nat"] + jumps(in: current).map { "-D \($0)" } + present.map { "-F \($0)" } + present.map { "-X \($0)" }
            + ["COMMIT"]
        return lines.joined(separator: "\n") + "\n"
    }

    /// Makes the rules what they were before.
    /// - Parameters:
    ///   - earlier: what `iptables-save -t nat` printed then.
    ///   - current: what it prints now.
    /// - Returns: nil: there were none, and are none.
    public static func returning(to earlier: String, from current: String) -> String? {
        func present(in text: String) -> [String] {
            chains.filter { chain in text.split(separator: "\n").contains { $0.hasPrefix(":\(chain) ") } }
        }
        let (old, new) = (present(in: earlier), present(in: current))
        guard !old.isEmpty else { return removing(current: current) }
        let added = new.filter { !old.contains($0) }
        let lines =
            ["*nat"] + old.map { ":\($0) - [0:0]" } + jumps(in: current).map { "-D \($0)" }
            + ours(in: earlier).filter { $0.hasPrefix("-A ") } + added.map { "-F \($0)" } + added.map { "-X \($0)" }
            + ["COMMIT"]
        return lines.joined(separator: "\n") + "\n"
    }

    /// Whether the kernel's own chains lead what comes in and what goes out to ours: chains alone lead nobody.
    public static func lead(in current: String) -> Bool {
        let led = jumps(in: current)
        return [("PREROUTING", inbound), ("OUTPUT", outbound)].allSatisfy { from, to in
            led.contains { $0.hasPrefix(from + " ") && $0.hasSuffix(" -j \(to)") }
        }
    }

    /// Whether connections to a port come in past the proxy.
    public func sparesInbound(_ port: UInt16) -> Bool {
        excludedInboundPorts.contains(port)
            || (!includedInboundPorts.isEmpty && !includedInboundPorts.contains(port))
    }

    /// The lines of `iptables-save` that are ours.
    public static func ours(in current: String) -> [String] {
        current.split(separator: "\n").map(String.init).filter { line in
            chains.contains { chain in
                line.hasPrefix(":\(chain) ") || line.split(separator: " ").contains { $0 == chain }
            }
        }
    }

    /// The rules by which the kernel's own chains lead to ours, without `-A`.
    private static func jumps(in current: String) -> [String] {
        current.split(separator: "\n").filter { line in
            (line.hasPrefix("-A PREROUTING ") || line.hasPrefix("-A OUTPUT "))
                && chains.contains { line.hasSuffix(" -j \($0)") }
        }.map { String($0.dropFirst(3)) }
    }

    private func rules(_ family: Family) -> [String] {
        var rules = [
            "-A PREROUTING -p tcp -j \(Self.inbound)", "-A OUTPUT -p tcp -j \(Self.outbound)",
            "-A \(Self.inboundRedirect) -p tcp -j REDIRECT --to-ports \(inboundPort)",
            "-A \(Self.redirect) -p tcp -j REDIRECT --to-ports \(outboundPort)",
        ]
        func add(_ chain: String, _ conditions: String, _ target: String = "RETURN") {
            rules.append("-A \(chain) \(conditions)\(conditions.isEmpty ? "" : " ")-j \(target)")
        }
        for port in unique(excludedInboundPorts) { add(Self.inbound, "-p tcp --dport \(port)") }
        if includedInboundPorts.isEmpty {
            add(Self.inbound, "-p tcp", Self.inboundRedirect)
        } else {
            for port in unique(includedInboundPorts) {
                add(Self.inbound, "-p tcp --dport \(port)", Self.inboundRedirect)
            }
        }
        add(Self.outbound, "-s \(family.passThrough) -o lo")
        let own =
            unique(proxyUsers).map { "--uid-owner \($0)" } + unique(proxyGroups).map { "--gid-owner \($0)" }
        // What the workload sends to itself by an address that others know it by: it comes in through the proxy too.
        for owner in own {
            add(Self.outbound, "-o lo ! -d \(family.loopback) -m owner \(owner)", Self.inboundRedirect)
        }
        for owner in own { add(Self.outbound, "-m owner \(owner)") }
        for user in unique(excludedUsers) { add(Self.outbound, "-m owner --uid-owner \(user)") }
        add(Self.outbound, "-d \(family.loopback)")
        for port in unique(excludedOutboundPorts) { add(Self.outbound, "-p tcp --dport \(port)") }
        for block in blocks(excludedBlocks, of: family) { add(Self.outbound, "-d \(block)") }
        if includedBlocks.isEmpty {
            add(Self.outbound, "", Self.redirect)
        } else {
            for block in blocks(includedBlocks, of: family) { add(Self.outbound, "-d \(block)", Self.redirect) }
        }
        return rules
    }

    private func blocks(_ blocks: [AddressBlock], of family: Family) -> [String] {
        blocks.filter { $0.address.isIPv4 == (family == .ipv4) }.map { "\($0.address)/\($0.bits)" }
    }

    /// Without what came before, in the given order.
    private func unique<Number: Hashable>(_ numbers: [Number]) -> [Number] {
        var seen: Set<Number> = []
        return numbers.filter { seen.insert($0).inserted }
    }
}
