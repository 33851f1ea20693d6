extension CertificateError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .certificateMissing(let source): "no certificate in \(source)"
        case .certificateUnreadable(let source, let position, let reason):
            "certificate \(position) in \(source) is unreadable: \(reason)"
        case .keyUnreadable(let source, let reason): "no readable private key in \(source): \(reason)"
        case .passphraseMissing(let source): "the private key in \(source) is encrypted, and no passphrase was given"
        case .passphraseWrong(let source): "the passphrase does not open the private key in \(source)"
        case .passphraseLength(let count): "a passphrase of \(count) bytes"
        case .keyDoesNotMatch(let certificate, let position):
            "the private key does not belong to the certificate of \(certificate)"
                + (position.map { ", but to certificate \($0) of the chain" } ?? "")
        case .keyUnsupported(let kind): "unsupported key: \(kind)"
        case .keyWeak(let kind): "too weak a key: \(kind)"
        case .keyInvalid(let reason): "invalid public key: \(reason)"
        case .requestUnreadable(let reason): "the certificate request is unreadable: \(reason)"
        case .requestTooLarge(let bytes, let allowed):
            "the certificate request has \(bytes) bytes, and \(allowed) are allowed"
        case .requestSignatureInvalid: "the certificate request is not signed by its own key"
        case .signatureAlgorithmRefused(let algorithm): "signature algorithm refused: \(algorithm)"
        case .notAnAuthority(let certificate): "the certificate of \(certificate) is no authority (CA:FALSE)"
        case .mayNotSignCertificates(let certificate):
            "the key usage of the certificate of \(certificate) does not allow to sign certificates"
        case .pathLengthExceeded(let certificate):
            "the path length of the certificate of \(certificate) leaves no room for another authority"
        case .chainOutOfOrder(let position, let certificate, let issuer, let next):
            "the chain is out of order: certificate \(position), of \(certificate), was issued by \(issuer), "
                + "but \(next) follows"
        case .outlivesIssuer(let notAfter, let issuer, let issuerNotAfter):
            "validity until \(notAfter.utcText) is after the end of its issuer, \(issuer), at \(issuerNotAfter.utcText)"
        case .predatesIssuer(let notBefore, let issuer, let issuerNotBefore):
            "validity from \(notBefore.utcText) is before the start of its issuer, \(issuer), "
                + "at \(issuerNotBefore.utcText)"
        case .validityInvalid(let notBefore, let notAfter):
            "a validity from \(notBefore.utcText) to \(notAfter.utcText)"
        case .nameInvalid(let name): "`\(name)` cannot stand in a certificate"
        case .notAnSVID(let certificate, let reason): "the certificate of \(certificate) is no X509-SVID: \(reason)"
        case .refused(let problem, let certificate, let anchors): problem.describe(certificate, anchors: anchors)
        case .bundleUnreadable(let reason): "the trust bundle is unreadable: \(reason)"
        case .libraryFailure(let operation, let reason): "\(operation) failed: \(reason)"
        }
    }

    /// What to do about it, as the CLI prints it after "hint:".
    public var hint: String {
        switch self {
        case .certificateMissing: "give a PEM file with -----BEGIN CERTIFICATE----- blocks, the leaf first"
        case .certificateUnreadable: "the file is cut short or edited: write it again from its source"
        case .keyUnreadable: "give a PEM file with a -----BEGIN PRIVATE KEY----- block"
        case .passphraseMissing, .passphraseWrong: "give the key's passphrase, or an unencrypted key"
        case .passphraseLength: "use a passphrase of 1 to 1024 bytes"
        case .keyDoesNotMatch(_, let position):
            position == nil
                ? "give the key that the certificate was issued for"
                : "put that certificate first in the chain file"
        case .keyUnsupported, .keyWeak, .keyInvalid:
            "use ECDSA P-256 or P-384, RSA of 2048 to 8192 bits, or Ed25519"
        case .requestUnreadable: "give one PKCS#10 request, for example by `openssl req -new`"
        case .requestTooLarge: "leave out what no certificate needs"
        case .requestSignatureInvalid: "make the request again with the key that it is for"
        case .signatureAlgorithmRefused: "sign with SHA-256, SHA-384 or SHA-512, or with Ed25519"
        case .notAnAuthority: "issue the authority with basicConstraints CA:TRUE"
        case .mayNotSignCertificates: "issue the authority with key usage keyCertSign"
        case .pathLengthExceeded: "give an authority nearer to the root, or one with a longer path length"
        case .chainOutOfOrder: "put the signing certificate first, then its issuer, up to the root"
        case .outlivesIssuer: "shorten the validity, or rotate the issuer first"
        case .predatesIssuer: "begin no earlier than the issuer, and check the clock"
        case .validityInvalid: "let it end after it begins, between the years 1 and 9999"
        case .nameInvalid: "use a host name such as web.example.org, or an IP address"
        case .notAnSVID: "issue it with exactly one URI, its SPIFFE ID"
        case .refused(let problem, _, _): problem.hint
        case .bundleUnreadable: "fetch the bundle again from its trust domain"
        case .libraryFailure: "look at memory and at the OpenSSL configuration (openssl.cnf)"
        }
    }
}
