import Foundation
import Store
import Synchronization
import Testing
import Time

@testable import ControlPlane

/// Roll-outs with a real server and eight xDS clients over TCP: who gets what, counted.
@Suite(.serialized) struct RolloutServerTests {
    private static let service = """
        apiVersion: v1
        kind: Service
        metadata: {name: api, namespace: shop}
        spec: {selector: {app: api}, ports: [{name: http, port: 80}]}

        """

    /// Every sidecar of the mesh has a cluster of the service, and this changes it.
    private static func rule(_ seconds: Int, name: String = "api") -> String {
        """
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {name: \(name), namespace: shop}
        spec:
          host: \(name)
          trafficPolicy: {connectionPool: {tcp: {connectTimeout: \(seconds)s}}}

        """
    }

    private static func slice(_ addresses: [String]) -> String {
        """
        apiVersion: discovery.k8s.io/v1
        kind: EndpointSlice
        metadata: {name: api-1, namespace: shop, labels: {kubernetes.io/service-name: api}}
        addressType: IPv4
        ports: [{name: http, port: 80}]
        endpoints: [\(addresses.map { "{addresses: [\($0)]}" }.joined(separator: ", "))]

        """
    }

    private struct World {
        let rig: RolloutRig
        let clients: [MeshClient]

        init(
            _ rig: RolloutRig, apps: [String] = Array(repeating: "web", count: 8), refusing: [Int: Int64] = [:],
            isSecure: Bool = false
        ) throws {
            self.rig = rig
            try rig.apply(service + "---\n" + rule(1) + "---\n" + slice(["10.9.0.1"]))
            clients = try apps.enumerated().map { number, app in
                try MeshClient(
                    "\(app)-\(number)", app: app, at: try rig.address(of: app, isSecure: isSecure),
                    refusing: refusing[number])
            }
            let clients = clients
            try #require(comesTrue { clients.allSatisfy { $0.timeout == 1 } })
        }

        /// After a restart.
        init(_ clients: [MeshClient], at rig: RolloutRig) { (self.clients, self.rig) = (clients, rig) }

        func stop() {
            for client in clients { client.stop() }
            rig.stop()
        }

        func having(_ seconds: Int64) -> Int { clients.count { $0.timeout == seconds } }
        func everHad(_ seconds: Int64) -> Int { clients.count { $0.timeouts().contains(seconds) } }
        func phase(_ phase: RolloutReport.Phase) -> Bool { comesTrue { rig.report?.phase == phase } }
    }

    /// Over TLS each proxy has a view of its own, with its secrets.
    @Test(arguments: [false, true])
    func sharesOfOneTwoFourAndEightGetItOneAfterTheOther(isSecure: Bool) throws {
        let world = try World(RolloutRig(), isSecure: isSecure)
        defer { world.stop() }
        let order = try #require(RolloutOrder(percents: [5, 25, 50, 100], hold: .milliseconds(700)))
        let revision = try world.rig.apply(Self.rule(5), rollout: order)
        for (percent, count) in [(5, 1), (25, 2), (50, 4)] {
            #expect(comesTrue { world.rig.report.map { $0.percent == percent && $0.phase == .holding } ?? false })
            #expect(world.rig.report?.share == count && world.rig.report?.acknowledged == count)
            #expect(world.having(5) == count && world.rig.report?.affected == 8)
            let progress = try #require(try world.rig.progress(of: revision))
            #expect(progress.affected == 8 && progress.acknowledged == count && progress.pending == 8 - count)
            // What is asked for meanwhile is refused, and says how to go on.
            #expect(throws: MeshRequestError.self) { try world.rig.apply(Self.rule(6)) }
        }
        #expect(world.phase(.complete))
        #expect(comesTrue { world.having(5) == 8 })
        #expect(try world.rig.progress(of: revision)?.acknowledged == 8)
        // Each was sent it once, in whichever view it was.
        #expect(world.clients.allSatisfy { $0.timeouts() == [1, 5] })
        #expect(world.rig.history.count == 2)
        let names = Mutex<[String]?>(nil)
        world.rig.server.report { report in names.withLock { $0 = report.streams.map { $0.status.view?.text ?? "" } } }
        #expect(comesTrue { names.withLock { $0 != nil } })
        #expect(names.withLock { $0?.count } == 8)
        #expect(names.withLock { $0?.contains { $0.contains("+canary") } } == false)
    }

