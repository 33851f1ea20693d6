import Agent
import TLS

/// The secret `default`: the proxy's own certificate, made here and never sent.
enum OwnSecret {
    /// What our translation, like Istio's, calls a workload's certificate.
    static let name = "default"
    /// Secrets that the control loop asks for on its own account, whether or not a resource names them.
    static let watched = Set(Enrolment.secretNames)

    static func material(_ held: HeldCertificate) throws(TLSError) -> SecretMaterial {
        .identity(try TLSIdentity(chain: held.chain, key: held.key))
    }
}
