import EnvoyAPI
import Mesh
import Protobuf
import Testing
import Translation

@testable import ControlPlane

/// Who is asked to check what, and whose word counts.
struct HealthDeskTests {
    private static let objects = """
        apiVersion: v1
        kind: Pod
        metadata: {name: web-1, namespace: shop, labels: {app: web}}
        spec:
          containers:
          - name: a
            image: b
            ports: [{name: http, containerPort: 8080}]
            readinessProbe: {httpGet: {path: ready, port: http}, periodSeconds: 7}
        ---
        apiVersion: networking.istio.io/v1
        kind: WorkloadGroup
        metadata: {name: old, namespace: shop}
        spec: {metadata: {labels: {app: old}}, template: {}, probe: {tcpSocket: {port: 5432}}}
        ---
        apiVersion: networking.istio.io/v1
        kind: WorkloadEntry
        metadata: {name: old-1, namespace: shop}
        spec: {address: 10.0.0.9, labels: {app: old}}
        ---
        apiVersion: networking.istio.io/v1
        kind: WorkloadEntry
        metadata: {name: named, namespace: shop}
        spec: {address: old.example.com, labels: {app: old}}
        ---
        apiVersion: networking.istio.io/v1
        kind: WorkloadEntry
        metadata: {name: old-2, namespace: elsewhere}
        spec: {address: 10.0.0.10, labels: {app: old}}

        """

    private final class Rig {
        var index: MeshIndex
        var judged: [String] = []
        var told: [Int: [[String]]] = [:]
        private(set) var desk: HealthDesk!

        init(limit: Int = HealthDesk.mostCheckers) throws {
            index = MeshIndex(try ObjectText(Array(HealthDeskTests.objects.utf8), namespace: "shop").objects)
            desk = HealthDesk(
                limit: limit, index: { [unowned self] in index },
                judge: { [unowned self] changes in
                    for change in changes {
                        guard case .judge(let id, let isHealthy) = change else { continue }
                        judged.append("\(id.name) \(isHealthy.map { "\($0)" } ?? "-")")
                    }
                    index = index.applying(changes)
                })
        }

        /// - Parameter connected: the account of the workload of that name that is connected; nil: none is.
        func begin(
            _ number: Int, _ name: String, _ namespace: String = "shop", app: String = "web", account: String = "x",
            connected: String? = "x"
        ) {
            let workload = Workload(
                id: .init(namespace: namespace, name: name), labels: ["app": app], serviceAccount: account,
                ports: [.init(name: "http", port: 8080)], addresses: ["10.0.0.\(number)"])
            if let connected {
                var there = workload
                there.serviceAccount = connected
                index.apply(.connect(there))
            }
            let checker = HealthChecker(
                proxy: ProxyClass(namespace: namespace, labels: ["app": app], serviceAccount: account),
                workload: workload)
            let isTaken = desk.begin(number, checker) { [unowned self] bytes in
                let arena = Arena()
                guard let specifier = try? arena.decode(HealthCheckSpecifier.self, from: bytes).pointee else { return }
                told[number, default: []].append(
                    specifier.cluster_health_checks_list.map { $0.pointee.cluster_name.string })
            }
            #expect(isTaken)
        }
    }

    @Test func eachChecksItsOwnAndTheEldestOfANamespaceThoseWithoutAProxy() throws {
        let rig = try Rig()
        rig.begin(1, "web-1")
        rig.begin(2, "other", app: "other")
        rig.begin(3, "far", "elsewhere", app: "far")
        #expect(rig.told == [1: [["shop/web-1", "shop/old-1"]], 2: [[]], 3: [[]]])
        // No group of that namespace has a probe. The eldest is gone: the next one takes over.
        rig.desk.end(1)
        #expect(rig.told[2] == [[], ["shop/old-1"]])
        // A change that concerns nobody is told to nobody.
        rig.desk.meshChanged(HealthConcerns(namespaces: ["shop"]))
        #expect(rig.told[2]?.count == 2)
        let change = MeshIndex.Change.remove(ObjectKey(.workloadEntry, "shop", "old-1"))
        rig.index.apply(change)
        var concerns = HealthConcerns()
        concerns.note(change)
        rig.desk.meshChanged(concerns)
        #expect(rig.told[2]?.last == [])
    }

    /// A proxy proves its account, and merely says which workload it stands beside.
    @Test func nobodyJudgesAWorkloadOfAnotherAccount() throws {
        let rig = try Rig()
        rig.begin(1, "rogue", account: "rogue", connected: "rogue")
        rig.begin(2, "web-1", account: "rogue", connected: "x")
        rig.begin(3, "web-1", account: "x", connected: nil)
        #expect(rig.told[2] == [[]] && rig.told[3] == [["shop/web-1"]])
        // Its proxy is not there yet: it is asked when that has come.
        rig.begin(4, "late", app: "old", connected: nil)
        #expect(rig.told[4] == [[]])
        let late = Workload(
            id: .init(namespace: "shop", name: "late"), labels: ["app": "old"], serviceAccount: "x",
            addresses: ["10.0.0.4"])
        rig.index.apply(.connect(late))
        rig.desk.meshChanged(HealthConcerns(workloads: [late.id]))
        #expect(rig.told[4] == [[], ["shop/late"]])
        // An entry that names its account is judged by that account alone, one that names none by anybody.
        let entry = """
            apiVersion: networking.istio.io/v1
            kind: WorkloadEntry
            metadata: {name: of-x, namespace: shop}
            spec: {address: 10.0.0.11, labels: {app: old}, serviceAccount: x}
            """
        rig.index = rig.index.applying(try ObjectText(Array(entry.utf8)).objects.map { .put($0) })
        rig.desk.meshChanged(HealthConcerns(namespaces: ["shop"]))
        #expect(rig.told[1] == [["shop/old-1"]])
        #expect(rig.told[3]?.last == ["shop/web-1", "shop/of-x"])
    }

