import Documents

/// Where an object comes from: the text that its user wrote, comments and order kept.
public struct ObjectSource: Sendable {
    public enum Format: Hashable, Sendable {
        case yaml
        case json
    }

    /// The name that the caller gave for the text, if any.
    public var file: String?
    /// The document that the object is, or is in; shared by all that are in it.
    public var text: String
    /// The line of the file on which ``text`` begins, from 1.
    public var line: Int
    public var format: Format
    /// Which of a List's items it is; nil for a document of its own.
    public var item: Int?

    public init(file: String?, text: String, line: Int = 1, format: Format = .yaml, item: Int? = nil) {
        self.file = file
        self.text = text
        self.line = line
        self.format = format
        self.item = item
    }

    /// The document as a tree with its places in the file; nil if the text is none any more.
    ///
    /// It is read from the text each time: people ask for it, and proxies do not.
    public var node: DocumentNode? {
        let documents: [DocumentNode]
        do throws(TextFormatError) {
            switch format {
            case .yaml: documents = try DocumentNode.parseYAML(text)
            case .json: documents = [try DocumentNode.parseJSON(text)]
            }
        } catch {
            return nil
        }
        guard let item else { return documents.first }
        return documents.first?["items"]?.elements.flatMap { item < $0.count ? $0[item] : nil }
    }

    /// The place of a value, or of the nearest that holds it.
    func position(of steps: [DocumentPath.Step]) -> SourcePosition? {
        guard var node else { return nil }
        var position = node.position
        for step in steps {
            switch step {
            case .field(let name), .key(let name):
                guard let member = node.members?.first(where: { $0.key.text == name }) else { return shifted(position) }
                node = member.value
                // A scalar's own place is the most telling; a list's or mapping's begins with its key.
                if case .scalar = node { position = node.position } else { position = member.key.position }
            case .index(let index):
                guard let elements = node.elements, elements.indices.contains(index) else { return shifted(position) }
                node = elements[index]
                position = node.position
            }
        }
        return shifted(position)
    }

    private func shifted(_ position: SourcePosition) -> SourcePosition {
        SourcePosition(line: position.line + line - 1, column: position.column)
    }

    /// The object as YAML: what the user wrote, or a new text where that was JSON or one item of a list.
    public var yaml: String {
        if format == .yaml, item == nil { return text.hasSuffix("\n") ? text : text + "\n" }
        return node?.yaml() ?? text
    }

    /// The object as JSON, indented.
    public var json: String {
        if format == .json, item == nil { return text.hasSuffix("\n") ? text : text + "\n" }
        return node?.json() ?? text
    }
}

/// `spec.http[0].headers["end-user"]` as steps.
func parsePath(_ text: String) -> [DocumentPath.Step] {
    var steps: [DocumentPath.Step] = []
    var rest = text[...]
    while let first = rest.first {
        if first == "." {
            rest.removeFirst()
        } else if first == "[", let end = rest.firstIndex(of: "]") {
            let inner = rest[rest.index(after: rest.startIndex)..<end]
            if let index = Int(inner) {
                steps.append(.index(index))
            } else {
                steps.append(.key(String(inner.drop { $0 == "\"" }.prefix { $0 != "\"" })))
            }
            rest = rest[rest.index(after: end)...]
        } else {
            let name = rest.prefix { $0 != "." && $0 != "[" }
            guard !name.isEmpty else { break }
            steps.append(.field(String(name)))
            rest = rest[name.endIndex...]
        }
    }
    return steps
}
