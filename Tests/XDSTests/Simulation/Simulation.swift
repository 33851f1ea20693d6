import Time

@testable import XDS

/// One server and some clients on a virtual network and clock; the seed decides everything.
final class Simulation {
    enum Machine {
        case delta(DeltaStream)
        case stateOfTheWorld(StateOfTheWorldStream)
    }

    struct Connection {
        var client: Int
        var machine: Machine
        var probe: StreamProbe
        var isOpen = true
        var hasView = false
        /// First-in first-out in both directions: when the last message arrives.
        var lastAtServer = Instant(nanoseconds: 0)
        var lastAtClient = Instant(nanoseconds: 0)
        var scheduledTick = Instant.never
        /// When the server last learned the names of a state-of-the-world type.
        var reductionSeenAt: [ResourceType: Instant] = [:]
    }

    enum Event {
        case toServer(connection: Int, ModelClient.Request)
        case toClient(connection: Int, PreparedResponse, sentAt: Instant)
        case snapshot(connection: Int)
        case tick(connection: Int)
        case connect(client: Int)
        case act
    }

    let seed: UInt64
    var chance: Chance
    var now = Instant(nanoseconds: 0)
    var clients: [ModelClient] = []
    var connections: [Connection] = []
    /// The open connection of each client.
    var current: [Int: Int] = [:]
    var cache = SnapshotCache()
    var mesh: MeshModel
    var violations: [String] = []
    var trace: [String]?
    private let usesLabels: Bool
    private var published: [ResourceReference: Resource] = [:]
    private var generation = 0
    private var queue = EventQueue<Event>()
    private var actionsLeft: Int
    private var isQuiet = false
    private(set) var responseCount = 0
    private(set) var restartCount = 0
    private(set) var rejectionCount = 0
    private(set) var forcedCount = 0

    init(seed: UInt64, actions: Int = 30, keepsTrace: Bool = false) {
        self.seed = seed
        chance = Chance(seed: seed)
        mesh = MeshModel(&chance)
        actionsLeft = actions
        usesLabels = chance.percent(15)
        trace = keepsTrace ? [] : nil
    }

    /// Runs until long after the last change.
    func run() {
        publish()
        for number in 0..<(2 + chance.below(3)) {
            clients.append(makeClient(number))
            schedule(.connect(client: number), after: .milliseconds(chance.below(50)))
        }
        schedule(.act, after: .milliseconds(20))
        drain(until: nil)
        isQuiet = true
        for number in clients.indices where current[number] == nil { connect(number) }
        drain(until: now.advanced(by: .seconds(240)))
        judgeRest()
    }

    private func makeClient(_ number: Int) -> ModelClient {
        let kind: ModelClient.Kind = chance.percent(60) ? .proxy : .picker
        let single = chance.pick([ResourceType.cluster, .endpoints, .listener, .route, .runtime])
        let isSingle = kind == .picker && chance.percent(30)
        var client = ModelClient(
            number: number, kind: kind, isDelta: chance.percent(50),
            service: isSingle ? .single(single ?? .cluster) : .aggregated, isPicky: chance.percent(25))
        if kind == .proxy {
            client.wants[.cluster] = .init(isWildcard: true, isLegacy: chance.percent(70))
            client.wants[.listener] = .init(isWildcard: true, isLegacy: chance.percent(70))
            if chance.percent(30) { client.wants[.runtime] = .init(names: ["t0", "t1"]) }
        } else {
            for type in pickable(client) where isSingle || chance.percent(60) {
                client.wants[type] = randomWant(type, client)
            }
        }
        return client
    }

    private func pickable(_ client: ModelClient) -> [ResourceType] {
        if case .single(let type) = client.service { return [type] }
        return [.cluster, .endpoints, .listener, .route, .runtime]
    }

    private func randomWant(_ type: ResourceType, _ client: ModelClient) -> ModelClient.Want {
        let letters: [ResourceType: String] = [
            .cluster: "c", .endpoints: "e", .listener: "l", .route: "r", .runtime: "t",
        ]
        let names = (0..<chance.below(4)).map { _ in "\(letters[type]!)\(chance.below(6))" }
        // A label proves too little for a wildcard that comes and goes.
        let isWildcard = chance.percent(25) && !(usesLabels && !client.isDelta)
        return .init(isWildcard: isWildcard, names: Set(names))
    }

