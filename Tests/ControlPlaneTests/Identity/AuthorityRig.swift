import Certificates
import Discovery
import Foundation
import GRPC
import Identity
import Logging
import Reactor
import Store
import Synchronization
import TLS
import Testing
import Time
import XDS

@testable import ControlPlane

/// A control plane's identity parts on real threads, sockets and files, without the process-wide signals of the whole.
final class AuthorityRig {
    let data: TemporaryDirectory
    let store: Store
    let port: UInt16
    let log = LogKeeper()
    let clock: MovableClock
    let server: DiscoveryServer
    private let control: EventLoopGroup<NoConnections>
    private let parts: IdentityParts

    /// - Parameter data: of an earlier rig, for a restart.
    init(
        data: TemporaryDirectory? = nil, clock: MovableClock = MovableClock(),
        prepare: (Store) throws -> Void = { _ in }, change: (inout AuthorityConfiguration) -> Void = { _ in }
    ) throws {
        self.data = try data ?? TemporaryDirectory("data")
        self.clock = clock
        let store = try Store(directory: self.data.path)
        try prepare(store)
        self.store = store
        let port = try freeTCPPort()
        self.port = port
        var authority = AuthorityConfiguration(trustDomain: try TrustDomain("cluster.local"))
        authority.clock = { clock.now }
        change(&authority)
        var configuration = ControlPlaneServer.Configuration(
            dataDirectory: self.data.path, authority: authority, logger: log.logger)
        configuration.tls = ControlPlaneServer.TLSPort(.loopback(port: port))
        let secrets = SecretDirectory(trustDomain: authority.trustDomain, logger: log.logger)
        let made = Mutex<IdentityParts?>(nil)
        let (finished, logger) = (configuration, log.logger)
        control = try EventLoopGroup<NoConnections>(count: 1, name: "control") { loop, _ in
            var sourceConfiguration = ResourceSource.Configuration(directory: nil)
            sourceConfiguration.logger = logger
            let source = ResourceSource(store: store, configuration: sourceConfiguration, secrets: secrets)
            try source.start(on: loop)
            let parts = try IdentityParts(finished, store: store, secrets: secrets, loop: loop)
            made.withLock { $0 = parts }
        }
        guard let parts = made.withLock({ $0 }) else { preconditionFailure("a loop was set up") }
        self.parts = parts
        var serving = DiscoveryServer.Configuration()
        serving.logger = log.logger
        serving.admission = MeshAdmission(
            parts.authenticator, directory: secrets, configuration: MeshAdmission.Configuration(logger: log.logger))
        server = try DiscoveryServer(
            secrets.cache, on: [DiscoveryServer.Listener(.loopback(port: port), tls: parts.portSource)],
            configuration: serving, services: parts.services(operators: [], logger: log.logger))
    }

    deinit { stop() }

    func stop() {
        server.stop()
        parts.stop()
        control.stop()
        control.join()
    }

    /// Runs on the control thread, and waits for it.
    @discardableResult
    func onControl<Result: Sendable>(_ body: @escaping @Sendable (CertificateAuthority) throws -> Result) throws
        -> Result
    {
        let done = DispatchSemaphore(value: 0)
        let result = Mutex<Swift.Result<Result, any Error>?>(nil)
        guard let authority = parts.authority else { preconditionFailure("the rig has an authority") }
        let isTaken = control.mailboxes[0].submit { _ in
            let outcome = Swift.Result { try body(authority.value) }
            result.withLock { $0 = outcome }
            done.signal()
        }
        precondition(isTaken, "the control thread runs")
        done.wait()
        guard let outcome = result.withLock({ $0 }) else { preconditionFailure("it has run") }
        return try outcome.get()
    }

    /// Asks the join tokens, on the control thread.
    func onLedger<Result: Sendable>(_ body: @escaping @Sendable (JoinTokenLedger) throws -> Result) throws -> Result {
        let ledger = parts.ledger
        return try onControl { _ in try body(ledger.value) }
    }

    func report() throws -> AuthorityReport {
        try onControl { [clock] in $0.report(now: clock.now) }
    }

    /// A join token for a service account.
    func token(namespace: String = "shop", serviceAccount: String = "web", uses: Int? = nil) throws -> String {
        let ledger = parts.ledger
        return try onControl { [clock] _ in
            try ledger.value.create(
                JoinTokenOrder(
                    namespace: namespace, serviceAccount: serviceAccount, validity: .seconds(3600), uses: uses),
                now: clock.now
            ).token
        }
    }

    var bundle: [Certificate] {
        get throws {
            try Certificate.list(pem: Array(try Data(contentsOf: URL(fileURLWithPath: data["ca/root-cert.pem"]))))
        }
    }

    /// How to reach the server, with a token or a certificate.
    func address(token: String? = nil, identity: TLSIdentity? = nil, trusting anchors: [UInt8]? = nil) throws
        -> ServerAddress
    {
        let pem = try anchors ?? Array(Data(contentsOf: URL(fileURLWithPath: data["ca/root-cert.pem"])))
        var metadata = GRPCMetadata()
        if let token { metadata.append("authorization", "Bearer \(token)") }
        let configuration = TLSConfiguration.client(
            trusting: try TrustAnchors(pem: pem), serverName: "localhost", identity: identity,
            applicationProtocols: ["h2"])
        return ServerAddress(.loopback(port: port), tls: try TLSSettings(configuration), metadata: metadata)
    }
}

/// This machine's clock, moved.
final class MovableClock: Sendable {
    private let offset = Mutex<Duration>(.zero)

    var now: Timestamp { .systemClock() + offset.withLock { $0 } }
    func advance(by duration: Duration) { offset.withLock { $0 = $0 + duration } }
}

/// Keeps what is logged.
final class LogKeeper: Sendable {
    private let kept = Mutex<[String]>([])

    var lines: [String] { kept.withLock { $0 } }
    func has(_ words: String) -> Bool { lines.contains { $0.contains(words) } }

    var logger: Logger { Logger(label: "test") { _ in Handler(keeper: self) } }

    private struct Handler: LogHandler {
        let keeper: LogKeeper
        var logLevel = Logger.Level.debug
        var metadata: Logger.Metadata = [:]

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let words = (event.metadata ?? [:]).map { "\($0.key)=\($0.value)" }.sorted().joined(separator: " ")
            keeper.kept.withLock { $0.append("\(event.level) \(event.message) \(words)") }
        }
    }
}

/// Waits for other threads.
@discardableResult
func comesTrue(within seconds: Double = 20, _ condition: () throws -> Bool) rethrows -> Bool {
    let end = DispatchTime.now() + seconds
    while try !condition() {
        if DispatchTime.now() > end { return false }
        usleep(5000)
    }
    return true
}

/// A TCP port of 127.0.0.1 that nobody listened on a moment ago.
func freeTCPPort() throws -> UInt16 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
            bind(descriptor, pointer, length) == 0 && getsockname(descriptor, pointer, &length) == 0
        }
    }
    try #require(bound)
    return UInt16(bigEndian: address.sin_port)
}
