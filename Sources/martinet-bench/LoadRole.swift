import CLinux
import Glibc
import TLS

/// The lines on the standard input, which is read when there is something and never waited for.
final class CommandLines {
    private var unread: [UInt8] = []
    private(set) var isAtEnd = false

    init() { _ = fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_NONBLOCK) }

    func read() {
        var buffer = [UInt8](repeating: 0, count: 1024)
        while true {
            let count = Glibc.read(0, &buffer, buffer.count)
            if count > 0 {
                unread += buffer[..<count]
            } else {
                if count == 0 { isAtEnd = true }
                return
            }
        }
    }

    func next() -> [String]? {
        guard let end = unread.firstIndex(of: 10) else { return nil }
        let line = String(decoding: unread[..<end], as: UTF8.self)
        unread.removeSubrange(...end)
        return line.split(separator: " ").map(String.init)
    }
}

/// The role `load`: the clients, on one thread.
struct LoadRole {
    private let streams: LoadStreams
    private let commands = CommandLines()
    private let capacity: Int
    /// Clients that read, from index 0.
    private var open = 0
    private var neverReading = 0
    private var churned = 0
    /// What clients say that come back with what client 0 was sent.
    private var prepared: RequestBytes.Return?

    init(port: UInt16, variant: RequestBytes.Variant, clusters: Int, trust: String?, capacity: Int) throws {
        let tls = try trust.map { file in
            var configuration = TLSConfiguration.client(
                trusting: try TrustAnchors(file: file), serverName: "localhost", applicationProtocols: ["h2"])
            configuration.storedSessions = 0
            return try TLSSettings(configuration)
        }
        let requests = RequestBytes(variant, isSecure: trust != nil, clusters: clusters)
        self.capacity = capacity
        streams = try LoadStreams(port: port, requests: requests, tls: tls, capacity: capacity)
        streams.watchCommands(commands)
    }

    /// Does what it is told until the one who tells has gone.
    mutating func run() throws {
        while !commands.isAtEnd {
            guard let words = commands.next() else {
                streams.turn(milliseconds: 1000)
                continue
            }
            let count = words.count > 1 ? Int(words[1]) ?? 0 : 0
            switch words[0] {
            case "open": try open(count, returning: false)
            case "reopen": try open(count, returning: true)
            case "expect": try expectPush(of: words.last == "clusters" ? .clusters : .endpoints)
            case "never-read":
                for _ in 0..<count {
                    try streams.connectNeverReading(capacity - 1 - neverReading)
                    neverReading += 1
                }
                Reply("never-reading", ["count": neverReading]).say()
            case "churn": try churn(count)
            case "first-byte": try awaitFirstByte()
            case "close":
                for index in 0..<capacity { streams.close(index) }
                (open, neverReading) = (0, 0)
                Reply("closed").say()
            default: throw BenchFailure("the load does not know \(words)")
            }
        }
    }

    /// Opens clients until so many are open, at most 256 under way at a time.
    private mutating func open(_ count: Int, returning: Bool) throws {
        if returning, prepared == nil {
            let versions = try RecordedVersions(streams.recorded, streams.requests.variant)
            prepared = streams.requests.preparedReturn(holding: versions.held)
        }
        streams.resetCounts()
        let start = Clock.now
        let before = open
        if !returning, before == 0 { (streams.recorded, streams.isRecording) = ([], true) }
        while streams.synced < count - before {
            while open < count, open - before - streams.synced < 256 {
                try streams.connect(open, returning: returning ? prepared : nil)
                open += 1
            }
            try wait(since: start, "\(count) clients have what they asked for; \(streams.synced) do")
        }
        let took = Clock.now - start
        if returning { settle(milliseconds: 300) }
        Reply(
            "opened",
            [
                "took": took, "responses": streams.responses, "resources": streams.resources,
                "bytes": streams.bytesIn, "sent": streams.bytesOut,
            ]
        ).say()
    }

    private func expectPush(of kind: RequestBytes.Kind) throws {
        streams.expectPush(of: kind)
        Reply("expecting").say()
        let start = Clock.now
        while streams.arrived < open {
            try wait(since: start, "\(open) clients have the push; \(streams.arrived) do")
        }
        settle(milliseconds: 20)  // One push, or more?
        let times = streams.arrivals(open)
        Reply(
            "arrived",
            [
                "median": times[(times.count - 1) / 2], "p99": times[(times.count - 1) * 99 / 100],
                "last": times[times.count - 1], "responses": streams.responses, "resources": streams.resources,
                "bytes": streams.bytesIn / open, "answer": streams.bytesOut / open,
            ]
        ).say()
    }

