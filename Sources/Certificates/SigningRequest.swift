/// A certificate request whose signature was verified. Source: RFC 2986 (PKCS#10).
public struct SigningRequest: Sendable, Hashable {
    /// The largest request that is read, in bytes.
    public static let maximumBytes = 64 << 10

    public let subject: DistinguishedName
    public let publicKey: PublicKey
    /// The subject alternative names that it asks for.
    public let names: AlternativeNames
    /// Whether it asks for CA:TRUE, or to sign certificates.
    public let wantsAuthority: Bool
    /// Extensions that it asks for besides names, usage and constraints, by their dotted names.
    public let otherExtensions: [String]

    public var uris: [String] { names.uris }
    public var dnsNames: [String] { names.dnsNames }
    public var ipAddresses: [String] { names.ipAddresses }

    /// The first request among the PEM blocks.
    public init(pem: some Collection<UInt8>) throws(CertificateError) {
        guard pem.count <= 2 * Self.maximumBytes else {
            throw .requestTooLarge(bytes: pem.count, allowed: 2 * Self.maximumBytes)
        }
        let blocks: [PEMBlock]
        do throws(PEMFault) {
            blocks = try PEMBlock.all(
                Array(pem), labels: ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"])
        } catch {
            throw .requestUnreadable(reason: error.reason)
        }
        guard let block = blocks.first else { throw .requestUnreadable(reason: "no CERTIFICATE REQUEST block") }
        try self.init(der: block.der)
    }

    /// - Throws: ``CertificateError`` for bytes that are no request, a key or signature algorithm that is too weak
    ///   or unknown here, and a signature that is not by the request's own key.
    public init(der: [UInt8]) throws(CertificateError) {
        guard der.count <= Self.maximumBytes else {
            throw .requestTooLarge(bytes: der.count, allowed: Self.maximumBytes)
        }
        let fields: RequestFields
        do throws(DERFault) {
            fields = try RequestFields(der)
        } catch {
            throw .requestUnreadable(reason: "\(error.reason), at byte \(error.offset)")
        }
        let algorithm = try SignatureAlgorithm(fields.signatureAlgorithm)
        publicKey = try PublicKey(spki: fields.spki)
        guard
            publicKey.verifyCertificateSignature(
                Array(der[fields.signature]), over: Array(der[fields.signed]), by: algorithm)
        else { throw .requestSignatureInvalid }
        subject = fields.subject
        let asked = fields.extensions
        names = asked.names
        wantsAuthority = asked.isAuthority || asked.keyUsage?.contains(.certificateSigning) == true
        let known: Set<ObjectIdentifier> = [
            .subjectAlternativeName, .basicConstraints, .keyUsage, .extendedKeyUsage, .subjectKeyIdentifier,
        ]
        otherExtensions = asked.identifiers.filter { !known.contains($0) }.map(\.text)
    }

    /// A request for `key`, signed by it, DER.
    public static func make(
        key: PrivateKey, names: AlternativeNames = AlternativeNames(), subject: DistinguishedName = .empty,
        isAuthority: Bool = false
    ) throws(CertificateError) -> [UInt8] {
        let nameList = names.all.isEmpty ? nil : try names.der()
        let signed = DERWriter.bytes {
            $0.element(DERTag.sequence) {
                $0.element(DERTag.contextConstructed(0)) {
                    guard nameList != nil || isAuthority else { return }
                    $0.element(DERTag.sequence) {
                        $0.element(DERTag.set) {
                            $0.element(DERTag.sequence) {
                                if isAuthority { $0.authorityUsage(pathLength: nil) }
                                if let nameList {
                                    $0.certificateExtension(.subjectAlternativeName, critical: subject.isEmpty) {
                                        $0.raw(nameList)
                                    }
                                }
                            }
                        }
                        $0.identifier(.extensionRequest)
                    }
                }
                $0.raw(key.publicKey.spki)
                $0.raw(subject.der)
                $0.primitive(DERTag.integer, [0])
            }
        }
        return try key.sign(certificate: signed)
    }

    public static func pem(der: [UInt8]) -> [UInt8] {
        PEMBlock.text("CERTIFICATE REQUEST", der)
    }
}

private struct RequestFields {
    let signed: Range<Int>
    let signature: Range<Int>
    let signatureAlgorithm: ObjectIdentifier
    let subject: DistinguishedName
    let spki: [UInt8]
    var extensions = CertificateExtensions()

    init(_ der: [UInt8]) throws(DERFault) {
        var outer = DERReader(der)
        var whole = outer.inside(try outer.next(DERTag.sequence, "the request"))
        try outer.finish("the request")
        let signedPart = try whole.next(DERTag.sequence, "the signed part")
        signed = signedPart.whole
        var algorithm = whole.inside(try whole.next(DERTag.sequence, "the signature's algorithm"))
        signatureAlgorithm = ObjectIdentifier(
            algorithm.content(of: try algorithm.next(DERTag.objectIdentifier, "the signature's algorithm")))
        signature = try whole.nextBits("the signature")
        try whole.finish("the request")

        var fields = whole.inside(signedPart)
        _ = try fields.next(DERTag.integer, "the version")
        subject = DistinguishedName(der: fields.whole(of: try fields.next(DERTag.sequence, "the subject")))
        spki = fields.whole(of: try fields.next(DERTag.sequence, "the key"))
        guard let attributes = try fields.optional(DERTag.contextConstructed(0)) else {
            try fields.finish("the signed part")
            return
        }
        try fields.finish("the signed part")
        var list = fields.inside(attributes)
        var isRead = false
        while !list.isAtEnd {
            var attribute = list.inside(try list.next(DERTag.sequence, "an attribute"))
            let kind = attribute.content(
                of: try attribute.next(DERTag.objectIdentifier, "an attribute's name"))
            var values = attribute.inside(try attribute.next(DERTag.set, "an attribute's values"))
            guard ObjectIdentifier(kind) == .extensionRequest else { continue }
            guard !isRead else { throw list.fault("two lists of extensions") }
            isRead = true
            let asked = try values.next(DERTag.sequence, "the extensions")
            try values.finish("the extensions")
            try extensions.read(values.inside(asked))
        }
    }
}
