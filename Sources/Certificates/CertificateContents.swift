import Time

/// The fields of a certificate, read once. Source: RFC 5280, 4.1.
final class CertificateContents: Sendable {
    let subject: DistinguishedName
    let issuer: DistinguishedName
    let serial: String
    let notBefore: Timestamp
    let notAfter: Timestamp
    let spki: [UInt8]
    let names: AlternativeNames
    let isAuthority: Bool
    let pathLength: Int?
    let keyUsage: KeyUsage?
    let keyIdentifier: KeyIdentifier?
    let authorityKeyIdentifier: KeyIdentifier?
    let signatureAlgorithm: ObjectIdentifier
    /// Where the signed part and the signature lie in the bytes.
    let signed: Range<Int>
    let signature: Range<Int>

    init(_ der: [UInt8]) throws(DERFault) {
        var outer = DERReader(der)
        var whole = outer.inside(try outer.next(DERTag.sequence, "the certificate"))
        try outer.finish("the certificate")
        let signedPart = try whole.next(DERTag.sequence, "the signed part")
        signed = signedPart.whole
        var algorithm = whole.inside(try whole.next(DERTag.sequence, "the signature's algorithm"))
        signatureAlgorithm = ObjectIdentifier(
            algorithm.content(of: try algorithm.next(DERTag.objectIdentifier, "the signature's algorithm")))
        signature = try whole.nextBits("the signature")
        try whole.finish("the certificate")

        var fields = whole.inside(signedPart)
        _ = try fields.optional(DERTag.contextConstructed(0))
        serial = try serialText(fields.content(of: fields.next(DERTag.integer, "the serial")))
        _ = try fields.next(DERTag.sequence, "the signature's algorithm")
        issuer = DistinguishedName(der: fields.whole(of: try fields.next(DERTag.sequence, "the issuer")))
        var validity = fields.inside(try fields.next(DERTag.sequence, "the validity"))
        notBefore = try validity.nextTime()
        notAfter = try validity.nextTime()
        subject = DistinguishedName(der: fields.whole(of: try fields.next(DERTag.sequence, "the subject")))
        spki = fields.whole(of: try fields.next(DERTag.sequence, "the key"))
        _ = try fields.optional(DERTag.context(1))
        _ = try fields.optional(DERTag.context(2))
        var extensions = CertificateExtensions()
        if let wrapped = try fields.optional(DERTag.contextConstructed(3)) {
            var wrapper = fields.inside(wrapped)
            let list = try wrapper.next(DERTag.sequence, "the extensions")
            try extensions.read(wrapper.inside(list))
        }
        try fields.finish("the signed part")
        names = extensions.names
        isAuthority = extensions.isAuthority
        pathLength = extensions.pathLength
        keyUsage = extensions.keyUsage
        keyIdentifier = extensions.keyIdentifier
        authorityKeyIdentifier = extensions.authorityKeyIdentifier
    }
}

/// The extensions that matter here, of a certificate or a request.
struct CertificateExtensions {
    var names = AlternativeNames()
    var isAuthority = false
    var pathLength: Int?
    var keyUsage: KeyUsage?
    var keyIdentifier: KeyIdentifier?
    var authorityKeyIdentifier: KeyIdentifier?
    /// All that are there, in order.
    var identifiers: [ObjectIdentifier] = []

    /// - Parameter list: the contents of the SEQUENCE OF Extension.
    mutating func read(_ list: DERReader) throws(DERFault) {
        var list = list
        while !list.isAtEnd {
            var entry = list.inside(try list.next(DERTag.sequence, "an extension"))
            let identifier = ObjectIdentifier(
                entry.content(of: try entry.next(DERTag.objectIdentifier, "an extension's name")))
            // RFC 5280, 4.2: a certificate must not have two of a kind; which one counts would be a guess.
            guard !identifiers.contains(identifier) else { throw entry.fault("extension \(identifier.text) twice") }
            guard identifiers.count < 64 else { throw entry.fault("more than 64 extensions") }
            identifiers.append(identifier)
            _ = try entry.optional(DERTag.boolean)
            let value = entry.inside(try entry.next(DERTag.octetString, "an extension's value"))
            try entry.finish("an extension")
            try read(identifier, value)
        }
    }

    private mutating func read(_ identifier: ObjectIdentifier, _ value: DERReader) throws(DERFault) {
        var value = value
        switch identifier {
        case .subjectAlternativeName: names = try AlternativeNames(value)
        case .basicConstraints:
            var fields = value.inside(try value.next(DERTag.sequence, "the basic constraints"))
            if let flag = try fields.optional(DERTag.boolean) {
                isAuthority = fields.content(of: flag).contains { $0 != 0 }
            }
            if fields.nextTag == DERTag.integer { pathLength = try fields.nextCount("the path length") }
            try fields.finish("the basic constraints")
        case .keyUsage:
            let bits = value.content(of: try value.next(DERTag.bitString, "the key usage")).dropFirst()
            let bytes = bits.prefix(2) + [0, 0]
            keyUsage = KeyUsage(rawValue: bytes.prefix(2).reduce(0) { $0 << 8 | UInt16($1) })
        case .subjectKeyIdentifier:
            keyIdentifier = KeyIdentifier(
                bytes: value.content(of: try value.next(DERTag.octetString, "the key identifier")))
        case .authorityKeyIdentifier:
            var fields = value.inside(try value.next(DERTag.sequence, "the authority key identifier"))
            if let key = try fields.optional(DERTag.context(0)) {
                authorityKeyIdentifier = KeyIdentifier(bytes: fields.content(of: key))
            }
        default: break
        }
    }
}

private func serialText(_ content: ArraySlice<UInt8>) throws(DERFault) -> String {
    let isNegative = (content.first ?? 0) >= 0x80
    let digits = hexadecimal(content).uppercased().drop { $0 == "0" }
    // Negative serials are wrong and exist: the sign keeps them apart.
    return isNegative ? "-\(digits)" : digits.isEmpty ? "0" : String(digits)
}

extension DERReader {
    /// UTCTime or GeneralizedTime, in seconds and UTC. Source: RFC 5280, 4.1.2.5.
    fileprivate mutating func nextTime() throws(DERFault) -> Timestamp {
        let element = try next()
        let text = Array(content(of: element))
        let yearDigits = element.tag == DERTag.utcTime ? 2 : 4
        guard element.tag == DERTag.utcTime || element.tag == DERTag.generalizedTime,
            text.count == yearDigits + 11, text.last == UInt8(ascii: "Z"),
            text.dropLast().allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { throw fault("invalid date") }
        func number(_ start: Int, _ count: Int) -> Int64 {
            text[start..<start + count].reduce(0) { $0 * 10 + Int64($1 - UInt8(ascii: "0")) }
        }
        var year = number(0, yearDigits)
        if yearDigits == 2 { year += year < 50 ? 2000 : 1900 }
        let month = number(yearDigits, 2)
        let day = number(yearDigits + 2, 2)
        let (hour, minute, second) = (number(yearDigits + 4, 2), number(yearDigits + 6, 2), number(yearDigits + 8, 2))
        guard (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second < 60 else {
            throw fault("invalid date")
        }
        let seconds =
            daysSince1970(year: year, month: month, day: day) * 86_400 + hour * 3600 + minute * 60 + second
        let (nanoseconds, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        return Timestamp(nanoseconds: overflow ? (seconds < 0 ? .min : .max) : nanoseconds)
    }
}
