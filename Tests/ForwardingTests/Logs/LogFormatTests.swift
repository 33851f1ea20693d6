import EnvoyAPI
import Forwarding
import HTTP
import Testing
import Time

struct LogFormatTests {
    private func line(
        _ text: String, _ record: AccessRecord = LogRecords.request(), omitsEmpty: Bool = false
    ) throws -> String {
        var output: [UInt8] = []
        var scratch = FormatScratch(now: Timestamp(seconds: 0))
        try LogFormat(text: text, omitsEmpty: omitsEmpty).append(record, &scratch, to: &output)
        return String(decoding: output, as: UTF8.self)
    }

    @Test func withoutAFormatALineIsAsEnvoyWritesIt() throws {
        #expect(
            try line(LogFormat.standard)
                == "[2026-11-30T00:53:20.123Z] \"GET /old?q HTTP/1.1\" 200 - 11 22 12 8 \"10.1.2.3\" "
                + "\"curl/8 \"x\"\" \"id-1\" \"web.example\" \"10.9.9.9:8080\"\n")
        #expect(
            try line(LogFormat.standard, LogRecords.connection { $0.flags = [.noRoute, .upstreamRetryLimit] })
                == "[2026-11-30T00:53:20.123Z] \"- - -\" 0 NR,URX 0 0 61000 - \"-\" \"-\" \"-\" \"-\" \"-\"\n")
    }

    @Test(arguments: [
        ("%REQ(X-A?USER-AGENT):4%|%REQ(X-A)%|%REQ(host)%|%REQ(:SCHEME)%", "curl|-|web.example|https"),
        ("%RESP(SERVER)% %RESP(:STATUS)% %TRAILER(GRPC-STATUS)% %RESP(NO?SERVER):0%.", "s 200 5 ."),
        (
            "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER%",
            "NotFound NOT_FOUND 5 5"
        ),
        ("%START_TIME(%Y/%m/%dT%H:%M:%S %s %3f %f)%", "2026/11/30T00:53:20 1796000000 123 123456789"),
        ("%EMIT_TIME%", "1970-01-01T00:00:00.000Z"),
        (
            "%DURATION% %REQUEST_DURATION% %REQUEST_TX_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION%",
            "12 1 3 8 4"
        ),
        ("%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)% %COMMON_DURATION(US_RX_BEG:US_RX_END)%", "2000 -"),
        ("%COMMON_DURATION(DS_RX_BEG:DS_TX_END:ns)%", "12345000"),
        (
            "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %PROTOCOL% %UPSTREAM_PROTOCOL%",
            "200 via_upstream - HTTP/1.1 HTTP/2"
        ),
        ("%BYTES_RECEIVED%/%BYTES_SENT%/%UPSTREAM_REQUEST_ATTEMPT_COUNT%/%CONNECTION_ID%", "11/22/2/7"),
        (
            "%UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REMOTE_PORT%",
            "10.9.9.9:8080 10.9.9.9 8080"
        ),
        (
            "%UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %UPSTREAM_LOCAL_PORT%",
            "[fd00::1]:55 fd00::1 55"
        ),
        (
            "%UPSTREAM_CLUSTER% %UPSTREAM_TRANSPORT_FAILURE_REASON% %CONNECTION_TERMINATION_DETAILS%",
            "outbound|80||web - -"
        ),
        (
            "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT%",
            "10.1.2.3:4711 10.1.2.3 4711"
        ),
        (
            "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT%",
            "10.0.0.9:99 10.0.0.1:15006 15006"
        ),
        (
            "%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_PEER_SERIAL%",
            "spiffe://a/ns/b/sa/c,spiffe://d CN=c 0a"
        ),
        (
            "%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_LOCAL_URI_SAN%",
            "TLSv1.3 TLS_AES_128_GCM_SHA256 spiffe://own"
        ),
        ("%REQUESTED_SERVER_NAME% %ROUTE_NAME% %HOSTNAME% %ACCESS_LOG_TYPE%", "web.example r node DownstreamEnd"),
        ("%TRACE_ID% %STREAM_ID%", "0af7651916cd43dd8448eb211c80319c id-1"),
        (
            "%DYNAMIC_METADATA(f:a:b)% %DYNAMIC_METADATA(f:a)% %DYNAMIC_METADATA(f:n)% %DYNAMIC_METADATA(f:x)%",
            "deep {\"b\":\"deep\"} 3 -"
        ),
        (
            "%PATH% %PATH(NQ)% %PATH(WQ:PATH)% %PATH(NQ:PATH)% %QUERY_PARAM(a)% %QUERY_PARAM(z)%",
            "/old?q /old /new?b=2&a=1&c /new 1 -"
        ),
        (
            "%DYNAMIC_METADATA(f)% %METADATA(DYNAMIC:f:n)% %METADATA(ROUTE:r:k)% %UPSTREAM_METADATA(h:k)%",
            "{\"a\":{\"b\":\"deep\"},\"n\":3} 3 on-route on-host"
        ),
        ("%METADATA(UPSTREAM_HOST:h:k)% %UPSTREAM_METADATA(h:x:y)%", "on-host -"),
        ("%UPSTREAM_HOST_NAME% %UPSTREAM_HOST_NAME_WITHOUT_PORT%", "web.local:80 web.local"),
        ("%REQUEST_HEADERS_BYTES% %RESPONSE_TRAILERS_BYTES%", "148 12"),
        ("%REQ(x-nope?)% %REQ(x-nope?:method)%", "- GET"),
        ("100%% %RESPONSE_CODE()%", "100% 200"),
    ])
    func eachCommandHasItsValue(format: String, expected: String) throws {
        #expect(try line(format) == expected)
        // Headers are made by the same commands; when a line is written is not for them.
        if format.contains("EMIT_TIME") {
            #expect(throws: ConfigurationError.self) { try HeaderFormat(format) }
        } else {
            let value = try HeaderFormat(format).value(LogRecords.request())
            #expect(try String(decoding: value, as: UTF8.self) == line(format, omitsEmpty: true))
        }
    }

    @Test func valuesOfHeadersAreMadeOfWhatIsKnownSoFar() throws {
        let record = LogRecords.request {
            $0.ended = nil
            $0.metadata.merge("token", [.init("claim", .string("a\r\nb"))])
        }
        let value = try HeaderFormat("<%DURATION%%GRPC_STATUS_NUMBER%%DYNAMIC_METADATA(token:claim)%>").value(record)
        #expect(String(decoding: value, as: UTF8.self) == "<5ab>")
        #expect(try HeaderFormat("100%% %%REQ%%").value(record) == Array("100% %REQ%".utf8))
    }

    @Test func spacesInReasonsBecomeUnderscores() throws {
        let record = LogRecords.request {
            $0.details = "a b"
            $0.transportFailure = "TLS error: no peer"
            $0.terminationDetails = "rbac denied"
            $0.flags = [.upstreamConnectionFailure]
        }
        #expect(
            try line(
                "%RESPONSE_CODE_DETAILS% %RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)% "
                    + "%UPSTREAM_TRANSPORT_FAILURE_REASON% %CONNECTION_TERMINATION_DETAILS% %RESPONSE_FLAGS_LONG%",
                record)
                == "a_b a b TLS_error:_no_peer rbac denied UpstreamConnectionFailure")
    }

    @Test func whatIsNotThereIsADashOrNothing() throws {
        let format = "[%REQ(X-A)%][%UPSTREAM_HOST%][%DOWNSTREAM_LOCAL_PORT%][%TRACE_ID%]"
        #expect(try line(format, LogRecords.connection()) == "[-][-][-][-]")
        #expect(try line(format, LogRecords.connection(), omitsEmpty: true) == "[][][][]")
        #expect(
            try line("%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS%", LogRecords.connection())
                == "/run/x [::1]:5")
    }

    private func json(
        _ fields: [StructureValue.Field], omitsEmpty: Bool = false, sortsNames: Bool = false,
        _ record: AccessRecord = LogRecords.request()
    ) throws -> String {
        var output: [UInt8] = []
        var scratch = FormatScratch()
        try LogFormat(json: fields, omitsEmpty: omitsEmpty, sortsNames: sortsNames).append(
            record, &scratch, to: &output)
        return String(decoding: output, as: UTF8.self)
    }

    @Test func jsonKeepsTypesAndNesting() throws {
        let fields: [StructureValue.Field] = [
            .init("status", .string("%RESPONSE_CODE%")), .init("text", .string("%RESPONSE_CODE% of %DURATION% ms")),
            .init("agent", .string("%REQ(USER-AGENT)%")), .init("none", .string("%REQ(X-A)%")),
            .init("a\"b", .object([.init("port", .string("%UPSTREAM_REMOTE_PORT%")), .init("fixed", .bool(true))])),
            .init("list", .list([.string("%ROUTE_NAME%"), .number(1), .string("%REQ(X-A)%")])),
        ]
        #expect(
            try json(fields)
                == #"{"status":200,"text":"200 of 12 ms","agent":"curl/8 \"x\"","none":null,"#
                + #""a\"b":{"port":8080,"fixed":true},"list":["r",1,null]}"# + "\n")
        #expect(
            try json(fields, omitsEmpty: true, sortsNames: true)
                == #"{"a\"b":{"fixed":true,"port":8080},"agent":"curl/8 \"x\"","list":["r",1],"status":200,"#
                + #""text":"200 of 12 ms"}"# + "\n")
        #expect(try json([.init("x", .string("%REQ(X-A)%"))], omitsEmpty: true) == "{}\n")
    }

    @Test func bytesThatAreNoTextCannotBreakJSON() throws {
        var head = HeaderList()
        [UInt8]([0xff, 0x22, 0x5c, 0x09, 0xc3]).withUnsafeBytes { head.append("x", value: $0) }
        #expect(
            try json([.init("x", .string("%REQ(x)%"))], LogRecords.request { $0.request = head })
                == #"{"x":"\#u{fffd}\"\\\t\#u{fffd}"}"# + "\n")
    }

    @Test(arguments: [
        "%NO_SUCH%", "%REQ()%", "%REQ(a?b?c)%", "%REQ(a):x%", "%DURATION(x)%", "%", "100%", "%START_TIME(%Y)",
        "%COMMON_DURATION(A:B)%", "%DYNAMIC_METADATA()%", "%METADATA(LISTENER:a:b)%",
        "%PER_REQUEST_STATE(x)%", "%PATH(XX)%", "%REQ(a):-1%", "%FILTER_STATE(x)%",
    ])
    func whatIsNotKnownIsRefusedByName(format: String) {
        let error = #expect(throws: ConfigurationError.self) { try LogFormat(text: format) }
        #expect(error?.problem.contains(format.split(separator: "%").first ?? "%") == true)
    }
}
