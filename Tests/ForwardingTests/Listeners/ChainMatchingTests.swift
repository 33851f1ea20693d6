import Addresses
import EnvoyAPI
import Protobuf
import Testing

@testable import Forwarding

extension ListenerConfiguration {
    /// A `Listener` as YAML.
    convenience init(yaml: String) throws {
        let arena = Arena()
        let message = try arena.decodeYAML(Listener.self, yaml, types: envoyTypes)
        try self.init(encode(message))
    }
}

/// Which filter chain a connection gets.
struct ChainMatchingTests {
    static let proxy = """
        filters: [{name: tcp, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy,
          stat_prefix: x, cluster: c}}]
        """

    static func listener(_ matches: [(name: String, match: String)], hasDefault: Bool = true) throws
        -> ListenerConfiguration
    {
        let chains = matches.map { "{name: \($0.name), filter_chain_match: {\($0.match)}, \(proxy)}" }
        let standard = hasDefault ? ", default_filter_chain: {name: default, \(proxy)}" : ""
        return try ListenerConfiguration(
            yaml: """
                {name: l, address: {socket_address: {address: 0.0.0.0, port_value: 80}},
                 filter_chains: [\(chains.joined(separator: ", "))]\(standard)}
                """)
    }

    static func facts(
        to destination: String = "10.0.0.1", port: UInt16 = 80, from source: String = "192.0.2.7",
        sourcePort: UInt16 = 40_000, direct: String? = nil, name: String? = nil, transport: String = "raw_buffer",
        protocols: [String] = []
    ) throws -> ChainFacts {
        let address = try #require(IPAddress(destination))
        let client = NetworkAddress.ip(try #require(IPAddress(source)), port: sourcePort)
        let directSource = try direct.map { NetworkAddress.ip(try #require(IPAddress($0)), port: 1) }
        return ChainFacts(
            connection: ConnectionFacts(
                source: client, directSource: directSource, destination: .ip(address, port: port), serverName: name),
            transport: transport, applicationProtocols: protocols)
    }

    @Test func eachLevelPrefersTheMostSpecialMatch() throws {
        let listener = try Self.listener([
            ("port", "destination_port: 443"),
            ("net", "prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]"),
            ("host", "prefix_ranges: [{address_prefix: 10.0.0.1, prefix_len: 32}]"),
            ("sni", "server_names: [a.test]"), ("wild", "server_names: ['*.test']"),
            ("deep", "server_names: ['*.b.test']"), ("tls", "transport_protocol: tls"),
            ("h2", "application_protocols: [h2]"),
            ("near", "source_type: SAME_IP_OR_LOOPBACK"), ("any", ""),
        ])
        func chain(_ facts: ChainFacts) -> String? { listener.chain(for: facts)?.name }
        #expect(try chain(Self.facts(port: 443)) == "port")
        #expect(try chain(Self.facts()) == "host")
        #expect(try chain(Self.facts(to: "10.9.9.9")) == "net")
        let elsewhere = "172.16.0.1"
        #expect(try chain(Self.facts(to: elsewhere, name: "a.test")) == "sni")
        #expect(try chain(Self.facts(to: elsewhere, name: "x.test")) == "wild")
        #expect(try chain(Self.facts(to: elsewhere, name: "x.b.test")) == "deep")
        #expect(try chain(Self.facts(to: elsewhere, name: "x.y.b.test")) == "deep")
        #expect(try chain(Self.facts(to: elsewhere, name: "b.test")) == "wild")
        #expect(try chain(Self.facts(to: elsewhere, name: "test", transport: "tls")) == "tls")
        #expect(try chain(Self.facts(to: elsewhere, protocols: ["http/1.1", "h2"])) == "h2")
        #expect(try chain(Self.facts(to: elsewhere, from: "127.0.0.1")) == "near")
        #expect(try chain(Self.facts(to: elsewhere, from: elsewhere)) == "near")
        #expect(try chain(Self.facts(to: elsewhere)) == "any")
    }

    @Test func aLevelThatMatchedIsNotLeftForALessSpecialOne() throws {
        // Source: Envoy, FilterChainMatch: whoever asks port 443 for another name gets nothing of the other chains.
        let listener = try Self.listener([
            ("port", "destination_port: 443, server_names: [a.test]"), ("name", "server_names: [b.test]"), ("any", ""),
        ])
        #expect(try listener.chain(for: Self.facts(port: 443, name: "b.test"))?.name == "default")
        #expect(try listener.chain(for: Self.facts(port: 80, name: "b.test"))?.name == "name")
        let sources = try Self.listener(
            [
                ("inner", "source_prefix_ranges: [{address_prefix: 192.0.2.0, prefix_len: 24}], source_ports: [1]"),
                ("outer", "source_prefix_ranges: [{address_prefix: 192.0.0.0, prefix_len: 16}]"),
            ], hasDefault: false)
        #expect(try sources.chain(for: Self.facts(sourcePort: 1))?.name == "inner")
        #expect(try sources.chain(for: Self.facts(sourcePort: 2)) == nil)
        #expect(try sources.chain(for: Self.facts(from: "192.0.9.9"))?.name == "outer")
        #expect(try sources.chain(for: Self.facts(from: "198.51.100.1")) == nil)
    }

    @Test func theDirectSourceIsTheOtherEndOfTheSocket() throws {
        let listener = try Self.listener([
            ("balancer", "direct_source_prefix_ranges: [{address_prefix: 10.1.0.0, prefix_len: 16}]"), ("any", ""),
        ])
        #expect(try listener.chain(for: Self.facts(direct: "10.1.2.3"))?.name == "balancer")
        #expect(try listener.chain(for: Self.facts(from: "10.1.2.3", direct: "10.2.2.3"))?.name == "any")
    }

    @Test func chainsForTheSameConnectionsAreRefused() throws {
        func words(_ one: String, _ other: String) -> String? {
            do {
                _ = try Self.listener([("one", one), ("other", other)])
                return nil
            } catch {
                return "\(error)"
            }
        }
        let expected = "filter_chains[1].filter_chain_match: the same connections are for filter_chains[0] too"
        #expect(words("", "")?.hasPrefix(expected) == true)
        #expect(words("server_names: [a, b]", "server_names: [B, c]")?.hasPrefix(expected) == true)
        #expect(
            words(
                "prefix_ranges: [{address_prefix: 10.1.2.3, prefix_len: 8}]",
                "prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]")?.hasPrefix(expected) == true)
        #expect(words("server_names: [a]", "server_names: [b]") == nil)
        #expect(words("destination_port: 1", "destination_port: 2") == nil)
        #expect(
            words("server_names: ['a*']", "")
                == "filter_chains[0].filter_chain_match.server_names[0]: `a*`: a star stands only for the first labels: "
                + "`*.x` (correct the value)")
    }
}
