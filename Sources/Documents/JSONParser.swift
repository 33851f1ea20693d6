extension DocumentNode {
    /// Parses one JSON text, strictly: nothing but white space may follow it, and keys are unique.
    /// - Parameter file: only for messages.
    /// - Throws: line, column and path of the first error. Source: RFC 8259.
    public static func parseJSON(
        _ text: String, file: String? = nil, limits: TextLimits = .standard
    ) throws(TextFormatError) -> DocumentNode {
        try parseJSON(bytes: Array(text.utf8), file: file, limits: limits)
    }

    /// Parses one JSON text that came as bytes: what is not UTF-8 is an error too.
    public static func parseJSON(
        bytes: [UInt8], file: String? = nil, limits: TextLimits = .standard
    ) throws(TextFormatError) -> DocumentNode {
        var parser = JSONParser(bytes: bytes, file: file, limits: limits)
        return try parser.parseText()
    }
}

private struct JSONParser {
    let bytes: [UInt8]
    let file: String?
    let limits: TextLimits
    var at = 0
    var line = 1
    var lineStart = 0
    /// Bytes since the start of the line that continue a Unicode scalar, so that columns need no second look.
    var continuations = 0
    var nodes = 0
    var path = DocumentPath()

    init(bytes: [UInt8], file: String?, limits: TextLimits) {
        self.bytes = bytes
        self.file = file
        self.limits = limits
    }

    var position: SourcePosition { SourcePosition(line: line, column: at - lineStart - continuations + 1) }

    func error(_ problem: TextFormatError.Problem, at place: SourcePosition? = nil) -> TextFormatError {
        TextFormatError(file: file, position: place ?? position, path: path.description, problem: problem)
    }

    mutating func parseText() throws(TextFormatError) -> DocumentNode {
        guard bytes.count <= limits.bytes else { throw error(.tooLong(limit: limits.bytes)) }
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { throw error(.syntax("a byte order mark before the JSON text")) }
        let node = try parseValue(depth: 1)
        skipSpace()
        guard at == bytes.count else { throw error(.syntax("more text after the end of the JSON value")) }
        return node
    }

    mutating func skipSpace() {
        while at < bytes.count {
            switch bytes[at] {
            case 0x20, 0x09, 0x0D: at += 1
            case 0x0A:
                at += 1
                (line, lineStart, continuations) = (line + 1, at, 0)
            default: return
            }
        }
    }

    mutating func parseValue(depth: Int) throws(TextFormatError) -> DocumentNode {
        skipSpace()
        nodes += 1
        guard nodes <= limits.nodes else { throw error(.tooManyNodes(limit: limits.nodes)) }
        guard at < bytes.count else { throw error(.syntax("the JSON text ends where a value should be")) }
        let place = position
        switch bytes[at] {
        case UInt8(ascii: "{"), UInt8(ascii: "["):
            guard depth <= limits.depth else { throw error(.tooDeep(limit: limits.depth)) }
            return bytes[at] == UInt8(ascii: "{")
                ? try parseObject(depth: depth, place) : try parseArray(depth: depth, place)
        case UInt8(ascii: "\""): return .scalar(DocumentScalar(try parseString(), .quoted, at: place))
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            return .scalar(DocumentScalar(try parseNumber(), .number, at: place))
        default:
            for keyword in ["true", "false", "null"] where bytes[at...].starts(with: keyword.utf8) {
                at += keyword.utf8.count
                return .scalar(DocumentScalar(keyword, .keyword, at: place))
            }
            throw error(.syntax("expected a JSON value"))
        }
    }

    mutating func parseObject(depth: Int, _ place: SourcePosition) throws(TextFormatError) -> DocumentNode {
        at += 1
        var members: [DocumentNode.Member] = []
        var keys: Set<[UInt8]> = []
        skipSpace()
        if take("}") { return .mapping([], at: place) }
        while true {
            skipSpace()
            let keyPlace = position
            guard at < bytes.count, bytes[at] == UInt8(ascii: "\"") else {
                throw error(.syntax("expected a key in double quotes"))
            }
            let key = try parseString()
            guard keys.insert(Array(key.utf8)).inserted else { throw error(.duplicateKey(key), at: keyPlace) }
            skipSpace()
            guard take(":") else { throw error(.syntax("expected a colon after the key")) }
            path.push(.field(key))
            let value = try parseValue(depth: depth + 1)
            path.pop()
            members.append(.init(key: DocumentScalar(key, .quoted, at: keyPlace), value: value))
            skipSpace()
            if take("}") { return .mapping(members, at: place) }
            guard take(",") else { throw error(.syntax("expected a comma or } in the object")) }
        }
    }

