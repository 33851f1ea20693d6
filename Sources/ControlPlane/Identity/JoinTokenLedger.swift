import Certificates
import Discovery
import Foundation
import Identity
import Store
import Time

/// Join tokens: which there are, who may become whom with them, and how often.
///
/// One use is one node that joins. A node that comes again with the same node id, as a proxy does whenever it connects
/// again, does not use the token up again, as long as the token is neither past nor revoked. Who gives no node id uses
/// it up each time. Each use is on disk before it is answered.
///
/// Belongs to the control thread. What a token allows is decided by `JoinTokenRecord`.
public final class JoinTokenLedger {
    /// Tokens that are kept.
    public static let mostTokens = 10_000
    /// How long a token that is past is still known as such.
    public static let memory = Duration.seconds(30 * 86_400)
    /// UTF-8 bytes of a namespace or of a service account. Source: Kubernetes, "Object Names and IDs".
    public static let longestName = 253

    private let store: Store
    private var records: [String: JoinTokenRecord] = [:]

    /// - Throws: what keeps the tokens from being read.
    public init(store: Store) throws(StoreError) {
        self.store = store
        let nodes = Dictionary(grouping: try store.joinedNodes(), by: \.token)
        for token in try store.joinTokens() {
            records[token.id] = JoinTokenRecord(token, nodes: Set(nodes[token.id, default: []].map(\.node)))
        }
    }

    // MARK: For operators

    /// Makes a token.
    /// - Returns: the token, which is nowhere to be had again, and what is known of it.
    public func create(
        _ order: JoinTokenOrder, now: Timestamp
    ) throws(JoinTokenProblem) -> (token: String, entry: JoinTokenEntry) {
        try Self.check(order.namespace, "namespace")
        try Self.check(order.serviceAccount, "service account")
        let token = JoinToken.make()
        let record: JoinTokenRecord
        do {
            record = try JoinTokenRecord(
                id: token.id, hash: token.hash, namespace: order.namespace, serviceAccount: order.serviceAccount,
                life: order.validity, uses: order.uses, now: now)
        } catch { throw .badOrder(error) }
        let forgotten = try room(now: now)
        do {
            try store.commit(putting: [StoredJoinToken(record)], forgetting: forgotten)
        } catch { throw .storage(error) }
        for id in forgotten { records[id] = nil }
        records[token.id] = record
        return (token.text, JoinTokenEntry(record))
    }

    /// Oldest first.
    public var entries: [JoinTokenEntry] {
        records.values.sorted { ($0.createdAt, $0.id) < ($1.createdAt, $1.id) }.map(JoinTokenEntry.init)
    }

    /// Ends a token, once and for all. Who joined with it keeps the certificates that it has.
    public func revoke(_ id: String, now: Timestamp) throws(JoinTokenProblem) -> JoinTokenEntry {
        guard var record = records[JoinToken.id(in: id)] else { throw .noSuchToken(String(id.prefix(40))) }
        if record.revokedAt == nil {
            record.revoke(now: now)
            do {
                try store.commit(putting: [StoredJoinToken(record)])
            } catch { throw .storage(error) }
            records[record.id] = record
        }
        return JoinTokenEntry(record)
    }

    private static func check(_ name: String, _ what: String) throws(JoinTokenProblem) {
        let isName = (try? SPIFFEID(TrustDomain("any"), namespace: name, serviceAccount: "any")) != nil
        guard isName, name.utf8.count <= longestName else { throw .badName(what, String(name.prefix(60))) }
    }

    /// Those that have to go before one more is made: what is long past, and, where that is not enough, the oldest
    /// that nobody can use.
    private func room(now: Timestamp) throws(JoinTokenProblem) -> [String] {
        var old = records.values.filter { $0.expiresAt + Self.memory <= now }.map(\.id)
        let excess = records.count - old.count + 1 - Self.mostTokens
        guard excess > 0 else { return old }
        let gone = Set(old)
        let useless = records.values
            .filter { !gone.contains($0.id) && ($0.revokedAt != nil || $0.expiresAt <= now) }
            .sorted { ($0.createdAt, $0.id) < ($1.createdAt, $1.id) }
        guard useless.count >= excess else { throw .tooMany }
        old += useless.prefix(excess).map(\.id)
        return old
    }

    // MARK: For those who join

    /// Someone who shows a token.
    public struct Visit: Sendable {
        public var token: String
        /// Empty for who has none.
        public var nodeID: String

