import Discovery
import GRPC
import Identity
import Logging
import Synchronization
import XDS

/// The secrets of every proxy: what it sees beside the configuration of its class.
///
/// The view of a class shows no secrets: it is what a proxy sees that has proved nothing. A proxy with an identity has
/// a view of its own, which shares all other types with its class by identity, so that what changes for the class is
/// compared and encoded once for all of them. Such a view is there as long as a stream of it. Safe to use from any
/// thread.
public final class SecretDirectory: Sendable {
    /// Where streams look.
    public let cache: SnapshotCache
    public let trustDomain: TrustDomain
    /// The class of each proxy.
    let classes: NodeViews
    private let state = Mutex(IdentityViews())
    private let issuer = Mutex<(any SecretIssuer)?>(nil)
    private let logger: Logger

    public init(trustDomain: TrustDomain, logger: Logger) {
        let classes = NodeViews()
        self.trustDomain = trustDomain
        self.classes = classes
        self.logger = logger
        cache = SnapshotCache { IdentityViews.name(of: $0, in: classes.view(of: $0)) }
    }

    // MARK: The authority

    /// - Parameter issuer: makes certificates upon demand; before, nobody gets any.
    public func attach(_ issuer: any SecretIssuer) { self.issuer.withLock { $0 = issuer } }

    /// Sets what everybody trusts: `ROOTCA` and `spiffe://TRUST-DOMAIN`, a bundle for each federated domain under its
    /// SPIFFE ID, and all of them in one validation context, `ALL`.
    /// - Parameters:
    ///   - anchors: PEM.
    ///   - federated: PEM, by trust domain; domains that are not named any more are forgotten.
    ///   - isFederated: whether there are other domains, though there may be no bundle of them yet: without any there
    ///     is no `ALL`.
    /// - Returns: the version of the bundle, as ``SecretAnswer`` tells it.
    @discardableResult
    public func setBundle(
        _ anchors: [UInt8], federated: [TrustDomain: [UInt8]] = [:], isFederated: Bool? = nil
    ) -> String {
        let own = SecretMessages.validation([Self.bundleName, "\(trustDomain.id)"], anchors: anchors)
        let others = federated.filter { $0.key != trustDomain }.sorted { $0.key < $1.key }
            .flatMap { SecretMessages.validation(["\($0.key.id)"], anchors: $0.value) }
        var all: [Resource] = []
        if isFederated ?? !others.isEmpty {
            let bundles = federated.merging([trustDomain: anchors]) { _, own in own }
            all = [SecretMessages.validation(Self.allBundlesName, bundles: bundles)]
        }
        change { $0.setBundle(own + others + all) }
        return own[0].version
    }

    /// Sets bytes that everybody with an identity may ask for by name, as generic secrets.
    /// - Parameter secrets: all of them, by name; those that are not named any more are forgotten.
    public func setShared(_ secrets: [String: [UInt8]]) {
        let resources = secrets.sorted { $0.key < $1.key }.map { SecretMessages.generic($0.key, $0.value) }
        change { $0.setShared(resources) }
    }

    /// Gives a holder its key and certificate: `default`, and the same under its SPIFFE ID.
    /// - Parameters:
    ///   - chain: PEM, the leaf first.
    ///   - key: PEM, PKCS#8. Kept in memory as long as the holder is connected, and nowhere else.
    /// - Returns: the version, as ``SecretAnswer`` tells it; nil: the holder has gone.
    @discardableResult
    public func setIdentity(_ holder: SecretHolder, chain: [UInt8], key: [UInt8]) -> String? {
        let resources = SecretMessages.identity(
            [Self.certificateName, "\(holder.identity)"], chain: chain, key: key)
        return change { $0.setIdentity(resources, of: holder) } ? resources[0].version : nil
    }

    /// The holders that are connected, in order.
    public var holders: [SecretHolder] { state.withLock { $0.holderList } }

    /// What is kept, for tests of the bounds.
    var counts: (classes: Int, views: Int, holders: Int, streams: Int, demands: Int) { state.withLock { $0.counts } }

    /// How many views there are beside those of classes.
    public var viewCount: Int { state.withLock { $0.viewCount } }

    /// The name of a proxy's own key and certificate. Source: Istio.
    public static let certificateName = "default"
    /// The name of the trust bundle. Source: Istio.
    public static let bundleName = "ROOTCA"

