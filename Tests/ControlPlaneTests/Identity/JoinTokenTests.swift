import Foundation
import Identity
import Store
import Testing
import Time

@testable import ControlPlane

/// Join tokens on a real database, with times of the test's.
struct JoinTokenTests {
    private let directory: TemporaryDirectory
    private let store: Store
    private let ledger: JoinTokenLedger
    private let start = Timestamp(seconds: 1_000_000)

    init() throws {
        directory = try TemporaryDirectory("tokens")
        store = try Store(directory: directory["data"])
        ledger = try JoinTokenLedger(store: store)
    }

    private func order(uses: Int? = 1, validity: Duration = .seconds(3_600)) -> JoinTokenOrder {
        JoinTokenOrder(namespace: "shop", serviceAccount: "web", validity: validity, uses: uses)
    }

    /// Where a test starts again, with what is on disk.
    private func reopened() throws -> JoinTokenLedger {
        try JoinTokenLedger(store: try Store(directory: directory["data"]))
    }

    private func redeem(
        _ token: String, by node: String, at now: Timestamp? = nil, _ ledger: JoinTokenLedger? = nil
    ) -> Result<JoinTokenLedger.Grant, JoinFailure> {
        (ledger ?? self.ledger).redeem([.init(token: token, nodeID: node)], now: now ?? start)[0]
    }

    @Test func aUseIsOneNodeAndTheSameNodeComesAgain() throws {
        let (token, entry) = try ledger.create(order(uses: 2), now: start)
        #expect(token.hasPrefix("martinet-join-v1.\(entry.id)."))
        let grant = JoinTokenLedger.Grant(tokenID: entry.id, namespace: "shop", serviceAccount: "web")
        #expect(redeem(token, by: "a") == .success(grant))
        #expect(redeem(token, by: "a") == .success(grant))
        #expect(redeem(token, by: "b") == .success(grant))
        #expect(redeem(token, by: "c") == .failure(.refused(.usedUp(id: entry.id, uses: 2))))
        // Another process knows who joined.
        let again = try reopened()
        #expect(redeem(token, by: "a", again) == .success(grant))
        #expect(redeem(token, by: "c", again) == .failure(.refused(.usedUp(id: entry.id, uses: 2))))
        #expect(again.entries.map(\.used) == [2])
    }

