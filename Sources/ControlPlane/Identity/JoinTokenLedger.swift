import Certificates
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
/// Belongs to the control thread.
public final class JoinTokenLedger {
    /// What an operator may ask for.
    public enum Bounds {
        public static let validity: ClosedRange<Duration> = .seconds(60) ... .seconds(365 * 86_400)
        /// Nodes that join with one token; more of them than this with a token for any number are not counted.
        public static let uses = 100_000
        /// Tokens that are kept.
        public static let tokens = 10_000
        /// How long a token that is past is still known as such.
        public static let memory = Duration.seconds(30 * 86_400)
        /// UTF-8 bytes of a namespace or of a service account. Source: Kubernetes, "Object Names and IDs".
        public static let name = 253
    }

    private let store: Store
    private var tokens: [String: StoredJoinToken]

    /// - Throws: what keeps the tokens from being read.
    public init(store: Store) throws(StoreError) {
        self.store = store
        tokens = Dictionary(uniqueKeysWithValues: try store.joinTokens().map { ($0.id, $0) })
    }

    // MARK: For operators

    /// Makes a token.
    /// - Returns: the token, which is nowhere to be had again, and what is known of it.
    public func create(
        _ order: JoinTokenOrder, now: Timestamp
    ) throws(JoinTokenProblem) -> (token: String, entry: JoinTokenEntry) {
        try check(order)
        let forgotten = try room(now: now)
        let token = JoinToken.make()
        let stored = StoredJoinToken(
            id: token.id, hash: Data(token.hash), namespace: order.namespace, serviceAccount: order.serviceAccount,
            createdAt: now, expiresAt: now + order.validity, uses: order.uses)
        do {
            try store.commit(putting: [stored], forgetting: forgotten)
        } catch {
            throw .storage(error)
        }
        for id in forgotten { tokens[id] = nil }
        tokens[token.id] = stored
        return (token.text, JoinTokenEntry(stored))
    }

    /// Oldest first.
    public var entries: [JoinTokenEntry] {
        tokens.values.sorted { ($0.createdAt, $0.id) < ($1.createdAt, $1.id) }.map(JoinTokenEntry.init)
    }

    /// Ends a token, once and for all. Who joined with it keeps the certificates that it has.
    public func revoke(_ id: String) throws(JoinTokenProblem) -> JoinTokenEntry {
        guard var token = tokens[JoinToken.id(in: id)] else { throw .noSuchToken(String(id.prefix(40))) }
        if !token.isRevoked {
            token.isRevoked = true
            do {
                try store.commit(putting: [token])
            } catch {
                throw .storage(error)
            }
            tokens[token.id] = token
        }
        return JoinTokenEntry(token)
    }

    private func check(_ order: JoinTokenOrder) throws(JoinTokenProblem) {
        for (what, name) in [("namespace", order.namespace), ("service account", order.serviceAccount)] {
            guard name.utf8.count <= Bounds.name else { throw .badName(what, String(name.prefix(40)) + "…") }
        }
        do {
            _ = try SPIFFEID(TrustDomain("any"), namespace: order.namespace, serviceAccount: "any")
        } catch { throw .badName("namespace", order.namespace) }
        do {
            _ = try SPIFFEID(TrustDomain("any"), namespace: "any", serviceAccount: order.serviceAccount)
        } catch { throw .badName("service account", order.serviceAccount) }
        guard Bounds.validity.contains(order.validity) else { throw .badValidity }
        guard (0...Bounds.uses).contains(order.uses) else { throw .badUses(order.uses) }
    }

    /// Those that have to go before one more is made: what is long past, and, where that is not enough, the oldest
    /// that nobody can use.
    private func room(now: Timestamp) throws(JoinTokenProblem) -> [String] {
        var old = tokens.values.filter { $0.expiresAt + Bounds.memory <= now }.map(\.id)
        let excess = tokens.count - old.count + 1 - Bounds.tokens
        guard excess > 0 else { return old }
        let gone = Set(old)
        let useless = tokens.values.filter { !gone.contains($0.id) && ($0.isRevoked || $0.expiresAt <= now) }
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

        public init(token: String, nodeID: String) {
            self.token = token
            self.nodeID = nodeID
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
    public func redeem(_ visits: [Visit], now: Timestamp) -> [Result<Grant, JoinTokenRefusal>] {
        var changed: [String: StoredJoinToken] = [:]
        var joined: [JoinedNode] = []
        var newcomers: Set<JoinedNode> = []
        var writers: [Int] = []
        var outcomes: [Result<Grant, JoinTokenRefusal>] = []
        for (index, visit) in visits.enumerated() {
            do throws(JoinTokenRefusal) {
                var token = try find(visit.token, changed, now: now)
                let node = visit.nodeID.isEmpty ? nil : Self.mark(visit.nodeID, token.id)
                var isNew = true
                if let node { isNew = try isNewcomer(node, newcomers) }
                if isNew {
                    let isCounted = token.uses > 0 || token.used < Bounds.uses
                    guard token.uses == 0 || token.used < token.uses else {
                        throw JoinTokenRefusal.usedUp(id: token.id, uses: token.uses)
                    }
                    if isCounted {
                        token.used += 1
                        changed[token.id] = token
                        if let node {
                            joined.append(node)
                            newcomers.insert(node)
                        }
                    }
                }
                // A newcomer's second visit in the same batch hangs on the first one's use.
                if isNew || node.map(newcomers.contains) == true { writers.append(index) }
                outcomes.append(
                    .success(
                        Grant(tokenID: token.id, namespace: token.namespace, serviceAccount: token.serviceAccount)))
            } catch {
                outcomes.append(.failure(error))
            }
        }
        guard !changed.isEmpty else { return outcomes }
        do {
            try store.commit(putting: changed.values.sorted { $0.id < $1.id }, joined: joined)
            tokens.merge(changed) { $1 }
        } catch {
            for index in writers {
                outcomes[index] = .failure(.unwritten(reason: "\(error)", hint: error.hint))
            }
        }
        return outcomes
    }

    private func find(
        _ text: String, _ changed: [String: StoredJoinToken], now: Timestamp
    ) throws(JoinTokenRefusal) -> StoredJoinToken {
        let shown = try JoinToken(text)
        let token = changed[shown.id] ?? tokens[shown.id]
        // As much work for an id that is not there as for one that is.
        let isRight = Digest.areEqual(shown.hash, token.map { Array($0.hash) } ?? [UInt8](repeating: 0, count: 32))
        guard isRight, let token else { throw .unknown }
        if token.isRevoked { throw .revoked(id: token.id) }
        if token.expiresAt <= now { throw .expired(id: token.id, at: token.expiresAt) }
        return token
    }

    private func isNewcomer(_ node: JoinedNode, _ newcomers: Set<JoinedNode>) throws(JoinTokenRefusal) -> Bool {
        if newcomers.contains(node) { return false }
        do {
            return try !store.hasJoined(node)
        } catch {
            throw .unwritten(reason: "\(error)", hint: error.hint)
        }
    }

    /// Node ids may be long, and peers choose them.
    private static func mark(_ nodeID: String, _ token: String) -> JoinedNode {
        JoinedNode(token: token, node: Data(Digest.sha256(of: Array(nodeID.utf8)).prefix(16)))
    }
}
