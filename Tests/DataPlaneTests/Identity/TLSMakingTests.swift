import Certificates
import Documents
import EnvoyAPI
import Forwarding
import Protobuf
import TLS
import Testing
import XDS

@testable import DataPlane

/// What TLS contexts and the secrets that they name come to.
@Suite struct TLSMakingTests {
    private let own: TestAuthority
    private let other: TestAuthority

    init() throws { (own, other) = (try TestAuthority("one.test"), try TestAuthority("two.test")) }

    private func upstream(_ common: String, _ more: String = "") throws -> UpstreamTLS {
        let arena = Arena()
        let bytes = try Resources.bytes(
            UpstreamTlsContext.descriptor.fullName, "{common_tls_context: {\(common)} \(more)}")
        return try UpstreamTLS(
            arena.any(typeURL: "type.googleapis.com/" + UpstreamTlsContext.descriptor.fullName, arena.bytes(bytes))
                .pointee)
    }

    private func inline(_ authority: TestAuthority) -> String {
        "{inline_string: \"\(authority.pem.split(separator: "\n").joined(separator: "\\n"))\\n\"}"
    }

    private func secret(_ context: String) throws -> SecretMaterial {
        let arena = Arena()
        let bytes = try Resources.bytes(
            Secret.descriptor.fullName, "{name: ROOTCA, validation_context: {\(context)}}")
        return try SecretMaterial(try arena.decode(Secret.self, from: bytes, types: envoyTypes).pointee)
    }

    private func refusal(_ body: () throws -> Void) -> String {
        do { try body() } catch { return "\(error)" }
        return "none"
    }

    private func settings(_ tls: UpstreamTLS, _ told: SecretMaterial? = nil) throws -> TLSConfiguration {
        var shared = SharedTLS()
        return try TLSMaking.client(tls, &shared) { $0 == "ROOTCA" ? told : nil }.configuration
    }

    private static let combined = "validation_context_sds_secret_config: {name: ROOTCA, sds_config: {ads: {}}}"

    @Test func aSecretSaysMoreThanTheDefaultThatItIsCombinedWith() throws {
        let names = #"match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a.test}}]"#
        let tls = try upstream(
            """
            combined_validation_context: {default_validation_context: {trusted_ca: \(inline(own)), \(names)},
              \(Self.combined)}
            """)
        let made = try settings(tls, try secret("trusted_ca: \(inline(other))"))
        #expect(made.trustAnchors?.certificates == [other.root])
        guard case .named(let accepted) = made.acceptedPeers else {
            Issue.record("the default's names are gone")
            return
        }
        #expect(accepted.count == 1)
        // What the secret leaves open is the default's.
        let hash = String(repeating: "0a", count: 32)
        let pinned = try settings(tls, try secret("verify_certificate_hash: [\"\(hash)\"]"))
        #expect(pinned.trustAnchors?.certificates == [own.root])
        #expect(pinned.pins == [.certificate([UInt8](repeating: 10, count: 32))])
        // Without its secret it is nothing at all.
        #expect(refusal { _ = try settings(tls) }.contains("the secret `ROOTCA` is not there"))
    }

    @Test func whatASecretAsksForIsCheckedOrRefused() throws {
        let roots = "trusted_ca: \(inline(own))"
        let cases = [
            ("\(roots), allow_expired_certificate: true", "allow_expired_certificate: "),
            ("\(roots), verify_certificate_hash: [abc]", "verify_certificate_hash[0]: "),
            ("\(roots), verify_certificate_spki: [AAAA]", "verify_certificate_spki[0]: "),
            ("\(roots), crl: {inline_string: x}", "crl: "), ("\(roots), max_verify_depth: 0", "max_verify_depth: "),
            ("trusted_ca: {inline_string: x}", "trusted_ca: "), ("max_verify_depth: 3", "trusted_ca: it is missing"),
        ]
        for (context, path) in cases {
            let refused = refusal { _ = try secret(context) }
            #expect(refused.hasPrefix("validation_context.\(path)"), "\(context): \(refused)")
        }
        let sds = try upstream(Self.combined)
        #expect(try settings(sds, try secret("trust_chain_verification: ACCEPT_UNTRUSTED")).acceptedPeers == .anybody)
        let deep = try settings(sds, try secret("\(roots), max_verify_depth: 3"))
        #expect(deep.limits.intermediates == 2 && deep.acceptedPeers == .anyTrusted)
        let key = base64([UInt8](repeating: 7, count: 32))
        let pinned = try settings(sds, try secret("verify_certificate_spki: [\"\(key)\"]"))
        #expect(pinned.trustAnchors == nil && pinned.pins == [.key([UInt8](repeating: 7, count: 32))])
        let federated = try settings(
            sds,
            try secret(
                """
                custom_validator_config: {name: envoy.tls.cert_validator.spiffe, typed_config: {
                  "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig,
                  trust_domains: [{name: one.test, trust_bundle: \(inline(own))},
                    {name: two.test, trust_bundle: \(inline(other))}]}}
                """))
        #expect(
            federated.trustDomains?.mapValues(\.certificates) == ["one.test": [own.root], "two.test": [other.root]])
        #expect(federated.trustAnchors == nil)
    }

    @Test func aContextThatCannotBeKeptIsRefused() throws {
        func refused(_ common: String, _ more: String = "") -> String {
            refusal { try TLSMaking.check(.tls(try upstream(common, more)), UpstreamProtocol()) }
        }
        let file = "tls_certificate_sds_secret_configs: [{name: a, sds_config: {path_config_source: {path: /x}}}]"
        #expect(refused(file).contains("path_config_source"))
        let names = "match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]"
        #expect(refused("validation_context: {\(names)}").contains("nobody vouches"))
        #expect(refused("validation_context: {max_verify_depth: 101}").contains("max_verify_depth"))
        let roots = "validation_context: {trusted_ca: \(inline(own))}"
        #expect(refused(roots, ", auto_sni_san_validation: true").contains("auto_sni_san_validation"))
        #expect(refused(roots, ", auto_sni_san_validation: true, auto_host_sni: true") == "none")
        // What our translation gives those whose roots are missing: nobody is believed.
        let nobody = "validation_context: {verify_certificate_hash: [\"\(String(repeating: "00", count: 32))\"]}"
        #expect(refused(nobody) == "none")
        #expect(try settings(try upstream(nobody)).trustAnchors == nil)
        #expect(try settings(try upstream("alpn_protocols: [h2]")).acceptedPeers == .anybody)
    }

    @Test func rootsOfManyClustersAreReadOnce() throws {
        var shared = SharedTLS()
        func anchors(_ authority: TestAuthority, _ sni: String) throws -> TrustAnchors? {
            let tls = try upstream("validation_context: {trusted_ca: \(inline(authority))}", ", sni: \(sni)")
            return try TLSMaking.client(tls, &shared) { _ in nil }.configuration.trustAnchors
        }
        let (first, second) = (try anchors(own, "a.test"), try anchors(own, "b.test"))
        #expect(first === second)
        #expect(try anchors(other, "a.test") !== first)
    }
}