    // MARK: Time

    private func schedule(_ event: Event, after delay: Duration) { schedule(event, at: now.advanced(by: delay)) }

    private func schedule(_ event: Event, at moment: Instant) { queue.insert(event, at: moment) }

    /// - Parameter end: nil: until the random actions are over.
    private func drain(until end: Instant?) {
        while let next = queue.firstMoment, violations.isEmpty {
            if let end {
                if next > end { break }
            } else if actionsLeft == 0 {
                break
            }
            guard let (at, event) = queue.removeFirst() else { break }
            now = max(now, at)
            perform(event)
        }
        if let end { now = end }
    }

    func note(_ line: @autoclosure () -> String) {
        if trace != nil { trace?.append("\(Double(now.nanoseconds / 1_000_000) / 1000) \(line())") }
    }

    func violation(_ text: String) {
        note("VIOLATION \(text)")
        violations.append(text)
    }

    // MARK: Events

    private func perform(_ event: Event) {
        switch event {
        case .toServer(let number, let request):
            if connections[number].isOpen { serve(number, request) }
        case .toClient(let number, let response, let sentAt):
            if connections[number].isOpen { deliver(number, response, sentAt) }
        case .snapshot(let number):
            if connections[number].isOpen, connections[number].hasView { show(number) }
        case .tick(let number):
            guard connections[number].isOpen, connections[number].scheduledTick == now else { return }
            connections[number].scheduledTick = .never
            drive(number) {
                $0.tick(now: now)
            } stateOfTheWorld: {
                $0.tick(now: now)
            }
        case .connect(let client):
            if current[client] == nil { connect(client) }
        case .act: act()
        }
    }

    private func act() {
        if actionsLeft == 0 { return }
        actionsLeft -= 1
        switch chance.below(20) {
        case 0..<11:
            for _ in 0...chance.below(3) { mesh.change(&chance) }
            publish()
        case 11..<14:
            if let number = chance.pick(current.keys.sorted()) { disconnect(number) }
        case 14 where !usesLabels: restart()
        default:
            if let number = chance.pick(current.keys.sorted()) { changeWants(number) }
        }
        schedule(.act, after: chance.percent(10) ? .seconds(chance.below(45)) : .milliseconds(chance.below(120)))
    }

    private func publish() {
        generation += 1
        let resources = mesh.resources()
        do {
            if usesLabels || chance.percent(30) {
                var labels: [ResourceType: String] = [:]
                if usesLabels { for type in ResourceType.all { labels[type] = "g\(generation)" } }
                try cache.publish(resources, labels: labels)
            } else {
                let new = Set(resources.map { ResourceReference($0.type, $0.name) })
                let gone = published.keys.filter { !new.contains($0) }
                let changed = resources.filter { resource in
                    published[ResourceReference(resource.type, resource.name)]?.fingerprint != resource.fingerprint
                }
                try cache.update(setting: changed, removing: gone)
            }
        } catch {
            violation("publish: \(error)")
        }
        published = [:]
        for resource in resources { published[ResourceReference(resource.type, resource.name)] = resource }
        note("publish \(Self.show(resources))")
        for number in connections.indices where connections[number].isOpen && connections[number].hasView {
            schedule(.snapshot(connection: number), after: .microseconds(chance.below(3000)))
        }
    }

    private func disconnect(_ client: Int) {
        guard let number = current.removeValue(forKey: client) else { return }
        note("client \(client) disconnects")
        connections[number].isOpen = false
        schedule(.connect(client: client), after: .milliseconds(chance.below(3000)))
    }

    private func restart() {
        restartCount += 1
        note("restart")
        for client in current.keys.sorted() { disconnect(client) }
        cache = SnapshotCache()
        published = [:]
        if chance.percent(50) { mesh.change(&chance) }
        publish()
    }