    /// One client after the other, each with a node id of its own, which leaves once it has the clusters.
    private mutating func churn(_ count: Int) throws {
        let start = Clock.now
        for _ in 0..<count {
            try streams.connect(0)
            while !streams.hasResponse(0) {
                guard !streams.hasEnded(0) else { throw BenchFailure("the server has ended a client's connection") }
                streams.turn(milliseconds: 1000)
                if Clock.now - start > 110_000_000_000 { throw BenchFailure("\(count) connections take too long") }
            }
            streams.close(0)
        }
        churned += count
        Reply("churned", ["count": churned, "took": Clock.now - start]).say()
    }

    /// Tries to connect until somebody listens, and then waits for the first response.
    private func awaitFirstByte() throws {
        streams.firstByteAt = 0
        let start = Clock.now
        while streams.firstByteAt == 0 {
            guard (try? streams.connect(0)) != nil else {
                usleep(200)
                continue
            }
            while streams.firstByteAt == 0, !streams.hasEnded(0) {
                try wait(since: start, "a first byte came")
            }
            streams.close(0)
            if streams.firstByteAt == 0 { usleep(200) }
        }
        Reply("first-byte", ["at": streams.firstByteAt]).say()
    }

    private func wait(since start: Int, _ words: @autoclosure () -> String) throws(BenchFailure) {
        streams.turn(milliseconds: 1000)
        if Clock.now - start > 100_000_000_000 {
            throw BenchFailure("waited 100 s until \(words()); connections ended: \(streams.ended)")
        }
    }

    private func settle(milliseconds: Int) {
        let end = Clock.now + milliseconds * 1_000_000
        while Clock.now < end { streams.turn(milliseconds: 5) }
    }
}

/// What a client holds after its first responses.
struct RecordedVersions {
    private(set) var held: [[String: [UInt8]]]

    /// - Parameter recorded: gRPC messages, one after the other, from the beginning of a stream.
    init(_ recorded: [UInt8], _ variant: RequestBytes.Variant) throws(BenchFailure) {
        held = RequestBytes.Kind.allCases.map { _ in [:] }
        var rest = recorded[...]
        while rest.count >= 5 {
            let length = rest.dropFirst().prefix(4).reduce(0) { $0 << 8 | Int($1) }
            let fields = try Self.fields(rest.dropFirst(5).prefix(length))
            rest = rest.dropFirst(5 + length)
            guard let typeURL = fields.first(where: { $0.number == 4 })?.bytes,
                let kind = RequestBytes.Kind.allCases.first(where: { Array($0.typeURL.utf8) == Array(typeURL) })
            else { throw BenchFailure("a response without a type") }
            if variant == .stateOfTheWorld {
                held[kind.rawValue][""] = fields.first { $0.number == 1 }.map { Array($0.bytes) } ?? []
                continue
            }
            for resource in fields where resource.number == 2 {
                let parts = try Self.fields(resource.bytes)
                guard let name = parts.first(where: { $0.number == 3 })?.bytes,
                    let version = parts.first(where: { $0.number == 1 })?.bytes
                else { throw BenchFailure("a resource without name or version") }
                held[kind.rawValue][String(decoding: name, as: UTF8.self)] = Array(version)
            }
        }
    }

    private static func fields(
        _ bytes: ArraySlice<UInt8>
    ) throws(BenchFailure) -> [(number: Int, bytes: ArraySlice<UInt8>)] {
        var (list, rest): ([(Int, ArraySlice<UInt8>)], ArraySlice<UInt8>) = ([], bytes)
        func varint() throws(BenchFailure) -> Int {
            var (value, shift) = (0, 0)
            while let byte = rest.popFirst(), shift < 63 {
                value |= Int(byte & 0x7f) << shift
                if byte < 0x80 { return value }
                shift += 7
            }
            throw BenchFailure("a response is cut off")
        }
        while !rest.isEmpty {
            let tag = try varint()
            guard tag & 7 == 2 else {
                guard tag & 7 == 0 else { throw BenchFailure("wire type \(tag & 7) in a response") }
                _ = try varint()
                continue
            }
            let length = try varint()
            list.append((tag >> 3, rest.prefix(length)))
            rest = rest.dropFirst(length)
        }
        return list
    }
}
