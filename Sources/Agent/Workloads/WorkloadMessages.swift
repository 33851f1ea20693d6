import Certificates
import EnvoyAPI
import Identity
import Protobuf

/// The answers of the Workload API. Source: SPIFFE Workload API, 5 and 6.
extension Holdings {
    /// nil as long as there is not everything that an X.509-SVID needs.
    func x509Response() -> [UInt8]? {
        guard let certificate, !anchors.isEmpty, let key = try? certificate.key.pkcs8() else { return nil }
        let arena = Arena()
        return encode(
            arena.make(SpiffeX509SVIDResponse.self) { response in
                (response.n_svids, response.svids) = arena.list(
                    arena.make(SpiffeX509SVID.self) {
                        $0.spiffe_id = arena("\(certificate.spiffeID)")
                        $0.x509_svid = arena.bytes(joined(certificate.chain))
                        $0.x509_svid_key = key.withUnsafeBytes { arena.bytes($0) }
                        $0.bundle = arena.bytes(joined(anchors))
                    })
                (response.n_federated_bundles, response.federated_bundles) = arena.map(
                    documents(federated).map { ($0.name, arena.bytes($0.anchors)) })
            })
    }

    /// nil as long as there is no bundle.
    func x509BundlesResponse(of trustDomain: TrustDomain) -> [UInt8]? {
        guard !anchors.isEmpty else { return nil }
        let arena = Arena()
        let all = federated.merging([trustDomain: anchors]) { _, own in own }
        return encode(
            arena.make(SpiffeX509BundlesResponse.self) {
                ($0.n_bundles, $0.bundles) = arena.map(documents(all).map { ($0.name, arena.bytes($0.anchors)) })
            })
    }

    /// nil as long as there are no keys.
    func jwtBundlesResponse() -> [UInt8]? {
        // The own domain's first: a workload that is told of others alone could not check its own tokens.
        guard tokenKeys != nil else { return nil }
        let arena = Arena()
        let documents = allTokenKeys.sorted { $0.key < $1.key }.compactMap { domain, keys in
            (try? keys.jwks()).map { ("\(domain.id)", arena.bytes($0)) }
        }
        return encode(
            arena.make(SpiffeJWTBundlesResponse.self) { ($0.n_bundles, $0.bundles) = arena.map(documents) })
    }

    private func joined(_ certificates: [Certificate]) -> [UInt8] { certificates.flatMap(\.der) }

    private func documents(_ bundles: [TrustDomain: [Certificate]]) -> [(name: String, anchors: [UInt8])] {
        bundles.sorted { $0.key < $1.key }.map { ("\($0.key.id)", joined($0.value)) }
    }
}
