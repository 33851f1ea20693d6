import Addresses
import Testing

@testable import Forwarding

/// What listeners, connection managers and TLS settings are read as.
struct ListenerTests {
    private static let types = "type.googleapis.com/envoy.extensions"
    private static let router =
        "{name: router, typed_config: {'@type': \(types).filters.http.router.v3.Router}}"

    private static func listener(_ chain: String, _ more: String = "") throws -> ListenerConfiguration {
        try ListenerConfiguration(
            yaml: """
                {name: l, address: {socket_address: {address: 127.0.0.1, port_value: 8080}}, \(more)
                 filter_chains: [{\(chain)}]}
                """)
    }

    private static func manager(_ more: String, filters: String = "") throws -> HTTPConnectionSettings {
        let listener = try listener(
            """
            filters: [{name: http, typed_config: {'@type': \(types).filters.network.http_connection_manager.v3.HttpConnectionManager,
              stat_prefix: x, rds: {config_source: {ads: {}}, route_config_name: r}, \(more)
              http_filters: [\(filters)\(router)]}}]
            """)
        guard case .http(let settings) = listener.chains[0].terminal else {
            throw ConfigurationError.invalid(path: "", message: "")
        }
        guard case .named("r") = settings.routes else { throw ConfigurationError.invalid(path: "rds", message: "lost") }
        return settings
    }

    private static func words(_ body: () throws -> some Any) -> String {
        do {
            return "taken: \(try body())"
        } catch {
            return "\(error)"
        }
    }

    @Test func aConnectionManagerHasEnvoysDefaults() throws {
        let settings = try Self.manager("")
        #expect(settings.codec == .detected && settings.serverName == "envoy" && settings.serverHeader == .overwrite)
        #expect(settings.limits.headBytes == 60 << 10 && settings.limits.headFields == 100)
        #expect(settings.limits.idleTimeout == .seconds(3_600) && settings.limits.streamIdleTimeout == .seconds(300))
        #expect(settings.limits.requestTimeout == nil && settings.limits.drainTimeout == .seconds(5))
        #expect(settings.requestID.generates && !settings.requestID.keepsExternal)
        #expect(!settings.client.usesRemoteAddress && settings.certificates.action == .remove)
        #expect(!settings.paths.normalises && settings.host.port == .keep && settings.tracing == nil)
        #expect(settings.http2.concurrentStreams == 1_024 && settings.http2.keepAlive == nil)
    }

    @Test func aConnectionManagerIsReadWhole() throws {
        let settings = try Self.manager(
            """
            codec_type: HTTP2, server_name: me, server_header_transformation: PASS_THROUGH, via: v,
            use_remote_address: true, xff_num_trusted_hops: 2, skip_xff_append: true, append_x_forwarded_port: true,
            internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]},
            forward_client_cert_details: SANITIZE_SET, set_current_client_cert_details: {subject: true, uri: true},
            normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: REJECT_REQUEST,
            strip_any_host_port: true, strip_trailing_host_dot: true, stream_idle_timeout: 0s, request_timeout: 9s,
            delayed_close_timeout: 2s,
            common_http_protocol_options: {idle_timeout: 7s, max_headers_count: 5, max_requests_per_connection: 3,
              headers_with_underscores_action: DROP_HEADER},
            http2_protocol_options: {max_concurrent_streams: 7, allow_connect: true, connection_keepalive: {interval: 3s, timeout: 1s}},
            http_protocol_options: {accept_http_10: true},
            upgrade_configs: [{upgrade_type: WebSocket}, {upgrade_type: x, enabled: false}],
            tracing: {random_sampling: {value: 5}, custom_tags: [{tag: t, request_header: {name: X-A}}]},
            """)
        #expect(settings.codec == .http2 && settings.serverName == "me" && settings.serverHeader == .pass)
        #expect(settings.client.trustedHops == 2 && settings.client.skipsAppend && settings.client.appendsPort)
        #expect(settings.client.internalBlocks.map(\.bits) == [8])
        #expect(settings.certificates.action == .replace && settings.certificates.uri && !settings.certificates.dns)
        #expect(settings.paths == PathNormalisation(normalises: true, mergesSlashes: true, escapedSlashes: .reject))
        #expect(settings.host.port == .stripAny && settings.host.stripsTrailingDot)
        #expect(settings.limits.streamIdleTimeout == nil && settings.limits.requestTimeout == .seconds(9))
        #expect(settings.limits.requestsPerConnection == 3 && settings.limits.underscores == .drop)
        #expect(settings.http2.keepAlive?.interval == .seconds(3) && settings.http2.concurrentStreams == 7)
        #expect(settings.http1.acceptsHTTP10 && settings.http2.takesExtendedConnect)
        #expect(settings.limits.closingTimeout == .seconds(2))
        #expect(settings.upgrades.allows("websocket") && !settings.upgrades.allows("x"))
        #expect(settings.tracing?.sampling.random == Fraction(numerator: 500, denominator: 10_000))
        #expect(settings.tracing?.sampling.client == .all && settings.tracing?.tags.map(\.name) == ["t"])
    }

