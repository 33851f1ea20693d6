import Discovery
import EnvoyAPI
import GRPC
import Protobuf
import Synchronization
import XDS

/// CSDS: what every connected proxy was sent, has acknowledged and has refused, for standard tools.
/// Source: envoy.service.status.v3.ClientStatusDiscoveryService; gRPC A40.
struct ClientStatusService: Service {
    let thread: ControlThread
    let server: ServerReference
    let operators: Set<String>
    /// Resources of one type of one stream that are told one by one.
    private let entryLimit = 10_000

    /// - Parameter operators: URI or DNS names of client certificates that see every proxy; the others see themselves.
    init(thread: ControlThread, server: ServerReference, operators: Set<String>) {
        self.thread = thread
        self.server = server
        self.operators = operators
    }

    var methods: [GRPCMethod] {
        [
            GRPCMethod(ClientStatusDiscoveryService.fetchClientStatus),
            GRPCMethod(
                ClientStatusDiscoveryService.streamClientStatus, clientStreams: true, serverStreams: true),
        ]
    }

    func open(_ call: ServiceCall) -> any ServiceCallHandler {
        if let refusal = Access.clientStatus(call.origin) { return RefusedCall(call, refusal) }
        guard call.request.method.path == ClientStatusDiscoveryService.streamClientStatus else {
            return UnaryCall(call) { bytes, call in
                bytes.withUnsafeBytes { answer($0, call) { call.reply($0) } }
            }
        }
        return Questions(self, call)
    }

    /// Answers the requests of one stream. What was asked before the client's half-close is answered before the status.
    private final class Questions: ServiceCallHandler {
        /// Answers come from other threads.
        private final class Progress: Sendable {
            struct State {
                var unanswered = 0
                var isHalfClosed = false
            }

            let state = Mutex(State())
        }

        /// Requests of one stream that wait for their answer.
        private static let unansweredLimit = 16

        private let service: ClientStatusService
        private let call: ServiceCall
        private let progress = Progress()

        init(_ service: ClientStatusService, _ call: ServiceCall) {
            self.service = service
            self.call = call
        }

        func received(_ message: UnsafeRawBufferPointer) {
            let (call, progress) = (call, progress)
            let isTaken = progress.state.withLock { state in
                guard state.unanswered < Self.unansweredLimit else { return false }
                state.unanswered += 1
                return true
            }
            guard isTaken else {
                return call.finish(
                    GRPCStatus(
                        .resourceExhausted,
                        "more than \(Self.unansweredLimit) requests wait for their answer; read the answers first"))
            }
            service.answer(message, call) { answer in
                call.send(answer)
                let isLast = progress.state.withLock { state in
                    state.unanswered -= 1
                    return state.isHalfClosed && state.unanswered == 0
                }
                if isLast { call.finish(.ok) }
            }
        }

        func halfClosed() {
            let isOver = progress.state.withLock { state in
                state.isHalfClosed = true
                return state.unanswered == 0
            }
            if isOver { call.finish(.ok) }
        }

        func ended() {}
    }

    private func answer(
        _ bytes: UnsafeRawBufferPointer, _ call: ServiceCall, _ send: @escaping @Sendable ([UInt8]) -> Void
    ) {
        let filter: NodeFilter
        do throws(ProtobufError) {
            let arena = Arena()
            let request = try arena.decode(ClientStatusRequest.self, from: bytes)
            filter = try NodeFilter(request.pointee)
        } catch {
            return call.finish(GRPCStatus(.invalidArgument, "malformed request: \(error)"))
        }
        if let unsupported = filter.unsupported {
            return call.finish(GRPCStatus(.unimplemented, "\(unsupported); match by exact, prefix, suffix or contains"))
        }
        guard let server = server.current else {
            return call.finish(GRPCStatus(.unavailable, "the control plane is starting or stopping; try again"))
        }
        let visible = Access.visibleProxies(call.origin, operators: operators)
        thread.report(of: server, to: call) { report in
            // The answer has no words for what is missing.
            guard report.silentLoops == 0 else { return call.finish(ControlThread.busy) }
            send(response(to: report.streams.filter { visible.includes($0.node) && filter.matches($0.node.id) }))
        }
    }

