import Certificates
import Discovery
import EnvoyAPI
import GRPC
import Glibc
import Identity
import Protobuf
import Reactor
import TLS
import Time

/// How the agent reaches the control plane, and what it calls there.
struct ControlPlaneLink: Sendable {
    let address: Reactor.SocketAddress
    /// The name in the server's certificate.
    let serverName: String

    /// Who the agent says that it is.
    enum Proof: Sendable {
        /// A join token.
        case token(String)
        case certificate(HeldCertificate)
    }

    /// Tells the control plane what this machine's clock shows, so that it can warn of a wrong one.
    static func stateClock(_ metadata: inout GRPCMetadata) {
        metadata.append("martinet-clock", "\(Timestamp.systemClock().nanoseconds)")
    }

    /// - Parameter anchors: whom to believe about the server.
    func server(_ proof: Proof, anchors: [Certificate]) throws(TLSError) -> ServerAddress {
        var identity: TLSIdentity?
        var metadata = GRPCMetadata()
        switch proof {
        case .token(let token): metadata.append("authorization", "Bearer \(token)")
        case .certificate(let held): identity = try TLSIdentity(held)
        }
        let configuration = TLSConfiguration.client(
            trusting: try TrustAnchors(pem: anchors.flatMap(\.pem)), serverName: serverName, identity: identity,
            applicationProtocols: ["h2"])
        return ServerAddress(address, tls: try TLSSettings(configuration), metadata: metadata)
    }
}

extension TLSIdentity {
    fileprivate convenience init(_ held: HeldCertificate) throws(TLSError) {
        do {
            var key = try held.key.pem()
            defer { key.withUnsafeMutableBytes { if let start = $0.baseAddress { explicit_bzero(start, $0.count) } } }
            try self.init(chainPEM: held.chain.flatMap(\.pem), keyPEM: key)
        } catch let error as TLSError {
            throw error
        } catch {
            throw .libraryFailure(operation: "writing a key", reason: "\(error)")
        }
    }
}

/// A request for a certificate, with the key that stays here.
struct CertificateOrder: Sendable {
    let spiffeID: SPIFFEID
    let key: PrivateKey
    /// A packed IstioCertificateRequest.
    let request: [UInt8]

    /// Makes a key and has it ask for itself.
    /// - Parameters:
    ///   - node: as it is known to xDS.
    ///   - life: wanted; nil leaves it to the authority.
    init(
        _ spiffeID: SPIFFEID, node: String, algorithm: KeyAlgorithm, life: Duration?
    ) throws(CertificateError) {
        self.spiffeID = spiffeID
        key = try PrivateKey.generate(algorithm)
        let der = try SigningRequest.make(key: key, names: AlternativeNames(uris: ["\(spiffeID)"]))
        let arena = Arena()
        request = encode(
            arena.make(IstioCertificateRequest.self) {
                $0.csr = arena(String(decoding: SigningRequest.pem(der: der), as: UTF8.self))
                $0.validity_duration = life.map { $0.components.seconds } ?? 0
                $0.metadata = arena.structure([StructureValue.Field("NODE_ID", .string(node))])
            })
    }

    /// Reads the answer, and believes it only if it is for this key and identity and leads to an anchor.
    func certificate(
        in answer: [UInt8], anchors: [Certificate], now: Timestamp
    ) throws(OrderProblem) -> HeldCertificate {
        let pem: [UInt8]
        do throws(ProtobufError) {
            let arena = Arena()
            pem = try arena.decode(IstioCertificateResponse.self, from: answer).pointee.cert_chain_list
                .flatMap { Array($0.utf8) + [0x0A] }
        } catch {
            throw OrderProblem("the answer is malformed: \(error)")
        }
        let held: HeldCertificate
        do throws(CertificateError) {
            let chain = try Certificate.list(pem: pem, source: "the control plane's answer")
            held = HeldCertificate(
                spiffeID: try chain[0].spiffeID(), chain: chain.filter { !$0.isSelfSigned }, key: key)
            try ChainVerification.verify(chain, anchors: anchors, at: now, purpose: .client)
        } catch {
            throw OrderProblem(Self.words(error, now: now))
        }
        guard !held.chain.isEmpty, held.leaf.spki == key.publicKey.spki else {
            throw OrderProblem("the certificate is for another key")
        }
        guard held.spiffeID == spiffeID else {
            throw OrderProblem("the certificate is for \(held.spiffeID), and \(spiffeID) was asked for")
        }
        return held
    }

    private static func words(_ error: CertificateError, now: Timestamp) -> String {
        switch error {
        case .refused(.notYetValid, let certificate, _):
            "\(certificate.shortName) begins only in \((certificate.notBefore - now).components.seconds) s by the clock of "
                + "this machine, which seems to be behind: set it"
        case .refused(.expired, let certificate, _):
            "\(certificate.shortName) ended \((now - certificate.notAfter).components.seconds) s ago by the clock of this "
                + "machine, which seems to be ahead: set it"
        default: "\(error)"
        }
    }
}

/// Why no certificate came of an order.
struct OrderProblem: Error, CustomStringConvertible {
    var description: String
    /// The control plane does not take the proof.
    var isRefusal = false

    init(_ description: String, isRefusal: Bool = false) {
        self.description = description
        self.isRefusal = isRefusal
    }
}
