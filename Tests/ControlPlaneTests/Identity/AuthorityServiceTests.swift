import Discovery
import EnvoyAPI
import Foundation
import GRPC
import Identity
import Logging
import Reactor
import Store
import Synchronization
import Testing
import Time
import XDS

@testable import ControlPlane

/// Answers as it is told, and keeps what it was asked.
private final class ToldAuthority: AuthorityOperations {
    var report = AuthorityReport(trustDomain: "td", now: Timestamp(seconds: 5))
    var asked: [String] = []

    func report(now: Timestamp) -> AuthorityReport { report }

    func rotate(_ order: RotationOrder, now: Timestamp) throws(AuthorityRefusal) -> [AuthorityReport.Rotation] {
        asked.append("\(order.root) \(order.forceAfter.map { "\($0.nanoseconds)" } ?? "configured")")
        if order.forceAfter == .seconds(1) { throw AuthorityRefusal(.failedPrecondition, "not now", hint: "wait") }
        return report.rotations
    }

    func abort(now: Timestamp) throws(AuthorityRefusal) -> [AuthorityReport.Rotation] { [] }
    func signingRequest(now: Timestamp) throws(AuthorityRefusal) -> String { "CSR" }

    func take(_ material: AuthorityMaterial, now: Timestamp) throws(AuthorityRefusal) -> [String] {
        [material.certificates, material.key, material.root]
    }

    func bundle(now: Timestamp) throws(AuthorityRefusal) -> PublishedBundle { PublishedBundle(pem: "P", spiffe: "{}") }

    func journal(_ order: JournalOrder) throws(AuthorityRefusal) -> [IssuedEntry] {
        throw AuthorityRefusal(.storage, "\(order.spiffeID) \(order.limit)", hint: "mend it")
    }
}

/// The services for operators, over a real server's Unix socket.
@Suite struct AuthorityServiceTests {
    private let directory: TemporaryDirectory
    private let control: EventLoopGroup<NoConnections>
    private let server: DiscoveryServer
    private let authority: OnControlThread<ToldAuthority>
    private var address: ServerAddress { ServerAddress(.unix(path: directory["s"])) }

    init() throws {
        directory = try TemporaryDirectory("ca")
        let store = try Store(directory: directory["data"])
        let mailbox = Mutex<Mailbox<NoConnections>?>(nil)
        control = try EventLoopGroup<NoConnections>(count: 1, name: "control") { loop, _ in
            mailbox.withLock { $0 = loop.mailbox }
        }
        authority = OnControlThread(ToldAuthority())
        let box = try #require(mailbox.withLock { $0 })
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let services: [any Service] = [
            AuthorityService(mailbox: box, authority: OnControlThread(authority.value), operators: [], logger: logger),
            JoinTokenService(
                mailbox: box, ledger: OnControlThread(try JoinTokenLedger(store: store)), operators: [],
                logger: logger),
        ]
        var configuration = DiscoveryServer.Configuration()
        configuration.logger = logger
        server = try DiscoveryServer(
            SnapshotCache(), on: [.init(.unix(path: directory["s"]))], configuration: configuration, services: services)
    }

    private func stop() {
        server.stop()
        control.stop()
        control.join()
    }

    private func call(_ path: String, _ request: [UInt8]) throws(GRPCStatus) -> [UInt8] {
        try UnaryCallClient.call(path, request, at: address)
    }

    private func refusal(_ path: String, _ request: [UInt8]) -> GRPCStatus? {
        do {
            _ = try call(path, request)
            return nil
        } catch { return error }
    }

