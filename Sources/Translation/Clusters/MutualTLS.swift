import Addresses
import EnvoyAPI
import Identity
import Mesh
import Protobuf

/// TLS among workloads of the mesh, with the certificates that the control plane gives them.
extension Translator {
    /// What tells of mutual TLS between proxies of the mesh in the client's greeting.
    public static let meshALPN = "istio"

    /// A client's side.
    /// - Parameters:
    ///   - sans: identities that may answer, as URIs; none means any of the mesh.
    ///   - sni: empty sends none.
    ///   - alpn: what to offer; `istio` tells the server's sidecar that the mesh calls.
    public func upstreamTLSContext(
        sans: [String], sni: String, alpn: [String] = [meshALPN]
    ) -> UnsafeMutablePointer<UpstreamTlsContext> {
        arena.make { context in
            context.common_tls_context = meshTLSContext(sans.map { exactName($0) }, alpn: alpn)
            context.sni = arena(sni)
        }
    }

    /// A server's side: the client shows a certificate of this trust domain or of one that is federated with it.
    public func downstreamTLSContext(alpn: [String]) -> UnsafeMutablePointer<DownstreamTlsContext> {
        let domains = [settings.trustDomain.name] + settings.federatedDomains.sorted()
        return arena.make { context in
            context.common_tls_context = meshTLSContext(
                domains.map { domain in
                    name(.URI, arena.make { $0.set(prefix: arena("spiffe://\(domain)/")) })
                }, alpn: alpn)
            context.require_client_certificate = arena.bool(true)
        }
    }

    /// The same on both sides: the workload's certificate and the roots, over the stream that brought the cluster.
    private func meshTLSContext(
        _ names: [UnsafeMutablePointer<SubjectAltNameMatcher>], alpn: [String]
    ) -> UnsafeMutablePointer<CommonTlsContext> {
        arena.make { common in
            common.tls_params = arena.make {
                $0.tls_minimum_protocol_version = .TLSv1_2
                $0.tls_maximum_protocol_version = .TLSv1_3
            }
            (common.n_alpn_protocols, common.alpn_protocols) = arena.strings(alpn)
            (common.n_tls_certificate_sds_secret_configs, common.tls_certificate_sds_secret_configs) = arena.list(
                secret("default"))
            common.set(
                combined_validation_context: arena.make { combined in
                    combined.default_validation_context = arena.make {
                        ($0.n_match_typed_subject_alt_names, $0.match_typed_subject_alt_names) = arena.list(names)
                    }
                    combined.validation_context_sds_secret_config = secret("ROOTCA")
                })
        }
    }

    /// A secret that the proxy asks the control plane for.
    func secret(_ name: String) -> UnsafeMutablePointer<SdsSecretConfig> {
        arena.make {
            $0.name = arena(name)
            $0.sds_config = arena.ads()
        }
    }

    /// A URI, an address, a mail address or else a DNS name that a certificate must have.
    func exactName(_ text: String) -> UnsafeMutablePointer<SubjectAltNameMatcher> {
        let kind: SubjectAltNameMatcherSanType =
            if text.contains("://") {
                .URI
            } else if IPAddress(text) != nil {
                .IP_ADDRESS
            } else if text.contains("@") {
                .EMAIL
            } else {
                .DNS
            }
        return name(kind, arena.make { $0.set(exact: arena(text)) })
    }

    private func name(
        _ kind: SubjectAltNameMatcherSanType, _ matcher: UnsafeMutablePointer<StringMatcher>
    ) -> UnsafeMutablePointer<SubjectAltNameMatcher> {
        arena.make {
            $0.san_type = kind
            $0.matcher = matcher
        }
    }

    /// `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`
    func identity(namespace: String, serviceAccount: String) -> String {
        "spiffe://\(settings.trustDomain.name)/ns/\(namespace)/sa/\(serviceAccount)"
    }

    /// As a gRPC program without a proxy understands it. Source: gRPC, A29.
    func proxylessTLSContext(sans: [String]) -> UnsafeMutablePointer<UpstreamTlsContext> {
        arena.make { context in
            context.common_tls_context = arena.make { common in
                common.tls_certificate_provider_instance = arena.make {
                    $0.instance_name = arena("default")
                    $0.certificate_name = arena("default")
                }
                common.set(
                    combined_validation_context: arena.make { combined in
                        combined.default_validation_context = arena.make { validation in
                            validation.ca_certificate_provider_instance = arena.make {
                                $0.instance_name = arena("default")
                                $0.certificate_name = arena("ROOTCA")
                            }
                            let names = sans.map { san in
                                arena.make(StringMatcher.self) { $0.set(exact: arena(san)) }
                            }
                            (validation.n_match_subject_alt_names, validation.match_subject_alt_names) =
                                arena.list(names)
                        }
                    })
            }
        }
    }
}
