import Glibc
import Protobuf
import XDS

/// A request of either variant.
enum DecodedRequest {
    case delta(DeltaDiscoveryRequest)
    case stateOfTheWorld(DiscoveryRequest)

    var typeURL: String {
        switch self {
        case .delta(let request): request.typeURL
        case .stateOfTheWorld(let request): request.typeURL
        }
    }

    /// The names that it asks for, sound or not.
    var names: [String] {
        switch self {
        case .delta(let request): request.resourceNamesSubscribe
        case .stateOfTheWorld(let request): request.resourceNames
        }
    }
}

/// The requests that one loop decoded last. A response has the same bytes for all streams, nonce included, and so have
/// their answers: 10,000 acknowledgements are decoded once.
final class DecodedRequests {
    private var deltas = RequestMemo<DeltaDiscoveryRequest>()
    private var statesOfTheWorld = RequestMemo<DiscoveryRequest>()

    /// How many requests of each variant are kept, for tests of the bound.
    var counts: (delta: Int, stateOfTheWorld: Int) { (deltas.count, statesOfTheWorld.count) }

    /// - Throws: what is malformed in the message.
    func delta(_ message: UnsafeRawBufferPointer) throws(ProtobufError) -> DeltaDiscoveryRequest {
        if let known = deltas[message] { return known }
        let request = try DeltaDiscoveryRequest(decoding: message)
        // A request with a node is of one stream.
        if request.node == nil { deltas.keep(message, request) }
        return request
    }

    /// - Throws: what is malformed in the message.
    func stateOfTheWorld(_ message: UnsafeRawBufferPointer) throws(ProtobufError) -> DiscoveryRequest {
        if let known = statesOfTheWorld[message] { return known }
        let request = try DiscoveryRequest(decoding: message)
        if request.node == nil { statesOfTheWorld.keep(message, request) }
        return request
    }
}

/// A few messages, and what they mean.
struct RequestMemo<Request> {
    /// As many as streams are likely to say in turns: one for each type, and a little.
    static var capacity: Int { 6 }
    /// Longer messages are decoded each time.
    static var longestMessage: Int { 256 << 10 }

    private var entries: [(bytes: [UInt8], request: Request)] = []
    private var oldest = 0

    /// How many are kept, for tests of the bound.
    var count: Int { entries.count }

    subscript(message: UnsafeRawBufferPointer) -> Request? {
        for index in entries.indices where entries[index].bytes.count == message.count && message.count > 0 {
            let isEqual = entries[index].bytes.withUnsafeBytes {
                memcmp($0.baseAddress!, message.baseAddress!, message.count) == 0
            }
            if isEqual { return entries[index].request }
        }
        return nil
    }

    mutating func keep(_ message: UnsafeRawBufferPointer, _ request: Request) {
        guard message.count <= Self.longestMessage else { return }
        guard entries.count == Self.capacity else {
            entries.append((Array(message), request))
            return
        }
        entries[oldest] = (Array(message), request)
        oldest = (oldest + 1) % Self.capacity
    }
}