    @Test func oneRejectionTakesItFromAllAndARevisionUndoesIt() throws {
        // All refuse: whoever is first.
        let world = try World(RolloutRig(), refusing: Dictionary(uniqueKeysWithValues: (0..<8).map { ($0, 5) }))
        defer { world.stop() }
        let order = try #require(RolloutOrder(percents: [25, 100], hold: .zero))
        let revision = try world.rig.apply(Self.rule(5), rollout: order)
        #expect(world.phase(.undone))
        #expect(world.clients.map(\.nacks).reduce(0, +) == 1)
        #expect(world.everHad(5) == 0 && world.having(1) == 8)
        let history = world.rig.history
        #expect(history.first?.number == revision + 1 && history.first?.author == "martinet")
        #expect(
            history.first?.message.contains("CDS rejected") == true
                && history.first?.message.contains("no timeout of 5 s") == true, "\(history)")
        let progress = try #require(try world.rig.progress(of: revision))
        #expect(progress.rejected == 1 && progress.rejections[0].contains("no timeout of 5 s"))
        #expect(world.rig.report?.undoneBy == revision + 1)
        // What is right comes through afterwards, to all.
        try world.rig.apply(Self.rule(7))
        #expect(comesTrue { world.having(7) == 8 })
        #expect(world.clients.allSatisfy { $0.timeouts() == [1, 7] })
    }

    @Test func aRejectionInALaterShareTakesItFromThoseThatAccepted() throws {
        let world = try World(RolloutRig())
        defer { world.stop() }
        let order = try #require(RolloutOrder(percents: [50, 100], hold: .milliseconds(700)))
        try world.rig.apply(Self.rule(5), rollout: order)
        #expect(comesTrue { world.having(5) == 4 && world.rig.report?.phase == .holding })
        for client in world.clients where client.timeout == 1 { client.refuse(5) }
        #expect(world.phase(.undone))
        #expect(comesTrue { world.having(1) == 8 })
        #expect(world.everHad(5) == 4)
        #expect(world.clients.count { $0.timeouts() == [1, 5, 1] } == 4)
    }

    @Test func withoutACanaryOneOfEachClassTriesItFirst() throws {
        let apps = ["web", "web", "web", "web", "mail", "mail", "mail", "alone"]
        let world = try World(
            RolloutRig(), apps: apps, refusing: Dictionary(uniqueKeysWithValues: (0..<4).map { ($0, 5) }))
        defer { world.stop() }
        // Every web refuses: one is asked. The others of its class, and of all classes, keep what they have.
        let revision = try world.rig.apply(Self.rule(5))
        #expect(world.phase(.held))
        #expect(world.clients.map(\.nacks).reduce(0, +) == 1)
        #expect(comesTrue { world.having(1) == 8 })
        #expect(world.everHad(5) <= 2)
        #expect(try world.rig.progress(of: revision)?.rejected == 1)
        // Endpoints go on meanwhile: those of Kubernetes are objects, and are held with the rest; another change that
        // is taken brings all of it.
        try world.rig.apply(Self.rule(6) + "---\n" + Self.slice(["10.9.0.1", "10.9.0.2"]))
        #expect(comesTrue { world.having(6) == 8 })
        #expect(world.phase(.complete))
        #expect(world.clients.map(\.nacks).reduce(0, +) == 1)
        #expect(comesTrue { world.clients.allSatisfy { $0.endpoints == 2 } })
    }

    @Test func workloadsThatComeAndGoReachBothSides() throws {
        let world = try World(RolloutRig(), isSecure: true)
        defer { world.stop() }
        // Endpoints of the service are its sidecars from now on.
        try world.rig.onControl { mesh in
            var request = MeshRequest()
            request.removing = [
                ObjectName(kind: "endpointslice.discovery.k8s.io", namespace: "shop", name: "api-1").key!
            ]
            _ = try mesh.source.apply(request)
        }
        #expect(comesTrue { world.clients.allSatisfy { $0.endpoints == 0 } })
        let order = try #require(RolloutOrder(percents: [50, 100], hold: .seconds(60)))
        try world.rig.apply(Self.rule(5), rollout: order)
        #expect(comesTrue { world.rig.report?.phase == .holding })
        let api = try MeshClient("api-0", app: "api", at: try world.rig.address(of: "api", isSecure: true))
        defer { api.stop() }
        #expect(comesTrue { world.clients.allSatisfy { $0.endpoints == 1 } })
        #expect(world.having(5) == 4 && world.having(1) == 4)
        // It is of a class that was not there: it is affected too, and drew whether it is in the share.
        #expect(comesTrue { api.timeout == 1 || api.timeout == 5 })
        #expect(try world.rig.order(.promote) == nil)
        #expect(comesTrue { world.having(5) == 8 && api.timeout == 5 })
        // A cluster also changes as its endpoints come to have sidecars; nobody went back.
        #expect(world.clients.allSatisfy { $0.endpoints == 1 && $0.timeouts().sorted() == $0.timeouts() })
    }

    /// What a proxy does is told by the revision that it has.
    @Test func anExplanationIsByTheRevisionThatTheCallerHas() throws {
        let world = try World(RolloutRig(), isSecure: true)
        defer { world.stop() }
        // A workload is there a moment after its listeners are.
        #expect(
            comesTrue { (try? world.rig.onControl { $0.source.state.index.workloads(in: "shop").count }) == 8 })
        let order = try #require(RolloutOrder(percents: [50, 100], hold: .seconds(60)))
        let revision = try world.rig.apply(Self.rule(5), rollout: order)
        #expect(comesTrue { world.rig.report?.phase == .holding })
        for client in world.clients {
            let report = try world.rig.onControl { mesh in
                try mesh.source.explain(ExplainQuery(namespace: "shop", workload: client.name, host: "api"))
            }
            #expect(report.revision == (client.timeout == 5 ? revision : revision - 1))
            #expect(report.text.contains("note: revision \(revision) has not come to all proxies"))
        }
    }

    @Test func aCanaryIsRefusedOverWhatWasRejected() throws {
        let world = try World(RolloutRig(), refusing: Dictionary(uniqueKeysWithValues: (0..<8).map { ($0, 5) }))
        defer { world.stop() }
        let held = try world.rig.apply(Self.rule(5))
        #expect(world.phase(.held))
        let order = try #require(RolloutOrder(percents: [50, 100], hold: .zero))
        // It would be undone with the other.
        do {
            try world.rig.apply(Self.rule(6), rollout: order)
            Issue.record("accepted")
        } catch MeshRequestError.trialUnderWay(let revision, let isHeld) {
            #expect(revision == held && isHeld)
        }
        #expect(world.rig.history.first?.number == held)
        // What nobody asks to roll out mends it.
        try world.rig.apply(Self.rule(7))
        #expect(comesTrue { world.having(7) == 8 })
    }

    /// The revision that undoes it cannot be made: other changes go on, and go through.
    @Test func aCanaryThatCannotBeUndoneKeepsNobodyFromMendingIt() throws {
        let data = try TemporaryDirectory("data")
        let kept = Rollout.Kept(
            revision: 2, base: 1, order: try #require(RolloutOrder(percents: [5], hold: .zero)), step: 0, state: .held,
            reason: "it cannot be undone")
        do {
            let rig = try RolloutRig(data: data)
            defer { rig.stop() }
            try rig.apply(Self.service)
            try rig.apply(Self.rule(5))
        }
        try Store(directory: data.path).keep(rollout: kept.encoded())
        let rig = try RolloutRig(data: data)
        defer { rig.stop() }
        #expect(rig.report?.phase == .held && rig.report?.base == 1)
        #expect(try rig.apply(Self.rule(1)) == 3)
    }

    @Test func aUserTakesItBack() throws {
        let world = try World(RolloutRig())
        defer { world.stop() }
        let order = try #require(RolloutOrder(percents: [25, 100], hold: .seconds(60)))
        let revision = try world.rig.apply(Self.rule(5), rollout: order)
        #expect(comesTrue { world.rig.report?.phase == .holding })
        // However many bytes a character of the reason has, it is told in the message of the revision.
        let author = String(repeating: "e" + String(repeating: "\u{301}", count: 20), count: 500)
        #expect(try world.rig.order(.abort, author: author) == nil)
        #expect(comesTrue { world.having(1) == 8 })
        #expect(world.rig.report?.phase == .undone && world.rig.report?.undoneBy == revision + 1)
        #expect(try world.rig.order(.abort) == .noneUnderWay)
    }

    @Test func aControlPlaneThatBeginsAgainGoesOnWithTheSameProxies() throws {
        var world = try World(RolloutRig())
        let order = try #require(RolloutOrder(percents: [25, 100], hold: .seconds(2)))
        let revision = try world.rig.apply(Self.rule(5), rollout: order)
        #expect(comesTrue { world.rig.report?.phase == .holding })
        let had = world.clients.filter { $0.timeout == 5 }.map(\.name)
        #expect(had.count == 2)
        world.rig.stop()
        let (data, port) = (world.rig.data, world.rig.port)
        world = World(world.clients, at: try RolloutRig(data: data, port: port))
        defer { world.stop() }
        #expect(world.rig.report?.revision == revision && world.rig.report?.phase == .probing)
        #expect(comesTrue { world.rig.report?.phase == .holding })
        #expect(world.clients.filter { $0.timeout == 5 }.map(\.name) == had)
        #expect(world.phase(.complete))
        #expect(comesTrue { world.having(5) == 8 })
        #expect(world.clients.allSatisfy { $0.timeouts() == [1, 5] })
    }

    @Test func whoeverJudgesEndsItToo() throws {
        let health = Judge()
        let world = try World(RolloutRig(health: health))
        defer { world.stop() }
        let order = try #require(RolloutOrder(percents: [25, 50], hold: .milliseconds(300)))
        let revision = try world.rig.apply(Self.rule(5), rollout: order)
        #expect(world.phase(.undone))
        #expect(health.asked.map(\.count) == [2, 4])
        #expect(world.rig.report?.reason == "9 % of the requests fail")
        #expect(comesTrue { world.having(1) == 8 })
        #expect(world.rig.history.first?.number == revision + 1)
    }

    @Test func whereNobodyIsThereARollOutIsOverAtOnce() throws {
        let rig = try RolloutRig()
        defer { rig.stop() }
        let order = try #require(RolloutOrder(percents: [25], hold: .seconds(60)))
        for (revision, text) in [(1, Self.service), (2, Self.rule(1))] as [(Int64, String)] {
            #expect(try rig.apply(text, rollout: order) == revision)
            #expect(rig.report?.phase == .complete && rig.report?.revision == revision)
        }
        #expect(try rig.order(.abort) == .noneUnderWay)
    }

    @Test func filesThatOneProxyRejectsAreHeldUntilTheyAreMended() throws {
        let files = try TemporaryDirectory("objects")
        try files.write("api.yaml", Self.service + "---\n" + Self.rule(1))
        let rig = try RolloutRig(directory: files.path)
        defer { rig.stop() }
        let clients = try (0..<4).map { number in
            try MeshClient("web-\(number)", app: "web", at: rig.address(of: "web", isSecure: false), refusing: 5)
        }
        defer { for client in clients { client.stop() } }
        try #require(comesTrue { clients.allSatisfy { $0.timeout == 1 } })
        try files.replace("api.yaml", Self.service + "---\n" + Self.rule(5))
        #expect(comesTrue { rig.report?.phase == .held })
        // No revision of its own may undo what the files say.
        #expect(try rig.order(.abort) == nil)
        #expect(rig.report?.phase == .held && rig.report?.reason.contains("cannot be undone") == true)
        try files.replace("api.yaml", Self.service + "---\n" + Self.rule(7))
        #expect(comesTrue { clients.allSatisfy { $0.timeout == 7 } })
        #expect(clients.map(\.nacks).reduce(0, +) == 1 && clients.allSatisfy { $0.timeouts() == [1, 7] })
    }

    /// Files cannot be undone, and go on changing.
    @Test func aDirectoryThatTakesOverACanaryGoesOnWithItAsATrial() throws {
        let (data, files) = (try TemporaryDirectory("data"), try TemporaryDirectory("objects"))
        do {
            let rig = try RolloutRig(data: data)
            defer { rig.stop() }
            for seconds in [1, 5] { try rig.apply(Self.service + "---\n" + Self.rule(seconds)) }
        }
        let order = try #require(RolloutOrder(percents: [5], hold: .seconds(60)))
        let kept = Rollout.Kept(revision: 2, base: 1, order: order, step: 0, state: .running)
        try Store(directory: data.path).keep(rollout: kept.encoded())
        try files.write("api.yaml", Self.service + "---\n" + Self.rule(7))
        var patience = Rollout.Patience()
        patience.returning = .milliseconds(200)
        let rig = try RolloutRig(data: data, patience: patience, directory: files.path)
        defer { rig.stop() }
        #expect(rig.report?.isGuard == true && rig.report?.base == 1 && rig.report?.revision == 3)
        let clients = try (0..<4).map { number in
            try MeshClient("web-\(number)", app: "web", at: rig.address(of: "web", isSecure: false))
        }
        defer { for client in clients { client.stop() } }
        #expect(comesTrue { clients.allSatisfy { $0.timeout == 7 } })
        try files.replace("api.yaml", Self.service + "---\n" + Self.rule(8))
        #expect(comesTrue { clients.allSatisfy { $0.timeout == 8 } })
    }

    @Test func aProxyThatIsAloneInItsClassWaitsForNobody() throws {
        let world = try World(RolloutRig(), apps: (0..<8).map { "app-\($0)" })
        defer { world.stop() }
        try world.rig.apply(Self.rule(5))
        #expect(comesTrue { world.having(5) == 8 })
        #expect(world.rig.report == nil)
    }
}

/// Finds the second share unhealthy.
private final class Judge: RolloutHealth, Sendable {
    private let state = Mutex<[[String]]>([])

    var asked: [[String]] { state.withLock { $0 } }

    func judge(
        _ revision: Int64, nodes: [String], since: Instant, _ answer: @escaping @Sendable (RolloutVerdict) -> Void
    ) {
        let count = state.withLock { asked in
            asked.append(nodes)
            return asked.count
        }
        answer(count == 1 ? .healthy : .unhealthy("9 % of the requests fail"))
    }
}
