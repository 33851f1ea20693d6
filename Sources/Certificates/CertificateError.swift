import COpenSSL
import Time

/// What is wrong with a key, a request or a certificate: `description` says what and where, `hint` the mend.
public enum CertificateError: Error, Equatable, Sendable {
    /// No `CERTIFICATE` block in `source` (a path, or a word for bytes in memory).
    case certificateMissing(source: String)
    /// A certificate that is not PEM or DER; `position` counts the certificates of `source` from 1.
    case certificateUnreadable(source: String, position: Int, reason: String)
    /// No private key in `source`, or one that is not PEM.
    case keyUnreadable(source: String, reason: String)
    /// The private key is encrypted and no passphrase was given.
    case passphraseMissing(source: String)
    /// The private key is encrypted under another passphrase.
    case passphraseWrong(source: String)
    /// A passphrase that is empty or longer than 1024 bytes.
    case passphraseLength(Int)
    /// The private key belongs to another certificate; `matchingPosition` is that certificate's place in
    /// the chain, counted from 1, if it is there.
    case keyDoesNotMatch(certificate: String, matchingPosition: Int?)
    /// A kind of key that this mesh does not use, such as another curve.
    case keyUnsupported(String)
    /// A key that is too weak, such as RSA of 1024 bits.
    case keyWeak(String)
    /// Bytes that are no key.
    case keyInvalid(reason: String)

    /// A CSR that is not PEM or DER.
    case requestUnreadable(reason: String)
    /// A CSR over the bound, in bytes.
    case requestTooLarge(bytes: Int, allowed: Int)
    /// A CSR whose signature is not by its own key.
    case requestSignatureInvalid
    /// A signature with a digest that is broken (MD5, SHA-1), or an algorithm that is not used here.
    case signatureAlgorithmRefused(String)

    /// The signing certificate is no authority: its basicConstraints lack CA:TRUE.
    case notAnAuthority(certificate: String)
    /// The signing certificate's key usage does not allow to sign certificates.
    case mayNotSignCertificates(certificate: String)
    /// The signing certificate's path length leaves no room for another authority.
    case pathLengthExceeded(certificate: String)
    /// A chain that is not in order; `position` (from 1) was not issued by the certificate after it.
    case chainOutOfOrder(position: Int, certificate: String, issuer: String, next: String)
    /// What is to be issued would be valid after the certificate that signs it, or one above that.
    case outlivesIssuer(notAfter: Timestamp, issuer: String, issuerNotAfter: Timestamp)
    /// What is to be issued would be valid before the certificate that signs it.
    case predatesIssuer(notBefore: Timestamp, issuer: String, issuerNotBefore: Timestamp)
    /// A validity that ends before it begins, or that X.509 cannot write (years 0 to 9999).
    case validityInvalid(notBefore: Timestamp, notAfter: Timestamp)
    /// A DNS name or address that cannot stand in a certificate.
    case nameInvalid(String)
    /// A certificate that does not follow the X509-SVID specification.
    case notAnSVID(certificate: String, reason: String)
    /// A chain that does not verify, for this certificate's sake. `anchors` are the subjects that are trusted.
    case refused(CertificateProblem, certificate: Certificate, anchors: [String])
    /// A trust bundle document that cannot be used.
    case bundleUnreadable(reason: String)
    /// libcrypto failed for a reason of its own, such as memory.
    case libraryFailure(operation: String, reason: String)
}

/// The oldest error in this thread's libcrypto queue, which is the cause of the others, in words.
package func libraryReason() -> String {
    libraryReason(of: ERR_peek_error())
}

package func libraryReason(of code: UInt) -> String {
    guard code != 0 else { return "no reason given" }
    guard let text = ERR_reason_error_string(code) else { return "error \(String(code, radix: 16))" }
    return String(cString: text)
}