    @Test func filtersThatAreNotKnownAreRefusedUnlessTheyAreOptional() throws {
        let lua = "name: lua, typed_config: {'@type': \(Self.types).filters.http.lua.v3.Lua}"
        let place = "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config"
        #expect(Self.words { try Self.manager("", filters: "{\(lua)},") }.hasPrefix("\(place): the HTTP filter `lua`"))
        _ = try Self.manager("", filters: "{\(lua), is_optional: true},")
        let error = Self.words {
            try Self.listener(
                "filters: [{name: r, typed_config: {'@type': \(Self.types).filters.network.echo.v3.Echo}}, {name: x}]")
        }
        #expect(error.hasPrefix("filter_chains[0].filters[1]: a filter after the one that takes the bytes"))
        #expect(Self.words { try Self.listener("filters: []") }.hasPrefix("filter_chains[0].filters: no filter takes"))
        #expect(
            Self.words { try Self.manager("local_reply_config: {},") }.hasPrefix(
                "filter_chains[0].filters[0].typed_config.local_reply_config: the field of"))
        #expect(
            Self.words { try Self.manager("codec_type: HTTP3,") }.hasPrefix(
                "filter_chains[0].filters[0].typed_config.codec_type: `HTTP3` is not supported, only AUTO, HTTP1, HTTP2"
            ))
    }

    @Test func inspectorsAreLeftOutWhereTheirRuleSaysSo() throws {
        let filters = "\(Self.types).filters.listener"
        let listener = try Self.listener(
            ChainMatchingTests.proxy,
            """
            listener_filters_timeout: 5s, continue_on_listener_filters_timeout: true, listener_filters: [
              {name: o, typed_config: {'@type': \(filters).original_dst.v3.OriginalDst}},
              {name: t, typed_config: {'@type': \(filters).tls_inspector.v3.TlsInspector}},
              {name: p, typed_config: {'@type': \(filters).proxy_protocol.v3.ProxyProtocol,
                allow_requests_without_proxy_protocol: true, disallowed_versions: [V1]}},
              {name: h, typed_config: {'@type': \(filters).http_inspector.v3.HttpInspector},
                filter_disabled: {not_match: {or_match: {rules: [
                  {destination_port_range: {start: 80, end: 81}}, {destination_port_range: {start: 90, end: 92}}]}}}}],
            """)
        let inspection = listener.inspection
        #expect(inspection.looksForDestination && inspection.looksForTLS(nil) && !inspection.needsNoBytes)
        #expect([79, 80, 81, 90, 91, 92].filter { inspection.looksForHTTP($0) } == [80, 90, 91])
        #expect(!inspection.looksForHTTP(nil))
        #expect(inspection.proxyHeader(1) == Inspection.ProxyHeader(isOptional: true, versions: [2]))
        #expect(inspection.timeout == .seconds(5) && inspection.continuesOnTimeout)
    }

    @Test func aServersTLSIsReadWithItsSecrets() throws {
        let listener = try Self.listener(
            """
            \(ChainMatchingTests.proxy), transport_socket: {name: tls, typed_config: {
              '@type': \(Self.types).transport_sockets.tls.v3.DownstreamTlsContext, require_client_certificate: true,
              common_tls_context: {alpn_protocols: [h2, http/1.1],
                tls_params: {tls_minimum_protocol_version: TLSv1_3},
                tls_certificate_sds_secret_configs: [{name: default, sds_config: {ads: {}}}],
                combined_validation_context: {validation_context_sds_secret_config: {name: ROOTCA, sds_config: {ads: {}}},
                  default_validation_context: {match_typed_subject_alt_names: [
                    {san_type: URI, matcher: {prefix: 'spiffe://x/'}}, {san_type: DNS, matcher: {exact: A.test}}]}}}}}
            """)
        let tls = try #require(listener.chains[0].tls)
        #expect(tls.requiresCertificate && tls.rules.applicationProtocols == ["h2", "http/1.1"])
        #expect(tls.rules.versions == .tls13 ... .tls13)
        #expect(Set(tls.secrets) == ["ROOTCA", "default"] && tls.rules.validation.checksAnything)
        let names = tls.rules.validation.names
        #expect(names[0].matches("spiffe://x/ns/a") && !names[0].matches("spiffe://y/ns/a"))
        #expect(names[1].matches("a.TEST") && names[1].matches("*.test") && !names[1].matches("*.a.test"))
    }

    @Test func tlsThatCannotBeServedIsRefused() throws {
        func words(_ context: String) -> String {
            Self.words {
                try Self.listener(
                    """
                    \(ChainMatchingTests.proxy), transport_socket: {name: tls, typed_config: {
                      '@type': \(Self.types).transport_sockets.tls.v3.DownstreamTlsContext, \(context)}}
                    """)
            }
        }
        let place = "filter_chains[0].transport_socket.typed_config"
        #expect(words("").hasPrefix("\(place).common_tls_context: missing"))
        #expect(words("common_tls_context: {}").hasPrefix("\(place).common_tls_context: a server needs a certificate"))
        #expect(
            words("common_tls_context: {tls_params: {tls_minimum_protocol_version: TLSv1_0}}").hasPrefix(
                "\(place).common_tls_context.tls_params.tls_minimum_protocol_version: `TLSv1_0` is not supported"))
        #expect(
            words("common_tls_context: {custom_handshaker: {name: x}}").hasPrefix(
                "\(place).common_tls_context.custom_handshaker: the field of"))
    }

    @Test func aTCPProxySharesConnectionsByWeight() throws {
        let listener = try Self.listener(
            """
            filters: [{name: limit, typed_config: {'@type': \(Self.types).filters.network.connection_limit.v3.ConnectionLimit,
                stat_prefix: x, max_connections: 5, delay: 1s}},
              {name: tcp, typed_config: {'@type': \(Self.types).filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x,
                idle_timeout: 0s, max_connect_attempts: 3, hash_policy: [{source_ip: {}}],
                weighted_clusters: {clusters: [{name: a, weight: 1}, {name: b, weight: 2}]}}}]
            """)
        guard case .stream(let settings) = listener.chains[0].terminal else {
            Issue.record("no TCP proxy")
            return
        }
        #expect((0..<6).map { settings.choose(random: $0).cluster } == ["a", "b", "b", "a", "b", "b"])
        #expect(settings.idleTimeout == nil && settings.connectAttempts == 3 && settings.hashesSource)
        guard case .connectionLimit(let limit)? = listener.chains[0].filters.first else {
            Issue.record("no connection limit")
            return
        }
        #expect(limit.most == 5 && limit.delay == .seconds(1))
        #expect((0..<6).map { _ in limit.tryAcquire() } == [true, true, true, true, true, false])
        limit.release()
        #expect(limit.tryAcquire())
    }
}
