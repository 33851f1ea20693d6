import Certificates
import EnvoyAPI
import Identity
import Protobuf
import XDS

/// What a secret that the control plane pushes means to the agent.
enum PushedSecret: Equatable {
    /// The anchors of the own trust domain.
    case anchors([Certificate])
    /// Those of another one.
    case federated(TrustDomain, [Certificate])
    /// Keys that sign JWT-SVIDs, of the own trust domain or of another one.
    case tokenKeys(SPIFFEBundle)
    /// The subject key identifier of the authority that issues now, in hexadecimal.
    case authority(String)
    /// Anything else. The agent makes its own key and wants nobody's.
    case other

    static let anchorsName = "ROOTCA"
    static let tokenKeysName = "JWKS"
    static let authorityName = "AUTHORITY"

    /// The trust domain whose token keys are under a name: `JWKS` is of our own, `JWKS/DOMAIN` of another one.
    static func tokenDomain(of name: String, own: TrustDomain) -> TrustDomain? {
        if name == tokenKeysName { return own }
        guard name.hasPrefix(tokenKeysName + "/") else { return nil }
        return try? TrustDomain(String(name.dropFirst(tokenKeysName.count + 1)))
    }

    /// - Parameter body: a packed `Secret`.
    init(_ name: String, body: [UInt8], trustDomain: TrustDomain) throws(PushedSecretError) {
        let arena = Arena()
        let secret: Secret
        do throws(ProtobufError) {
            secret = try arena.decode(Secret.self, from: body).pointee
        } catch {
            throw PushedSecretError(reason: "\(error)")
        }
        switch secret.type {
        case .validation_context(let context):
            self = try Self.validation(name, Self.bytes(context.pointee.trusted_ca), trustDomain).get()
        case .generic_secret(let generic):
            self = try Self.generic(name, Self.bytes(generic.pointee.secret), trustDomain).get()
        case .tls_certificate, .session_ticket_keys, nil: self = .other
        }
    }

    private static func validation(
        _ name: String, _ pem: [UInt8]?, _ trustDomain: TrustDomain
    ) -> Result<PushedSecret, PushedSecretError> {
        let domain: TrustDomain
        if name == anchorsName {
            domain = trustDomain
        } else if let id = try? SPIFFEID(name), id.path.isEmpty {
            domain = id.trustDomain
        } else {
            return .success(.other)
        }
        guard let pem else { return .failure(PushedSecretError(reason: "it holds no inline trusted_ca")) }
        do throws(CertificateError) {
            let anchors = try Certificate.list(pem: pem, source: name)
            // Under its SPIFFE ID it is the same as ROOTCA.
            if name == anchorsName { return .success(.anchors(anchors)) }
            return .success(domain == trustDomain ? .other : .federated(domain, anchors))
        } catch {
            return .failure(PushedSecretError(reason: "\(error)"))
        }
    }

    private static func generic(
        _ name: String, _ bytes: [UInt8]?, _ trustDomain: TrustDomain
    ) -> Result<PushedSecret, PushedSecretError> {
        let domain = tokenDomain(of: name, own: trustDomain)
        guard domain != nil || name == authorityName else { return .success(.other) }
        guard let bytes else { return .failure(PushedSecretError(reason: "it holds no inline secret")) }
        if name == authorityName {
            return .success(.authority(String(decoding: bytes, as: UTF8.self).lowercased()))
        }
        guard let domain else { return .success(.other) }
        do throws(CertificateError) {
            return .success(.tokenKeys(try SPIFFEBundle(json: bytes, trustDomain: domain)))
        } catch {
            return .failure(PushedSecretError(reason: "\(error)"))
        }
    }

    private static func bytes(_ source: UnsafeMutablePointer<DataSource>?) -> [UInt8]? {
        switch source?.pointee.specifier {
        case .inline_bytes(let bytes): Array(bytes)
        case .inline_string(let text): Array(text.utf8)
        case .filename, .environment_variable, nil: nil
        }
    }

    /// Refuses what the agent could not use: what it had before stays in force then, and the control plane is told.
    static func validator(trustDomain: TrustDomain) -> ResourceValidator {
        { type, resource in
            guard type == .secret, resource.typeURL == type.typeURL else {
                return .rejected(name: resource.name, reason: "only secrets were asked for")
            }
            do throws(PushedSecretError) {
                _ = try PushedSecret(resource.name, body: resource.body ?? [], trustDomain: trustDomain)
                return .accepted(name: resource.name)
            } catch {
                return .rejected(name: resource.name, reason: error.reason)
            }
        }
    }
}

/// Why a pushed secret is not usable.
struct PushedSecretError: Error, Equatable {
    var reason: String
}
