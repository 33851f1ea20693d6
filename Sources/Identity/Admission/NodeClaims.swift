/// What a node says of itself on the wire. Nothing of it is believed without a ``Proof`` that agrees.
public struct NodeClaims: Hashable, Sendable {
    /// The xDS node id, `node.id`.
    public let id: String
    /// `NAMESPACE` of the node's metadata; `nil`: nothing claimed.
    public let namespace: String?
    /// `SERVICE_ACCOUNT` of the node's metadata; `nil`: nothing claimed.
    public let serviceAccount: String?

    /// Bytes of the longest id, namespace or service account that is taken.
    public static let longestName = 1024

    public init(id: String, namespace: String?, serviceAccount: String?) {
        self.id = id
        self.namespace = namespace
        self.serviceAccount = serviceAccount
    }
}

/// What a peer has proved, by whatever checked it.
public enum Proof: Hashable, Sendable {
    /// A join token for this namespace and service account was redeemed.
    case token(namespace: String, serviceAccount: String)
    /// Its client certificate is of our chain, valid, and names this workload.
    case certificate(SPIFFEID)
}

extension NodeClaims {
    /// The identity of a peer whose claims agree with its proof.
    ///
    /// A claim that is absent agrees: the proof says more than it could. One that is present must be the same, byte for
    /// byte. Source: issue "Identity", 3.
    public func admitted(_ proof: Proof?, in trustDomain: TrustDomain) throws(AdmissionRefusal) -> SPIFFEID {
        guard let proof else { throw .noProof }
        guard !id.isEmpty else { throw .noNodeID }
        let identity = try identity(of: proof, in: trustDomain)
        try agree(with: identity)
        return identity
    }

    /// Checks the claims against what was proved; an id is not needed.
    public func agree(with identity: SPIFFEID) throws(AdmissionRefusal) {
        for name in [id, namespace ?? "", serviceAccount ?? ""] where name.utf8.count > Self.longestName {
            throw .claimTooLong(bytes: name.utf8.count)
        }
        guard let proved = identity.workload else { throw .notAWorkload(identity) }
        if let namespace, namespace != proved.namespace {
            throw .otherNamespace(claimed: namespace, proved: identity)
        }
        if let serviceAccount, serviceAccount != proved.serviceAccount {
            throw .otherServiceAccount(claimed: serviceAccount, proved: identity)
        }
        if let named = namespaceInID, named != proved.namespace {
            throw .otherNodeID(claimed: id, proved: identity)
        }
    }

    /// The namespace in an id of Istio's form, `TYPE~IP~POD.NAMESPACE~DOMAIN`; `nil`: the id is of another form and
    /// names none.
    private var namespaceInID: String? {
        let parts = id.split(separator: "~", omittingEmptySubsequences: false)
        guard parts.count == 4, let dot = parts[2].lastIndex(of: ".") else { return nil }
        return String(parts[2][parts[2].index(after: dot)...])
    }

    private func identity(of proof: Proof, in trustDomain: TrustDomain) throws(AdmissionRefusal) -> SPIFFEID {
        switch proof {
        case .token(let namespace, let serviceAccount):
            do {
                return try SPIFFEID(trustDomain, namespace: namespace, serviceAccount: serviceAccount)
            } catch {
                throw .badName(error)
            }
        case .certificate(let id):
            guard id.trustDomain == trustDomain else { throw .otherTrustDomain(id, ours: trustDomain) }
            return id
        }
    }
}

/// Why a peer is not admitted.
public enum AdmissionRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    case noProof
    case noNodeID
    case claimTooLong(bytes: Int)
    case badName(SPIFFEIDError)
    case notAWorkload(SPIFFEID)
    case otherTrustDomain(SPIFFEID, ours: TrustDomain)
    case otherNamespace(claimed: String, proved: SPIFFEID)
    case otherServiceAccount(claimed: String, proved: SPIFFEID)
    case otherNodeID(claimed: String, proved: SPIFFEID)
    case token(TokenRefusal)

    /// Whether proof is lacking or bad (gRPC UNAUTHENTICATED), rather than good for something else
    /// (PERMISSION_DENIED).
    public var isUnauthenticated: Bool {
        switch self {
        case .noProof, .token: true
        case .noNodeID, .claimTooLong, .badName, .notAWorkload, .otherTrustDomain, .otherNamespace,
            .otherServiceAccount, .otherNodeID:
            false
        }
    }

    /// A label for metrics: one of a few words.
    public var reason: String {
        switch self {
        case .noProof: "no_proof"
        case .noNodeID: "no_node_id"
        case .claimTooLong: "claim_too_long"
        case .badName: "bad_name"
        case .notAWorkload: "not_a_workload"
        case .otherTrustDomain: "other_trust_domain"
        case .otherNamespace: "other_namespace"
        case .otherServiceAccount: "other_service_account"
        case .otherNodeID: "other_node_id"
        case .token(let refusal): refusal.reason
        }
    }

    public var description: String {
        switch self {
        case .noProof: "the peer proved nothing: it showed neither a join token nor a client certificate"
        case .noNodeID: "the node has no id"
        case .claimTooLong(let bytes): "a name of \(bytes) bytes in the node's claims is too long"
        case .badName(let error): "the token's names make no identity: \(error)"
        case .notAWorkload(let id): "the certificate is of \(id), which is no workload"
        case .otherTrustDomain(let id, let ours): "the certificate is of \(id), and this is \(ours)"
        case .otherNamespace(let claimed, let proved):
            "the node claims namespace `\(claimed)`, its proof is for \(proved)"
        case .otherServiceAccount(let claimed, let proved):
            "the node claims service account `\(claimed)`, its proof is for \(proved)"
        case .otherNodeID(let claimed, let proved):
            "the node id `\(claimed.prefix(200))` names another namespace, its proof is for \(proved)"
        case .token(let refusal): refusal.description
        }
    }

    public var hint: String {
        switch self {
        case .noProof:
            "send `authorization: Bearer TOKEN` (`martinet token create`; Envoy: initial_metadata), or use a client "
                + "certificate of the mesh"
        case .noNodeID: "set `node.id`"
        case .claimTooLong: "use names of at most \(NodeClaims.longestName) bytes"
        case .badName(let error): error.hint
        case .notAWorkload: "use a certificate of spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT"
        case .otherTrustDomain: "use a certificate or a token of this mesh"
        case .otherNamespace, .otherServiceAccount:
            "set NAMESPACE and SERVICE_ACCOUNT in the node's metadata to what the proof is for, or make a token for "
                + "what the node claims"
        case .otherNodeID:
            "set `node.id` to a name of its own namespace (TYPE~IP~POD.NAMESPACE~DOMAIN), or to one of another form"
        case .token(let refusal): refusal.hint
        }
    }
}
