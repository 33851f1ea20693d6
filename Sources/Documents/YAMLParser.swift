import Yams

extension DocumentNode {
    /// Parses a YAML text into its documents; empty documents (nothing between two `---`) are left out.
    /// - Parameter file: only for messages.
    /// - Throws: line and column of the first error.
    ///
    /// Aliases and merge keys (`<<`) are resolved. Tags other than those of the core schema are errors.
    public static func parseYAML(
        _ text: String, file: String? = nil, limits: TextLimits = .standard
    ) throws(TextFormatError) -> [DocumentNode] {
        guard text.utf8.count <= limits.bytes else {
            throw TextFormatError(file: file, position: nil, path: "", problem: .tooLong(limit: limits.bytes))
        }
        let mark = aliasMark(for: text)
        var reader = YAMLReader(file: file, limits: limits, mark: mark)
        do {
            let parser = try Parser(
                yaml: mark.map { replaceAliases(in: text, with: $0) } ?? text, resolver: .basic, encoding: .utf8)
            // The parser keeps the anchors' names alive, so each document is read while the parser is still there.
            while let root = try parser.nextRoot() {
                let node = try reader.readDocument(root)
                if !node.isNull { reader.documents.append(node) }
            }
        } catch let error as TextFormatError {
            throw error
        } catch let error as YamlError {
            throw reader.translate(error)
        } catch {
            throw TextFormatError(file: file, position: nil, path: "", problem: .syntax("\(error)"))
        }
        return reader.documents
    }
}

// Yams resolves aliases while it composes, and hashes the keys of each mapping: a dozen lines of aliases to aliases
// would take it for ever, or nest deeper than the stack. So no alias reaches it. In the text that it gets, the star of
// everything that could be an alias is another character that occurs nowhere in the text; what looks like an alias in a
// quoted text or a comment gets its star back afterwards, and a plain scalar that begins with the mark was an alias.

/// The character that stands for the star of aliases, or nil if the text has none.
private func aliasMark(for text: String) -> Unicode.Scalar? {
    var previous: UInt8 = 0
    var isNeeded = false
    for byte in text.utf8 {
        if previous == UInt8(ascii: "*") && isAnchorCharacter(byte) {
            isNeeded = true
            break
        }
        previous = byte
    }
    guard isNeeded else { return nil }
    // Private use: printable for libyaml, and there are 6,400 of them.
    let used = Set(text.unicodeScalars.lazy.filter { (0xE000...0xF8FF).contains($0.value) })
    return (0xE000...0xF8FF as ClosedRange<UInt32>).lazy.compactMap { Unicode.Scalar($0) }.first { !used.contains($0) }
}

private func replaceAliases(in text: String, with mark: Unicode.Scalar) -> String {
    let bytes = Array(text.utf8)
    let replacement = Array(String(Character(mark)).utf8)
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count + 64)
    for (index, byte) in bytes.enumerated() {
        if byte == UInt8(ascii: "*"), index + 1 < bytes.count, isAnchorCharacter(bytes[index + 1]) {
            result += replacement
        } else {
            result.append(byte)
        }
    }
    return String(decoding: result, as: UTF8.self)
}

/// Source: libyaml's IS_ALPHA.
private func isAnchorCharacter(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "_"), UInt8(ascii: "-"):
        true
    default: false
    }
}

private struct YAMLReader {
    /// What an alias stands for, and what it costs.
    struct Anchored {
        var node: DocumentNode
        var nodes: Int
        var height: Int
    }

    let file: String?
    let limits: TextLimits
    let mark: Unicode.Scalar?
    var documents: [DocumentNode] = []
    var anchors: [String: Anchored] = [:]
    var nodes = 0
    var path = DocumentPath()

    init(file: String?, limits: TextLimits, mark: Unicode.Scalar?) {
        self.file = file
        self.limits = limits
        self.mark = mark
    }

