import Certificates
import Discovery
import EnvoyAPI
import GRPC
import Identity
import Logging
import Protobuf
import Time

/// `istio.v1.auth.IstioCertificateService`: certificates for workloads that keep their keys.
/// Source: Istio, security/v1alpha1/ca.proto and security/pkg/server/ca.
struct CertificateService: Service {
    let authenticator: MeshAuthenticator
    let desk: AuthorityDesk
    let logger: Logger

    /// Bytes of a request: a CSR takes a few hundred.
    static let largestRequest = 2 * SigningRequest.maximumBytes + 4096

    var methods: [GRPCMethod] { [GRPCMethod(IstioCertificateService.createCertificate)] }

    func open(_ call: ServiceCall) -> any ServiceCallHandler {
        UnaryCall(call) { bytes, call in
            guard bytes.count <= Self.largestRequest else {
                return refuse(
                    call, GRPCStatus(.invalidArgument, "a request of \(bytes.count) bytes; send one CSR alone"))
            }
            let asked: Asked
            do throws(ProtobufError) {
                asked = try Asked(decoding: bytes)
            } catch {
                return refuse(call, GRPCStatus(.invalidArgument, "malformed request: \(error); \(error.hint)"))
            }
            authenticator.authenticate(call.origin, call.request.metadata, node: asked.node ?? "") { result in
                switch result {
                case .success(let identity): take(asked, of: identity, call)
                case .failure(let refusal): refuse(call, refusal.status)
                }
            }
        }
    }

    private func take(_ asked: Asked, of identity: SPIFFEID, _ call: ServiceCall) {
        let request: SigningRequest
        do throws(CertificateError) {
            request = try SigningRequest(pem: Array(asked.csr.utf8))
        } catch {
            return refuse(call, GRPCStatus(.invalidArgument, "the CSR: \(error); \(error.hint)"), identity)
        }
        if let problem = Self.problem(with: request, of: identity) { return refuse(call, problem, identity) }
        let order = CertificateOrder(
            call: call, identity: identity, node: asked.node, key: request.publicKey,
            wanted: asked.seconds > 0 ? .seconds(min(asked.seconds, 1 << 32)) : nil)
        guard desk.submit(order) else {
            return call.finish(
                GRPCStatus(.resourceExhausted, "too many calls wait for the authority; try again in a moment"))
        }
    }

    /// A CSR asks for the caller's own name or for none, and for nothing else.
    static func problem(with request: SigningRequest, of identity: SPIFFEID) -> GRPCStatus? {
        func no(_ code: GRPCStatusCode, _ words: String) -> GRPCStatus { GRPCStatus(code, "the CSR \(words)") }
        guard !request.wantsAuthority else {
            return no(
                .permissionDenied, "asks for an authority (CA:TRUE or keyCertSign); ask for a workload's certificate")
        }
        if let other = request.uris.first(where: { $0 != "\(identity)" }) {
            return no(
                .permissionDenied,
                "asks for \(other.prefix(200)), and the caller is \(identity); ask for that, or for no name")
        }
        let rest = request.dnsNames + request.ipAddresses + request.names.otherKinds
        guard rest.isEmpty, request.uris.count <= 1 else {
            return no(
                .invalidArgument,
                "has other names than one SPIFFE ID (\(rest.prefix(3).joined(separator: ", ").prefix(200))); leave them out"
            )
        }
        guard request.otherExtensions.isEmpty else {
            return no(
                .invalidArgument,
                "asks for the extension \(request.otherExtensions[0].prefix(100)); leave it out")
        }
        return nil
    }

    private func refuse(_ call: ServiceCall, _ status: GRPCStatus, _ identity: SPIFFEID? = nil) {
        logger.warning(
            "certificate refused",
            metadata: [
                "peer": "\(call.origin.peer)", "identity": "\(identity.map { "\($0)" } ?? "not proved")",
                "reason": "\(status.message)",
            ])
        call.finish(status)
    }

    /// - Parameter chain: PEM: the leaf, what leads to the root, and the root.
    static func answer(_ chain: [[UInt8]]) -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(IstioCertificateResponse.self) {
                ($0.n_cert_chain, $0.cert_chain) = arena.list(
                    chain.map { arena(String(decoding: $0, as: UTF8.self)) })
            })
    }

    private struct Asked {
        var csr: String
        var seconds: Int64
        /// The metadata `NODE_ID`: the node id of the caller's xDS streams, if it has any.
        var node: String?

        init(decoding bytes: [UInt8]) throws(ProtobufError) {
            let arena = Arena()
            let message = try arena.decode(IstioCertificateRequest.self, from: bytes)
            csr = message.pointee.csr.string
            seconds = message.pointee.validity_duration
            guard let metadata = message.pointee.metadata else { return }
            for entry in metadata.pointee.fields_list where entry.pointee.key.string == "NODE_ID" {
                if case .string_value(let text)? = entry.pointee.value?.pointee.kind, !text.isEmpty,
                    text.utf8.count <= 512
                {
                    node = text
                }
            }
        }
    }
}

/// `martinet.identity.v1.Identity`: JWT-SVIDs.
struct IdentityService: Service {
    let authenticator: MeshAuthenticator
    let desk: AuthorityDesk
    let logger: Logger

    /// Audiences of one token.
    static let mostAudiences = 32

    var methods: [GRPCMethod] { [GRPCMethod(WorkloadIdentity.signJWT)] }

    func open(_ call: ServiceCall) -> any ServiceCallHandler {
        UnaryCall(call) { bytes, call in
            let audience: [String]
            let seconds: Int64
            do throws(ProtobufError) {
                let arena = Arena()
                let message = try arena.decode(WorkloadSignJWTRequest.self, from: bytes)
                audience = message.pointee.audience_list.map(\.self)
                seconds = message.pointee.ttl_seconds
            } catch {
                return call.finish(GRPCStatus(.invalidArgument, "malformed request: \(error); \(error.hint)"))
            }
            guard !audience.isEmpty, audience.count <= Self.mostAudiences,
                audience.allSatisfy({ !$0.isEmpty && $0.utf8.count <= 2048 })
            else {
                return call.finish(
                    GRPCStatus(
                        .invalidArgument, "a token is for 1 to \(Self.mostAudiences) audiences of 1 to 2048 bytes each")
                )
            }
            authenticator.authenticate(call.origin, call.request.metadata, node: "") { result in
                switch result {
                case .failure(let refusal):
                    logger.warning(
                        "token refused",
                        metadata: ["peer": "\(call.origin.peer)", "reason": "\(refusal.status.message)"])
                    call.finish(refusal.status)
                case .success(let identity):
                    let order = TokenOrder(
                        call: call, identity: identity, audience: audience,
                        wanted: seconds > 0 ? .seconds(min(seconds, 1 << 32)) : nil)
                    guard desk.submit(order) else {
                        return call.finish(
                            GRPCStatus(
                                .resourceExhausted, "too many calls wait for the authority; try again in a moment")
                        )
                    }
                }
            }
        }
    }

    static func answer(_ token: JWTSVID) -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(WorkloadSignJWTResponse.self) {
                $0.token = arena(token.token)
                $0.spiffe_id = arena("\(token.spiffeID)")
                $0.expires_at = token.expiry.seconds
            })
    }
}
