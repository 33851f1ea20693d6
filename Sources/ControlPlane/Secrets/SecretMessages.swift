import EnvoyAPI
import Identity
import Protobuf
import XDS

/// Envoy's `Secret` messages from what the authority makes.
/// Source: envoy.extensions.transport_sockets.tls.v3.Secret.
enum SecretMessages {
    /// A key with its certificate chain, under each of several names. The version is the same under all of them.
    static func identity(_ names: [String], chain: [UInt8], key: [UInt8]) -> [XDS.Resource] {
        resources(names) { secret, arena in
            secret.set(
                tls_certificate: arena.make(TlsCertificate.self) {
                    $0.certificate_chain = arena.inline(chain)
                    $0.private_key = arena.inline(key)
                })
        }
    }

    /// What to trust, under each of several names.
    /// - Parameter anchors: PEM.
    static func validation(_ names: [String], anchors: [UInt8]) -> [XDS.Resource] {
        resources(names) { secret, arena in
            secret.set(
                validation_context: arena.make(CertificateValidationContext.self) {
                    $0.trusted_ca = arena.inline(anchors)
                })
        }
    }

    /// What to trust of each of several trust domains, kept apart: a certificate is checked by the bundle of the domain
    /// that it names, and by no other.
    /// - Parameter bundles: PEM, by domain.
    /// Source: envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig.
    static func validation(_ name: String, bundles: [TrustDomain: [UInt8]]) -> XDS.Resource {
        let made = resources([name]) { secret, arena in
            let validator = arena.make(SPIFFECertValidatorConfig.self) { config in
                (config.n_trust_domains, config.trust_domains) = arena.list(
                    bundles.sorted { $0.key < $1.key }.map { domain, anchors in
                        arena.make(SPIFFECertValidatorConfigTrustDomain.self) {
                            $0.name = arena(domain.name)
                            $0.trust_bundle = arena.inline(anchors)
                        }
                    })
            }
            secret.set(
                validation_context: arena.make(CertificateValidationContext.self) {
                    $0.custom_validator_config = arena.make(TypedExtensionConfig.self) {
                        $0.name = arena("envoy.tls.cert_validator.spiffe")
                        $0.typed_config = arena.any(validator)
                    }
                })
        }
        return made[0]
    }

    /// Bytes without a meaning to Envoy.
    static func generic(_ name: String, _ bytes: [UInt8]) -> XDS.Resource {
        let made = resources([name]) { secret, arena in
            secret.set(generic_secret: arena.make(GenericSecret.self) { $0.secret = arena.inline(bytes) })
        }
        return made[0]
    }

    private static func resources(
        _ names: [String], _ fill: (inout Secret, Arena) -> Void
    ) -> [XDS.Resource] {
        var version: String?
        return names.map { name in
            let arena = Arena()
            let message = arena.make(Secret.self) {
                $0.name = arena(name)
                fill(&$0, arena)
            }
            let resource = XDS.Resource(.secret, name: name, body: encode(message), version: version)
            version = resource.version
            return resource
        }
    }
}

extension Arena {
    fileprivate func inline(_ content: [UInt8]) -> UnsafeMutablePointer<DataSource> {
        make { $0.set(inline_bytes: bytes(content)) }
    }
}