    @Test func whoHasNoNodeIDUsesATokenUpEachTime() throws {
        let (token, entry) = try ledger.create(order(uses: 2), now: start)
        for _ in 0..<2 { #expect((try? redeem(token, by: "").get()) != nil) }
        #expect(redeem(token, by: "") == .failure(.refused(.usedUp(id: entry.id, uses: 2))))
    }

    @Test func aTokenForAnyNumberOfNodesIsNeverUsedUp() throws {
        let (token, _) = try ledger.create(order(uses: nil), now: start)
        for node in 0..<50 { #expect((try? redeem(token, by: "\(node)").get()) != nil) }
        #expect(try store.joinedNodes().isEmpty)
    }

    @Test func eachReasonToRefuseATokenIsTold() throws {
        let (token, entry) = try ledger.create(order(uses: nil), now: start)
        let end = start + .seconds(3_600)
        #expect((try? redeem(token, by: "a", at: Timestamp(nanoseconds: end.nanoseconds - 1)).get()) != nil)
        #expect(redeem(token, by: "a", at: end) == .failure(.refused(.expired(id: entry.id, at: end))))
        _ = try ledger.revoke(entry.id, now: start)
        #expect(redeem(token, by: "a") == .failure(.refused(.revoked(id: entry.id, at: start))))
        #expect(redeem(token, by: "a", try reopened()) == .failure(.refused(.revoked(id: entry.id, at: start))))
        #expect(redeem("hunter2", by: "a") == .failure(.refused(.malformed)))
        #expect(redeem("", by: "a") == .failure(.refused(.malformed)))
        // A whole token of somewhere else, and one of ours with another's secret.
        let stranger = JoinToken.make().text
        #expect(redeem(stranger, by: "a") == .failure(.refused(.unknown)))
        let (other, _) = try ledger.create(order(), now: start)
        let mixed = token.split(separator: ".")[0...1].joined(separator: ".") + "." + other.split(separator: ".")[2]
        #expect(redeem(mixed, by: "a") == .failure(.refused(.cutShort)))
    }

    @Test func aTokenThatIsCutOrMisspeltIsToldFromAWrongOne() throws {
        let (token, _) = try ledger.create(order(uses: nil), now: start)
        for length in 0..<token.utf8.count {
            let outcome = redeem(String(token.prefix(length)), by: "a")
            let isTold = outcome == .failure(.refused(.cutShort)) || outcome == .failure(.refused(.malformed))
            #expect(isTold, "\(length): \(outcome)")
        }
        for index in token.indices.dropFirst("martinet-join-v1.".count) {
            var slip = token
            slip.replaceSubrange(index...index, with: token[index] == "a" ? "b" : "a")
            let outcome = redeem(slip, by: "a")
            #expect(outcome == .failure(.refused(.cutShort)), "\(slip)")
        }
        #expect(redeem(token + "a", by: "a") == .failure(.refused(.cutShort)))
        #expect(redeem(String(repeating: token, count: 1_000), by: "a") == .failure(.refused(.malformed)))
    }

    @Test func theSecretIsNotOnDiskNorInADescription() throws {
        let (token, _) = try ledger.create(order(), now: start)
        let secret = try #require(token.split(separator: ".").last)
        for file in try FileManager.default.contentsOfDirectory(atPath: directory["data"]) {
            let bytes = try Data(contentsOf: URL(fileURLWithPath: directory["data"] + "/" + file))
            #expect(bytes.range(of: Data(secret.utf8)) == nil, "\(file)")
        }
        let parsed = try JoinToken(token)
        var dumped = ""
        dump(parsed, to: &dumped)
        #expect(!("\(parsed)" + dumped).contains(secret.prefix(8)))
        #expect(parsed.text == token)
    }

    @Test func manyVisitsAreOneTransactionAndAreCountedAmongThemselves() throws {
        let (token, entry) = try ledger.create(order(uses: 3), now: start)
        let visits = ["a", "b", "a", "c", "d", "b"].map { JoinTokenLedger.Visit(token: token, nodeID: $0) }
        let outcomes = ledger.redeem(visits, now: start).map { (try? $0.get()) != nil }
        #expect(outcomes == [true, true, true, true, false, true])
        #expect(ledger.entries.first { $0.id == entry.id }?.used == 3)
        #expect(try store.joinedNodes().count == 3)
    }

    @Test func aUseThatCannotBeWrittenIsNotGrantedAndNotUsed() throws {
        let (token, _) = try ledger.create(order(uses: 2), now: start)
        #expect((try? redeem(token, by: "known").get()) != nil)
        let lock = Process()
        lock.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
        lock.arguments = [
            "-c",
            "import sqlite3,sys; c=sqlite3.connect(sys.argv[1],isolation_level=None); c.execute('BEGIN IMMEDIATE'); "
                + "print('held',flush=True); sys.stdin.read()", store.path,
        ]
        let (input, output) = (Pipe(), Pipe())
        lock.standardInput = input
        lock.standardOutput = output
        try lock.run()
        #expect(try output.fileHandleForReading.read(upToCount: 4) == Data("held".utf8))
        let visits = ["known", "new", "new"].map { JoinTokenLedger.Visit(token: token, nodeID: $0) }
        let outcomes = ledger.redeem(visits, now: start)
        let held = Result<JoinTokenLedger.Grant, JoinFailure>.failure(.unwritten(.heldByAnother(path: store.path)))
        #expect((try? outcomes[0].get()) != nil)
        #expect(outcomes[1] == held && outcomes[2] == held)
        #expect(ledger.entries.map(\.used) == [1])
        #expect(throws: JoinTokenProblem.storage(.heldByAnother(path: store.path))) {
            _ = try ledger.create(order(), now: start)
        }
        #expect(ledger.entries.count == 1)
        try input.fileHandleForWriting.close()
        lock.waitUntilExit()
        #expect((try? redeem(token, by: "new").get()) != nil)
    }

    @Test func ordersOutOfBoundsAreRefusedWithTheMend() throws {
        func refusal(_ order: JoinTokenOrder) -> JoinTokenProblem? {
            do {
                _ = try ledger.create(order, now: start)
                return nil
            } catch { return error }
        }
        #expect(refusal(order(validity: .seconds(59))) == .badOrder(.badLife(.seconds(59))))
        #expect(refusal(order(validity: .seconds(365 * 86_400 + 1)))?.hint.contains("365") == true)
        #expect(refusal(order(uses: 10_001)) == .badOrder(.badUses(10_001)))
        for name in ["", "a/b", "..", "a b", "ü", String(repeating: "x", count: 254)] {
            var bad = order()
            bad.namespace = name
            #expect(refusal(bad) == .badName("namespace", String(name.prefix(60))))
            bad = order()
            bad.serviceAccount = name
            #expect(refusal(bad) == .badName("service account", String(name.prefix(60))))
        }
        #expect(ledger.entries.isEmpty)
        #expect(throws: JoinTokenProblem.noSuchToken("none")) { _ = try ledger.revoke("none", now: start) }
    }

    @Test func whatIsLongPastIsForgotten() throws {
        let (token, old) = try ledger.create(order(), now: start)
        let later = start + .seconds(3_600) + JoinTokenLedger.memory
        let (_, new) = try ledger.create(order(), now: later)
        #expect(ledger.entries.map(\.id) == [new.id])
        #expect(try store.joinTokens().map(\.id) == [new.id])
        #expect(redeem(token, by: "a", at: later) == .failure(.refused(.unknown)))
        #expect(old.id != new.id)
    }
}
