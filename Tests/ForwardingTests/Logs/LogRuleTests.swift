import EnvoyAPI
import Forwarding
import HTTP
import Protobuf
import Testing
import Time

/// Compiles an `AccessLog` that is written in YAML.
private func rule(_ yaml: String) throws -> AccessLogRule {
    let arena = Arena()
    let message = try arena.decodeYAML(AccessLog.self, yaml, types: envoyTypes)
    return try AccessLogRule(encode(message))
}

private let file = """
    name: f
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
      path: /dev/stdout
    """

private func filter(_ yaml: String) throws -> LogFilter {
    try #require(
        try rule(file + "\nfilter:\n" + yaml.split(separator: "\n").map { "  \($0)" }.joined(separator: "\n")).filter)
}

private func takes(_ yaml: String, _ record: AccessRecord, random: UInt64 = 0) throws -> Bool {
    try filter(yaml).takes(record, random: random)
}

struct LogRuleTests {
    @Test func filtersCompareStatusAndDuration() throws {
        for (op, value, expected) in [
            ("EQ", 200, true), ("NE", 200, false), ("GE", 200, true), ("GE", 201, false), ("LE", 199, false),
            ("LE", 200, true),
        ] {
            let yaml = "status_code_filter: {comparison: {op: \(op), value: {default_value: \(value), runtime_key: k}}}"
            #expect(try takes(yaml, LogRecords.request()) == expected, "\(op) \(value)")
        }
        // 12.345 ms
        for (op, value, expected) in [("GE", 12, true), ("GE", 13, false), ("EQ", 12, true)] {
            let yaml = "duration_filter: {comparison: {op: \(op), value: {default_value: \(value), runtime_key: k}}}"
            #expect(try takes(yaml, LogRecords.request()) == expected, "\(op) \(value)")
        }
    }

    @Test func filtersLookAtFlagsHeadersStatusesAndKinds() throws {
        let bad = LogRecords.request { $0.flags = [.noHealthyUpstream] }
        #expect(try takes("response_flag_filter: {flags: [NR, UH]}", bad))
        #expect(try !takes("response_flag_filter: {flags: [NR, LH]}", bad))
        #expect(try takes("response_flag_filter: {}", bad))
        #expect(try !takes("response_flag_filter: {}", LogRecords.request()))
        let header = "header_filter: {header: {name: user-agent, string_match: {prefix: curl}}}"
        #expect(try takes(header, LogRecords.request()))
        #expect(try !takes(header, LogRecords.connection()))
        #expect(try takes("grpc_status_filter: {statuses: [NOT_FOUND]}", LogRecords.request()))
        #expect(try !takes("grpc_status_filter: {statuses: [NOT_FOUND], exclude: true}", LogRecords.request()))
        #expect(try takes("not_health_check_filter: {}", LogRecords.request()))
        #expect(try !takes("traceable_filter: {}", LogRecords.request()))
        #expect(try takes("traceable_filter: {}", LogRecords.request { $0.traceReason = .sampled }))
        #expect(try takes("log_type_filter: {types: [DownstreamEnd]}", LogRecords.request()))
        #expect(try !takes("log_type_filter: {types: [DownstreamEnd]}", LogRecords.connection()))
        #expect(try takes("log_type_filter: {types: [DownstreamEnd], exclude: true}", LogRecords.connection()))
        let metadata = "metadata_filter: {matcher: {filter: f, path: [{key: n}], value: {double_match: {exact: 3}}}}"
        #expect(try takes(metadata, LogRecords.request()))
        #expect(try takes(metadata, LogRecords.connection()))
        #expect(try !takes(metadata, LogRecords.request { $0.metadata.merge("f", [.init("n", .number(4))]) }))
    }

    @Test func filtersCombine() throws {
        let ok = "{status_code_filter: {comparison: {op: EQ, value: {default_value: 200, runtime_key: k}}}}"
        let flagged = "{response_flag_filter: {}}"
        #expect(try !takes("and_filter: {filters: [\(ok), \(flagged)]}", LogRecords.request()))
        #expect(try takes("or_filter: {filters: [\(ok), \(flagged)]}", LogRecords.request()))
    }