    private func connect(_ number: Int) {
        let client = clients[number]
        note("client \(number) (\(client.kind), \(client.isDelta ? "delta" : "sotw")) connects")
        let machine: Machine =
            client.isDelta
            ? .delta(DeltaStream(service: client.service))
            : .stateOfTheWorld(StateOfTheWorldStream(service: client.service))
        let probe = StreamProbe(
            isDelta: client.isDelta, followsClusters: client.kind == .proxy,
            clusters: Set((client.holds[.cluster] ?? [:]).keys))
        connections.append(Connection(client: number, machine: machine, probe: probe))
        current[number] = connections.count - 1
        for request in clients[number].connect() { post(request, connections.count - 1) }
    }

    private func changeWants(_ number: Int) {
        let client = clients[number]
        guard client.kind == .picker, let type = chance.pick(pickable(client)) else { return }
        if client.isDelta, chance.percent(20), let name = chance.pick((client.wants[type]?.names ?? []).sorted()) {
            send(number, clients[number].askAgain(type, name))
        } else if let request = clients[number].want(randomWant(type, client), type) {
            send(number, request)
        }
    }

    private func send(_ client: Int, _ request: ModelClient.Request) {
        if let connection = current[client] { post(request, connection) }
    }

    private func post(_ request: ModelClient.Request, _ connection: Int) {
        let arrival = max(
            now.advanced(by: .microseconds(100 + chance.below(20_000))), connections[connection].lastAtServer)
        connections[connection].lastAtServer = arrival
        schedule(.toServer(connection: connection, request), at: arrival)
    }

    // MARK: The server

    private func serve(_ number: Int, _ request: ModelClient.Request) {
        note("\(connections[number].client) > \(Self.show(request))")
        switch request {
        case .delta(let request):
            let type = self.type(request.typeURL, number)
            connections[number].probe.received(request, type)
            drive(number) {
                $0.receive(request, now: now)
            } stateOfTheWorld: { _ in
                []
            }
        case .stateOfTheWorld(let request):
            let type = self.type(request.typeURL, number)
            // The machine says first whether the nonce was stale; the probe must know before it judges answers.
            guard case .stateOfTheWorld(var stream) = connections[number].machine else { return }
            let actions = stream.receive(request, now: now)
            connections[number].machine = .stateOfTheWorld(stream)
            let isStale = actions.contains { if case .ignoredStale = $0 { true } else { false } }
            connections[number].probe.received(request, type, isStale: isStale)
            if !isStale {
                forgetLimbo(connections[number].client, type, Set(request.resourceNames))
                let wanted = clients[connections[number].client].wants[type]?.names ?? []
                if Set(request.resourceNames).subtracting(["*"]).isSubset(of: wanted) {
                    connections[number].reductionSeenAt[type] = now
                }
            }
            carryOut(actions, number)
            let isFirst = request.responseNonce.isEmpty && !request.versionInfo.isEmpty
            if isFirst, type == .cluster || type == .endpoints, connections[number].probe.sentVersions[type] == nil {
                // What failed is kept by the client, and new when it is valid again.
                let client = clients[connections[number].client]
                let holds = (client.holds[type] ?? [:]).filter { client.errors[type]?[$0.key] == nil }
                connections[number].probe.confirmed(type, holds.mapValues(\.version))
            }
        }
    }

    /// The server has seen that these names are no longer wanted: the client may forget their contents.
    private func forgetLimbo(_ client: Int, _ type: ResourceType, _ names: Set<String>) {
        if names.contains("*") { return }
        clients[client].limbo[type] = (clients[client].limbo[type] ?? [:]).filter { names.contains($0.key) }
    }

    private func type(_ typeURL: String, _ number: Int) -> ResourceType {
        if let type = ResourceType(typeURL: typeURL) { return type }
        guard case .single(let type) = clients[connections[number].client].service else { return .cluster }
        return type
    }

    private func show(_ number: Int) {
        guard let snapshot = cache.snapshot(of: "default") else { return }
        connections[number].probe.shown(snapshot)
        drive(number) {
            $0.publish(snapshot, now: now)
        } stateOfTheWorld: {
            $0.publish(snapshot, now: now)
        }
    }

