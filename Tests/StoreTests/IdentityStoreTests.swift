import Foundation
import GRDB
import Testing
import Time

@testable import Store

/// The authority's part of the database.
struct IdentityStoreTests {
    private let directory = NSTemporaryDirectory() + "martinet-store-" + UUID().uuidString

    private func time(_ seconds: Int64) -> Timestamp { Timestamp(seconds: seconds) }

    private func line(_ number: Int, to id: String = "spiffe://td/ns/a/sa/b", until end: Int64 = 1_000)
        -> IssuedCertificate
    {
        IssuedCertificate(
            serial: "\(number)", spiffeID: id, validity: time(0)..<time(end), authority: "aa", holder: "node-\(number)",
            reason: "first", issuedAt: time(Int64(number)))
    }

    private func withStore(_ body: (Store) throws -> Void) throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try body(try Store(directory: directory))
    }

    @Test func everythingOfATurnIsThereAfterOpeningAgain() throws {
        var change = IdentityChange()
        change.authorities = [
            StoredAuthority(
                id: "b", tier: "root", certificates: "P", crossSigned: "X", keyFile: "b.key", createdAt: time(2)),
            StoredAuthority(id: "a", tier: "intermediate", certificates: "Q", keyFile: "", createdAt: time(1)),
        ]
        change.rotation = StoredRotation(revision: 1, body: Data([1, 2]))
        change.issued = [line(1), line(2, to: "spiffe://td/ns/a/sa/c")]
        change.holders = [
            StoredHolder(
                key: .init(nodeID: "n", spiffeID: "s"), lastSeen: time(3), authority: "aa", notAfter: time(9),
                body: Data([7]))
        ]
        change.bundles = [
            StoredBundle(trustDomain: "other", source: "f", document: Data("{}".utf8), refreshedAt: time(4))
        ]
        change.jwtKeys = [
            StoredJWTKey(
                id: "k", publicKey: Data([3]), keyFile: "k.key", createdAt: time(1), signs: time(2)..<time(5),
                publishedUntil: time(8))
        ]
        try withStore { store in
            try store.commit(change)
            let again = try Store(directory: directory)
            #expect(try again.authorities() == change.authorities.reversed())
            #expect(try again.rotation() == change.rotation)
            #expect(try again.issued(limit: 10) == change.issued.reversed())
            #expect(try again.issued(to: "spiffe://td/ns/a/sa/c", limit: 10) == [change.issued[1]])
            #expect(try again.issued(limit: 1) == [change.issued[1]])
            #expect(try again.holders() == change.holders)
            #expect(try again.federatedBundles() == change.bundles)
            #expect(try again.jwtKeys() == change.jwtKeys)
            var gone = IdentityChange()
            gone.forgettingAuthorities = ["b", "none"]
            gone.forgettingHolders = [change.holders[0].key]
            gone.forgettingBundles = ["other"]
            gone.forgettingJWTKeys = ["k"]
            try again.commit(gone)
            #expect(try store.authorities().map(\.id) == ["a"])
            #expect(try store.holders().isEmpty && store.federatedBundles().isEmpty && store.jwtKeys().isEmpty)
        }
    }

    @Test func aRotationThatAnotherHasMovedOnIsNotOverwritten() throws {
        try withStore { store in
            var change = IdentityChange()
            change.rotation = StoredRotation(revision: 1, body: Data([1]))
            try store.commit(change)
            change.issued = [line(1)]
            #expect(throws: StoreError.outOfStep(path: store.path, expected: 0, found: 1)) { try store.commit(change) }
            #expect(try store.issued(limit: 1).isEmpty)
            change.rotation = StoredRotation(revision: 2, body: Data([2]))
            try store.commit(change)
            #expect(try store.rotation()?.body == Data([2]))
        }
    }

    @Test func theJournalIsPrunedOfWhatIsPastTheOldestFirstAndInBoundedSteps() throws {
        try withStore { store in
            var change = IdentityChange()
            change.issued = (1...30).map { line($0, until: Int64($0 * 10)) }
            try store.commit(change)
            #expect(try store.pruneIssued(endedBefore: time(201), limit: 15) == 15)
            #expect(try store.issued(limit: 100).last?.serial == "16")
            #expect(try store.pruneIssued(endedBefore: time(201), limit: 15) == 5)
            #expect(try store.pruneIssued(endedBefore: time(201), limit: 15) == 0)
            #expect(try store.issued(limit: 100).map(\.serial) == (21...30).reversed().map(String.init))
            #expect(try store.outstanding(now: time(290)).map(\.serial) == ["30"])
        }
    }

    @Test func aFullDiskRefusesTheWholeTurn() throws {
        try withStore { store in
            var change = IdentityChange()
            change.issued = [line(1)]
            change.rotation = StoredRotation(revision: 1, body: Data([1]))
            try store.commit(change)
            try store.limitSize(pages: 60)
            change.issued = (2...5_000).map { line($0) }
            change.rotation = StoredRotation(revision: 2, body: Data([2]))
            #expect(throws: StoreError.diskFull(path: store.path)) { try store.commit(change) }
            #expect(try store.issued(limit: 10) == [line(1)])
            #expect(try store.rotation()?.revision == 1)
        }
    }

    @Test func aDatabaseThatAnotherProgramHoldsIsNamedAndServesAgainAfterwards() throws {
        try withStore { store in
            var change = IdentityChange()
            change.issued = [line(1)]
            let other = try DatabaseQueue(path: store.path)
            try other.writeWithoutTransaction { db in
                try db.execute(sql: "BEGIN IMMEDIATE")
                #expect(throws: StoreError.heldByAnother(path: store.path)) { try store.commit(change) }
                try db.execute(sql: "ROLLBACK")
            }
            #expect(try store.issued(limit: 1).isEmpty)
            try store.commit(change)
            #expect(try store.issued(limit: 1) == [line(1)])
        }
    }

    @Test func aDamagedPageIsNamedAsDamage() throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        do {
            var change = IdentityChange()
            change.issued = (1...2_000).map { line($0) }
            try Store(directory: directory).commit(change)
        }
        let path = directory + "/martinet.db"
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        #expect(bytes.count > 100_000)
        for index in 4_096..<bytes.count { bytes[index] = 0x5A }
        try bytes.write(to: URL(fileURLWithPath: path))
        #expect {
            let store = try Store(directory: directory)
            _ = try store.issued(limit: 5_000)
        } throws: { error in
            guard case .damaged(path, _)? = error as? StoreError else { return false }
            return true
        }
    }

    /// What a crash may leave: a write-ahead log that ends anywhere. Whole commits are there, the first ones, and
    /// nothing of one that is torn.
    @Test func aLogThatIsTornAnywhereLosesWholeTurnsFromItsEndOnly() throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let copy = directory + "-copy"
        defer { try? FileManager.default.removeItem(atPath: copy) }
        let turns = 12
        let store = try Store(directory: directory)
        for turn in 1...turns {
            var change = IdentityChange()
            change.rotation = StoredRotation(revision: Int64(turn), body: Data([UInt8(turn)]))
            change.issued = (0..<20).map { line(turn * 100 + $0) }
            try store.commit(change)
        }
        let files = ["martinet.db", "martinet.db-wal"]
        let contents = try files.map { try Data(contentsOf: URL(fileURLWithPath: directory + "/" + $0)) }
        let log = contents[1]
        #expect(log.count > 20 * 4_096)
        var cuts = Set(stride(from: 0, through: log.count, by: 4_120 + 32))
        var random = SystemRandomNumberGenerator()
        for _ in 0..<40 { cuts.insert(Int.random(in: 0...log.count, using: &random)) }
        cuts.insert(log.count)
        var found: Set<Int> = []
        for cut in cuts.sorted() {
            try? FileManager.default.removeItem(atPath: copy)
            try FileManager.default.createDirectory(atPath: copy, withIntermediateDirectories: true)
            try contents[0].write(to: URL(fileURLWithPath: copy + "/" + files[0]))
            try log.prefix(cut).write(to: URL(fileURLWithPath: copy + "/" + files[1]))
            let torn = try Store(directory: copy)
            let revision = Int(try torn.rotation()?.revision ?? 0)
            let lines = try torn.issued(limit: 10_000)
            #expect(lines.count == revision * 20, "cut at \(cut) of \(log.count)")
            #expect(lines.allSatisfy { Int($0.serial)! / 100 <= revision }, "cut at \(cut)")
            if cut == log.count { #expect(revision == turns) }
            found.insert(revision)
        }
        // The cuts have met many different states, so the test can tell.
        #expect(found.count > turns / 2, "\(found.sorted())")
    }

    @Test func aDatabaseThatCannotBeWrittenRefusesAChangeWholeAndGoesOnWhenItCan() throws {
        try withStore { store in
            var change = IdentityChange()
            change.rotation = StoredRotation(revision: 1, body: Data([1]))
            change.issued = [line(1)]
            func isWritable(_ value: Bool) throws {
                try store.database.writeWithoutTransaction { try $0.execute(sql: "PRAGMA query_only = \(!value)") }
            }
            try isWritable(false)
            let problem = #expect(throws: StoreError.self) { try store.commit(change) }
            #expect(problem == .readOnly(path: store.path))
            #expect(problem?.hint.contains("owner") == true)
            #expect(try store.rotation() == nil && store.issued(limit: 9).isEmpty)
            try isWritable(true)
            try store.commit(change)
            #expect(try store.issued(limit: 9).count == 1)
        }
    }

    @Test func aTokenItsNodesAndItsRevocationAreKept() throws {
        try withStore { store in
            var token = StoredJoinToken(
                id: "t", hash: Data([9]), namespace: "ns", serviceAccount: "sa", createdAt: time(1), expiresAt: time(9),
                uses: 2)
            let unlimited = StoredJoinToken(
                id: "u", hash: Data([8]), namespace: "ns", serviceAccount: "sa", createdAt: time(2), expiresAt: time(9),
                uses: nil)
            try store.commit(
                putting: [unlimited, token],
                joined: ["b", "a", "b"].map { JoinedNode(token: "t", node: $0) })
            token.revokedAt = time(5)
            try store.commit(putting: [token])
            let again = try Store(directory: directory)
            #expect(try again.joinTokens() == [token, unlimited])
            #expect(try again.joinedNodes().map(\.node) == ["b", "a"])
            try store.commit(forgetting: ["t", "none"])
            #expect(try store.joinTokens() == [unlimited])
            #expect(try store.joinedNodes().isEmpty)
        }
    }
}
