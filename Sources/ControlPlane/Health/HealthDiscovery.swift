import Discovery
import EnvoyAPI
import GRPC
import Identity
import Mesh
import Protobuf
import Reactor
import Synchronization
import Translation
import XDS

/// `envoy.service.health.v3.HealthDiscoveryService`: proxies check workloads and tell what they find. A proxy that has
/// proved who it is checks the workload that it stands beside; the eldest of a namespace also those that have no proxy.
final class HealthDiscovery: Service {
    private let mailbox: Mailbox<NoConnections>
    private let desk: OnControlThread<HealthDesk>
    private let authenticator: MeshAuthenticator
    private let refusals: CallRefusals
    private let numbers = Mutex(0)
    /// Never lost: what a checker that is gone has found must not stay in force.
    private let ended: EndedCheckers

    /// Bytes of the node, and elements of a report.
    private static let limits = DecodingLimits(depth: 32, elements: 100_000, memory: 16 << 20)

    init(
        mailbox: Mailbox<NoConnections>, desk: OnControlThread<HealthDesk>, authenticator: MeshAuthenticator,
        refusals: CallRefusals
    ) {
        self.mailbox = mailbox
        self.desk = desk
        self.authenticator = authenticator
        self.refusals = refusals
        ended = EndedCheckers(mailbox, desk)
    }

    var methods: [GRPCMethod] {
        [GRPCMethod(HealthDiscoveryService.streamHealthCheck, clientStreams: true, serverStreams: true)]
    }

    func open(_ call: ServiceCall) -> any ServiceCallHandler {
        let number = numbers.withLock { last in
            last += 1
            return last
        }
        return Stream(self, call, number)
    }

    private final class Stream: ServiceCallHandler, Sendable {
        private enum Phase {
            case silent, asking, checking, ended
        }

        private struct State {
            var phase = Phase.silent
            /// The last report: proxies tell every second what they have found, and mostly the same. No more than one
            /// can be asked for.
            var found: [String: Bool] = [:]
        }

        private let service: HealthDiscovery
        private let call: ServiceCall
        private let number: Int
        private let state = Mutex(State())

        init(_ service: HealthDiscovery, _ call: ServiceCall, _ number: Int) {
            (self.service, self.call, self.number) = (service, call, number)
        }

        func received(_ message: UnsafeRawBufferPointer) {
            let arena = Arena()
            do throws(ProtobufError) {
                let message = try arena.decode(
                    HealthCheckRequestOrEndpointHealthResponse.self, from: message, limits: HealthDiscovery.limits
                ).pointee
                switch message.request_type {
                case .health_check_request(let request):
                    guard let node = request.pointee.node else { return refuse("the request has no node") }
                    take(XDS.Node(node.pointee))
                case .endpoint_health_response(let response): take(decodedHealth(response.pointee))
                case nil: refuse("a message that is neither a request nor a report")
                }
            } catch {
                refuse("malformed message: \(error)")
            }
        }

        private func refuse(_ words: String) { call.finish(GRPCStatus(.invalidArgument, words)) }

        private func take(_ node: XDS.Node) {
            let isFirst = state.withLock { state in
                defer { if state.phase == .silent { state.phase = .asking } }
                return state.phase == .silent
            }
            guard isFirst else { return refuse("a second request; open a stream for each node") }
            func claim(_ key: String) -> String? {
                guard case .string(let text)? = node.metadata[key], !text.isEmpty else { return nil }
                return text
            }
            let claims = Identity.NodeClaims(
                id: node.id, namespace: claim("NAMESPACE"), serviceAccount: claim("SERVICE_ACCOUNT"))
            guard !service.refusals.isThrottled(call) else { return call.finish(StreamRefusal.throttled.status) }
            let objection: Objection = { identity in
                do throws(AdmissionRefusal) {
                    try claims.agree(with: identity)
                    return nil
                } catch {
                    return StreamRefusal(error)
                }
            }
            service.authenticator.authenticate(
                call.origin, call.request.metadata, node: node.id, objection: objection
            ) { [self] result in
                switch result {
                case .failure(let refusal): service.refusals.refuse(call, refusal, what: "health checks")
                case .success(let identity):
                    service.refusals.admit(call)
                    begin(node, identity)
                }
            }
        }

        private func begin(_ node: XDS.Node, _ identity: SPIFFEID) {
            var node = node
            node.principal = "\(identity)"
            let checker: HealthChecker
            do throws(NodeClaimError) {
                let claims = try Translation.NodeClaims(node)
                let stands = claims.kind == .sidecar && !claims.addresses.isEmpty
                checker = HealthChecker(proxy: ProxyClass(claims), workload: stands ? Workload(claims) : nil)
            } catch {
                return refuse("\(error)")
            }
            let isThere = state.withLock { state in
                guard state.phase == .asking else { return false }
                state.phase = .checking
                return true
            }
            guard isThere else { return }
            let (desk, call, number) = (service.desk, call, number)
            let isTaken = service.mailbox.submit { [self] _ in
                // Its end may be known already: then nothing would end it any more.
                guard state.withLock({ $0.phase == .checking }) else { return }
                let isTaken = desk.value.begin(number, checker) { call.send($0) }
                if !isTaken { call.finish(StreamPlaces.full("streams of health checks")) }
            }
            if !isTaken { call.finish(ControlThread.busy) }
        }

        private func take(_ found: [String: Bool]) {
            guard found.count <= HealthDesk.mostOrders, found.keys.allSatisfy({ $0.utf8.count <= longestHealthName })
            else { return refuse("a report of what nobody asked for") }
            let isNews = state.withLock { state in
                guard state.phase == .checking, state.found != found else { return false }
                state.found = found
                return true
            }
            guard isNews else { return }
            let (desk, number) = (service.desk, number)
            let isTaken = service.mailbox.submit { _ in desk.value.report(number, found) }
            // It is told again.
            if !isTaken { state.withLock { $0.found = [:] } }
        }

        func halfClosed() { call.finish(.ok) }

        func ended() {
            let wasChecking = state.withLock { state in
                defer { state.phase = .ended }
                return state.phase == .checking
            }
            if wasChecking { service.ended.add(number) }
        }
    }
}

/// Checkers that are gone, on their way to the desk.
private final class EndedCheckers: Sendable {
    private final class Waiting: Sendable {
        let numbers = Mutex<[Int]>([])
    }

    private let waiting = Waiting()
    private let doorbell: Doorbell<NoConnections>

    init(_ mailbox: Mailbox<NoConnections>, _ desk: OnControlThread<HealthDesk>) {
        let waiting = waiting
        doorbell = mailbox.doorbell { _ in
            let numbers = waiting.numbers.withLock { numbers in
                defer { numbers = [] }
                return numbers
            }
            for number in numbers { desk.value.end(number) }
        }
    }

    func add(_ number: Int) {
        waiting.numbers.withLock { $0.append(number) }
        doorbell.ring()
    }
}
