import Discovery
import EnvoyAPI
import Foundation
import GRPC
import Identity
import Protobuf
import Reactor
import Store
import Synchronization
import TLS
import Testing
import Time
import XDS

@testable import ControlPlane

/// What a control plane does for its mesh, on real threads, sockets and files, without the process-wide signals of the
/// whole; and xDS clients that are sidecars of it.
final class RolloutRig {
    let data: TemporaryDirectory
    /// Plaintext.
    let port: UInt16
    let tlsPort: UInt16
    let log = LogKeeper()
    let server: DiscoveryServer
    private let control: EventLoopGroup<NoConnections>
    private let identity: IdentityParts
    private let mesh: OnControlThread<MeshParts>
    private let raw: OnControlThread<ResourceSource>

    /// - Parameters:
    ///   - directory: of objects, in place of users who apply them.
    ///   - data: of an earlier rig, for a restart; the clients come back on the same port.
    init(
        data: TemporaryDirectory? = nil, port: UInt16? = nil, patience: Rollout.Patience = Rollout.Patience(),
        health: (any RolloutHealth & Sendable)? = nil, directory: String? = nil
    ) throws {
        self.data = try data ?? TemporaryDirectory("data")
        self.port = try port ?? freeTCPPort()
        tlsPort = try freeTCPPort()
        let store = try Store(directory: self.data.path)
        var configuration = ControlPlaneServer.Configuration(
            dataDirectory: self.data.path,
            authority: AuthorityConfiguration(trustDomain: try TrustDomain("cluster.local")), logger: log.logger)
        configuration.rolloutPatience = patience
        configuration.meshDirectory = directory
        configuration.tls = ControlPlaneServer.TLSPort(.loopback(port: tlsPort))
        let secrets = SecretDirectory(trustDomain: configuration.authority.trustDomain, logger: log.logger)
        let (events, answers, reference) = (StreamEvents(), AnswerBell(), ServerReference())
        let made = Mutex<(IdentityParts, OnControlThread<MeshParts>, OnControlThread<ResourceSource>)?>(nil)
        control = try EventLoopGroup<NoConnections>(count: 1, name: "control") { [configuration] loop, _ in
            var sourceConfiguration = ResourceSource.Configuration(directory: nil)
            sourceConfiguration.logger = configuration.logger
            let source = ResourceSource(store: store, configuration: sourceConfiguration, secrets: secrets)
            try source.start(on: loop)
            let identity = try IdentityParts(configuration, store: store, secrets: secrets, loop: loop)
            let mesh = try MeshParts(
                configuration, store: store, secrets: secrets, resources: source, events: events, answers: answers,
                server: reference, loop: loop)
            if let health { mesh.rollouts.health = health }
            made.withLock { $0 = (identity, OnControlThread(mesh), OnControlThread(source)) }
        }
        guard let (identity, mesh, raw) = made.withLock({ $0 }) else { preconditionFailure("a loop was set up") }
        (self.identity, self.mesh, self.raw) = (identity, mesh, raw)
        var rules = MeshAdmission.Configuration(logger: log.logger)
        rules.began = { events.note(.began($0, $1)) }
        rules.listening = { events.note(.listening($0)) }
        rules.ended = { events.note(.ended($0)) }
        var serving = DiscoveryServer.Configuration()
        serving.logger = log.logger
        serving.answers = answers
        serving.admission = MeshAdmission(identity.authenticator, directory: secrets, configuration: rules)
        server = try DiscoveryServer(
            secrets.cache,
            on: [
                DiscoveryServer.Listener(.loopback(port: self.port)),
                DiscoveryServer.Listener(.loopback(port: tlsPort), tls: identity.portSource),
            ], configuration: serving)
        reference.set(server)
    }

    deinit { stop() }

    func stop() {
        server.stop()
        identity.stop()
        control.stop()
        control.join()
    }

    /// How a sidecar reaches the server: in plaintext, or over TLS with a token for its service account.
    func address(of serviceAccount: String, isSecure: Bool) throws -> ServerAddress {
        guard isSecure else { return ServerAddress(.loopback(port: port)) }
        let ledger = identity.ledger
        let token = try onControl { _ in
            try ledger.value.create(
                JoinTokenOrder(namespace: "shop", serviceAccount: serviceAccount, validity: .seconds(3600), uses: nil),
                now: Timestamp.systemClock()
            ).token
        }
        var metadata = GRPCMetadata()
        metadata.append("authorization", "Bearer \(token)")
        let anchors = try TrustAnchors(pem: Array(Data(contentsOf: URL(fileURLWithPath: data["ca/root-cert.pem"]))))
        let configuration = TLSConfiguration.client(
            trusting: anchors, serverName: "localhost", identity: nil, applicationProtocols: ["h2"])
        return ServerAddress(.loopback(port: tlsPort), tls: try TLSSettings(configuration), metadata: metadata)
    }

    /// Runs on the control thread, and waits for it.
    @discardableResult
    func onControl<Result: Sendable>(_ body: @escaping @Sendable (MeshParts) throws -> Result) throws -> Result {
        let done = DispatchSemaphore(value: 0)
        let result = Mutex<Swift.Result<Result, any Error>?>(nil)
        let mesh = mesh
        let isTaken = control.mailboxes[0].submit { _ in
            let outcome = Swift.Result { try body(mesh.value) }
            result.withLock { $0 = outcome }
            done.signal()
        }
        precondition(isTaken, "the control thread runs")
        done.wait()
        guard let outcome = result.withLock({ $0 }) else { preconditionFailure("it has run") }
        return try outcome.get()
    }