    @Test func aReportTravelsWhole() throws {
        defer { stop() }
        func at(_ seconds: Int64) -> Timestamp { Timestamp(seconds: seconds) }
        var report = AuthorityReport(trustDomain: "td", now: at(100))
        report.authorities = [
            .init(
                id: "aa", tier: "root", issuer: "aa", state: "active", subject: "CN=r", validity: at(1)..<at(900),
                hasKey: true, outstandingLeaves: 3)
        ]
        report.timeline = [.init(at: at(200), what: "rotation begins")]
        report.rotations = [
            .init(
                tier: "root", phase: "prepare", phaseSince: at(90),
                awaited: [.init(nodeID: "n", spiffeID: "s", isConnected: true, holds: "old", until: at(99))],
                awaitedCount: 4, forcedAt: at(300)),
            .init(tier: "intermediate", phase: "retire", phaseSince: at(95)),
        ]
        report.problems = ["p"]
        report.outstandingLeaves = 7
        report.earliestLeafExpiry = at(120)
        report.serverExpiry = at(130)
        report.federatedBundles = [
            .init(
                trustDomain: "o", source: "f", sequence: 9, refreshedAt: at(50), x509Authorities: 2, jwtAuthorities: 1,
                problem: "gone")
        ]
        report.clockSkews = ["c"]
        authority.value.report = report
        #expect(try AuthorityReport(decoding: try call(ControlAuthority.status, AuthorityReport.request)) == report)
        let order = RotationOrder(root: true, forceAfter: .seconds(60))
        let rotations = try AuthorityReport.Rotation.list(
            decoding: try call(ControlAuthority.rotate, order.encoded()))
        #expect(rotations == report.rotations)
        _ = try call(ControlAuthority.rotate, RotationOrder().encoded())
        #expect(authority.value.asked == ["true 60000000000", "false configured"])
    }

    @Test func ordersAndRefusalsTravelWithTheirMend() throws {
        defer { stop() }
        let impatient = refusal(ControlAuthority.rotate, RotationOrder(forceAfter: .seconds(1)).encoded())
        #expect(impatient == GRPCStatus(.failedPrecondition, "not now\nwait"))
        let journal = refusal(ControlAuthority.journal, JournalOrder(spiffeID: "s", limit: 7).encoded())
        #expect(journal == GRPCStatus(.resourceExhausted, "s 7\nmend it"))
        let material = AuthorityMaterial(certificates: "C", key: "K", root: "R")
        let taken = try AuthorityMaterial.taken(decoding: try call(ControlAuthority.import, material.encoded()))
        #expect(taken == ["C", "K", "R"])
        #expect("\(material)" == "authority material with a key")
        let large = AuthorityMaterial(certificates: String(repeating: "x", count: 1 << 20))
        #expect(refusal(ControlAuthority.import, large.encoded())?.code == .invalidArgument)
        #expect(refusal(ControlAuthority.rotate, [0xFF])?.code == .invalidArgument)
        #expect(try SigningRequestText.decode(try call(ControlAuthority.signingRequest, [])) == "CSR")
        #expect(
            try PublishedBundle(decoding: try call(ControlAuthority.bundle, []))
                == PublishedBundle(pem: "P", spiffe: "{}"))
        #expect(try AuthorityReport.Rotation.list(decoding: try call(ControlAuthority.abort, [])).isEmpty)
    }

    @Test func tokensAreMadeListedAndRevoked() throws {
        defer { stop() }
        let order = JoinTokenOrder(namespace: "n", serviceAccount: "s", validity: .seconds(60), uses: 4)
        let created = try #require(
            try CreatedJoinToken(decoding: try call(ControlJoinTokens.create, order.encoded())))
        #expect(created.entry.uses == 4 && created.entry.expiresAt - created.entry.createdAt == .seconds(60))
        let list = try JoinTokenEntry.list(decoding: try call(ControlJoinTokens.list, JoinTokenEntry.listRequest))
        #expect(list == [created.entry])
        // A whole token does where its id is wanted, and its secret does not travel.
        let revocation = JoinTokenRevocation(created.token)
        #expect(revocation.id == created.entry.id)
        let revoked = try #require(
            try JoinTokenEntry(decodingRevoked: try call(ControlJoinTokens.revoke, revocation.encoded())))
        #expect(revoked.isRevoked)
        #expect(refusal(ControlJoinTokens.revoke, JoinTokenRevocation("x").encoded())?.code == .notFound)
        var bad = order
        bad.validity = .seconds(1)
        #expect(refusal(ControlJoinTokens.create, bad.encoded())?.code == .invalidArgument)
        bad = order
        bad.uses = 0
        #expect(refusal(ControlJoinTokens.create, bad.encoded())?.code == .invalidArgument)
    }
}
