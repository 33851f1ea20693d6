import Documents
import Mesh

extension ObjectSource {
    /// The object as YAML for people: what the user wrote, with its namespace, and without the values of a Secret that
    /// nobody should read. `martinet apply` takes it back in any namespace.
    func shown(as key: ObjectKey) -> String {
        var text = yaml
        if key.kind == .secret, let node { text = node.withoutSecrets.yaml() }
        guard key.kind.isNamespaced, let document = Self.document(text) else { return text }
        guard document["metadata"]?["namespace"]?.text == nil else { return text }
        let written = Self.inserting(key.namespace, in: text, document)
        if Self.document(written)?["metadata"]?["namespace"]?.text == key.namespace { return written }
        // Not a mapping on lines of its own: then the text is made anew.
        return document.naming(key.namespace).yaml()
    }

    private static func document(_ text: String) -> DocumentNode? {
        do throws(TextFormatError) {
            return try DocumentNode.parseYAML(text).first
        } catch {
            return nil
        }
    }

    /// As a line of its own before the first of `metadata`.
    private static func inserting(_ namespace: String, in text: String, _ document: DocumentNode) -> String {
        guard let first = document["metadata"]?.members?.first?.key.position else { return text }
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.indices.contains(first.line - 1), first.column >= 1 else { return text }
        let margin = lines[first.line - 1].prefix(first.column - 1)
        guard margin.allSatisfy({ $0 == " " }) else { return text }
        lines.insert(margin + "namespace: \(namespace)", at: first.line - 1)
        return lines.joined(separator: "\n")
    }
}

extension DocumentNode {
    fileprivate func naming(_ namespace: String) -> DocumentNode {
        guard case .mapping(let members, let position) = self else { return self }
        let named = members.map { member -> Member in
            guard member.key.text == "metadata", case .mapping(let inner, let at) = member.value else { return member }
            let name = Member(
                key: DocumentScalar("namespace", .quoted), value: .scalar(DocumentScalar(namespace, .quoted)))
            return Member(
                key: member.key, value: .mapping([name] + inner.filter { $0.key.text != "namespace" }, at: at))
        }
        return .mapping(named, at: position)
    }

    /// A Secret in which certificates alone are told.
    fileprivate var withoutSecrets: DocumentNode {
        guard case .mapping(let members, let position) = self else { return self }
        let shown = members.map { member -> Member in
            guard ["data", "stringData"].contains(member.key.text), case .mapping(let values, let at) = member.value
            else { return member }
            let redacted = values.map { value -> Member in
                guard !["tls.crt", "ca.crt"].contains(value.key.text) else { return value }
                return Member(key: value.key, value: .scalar(DocumentScalar(redactedKey, .quoted)))
            }
            return Member(key: member.key, value: .mapping(redacted, at: at))
        }
        return .mapping(shown, at: position)
    }
}

extension MeshObject {
    /// What was left out of what people see, and comes back in its place.
    var redactionFinding: MeshFinding? {
        guard case .secret(let secret) = body, secret.content.values.contains(Array(redactedKey.utf8)) else {
            return nil
        }
        return finding(
            .error, .invalidValue, at: "stringData", "the secret values were left out of what `martinet get` shows",
            mend: "give the values themselves")
    }
}
