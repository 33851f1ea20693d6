import COpenSSL
import Glibc

/// The largest PEM file that is read, in bytes.
private let maximumFileBytes = 1 << 20

/// Calls `body` with a file's bytes, and wipes them afterwards: they may be a private key.
func withFileBytes<Result>(
    _ path: String, _ body: (UnsafeRawBufferPointer) throws(TLSError) -> Result
) throws(TLSError) -> Result {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .fileUnreadable(path: path, reason: String(cString: strerror(errno))) }
    defer { _ = Glibc.close(descriptor) }
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: maximumFileBytes, alignment: 16)
    var count = 0
    defer {
        OPENSSL_cleanse(buffer, count)
        buffer.deallocate()
    }
    while count < maximumFileBytes {
        let received = read(descriptor, buffer + count, maximumFileBytes - count)
        if received < 0, errno == EINTR { continue }
        guard received >= 0 else { throw .fileUnreadable(path: path, reason: String(cString: strerror(errno))) }
        guard received > 0 else { return try body(UnsafeRawBufferPointer(start: buffer, count: count)) }
        count += received
    }
    throw .fileUnreadable(path: path, reason: "larger than \(maximumFileBytes) bytes")
}

/// Calls `body` with the bytes of an array, in place.
func withArrayBytes<Result>(
    _ array: [UInt8], _ body: (UnsafeRawBufferPointer) throws(TLSError) -> Result
) throws(TLSError) -> Result {
    let outcome = array.withUnsafeBytes { bytes -> Swift.Result<Result, TLSError> in
        do throws(TLSError) { return .success(try body(bytes)) } catch { return .failure(error) }
    }
    return try outcome.get()
}

/// All `CERTIFICATE` blocks of `bytes`, in order; text around them is ignored. At least one.
func readCertificates(_ bytes: UnsafeRawBufferPointer, source: String) throws(TLSError) -> [Certificate] {
    let input = try readOnlyBIO(bytes)
    defer { BIO_free(input) }
    var certificates: [Certificate] = []
    while true {
        ERR_clear_error()
        if let certificate = PEM_read_bio_X509(input, nil, refusePassphrase, nil) {
            certificates.append(Certificate(owning: certificate))
            continue
        }
        let code = ERR_peek_last_error()
        guard ERR_GET_LIB(code) == ERR_LIB_PEM, ERR_GET_REASON(code) == PEM_R_NO_START_LINE else {
            let position = certificates.count + 1
            throw .certificateUnreadable(source: source, position: position, reason: libraryReason())
        }
        ERR_clear_error()
        guard !certificates.isEmpty else { throw .certificateMissing(source: source) }
        return certificates
    }
}

/// The first private key among the PEM blocks of `bytes`.
func readPrivateKey(
    _ bytes: UnsafeRawBufferPointer, source: String, passphrase: [UInt8]?
) throws(TLSError) -> PrivateKey {
    let input = try readOnlyBIO(bytes)
    defer { BIO_free(input) }
    ERR_clear_error()
    let (key, asked) = (passphrase ?? []).withUnsafeBytes { secret in
        var request = PassphraseRequest(passphrase: passphrase == nil ? nil : secret)
        let key = withUnsafeMutablePointer(to: &request) {
            PEM_read_bio_PrivateKey(input, nil, answerPassphrase, $0)
        }
        return (key, request.asked)
    }
    if let key { return PrivateKey(owning: key) }
    let reason = libraryReason()
    guard asked else { throw .keyUnreadable(source: source, reason: reason) }
    throw passphrase == nil ? .passphraseMissing(source: source) : .passphraseWrong(source: source)
}

/// A private key. libcrypto counts its references atomically; nobody changes it after it is made, and it
/// is wiped when the last reference goes.
final class PrivateKey: Sendable {
    nonisolated(unsafe) let pointer: OpaquePointer

    /// Takes over the caller's reference.
    init(owning pointer: OpaquePointer) {
        self.pointer = pointer
    }

    deinit {
        EVP_PKEY_free(pointer)
    }
}

private func readOnlyBIO(_ bytes: UnsafeRawBufferPointer) throws(TLSError) -> OpaquePointer {
    // A null address would make libcrypto measure the text itself.
    let empty: StaticString = ""
    let address = bytes.isEmpty ? UnsafeRawPointer(empty.utf8Start) : bytes.baseAddress
    guard let input = BIO_new_mem_buf(address, Int32(clamping: bytes.count)) else {
        throw .libraryFailure(operation: "BIO_new_mem_buf", reason: libraryReason())
    }
    return input
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

private func refusePassphrase(
    _: UnsafeMutablePointer<CChar>?, _: Int32, _: Int32, _: UnsafeMutableRawPointer?
) -> Int32 {
    -1
}
