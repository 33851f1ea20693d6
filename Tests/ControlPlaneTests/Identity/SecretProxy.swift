import Certificates
import Discovery
import EnvoyAPI
import Foundation
import Protobuf
import Synchronization
import Time
import XDS

@testable import ControlPlane

/// A proxy that keeps the secrets it is given, on a thread of its own.
final class SecretProxy: Sendable {
    /// What it has now.
    struct Held: Sendable {
        var chain: [Certificate] = []
        var key: [UInt8] = []
        var anchors: [Certificate] = []
        /// Other validation contexts, by name.
        var federated: [String: [Certificate]] = [:]
        /// Of contexts that keep trust domains apart: the anchors by domain.
        var domains: [String: [String: [Certificate]]] = [:]
        /// Of generic secrets.
        var words: [String: String] = [:]
        /// How often `ROOTCA` and `default` came.
        var bundles = 0
        var certificates = 0
        var problems: [String] = []
    }

    let node: String
    private let held = Mutex(Held())
    private let stopper: Mutex<(@Sendable () -> Void)?>
    private let ended = DispatchSemaphore(value: 0)

    var now: Held { held.withLock { $0 } }
    var hasEverything: Bool { now.chain.count > 0 && now.anchors.count > 0 }

    init(
        _ node: String, at server: ServerAddress, variant: DiscoveryClient.Variant = .delta,
        names: [String] = ["default", "ROOTCA"], metadata: [String: MetadataValue] = [:]
    ) throws {
        self.node = node
        stopper = Mutex(nil)
        var configuration = DiscoveryClient.Configuration(
            node: Node(id: node, metadata: metadata), variant: variant, servers: ["server"])
        configuration.backoff = Backoff(initial: .milliseconds(50), maximum: .milliseconds(500))
        let started = DispatchSemaphore(value: 0)
        let finished = configuration
        let thread = Thread { [self] in
            do {
                let runner = try DiscoveryClientRunner(
                    finished, servers: [server], seed: 1,
                    validate: { _, resource in .accepted(name: Self.name(of: resource)) }
                ) { [self] in note($0) }
                try runner.subscribe(.secret, to: names)
                stopper.withLock { $0 = runner.stopper }
                started.signal()
                runner.run()
            } catch {
                held.withLock { $0.problems.append("\(error)") }
                started.signal()
            }
            ended.signal()
        }
        thread.start()
        started.wait()
    }

    /// Goes away, as if it slept.
    func stop() {
        guard
            let stop = stopper.withLock({ stopper in
                defer { stopper = nil }
                return stopper
            })
        else { return }
        stop()
        ended.wait()
    }

    private func note(_ action: DiscoveryClient.Action) {
        switch action {
        case .update(_, let resource): take(resource.name, resource.body)
        case .streamEnded(_, let reason), .connectionFailed(_, let reason):
            held.withLock { $0.problems.append(reason) }
        default: break
        }
    }

    private func take(_ name: String, _ body: [UInt8]) {
        let arena = Arena()
        guard let secret = try? arena.decode(Secret.self, from: body).pointee else { return }
        switch secret.type {
        case .tls_certificate(let pair):
            let chain = (try? Certificate.list(pem: Self.bytes(pair.pointee.certificate_chain))) ?? []
            let key = Self.bytes(pair.pointee.private_key)
            held.withLock {
                ($0.chain, $0.key) = (chain, key)
                $0.certificates += 1
            }
        case .validation_context(let context) where context.pointee.custom_validator_config != nil:
            let domains = Self.domains(context.pointee.custom_validator_config)
            held.withLock { $0.domains[name] = domains }
        case .validation_context(let context):
            let anchors = (try? Certificate.list(pem: Self.bytes(context.pointee.trusted_ca))) ?? []
            guard name == "ROOTCA" else { return held.withLock { $0.federated[name] = anchors } }
            held.withLock {
                $0.anchors = anchors
                $0.bundles += 1
            }
        case .generic_secret(let generic):
            let text = String(decoding: Self.bytes(generic.pointee.secret), as: UTF8.self)
            held.withLock { $0.words[name] = text }
        case .session_ticket_keys, nil: break
        }
    }

    private static func domains(
        _ extending: UnsafeMutablePointer<TypedExtensionConfig>?
    ) -> [String: [Certificate]] {
        let arena = Arena()
        guard let any = extending?.pointee.typed_config,
            any.pointee.type_url.string
                == "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
            let config = try? arena.decode(
                SPIFFECertValidatorConfig.self, from: Array(any.pointee.value_bytes))
        else { return [:] }
        return Dictionary(
            config.pointee.trust_domains_list.map { domain in
                (
                    domain.pointee.name.string,
                    (try? Certificate.list(pem: bytes(domain.pointee.trust_bundle))) ?? []
                )
            }
        ) { first, _ in first }
    }

    private static func name(of resource: XDS.ReceivedResource) -> String {
        if !resource.name.isEmpty { return resource.name }
        let arena = Arena()
        return (try? arena.decode(Secret.self, from: resource.body ?? []).pointee.name.string) ?? ""
    }

    private static func bytes(_ source: UnsafeMutablePointer<DataSource>?) -> [UInt8] {
        switch source?.pointee.specifier {
        case .inline_bytes(let bytes): Array(bytes)
        case .inline_string(let text): Array(text.utf8)
        case .filename, .environment_variable, nil: []
        }
    }
}

extension SecretProxy.Held {
    /// Whether two proxies, as they stand, can complete a handshake in both directions.
    static func problem(between one: Self, and other: Self, now: Timestamp) -> String? {
        for (shows, trusts) in [(one, other), (other, one)] {
            do throws(CertificateError) {
                try ChainVerification.verify(shows.chain, anchors: trusts.anchors, at: now, purpose: .client)
                try ChainVerification.verify(shows.chain, anchors: trusts.anchors, at: now, purpose: .server)
            } catch {
                return "\(error)"
            }
        }
        return nil
    }
}
