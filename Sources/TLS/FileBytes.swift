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