    private func drive(
        _ number: Int, delta: (inout DeltaStream) -> [StreamAction],
        stateOfTheWorld: (inout StateOfTheWorldStream) -> [StreamAction]
    ) {
        let actions: [StreamAction]
        switch connections[number].machine {
        case .delta(var stream):
            actions = delta(&stream)
            connections[number].machine = .delta(stream)
        case .stateOfTheWorld(var stream):
            actions = stateOfTheWorld(&stream)
            connections[number].machine = .stateOfTheWorld(stream)
        }
        carryOut(actions, number)
    }

    private func carryOut(_ actions: [StreamAction], _ number: Int) {
        for action in actions {
            switch action {
            case .send(let response):
                responseCount += 1
                note("\(connections[number].client) < \(Self.show(response))")
                connections[number].probe.sends(response)
                let slow = !isQuiet && chance.percent(4)
                let delay: Duration = slow ? .seconds(chance.below(50)) : .microseconds(100 + chance.below(20_000))
                let arrival = max(now.advanced(by: delay), connections[number].lastAtClient)
                connections[number].lastAtClient = arrival
                schedule(.toClient(connection: number, response, sentAt: now), at: arrival)
            case .opened:
                connections[number].hasView = true
                show(number)
            case .rejected: rejectionCount += 1
            case .removalForced, .additionForced:
                note("\(connections[number].client) forced")
                forcedCount += 1
                connections[number].probe.forced()
            case .fail(let error): violation("stream of client \(connections[number].client) failed: \(error.message)")
            case .acknowledged, .ignoredStale: break
            }
        }
        for text in connections[number].probe.violations {
            violation("client \(connections[number].client): \(text)")
        }
        let deadline: Instant?
        switch connections[number].machine {
        case .delta(let stream): deadline = stream.nextDeadline
        case .stateOfTheWorld(let stream): deadline = stream.nextDeadline
        }
        if let deadline, deadline <= now { violation("a deadline in the past does nothing") }
        if let deadline, deadline != connections[number].scheduledTick {
            connections[number].scheduledTick = deadline
            schedule(.tick(connection: number), at: deadline)
        }
    }

    // MARK: The clients

    private func deliver(_ number: Int, _ response: PreparedResponse, _ sentAt: Instant) {
        let client = connections[number].client
        if let seenAt = connections[number].reductionSeenAt[response.type], seenAt <= sentAt {
            clients[client].reduced.remove(response.type)
        }
        let clustersBefore = clients[client].holds[.cluster] ?? [:]
        let (answer, complaints) = clients[client].apply(response)
        for complaint in complaints { violation("client \(client): \(complaint)") }
        if response.type == .cluster { judgeRemovals(number, clustersBefore) }
        // Sometimes the ACK comes first, sometimes what follows from the response.
        let acksFirst = chance.percent(70)
        if acksFirst { post(answer, number) }
        if let (type, want) = clients[client].follow(response.type),
            let request = clients[client].want(want, type)
        {
            post(request, number)
        }
        if !acksFirst {
            // The answer says what is wanted by now.
            post(answer, number)
        }
    }

    /// A cluster that the client's routes use must not go, unless order was forced.
    private func judgeRemovals(_ number: Int, _ before: [String: ModelClient.Holding]) {
        let client = clients[connections[number].client]
        guard client.kind == .proxy, !connections[number].probe.isForced else { return }
        // A client of state-of-the-world clusters that comes back says nothing of what it holds.
        if !client.isDelta, connections[number].probe.acknowledgedVersions[.cluster] == nil { return }
        let gone = Set(before.keys).subtracting((client.holds[.cluster] ?? [:]).keys)
        for (name, route) in (client.holds[.route] ?? [:]).sorted(by: { $0.key < $1.key }) {
            if client.restored[.route]?.contains(name) ?? false { continue }
            for target in references(in: route.body) where gone.contains(target) {
                violation("client \(client.number): cluster \(target) goes while route \(name) uses it")
            }
        }
    }
}
