import Documents

/// Reads documents as objects; what is wrong goes to its log.
struct ObjectReader {
    let log: ReadingLog
    let namespace: String

    func read(
        _ document: DocumentNode, _ source: ObjectSource, into found: inout [(object: MeshObject, at: SourcePosition)]
    ) {
        log.object = nil
        if let kind = document["kind"]?.text, kind.hasSuffix("List"), let items = document["items"]?.elements {
            for (index, item) in items.enumerated() {
                var source = source
                source.item = index
                if let object = readObject(item, source, ObjectPlace(path: nil, log: log)) {
                    found.append((object, item.position))
                }
            }
        } else if let object = readObject(document, source, ObjectPlace(path: nil, log: log)) {
            found.append((object, document.position))
        }
    }

    private func readObject(_ node: DocumentNode, _ source: ObjectSource, _ place: ObjectPlace) -> MeshObject? {
        log.object = nil
        log.warnings = []
        guard case .mapping(let members, let position) = node else {
            place.mismatch("an object", node, mend: "write apiVersion, kind and metadata")
            return nil
        }
        var fields = ObjectFields(members, at: place, position)
        let apiVersion: String = fields.required("apiVersion", "")
        let kindName: String = fields.required("kind", "")
        guard !apiVersion.isEmpty, !kindName.isEmpty else {
            return nil
        }
        guard let kind = kind(kindName, apiVersion, &fields) else { return nil }
        log.object = ObjectKey(
            kind, kind.isNamespaced ? node["metadata"]?["namespace"]?.text ?? namespace : "",
            node["metadata"]?["name"]?.text ?? "")
        let metadata: NamedMetadata? = fields.optional("metadata")
        if !fields.has("metadata") { fields.failMissing("metadata") }
        if let given = metadata?.namespace, !kind.isNamespaced {
            fields.place.field("metadata").field("namespace").fail(
                .invalidValue, at: fields.position(of: "metadata"), "a \(kind.name) is in no namespace",
                mend: "remove namespace: \(given)")
        }
        let body = ObjectBody(kind, &fields)
        fields.refuseTheRest()
        guard let metadata, let key = log.object else { return nil }
        warnOfUnsupportedFields(kind, node, place)
        return MeshObject(key: key, metadata: metadata.common, body: body, source: source, warnings: log.warnings)
    }

    private func kind(_ name: String, _ apiVersion: String, _ fields: inout ObjectFields) -> ObjectKind? {
        let parts = apiVersion.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        let group = parts.count == 2 ? String(parts[0]) : ""
        let version = String(parts[parts.count - 1])
        guard let namesakes = ObjectKind.byName[name] else {
            fields.fail(
                .unknownKind, "kind", "`\(excerpt(name))` is no kind that a mesh knows",
                mend: suggestion(for: name, among: ObjectKind.byName.keys.sorted()).map { "did you mean `\($0)`?" }
                    ?? "remove the document")
            return nil
        }
        guard let kind = namesakes.first(where: { $0.group == group }) else {
            fields.fail(
                .unknownKind, "apiVersion", "there is no \(name) in `\(excerpt(apiVersion))`",
                mend: "write " + namesakes.map(\.apiVersion).sorted().joined(separator: " or "))
            return nil
        }
        guard kind.versions.contains(version) else {
            fields.fail(
                .unknownKind, "apiVersion", "\(name) has no version `\(excerpt(version))`",
                mend: "write one of "
                    + kind.versions.map { group.isEmpty ? $0 : group + "/" + $0 }.joined(separator: ", "))
            return nil
        }
        return kind
    }

    /// The same object twice in one text: which of them is meant?
    func refuseDuplicates(_ found: [(object: MeshObject, at: SourcePosition)]) {
        var first: [ObjectKey: SourcePosition] = [:]
        for (object, position) in found {
            guard let other = first[object.key] else {
                first[object.key] = position
                continue
            }
            log.fail(
                MeshFinding(
                    .error, .duplicateObject, object: object.key, file: log.file, position: position, path: "",
                    "it is also on line \(other.line)", mend: "keep one of them, or give one another name"))
        }
    }

    // MARK: What nothing acts on

    private func warnOfUnsupportedFields(_ kind: ObjectKind, _ node: DocumentNode, _ place: ObjectPlace) {
        for (path, reason) in FieldSupport.unsupported(in: kind) {
            warn(node, path[...], reason, place)
        }
    }

    private func warn(_ node: DocumentNode, _ pattern: ArraySlice<String>, _ reason: String, _ place: ObjectPlace) {
        guard let name = pattern.first else {
            guard log.warnings.count < ObjectErrors.limit else { return }
            log.warnings.append(
                MeshFinding(
                    .warning, .unsupportedField, object: log.object, file: log.file, position: node.position,
                    path: place.pathText, "nothing acts on it: \(reason)", mend: "remove it, or know that it is inert"))
            return
        }
        let rest = pattern.dropFirst()
        switch (node, name) {
        case (.sequence(let elements, _), "[]"):
            for (index, element) in elements.enumerated() { warn(element, rest, reason, place.index(index)) }
        case (.mapping(let members, _), "*"):
            for member in members { warn(member.value, rest, reason, place.key(member.key.text)) }
        case (.mapping, _):
            guard let value = node[name], !value.isNull else { return }
            warn(value, rest, reason, place.field(name))
        case (.sequence, _), (.scalar, _): return
        }
    }
}
