import COpenSSL
import Synchronization
import Testing

@testable import TLS

/// Writes TLS 1.3 records that no library would send, under the real keys of a connection
/// (TLS_AES_256_GCM_SHA384). The client engine of `pair` must not send after the handshake.
struct Forger {
    private var secret: [UInt8]
    private var key: [UInt8] { expand(secret, "key", 32) }
    private var iv: [UInt8] { expand(secret, "iv", 12) }
    private var sequence: UInt64 = 0

    /// Connects `pair` whose client was made with `client`, and takes the client's application keys.
    init(connecting pair: Pair, client: TLSSettings) throws {
        SSL_CTX_set_keylog_callback(client.context, noteKeyLogLine)
        keyLog.withLock { $0 = [] }
        try pair.connect()
        SSL_CTX_set_keylog_callback(client.context, nil)
        #expect(pair.client.cipher == "TLS_AES_256_GCM_SHA384")
        let lines = keyLog.withLock { $0 }
        let line = try #require(lines.first { $0.hasPrefix("CLIENT_TRAFFIC_SECRET_0") })
        let hex = try #require(line.split(separator: " ").last).utf8.map { UInt8($0) }
        secret = stride(from: 0, to: hex.count, by: 2).compactMap {
            UInt8(String(decoding: hex[$0..<$0 + 2], as: UTF8.self), radix: 16)
        }
    }

    /// A KeyUpdate, after which the next key is in use (RFC 8446, 4.6.3 and 7.2).
    mutating func keyUpdate(asksForAnswer: Bool) -> [UInt8] {
        let update = record(22, [24, 0, 0, 1, asksForAnswer ? 1 : 0])
        secret = expand(secret, "traffic upd", 48)
        sequence = 0
        return update
    }

    /// One record of `type` with `padding` zeros (RFC 8446, 5.2).
    mutating func record(_ type: UInt8, _ content: [UInt8], padding: Int = 0) -> [UInt8] {
        let inner = content + [type] + [UInt8](repeating: 0, count: padding)
        let length = inner.count + 16
        let header: [UInt8] = [23, 3, 3, UInt8(length >> 8), UInt8(length & 0xFF)]
        var nonce = iv
        for byte in 0..<8 { nonce[11 - byte] ^= UInt8(truncatingIfNeeded: sequence >> (8 * UInt64(byte))) }
        sequence += 1
        let cipher = EVP_CIPHER_CTX_new()
        defer { EVP_CIPHER_CTX_free(cipher) }
        var sealed = [UInt8](repeating: 0, count: inner.count)
        var tag = [UInt8](repeating: 0, count: 16)
        var count: Int32 = 0
        EVP_EncryptInit_ex(cipher, EVP_aes_256_gcm(), nil, key, nonce)
        EVP_EncryptUpdate(cipher, nil, &count, header, 5)
        EVP_EncryptUpdate(cipher, &sealed, &count, inner, Int32(inner.count))
        EVP_EncryptFinal_ex(cipher, nil, &count)
        EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, 16, &tag)
        return header + sealed + tag
    }
}

private let keyLog = Mutex<[String]>([])

private func noteKeyLogLine(_: OpaquePointer?, _ line: UnsafePointer<CChar>?) {
    guard let line else { return }
    keyLog.withLock { $0.append(String(cString: line)) }
}

/// HKDF-Expand-Label with an empty context, for one block of SHA-384 (RFC 8446, 7.1; RFC 5869, 2.3).
private func expand(_ secret: [UInt8], _ label: String, _ length: Int) -> [UInt8] {
    let name = Array("tls13 \(label)".utf8)
    let info = [0, UInt8(length), UInt8(name.count)] + name + [0, 1]
    var block = [UInt8](repeating: 0, count: 48)
    HMAC(EVP_sha384(), secret, Int32(secret.count), info, info.count, &block, nil)
    return Array(block.prefix(length))
}
