import Certificates
import EnvoyAPI
import Forwarding
import Glibc
import Protobuf
import TLS

/// What a secret holds, ready for TLS settings. Keys are in no description.
public enum SecretMaterial: Sendable {
    case identity(TLSIdentity)
    case trust(Trust)
    case ticketKeys(TLSTicketKeys)
    /// A password, an HMAC key.
    case generic([UInt8])

    /// Whom to believe, and what their certificates must say beside.
    public struct Trust: Sendable {
        public var anchors: TrustAnchors
        public var validation: TLSValidation
    }

    /// - Parameter message: its files are read here.
    init(_ message: Secret) throws(ConfigurationError) {
        switch message.type {
        case .tls_certificate(let certificate): self = .identity(try Self.identity(certificate.pointee))
        case .validation_context(let context):
            self = .trust(try Self.trust(context.pointee))
        case .session_ticket_keys(let keys):
            var secrets: [[UInt8]] = []
            for index in 0..<keys.pointee.n_keys {
                guard let bytes = try Self.bytes(keys.pointee.keys[index], "session_ticket_keys.keys[\(index)]") else {
                    throw .invalid(path: "session_ticket_keys.keys[\(index)]", message: "it is empty")
                }
                secrets.append(bytes)
            }
            do throws(TLSError) {
                self = .ticketKeys(try TLSTicketKeys(secrets: secrets))
            } catch {
                throw .invalid(path: "session_ticket_keys", message: "\(error)")
            }
        case .generic_secret(let generic):
            self = .generic(try Self.bytes(generic.pointee.secret, "generic_secret.secret") ?? [])
        case nil: throw .invalid(path: "", message: "it holds neither a certificate, a trust bundle nor a secret")
        }
    }

    private static func trust(_ context: CertificateValidationContext) throws(ConfigurationError) -> Trust {
        let path = "validation_context"
        var copy = context
        let validation: TLSValidation
        do throws(ConfigurationError) {
            validation = try TLSValidation(withUnsafeMutablePointer(to: &copy) { encode($0) })
        } catch {
            throw error.under(path)
        }
        if validation.trustDomains != nil {
            throw .unsupported(path: path + ".custom_validator_config", message: "name roots in trusted_ca")
        }
        guard let pem = try bytes(context.trusted_ca, path + ".trusted_ca") else {
            throw .invalid(path: path + ".trusted_ca", message: "it is missing")
        }
        do throws(TLSError) {
            return Trust(anchors: try TrustAnchors(pem: pem), validation: validation)
        } catch {
            throw .invalid(path: path + ".trusted_ca", message: "\(error)")
        }
    }

    private static func identity(_ message: TlsCertificate) throws(ConfigurationError) -> TLSIdentity {
        let path = "tls_certificate"
        if message.pkcs12 != nil { throw .unsupported(path: path + ".pkcs12", message: "only PEM is read") }
        guard let chain = try bytes(message.certificate_chain, path + ".certificate_chain") else {
            throw .invalid(path: path + ".certificate_chain", message: "it is missing")
        }
        guard var key = try bytes(message.private_key, path + ".private_key") else {
            throw .invalid(path: path + ".private_key", message: "it is missing")
        }
        defer { key.withUnsafeMutableBytes { if let start = $0.baseAddress { explicit_bzero(start, $0.count) } } }
        let passphrase = try bytes(message.password, path + ".password")
        do throws(TLSError) {
            return try TLSIdentity(chainPEM: chain, keyPEM: key, passphrase: passphrase)
        } catch {
            throw .invalid(path: path, message: "\(error)")
        }
    }

    private static func bytes(
        _ source: UnsafeMutablePointer<DataSource>?, _ path: String
    ) throws(ConfigurationError) -> [UInt8]? {
        guard let source, source.pointee.specifier != nil else { return nil }
        do throws(ConfigurationError) {
            return try GivenFiles.read(try GivenBytes(source.pointee))
        } catch {
            throw error.under(path)
        }
    }
}
