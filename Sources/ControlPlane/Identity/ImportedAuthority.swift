import Certificates
import Identity
import Time

/// A root or an intermediate from outside, with everything about it checked.
struct ImportedAuthority {
    let root: Certificate
    /// nil: the root's own key was given.
    let intermediate: Certificate?
    /// What leads from the intermediate to the root, the root included.
    let above: [Certificate]
    let key: PrivateKey
    /// The key is that of the last signing request.
    let usesRequestKey: Bool

    /// - Parameter requestKey: what a certificate without a key must be for.
    /// - Throws: ``CertificateError``, ``AuthorityRefusal``.
    init(
        _ material: AuthorityMaterial, requestKey: PrivateKey?, trustDomain: TrustDomain, policy: AuthorityPolicy,
        now: Timestamp
    ) throws {
        let certificates = try Certificate.list(
            pem: Array(material.certificates.utf8), source: "the certificates given")
        var chain = Self.ordered(certificates)
        let root: Certificate
        if let last = chain.last, last.isSelfSigned {
            root = last
        } else if !material.root.isEmpty {
            root = try Certificate.list(pem: Array(material.root.utf8), source: "the root given")[0]
            chain.append(root)
        } else {
            throw AuthorityRefusal(
                .invalid, "the root is not among the certificates", hint: "give it with --root FILE")
        }
        if !material.root.isEmpty {
            let given = try Certificate.list(pem: Array(material.root.utf8), source: "the root given")
            guard given.contains(root) else {
                throw AuthorityRefusal(
                    .invalid, "the certificates lead to the root \(root.shortName), and another root is given",
                    hint: "give the root that signed them")
            }
        }
        guard root.isSelfSigned else {
            throw AuthorityRefusal(
                .invalid, "\(root.shortName) is not self-signed, so it is no root",
                hint: "give what leads from it to a root, or the root with --root FILE")
        }
        let first = chain[0]
        if material.key.isEmpty {
            guard let requestKey, requestKey.publicKey.spki == first.spki else {
                throw AuthorityRefusal(
                    .invalid, "\(first.shortName) comes without its key, and no signing request asked for it",
                    hint: "give the key with --key FILE, or have the request of `martinet ca csr` signed")
            }
            key = requestKey
            usesRequestKey = true
        } else {
            key = try PrivateKey(pem: Array(material.key.utf8), source: "the key given")
            usesRequestKey = false
        }
        // The key matches, the authority bits are there, the chain is in order.
        _ = try Issuer(chain: chain, key: key)
        try ChainVerification.verify(chain, anchors: [root], at: now, purpose: .authority)
        try Self.checkEnds(chain, now: now, policy: policy)
        if let other = chain.compactMap(\.trustDomain).first(where: { $0 != trustDomain }) {
            throw AuthorityRefusal(
                .invalid, "the certificates are of the trust domain \(other), and this mesh is \(trustDomain)",
                hint: "have them signed for spiffe://\(trustDomain)")
        }
        self.root = root
        intermediate = chain.count > 1 ? first : nil
        above = Array(chain.dropFirst())
    }

    var rootID: AuthorityID { Self.id(root) }

    var rootGiven: AuthorityMachine.Given {
        AuthorityMachine.Given(id: rootID, validity: root.validity, hasKey: intermediate == nil)
    }

    var intermediateGiven: AuthorityMachine.Given? {
        intermediate.map { AuthorityMachine.Given(id: Self.id($0), validity: $0.validity, hasKey: true) }
    }

    /// What was taken.
    var words: [String] {
        var words = ["the root \(root.shortName), valid until \(root.notAfter.utcText)"]
        if let intermediate {
            words.append("the intermediate \(intermediate.shortName), valid until \(intermediate.notAfter.utcText)")
        }
        return words
    }

    private static func id(_ certificate: Certificate) -> AuthorityID {
        // The key's own identifier, whatever the certificate calls it: see KeptAuthority.
        AuthorityID((try? certificate.publicKey).map { "\($0.identifier)" } ?? certificate.serial)
    }

    /// Files differ in their order, and whether the signing certificate is in the chain's file too: each once, in the
    /// order of signing from the first on. What does not belong to the chain makes the check after this fail.
    private static func ordered(_ certificates: [Certificate]) -> [Certificate] {
        var chain = [certificates[0]]
        var rest = certificates.dropFirst().filter { $0 != certificates[0] }
        while let last = chain.last, !last.isSelfSigned,
            let next = rest.firstIndex(where: { $0.subjectName == last.issuerName })
        {
            chain.append(rest.remove(at: next))
            rest.removeAll { $0 == chain.last }
        }
        return chain + rest
    }

    /// - Throws: for a certificate that ends before what it is to sign.
    private static func checkEnds(_ chain: [Certificate], now: Timestamp, policy: AuthorityPolicy) throws {
        for (lower, upper) in zip(chain, chain.dropFirst()) where upper.notAfter < lower.notAfter {
            throw AuthorityRefusal(
                .invalid,
                "\(upper.shortName) expires \(upper.notAfter.utcText), before \(lower.shortName), which it signed",
                hint: "have \(lower.shortName) signed for a shorter time, or by an authority that lives longer")
        }
        let least = policy.leafValidity * 2
        if let first = chain.min(by: { $0.notAfter < $1.notAfter }), first.notAfter < now + least {
            throw AuthorityRefusal(
                .invalid,
                "\(first.shortName) expires \(first.notAfter.utcText), before the workload certificates that it should sign",
                hint: "give one that is valid for \(least.brief) or more, or set --ca-leaf-ttl lower")
        }
    }
}
