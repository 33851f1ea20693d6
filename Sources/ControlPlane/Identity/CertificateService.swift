import Certificates
import Discovery
import EnvoyAPI
import GRPC
import Identity
import Protobuf
import Reactor
import Time

/// `istio.v1.auth.IstioCertificateService`: certificates for workloads that keep their keys.
/// Source: Istio, security/v1alpha1/ca.proto and security/pkg/server/ca.
struct CertificateService: Service {
    let authenticator: MeshAuthenticator
    let desk: AuthorityDesk
    let refusals: CallRefusals

    /// Bytes of a request: a CSR takes a few hundred.
    static let largestRequest = 2 * SigningRequest.maximumBytes + 4096
    /// Metadata of a call: nanoseconds since 1970, UTC, by the caller's clock when the call went out. Martinet's agent
    /// sends it, others need not.
    static let clockKey: StaticString = "martinet-clock"

    var methods: [GRPCMethod] { [GRPCMethod(IstioCertificateService.createCertificate)] }

    func open(_ call: ServiceCall) -> any ServiceCallHandler {
        UnaryCall(call) { bytes, call in
            let skew = skew(of: call)
            guard !refusals.isThrottled(call) else { return call.finish(StreamRefusal.throttled.status) }
            do throws(StreamRefusal) {
                take(try Asked(decoding: bytes), skew, call)
            } catch {
                refusals.refuse(call, error, what: "certificate")
            }
        }
    }

    /// Everything that needs no proof is checked before it, and everything else before a token is used up.
    private func take(_ asked: Asked, _ skew: ClockSkew?, _ call: ServiceCall) {
        let objection: Objection = { identity in
            do throws(AdmissionRefusal) {
                try asked.claims.agree(with: identity)
                return Self.problem(with: asked.request, of: identity)
            } catch {
                return StreamRefusal(error)
            }
        }
        let node = asked.claims.id
        authenticator.authenticate(call.origin, call.request.metadata, node: node, objection: objection) { result in
            switch result {
            case .failure(let refusal): refusals.refuse(call, refusal, what: "certificate")
            case .success(let identity):
                refusals.admit(call)
                let order = CertificateOrder(
                    call: call, identity: identity, node: node.isEmpty ? nil : node, key: asked.request.publicKey,
                    wanted: asked.seconds > 0 ? .seconds(min(asked.seconds, 1 << 32)) : nil, skew: skew)
                guard desk.submit(order) else {
                    return call.finish(
                        GRPCStatus(.resourceExhausted, "too many calls wait for the authority; try again in a moment"))
                }
            }
        }
    }

    /// What the caller's clock shows, if it says so: it has said it since its connection was accepted.
    private func skew(of call: ServiceCall) -> ClockSkew? {
        guard let stated = call.request.metadata[Self.clockKey].flatMap(Int64.init),
            let acceptedAt = call.origin.acceptedAt
        else { return nil }
        var skew = ClockSkew()
        skew.heard(
            Timestamp(nanoseconds: stated),
            takingAtMost: acceptedAt.duration(to: EventLoop<NoConnections>.readClock()), now: authenticator.clock())
        return skew
    }

    /// A CSR asks for the caller's own name or for none, and for nothing else.
    static func problem(with request: SigningRequest, of identity: SPIFFEID) -> StreamRefusal? {
        func no(_ code: GRPCStatusCode, _ words: String, _ reason: String) -> StreamRefusal {
            StreamRefusal(GRPCStatus(code, "the CSR \(words)"), reason: reason)
        }
        guard !request.wantsAuthority else {
            return no(
                .permissionDenied, "asks for an authority (CA:TRUE or keyCertSign); ask for a workload's certificate",
                "csr_authority")
        }
        if let other = request.uris.first(where: { $0 != "\(identity)" }) {
            return no(
                .permissionDenied,
                "asks for \(other.prefix(200)), and the caller is \(identity); ask for that, or for no name",
                "csr_other_identity")
        }
        let rest = request.dnsNames + request.ipAddresses + request.names.otherKinds
        guard rest.isEmpty, request.uris.count <= 1 else {
            let names = rest.prefix(3).joined(separator: ", ").prefix(200)
            return no(
                .invalidArgument, "has other names than one SPIFFE ID (\(names)); leave them out", "csr_names")
        }
        guard request.otherExtensions.isEmpty else {
            return no(
                .invalidArgument, "asks for the extension \(request.otherExtensions[0].prefix(100)); leave it out",
                "csr_extension")
        }
        return nil
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
        var request: SigningRequest
        var seconds: Int64
        /// Of the metadata: `NODE_ID`, the node id of the caller's xDS streams, if it has any, `NAMESPACE` and
        /// `SERVICE_ACCOUNT`.
        var claims: NodeClaims

        init(decoding bytes: [UInt8]) throws(StreamRefusal) {
            func malformed(_ words: String) -> StreamRefusal {
                StreamRefusal(GRPCStatus(.invalidArgument, words), reason: "csr_malformed")
            }
            guard bytes.count <= CertificateService.largestRequest else {
                throw malformed("a request of \(bytes.count) bytes; send one CSR alone")
            }
            let arena = Arena()
            var fields: [String: String] = [:]
            let csr: String
            do throws(ProtobufError) {
                let message = try arena.decode(IstioCertificateRequest.self, from: bytes)
                csr = message.pointee.csr.string
                seconds = message.pointee.validity_duration
                if let metadata = message.pointee.metadata {
                    for entry in metadata.pointee.fields_list {
                        guard case .string_value(let text)? = entry.pointee.value?.pointee.kind else { continue }
                        if !text.isEmpty { fields[entry.pointee.key.string] = text }
                    }
                }
            } catch {
                throw malformed("malformed request: \(error); \(error.hint)")
            }
            do throws(CertificateError) {
                request = try SigningRequest(pem: Array(csr.utf8))
            } catch {
                throw malformed("the CSR: \(error); \(error.hint)")
            }
            claims = NodeClaims(
                id: fields["NODE_ID"] ?? "", namespace: fields["NAMESPACE"], serviceAccount: fields["SERVICE_ACCOUNT"])
        }
    }
}

/// `martinet.identity.v1.Identity`: JWT-SVIDs.
struct IdentityService: Service {
    let authenticator: MeshAuthenticator
    let desk: AuthorityDesk
    let refusals: CallRefusals

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
            guard !refusals.isThrottled(call) else { return call.finish(StreamRefusal.throttled.status) }
            authenticator.authenticate(call.origin, call.request.metadata, node: "") { result in
                switch result {
                case .failure(let refusal): refusals.refuse(call, refusal, what: "token")
                case .success(let identity):
                    refusals.admit(call)
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
