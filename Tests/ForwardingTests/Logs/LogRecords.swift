import Addresses
import EnvoyAPI
import Forwarding
import HTTP
import Time

/// Records of requests for the tests of logs.
enum LogRecords {
    static let start = Timestamp(nanoseconds: 1_796_000_000_123_456_789)

    static func address(_ text: String, _ port: UInt16) -> NetworkAddress {
        .ip(IPAddress(text) ?? IPAddress(bytes: [0, 0, 0, 0])!, port: port)
    }

    static func list(_ fields: [(String, String)]) -> HeaderList {
        HeaderList(fields.map { (name: $0.0, value: $0.1) })
    }

    static func request(_ change: (inout AccessRecord) -> Void = { _ in }) -> AccessRecord {
        let connection = ConnectionFacts(
            source: address("10.1.2.3", 4711), directSource: address("10.0.0.9", 99),
            destination: address("10.0.0.1", 15006), serverName: "web.example", isTLS: true,
            peer: PeerCertificateFacts(
                uriNames: ["spiffe://a/ns/b/sa/c", "spiffe://d"], dnsNames: ["x"], subject: "CN=c", serial: "0a",
                fingerprint: "ff"))
        let began = Instant(nanoseconds: 5_000_000_000)
        var record = AccessRecord(
            .request, connection, start: start, began: began, ended: began.advanced(by: .microseconds(12_345)))
        record.session = .init(version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256", localURI: "spiffe://own")
        record.connectionNumber = 7
        record.protocolName = "HTTP/1.1"
        record.upstreamProtocolName = "HTTP/2"
        record.request = list([
            (":method", "GET"), (":scheme", "https"), (":authority", "web.example"), (":path", "/new?b=2&a=1&c"),
            ("x-envoy-original-path", "/old?q"), ("user-agent", "curl/8 \"x\""), ("x-request-id", "id-1"),
            ("x-forwarded-for", "10.1.2.3"),
        ])
        record.trace = TraceContext(
            high: 0x0af7_6519_16cd_43dd, low: 0x8448_eb21_1c80_319c, span: 0xb7ad_6b71_6920_3331, isSampled: true)
        record.response = list([(":status", "200"), ("x-envoy-upstream-service-time", "8"), ("server", "s")])
        record.trailers = list([("grpc-status", "5")])
        record.status = 200
        record.details = "via_upstream"
        (record.bytesReceived, record.bytesSent) = (11, 22)
        (record.routeName, record.virtualHost, record.cluster) = ("r", "v", "outbound|80||web")
        (record.upstream, record.upstreamLocal) = (address("10.9.9.9", 8080), address("fd00::1", 55))
        record.attempts = 2
        record.hostName = "node"
        record.requestEnded = began.advanced(by: .milliseconds(1))
        record.sendingBegan = began.advanced(by: .milliseconds(2))
        record.sendingEnded = began.advanced(by: .milliseconds(3))
        record.responseBegan = began.advanced(by: .milliseconds(8))
        record.routeMetadata.merge("r", [.init("k", .string("on-route"))])
        record.upstreamMetadata.merge("h", [.init("k", .string("on-host"))])
        record.upstreamName = "web.local:80"
        record.metadata.merge("f", [.init("a", .object([.init("b", .string("deep"))])), .init("n", .number(3))])
        change(&record)
        return record
    }

    static func connection(_ change: (inout AccessRecord) -> Void = { _ in }) -> AccessRecord {
        let began = Instant(nanoseconds: 1)
        var record = AccessRecord(
            .connection, ConnectionFacts(source: address("::1", 5), destination: .pipe("/run/x")), start: start,
            began: began, ended: began.advanced(by: .seconds(61)))
        change(&record)
        return record
    }
}
