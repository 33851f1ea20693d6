import COpenSSL
import Glibc
import Time

/// Whether a chain leads to an anchor, at a given moment. Source: RFC 5280, 6.
public enum ChainVerification {
    /// What the first certificate of the chain is to do.
    public enum Purpose: Hashable, Sendable {
        case server
        case client
        case authority
    }

    /// The longest chain that is looked at.
    public static let maximumLength = 16

    /// - Parameters:
    ///   - chain: the certificate in question first; the others in any order.
    ///   - anchors: believed as they stand, self-signed or not (RFC 5280, 6.1.1 d).
    public static func verify(
        _ chain: [Certificate], anchors: [Certificate], at now: Timestamp, purpose: Purpose
    ) throws(CertificateError) {
        guard let first = chain.first else { throw .certificateMissing(source: "the chain") }
        guard chain.count <= maximumLength else { throw .refused(.chainTooLong, certificate: first, anchors: []) }
        if purpose == .authority, !first.isAuthority {
            throw .refused(.notAnAuthority, certificate: first, anchors: [])
        }
        let leaf = try LibraryCertificate(first)
        var trusted: [LibraryCertificate] = []
        for anchor in anchors { trusted.append(try LibraryCertificate(anchor)) }
        var others: [LibraryCertificate] = []
        for certificate in chain.dropFirst() { others.append(try LibraryCertificate(certificate)) }

        ERR_clear_error()
        defer { ERR_clear_error() }
        guard let store = X509_STORE_new(), let context = X509_STORE_CTX_new(), let stack = martinet_x509_stack()
        else { throw .libraryFailure(operation: "verifying", reason: libraryReason()) }
        defer {
            X509_STORE_CTX_free(context)
            martinet_x509_stack_free(stack)
            X509_STORE_free(store)
        }
        for anchor in trusted { X509_STORE_add_cert(store, anchor.pointer) }
        for certificate in others { _ = martinet_x509_push(stack, certificate.pointer) }
        guard X509_STORE_CTX_init(context, store, leaf.pointer, stack) == 1 else {
            throw .libraryFailure(operation: "verifying", reason: libraryReason())
        }
        X509_STORE_CTX_set_flags(context, UInt(X509_V_FLAG_PARTIAL_CHAIN))
        X509_STORE_CTX_set_time(context, 0, time_t(now.seconds))
        switch purpose {
        case .server: X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_SERVER)
        case .client: X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_CLIENT)
        case .authority: X509_STORE_CTX_set_purpose(context, X509_PURPOSE_ANY)
        }
        guard X509_verify_cert(context) != 1 else { return }
        let code = X509_STORE_CTX_get_error(context)
        let refused = X509_STORE_CTX_get_current_cert(context).flatMap { try? Certificate($0) } ?? first
        throw .refused(
            CertificateProblem(verification: code), certificate: refused, anchors: anchors.prefix(4).map(\.subject))
    }
}