        /// Why the bearer is refused though the token is good; nil: nothing speaks against him. Then it is not used up.
        public var objection: @Sendable (Grant) -> StreamRefusal?

        public init(
            token: String, nodeID: String, objection: @escaping @Sendable (Grant) -> StreamRefusal? = { _ in nil }
        ) {
            self.token = token
            self.nodeID = nodeID
            self.objection = objection
        }
    }

    /// Whom a token's bearer may be.
    public struct Grant: Hashable, Sendable {
        public var tokenID: String
        public var namespace: String
        public var serviceAccount: String
    }

    /// Takes tokens, in the order given. All uses are one transaction; if it fails, those who needed it are refused and
    /// nothing was used.
    public func redeem(_ visits: [Visit], now: Timestamp) -> [Result<Grant, JoinFailure>] {
        // By token. A node's second visit in the same batch hangs on the use that its first one makes.
        var newcomers: [String: Set<String>] = [:]
        var hanging: [Int] = []
        var outcomes: [Result<Grant, JoinFailure>] = []
        for (index, visit) in visits.enumerated() {
            do throws(JoinFailure) {
                let record = try find(visit.token)
                if let refusal = visit.objection(Grant(record)) { throw .objected(refusal) }
                let node = Self.mark(visit.nodeID)
                if try Self.usesUp(record, node, beside: newcomers[record.id, default: []], now: now) {
                    newcomers[record.id, default: []].insert(node)
                }
                if newcomers[record.id]?.contains(node) == true { hanging.append(index) }
                outcomes.append(.success(Grant(record)))
            } catch {
                outcomes.append(.failure(error))
            }
        }
        guard !newcomers.isEmpty else { return outcomes }
        let joined = newcomers.sorted { $0.key < $1.key }.flatMap { token, nodes in
            nodes.sorted().map { JoinedNode(token: token, node: $0) }
        }
        do throws(StoreError) {
            try store.commit(joined: joined)
            for node in joined { records[node.token]?.join(node.node) }
        } catch {
            for index in hanging { outcomes[index] = .failure(.unwritten(error)) }
        }
        return outcomes
    }

    private static func usesUp(
        _ record: JoinTokenRecord, _ node: String, beside newcomers: Set<String>, now: Timestamp
    ) throws(JoinFailure) -> Bool {
        do throws(TokenRefusal) {
            return try record.admits(node, beside: newcomers, now: now)
        } catch {
            throw .refused(error)
        }
    }

    private func find(_ text: String) throws(JoinFailure) -> JoinTokenRecord {
        do throws(TokenRefusal) {
            let shown = try JoinToken(text)
            // The hash is made for an id that is not there, too: as much work, and the same answer.
            let hash = shown.hash
            guard let record = records[shown.id], record.matches(hash) else { throw .unknown }
            return record
        } catch {
            throw .refused(error)
        }
    }

    /// Node ids may be long, and peers choose them: 16 bytes of a hash stand for one.
    private static func mark(_ nodeID: String) -> String {
        guard nodeID.isEmpty else { return Base32.encode(Array(Digest.sha256(of: Array(nodeID.utf8)).prefix(16))) }
        var random = SystemRandomNumberGenerator()
        return "?" + Base32.encode((0..<16).map { _ in UInt8.random(in: .min ... .max, using: &random) })
    }
}

extension JoinTokenLedger.Grant {
    fileprivate init(_ record: JoinTokenRecord) {
        self.init(tokenID: record.id, namespace: record.namespace, serviceAccount: record.serviceAccount)
    }
}

extension JoinTokenRecord {
    fileprivate init(_ token: StoredJoinToken, nodes: Set<String>) {
        self.init(
            id: token.id, hash: Array(token.hash), namespace: token.namespace, serviceAccount: token.serviceAccount,
            createdAt: token.createdAt, expiresAt: token.expiresAt, uses: token.uses, nodes: nodes,
            revokedAt: token.revokedAt)
    }
}

extension StoredJoinToken {
    fileprivate init(_ record: JoinTokenRecord) {
        self.init(
            id: record.id, hash: Data(record.hash), namespace: record.namespace,
            serviceAccount: record.serviceAccount, createdAt: record.createdAt, expiresAt: record.expiresAt,
            uses: record.uses, revokedAt: record.revokedAt)
    }
}