    @Test func aShareOfRequestsIsTakenAndOneRequestIsTakenEverywhereOrNowhere() throws {
        let share = "runtime_filter: {runtime_key: k, percent_sampled: {numerator: 30}}"
        let record = LogRecords.request()
        #expect(try (0..<100).filter { try takes(share, record, random: $0) }.count == 30)
        let identified = LogRecords.request {
            $0.request.set("x-request-id", "0000001d-0000-4000-8000-000000000000")
        }
        #expect(try (0..<100).allSatisfy { try takes(share, identified, random: $0) })
        let independent = share.dropLast() + ", use_independent_randomness: true}"
        #expect(try (0..<100).filter { try takes(String(independent), identified, random: $0) }.count == 30)
    }

    @Test func logsHaveTheirFormatsAndTargets() throws {
        func written(_ yaml: String) throws -> String {
            guard case .file(let path, let format) = try rule(yaml).target else { return "no file" }
            var output = Array("\(path) ".utf8)
            var scratch = FormatScratch()
            format.append(LogRecords.request(), &scratch, to: &output)
            return String(decoding: output, as: UTF8.self)
        }
        #expect(try written(file).hasPrefix("/dev/stdout [2026-11-30T00:53:20.123Z] \"GET /old?q HTTP/1.1\" 200 - "))
        #expect(
            try written(file + "\n  log_format: {text_format_source: {inline_string: \"%PROTOCOL% %REQ(x)%\"}}")
                == "/dev/stdout HTTP/1.1 -")
        #expect(
            try written(
                file
                    + "\n  log_format: {json_format: {b: \"%RESPONSE_CODE%\", a: \"%REQ(x)%\"}, omit_empty_values: true}"
            )
                == "/dev/stdout {\"b\":200}\n")
        let stream = "name: s\ntyped_config: {\"@type\": type.googleapis.com/envoy.extensions.access_loggers.stream.v3."
        #expect(
            try written(stream + "StdoutAccessLog, log_format: {text_format_source: {inline_string: x}}}")
                == "/dev/stdout x")
        #expect(
            try written(stream + "StderrAccessLog, log_format: {text_format_source: {inline_string: x}}}")
                == "/dev/stderr x")
        let service = """
            name: g
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig
              common_config:
                log_name: inbound
                grpc_service: {envoy_grpc: {cluster_name: martinet}}
                transport_api_version: V3
                buffer_flush_interval: 2s
              additional_request_headers_to_log: [X-Trace]
            """
        guard case .service(let found) = try rule(service).target else {
            Issue.record("no service")
            return
        }
        #expect(found.logName == "inbound" && found.cluster == "martinet" && found.interval == .seconds(2))
        #expect(found.batch == 16_384 && found.requestHeaders == ["x-trace"])
    }

    @Test(arguments: [
        ("filter: {}", "filter: no filter is given"),
        ("filter: {and_filter: {filters: [{response_flag_filter: {}}]}}", "filter.and_filter.filters: two filters"),
        (
            "filter: {response_flag_filter: {flags: [XX]}}",
            "filter.response_flag_filter.flags[0]: no flag is called `XX`"
        ),
        ("filter: {status_code_filter: {}}", "filter.status_code_filter.comparison: missing"),
    ])
    func whatFiltersCannotBeIsTold(yaml: String, problem: String) {
        let error = #expect(throws: ConfigurationError.self) { try rule(file + "\n" + yaml) }
        #expect(error?.description.hasPrefix(problem) == true, "\(String(describing: error))")
    }

    @Test func whatLoggersCannotBeIsTold() {
        for (yaml, problem) in [
            ("name: x", "typed_config: missing"),
            (file.replacing("path: /dev/stdout", with: "path: ''"), "typed_config.path: missing"),
            (
                file + "\n  log_format: {text_format_source: {filename: /etc/x}}",
                "typed_config.log_format.text_format_source: only inline"
            ),
            (
                file + "\n  log_format: {json_format: {a: {b: '%NO%'}}}",
                "typed_config.log_format.json_format.a.b: the command %NO%"
            ),
            (
                "name: x\ntyped_config: {\"@type\": type.googleapis.com/google.protobuf.Empty}",
                "typed_config: the logger `google.protobuf.Empty`"
            ),
        ] {
            let error = #expect(throws: ConfigurationError.self) { try rule(yaml) }
            #expect(error?.description.hasPrefix(problem) == true, "\(String(describing: error))")
        }
    }
}

