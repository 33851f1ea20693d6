import Glibc

/// The measurements, one after the other. Each starts its own processes and ends them.
struct Scenarios {
    /// Fewer clients and rounds.
    let isQuick: Bool
    private(set) var ledger = Ledger()

    private var many: Int { isQuick ? 2_000 : 10_000 }
    private let rounds: Int
    private let few = 1_000
    private let warmUps = 2

    /// - Parameter rounds: nil takes what fits the time of the run.
    init(isQuick: Bool, rounds: Int?) {
        self.isQuick = isQuick
        self.rounds = max(1, rounds ?? (isQuick ? 3 : 9))
    }

    mutating func run(only: String?) throws {
        let all: [(name: String, run: (inout Scenarios) throws -> Void)] = [
            ("start", { try $0.start() }),
            ("delta", { try $0.fanOut(.delta) }),
            ("sotw", { try $0.fanOut(.stateOfTheWorld) }),
            ("clusters", { try $0.manyClusters() }),
            ("tls", { try $0.secure() }),
            ("never-read", { try $0.neverReading() }),
            ("churn", { try $0.churn() }),
        ]
        for (name, scenario) in all where only == nil || only == name { try scenario(&self) }
    }

    private func title(_ words: String) {
        print("\n\(words)")
        fflush(nil)
    }

    private func say(_ words: String) {
        print("  \(words)")
        fflush(nil)
    }

    // MARK: Pushes

    /// The same push through the server and through the floor, in turns.
    private func compare(
        _ rig: Rig, _ floor: Floor, _ kind: RequestBytes.Kind = .endpoints
    ) throws -> [(server: PushFigures, floor: PushFigures)] {
        var bytes = 0
        for _ in 0..<warmUps { bytes = try rig.push(kind).bytes }
        for _ in 0..<warmUps { _ = try floor.push(bytes) }
        return try (0..<rounds).map { _ in
            let served = try rig.push(kind)
            return (served, try floor.push(served.bytes))
        }
    }

    private mutating func fanOut(_ variant: RequestBytes.Variant) throws {
        let words = variant == .delta ? "delta" : "SotW"
        for clients in [few, many] {
            title("\(words), \(clients) streams, 100 clusters of 10 endpoints, one endpoint changed")
            let rig = try Rig(.init(variant: variant, capacity: clients))
            let floor = try Floor(clients: clients)
            defer {
                rig.stop()
                floor.stop()
            }
            let name = "\(words) \(clients)"
            let before = try rig.server.memory
            let opened = try rig.open(clients)
            let perStream = Double(try rig.server.memory - before) / Double(clients) / 1024
            ledger.note("\(name): time to sync", Double(try opened["took"]) / 1e6, "ms")
            ledger.note("\(name): memory per stream", perStream, "KB")
            say("all in sync after \(text(Double(try opened["took"]) / 1e6)) ms; \(text(perStream)) KB per stream")
            let pairs = try compare(rig, floor)
            note(name, pairs)
            let latency = median(pairs.map { Double($0.server.last) / Double($0.floor.last) })
            let cpu = median(pairs.map { Double($0.server.processorTime) / Double($0.floor.processorTime) })
            if clients == many {
                let limit = variant == .delta ? 1.5 : 2
                ledger.hold("\(words), push to the last of \(clients)", latency, atMost: limit, "x floor")
                if variant == .delta {
                    ledger.hold("\(words), server CPU of that push", cpu, atMost: 2, "x floor")
                    let resources = Double(pairs.map(\.server.resources).max() ?? 0) / Double(clients)
                    ledger.hold("\(words), resources per stream and push", resources, atMost: 1, "resources")
                    ledger.hold("plaintext stream, resident", perStream, atMost: 16, "KB")
                }
                ledger.note("\(name): latency to floor", latency, "x")
                ledger.note("\(name): CPU to floor", cpu, "x")
                if variant == .stateOfTheWorld { try everyCluster(rig, floor, clients) }
                try restart(rig, clients, words)
            } else {
                say("the last has it after \(text(latency)) x floor, CPU \(text(cpu)) x floor")
                ledger.note("\(name): latency to floor", latency, "x")
                ledger.note("\(name): CPU to floor", cpu, "x")
            }
        }
    }

