import EnvoyAPI
import GRPC
import HTTP
import HTTP2
import Mesh
import Protobuf
import Time
import XDS

/// A parser or machine that a peer reaches, as a fuzzer calls it: any bytes, no result; a broken promise stops the
/// program. `make fuzz` runs them under libFuzzer, the tests replay the kept corpus with small changes.
public enum FuzzTarget: String, CaseIterable, Sendable {
    /// HTTP/1.1 requests to a server.
    case http1
    /// HTTP/1.1 responses to a client.
    case http1Client
    /// HTTP/2 frames to a server, after a valid preface.
    case http2
    /// HTTP/2 frames to a client.
    case http2Client
    /// gRPC calls and messages on a server's connection.
    case grpc
    /// The first bytes of connections that may be TLS or HTTP.
    case detection
    /// PROXY headers, ahead of what clients say.
    case proxyHeader
    /// Protobuf messages that peers send.
    case protobuf
    /// JSON texts of resources.
    case json
    /// YAML texts of resources.
    case yaml
    /// Texts of Kubernetes, Istio and Gateway API objects.
    case objects
    /// Requests in any order on an incremental stream.
    case deltaStream
    /// Requests in any order on a state-of-the-world stream.
    case stateOfTheWorldStream

    public func run(_ bytes: UnsafeRawBufferPointer) {
        switch self {
        case .http1: fuzzHTTP1Requests(bytes)
        case .http1Client: fuzzHTTP1Responses(bytes)
        case .http2: fuzzHTTP2(bytes, .server)
        case .http2Client: fuzzHTTP2(bytes, .client)
        case .grpc: fuzzGRPC(bytes)
        case .detection: fuzzDetection(bytes)
        case .proxyHeader: fuzzProxyHeader(bytes)
        case .protobuf: fuzzMessage(bytes)
        case .json: fuzzText(bytes, .json, as: EnvoyAPI.Listener.descriptor, types: envoyTypes)
        case .yaml: fuzzText(bytes, .yaml, as: EnvoyAPI.Cluster.descriptor, types: envoyTypes)
        case .objects: fuzzObjects(bytes)
        case .deltaStream: fuzzDeltaStream(bytes)
        case .stateOfTheWorldStream: fuzzStateOfTheWorldStream(bytes)
        }
    }
}

/// The first byte chooses the message type.
private func fuzzMessage(_ bytes: UnsafeRawBufferPointer) {
    let types = [
        EnvoyAPI.DeltaDiscoveryRequest.descriptor, EnvoyAPI.DiscoveryRequest.descriptor,
        EnvoyAPI.DeltaDiscoveryResponse.descriptor, EnvoyAPI.DiscoveryResponse.descriptor,
        EnvoyAPI.Listener.descriptor, EnvoyAPI.RouteConfiguration.descriptor, EnvoyAPI.Cluster.descriptor,
        ControlApplyRequest.descriptor,
    ]
    guard let first = bytes.first else { return }
    fuzzWire(
        UnsafeRawBufferPointer(rebasing: bytes.dropFirst()), as: types[Int(first) % types.count], types: envoyTypes)
}

private let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0]

/// The first byte is the size of the parts in which the rest arrives.
private func parts(_ bytes: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Void) {
    guard let first = bytes.first else { return }
    let size = max(1, Int(first)) * 4
    var rest = bytes.dropFirst()
    while !rest.isEmpty {
        let part = rest.prefix(size)
        body(UnsafeRawBufferPointer(rebasing: part))
        rest = rest.dropFirst(part.count)
    }
}

private func fuzzHTTP2(_ bytes: UnsafeRawBufferPointer, _ role: HTTP2Role) {
    var now = Instant(nanoseconds: 1_000_000_000)
    let connection = HTTP2Connection(role: role, now: now)
    var events: [HTTP2Event] = []
    var output = [UInt8](repeating: 0, count: 4096)
    if role == .server {
        preface.withUnsafeBytes { connection.receive($0, now: now, events: &events) }
    } else {
        let headers = HeaderList([(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")])
        _ = connection.open(headers, endStream: false, now: now)
        preface.dropFirst(24).withUnsafeBytes { connection.receive($0, now: now, events: &events) }
    }
    parts(bytes) { part in
        now = now.advanced(by: .milliseconds(1))
        connection.receive(part, now: now, events: &events)
        for event in events {
            switch event {
            case .headers(let stream, _, _) where role == .server:
                connection.respond(HeaderList([(":status", "200")]), on: stream)
                _ = connection.send([UInt8](repeating: 7, count: 100), on: stream, now: now)
            case .data(let stream, let data): connection.consume(data.count, on: stream)
            default: break
            }
        }
        events = []
        drain(&output) { connection.produceOutput(into: $0, now: now, events: &events) }
    }
    if let deadline = connection.nextDeadline { connection.tick(now: deadline, events: &events) }
    precondition(connection.openStreamCount <= HTTP2Limits().concurrentStreams, "more streams than allowed")
}

/// Takes output until there is none; a connection that talks for ever to a silent peer is stopped.
private func drain(_ output: inout [UInt8], _ produce: (UnsafeMutableRawBufferPointer) -> Int) {
    var rounds = 0
    while output.withUnsafeMutableBytes(produce) > 0 {
        rounds += 1
        precondition(rounds < 10_000, "output without end")
    }
}

private func fuzzGRPC(_ bytes: UnsafeRawBufferPointer) {
    let now = Instant(nanoseconds: 1_000_000_000)
    let path = AggregatedDiscoveryService.deltaAggregatedResources
    let methods = GRPCMethods([
        GRPCMethod(path, clientStreams: true, serverStreams: true), GRPCMethod(GrpcHealth.check),
    ])
    let connection = GRPCServerConnection(methods: methods, now: now)
    var events = GRPCEvents<GRPCServerEvent>()
    var output = [UInt8](repeating: 0, count: 4096)
    preface.withUnsafeBytes { connection.receive($0, now: now, events: &events) }
    var open: Set<GRPCCallID> = []
    parts(bytes) { part in
        connection.receive(part, now: now, events: &events)
        for event in events.list {
            switch event {
            case .started(let call, _): precondition(open.insert(call).inserted, "a call started twice")
            case .message(let call, let message):
                precondition(open.contains(call), "a message of no call")
                _ = connection.send(GRPC.frame(message.bytes), on: call)
            case .halfClosed(let call): connection.finish(call, .ok)
            case .ended(let call, _): precondition(open.remove(call) != nil, "an end of no call")
            case .writable, .refused, .peerDrains, .connectionFailed: break
            }
        }
        events.removeAll()
        drain(&output) { connection.produceOutput(into: $0, now: now, events: &events) }
    }
}
