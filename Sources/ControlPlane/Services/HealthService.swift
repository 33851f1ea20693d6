import Discovery
import EnvoyAPI
import GRPC
import Protobuf
import Synchronization

/// gRPC's health protocol: every service serves from the first connection until the server drains.
/// Source: gRPC, "GRPC Health Checking Protocol".
final class HealthService: Service {
    private struct State {
        var isServing = true
        var watchers: [Int: (call: ServiceCall, service: String)] = [:]
        var lastWatcher = 0
    }

    private let state = Mutex(State())
    private let names: Set<String>

    /// - Parameter names: the full names of the services that are served.
    init(names: [String]) {
        // The empty name asks for the whole server.
        self.names = Set(names + [""])
    }

    var methods: [GRPCMethod] {
        [
            GRPCMethod(GrpcHealth.check), GRPCMethod(GrpcHealth.list),
            GRPCMethod(GrpcHealth.watch, serverStreams: true),
        ]
    }

    /// From now on nothing serves; watchers are told.
    func stop() {
        let watchers = state.withLock { state in
            state.isServing = false
            return Array(state.watchers.values)
        }
        for (call, service) in watchers { call.send(Self.response(status(of: service) ?? .SERVICE_UNKNOWN)) }
    }

    func open(_ call: ServiceCall) -> any ServiceCallHandler {
        switch call.request.method.path {
        case GrpcHealth.watch: Watch(self, call)
        case GrpcHealth.list:
            UnaryCall(call) { [self] _, call in call.reply(list()) }
        default:
            UnaryCall(call) { [self] bytes, call in
                guard let service = Self.service(bytes, call) else { return }
                guard let status = status(of: service) else {
                    return call.finish(GRPCStatus(.notFound, "there is no service \(service)"))
                }
                call.reply(Self.response(status))
            }
        }
    }

    private func status(of service: String) -> GrpcHealthCheckResponseServingStatus? {
        guard names.contains(service) else { return nil }
        return state.withLock { $0.isServing } ? .SERVING : .NOT_SERVING
    }

    private func list() -> [UInt8] {
        let arena = Arena()
        let entries = names.sorted().map { name in
            let response = arena.make(GrpcHealthCheckResponse.self) { $0.status = status(of: name) ?? .UNKNOWN }
            return (name, response)
        }
        return encode(
            arena.make(GrpcHealthListResponse.self) { ($0.n_statuses, $0.statuses) = arena.map(entries) })
    }

    /// - Returns: nil after ending the call, for a request that cannot be read.
    private static func service(_ bytes: [UInt8], _ call: ServiceCall) -> String? {
        let arena = Arena()
        do throws(ProtobufError) {
            return try arena.decode(GrpcHealthCheckRequest.self, from: bytes).pointee.service.string
        } catch {
            call.finish(GRPCStatus(.invalidArgument, "malformed request: \(error)"))
            return nil
        }
    }

    private static func response(_ status: GrpcHealthCheckResponseServingStatus) -> [UInt8] {
        let arena = Arena()
        return encode(arena.make(GrpcHealthCheckResponse.self) { $0.status = status })
    }

    /// A client that wants to hear of every change.
    private final class Watch: ServiceCallHandler {
        private let health: HealthService
        private let call: ServiceCall
        private var number: Int?

        init(_ health: HealthService, _ call: ServiceCall) {
            self.health = health
            self.call = call
        }

        func received(_ message: UnsafeRawBufferPointer) {
            guard number == nil, let service = HealthService.service(Array(message), call) else { return }
            number = health.state.withLock { state in
                state.lastWatcher += 1
                state.watchers[state.lastWatcher] = (call, service)
                return state.lastWatcher
            }
            call.send(HealthService.response(health.status(of: service) ?? .SERVICE_UNKNOWN))
        }

        func halfClosed() {}

        func ended() {
            guard let number else { return }
            health.state.withLock { _ = $0.watchers.removeValue(forKey: number) }
        }
    }
}