    func error(_ problem: TextFormatError.Problem, _ place: SourcePosition) -> TextFormatError {
        TextFormatError(file: file, position: place, path: path.description, problem: problem)
    }

    mutating func readDocument(_ root: Node) throws(TextFormatError) -> DocumentNode {
        anchors = [:]  // They hold within their document.
        return try read(root, depth: 1).node
    }

    /// - Parameter isKey: Yams gives the keys of a mapping the tag of a text when it looks for duplicates, so for them
    ///   only the quotes tell a text.
    mutating func read(_ node: Node, depth: Int, isKey: Bool = false) throws(TextFormatError) -> Anchored {
        let place =
            node.mark.map { SourcePosition(line: $0.line, column: $0.column) }
            ?? SourcePosition(line: 1, column: 1)
        guard depth <= limits.depth else { throw error(.tooDeep(limit: limits.depth), place) }
        let before = nodes
        try count(1, place)
        var result: Anchored
        switch node {
        case .scalar(let scalar):
            if let name = aliasName(scalar) {
                nodes -= 1
                result = try resolve(name, depth: depth, place)
            } else {
                let scalar = try readScalar(scalar, isKey: isKey, place)
                result = Anchored(node: .scalar(scalar), nodes: 1, height: 1)
            }
        case .sequence(let sequence):
            try checkTag(sequence.tag, ["tag:yaml.org,2002:seq"], place)
            result = try readSequence(sequence, depth: depth, place)
        case .mapping(let mapping):
            try checkTag(mapping.tag, ["tag:yaml.org,2002:map"], place)
            result = try readMapping(mapping, depth: depth, place)
        case .alias(let alias):
            result = try resolve(alias.anchor.rawValue, depth: depth, place)
        }
        result.nodes = nodes - before
        if let anchor = node.anchor { anchors[restore(anchor.rawValue)] = result }
        return result
    }

    mutating func readSequence(
        _ sequence: Node.Sequence, depth: Int, _ place: SourcePosition
    ) throws(TextFormatError) -> Anchored {
        var elements: [DocumentNode] = []
        var height = 0
        for element in sequence {
            path.push(.index(elements.count))
            let read = try read(element, depth: depth + 1)
            path.pop()
            elements.append(read.node)
            height = max(height, read.height)
        }
        return Anchored(node: .sequence(elements, at: place), nodes: 0, height: height + 1)
    }

    mutating func readMapping(
        _ mapping: Node.Mapping, depth: Int, _ place: SourcePosition
    ) throws(TextFormatError) -> Anchored {
        var members: [DocumentNode.Member] = []
        var merged: [DocumentNode.Member] = []
        var keys: Set<[UInt8]> = []
        var height = 0
        for (keyNode, valueNode) in mapping {
            let keyPlace = keyNode.mark.map { SourcePosition(line: $0.line, column: $0.column) } ?? place
            guard case .scalar(let key) = try read(keyNode, depth: depth + 1, isKey: true).node else {
                throw error(
                    .mismatch(expected: "a key", found: "a list or mapping", mend: "write a text before the colon"),
                    keyPlace)
            }
            guard keys.insert(Array(key.text.utf8)).inserted else { throw error(.duplicateKey(key.text), keyPlace) }
            path.push(.field(key.text))
            let value = try read(valueNode, depth: depth + 1)
            height = max(height, value.height)
            if key.style == .plain && key.text == "<<" {
                merged += try mergedMembers(value.node)
            } else {
                members.append(.init(key: key, value: value.node))
            }
            path.pop()
        }
        // What the mapping says itself comes first, then the first of several merged ones. Source: YAML merge key.
        for member in merged where keys.insert(Array(member.key.text.utf8)).inserted { members.append(member) }
        return Anchored(node: .mapping(members, at: place), nodes: 0, height: height + 1)
    }