    /// The name of the trust bundles of all domains, by domain. Source: SPIRE, `default_all_bundles_name`.
    public static let allBundlesName = "ALL"

    /// Whether a name is for the authority to give.
    static func isReserved(_ name: String) -> Bool {
        name == certificateName || name == bundleName || name.hasPrefix("spiffe://")
    }

    // MARK: The configuration

    /// Shows a class view: without its secrets to those who have proved nothing, and in the views of its members.
    func show(_ snapshot: Snapshot, as name: ViewName) {
        change { $0.show(snapshot, as: name) }
    }

    /// Forgets a class view.
    func remove(_ name: ViewName) {
        change { $0.remove(name) }
    }

    /// Finds out again which class each stream belongs to: before the streams are told to.
    /// - Parameter nodes: by ID; nil: all of them.
    func assignAgain(of nodes: Set<String>? = nil) {
        change { [classes] in $0.assignAgain(of: nodes, parent: { classes.view(of: $0) }) }
    }

    // MARK: Streams

    /// A stream may enter later, and will leave.
    func expect(_ stream: StreamToken) { state.withLock { $0.expect(stream) } }

    /// A stream was admitted, and was expected: its view is there when this returns.
    /// - Parameter node: with its principal.
    func enter(_ stream: StreamToken, _ node: Node) {
        let holder = node.holder
        let isFirst = change { [classes] in $0.enter(stream, classes.remembered(node), parent: { classes.view(of: $0) })
        }
        if isFirst, let holder { issuer.withLock { $0 }?.connected(holder) }
    }

    /// A stream is over.
    func leave(_ stream: StreamToken) {
        let (holder, isLast, waiting) = change { $0.leave(stream) }
        for ready in waiting { ready(GRPCStatus(.unavailable, "the stream is over")) }
        guard let holder, let issuer = issuer.withLock({ $0 }) else { return }
        if isLast { issuer.disconnected(holder) } else { issuer.left(holder, stream) }
    }

    /// Has a certificate made if a stream's node has none.
    /// - Parameter ready: called once, maybe before this returns.
    func prepareIdentity(of holder: SecretHolder, _ ready: @escaping @Sendable (GRPCStatus?) -> Void) {
        guard let issuer = issuer.withLock({ $0 }) else { return ready(nil) }
        switch state.withLock({ $0.demand(holder, ready) }) {
        case .isThere: ready(nil)
        case .isUnderWay: break
        case .begins:
            issuer.demanded(holder) { [self] status in
                let waiting = state.withLock { $0.takeDemands(of: holder) }
                for ready in waiting { ready(status) }
            }
        }
    }

    /// Whether a name of a secret is for another identity than the node's: nobody gets these.
    func isForeign(_ name: String, to node: Node) -> Bool {
        state.withLock { $0.isForeign(name, to: node.holder) }
    }

    /// Names of what the authority gives to a holder alone, and to everybody.
    func authorityNames(of holder: SecretHolder) -> [String] {
        [Self.certificateName, "\(holder.identity)", Self.bundleName, "\(trustDomain.id)"]
    }

    /// - Parameter names: that the stream has not named before; empty or `*`: everything.
    func asked(_ holder: SecretHolder, _ stream: StreamToken, _ names: [String]) {
        let takesBundle =
            names.isEmpty || names.contains { ["*", Self.bundleName, "\(trustDomain.id)"].contains($0) }
        issuer.withLock { $0 }?.asked(holder, stream, takesBundle: takesBundle)
    }

    func answered(_ holder: SecretHolder, _ stream: StreamToken, _ answer: SecretAnswer) {
        issuer.withLock { $0 }?.answered(holder, stream, answer)
    }

    /// Changes the views, and shows what has changed before anything else can change.
    private func change<Result: Sendable>(_ body: (inout IdentityViews) -> Result) -> Result {
        state.withLock { views in
            let result = body(&views)
            for change in views.takeChanges() {
                switch change {
                case .show(let snapshot, let name): cache.adopt(snapshot, as: name)
                case .remove(let name): cache.remove(name)
                case .failed(let name, let error):
                    logger.error("the view \(name) shows no new secrets: \(error)")
                }
            }
            return result
        }
    }
}

extension Node {
    /// Whose secrets the node gets; nil: it has proved no identity.
    var holder: SecretHolder? {
        guard let principal, let identity = try? SPIFFEID(principal) else { return nil }
        return SecretHolder(node: id, identity: identity)
    }
}