    /// In state of the world a changed cluster brings all clusters again, and its endpoints.
    private mutating func everyCluster(_ rig: Rig, _ floor: Floor, _ clients: Int) throws {
        title("SotW, \(clients) streams, one cluster of 100 changed: all of them are sent")
        let pairs = try compare(rig, floor, .clusters)
        note("SotW clusters \(clients)", pairs)
        let latency = median(pairs.map { Double($0.server.last) / Double($0.floor.last) })
        let cpu = median(pairs.map { Double($0.server.processorTime) / Double($0.floor.processorTime) })
        ledger.note("SotW clusters \(clients): CPU to floor", cpu, "x")
        ledger.hold("SotW, push of all clusters to the last of \(clients)", latency, atMost: 2, "x floor")
    }

    private mutating func note(_ name: String, _ pairs: [(server: PushFigures, floor: PushFigures)]) {
        func line(_ who: String, _ figures: [PushFigures]) -> String {
            let (half, most) = (median(figures.map { Double($0.median) }), median(figures.map { Double($0.p99) }))
            let (last, cpu) = (
                median(figures.map { Double($0.last) }), median(figures.map { Double($0.processorTime) })
            )
            ledger.note("\(name): \(who), half have it", half / 1e6, "ms")
            ledger.note("\(name): \(who), 99 % have it", most / 1e6, "ms")
            ledger.note("\(name): \(who), the last has it", last / 1e6, "ms")
            ledger.note("\(name): \(who), server CPU", cpu / 1e6, "ms")
            return "\(who): half have it after \(text(half / 1e6)) ms, 99 % after \(text(most / 1e6)), "
                + "the last after \(text(last / 1e6)); server CPU \(text(cpu / 1e6)) ms"
        }
        guard let first = pairs.first?.server else { return }
        say(
            "\(first.bytes) bytes to each stream, answers of \(first.answerBytes) bytes (the floor's: \(FloorRole.answer))"
        )
        say(line("martinet", pairs.map(\.server)))
        say(line("floor", pairs.map(\.floor)))
        ledger.note("\(name): bytes per stream and push", Double(first.bytes), "bytes")
    }

    private mutating func restart(_ rig: Rig, _ clients: Int, _ words: String) throws {
        let reply = try rig.restart(clients)
        let took = Double(try reply["took"]) / 1e6
        ledger.note("\(words) \(clients): reconnect after a restart", took, "ms")
        say("after kill -9 and a new start all \(clients) were back, with their versions, in \(text(took)) ms")
        ledger.hold(
            "\(words), resources sent to \(clients) that come back", Double(try reply["resources"]), atMost: 0,
            "resources")
    }

    private mutating func manyClusters() throws {
        title("delta, \(few) streams, the same push with 100, 1000 and 5000 clusters")
        let sizes = [100, 1000, isQuick ? 2000 : 5000]
        let rigs = try sizes.map { try Rig(.init(clusters: $0, capacity: few)) }
        defer { for rig in rigs { rig.stop() } }
        for (rig, size) in zip(rigs, sizes) {
            let took = Double(try rig.open(few)["took"]) / 1e6
            ledger.note("delta \(few), \(size) clusters: time to sync", took, "ms")
            say("\(size) clusters: in sync after \(text(took)) ms")
            for _ in 0..<warmUps { _ = try rig.push() }
        }
        var pushes: [[Double]] = sizes.map { _ in [] }
        for _ in 0..<rounds * 3 {
            for (index, rig) in rigs.enumerated() { pushes[index].append(Double(try rig.push().last)) }
        }
        for (index, size) in sizes.enumerated() {
            ledger.note("delta \(few), \(size) clusters: the last has it", median(pushes[index]) / 1e6, "ms")
            say("\(size) clusters: the last has it after \(text(median(pushes[index]) / 1e6)) ms")
        }
        for index in 1..<sizes.count {
            let ratio = median(zip(pushes[index], pushes[0]).map { $0 / $1 })
            ledger.note("delta \(few), \(sizes[index]) clusters: latency to 100 clusters", ratio, "x")
            if index == sizes.count - 1 {
                ledger.hold("push with \(sizes[index]) clusters", ratio, atMost: 1.2, "x that with 100")
            }
        }
    }

