import Time
import XDS

/// Bytes read as decisions: what a client says, and what is published, in any order.
struct StreamScript {
    private var bytes: UnsafeRawBufferPointer.SubSequence
    let types: [ResourceType] = [.cluster, .endpoints, .listener, .route]
    private(set) var now = Instant(nanoseconds: 1_000_000_000)
    private let cache = SnapshotCache()
    /// The nonces of the responses that were sent and not answered, by type.
    private var nonces: [ResourceType: String] = [:]
    private var generation = 0

    init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes[...]
    }

    mutating func next() -> UInt8? { bytes.popFirst() }

    /// The type that the low bits choose; sometimes one that is not served.
    func typeURL(_ byte: UInt8) -> String {
        byte & 0x1f == 0x1f ? "type.googleapis.com/no.Such" : types[Int(byte) % types.count].typeURL
    }

    /// Up to three names, of few, so that they meet again.
    func names(_ byte: UInt8) -> [String] {
        let all = ["*", "a", "b", "c", "", "d", "a", "\u{0}"]
        return (0..<Int(byte & 3)).map { all[Int(byte >> 2 &+ UInt8($0)) % (byte == 0xff ? 8 : 7)] }
    }

    func nonce(_ byte: UInt8) -> String {
        switch byte % 4 {
        case 0: ""
        case 1: "stale"
        default: nonces[types[Int(byte) % types.count]] ?? ""
        }
    }

    mutating func advance(_ byte: UInt8) {
        now = now.advanced(by: .seconds(Int(byte % 16)))
    }

    /// A snapshot with some of few resources in it.
    mutating func publish(_ byte: UInt8) -> Snapshot? {
        generation += 1
        var resources: [Resource] = []
        for (index, name) in ["a", "b", "c", "d"].enumerated() where byte & (1 << index) != 0 {
            for type in types {
                let dependencies = type == .cluster ? [ResourceReference(.endpoints, name)] : []
                let body = [UInt8(index), byte >> 4, type == .route ? UInt8(truncatingIfNeeded: generation) : 0]
                resources.append(
                    Resource(
                        type, name: name, body: body, timeToLive: byte & 0x80 != 0 ? .seconds(2) : nil,
                        dependencies: dependencies))
            }
        }
        return try? cache.publish(resources)
    }

    /// Looks at what the stream decided, and stops the program where a promise is broken.
    mutating func note(_ actions: [StreamAction]) {
        for action in actions {
            switch action {
            case .send(let response):
                precondition(nonces[response.type] == nil, "two responses under way for \(response.type)")
                let names = response.resources.map(\.name) + response.errors.map(\.name)
                precondition(Set(names).count == names.count, "a name twice in one response")
                nonces[response.type] = response.nonce
            case .acknowledged(let type, _, let nonce), .rejected(let type, _, let nonce, _):
                precondition(nonces.removeValue(forKey: type) == nonce, "an answer to nothing")
            case .opened, .ignoredStale, .removalForced, .additionForced, .fail: break
            }
        }
    }
}

func fuzzDeltaStream(_ bytes: UnsafeRawBufferPointer) {
    var script = StreamScript(bytes)
    var stream = DeltaStream()
    var isFirst = true
    while let operation = script.next(), let detail = script.next() {
        switch operation % 4 {
        case 0: if let snapshot = script.publish(detail) { script.note(stream.publish(snapshot, now: script.now)) }
        case 1:
            script.advance(detail)
            script.note(stream.tick(now: script.now))
        default:
            let request = DeltaDiscoveryRequest(
                node: isFirst || detail == 9 ? Node(id: detail == 9 ? "other" : "n") : nil,
                typeURL: script.typeURL(operation >> 2), resourceNamesSubscribe: script.names(detail),
                resourceNamesUnsubscribe: script.names(detail >> 4),
                initialResourceVersions: detail & 8 != 0 ? ["a": "1", "gone": "2"] : [:],
                responseNonce: script.nonce(operation >> 2), errorDetail: detail == 7 ? ErrorDetail(message: "no") : nil
            )
            isFirst = false
            script.note(stream.receive(request, now: script.now))
        }
    }
}

func fuzzStateOfTheWorldStream(_ bytes: UnsafeRawBufferPointer) {
    var script = StreamScript(bytes)
    var stream = StateOfTheWorldStream()
    var isFirst = true
    while let operation = script.next(), let detail = script.next() {
        switch operation % 4 {
        case 0: if let snapshot = script.publish(detail) { script.note(stream.publish(snapshot, now: script.now)) }
        case 1:
            script.advance(detail)
            script.note(stream.tick(now: script.now))
        default:
            let request = DiscoveryRequest(
                versionInfo: detail & 8 != 0 ? "v" : "",
                node: isFirst ? Node(id: "n", clientFeatures: ["xds.config.supports-resource-in-sotw"]) : nil,
                resourceNames: script.names(detail), typeURL: script.typeURL(operation >> 2),
                responseNonce: script.nonce(operation >> 2), errorDetail: detail == 7 ? ErrorDetail(message: "no") : nil
            )
            isFirst = false
            script.note(stream.receive(request, now: script.now))
        }
    }
}