    /// The members of a mapping, or of each mapping of a list.
    func mergedMembers(_ node: DocumentNode) throws(TextFormatError) -> [DocumentNode.Member] {
        var members: [DocumentNode.Member] = []
        for source in node.elements ?? [node] {
            guard case .mapping(let more, _) = source else {
                throw error(
                    .mismatch(expected: "a mapping to merge", found: source.noun, mend: "write <<: *anchor"),
                    source.position)
            }
            members += more
        }
        return members
    }

    mutating func resolve(_ name: String, depth: Int, _ place: SourcePosition) throws(TextFormatError) -> Anchored {
        guard let anchored = anchors[name] else { throw error(.undefinedAlias(name), place) }
        try count(anchored.nodes, place)
        guard depth + anchored.height - 1 <= limits.depth else { throw error(.tooDeep(limit: limits.depth), place) }
        return anchored
    }

    mutating func count(_ more: Int, _ place: SourcePosition) throws(TextFormatError) {
        nodes += more
        guard nodes <= limits.nodes else { throw error(.tooManyNodes(limit: limits.nodes), place) }
    }
}

// MARK: - Scalars and errors

extension YAMLReader {
    private func restore(_ text: String) -> String {
        guard let mark, text.unicodeScalars.contains(mark) else { return text }
        return String(String.UnicodeScalarView(text.unicodeScalars.map { $0 == mark ? "*" : $0 }))
    }

    /// The name after the star, if the scalar was an alias.
    private func aliasName(_ scalar: Node.Scalar) -> String? {
        guard let mark, scalar.style == .plain, scalar.string.unicodeScalars.first == mark else { return nil }
        return restore(String(scalar.string.unicodeScalars.dropFirst()))
    }

    private func readScalar(
        _ scalar: Node.Scalar, isKey: Bool, _ place: SourcePosition
    ) throws(TextFormatError) -> DocumentScalar {
        let text = restore(scalar.string)
        let isQuoted = scalar.style != .plain
        let tag = scalar.tag.description
        switch tag == "tag:yaml.org,2002:str" && isKey ? "" : tag {
        case "", "!": return DocumentScalar(text, isQuoted ? .quoted : .plain, at: place)
        case "tag:yaml.org,2002:str", "tag:yaml.org,2002:binary": return DocumentScalar(text, .quoted, at: place)
        case "tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null":
            return DocumentScalar(text, .plain, at: place)
        default:
            try checkTag(scalar.tag, [], place)
            return DocumentScalar(text, .plain, at: place)
        }
    }

    private func checkTag(_ tag: Tag, _ allowed: [String], _ place: SourcePosition) throws(TextFormatError) {
        let name = tag.description
        guard name.isEmpty || name == "!" || allowed.contains(name) else {
            throw error(.syntax("the tag \(excerpt(restore(name))) is not supported here"), place)
        }
    }

    func translate(_ error: YamlError) -> TextFormatError {
        func make(_ words: String, _ place: SourcePosition?) -> TextFormatError {
            TextFormatError(file: file, position: place, path: "", problem: .syntax(restore(words)))
        }
        func place(_ mark: Mark) -> SourcePosition { SourcePosition(line: mark.line, column: mark.column) }
        switch error {
        case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _):
            guard let context else { return make(problem, place(mark)) }
            return make("\(context.text) from \(context.mark): \(problem)", place(mark))
        case .composer(_, let problem, let mark, _): return make(problem, place(mark))
        case .reader(let problem, let offset, _, let yaml):
            guard let offset else { return make(problem, nil) }
            let before = yaml.prefix(offset)
            let line = before.reduce(1) { $1.isNewline ? $0 + 1 : $0 }
            let column = before.reversed().prefix { !$0.isNewline }.count + 1
            return make(problem, SourcePosition(line: line, column: column))
        case .duplicatedKeysInMapping(let duplicates, let context):
            return TextFormatError(
                file: file, position: place(context.mark), path: "",
                problem: .duplicateKey(duplicates.first.map { restore($0) } ?? ""))
        case .no, .memory, .writer, .emitter, .representer, .dataCouldNotBeDecoded: return make("\(error)", nil)
        }
    }
}
