import EnvoyAPI
import Foundation
import Protobuf
import Testing
import XDS

@testable import ControlPlane

private func secret(
    _ certificate: [UInt8], _ key: [UInt8], name: String = "web-cert", extra: String = "",
    type: String = "kubernetes.io/tls"
) -> String {
    """
    apiVersion: v1
    kind: Secret
    metadata:
      name: \(name)
      labels: { app: shop }
    type: \(type)
    data:
      tls.crt: \(Data(certificate).base64EncodedString())
      tls.key: \(Data(key).base64EncodedString())
    \(extra)
    """
}

private func parse(_ text: String) throws(ResourceProblems) -> ParsedFile {
    try ParsedFile(Array(text.utf8), path: "secret.yaml", scope: .all)
}

private func problems(_ text: String) -> String {
    do throws(ResourceProblems) {
        _ = try parse(text)
        return ""
    } catch { return "\(error)" }
}

@Test func aSecretOfKubernetesIsServedUnderIstiosNames() throws {
    let mesh = try MeshAuthority("mesh.test")
    let made = try mesh.issue("gateway")
    let text = secret(made.chain, made.key)
    #expect(try parse(text).resources.map(\.resource.name) == ["kubernetes://web-cert"])
    let held = try #require(try parse(text).resources.first)
    #expect(held.resource.type == .secret && held.origin == .file(path: "secret.yaml", line: 1))
    let arena = Arena()
    let message = try arena.decode(Secret.self, from: held.resource.body)
    guard case .tls_certificate(let pair) = message.pointee.type,
        case .inline_bytes(let chain) = pair.pointee.certificate_chain?.pointee.specifier,
        case .inline_bytes(let key) = pair.pointee.private_key?.pointee.specifier
    else {
        Issue.record("no certificate")
        return
    }
    #expect(Array(chain) == made.chain && Array(key) == made.key)

    // As JSON, as stringData, with anchors and with a namespace.
    let object: [String: Any] = [
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": ["name": "web-cert", "namespace": "edge"],
        "stringData": [
            "tls.crt": String(decoding: made.chain, as: UTF8.self),
            "tls.key": String(decoding: made.key, as: UTF8.self),
            "ca.crt": String(decoding: mesh.anchorsPEM, as: UTF8.self),
        ],
    ]
    let json = Array(try JSONSerialization.data(withJSONObject: object))
    #expect(
        try ParsedFile(json, path: "secret.json", scope: .all).resources.map(\.resource.name) == [
            "kubernetes://web-cert", "kubernetes://edge/web-cert", "kubernetes://web-cert-cacert",
            "kubernetes://edge/web-cert-cacert",
        ])
}

@Test func aSecretThatCannotServeIsRefusedWithItsPlaceAndTheMend() throws {
    let mesh = try MeshAuthority("mesh.test")
    let (made, other) = (try mesh.issue("gateway"), try mesh.issue("other"))
    let cases = [
        (secret(made.chain, other.key), "secret.yaml:", "does not"),
        (secret(Array("nonsense".utf8), made.key), "tls_certificate", "no certificate"),
        (secret(made.chain, made.key, type: "Opaque"), "secret.yaml:6:7: type", "write type: kubernetes.io/tls"),
        (secret(made.chain, made.key, name: "Web Cert"), "secret.yaml:4:9: metadata.name", "lower-case"),
        (secret(made.chain, made.key, extra: "spec: {}"), "secret.yaml:10:1: spec", "no such field"),
        (
            secret(made.chain, made.key).replacing("tls.key: ", with: "tls.key: \"*\" #"), "secret.yaml:9:12: data",
            "Base64"
        ),
        (secret(made.chain, made.key).replacing("tls.key", with: "key"), "there is no tls.key", "stringData"),
        ("apiVersion: v1\nkind: ConfigMap\n", "secret.yaml:2:7: kind: `v1 ConfigMap`", "kubernetes.io/tls"),
    ]
    for (text, place, mend) in cases {
        let said = problems(text)
        #expect(said.contains(place) && said.contains(mend), "\(said)")
        #expect(!said.contains("PRIVATE KEY"))
    }
}

@Test func aKeyThatDoesNotBelongToItsCertificateIsRefusedInEnvoysFormToo() throws {
    let mesh = try MeshAuthority("mesh.test")
    let (made, other) = (try mesh.issue("gateway"), try mesh.issue("other"))
    func text(_ key: [UInt8]) -> String {
        """
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
        name: gateway
        tls_certificate:
          certificate_chain: { inline_bytes: \(Data(made.chain).base64EncodedString()) }
          private_key: { inline_bytes: \(Data(key).base64EncodedString()) }
        """
    }
    #expect(problems(text(made.key)) == "")
    #expect(problems(text(other.key)).contains("secret.yaml:4:3: tls_certificate: "))
    // What only the proxy can read is the proxy's to judge.
    #expect(
        problems(
            """
            "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
            name: gateway
            tls_certificate:
              certificate_chain: { filename: /etc/certs/tls.crt }
              private_key: { filename: /etc/certs/tls.key }
            """) == "")
}

@Test func whatIsListedHoldsNoKeyAndIsNotTakenBackWithoutOne() throws {
    let mesh = try MeshAuthority("mesh.test")
    let made = try mesh.issue("gateway")
    let held = try #require(try parse(secret(made.chain, made.key)).resources.first)
    let listed = ListedResource(held, warnings: [])
    let shown = String(decoding: listed.resource.body, as: UTF8.self)
    #expect(!shown.contains("PRIVATE KEY") && shown.contains("[redacted]") && shown.contains("CERTIFICATE"))
    #expect(listed.version == held.resource.version)
    var reader = ResourceReader(scope: .all)
    #expect(reader.read(typeURL: listed.resource.typeURL, bytes: listed.resource.body, at: "") == nil)
    #expect(reader.problems.map(\.description).joined().contains("give the key itself"))

    let arena = Arena()
    for fill in secretsOfOtherKinds {
        let bytes = encode(arena.make(Secret.self) { fill(&$0, arena) })
        #expect(String(decoding: bytes, as: UTF8.self).contains("hidden"))
        let raw = RawResource(typeURL: ResourceType.secret.typeURL, body: bytes).redacted
        #expect(!String(decoding: raw.body, as: UTF8.self).contains("hidden"))
    }
    // What cannot be read is not shown at all.
    #expect(RawResource(typeURL: ResourceType.secret.typeURL, body: [0xFF, 1]).redacted.body.isEmpty)
}

private let secretsOfOtherKinds: [@Sendable (inout Secret, Arena) -> Void] = [
    { secret, arena in
        secret.set(
            generic_secret: arena.make(GenericSecret.self) {
                $0.secret = arena.make(DataSource.self) { $0.set(inline_string: arena("hidden")) }
            })
    },
    { secret, arena in
        secret.set(
            session_ticket_keys: arena.make(TlsSessionTicketKeys.self) {
                ($0.n_keys, $0.keys) = arena.list([
                    arena.make(DataSource.self) { $0.set(inline_bytes: arena.bytes(Array("hidden".utf8))) }
                ])
            })
    },
    { secret, arena in
        secret.set(
            tls_certificate: arena.make(TlsCertificate.self) {
                $0.password = arena.make(DataSource.self) { $0.set(inline_string: arena("hidden")) }
            })
    },
]
