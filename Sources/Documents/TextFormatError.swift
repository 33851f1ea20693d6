/// Why a text is no document, a document is no message, or a message has no text form.
public struct TextFormatError: Error, Hashable, Sendable {
    public enum Problem: Hashable, Sendable {
        /// Not JSON, or not YAML; with the parser's words.
        case syntax(String)
        case tooLong(limit: Int)
        case tooManyNodes(limit: Int)
        case tooDeep(limit: Int)
        /// The message that the text makes would take more bytes.
        case tooMuchMemory(limit: Int)
        case undefinedAlias(String)
        case duplicateKey(String)
        case unknownField(String, type: String, suggestion: String?)
        /// The same field under two spellings.
        case fieldGivenTwice(String, String)
        /// Two members of one oneof.
        case oneofConflict(String, String)
        case unknownEnumName(String, type: String, suggestion: String?)
        case missingType
        case unknownType(String, suggestion: String?)
        /// `found` is not what the field takes; `mend` says how to write it.
        case mismatch(expected: String, found: String, mend: String)
        case outOfRange(String, range: String)
        case embeddedNUL
        /// The message holds a value for which the proto3 JSON mapping has no text.
        case notRepresentable(String)
        /// The content of an Any does not decode: why, and what to do about it.
        case malformedAny(String, mend: String)
    }

    /// The name that the caller gave, if any.
    public var file: String?
    /// Nil when the error is about a message and not about a text.
    public var position: SourcePosition?
    /// `resources[3].connect_timeout`, empty for the document itself.
    public var path: String
    public var problem: Problem

    public init(file: String? = nil, position: SourcePosition?, path: String, problem: Problem) {
        self.file = file
        self.position = position
        self.path = path
        self.problem = problem
    }
}

extension TextFormatError: CustomStringConvertible {
    /// `web.yaml:12:7: resources[0].lb_policy: ROUNDROBIN is no value of …`
    public var description: String {
        var place = [file, position.map { "\($0.line):\($0.column)" }].compactMap { $0 }.joined(separator: ":")
        if !place.isEmpty { place += ": " }
        return place + (path.isEmpty ? "" : path + ": ") + words
    }

    /// What is wrong, without the place.
    public var words: String {
        switch problem {
        case .syntax(let words): words
        case .tooLong(let limit): "the text is longer than \(limit) bytes"
        case .tooManyNodes(let limit): "more than \(limit) nodes, those that aliases stand for counted"
        case .tooDeep(let limit): "nested more than \(limit) deep"
        case .tooMuchMemory(let limit): "the message would take more than \(limit) bytes"
        case .undefinedAlias(let name): "*\(excerpt(name)) has no anchor before it"
        case .duplicateKey(let key): "the key `\(excerpt(key))` is given twice"
        case .unknownField(let name, let type, _): "\(type) has no field `\(excerpt(name))`"
        case .fieldGivenTwice(let one, let other): "`\(one)` and `\(other)` are the same field"
        case .oneofConflict(let one, let other): "`\(one)` and `\(other)` exclude each other"
        case .unknownEnumName(let name, let type, _): "`\(excerpt(name))` is no value of \(type)"
        case .missingType: "an Any without `@type`"
        case .unknownType(let url, _): "`\(excerpt(url))` names no type that is known here"
        case .mismatch(let expected, let found, _): "expected \(expected), found \(found)"
        case .outOfRange(let value, let range): "\(excerpt(value)) is not within \(range)"
        case .embeddedNUL: "a text with a NUL"
        case .notRepresentable(let what): "\(what) has no JSON form"
        case .malformedAny(let words, _): "the content of the Any: \(words)"
        }
    }

    /// What to do about it.
    public var hint: String {
        switch problem {
        case .syntax: "correct the text at this place"
        case .tooLong, .tooManyNodes, .tooMuchMemory: "split the text into several"
        case .tooDeep: "flatten the document"
        case .undefinedAlias(let name): "define &\(excerpt(name)) above, or quote a text that begins with *"
        case .duplicateKey: "keep one of them"
        case .unknownField(_, _, let suggestion?), .unknownEnumName(_, _, let suggestion?),
            .unknownType(_, let suggestion?):
            "did you mean `\(suggestion)`?"
        case .unknownField(_, let type, nil): "remove it, or look up the fields of \(type)"
        case .unknownEnumName(_, let type, nil): "look up the values of \(type)"
        case .unknownType: "write type.googleapis.com/ and the full name of a type that this build knows"
        case .fieldGivenTwice, .oneofConflict: "keep one of them"
        case .missingType: "add \"@type\": type.googleapis.com/ and the full name of the type"
        case .mismatch(_, _, let mend): mend
        case .outOfRange: "write a value within the range"
        case .embeddedNUL: "remove the NUL"
        case .notRepresentable: "correct the message's maker"
        case .malformedAny(_, let mend): mend
        }
    }
}

/// The candidate that is nearest to what was written, or nil if none is near: at most a third of its letters differ.
package func suggestion(for written: String, among candidates: [String]) -> String? {
    let word = Array(written.lowercased().utf8)
    guard word.count <= 100 else { return nil }
    var best: (distance: Int, name: String)?
    for candidate in candidates {
        let other = Array(candidate.lowercased().utf8)
        let bound = max(1, max(word.count, other.count) / 3)
        guard abs(other.count - word.count) <= bound else { continue }
        let distance = editDistance(word, other)
        if distance <= bound, distance < best?.distance ?? .max { best = (distance, candidate) }
    }
    return best?.name
}

/// Insertions, deletions and replacements from one word to the other (Levenshtein).
private func editDistance(_ one: [UInt8], _ other: [UInt8]) -> Int {
    var row = Array(0...other.count)
    for (index, byte) in one.enumerated() {
        var diagonal = row[0]
        row[0] = index + 1
        for column in 0..<other.count {
            let replaced = diagonal + (byte == other[column] ? 0 : 1)
            diagonal = row[column + 1]
            row[column + 1] = min(replaced, row[column] + 1, diagonal + 1)
        }
    }
    return row[other.count]
}