    /// Applies objects.
    /// - Returns: the revision in force.
    @discardableResult
    func apply(_ text: String, rollout: RolloutOrder? = nil) throws -> Int64 {
        try onControl { mesh in
            var request = MeshRequest(applying: text)
            (request.author, request.rollout) = ("ada", rollout)
            return try mesh.source.apply(request).revision
        }
    }

    var report: RolloutReport? { (try? onControl { $0.rollouts.report }) ?? nil }
    var history: [RevisionEntry] { (try? onControl { try $0.source.history(HistoryQuery()) }) ?? [] }

    @discardableResult
    func order(_ order: RolloutRequest.Order, author: String = "ada") throws -> RolloutProblem? {
        try onControl { $0.rollouts.perform(RolloutRequest(order, author: author)) }
    }

    /// How `apply --wait` sees a revision.
    func progress(of revision: Int64) throws -> RevisionReport? {
        let done = DispatchSemaphore(value: 0)
        let answer = Mutex<RevisionReport?>(nil)
        try onControl { mesh in
            mesh.source.progress?.progress(of: revision) { report in
                answer.withLock { $0 = report }
                done.signal()
            }
        }
        done.wait()
        return answer.withLock { $0 }
    }
}

/// One sidecar, which knows the clusters of its mesh and perhaps refuses some.
final class MeshClient: Sendable {
    private struct State {
        /// Seconds of `connect_timeout`, by cluster, in the order in which they came.
        var timeouts: [String: [Int64]] = [:]
        var nacks = 0
        var acks = 0
        /// The connect timeout that it refuses.
        var refused: Int64?
        var isSilent = false
        var endpoints: [String: Int] = [:]
    }

    let name: String
    private let state = Mutex(State())
    private let stopper = Mutex<(@Sendable () -> Void)?>(nil)

    private struct Box: @unchecked Sendable {
        // Opened on the runner's thread alone.
        let runner: DiscoveryClientRunner
    }

    /// - Parameter app: its label and its service account; sidecars of one label are a class.
    init(_ name: String, app: String, at server: ServerAddress, refusing refused: Int64? = nil) throws {
        self.name = name
        state.withLock { $0.refused = refused }
        let node = Node(
            id: "sidecar~10.1.0.1~\(name).shop~shop.svc.cluster.local", cluster: "\(app).shop",
            metadata: [
                "NAMESPACE": .string("shop"), "SERVICE_ACCOUNT": .string(app), "WORKLOAD_NAME": .string(app),
                "LABELS": .object(["app": .string(app)]), "INTERCEPTION_MODE": .string("REDIRECT"),
                "INSTANCE_IPS": .string("10.1.0.1"),
            ])
        var configuration = DiscoveryClient.Configuration(node: node, servers: ["rig"])
        configuration.backoff = Backoff(initial: .milliseconds(20), multiplier: 1, maximum: .milliseconds(20))
        let ready = DispatchSemaphore(value: 0)
        let problem = Mutex<(any Error)?>(nil)
        let thread = Thread { [self, configuration] in
            do {
                let runner = try DiscoveryClientRunner(
                    configuration, servers: [server], seed: 1,
                    validate: { [self] in judge($0, $1) }, listener: { [self] in note($0) })
                try runner.subscribe(.cluster, to: ["*"])
                try runner.subscribe(.listener, to: ["*"])
                try runner.subscribe(.endpoints, to: [Self.cluster("api")])
                let box = Box(runner: runner)
                let stop = runner.doorbell { box.runner.stop() }
                stopper.withLock { $0 = stop }
                ready.signal()
                runner.run()
            } catch {
                problem.withLock { $0 = error }
                ready.signal()
            }
        }
        thread.start()
        ready.wait()
        if let error = problem.withLock({ $0 }) { throw error }
    }

    func stop() { stopper.withLock { $0 }?() }

    static func cluster(_ service: String) -> String { "outbound|80||\(service).shop.svc.cluster.local" }

    /// The connect timeouts that it has accepted for a service's cluster, in order.
    func timeouts(_ service: String = "api") -> [Int64] {
        state.withLock { $0.timeouts[Self.cluster(service)] ?? [] }
    }

    var timeout: Int64? { timeouts().last }
    var nacks: Int { state.withLock { $0.nacks } }
    var endpoints: Int? { state.withLock { $0.endpoints[Self.cluster("api")] } }
    func refuse(_ timeout: Int64?) { state.withLock { $0.refused = timeout } }

    private func judge(_ type: ResourceType, _ resource: ReceivedResource) -> ResourceVerdict {
        guard type == .cluster, let timeout = Self.timeout(in: resource.body ?? []) else {
            return .accepted(name: resource.name)
        }
        return timeout == state.withLock { $0.refused }
            ? .rejected(name: resource.name, reason: "no timeout of \(timeout) s") : .accepted(name: resource.name)
    }

    private func note(_ action: DiscoveryClient.Action) {
        state.withLock { state in
            switch action {
            case .update(.cluster, let held):
                if let timeout = Self.timeout(in: held.body) { state.timeouts[held.name, default: []].append(timeout) }
            case .update(.endpoints, let held): state.endpoints[held.name] = Self.endpoints(in: held.body)
            case .nackSent: state.nacks += 1
            default: break
            }
        }
    }

    private static func timeout(in body: [UInt8]) -> Int64? {
        let arena = Arena()
        let cluster = try? arena.decode(Cluster.self, from: body)
        return cluster?.pointee.connect_timeout?.pointee.seconds
    }

    private static func endpoints(in body: [UInt8]) -> Int {
        let arena = Arena()
        let assignment = try? arena.decode(ClusterLoadAssignment.self, from: body)
        return assignment?.pointee.endpoints_list.reduce(0) { $0 + $1.pointee.n_lb_endpoints } ?? 0
    }
}
