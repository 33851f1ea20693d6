import Certificates
import Forwarding
import Foundation
import TLS
import Testing
import Time

@testable import DataPlane

/// What certificates of clients, and their ages, do to connections.
@Suite struct CertificateServingTests {
    private let authority: TestAuthority

    init() throws { authority = try TestAuthority() }

    private func stage(_ server: TLSConfiguration, _ client: TransportSecurity, manager: String = "") throws -> Stage {
        let origin = try Resources.httpListener(
            "origin",
            routes: """
                - {match: {prefix: /, tls_context: {validated: true}}, direct_response: {status: 201}}
                - {match: {prefix: /, tls_context: {presented: true}}, direct_response: {status: 202}}
                - {match: {prefix: /}, direct_response: {status: 203}}
                """, manager: manager
        ).secured(server)
        let front = try Resources.httpListener(routes: #"- {match: {prefix: /}, route: {cluster: web}}"#)
        let stage = try Stage([origin, front], [])
        stage.serve(
            [origin, front], [try Resources.cluster("web", ports: [stage.port("origin")], security: client)])
        return stage
    }

    @Test func aCertificateThatNobodyVouchesForIsShownAndNotVerified() throws {
        let client = try authority.client(identity: try authority.identity("client"))
        var open = TLSConfiguration.server(try authority.identity("server"))
        open.clientAuthentication = .optional
        open.acceptedPeers = .anybody
        #expect(try stage(open, client).get("/")?.status == 202)
        #expect(try stage(open, try authority.client()).get("/")?.status == 203)
        let strict = TLSConfiguration.mutualServer(try authority.identity("server"), trusting: try authority.anchors)
        #expect(try stage(strict, client).get("/")?.status == 201)
    }

    @Test func logsTellOfTheSession() throws {
        let path = NSTemporaryDirectory() + "tls-\(UUID().uuidString).log"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let log = """
            access_log:
            - name: file
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
                path: \(path)
                log_format:
                  text_format_source: {inline_string: "%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER%\\n"}
            """
        var server = TLSConfiguration.server(try authority.identity("server"))
        server.maximumVersion = .tls12
        let stage = try stage(server, try authority.client(), manager: log)
        #expect(stage.get("/")?.status == 203)
        stage.workers.stop()
        stage.workers.options.logs.close()
        #expect(
            try String(contentsOfFile: path, encoding: .utf8) == "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384\n")
    }

    @Test func aConnectionIsAskedToEndADrainTimeBeforeACertificateDoes() {
        let now = Timestamp(seconds: 1_000_000)
        func age(_ ends: Int64...) -> CertificateAge? {
            CertificateAge(
                ends: ends.map { now + .seconds($0) }, now: now, drainTime: .seconds(45))
        }
        #expect(age(3600, 7200) == CertificateAge(drain: .seconds(3555), close: .seconds(3600)))
        #expect(
            CertificateAge(
                ends: [Timestamp(nanoseconds: 60_000_000_000)], now: Timestamp(nanoseconds: 0), drainTime: .seconds(45),
                lead: .seconds(1)) == CertificateAge(drain: .seconds(29), close: .seconds(60)))
        #expect(age(60) == CertificateAge(drain: .seconds(30), close: .seconds(60)))
        // What had ended before was no obstacle to the connection.
        #expect(age(-5, 100) == CertificateAge(drain: .seconds(55), close: .seconds(100)))
        #expect(age(-5) == nil)
        #expect(age() == nil)
        #expect(age(Int64(86_400) * 366 * 200) == nil)
    }

    @Test func aConnectionEndsWithItsCertificate() throws {
        let end = Timestamp(seconds: Timestamp.systemClock().seconds + 2)
        let client = TransportSecurity.tls(
            try TLSSettings(.client(trusting: try authority.anchors, accepting: .anybody)),
            TransportSecurity.ServerNaming())
        let stage = try stage(.server(try authority.identity("server", until: end)), client)
        func active() -> Int64 {
            Statistic.summed(stage.workers.ask { $0.statistics }.flatMap { $0 })
                .first { $0.name == "upstream_cx_active" }?.value ?? 0
        }
        #expect(stage.get("/")?.status == 203)
        #expect(active() == 1)
        let limit = ContinuousClock.now + .seconds(5)
        while active() > 0, ContinuousClock.now < limit { usleep(20_000) }
        #expect(active() == 0)
    }
}
