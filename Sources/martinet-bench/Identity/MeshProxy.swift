import EnvoyAPI
import GRPC
import Protobuf
import Reactor
import TLS
import Time

/// A proxy of the mesh: what it has been given, and how often.
final class MeshProxy {
    let name: String
    /// PEM, as they came.
    private(set) var chain: [UInt8] = []
    private(set) var key: [UInt8] = []
    private(set) var anchors: [UInt8] = []
    /// Secrets by name, with their versions: what a proxy that comes back says that it has.
    private(set) var versions: [String: String] = [:]
    /// What came since counting began.
    var bundles = 0
    var certificates = 0
    /// It has got a certificate over the connection that it has now.
    var isInSync = false
    /// Connections that brought a certificate, since counting began.
    var returns = 0
    /// Attempts since the last connection that stood.
    var attempts = 0
    var connection: ProxyConnection?

    var settings: TLSSettings

    init(_ name: String, _ settings: TLSSettings) { (self.name, self.settings) = (name, settings) }

    var hasEverything: Bool { !chain.isEmpty && !anchors.isEmpty }

    /// The first request of a stream.
    var subscription: [UInt8] {
        let arena = Arena()
        return GRPC.frame(
            encode(
                arena.make(DeltaDiscoveryRequest.self) { request in
                    request.node = arena.make { $0.id = arena(name) }
                    request.type_url = arena(Secret.descriptor.typeURL)
                    (request.n_resource_names_subscribe, request.resource_names_subscribe) = arena.strings(
                        ["ROOTCA", "default"])
                    (request.n_initial_resource_versions, request.initial_resource_versions) = arena.map(
                        versions.sorted { $0.key < $1.key }.map { ($0.key, arena($0.value)) })
                }))
    }

    /// Takes a response.
    /// - Returns: the names of the secrets in it, and the acknowledgement.
    func take(_ message: UnsafeRawBufferPointer) throws(ProtobufError) -> (names: [String], answer: [UInt8]) {
        let arena = Arena()
        let response = try arena.decode(DeltaDiscoveryResponse.self, from: message).pointee
        var names: [String] = []
        for resource in response.resources_list {
            guard let body = resource.pointee.resource else { continue }
            let name = resource.pointee.name.string
            keep(try arena.decode(Secret.self, from: body.pointee.value_bytes).pointee)
            versions[name] = resource.pointee.version.string
            names.append(name)
        }
        let answer = encode(
            arena.make(DeltaDiscoveryRequest.self) {
                $0.type_url = response.type_url
                $0.response_nonce = response.nonce
            })
        return (names, GRPC.frame(answer))
    }

    private func keep(_ secret: Secret) {
        switch secret.type {
        case .tls_certificate(let pair):
            (chain, key) = (Self.bytes(pair.pointee.certificate_chain), Self.bytes(pair.pointee.private_key))
            certificates += 1
        case .validation_context(let context):
            anchors = Self.bytes(context.pointee.trusted_ca)
            bundles += 1
        case .generic_secret, .session_ticket_keys, nil: break
        }
    }

    private static func bytes(_ source: UnsafeMutablePointer<DataSource>?) -> [UInt8] {
        switch source?.pointee.specifier {
        case .inline_bytes(let bytes): Array(bytes)
        case .inline_string(let text): Array(text.utf8)
        case .filename, .environment_variable, nil: []
        }
    }
}

/// The connection of a proxy, with its one stream.
final class ProxyConnection: ConnectionHandler {
    typealias Loop = EventLoop<ProxyConnection>

    let proxy: MeshProxy
    private unowned let home: MeshProxies
    private let grpc: GRPCClientConnection
    private var call: GRPCCallID?
    private var timer: TimerID?
    var id: ConnectionID?

    init(_ proxy: MeshProxy, _ home: MeshProxies) {
        self.proxy = proxy
        self.home = home
        grpc = GRPCClientConnection(authority: "localhost", secure: true, now: home.loop.now)
    }

    func established(_ peer: Peer, loop: Loop, id: ConnectionID) {
        home.connected(proxy, isResumed: peer.secure?.isResumed ?? false)
        call = grpc.start(
            AggregatedDiscoveryService.deltaAggregatedResources, metadata: home.metadata, now: loop.now)
        if let call { _ = grpc.send(proxy.subscription, on: call) }
        flush(loop, id)
    }

    func received(_ bytes: UnsafeRawBufferPointer, loop: Loop, id: ConnectionID) {
        grpc.receive(bytes, now: loop.now, events: &home.events)
        takeEvents(loop, id)
        flush(loop, id)
    }

    func readyToWrite(loop: Loop, id: ConnectionID) { flush(loop, id) }

    func peerClosedWriting(loop: Loop, id: ConnectionID) { loop.close(id, reason: .finished) }

    func timerFired(_ token: UInt64, loop: Loop, id: ConnectionID) {
        timer = nil
        grpc.tick(now: loop.now, events: &home.events)
        takeEvents(loop, id)
        flush(loop, id)
    }

    func closed(_ reason: CloseReason, loop: Loop, id: ConnectionID) { home.lost(self, reason) }

    private func flush(_ loop: Loop, _ id: ConnectionID) {
        while loop.isWritable(id) {
            let count = grpc.produceOutput(into: home.output, now: loop.now, events: &home.events)
            if count == 0 { break }
            loop.write(UnsafeRawBufferPointer(rebasing: home.output[..<count]), to: id)
        }
        takeEvents(loop, id)
        if grpc.isFinished { loop.closeAfterFlush(id) }
        if let timer { loop.cancelTimer(timer) }
        timer = grpc.nextDeadline.map { loop.setTimer(at: $0, for: id, token: 0) }
    }

    private func takeEvents(_ loop: Loop, _ id: ConnectionID) {
        while !home.events.isEmpty {
            var taken = GRPCEvents<GRPCClientEvent>()
            swap(&taken, &home.events)
            for event in taken.list {
                switch event {
                case .message(_, let message):
                    do throws(ProtobufError) {
                        var received: Result<(names: [String], answer: [UInt8]), ProtobufError>?
                        message.withUnsafeBytes { bytes in
                            do throws(ProtobufError) {
                                received = .success(try proxy.take(bytes))
                            } catch {
                                received = .failure(error)
                            }
                        }
                        guard let (names, answer) = try received?.get() else { continue }
                        if let call { _ = grpc.send(answer, on: call) }
                        home.took(names, proxy)
                    } catch {
                        home.note("a response that cannot be read: \(error)")
                    }
                case .ended(_, let status, _):
                    home.refused(status)
                    loop.closeAfterFlush(id)
                case .metadata, .writable, .serverDrains, .connectionFailed: break
                }
            }
        }
    }
}