struct LogExpressionTests {
    @Test(
        arguments: [
            ("response.code >= 200 && response.code < 300", true),
            ("response.code == 404 || request.method == 'GET'", true),
            ("!(response.code == 200)", false), ("request.headers['user-agent'].startsWith('curl')", true),
            ("request.headers['missing'] == 'x'", false), ("!(request.headers['missing'] == 'x')", false),
            ("has(request.headers['missing'])", false), ("!has(request.headers.missing)", true),
            ("'x-request-id' in request.headers", true), ("request.host in ['a', \"web.example\"]", true),
            ("request.url_path == '/new' && request.query.contains('a=1')", true), ("request.path.endsWith('c')", true),
            ("request.path.matches('^/n.w')", true), ("request.path.matches('^/o')", false),
            ("connection.mtls && connection.uri_san_peer_certificate == 'spiffe://a/ns/b/sa/c'", true),
            ("source.address == '10.1.2.3:4711' && source.port == 4711", true),
            ("response.flags == 0 && response.grpc_status == 5", true), ("size(request.method) == 3", true),
            ("request.method.size() == 3", true), ("response.code == 200 ? request.method == 'GET' : false", true),
            ("xds.cluster_name == 'outbound|80||web' && upstream.port == 8080", true), ("response.size - 1", nil),
            ("response.code > -1 && true", true), ("request.headers['missing'] == 'x' || true", true),
            ("request.headers['missing'] == 'x' && false", false), ("request.method < 'H'", true),
            ("request.nothing == 1", nil), ("response.code == ", nil), ("(response.code == 1", nil), ("'abc", nil),
            ("request.method.matches(request.path)", nil), ("request.path.matches('(')", nil), ("foo(1)", nil),
            ("1 @ 2", nil),
            ("response.code == 200 response.code", nil), ("", nil),
        ] as [(String, Bool?)])
    func conditionsHoldOrNotOrAreRefused(text: String, expected: Bool?) throws {
        if let expected {
            #expect(try LogExpression(text).holds(LogRecords.request()) == expected)
        } else {
            #expect(throws: ConfigurationError.self) { try LogExpression(text) }
        }
    }

    @Test func depthAndLengthHaveBounds() {
        #expect(throws: ConfigurationError.self) { try LogExpression(String(repeating: "(", count: 5000) + "1") }
        #expect(throws: ConfigurationError.self) { try LogExpression(String(repeating: "!", count: 5000) + "true") }
        #expect(throws: ConfigurationError.self) { try LogExpression(String(repeating: "1", count: 9000)) }
    }

    @Test func theFilterOfTelemetryObjectsIsOne() throws {
        let arena = Arena()
        let log = try arena.decodeYAML(AccessLog.self, file, types: envoyTypes)
        let text = encode(arena.make(ProtobufStringValue.self) { $0.value = arena("response.code >= 400") })
        log.pointee.filter = arena.make {
            $0.set(
                extension_filter: arena.make {
                    $0.name = arena("envoy.access_loggers.extension_filters.cel")
                    $0.set(
                        typed_config: arena.any(
                            typeURL:
                                "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
                            arena.bytes(text)))
                })
        }
        let filter = try #require(try AccessLogRule(encode(log)).filter)
        #expect(!filter.takes(LogRecords.request(), random: 0))
        #expect(filter.takes(LogRecords.request { $0.status = 503 }, random: 0))
    }
}