    private func response(to reports: [DiscoveryServer.StreamReport]) -> [UInt8] {
        let arena = Arena()
        let configs = reports.map { report in
            arena.make(ClientConfig.self) { config in
                config.node = arena.make(EnvoyAPI.Node.self) {
                    $0.id = arena(report.node.id.withoutNUL)
                    $0.cluster = arena(report.node.cluster.withoutNUL)
                }
                config.client_scope = arena(report.status.view?.text.withoutNUL ?? "")
                (config.n_generic_xds_configs, config.generic_xds_configs) = arena.list(
                    report.holdings.flatMap { entries(of: $0, in: arena) })
            }
        }
        return encode(
            arena.make(ClientStatusResponse.self) { ($0.n_config, $0.config) = arena.list(configs) })
    }

    private func entries(
        of holdings: TypeHoldings, in arena: Arena
    ) -> [UnsafeMutablePointer<ClientConfigGenericXdsConfig>] {
        holdings.entries(limit: entryLimit).map { entry in
            arena.make {
                $0.type_url = arena(holdings.type.typeURL)
                $0.name = arena(entry.name.withoutNUL)
                $0.version_info = arena(entry.version.withoutNUL)
                switch entry.state {
                case .pending: ($0.config_status, $0.client_status) = (.STALE, .REQUESTED)
                case .acknowledged: ($0.config_status, $0.client_status) = (.SYNCED, .ACKED)
                case .missing: ($0.config_status, $0.client_status) = (.NOT_SENT, .DOES_NOT_EXIST)
                case .rejected:
                    ($0.config_status, $0.client_status) = (.ERROR, .NACKED)
                    $0.error_state = holdings.refusal.map { refusal in
                        arena.make(UpdateFailureState.self) {
                            $0.details = arena(refusal.detail.message.withoutNUL)
                            $0.version_info = arena(refusal.version.withoutNUL)
                        }
                    }
                }
            }
        }
    }
}

/// Which nodes a client asks about: any of the matchers matches.
private struct NodeFilter: Sendable {
    private enum Pattern: Sendable {
        case exact(String)
        case prefix(String)
        case suffix(String)
        case contains(String)
    }

    private var patterns: [(Pattern, ignoresCase: Bool)] = []
    private var isForAll = true
    /// What the request asks for and this server does not do.
    private(set) var unsupported: String?

    init(_ request: ClientStatusRequest) throws(ProtobufError) {
        for matcher in request.node_matchers_list {
            if !matcher.pointee.node_metadatas_list.isEmpty { unsupported = "node_metadatas are not matched here" }
            guard let id = matcher.pointee.node_id else { continue }
            isForAll = false
            let ignoresCase = id.pointee.ignore_case != 0
            switch id.pointee.match_pattern {
            case .exact(let text): patterns.append((.exact(text), ignoresCase))
            case .prefix(let text): patterns.append((.prefix(text), ignoresCase))
            case .suffix(let text): patterns.append((.suffix(text), ignoresCase))
            case .contains(let text): patterns.append((.contains(text), ignoresCase))
            case .safe_regex, .custom, nil: unsupported = "node_id is matched by plain texts only"
            }
        }
    }

    func matches(_ node: String) -> Bool {
        isForAll
            || patterns.contains { pattern, ignoresCase in
                func fold(_ text: String) -> String { ignoresCase ? text.lowercased() : text }
                let node = fold(node)
                return switch pattern {
                case .exact(let text): node == fold(text)
                case .prefix(let text): node.hasPrefix(fold(text))
                case .suffix(let text): node.hasSuffix(fold(text))
                case .contains(let text): node.contains(fold(text))
                }
            }
    }
}