    mutating func parseArray(depth: Int, _ place: SourcePosition) throws(TextFormatError) -> DocumentNode {
        at += 1
        var elements: [DocumentNode] = []
        skipSpace()
        if take("]") { return .sequence([], at: place) }
        while true {
            path.push(.index(elements.count))
            elements.append(try parseValue(depth: depth + 1))
            path.pop()
            skipSpace()
            if take("]") { return .sequence(elements, at: place) }
            guard take(",") else { throw error(.syntax("expected a comma or ] in the list")) }
        }
    }

    mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard at < bytes.count, bytes[at] == UInt8(ascii: character) else { return false }
        at += 1
        return true
    }

    mutating func parseNumber() throws(TextFormatError) -> String {
        let start = at
        while at < bytes.count, "+-.eE0123456789".utf8.contains(bytes[at]) { at += 1 }
        let text = String(decoding: bytes[start..<at], as: UTF8.self)
        guard isJSONNumber(text) else {
            at = start
            throw error(.syntax("`\(excerpt(text))` is no JSON number"))
        }
        return text
    }
}

// MARK: - Strings

extension JSONParser {
    mutating func parseString() throws(TextFormatError) -> String {
        at += 1
        var result: [UInt8] = []
        while at < bytes.count {
            let start = at
            while at < bytes.count, bytes[at] != UInt8(ascii: "\""), bytes[at] != UInt8(ascii: "\\"), bytes[at] >= 0x20
            {
                if bytes[at] & 0xC0 == 0x80 { continuations += 1 }
                at += 1
            }
            try checkUTF8(start)
            result += bytes[start..<at]
            guard at < bytes.count else { break }
            switch bytes[at] {
            case UInt8(ascii: "\""):
                at += 1
                return String(decoding: result, as: UTF8.self)
            case UInt8(ascii: "\\"): try parseEscape(into: &result)
            default: throw error(.syntax("a control character in a string: write it as \\u00XX"))
            }
        }
        throw error(.syntax("a string without its closing quote"))
    }

    private func checkUTF8(_ start: Int) throws(TextFormatError) {
        let isValid = bytes.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return true }
            return firstUnacceptableByte(in: base + start, count: at - start) == nil
        }
        if !isValid { throw error(.syntax("a string that is not UTF-8")) }
    }

    private mutating func parseEscape(into result: inout [UInt8]) throws(TextFormatError) {
        guard at + 1 < bytes.count else { throw error(.syntax("a string without its closing quote")) }
        let place = position
        let letter = bytes[at + 1]
        at += 2
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): result.append(letter)
        case UInt8(ascii: "b"): result.append(0x08)
        case UInt8(ascii: "f"): result.append(0x0C)
        case UInt8(ascii: "n"): result.append(0x0A)
        case UInt8(ascii: "r"): result.append(0x0D)
        case UInt8(ascii: "t"): result.append(0x09)
        case UInt8(ascii: "u"):
            var code = try parseFourHexDigits(place)
            if code >= 0xD800 && code < 0xDC00 {
                guard at + 1 < bytes.count, bytes[at] == UInt8(ascii: "\\"), bytes[at + 1] == UInt8(ascii: "u") else {
                    throw error(.syntax("half a surrogate pair"), at: place)
                }
                at += 2
                let low = try parseFourHexDigits(place)
                guard low >= 0xDC00 && low < 0xE000 else { throw error(.syntax("half a surrogate pair"), at: place) }
                code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(code) else { throw error(.syntax("half a surrogate pair"), at: place) }
            result += Array(String(Character(scalar)).utf8)
        default: throw error(.syntax("an escape that JSON does not have"), at: place)
        }
    }

    private mutating func parseFourHexDigits(_ place: SourcePosition) throws(TextFormatError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard at < bytes.count, let digit = Character(Unicode.Scalar(bytes[at])).hexDigitValue else {
                throw error(.syntax("\\u needs four hexadecimal digits"), at: place)
            }
            value = value << 4 | UInt32(digit)
            at += 1
        }
        return value
    }
}
