import COpenSSL

extension PrivateKey {
    /// Rounds of PBKDF2 with HMAC-SHA-256 for a key at rest: some 0.2 s. Source: OWASP, Password Storage, 2023.
    public static let passphraseRounds: Int32 = 600_000

    /// The first private key among the PEM blocks: PKCS#8, encrypted PKCS#8, SEC 1 or PKCS#1. The bytes stay the
    /// caller's to wipe.
    /// - Parameter source: names the bytes in errors.
    public convenience init(
        pem: some Collection<UInt8>, passphrase: [UInt8]? = nil, source: String = "the private key"
    ) throws(CertificateError) {
        var copy = Array(pem)
        defer { copy.withUnsafeMutableBytes { OPENSSL_cleanse($0.baseAddress, $0.count) } }
        let outcome = copy.withUnsafeBytes { bytes -> Result<KeyHandle, CertificateError> in
            do throws(CertificateError) {
                return .success(try readKey(bytes, source: source, passphrase: passphrase))
            } catch {
                return .failure(error)
            }
        }
        try self.init(owning: try outcome.get())
    }

    /// PKCS#8 as PEM, which is the caller's to wipe; with a passphrase AES-256-CBC under PBKDF2.
    /// Source: RFC 5958, RFC 8018 (PBES2).
    public func pem(passphrase: [UInt8]? = nil) throws(CertificateError) -> [UInt8] {
        guard let passphrase else {
            return try pkcs8().withUnsafeBytes { PEMBlock.text("PRIVATE KEY", $0) }
        }
        guard (1...1024).contains(passphrase.count) else { throw .passphraseLength(passphrase.count) }
        return try withPKCS8 { information throws(CertificateError) in
            var salt = [UInt8](repeating: 0, count: 16)
            RAND_bytes(&salt, Int32(salt.count))
            let sealed = passphrase.withUnsafeBytes { secret in
                PKCS8_encrypt(
                    NID_hmacWithSHA256, EVP_aes_256_cbc(), secret.bindMemory(to: CChar.self).baseAddress,
                    Int32(secret.count), &salt, Int32(salt.count), Self.passphraseRounds, information)
            }
            let failure = CertificateError.libraryFailure(operation: "encrypting a key", reason: libraryReason())
            guard let sealed else { throw failure }
            defer { X509_SIG_free(sealed) }
            var address: UnsafeMutablePointer<UInt8>?
            let count = Int(i2d_X509_SIG(sealed, &address))
            guard count > 0, let address else { throw failure }
            defer { martinet_openssl_free(address) }
            return PEMBlock.text("ENCRYPTED PRIVATE KEY", UnsafeBufferPointer(start: address, count: count))
        }
    }
}

/// The first private key among the PEM blocks, of whatever kind libcrypto knows.
package func readKey(
    _ bytes: UnsafeRawBufferPointer, source: String, passphrase: [UInt8]?
) throws(CertificateError) -> KeyHandle {
    // A null address would make libcrypto measure the text itself.
    let empty: StaticString = ""
    let address = bytes.isEmpty ? UnsafeRawPointer(empty.utf8Start) : bytes.baseAddress
    guard let input = BIO_new_mem_buf(address, Int32(clamping: bytes.count)) else {
        throw .libraryFailure(operation: "BIO_new_mem_buf", reason: libraryReason())
    }
    defer { BIO_free(input) }
    ERR_clear_error()
    let (key, asked) = (passphrase ?? []).withUnsafeBytes { secret in
        var request = PassphraseRequest(passphrase: passphrase == nil ? nil : secret)
        let key = withUnsafeMutablePointer(to: &request) {
            PEM_read_bio_PrivateKey(input, nil, answerPassphrase, $0)
        }
        return (key, request.asked)
    }
    if let key { return KeyHandle(owning: key) }
    let reason = libraryReason()
    ERR_clear_error()
    guard asked else { throw .keyUnreadable(source: source, reason: reason) }
    throw passphrase == nil ? .passphraseMissing(source: source) : .passphraseWrong(source: source)
}

private struct PassphraseRequest {
    let passphrase: UnsafeRawBufferPointer?
    var asked = false
}

/// libcrypto's own callback would ask on the terminal.
private func answerPassphrase(
    _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int32, _ writing: Int32, _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    guard let request = argument?.assumingMemoryBound(to: PassphraseRequest.self), let buffer else { return -1 }
    request.pointee.asked = true
    guard let passphrase = request.pointee.passphrase, passphrase.count <= Int(capacity) else { return -1 }
    UnsafeMutableRawBufferPointer(start: buffer, count: passphrase.count).copyMemory(from: passphrase)
    return Int32(passphrase.count)
}
