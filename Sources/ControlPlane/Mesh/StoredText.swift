import Documents
import Mesh
import Store

/// Objects on their way into the store and out of it.
extension ObjectKey {
    var stored: StoredObjectKey { StoredObjectKey(kind: kind.resourceName, namespace: namespace, name: name) }

    /// - Returns: nil for a kind that this program does not know.
    init?(_ stored: StoredObjectKey) {
        guard let kind = ObjectKind(resourceName: stored.kind) else { return nil }
        self.init(kind, stored.namespace, stored.name)
    }
}

extension ObjectSpelling {
    /// - Parameter source: of a document with one object.
    init(_ source: ObjectSource) {
        precondition(source.item == nil, "an item of a list is stored as a document of its own")
        let format =
            switch source.format {
            case .yaml: "yaml"
            case .json: "json"
            }
        self.init(text: source.text, format: format, file: source.file ?? "", line: source.line)
    }
}

extension ObjectSource {
    init(_ spelling: ObjectSpelling) {
        self.init(
            file: spelling.file.isEmpty ? nil : spelling.file, text: spelling.text, line: spelling.line,
            format: spelling.format == "json" ? .json : .yaml)
    }

    /// Whether both are the same text from the same place.
    func isSpelled(as other: ObjectSource) -> Bool {
        text == other.text && file == other.file && line == other.line && format == other.format
    }
}

/// Why an object of the store is left out.
struct UnreadableReason: Error {
    var words: String
}

extension MeshObject {
    /// - Throws: ``UnreadableReason`` for what this program does not understand.
    init(_ key: StoredObjectKey, _ spelling: ObjectSpelling) throws(UnreadableReason) {
        let file = spelling.file.isEmpty ? nil : spelling.file
        let objects: [MeshObject]
        do throws(ObjectErrors) {
            objects = try ObjectText(
                Array(spelling.text.utf8), file: spelling.format == "json" ? "stored.json" : nil,
                namespace: key.namespace
            ).objects
        } catch {
            let first = error.findings.first.map { finding in
                var finding = finding
                finding.file = file
                return "\(finding.shifted(by: spelling.line - 1))"
            }
            throw UnreadableReason(words: first ?? "its text is no object")
        }
        guard objects.count == 1, var object = objects.first, object.key.stored == key else {
            throw UnreadableReason(words: "its text is another object")
        }
        object.source = ObjectSource(spelling)
        for index in object.warnings.indices {
            object.warnings[index].file = file
            object.warnings[index] = object.warnings[index].shifted(by: spelling.line - 1)
        }
        self = object
    }
}

extension MeshFinding {
    fileprivate func shifted(by lines: Int) -> MeshFinding {
        var finding = self
        finding.position = position.map { SourcePosition(line: $0.line + lines, column: $0.column) }
        return finding
    }
}

extension ObjectText {
    /// The objects, each with a text that holds it alone: the items of a list get one.
    var objectsOfTheirOwn: [MeshObject] {
        var list: (line: Int, items: [DocumentNode])?
        return objects.map { object in
            guard let item = object.source.item else { return object }
            // Once for each list, however many items it has.
            if list == nil || list?.line != object.source.line {
                var whole = object.source
                whole.item = nil
                list = (whole.line, whole.node?["items"]?.elements ?? [])
            }
            guard let list, list.items.indices.contains(item) else { return object }
            var object = object
            object.source = ObjectSource(
                file: object.source.file, text: list.items[item].yaml(),
                line: object.source.line + list.items[item].position.line - 1)
            return object
        }
    }
}
