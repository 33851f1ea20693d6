import Identity
import Time

/// An authority that signs: its certificate, those above it, and its key.
public final class Issuer: Sendable {
    /// The signing certificate first, then its issuers towards the root, which need not be there.
    public let chain: [Certificate]
    public let key: PrivateKey
    public var certificate: Certificate { chain[0] }
    /// When every certificate of the chain is valid.
    public let validity: Range<Timestamp>

    private let name: DistinguishedName
    private let keyIdentifier: KeyIdentifier
    private let signatureAlgorithm: [UInt8]
    /// Those of the chain that begin last and end first.
    private let lastToBegin: Certificate
    private let firstToEnd: Certificate

    /// - Throws: ``CertificateError`` if the key is another certificate's, a certificate is no authority, or the
    ///   chain is not in order, each signed by the next.
    public init(chain: [Certificate], key: PrivateKey) throws(CertificateError) {
        guard let certificate = chain.first else { throw .certificateMissing(source: "the authority's chain") }
        guard certificate.spki == key.publicKey.spki else {
            let position = chain.firstIndex { $0.spki == key.publicKey.spki }
            throw .keyDoesNotMatch(certificate: certificate.shortName, matchingPosition: position.map { $0 + 1 })
        }
        for (below, certificate) in chain.enumerated() { try certificate.checkMaySign(authoritiesBelow: below) }
        for (position, (lower, upper)) in zip(chain, chain.dropFirst()).enumerated() {
            guard lower.issuerName == upper.subjectName, lower.isSigned(by: try upper.publicKey) else {
                throw .chainOutOfOrder(
                    position: position + 1, certificate: lower.shortName, issuer: lower.issuer, next: upper.shortName)
            }
        }
        self.chain = chain
        self.key = key
        name = certificate.subjectName
        keyIdentifier = certificate.keyIdentifier ?? key.publicKey.identifier
        signatureAlgorithm = SignatureAlgorithm(for: key.publicKey.algorithm).identifier
        lastToBegin = chain.max { $0.notBefore < $1.notBefore } ?? certificate
        firstToEnd = chain.min { $0.notAfter < $1.notAfter } ?? certificate
        validity = lastToBegin.notBefore..<max(lastToBegin.notBefore, firstToEnd.notAfter)
    }

    /// A workload's certificate, with an empty subject.
    public func issue(_ leaf: LeafTemplate, for key: PublicKey) throws(CertificateError) -> Certificate {
        let names = AlternativeNames(
            uris: [leaf.spiffeID.description], dnsNames: leaf.dnsNames, ipAddresses: leaf.ipAddresses)
        return try sign(
            SignedPart(
                serial: leaf.serial, issuer: name, subject: .empty, validity: leaf.validity, key: key,
                names: try names.der(), authorityKeyIdentifier: keyIdentifier, usage: .leaf))
    }

    /// The certificate of an authority below this one.
    /// - Parameter pathLength: how many authorities may stand between it and a leaf; nil: any number.
    public func issueAuthority(
        subject: DistinguishedName, trustDomain: TrustDomain, validity: Range<Timestamp>, serial: Serial,
        pathLength: Int? = 0, for key: PublicKey
    ) throws(CertificateError) -> Certificate {
        if let allowed = certificate.pathLength {
            guard let pathLength, pathLength < allowed else {
                throw .pathLengthExceeded(certificate: certificate.shortName)
            }
        }
        return try sign(
            SignedPart(
                serial: serial, issuer: name, subject: subject, validity: validity, key: key,
                names: try AlternativeNames(uris: [trustDomain.id.description]).der(),
                authorityKeyIdentifier: keyIdentifier, usage: .authority(pathLength: pathLength)))
    }

    /// A certificate that says of another root what the root says of itself, for peers that know this one only.
    /// - Parameter validity: the caller clamps it to the validity of both.
    public func crossSign(
        _ root: Certificate, trustDomain: TrustDomain, validity: Range<Timestamp>, serial: Serial
    ) throws(CertificateError) -> Certificate {
        try root.checkMaySign(authoritiesBelow: 0)
        return try issueAuthority(
            subject: root.subjectName, trustDomain: trustDomain, validity: validity, serial: serial,
            pathLength: root.pathLength, for: try root.publicKey)
    }

    /// A root.
    public static func selfSigned(
        subject: DistinguishedName, trustDomain: TrustDomain, key: PrivateKey, validity: Range<Timestamp>,
        serial: Serial, pathLength: Int? = nil
    ) throws(CertificateError) -> Certificate {
        try check(validity)
        let part = SignedPart(
            serial: serial, issuer: subject, subject: subject, validity: validity, key: key.publicKey,
            names: try AlternativeNames(uris: [trustDomain.id.description]).der(),
            authorityKeyIdentifier: key.publicKey.identifier, usage: .authority(pathLength: pathLength))
        let algorithm = SignatureAlgorithm(for: key.publicKey.algorithm).identifier
        return try Certificate(issued: try key.sign(certificate: part.der(algorithm)))
    }

    private func sign(_ part: SignedPart) throws(CertificateError) -> Certificate {
        try Self.check(part.validity)
        guard part.validity.upperBound.seconds <= firstToEnd.notAfter.seconds else {
            throw .outlivesIssuer(
                notAfter: part.validity.upperBound, issuer: firstToEnd.shortName, issuerNotAfter: firstToEnd.notAfter)
        }
        guard part.validity.lowerBound.seconds >= lastToBegin.notBefore.seconds else {
            throw .predatesIssuer(
                notBefore: part.validity.lowerBound, issuer: lastToBegin.shortName,
                issuerNotBefore: lastToBegin.notBefore)
        }
        return try Certificate(issued: try key.sign(certificate: part.der(signatureAlgorithm)))
    }

    private static func check(_ validity: Range<Timestamp>) throws(CertificateError) {
        guard validity.lowerBound.seconds < validity.upperBound.seconds, validity.upperBound.nanoseconds < .max else {
            throw .validityInvalid(notBefore: validity.lowerBound, notAfter: validity.upperBound)
        }
    }
}

extension Certificate {
    /// - Parameter authoritiesBelow: how many authorities stand between this one and a leaf.
    func checkMaySign(authoritiesBelow: Int) throws(CertificateError) {
        guard isAuthority else { throw .notAnAuthority(certificate: shortName) }
        guard keyUsage?.contains(.certificateSigning) != false else {
            throw .mayNotSignCertificates(certificate: shortName)
        }
        if let pathLength, pathLength < authoritiesBelow { throw .pathLengthExceeded(certificate: shortName) }
    }
}