    @Test func aChangeIsLookedAtForThoseWhomItMayConcern() throws {
        let rig = try Rig()
        for number in 1...200 { rig.begin(number, "web-\(number)") }
        rig.begin(201, "far", "elsewhere")
        let before = rig.desk.looks
        rig.desk.meshChanged(HealthConcerns(workloads: [.init(namespace: "shop", name: "web-7")]))
        // The eldest of the namespace, for the case that it is one without a proxy.
        #expect(rig.desk.looks == before + 2)
        rig.desk.meshChanged(HealthConcerns(namespaces: ["elsewhere"]))
        #expect(rig.desk.looks == before + 3)
        // The eldest goes, again and again: the next one is asked and nobody else.
        for number in 1..<200 { rig.desk.end(number) }
        #expect(rig.desk.looks == before + 3 + 199)
        #expect(rig.told[200]?.last?.contains("shop/old-1") == true)
    }

    @Test func onlyWhatOneWasAskedToCheckCounts() throws {
        let rig = try Rig()
        rig.begin(1, "web-1")
        rig.begin(2, "other", app: "other")
        rig.desk.report(2, ["shop/web-1": false, "shop/old-1": false, "elsewhere/old-2": false])
        rig.desk.report(9, ["shop/web-1": false])
        #expect(rig.judged.isEmpty)
        rig.desk.report(1, ["shop/web-1": true, "shop/old-1": false])
        rig.desk.report(1, ["shop/web-1": true, "shop/old-1": false])
        #expect(rig.judged == ["web-1 true", "old-1 false"])
        #expect(rig.index.isHealthy(.init(namespace: "shop", name: "old-1")) == false)
        // What it has found goes with it.
        rig.desk.end(1)
        #expect(rig.judged.suffix(2) == ["old-1 -", "web-1 -"])
    }

    @Test func aProbeIsWrittenAsEnvoyReadsIt() throws {
        let rig = try Rig()
        let workload = Workload(
            id: .init(namespace: "shop", name: "web-1"), labels: ["app": "web"], serviceAccount: "x",
            ports: [.init(name: "http", port: 8080)], addresses: ["10.0.0.1"])
        rig.index.apply(.connect(workload))
        let orders = rig.index.healthOrders(
            for: HealthChecker(proxy: ProxyClass(namespace: "shop", serviceAccount: "x"), workload: workload),
            neighbours: [])
        #expect(orders.map(\.port) == [8080] && orders.map(\.address) == ["10.0.0.1"])
        let arena = Arena()
        let specifier = try arena.decode(HealthCheckSpecifier.self, from: encodedSpecifier(orders)).pointee
        let check = try #require(specifier.cluster_health_checks_list.first?.pointee.health_checks_list.first).pointee
        #expect(check.interval?.pointee.seconds == 7 && check.no_traffic_interval?.pointee.seconds == 7)
        #expect(check.unhealthy_threshold?.pointee.value == 3 && check.timeout?.pointee.seconds == 1)
        guard case .http_health_check(let http)? = check.health_checker else {
            Issue.record("no check over HTTP")
            return
        }
        #expect(http.pointee.path.string == "/ready")
    }

    @Test func thereIsRoomForSoManyAndNoMore() throws {
        let rig = try Rig(limit: 3)
        let checker = HealthChecker(proxy: ProxyClass(namespace: "empty"), workload: nil)
        #expect((0..<5).map { rig.desk.begin($0, checker) { _ in } } == [true, true, true, false, false])
        #expect(rig.desk.count == 3)
        rig.desk.end(3)
        rig.desk.end(1)
        #expect(rig.desk.begin(6, checker) { _ in })
        let text = (0..<(HealthDesk.mostOrders + 50)).map {
            """
            ---
            apiVersion: networking.istio.io/v1
            kind: WorkloadEntry
            metadata: {name: many-\($0), namespace: shop}
            spec: {address: 10.1.\($0 / 250).\($0 % 250), labels: {app: old}}

            """
        }.joined()
        let objects = try ObjectText(Array(text.utf8), namespace: "shop").objects
        let index = rig.index.applying(objects.map { .put($0) })
        let orders = index.healthOrders(
            for: HealthChecker(proxy: ProxyClass(namespace: "shop"), workload: nil), neighbours: .anybodys)
        #expect(orders.count == HealthDesk.mostOrders)
    }

    /// Ports of a proxy's own words, and of objects that a store has kept from before there was a check.
    @Test func aPortThatIsNoneIsNotChecked() throws {
        let rig = try Rig()
        for port in [-1, 0, 65_536, 4_294_967_296] {
            var workload = Workload(
                id: .init(namespace: "shop", name: "web-1"), labels: ["app": "web"], serviceAccount: "x",
                addresses: ["10.0.0.1"])
            workload.ports = [.init(name: "http", port: port)]
            let orders = rig.index.applying([.connect(workload)]).healthOrders(
                for: HealthChecker(proxy: ProxyClass(namespace: "shop", serviceAccount: "x"), workload: workload),
                neighbours: [])
            #expect(orders.isEmpty)
        }
    }
}
