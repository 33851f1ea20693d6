import COpenSSL

/// Who this side is: a certificate chain and the leaf's private key. The key never leaves libcrypto: it
/// is in no description, no mirror and no file, and is wiped with the last reference. The PEM bytes of
/// a key file are wiped after reading; bytes that the caller passes are the caller's to wipe.
public final class TLSIdentity: Sendable {
    let chain: [Certificate]
    let key: PrivateKey
    /// What the leaf certificate says, for logs and renewal.
    public let leaf: CertificateSummary

    /// Reads PEM files. They may be the same file.
    /// - Parameters:
    ///   - chainFile: the leaf first, then the intermediates towards the root, which need not be there.
    ///   - passphrase: for an encrypted key.
    public convenience init(
        chainFile: String, keyFile: String, passphrase: [UInt8]? = nil
    ) throws(TLSError) {
        let chain = try withFileBytes(chainFile) { bytes throws(TLSError) in
            try readCertificates(bytes, source: chainFile)
        }
        let key = try withFileBytes(keyFile) { bytes throws(TLSError) in
            try readPrivateKey(bytes, source: keyFile, passphrase: passphrase)
        }
        try self.init(chain: chain, key: key)
    }

    /// Reads PEM bytes; the chain as in ``init(chainFile:keyFile:passphrase:)``.
    public convenience init(chainPEM: [UInt8], keyPEM: [UInt8], passphrase: [UInt8]? = nil) throws(TLSError) {
        let chain = try withArrayBytes(chainPEM) { bytes throws(TLSError) in
            try readCertificates(bytes, source: "the certificate chain")
        }
        let key = try withArrayBytes(keyPEM) { bytes throws(TLSError) in
            try readPrivateKey(bytes, source: "the private key", passphrase: passphrase)
        }
        try self.init(chain: chain, key: key)
    }

    private init(chain: [Certificate], key: PrivateKey) throws(TLSError) {
        ERR_clear_error()
        let matching = chain.firstIndex { X509_check_private_key($0.pointer, key.pointer) == 1 }
        ERR_clear_error()
        leaf = try chain[0].summary()
        guard matching == 0 else {
            throw .keyDoesNotMatch(certificate: leaf.shortName, matchingPosition: matching.map { $0 + 1 })
        }
        self.chain = chain
        self.key = key
    }
}

extension TLSIdentity: CustomStringConvertible, CustomReflectable {
    public var description: String {
        "\(leaf.shortName), notAfter \(leaf.notAfter.utcText)"
    }

    public var customMirror: Mirror {
        Mirror(self, children: ["leaf": leaf])
    }
}

/// Certificates that are believed as they stand: roots, or intermediates that stand for themselves.
public final class TrustAnchors: Sendable {
    let certificates: [Certificate]
    /// What the anchors say, in the order given.
    public let summaries: [CertificateSummary]

    /// Reads a PEM file with one certificate or more.
    public convenience init(file: String) throws(TLSError) {
        try self.init(
            try withFileBytes(file) { bytes throws(TLSError) in try readCertificates(bytes, source: file) })
    }

    /// Reads PEM bytes with one certificate or more.
    public convenience init(pem: [UInt8]) throws(TLSError) {
        try self.init(
            try withArrayBytes(pem) { bytes throws(TLSError) in
                try readCertificates(bytes, source: "the trust anchors")
            })
    }

    private init(_ certificates: [Certificate]) throws(TLSError) {
        var summaries: [CertificateSummary] = []
        for certificate in certificates { summaries.append(try certificate.summary()) }
        self.certificates = certificates
        self.summaries = summaries
    }
}
