import Documents

/// What a text of objects says.
public struct ObjectText: Sendable {
    /// In the order of the text.
    public var objects: [MeshObject]

    public var warnings: [MeshFinding] { objects.flatMap(\.warnings) }

    /// Reads YAML documents, or a JSON text where `file` ends in `.json` or the text begins with a brace: each is an
    /// object, or a `List` of objects.
    /// - Parameter file: for messages and for its ending.
    /// - Parameter namespace: of objects that name none.
    /// - Throws: everything that is wrong with it, up to ``ObjectErrors/limit``; then nothing of it counts.
    public init(
        _ bytes: [UInt8], file: String? = nil, namespace: String = "default", limits: TextLimits = .standard
    ) throws(ObjectErrors) {
        let isJSON = file?.hasSuffix(".json") == true || bytes.first { $0 > 0x20 } == UInt8(ascii: "{")
        let documents: [DocumentNode]
        let text: String
        do throws(TextFormatError) {
            guard bytes.count <= limits.bytes else {
                throw TextFormatError(file: file, position: nil, path: "", problem: .tooLong(limit: limits.bytes))
            }
            if isJSON {
                documents = [try DocumentNode.parseJSON(bytes: bytes, file: file, limits: limits)]
                text = String(decoding: bytes, as: UTF8.self)
            } else {
                text = try Self.checkedText(bytes, file)
                documents = try DocumentNode.parseYAML(text, file: file, limits: limits)
            }
        } catch {
            throw ObjectErrors([MeshFinding(error)])
        }
        let pieces = isJSON ? [(line: 1, text: text)] : Self.pieces(of: text)
        let reader = ObjectReader(log: ReadingLog(file: file), namespace: namespace)
        var found: [(object: MeshObject, at: SourcePosition)] = []
        for document in documents {
            let piece = pieces.last { $0.line <= document.position.line } ?? (1, text)
            let source = ObjectSource(
                file: file, text: piece.text, line: piece.line, format: isJSON ? .json : .yaml, item: nil)
            reader.read(document, source, into: &found)
        }
        reader.refuseDuplicates(found)
        if let failures = reader.log.failures { throw failures }
        objects = found.map(\.object)
    }

    /// - Throws: the line of the first byte that is not UTF-8.
    private static func checkedText(_ bytes: [UInt8], _ file: String?) throws(TextFormatError) -> String {
        let bad = bytes.withUnsafeBufferPointer { buffer in
            buffer.baseAddress.flatMap { firstUnacceptableByte(in: $0, count: buffer.count)?.offset }
        }
        guard let bad else { return String(decoding: bytes, as: UTF8.self) }
        let before = bytes[..<bad]
        let line = before.reduce(1) { $1 == 0x0A ? $0 + 1 : $0 }
        let column = before.reversed().prefix { $0 != 0x0A }.count + 1
        throw TextFormatError(
            file: file, position: SourcePosition(line: line, column: column), path: "",
            problem: .syntax("a byte that is not UTF-8, or is NUL"))
    }

    /// The documents of a YAML text with their first lines, markers left out. A line that begins with three dashes or
    /// dots is a marker everywhere, in a block of text too. Source: YAML 1.2, c-forbidden.
    private static func pieces(of text: String) -> [(line: Int, text: String)] {
        let bytes = Array(text.utf8)
        var pieces: [(line: Int, text: String)] = []
        var start: (at: Int, line: Int)?
        var (at, line) = (0, 1)
        func close(at end: Int) {
            guard let piece = start else { return }
            pieces.append((piece.line, String(decoding: bytes[piece.at..<end], as: UTF8.self)))
            start = nil
        }
        while at < bytes.count {
            let end = endOfLine(bytes, from: at)
            if isMarker(bytes[at..<end]) {
                close(at: at)
                // What follows the dashes on their line belongs to the document: the marker stays with it.
                if bytes[(at + 3)..<end].contains(where: { $0 > 0x20 }) { start = (at, line) }
            } else if start == nil, bytes[at..<end].contains(where: { $0 > 0x20 }) {
                // A comment above `apiVersion` belongs to the object, blank lines do not.
                start = (at, line)
            }
            (at, line) = (end, line + 1)
        }
        close(at: bytes.count)
        return pieces
    }

    private static func isMarker(_ line: ArraySlice<UInt8>) -> Bool {
        guard line.starts(with: "---".utf8) || line.starts(with: "...".utf8) else { return false }
        return line.dropFirst(3).first.map { $0 <= 0x20 || $0 == 0xC2 || $0 == 0xE2 } ?? true
    }

    /// Behind the line break. Source: libyaml's IS_BREAK: CR, LF, both, NEL, LS, PS.
    private static func endOfLine(_ bytes: [UInt8], from start: Int) -> Int {
        var at = start
        while at < bytes.count {
            switch bytes[at] {
            case 0x0A: return at + 1
            case 0x0D: return at + 1 < bytes.count && bytes[at + 1] == 0x0A ? at + 2 : at + 1
            case 0xC2 where at + 1 < bytes.count && bytes[at + 1] == 0x85: return at + 2
            case 0xE2 where at + 2 < bytes.count && bytes[at + 1] == 0x80 && bytes[at + 2] & 0xFE == 0xA8: return at + 3
            default: at += 1
            }
        }
        return at
    }
}

extension MeshFinding {
    init(_ error: TextFormatError) {
        let kind: Kind
        switch error.problem {
        case .tooLong, .tooManyNodes, .tooDeep, .tooMuchMemory: kind = .tooMuch
        case .duplicateKey: kind = .contradiction
        default: kind = .syntax
        }
        self.init(
            .error, kind, object: nil, file: error.file, position: error.position, path: error.path, error.words,
            mend: error.hint)
    }
}
