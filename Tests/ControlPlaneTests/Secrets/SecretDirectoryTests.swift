import Discovery
import GRPC
import Identity
import Logging
import Synchronization
import Testing
import Time
import XDS

@testable import ControlPlane

private let now = Instant(nanoseconds: 0)

private func directory() throws -> SecretDirectory {
    SecretDirectory(
        trustDomain: try TrustDomain("mesh.test"), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
}

private func id(_ account: String) throws -> SPIFFEID {
    try SPIFFEID(try TrustDomain("mesh.test"), namespace: "shop", serviceAccount: account)
}

private func node(_ name: String, _ account: String, cluster: String = "") throws -> Node {
    Node(id: name, cluster: cluster, principal: "\(try id(account))")
}

private func resource(_ type: ResourceType, _ name: String, _ body: String = "x") -> Resource {
    Resource(type, name: name, body: Array(body.utf8))
}

extension SecretDirectory {
    fileprivate func join(_ node: Node) -> StreamToken {
        let stream = StreamToken()
        expect(stream)
        enter(stream, node)
        return stream
    }

    /// What a node sees now, by name.
    fileprivate func secrets(of node: Node) -> [String]? { cache.snapshot(of: cache.view(of: node))?[.secret].names }
}

/// Notes what it is asked, and answers by hand.
private final class NotingIssuer: SecretIssuer {
    struct Notes {
        var demanded: [SecretHolder] = []
        var ready: [@Sendable (GRPCStatus?) -> Void] = []
        var connected: [SecretHolder] = []
        var disconnected: [SecretHolder] = []
    }
    let notes = Mutex(Notes())

    func read<Result>(_ body: (Notes) -> Result) -> Result { notes.withLock { body($0) } }

    func demanded(_ holder: SecretHolder, ready: @escaping @Sendable (GRPCStatus?) -> Void) {
        notes.withLock { notes in
            notes.demanded.append(holder)
            notes.ready.append(ready)
        }
    }
    func connected(_ holder: SecretHolder) { notes.withLock { $0.connected.append(holder) } }
    func asked(_ holder: SecretHolder, _ stream: StreamToken, takesBundle: Bool) {}
    func answered(_ holder: SecretHolder, _ stream: StreamToken, _ answer: SecretAnswer) {}
    func left(_ holder: SecretHolder, _ stream: StreamToken) {}
    func disconnected(_ holder: SecretHolder) { notes.withLock { $0.disconnected.append(holder) } }
}

@Suite struct SecretDirectoryTests {
    @Test func aProxySeesItsOwnSecretsAndNoOthersAndWhoProvedNothingSeesNone() throws {
        let directory = try directory()
        directory.show(try Snapshot([resource(.cluster, "c"), resource(.secret, "gateway")]), as: "all")
        directory.setBundle([1], federated: [try TrustDomain("other.test"): [2]])
        let (web, cart) = (try node("web-1", "web"), try node("cart-1", "cart"))
        let streams = [directory.join(web), directory.join(cart)]
        let version = directory.setIdentity(SecretHolder(node: "web-1", identity: try id("web")), chain: [3], key: [4])
        #expect(version?.count == 32)

        let common = ["ALL", "ROOTCA", "gateway", "spiffe://mesh.test", "spiffe://other.test"]
        #expect(directory.secrets(of: web) == (common + ["default", "\(try id("web"))"]).sorted())
        #expect(directory.secrets(of: cart) == common.sorted())
        #expect(directory.secrets(of: Node(id: "web-1")) == [])
        #expect(directory.secrets(of: Node(id: "x", principal: "certificate:x")) == nil)
        // The same node id with another proof, and the same identity on another node, have views of their own.
        #expect(directory.secrets(of: try node("web-1", "cart")) == nil)
        #expect(directory.secrets(of: try node("web-2", "web")) == nil)
        // All else is the class's own, and what everybody trusts is one object.
        let views = [web, cart].compactMap { directory.cache.snapshot(of: directory.cache.view(of: $0)) }
        let all = try #require(directory.cache.snapshot(of: "all"))
        #expect(views.allSatisfy { $0[.cluster] === all[.cluster] })
        #expect(views[0][.secret].resource(named: "ROOTCA") === views[1][.secret].resource(named: "ROOTCA"))
        // One version under both names, so that the authority knows it whichever the proxy holds.
        #expect(views[0][.secret].resource(named: "\(try id("web"))")?.version == version)
        #expect(views[0][.secret].resource(named: "default")?.version == version)
        for stream in streams { directory.leave(stream) }
    }

    @Test func namesForTheAuthorityAreNotForUsers() throws {
        let directory = try directory()
        let forged = [
            resource(.secret, "default"), resource(.secret, "ROOTCA"), resource(.secret, "\(try id("cart"))"),
        ]
        directory.show(try Snapshot(forged + [resource(.secret, "gateway")]), as: "all")
        let web = try node("web-1", "web")
        let stream = directory.join(web)
        // Without an authority users name their secrets as they like.
        #expect(directory.secrets(of: web)?.count == 4)
        directory.setBundle([1])
        #expect(directory.secrets(of: web) == ["ROOTCA", "gateway", "spiffe://mesh.test"])
        let bundle = directory.cache.snapshot(of: directory.cache.view(of: web))?[.secret].resource(named: "ROOTCA")
        #expect(bundle?.body != forged[1].body)
        directory.leave(stream)
    }

    @Test func oneEndpointForAThousandIdentitiesIsEncodedOnce() throws {
        let directory = try directory()
        func configuration(_ body: String) throws -> Snapshot { try Snapshot([resource(.endpoints, "e", body)]) }
        let first = try configuration("one")
        directory.show(first, as: "all")
        directory.setBundle([1])
        var streams: [(node: Node, stream: DeltaStream)] = []
        for number in 0..<1000 {
            let node = try node("n\(number)", "web")
            _ = directory.join(node)
            directory.setIdentity(
                SecretHolder(node: node.id, identity: try id("web")), chain: [3], key: [UInt8(number & 255)])
            var stream = DeltaStream()
            _ = stream.receive(
                DeltaDiscoveryRequest(
                    node: node, typeURL: ResourceType.endpoints.typeURL, resourceNamesSubscribe: ["e"]), now: now)
            streams.append((node, stream))
        }
        #expect(directory.viewCount == 1000)
        func publish() throws -> (responses: Int, encodings: Int) {
            var (count, encodings) = (0, 0)
            for index in streams.indices {
                let view = directory.cache.view(of: streams[index].node)
                let snapshot = try #require(directory.cache.snapshot(of: view))
                for case .send(let response) in streams[index].stream.publish(snapshot, now: now) {
                    count += 1
                    _ = response.encoded { _ in
                        encodings += 1
                        return []
                    }
                    _ = streams[index].stream.receive(
                        DeltaDiscoveryRequest(typeURL: response.type.typeURL, responseNonce: response.nonce), now: now)
                }
            }
            return (count, encodings)
        }
        #expect(try publish() == (1000, 1))
        directory.show(try first.applying(setting: [resource(.endpoints, "e", "two")]), as: "all")
        #expect(try publish() == (1000, 1))
        // A new bundle concerns no one who has not asked for it.
        directory.setBundle([2])
        #expect(try publish() == (0, 0))
    }

    @Test func viewsGoWithTheirLastStream() throws {
        let directory = try directory()
        let issuer = NotingIssuer()
        directory.attach(issuer)
        directory.show(try Snapshot([resource(.cluster, "c")]), as: "all")
        directory.setBundle([1])
        for number in 0..<10_000 {
            let node = try node("n\(number)", "web")
            let holder = SecretHolder(node: node.id, identity: try id("web"))
            let (one, two) = (directory.join(node), directory.join(node))
            directory.setIdentity(holder, chain: [3], key: [4])
            directory.leave(one)
            #expect(directory.secrets(of: node)?.count == 4)
            directory.leave(two)
            #expect(directory.setIdentity(holder, chain: [3], key: [4]) == nil)
        }
        let counts = directory.counts
        #expect(counts == (classes: 1, views: 0, holders: 0, streams: 0, demands: 0))
        #expect(directory.cache.views == ["all"])
        #expect(issuer.read { $0.connected.count } == 10_000)
        #expect(issuer.read { $0.disconnected.count } == 10_000)
    }

    @Test func aStreamThatEndedBeforeItWasAdmittedLeavesNothing() throws {
        let directory = try directory()
        let stream = StreamToken()
        directory.expect(stream)
        directory.leave(stream)
        directory.enter(stream, try node("a", "web"))
        #expect(directory.counts == (classes: 0, views: 0, holders: 0, streams: 0, demands: 0))
    }

    @Test func whatSeveralStreamsNeedIsAskedForOnce() throws {
        let directory = try directory()
        let issuer = NotingIssuer()
        directory.attach(issuer)
        let web = try node("web-1", "web")
        let holder = try #require(web.holder)
        let streams = [directory.join(web), directory.join(web)]
        let answers = Answers()
        for _ in 0..<3 { directory.prepareIdentity(of: holder) { answers.add($0) } }
        #expect(issuer.read { $0.demanded } == [holder])
        #expect(answers.list.isEmpty)
        directory.setIdentity(holder, chain: [3], key: [4])
        issuer.read { $0.ready }[0](nil)
        #expect(answers.list == [nil, nil, nil])
        directory.prepareIdentity(of: holder) { answers.add($0) }
        #expect(answers.list.count == 4)
        #expect(issuer.read { $0.demanded.count } == 1)
        // Who goes while a certificate is made is told so, once.
        for stream in streams { directory.leave(stream) }
        let third = directory.join(web)
        directory.prepareIdentity(of: holder) { answers.add($0) }
        directory.leave(third)
        #expect(answers.list.last??.code == .unavailable)
        issuer.read { $0.ready }[1](nil)
        #expect(answers.list.count == 5)
        #expect(directory.counts.demands == 0)
    }

    @Test func aNodeThatMovesToAnotherClassKeepsItsSecrets() throws {
        let directory = try directory()
        directory.show(try Snapshot([resource(.cluster, "c")]), as: "all")
        directory.setBundle([1])
        let web = try node("web-1", "web", cluster: "edge")
        let stream = directory.join(web)
        directory.setIdentity(try #require(web.holder), chain: [3], key: [4])
        let before = directory.cache.view(of: web)
        directory.show(
            try Snapshot([resource(.cluster, "c"), resource(.cluster, "edge"), resource(.secret, "edge-cert")]),
            as: "node-cluster=edge")
        directory.classes.raw.change(adding: [.nodeCluster("edge")], removing: [])
        directory.assignAgain()
        #expect(directory.cache.view(of: web) != before)
        #expect(
            directory.secrets(of: web)
                == ["ROOTCA", "default", "edge-cert", "spiffe://mesh.test", "\(try id("web"))"].sorted())
        #expect(directory.cache.snapshot(of: directory.cache.view(of: web))?[.cluster].names == ["c", "edge"])
        #expect(directory.cache.snapshot(of: before) == nil)
        directory.classes.raw.change(adding: [], removing: [.nodeCluster("edge")])
        directory.assignAgain()
        directory.remove("node-cluster=edge")
        #expect(directory.cache.view(of: web) == before)
        #expect(directory.secrets(of: web)?.count == 4)
        directory.leave(stream)
        #expect(directory.counts == (classes: 1, views: 0, holders: 0, streams: 0, demands: 0))
    }

    @Test func aBundleThatChangesReachesEveryoneAndDomainsThatGoAreGone() throws {
        let directory = try directory()
        directory.show(.empty, as: "all")
        let web = try node("web-1", "web")
        let stream = directory.join(web)
        let first = directory.setBundle([1], federated: [try TrustDomain("other.test"): [9]])
        directory.setShared(["JWKS": [7]])
        #expect(
            directory.secrets(of: web) == ["ALL", "JWKS", "ROOTCA", "spiffe://mesh.test", "spiffe://other.test"])
        let second = directory.setBundle([1, 2])
        #expect(first != second)
        #expect(directory.secrets(of: web) == ["JWKS", "ROOTCA", "spiffe://mesh.test"])
        let shown = directory.cache.snapshot(of: directory.cache.view(of: web))?[.secret].resource(named: "ROOTCA")
        #expect(shown?.version == second)
        #expect(directory.setBundle([1]) == first)
        directory.leave(stream)
    }

    @Test func noTwoHoldersShareAViewWhateverTheirNames() throws {
        let names: Set<ViewName> = [
            IdentityViews.name(of: try node("a,node=b", "web"), in: "all"),
            IdentityViews.name(of: try node("b", "web"), in: "all"),
            IdentityViews.name(of: try node("a%2Cnode=b", "web"), in: "all"),
            IdentityViews.name(of: Node(id: "a"), in: "all"),
            IdentityViews.name(of: Node(id: "a", principal: "certificate:a"), in: "all"),
        ]
        #expect(names.count == 5)
    }
}

private final class Answers: Sendable {
    private let answers = Mutex<[GRPCStatus?]>([])
    var list: [GRPCStatus?] { answers.withLock { $0 } }
    func add(_ status: GRPCStatus?) { answers.withLock { $0.append(status) } }
}
