import Addresses
import HTTP
import Testing
import Time

@testable import Forwarding

/// One rule of routing each; what random tables show too is in ``RouterAgreementTests``.
struct RouteTableTests {
    static let connection = ConnectionFacts(
        source: .ip(IPAddress("10.0.0.9")!, port: 40_000), destination: .ip(IPAddress("10.0.0.1")!, port: 80))

    static func head(
        _ path: String, host: String = "a.test", method: String = "GET", _ fields: [(String, String)] = []
    ) -> HeaderList {
        HeaderList(
            [(":method", method), (":scheme", "http"), (":authority", host), (":path", path)]
                + fields.map { (name: $0.0, value: $0.1) })
    }

    private func name(_ table: RouteTable, _ head: HeaderList, random: UInt64 = 0) -> String? {
        table.route(head, Self.connection, random: random).route?.name
    }

    @Test func theVirtualHostIsTheExactNameThenTheLongestSuffixThenTheLongestPrefix() throws {
        let domains = ["a.test", "*.test", "*-b.test", "a.*", "a.b.*", "*", "a.test:81"]
        let hosts = domains.enumerated().map { index, domain in
            "{name: h\(index), domains: ['\(domain)'], routes: [{name: '\(domain)', match: {prefix: /}, route: {cluster: c}}]}"
        }
        let table = try RouteTable(yaml: "{virtual_hosts: [\(hosts.joined(separator: ", "))]}")
        let expected = [
            ("a.test", "a.test"), ("A.TEST", "a.test"), ("x.test", "*.test"), ("x-b.test", "*-b.test"),
            ("a.x", "a.*"), ("a.b.c", "a.b.*"), ("other", "*"), ("a.test:81", "a.test:81"), ("a.test:82", "a.*"),
            ("-b.test", "*.test"), (".test", "*"), ("a.", "*"), ("", "*"),
        ]
        for (host, domain) in expected { #expect(name(table, Self.head("/", host: host)) == domain, "\(host)") }
        let ignoring = try RouteTable(
            yaml: "{ignore_port_in_host_matching: true, virtual_hosts: [\(hosts.joined(separator: ", "))]}")
        #expect(name(ignoring, Self.head("/", host: "a.test:82")) == "a.test")
        #expect(name(ignoring, Self.head("/", host: "[::1]:82")) == "*")
    }

    @Test func aVirtualHostThatRequiresTLSRedirects() throws {
        let table = try RouteTable(
            yaml: """
                {virtual_hosts: [
                  {name: all, domains: [all], require_tls: ALL, routes: [{name: r, match: {prefix: /}, route: {cluster: c}}]},
                  {name: outside, domains: [out], require_tls: EXTERNAL_ONLY,
                   routes: [{name: r, match: {prefix: /}, route: {cluster: c}}]}]}
                """)
        func location(_ head: HeaderList) -> String? {
            guard case .redirect(nil, 301, let location) = table.route(head, Self.connection, random: 0) else {
                return nil
            }
            return String(decoding: location, as: UTF8.self)
        }
        #expect(location(Self.head("/a?b", host: "all")) == "https://all/a?b")
        #expect(location(Self.head("/a", host: "all", [("x-forwarded-proto", "https")])) == nil)
        #expect(location(Self.head("/a", host: "out")) == "https://out/a")
        #expect(location(Self.head("/a", host: "out", [("x-envoy-internal", "true")])) == nil)
    }

    @Test func onlyConnectRequestsMatchTheConnectMatcherAndTheyNeedNoPath() throws {
        let table = try RouteTable(
            yaml: """
                {virtual_hosts: [{name: h, domains: ['*'], routes: [
                  {name: tunnel, match: {connect_matcher: {}},
                   route: {cluster: c, upgrade_configs: [{upgrade_type: CONNECT}]}},
                  {name: rest, match: {prefix: /}, route: {cluster: c}}]}]}
                """)
        var connect = HeaderList([(":method", "CONNECT"), (":authority", "a.test:443")])
        #expect(name(table, connect) == "tunnel")
        let upgrades = table.routes[0].forwarded?.upgrades
        #expect(upgrades?.allows("connect") == true)
        connect = HeaderList([(":method", "GET"), (":authority", "a.test:443")])
        #expect(name(table, connect) == nil)
        #expect(name(table, Self.head("/x")) == "rest")
    }

    @Test func certificatesMetadataAndSharesAreConditionsToo() throws {
        let table = try RouteTable(
            yaml: """
                {virtual_hosts: [{name: h, domains: ['*'], routes: [
                  {name: cert, match: {prefix: /c, tls_context: {presented: true, validated: true}}, route: {cluster: c}},
                  {name: meta, match: {prefix: /m, dynamic_metadata: [{filter: f, path: [{key: a}, {key: b}],
                    value: {list_match: {one_of: {string_match: {exact: x}}}}}]}, route: {cluster: c}},
                  {name: share, match: {prefix: /s, runtime_fraction: {default_value: {numerator: 30}}}, route: {cluster: c}},
                  {name: rest, match: {prefix: /}, route: {cluster: c}}]}]}
                """)
        let known = ConnectionFacts(
            source: Self.connection.source, destination: Self.connection.destination, isTLS: true,
            peer: PeerCertificateFacts(uriNames: ["spiffe://x"]))
        #expect(table.route(Self.head("/c"), known, random: 0).route?.name == "cert")
        #expect(name(table, Self.head("/c")) == "rest")
        var metadata = FilterMetadata()
        metadata.merge("f", [.init("a", ["b": ["y", "x"]])])
        let routing = table.route(Self.head("/m"), Self.connection, metadata: metadata, random: 0)
        #expect(routing.route?.name == "meta")
        #expect(name(table, Self.head("/m")) == "rest")
        let taken = (0..<1_000).count { name(table, Self.head("/s"), random: UInt64($0)) == "share" }
        #expect(taken == 300)
    }

    @Test func weightsShareRequestsAndAHeaderOrTheHashMayChoose() throws {
        func table(_ more: String, _ hash: String = "") throws -> RouteTable {
            try RouteTable(
                yaml: """
                    {virtual_hosts: [{name: h, domains: ['*'], routes: [{match: {prefix: /}, route: {\(hash)
                      weighted_clusters: {\(more) clusters: [{name: a, weight: 1}, {name: b, weight: 0},
                        {name: c, weight: 3}]}}}]}]}
                    """)
        }
        func cluster(_ table: RouteTable, _ head: HeaderList, _ random: UInt64) -> String? {
            guard case .forward(_, let forward) = table.route(head, Self.connection, random: random) else { return nil }
            #expect(forward.clusterNumber.map { table.clusters[$0] } == forward.cluster)
            return forward.cluster
        }
        let plain = try table("")
        #expect(plain.clusters == ["a", "b", "c"])
        #expect((0..<8).map { cluster(plain, Self.head("/"), $0) } == ["a", "c", "c", "c", "a", "c", "c", "c"])
        let byHeader = try table("header_name: x-n,")
        #expect(cluster(byHeader, Self.head("/", [("x-n", "4")]), 1) == "a")
        #expect(cluster(byHeader, Self.head("/", [("x-n", "4"), ("x-n", "4")]), 1) == "c")
        #expect(cluster(byHeader, Self.head("/", [("x-n", "-4")]), 1) == "c")
        let byHash = try table("use_hash_policy: true,", "hash_policy: [{header: {header_name: user}}],")
        for user in ["one", "two", "three"] {
            let chosen = (0..<8).map { cluster(byHash, Self.head("/", [("user", user)]), $0) }
            #expect(Set(chosen).count == 1)
        }
    }

    @Test func settingsOfFiltersAreKeptFromTheMostGeneralLevelToTheMostSpecial() throws {
        let any = "{'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, max_age: "
        let table = try RouteTable(
            yaml: """
                {typed_per_filter_config: {cors: \(any) '1'}}, virtual_hosts: [{name: h, domains: ['*'],
                  typed_per_filter_config: {fault: {'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig,
                    disabled: true, is_optional: true}},
                  routes: [{match: {prefix: /}, typed_per_filter_config: {cors: \(any) '2'}}, route: {cluster: c}}]}]}
                """)
        let settings = table.routes[0].filterSettings
        #expect(settings.byName["cors"]?.count == 2)
        #expect(settings.byName["cors"]?.last?.bytes.last == UInt8(ascii: "2"))
        #expect(settings.byName["cors"]?.last?.typeName == "envoy.extensions.filters.http.cors.v3.CorsPolicy")
        let fault = try #require(settings.byName["fault"]?.last)
        #expect(fault.isDisabled && fault.isOptional && settings.byName["other"] == nil)
    }

    @Test func balancersGetTheRoutesLabelsWithThoseOfTheCluster() throws {
        let table = try RouteTable(
            yaml: """
                {virtual_hosts: [{name: h, domains: ['*'], routes: [{match: {prefix: /}, route: {
                  metadata_match: {filter_metadata: {envoy.lb: {zone: a, version: v1}}},
                  weighted_clusters: {clusters: [{name: c, weight: 1,
                    metadata_match: {filter_metadata: {envoy.lb: {version: v2}}}}]}}}]}]}
                """)
        let labels = table.routes[0].forwarded?.targets[0].metadataMatch ?? []
        #expect(labels.value("zone") == "a" && labels.value("version") == "v2" && labels.count == 2)
    }

    @Test func mirrorsGetTheShadowsName() throws {
        let table = try RouteTable(
            yaml: """
                {request_mirror_policies: [{cluster: t}], virtual_hosts: [{name: h, domains: ['*'], routes: [
                  {match: {prefix: /a}, route: {cluster: c, request_mirror_policies: [
                    {cluster: m, runtime_fraction: {default_value: {numerator: 5}}},
                    {cluster_header: X-M, disable_shadow_host_suffix_append: true}]}},
                  {match: {prefix: /}, route: {cluster: c}}]}]}
                """)
        let mirrors = table.routes[0].forwarded?.mirrors ?? []
        #expect(mirrors.map(\.share.numerator) == [5, 100])
        #expect(mirrors[0].authority(of: Array("a.test:80".utf8)) == Array("a.test-shadow:80".utf8))
        #expect(mirrors[1].authority(of: Array("a.test:80".utf8)) == Array("a.test:80".utf8))
        #expect(mirrors[1].cluster(for: Self.head("/", [("x-m", "other")])) == "other")
        #expect(mirrors[1].cluster(for: Self.head("/")) == nil)
        #expect(table.routes[1].forwarded?.mirrors.map(\.cluster) == ["t"])
    }
}
