import EnvoyAPI
import Protobuf
import TLS
import XDS

/// What stands in the place of a key that is not shown.
let redactedKey = "[redacted]"

extension RawResource {
    /// The resource as people may see it: keys, passphrases and other secrets that are inline are left out.
    var redacted: RawResource {
        guard typeURL == Secret.descriptor.typeURL else { return self }
        let arena = Arena()
        // What cannot be read is not shown.
        guard let secret = try? arena.decode(Secret.self, from: body) else {
            return RawResource(typeURL: typeURL, body: [])
        }
        switch secret.pointee.type {
        case .tls_certificate(let certificate):
            redact(certificate.pointee.private_key, arena)
            redact(certificate.pointee.pkcs12, arena)
            redact(certificate.pointee.password, arena)
            certificate.pointee.private_key_provider = nil
        case .session_ticket_keys(let keys): for key in keys.pointee.keys_list { redact(key, arena) }
        case .generic_secret(let generic):
            redact(generic.pointee.secret, arena)
            for entry in generic.pointee.secrets_list { redact(entry.pointee.value, arena) }
        case .validation_context, nil: break
        }
        return RawResource(typeURL: typeURL, body: encode(secret))
    }

    private func redact(_ source: UnsafeMutablePointer<DataSource>?, _ arena: Arena) {
        switch source?.pointee.specifier {
        case .inline_bytes, .inline_string: source?.pointee.set(inline_string: arena(redactedKey))
        case .filename, .environment_variable, nil: break
        }
    }
}

/// What is wrong with a secret that a user gives; nil if nothing is. A source that only the proxy can read, its files
/// and environment, is the proxy's to judge.
/// - Parameter body: a packed `Secret`.
func secretProblem(in body: [UInt8]) -> (path: String, problem: String, mend: String)? {
    let arena = Arena()
    guard let secret = try? arena.decode(Secret.self, from: body) else { return nil }
    switch secret.pointee.type {
    case .tls_certificate(let certificate): return certificate.pointee.problem
    case .validation_context(let context):
        guard let anchors = context.pointee.trusted_ca?.pointee.inline else { return nil }
        do throws(TLSError) {
            _ = try TrustAnchors(pem: anchors)
            return nil
        } catch {
            return ("validation_context.trusted_ca", "\(error)", error.hint)
        }
    case .session_ticket_keys, .generic_secret, nil: return nil
    }
}

extension TlsCertificate {
    fileprivate var problem: (path: String, problem: String, mend: String)? {
        if private_key?.pointee.inline == Array(redactedKey.utf8) {
            return (
                "tls_certificate.private_key", "the private key was left out of what `martinet get` shows",
                "give the key itself"
            )
        }
        guard password == nil, let chain = certificate_chain?.pointee.inline, let key = private_key?.pointee.inline
        else {
            return nil
        }
        do throws(TLSError) {
            _ = try TLSIdentity(chainPEM: chain, keyPEM: key)
            return nil
        } catch {
            return ("tls_certificate", "\(error)", error.hint)
        }
    }
}

extension DataSource {
    /// Its bytes, if they are in the message.
    fileprivate var inline: [UInt8]? {
        switch specifier {
        case .inline_bytes(let bytes): Array(bytes)
        case .inline_string(let text): Array(text.utf8)
        case .filename, .environment_variable, nil: nil
        }
    }
}
