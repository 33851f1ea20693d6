import Documents
import Foundation
import Protobuf
import XDS

/// A Kubernetes `Secret` of type `kubernetes.io/tls`, as users keep gateways' certificates.
/// Source: Kubernetes, core/v1 Secret, "TLS Secrets".
///
/// It is served under Istio's names: `kubernetes://NAME`, with a namespace also `kubernetes://NAMESPACE/NAME`, and with
/// a `ca.crt` the anchors for clients under the same and `-cacert`.
struct KubernetesSecret: Sendable {
    var name: String
    var namespace: String?
    var certificate: [UInt8]
    var key: [UInt8]
    /// PEM.
    var authorities: [UInt8]?

    /// What is wrong, and in which member.
    struct Fault: Error {
        var path: String
        var position: SourcePosition
        var problem: String
        var mend: String
    }

    /// Whether a document says that it is a Kubernetes object.
    static func isMeant(by document: DocumentNode) -> Bool {
        document["@type"] == nil && document["apiVersion"] != nil && document["kind"] != nil
    }

    init(_ document: DocumentNode) throws(Fault) {
        let kind = "\(document["apiVersion"]?.text ?? "") \(document["kind"]?.text ?? "")"
        guard kind == "v1 Secret" else {
            throw Fault(
                path: "kind", position: document["kind"]?.position ?? document.position,
                problem: "`\(kind)` is not read here",
                mend: "of Kubernetes' objects this server reads v1 Secret of type kubernetes.io/tls")
        }
        for member in document.members ?? [] where !Self.members.contains(member.key.text) {
            throw Fault(
                path: member.key.text, position: member.key.position, problem: "a Secret has no such field",
                mend: "remove it, or write one of \(Self.members.sorted().joined(separator: ", "))")
        }
        guard document["type"]?.text == "kubernetes.io/tls" else {
            throw Fault(
                path: "type", position: document["type"]?.position ?? document.position,
                problem: "a Secret of type `\(document["type"]?.text ?? "Opaque")` is not served to proxies",
                mend: "write type: kubernetes.io/tls, with tls.crt and tls.key")
        }
        let metadata = document["metadata"]
        name = try Self.label("name", in: metadata, of: document) ?? ""
        guard !name.isEmpty else {
            throw Fault(
                path: "metadata.name", position: metadata?.position ?? document.position,
                problem: "a Secret without a name", mend: "write metadata: { name: NAME }")
        }
        namespace = try Self.label("namespace", in: metadata, of: document)
        let content = try Self.content(of: document)
        guard let certificate = content["tls.crt"], let key = content["tls.key"] else {
            let missing = content["tls.crt"] == nil ? "tls.crt" : "tls.key"
            throw Fault(
                path: "data", position: document["data"]?.position ?? document.position,
                problem: "there is no \(missing)",
                mend: "give it in Base64 under data, or as it is under stringData")
        }
        (self.certificate, self.key, authorities) = (certificate, key, content["ca.crt"])
    }

    private static let members: Set<String> = [
        "apiVersion", "kind", "metadata", "type", "data", "stringData", "immutable",
    ]

    /// A name as Kubernetes allows it: it becomes a part of a resource's name.
    private static func label(
        _ field: String, in metadata: DocumentNode?, of document: DocumentNode
    ) throws(Fault) -> String? {
        guard let node = metadata?[field], !node.isNull else { return nil }
        let isFit =
            node.text.map { text in
                !text.isEmpty && text.utf8.count <= 253
                    && text.utf8.allSatisfy {
                        (97...122).contains($0) || (48...57).contains($0) || $0 == 45 || $0 == 46
                    }
            } ?? false
        guard isFit, let text = node.text else {
            throw Fault(
                path: "metadata.\(field)", position: node.position, problem: "is no name of a Kubernetes object",
                mend: "write at most 253 lower-case letters, digits, hyphens and dots")
        }
        return text
    }

    /// `stringData` goes before `data`, as in Kubernetes.
    private static func content(of document: DocumentNode) throws(Fault) -> [String: [UInt8]] {
        var content: [String: [UInt8]] = [:]
        for (field, isEncoded) in [("data", true), ("stringData", false)] {
            guard let node = document[field], !node.isNull else { continue }
            guard let members = node.members else {
                throw Fault(
                    path: field, position: node.position, problem: "expected a mapping",
                    mend: "write tls.crt and tls.key under it")
            }
            for member in members {
                let path = "\(field)[\"\(member.key.text)\"]"
                guard let text = member.value.text else {
                    throw Fault(
                        path: path, position: member.value.position, problem: "expected a text", mend: "write one")
                }
                guard isEncoded else {
                    content[member.key.text] = Array(text.utf8)
                    continue
                }
                let packed = text.filter { !$0.isWhitespace }
                guard let bytes = Data(base64Encoded: packed) else {
                    throw Fault(
                        path: path, position: member.value.position, problem: "is no Base64",
                        mend: "encode it (`base64 -w0`), or move it to stringData as it is")
                }
                content[member.key.text] = Array(bytes)
            }
        }
        return content
    }

    /// What proxies get, with the member of the object that each comes from.
    var resources: [(resource: Resource, path: String)] {
        let names = ["kubernetes://\(name)"] + (namespace.map { ["kubernetes://\($0)/\(name)"] } ?? [])
        let pairs = SecretMessages.identity(names, chain: certificate, key: key).map { ($0, "data[\"tls.crt\"]") }
        let anchors = authorities.map {
            SecretMessages.validation(names.map { $0 + "-cacert" }, anchors: $0).map { ($0, "data[\"ca.crt\"]") }
        }
        return pairs + (anchors ?? [])
    }
}
