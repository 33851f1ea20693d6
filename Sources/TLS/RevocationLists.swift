import COpenSSL
import Certificates

/// Lists of certificates that their authorities have taken back (CRLs, RFC 5280, 5).
///
/// Where they are given, each authority whose certificates are checked must have one that is not out of date.
public final class RevocationLists: Sendable {
    /// As they were given, for comparisons.
    let pem: [UInt8]
    // libcrypto counts references atomically, and only reads a list once it is parsed.
    nonisolated(unsafe) let pointers: [OpaquePointer]

    /// Reads PEM bytes with one `X509 CRL` block or more; text around them is ignored.
    public init(pem: [UInt8]) throws(TLSError) {
        var pointers: [OpaquePointer] = []
        ERR_clear_error()
        pem.withUnsafeBytes { bytes in
            guard let bio = BIO_new_mem_buf(bytes.baseAddress, Int32(clamping: bytes.count)) else { return }
            defer { BIO_free(bio) }
            while let list = PEM_read_bio_X509_CRL(bio, nil, nil, nil) { pointers.append(list) }
        }
        // The last attempt finds no further block, which is no failure; one that it cannot read is.
        let last = ERR_peek_last_error()
        let isAtEnd = martinet_is_end_of_pem(last) == 1
        ERR_clear_error()
        guard isAtEnd, !pointers.isEmpty else {
            for pointer in pointers { X509_CRL_free(pointer) }
            throw .settingInvalid(.revocationListUnreadable)
        }
        self.pem = pem
        self.pointers = pointers
    }

    deinit {
        for pointer in pointers { X509_CRL_free(pointer) }
    }
}
