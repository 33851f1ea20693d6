import COpenSSL
import Certificates

/// Who this side is: a certificate chain and the leaf's private key. The key never leaves libcrypto: it
/// is in no description, no mirror and no file, and is wiped with the last reference. The PEM bytes of
/// a key file are wiped after reading; bytes that the caller passes are the caller's to wipe.
public final class TLSIdentity: Sendable {
    /// The leaf first.
    public let chain: [Certificate]
    let library: [LibraryCertificate]
    let key: KeyHandle
    /// What the leaf certificate says, for logs and renewal.
    public var leaf: Certificate { chain[0] }

    /// Reads PEM files. They may be the same file.
    /// - Parameters:
    ///   - chainFile: the leaf first, then the intermediates towards the root, which need not be there.
    ///   - passphrase: for an encrypted key.
    public convenience init(
        chainFile: String, keyFile: String, passphrase: [UInt8]? = nil
    ) throws(TLSError) {
        let chain = try readCertificates(file: chainFile)
        let key = try withFileBytes(keyFile) { bytes throws(TLSError) in
            try wrapped { () throws(CertificateError) in
                try readKey(bytes, source: keyFile, passphrase: passphrase)
            }
        }
        try self.init(chain, key)
    }

    /// Reads PEM bytes; the chain as in ``init(chainFile:keyFile:passphrase:)``.
    public convenience init(chainPEM: [UInt8], keyPEM: [UInt8], passphrase: [UInt8]? = nil) throws(TLSError) {
        let chain = try wrapped { () throws(CertificateError) in try Certificate.list(pem: chainPEM) }
        let key = keyPEM.withUnsafeBytes { bytes -> Result<KeyHandle, CertificateError> in
            do throws(CertificateError) {
                return .success(try readKey(bytes, source: "the private key", passphrase: passphrase))
            } catch {
                return .failure(error)
            }
        }
        try self.init(chain, try wrapped { () throws(CertificateError) in try key.get() })
    }

    /// The chain as in ``init(chainFile:keyFile:passphrase:)``.
    public convenience init(chain: [Certificate], key: PrivateKey) throws(TLSError) {
        guard !chain.isEmpty else { throw .certificate(.certificateMissing(source: "the certificate chain")) }
        try self.init(chain, key.handle)
    }

    private init(_ chain: [Certificate], _ key: KeyHandle) throws(TLSError) {
        let library = try libraryCertificates(chain)
        ERR_clear_error()
        let matching = library.firstIndex { X509_check_private_key($0.pointer, key.pointer) == 1 }
        ERR_clear_error()
        guard matching == 0 else {
            throw .certificate(
                .keyDoesNotMatch(certificate: chain[0].shortName, matchingPosition: matching.map { $0 + 1 }))
        }
        self.chain = chain
        self.library = library
        self.key = key
    }
}

extension TLSIdentity: CustomStringConvertible, CustomReflectable {
    public var description: String { leaf.description }

    public var customMirror: Mirror {
        Mirror(self, children: ["leaf": leaf])
    }
}

/// Certificates that are believed as they stand: roots, or intermediates that stand for themselves.
public final class TrustAnchors: Sendable {
    /// In the order given.
    public let certificates: [Certificate]
    let library: [LibraryCertificate]

    /// Reads a PEM file with one certificate or more.
    public convenience init(file: String) throws(TLSError) {
        try self.init(try readCertificates(file: file))
    }

    /// Reads PEM bytes with one certificate or more.
    public convenience init(pem: [UInt8]) throws(TLSError) {
        try self.init(
            try wrapped { () throws(CertificateError) in
                try Certificate.list(pem: pem, source: "the trust anchors")
            })
    }

    public init(_ certificates: [Certificate]) throws(TLSError) {
        library = try libraryCertificates(certificates)
        self.certificates = certificates
    }
}

private func readCertificates(file: String) throws(TLSError) -> [Certificate] {
    try withFileBytes(file) { bytes throws(TLSError) in
        try wrapped { () throws(CertificateError) in try Certificate.list(pem: bytes, source: file) }
    }
}

private func libraryCertificates(_ certificates: [Certificate]) throws(TLSError) -> [LibraryCertificate] {
    try wrapped { () throws(CertificateError) in
        var library: [LibraryCertificate] = []
        for certificate in certificates { library.append(try LibraryCertificate(certificate)) }
        return library
    }
}

private func wrapped<Value>(_ body: () throws(CertificateError) -> Value) throws(TLSError) -> Value {
    do throws(CertificateError) {
        return try body()
    } catch {
        throw .certificate(error)
    }
}