    // MARK: Connections

    private mutating func secure() throws {
        title("delta over TLS, \(many) streams")
        let rig = try Rig(.init(certificate: try TestCertificate(), capacity: many))
        defer { rig.stop() }
        let before = try rig.server.memory
        let took = Double(try rig.open(many)["took"]) / 1e6
        let perStream = Double(try rig.server.memory - before) / Double(many) / 1024
        say("all in sync after \(text(took)) ms; \(text(perStream)) KB per stream")
        ledger.note("TLS \(many): time to sync", took, "ms")
        ledger.hold("TLS stream, resident", perStream, atMost: 30, "KB")
        for _ in 0..<warmUps { _ = try rig.push() }
        let figures = try (0..<rounds).map { _ in try rig.push() }
        let last = median(figures.map { Double($0.last) }) / 1e6
        ledger.note("TLS \(many): the last has it", last, "ms")
        let after = Double(try rig.server.memory - before) / Double(many) / 1024
        ledger.note("TLS \(many): memory per stream after pushes", after, "KB")
        say("the last has a push after \(text(last)) ms; then \(text(after)) KB per stream")
    }

    private mutating func neverReading() throws {
        let (stalled, readers) = (many / 10, many - many / 10)
        title("\(stalled) clients that never read beside \(readers) that do")
        let (quiet, disturbed) = (try Rig(.init(capacity: many)), try Rig(.init(capacity: many)))
        defer {
            quiet.stop()
            disturbed.stop()
        }
        _ = try quiet.open(readers)
        _ = try disturbed.open(readers)
        let before = try disturbed.server.memory
        _ = try disturbed.load.ask("never-read \(stalled)")
        for rig in [quiet, disturbed] { for _ in 0..<warmUps { _ = try rig.push() } }
        let pairs = try (0..<rounds * 2).map { _ in (Double(try disturbed.push().last), Double(try quiet.push().last)) }
        let (with, without) = (median(pairs.map(\.0)) / 1e6, median(pairs.map(\.1)) / 1e6)
        ledger.note("never reading: the last reader has it", with, "ms")
        ledger.note("nobody stalled: the last reader has it", without, "ms")
        say("the last reader has a push after \(text(with)) ms; \(text(without)) ms where nobody stalls")
        ledger.hold("latency beside \(stalled) that never read", median(pairs.map { $0.0 / $0.1 }), atMost: 1.2, "x")
        let perClient = Double(try disturbed.server.memory - before) / Double(stalled) / 1024
        // One response of each type at most, here two: in HTTP/2's queue or in the loop's, and the connection.
        ledger.hold("a client that never reads, resident", perClient, atMost: 128, "KB")
    }

    private mutating func churn() throws {
        let (warmUp, count) = (isQuick ? 2_000 : 10_000, isQuick ? 8_000 : 90_000)
        title("\(warmUp + count) connections with ever new node ids, one after the other")
        let rig = try Rig(.init(capacity: 1))
        defer { rig.stop() }
        _ = try rig.load.ask("churn \(warmUp)")
        usleep(300_000)
        let before = try rig.server.memory
        let reply = try rig.load.ask("churn \(count)")
        usleep(300_000)
        let grown = Double(try rig.server.memory - before) / 1024
        let each = Double(try reply["took"]) / Double(count) / 1e3
        say("\(text(each)) µs each; resident \(text(Double(before) / 1024)) KB after the first \(warmUp)")
        ledger.note("connection, first response, end", each, "µs")
        ledger.note("resident after \(warmUp) connections", Double(before) / 1024, "KB")
        ledger.hold("memory grown by \(count) more connections", grown, atMost: 1024, "KB")
    }

    private mutating func start() throws {
        title("from the start of the process to the first response")
        let times = try (0..<5).map { _ in
            let setup = Rig.Setup(capacity: 1)
            let port = try freePort()
            let load = try Rig.startLoad(setup, port)
            load.tell("first-byte")
            usleep(50_000)
            let start = Clock.now
            let server = try Rig.startServer(setup, port)
            let first = try load.reply()["at"]
            load.kill()
            server.kill()
            return Double(first - start) / 1e6
        }
        ledger.hold("start to first byte served, 100 clusters", median(times), atMost: 100, "ms")
    }
}
