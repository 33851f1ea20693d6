import EnvoyAPI
import Mesh
import Protobuf
import XDS

extension Translator {
    /// The certificates and roots that a gateway's servers name, as far as there are Secrets with them: what its
    /// listeners ask for over SDS. Views of proxies that have proved no identity leave them out.
    func gatewaySecrets(of proxy: ProxyClass) -> [Resource] {
        var names = Set<String>()
        for tls in gatewayServers(of: proxy).compactMap(\.tls) {
            names.formUnion(tls.certificateSecrets)
            if let roots = tls.rootSecret { names.insert(roots) }
        }
        return names.sorted().compactMap { gatewaySecret(named: $0, of: proxy) }
    }

    private func gatewaySecret(named name: String, of proxy: ProxyClass) -> Resource? {
        guard let place = GatewayTLS.place(ofSecret: name, in: proxy.namespace) else { return nil }
        let isRoots = name.hasSuffix(GatewayTLS.rootsSuffix)
        let plain = isRoots ? String(place.name.dropLast(GatewayTLS.rootsSuffix.count)) : place.name
        // Roots stand beside the certificate, or in a Secret of their own.
        let holders = isRoots ? [place.name, plain] : [place.name]
        for holder in holders {
            guard case .secret(let secret)? = mesh.object(ObjectKey(.secret, place.namespace, holder))?.body else {
                continue
            }
            if isRoots, let roots = secret.roots { return packed(name) { $0.set(validation_context: anchors(roots)) } }
            if !isRoots, let chain = secret.certificate, let key = secret.privateKey {
                return packed(name) { $0.set(tls_certificate: certificate(chain, key)) }
            }
        }
        return nil
    }

    private func packed(_ name: String, _ fill: (inout Secret) -> Void) -> Resource {
        let message: UnsafeMutablePointer<Secret> = arena.make {
            $0.name = arena(name)
            fill(&$0)
        }
        return resource(.secret, name, message)
    }

    private func anchors(_ pem: [UInt8]) -> UnsafeMutablePointer<CertificateValidationContext> {
        arena.make { $0.trusted_ca = inline(pem) }
    }

    private func certificate(_ chain: [UInt8], _ key: [UInt8]) -> UnsafeMutablePointer<TlsCertificate> {
        arena.make {
            $0.certificate_chain = inline(chain)
            $0.private_key = inline(key)
        }
    }

    private func inline(_ bytes: [UInt8]) -> UnsafeMutablePointer<DataSource> {
        arena.make { $0.set(inline_bytes: arena.bytes(bytes)) }
    }
}

extension GatewayTLS {
    static let rootsSuffix = "-cacert"

    /// The Secret that a name of SDS stands for; nil for names of other kinds.
    static func place(ofSecret name: String, in namespace: String) -> (namespace: String, name: String)? {
        if let own = name.suffix(after: "kubernetes://") { return (namespace, own) }
        guard let other = name.suffix(after: "kubernetes-gateway://"), let slash = other.firstIndex(of: "/") else {
            return nil
        }
        return (String(other[..<slash]), String(other[other.index(after: slash)...]))
    }
}

extension String {
    fileprivate func suffix(after prefix: String) -> String? {
        hasPrefix(prefix) ? String(dropFirst(prefix.count)) : nil
    }
}
