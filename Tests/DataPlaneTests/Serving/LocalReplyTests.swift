import Testing

@testable import DataPlane

/// What a route, its virtual host and its table change in responses they change in those that this proxy makes itself,
/// where Envoy 1.40 does: seen by asking it the same with the same configuration.
@Suite struct LocalReplyTests {
    private static let filters = """
        - name: cors
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors
        - name: rbac
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
            rules:
              action: DENY
              policies:
                p: {permissions: [{url_path: {path: {prefix: /denied}}}], principals: [{any: true}]}
        - name: limit
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
            stat_prefix: limit
        """

    private static func additions(_ level: String) -> String {
        """
        response_headers_to_add:
        - {header: {key: r-add, value: \(level)}}
        - {header: {key: r-code, value: "%RESPONSE_CODE%"}}
        - {header: {key: r-asked, value: "%REQ(x-asked)%"}}
        - {header: {key: r-host, value: "%UPSTREAM_HOST%"}}
        - {header: {key: content-type, value: text/\(level)}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
        """
    }

    private static let routes = [
        ("/no-host", "route: {cluster: empty, timeout: 1s}"), ("/no-cluster", "route: {cluster: missing}"),
        ("/unforwarded", "non_forwarding_action: {}"), ("/denied", "route: {cluster: empty}"),
        ("/denied/direct", "direct_response: {status: 200, body: {inline_string: x}}"),
        ("/denied/redirect", "redirect: {https_redirect: true}"),
        ("/direct", "direct_response: {status: 200, body: {inline_string: x}}"),
        ("/slow", "route: {cluster: slow, timeout: 0.05s}"), ("/refused", "route: {cluster: refused}"),
        (
            "/limited",
            """
            route: {cluster: empty}
            typed_per_filter_config:
              limit:
                "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
                stat_prefix: limit
                token_bucket: {max_tokens: 1, fill_interval: 1000s}
                filter_enabled: {default_value: {numerator: 100}}
                filter_enforced: {default_value: {numerator: 100}}
                response_headers_to_add: [{header: {key: r-add, value: limit}}]
            """
        ),
        (
            "/pages",
            """
            route: {cluster: empty}
            typed_per_filter_config:
              cors:
                "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy
                allow_origin_string_match: [{prefix: ""}]
            """
        ),
    ]

    @Test func repliesInPlaceOfAnUpstreamAreChangedAsItsOwnAre() throws {
        let silent = TestServer { wire, _ in while wire.message() != nil {} }
        let routes = Self.routes.map { path, action in
            """
            - match: {path: \(path)}
              request_headers_to_add: [{header: {key: x-asked, value: new}}]
              \(Resources.indented(Self.additions("route"), by: 2))
              \(Resources.indented(action, by: 2))
            """
        }.joined(separator: "\n")
        let stage = try Stage(
            [
                try Resources.httpListener(
                    routes: routes,
                    host: "include_attempt_count_in_response: true\n" + Self.additions("host"),
                    filters: Self.filters)
            ],
            [
                try Resources.cluster("empty", ports: []), try Resources.cluster("slow", ports: [silent.port]),
                try Resources.cluster("refused", ports: [1]),
            ])
        func seen(_ path: String, _ fields: [String] = []) throws -> String {
            let answer = try #require(stage.get(path, fields))
            func all(_ name: String) -> String {
                let found = answer.fields.filter { $0.lowercased().hasPrefix(name + ":") }
                    .map { $0.split(separator: ":", maxSplits: 1)[1].drop { $0 == " " } }
                return found.isEmpty ? "-" : found.joined(separator: ",")
            }
            let hosts = all("r-host") == "-" ? "" : " host"
            return "\(path) \(answer.status)\(hosts) "
                + ["r-add", "r-code", "r-asked", "content-type", "x-envoy-attempt-count"].map(all)
                .joined(separator: " ")
        }
        _ = try seen("/limited")
        let answers = try (Self.routes.map(\.0).filter { $0 != "/pages" } + ["/unknown"]).map { try seen($0) }
        #expect(
            answers.joined(separator: "\n") == """
                /no-host 503 route,host 0,0 new,new text/host 1
                /no-cluster 503 route,host 0,0 - - -
                /unforwarded 503 route,host 0,0 - - -
                /denied 403 route,host 0,0 - text/host -
                /denied/direct 403 - - - text/plain -
                /denied/redirect 403 - - - text/plain -
                /direct 200 route,host 0,0 - text/host -
                /slow 504 host route,host 0,0 new,new text/host 1
                /refused 503 host route,host 0,0 new,new text/host 1
                /limited 429 route,host,limit 0,0 - text/host -
                /unknown 404 - - - - -
                """)
        #expect(
            try seen("/no-host", ["content-type: application/grpc"])
                == "/no-host 200 route,host 0,0 new,new application/grpc 1")
        // The answer to a page's question is the filter's alone.
        let wire = stage.connect()
        wire.send(
            "OPTIONS /pages HTTP/1.1\r\nhost: shop\r\norigin: http://page\r\n"
                + "access-control-request-method: GET\r\n\r\n")
        let answer = try #require(wire.message())
        #expect(answer.status == 200 && answer["access-control-allow-origin"] != nil && answer["r-add"] == nil)
    }
}
