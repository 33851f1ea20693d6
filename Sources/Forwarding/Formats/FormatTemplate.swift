import HTTP

/// A text with `%COMMANDS%` in it, compiled: what logs write, and what values of headers are made from.
/// Source: Envoy, "Substitution Formatter", `SubstitutionFormatParser::parse`.
struct FormatTemplate: Sendable, Equatable {
    enum Part: Sendable, Equatable {
        case text([UInt8])
        case command(FormatCommand)
    }

    private(set) var parts: [Part] = []

    /// - Parameter text: `%%` stands for the sign itself.
    init(_ text: String) throws(ConfigurationError) {
        var literal: [UInt8] = []
        var rest = text[...]
        while let sign = rest.firstIndex(of: "%") {
            literal += rest[..<sign].utf8
            rest = rest[rest.index(after: sign)...]
            if rest.first == "%" {
                literal.append(UInt8(ascii: "%"))
                rest = rest.dropFirst()
                continue
            }
            // An argument may hold the sign: %START_TIME(%Y)%.
            var end = rest.firstIndex(of: "%")
            if let open = rest.firstIndex(of: "("), let sign = end, open < sign {
                end = rest.firstIndex(of: ")").flatMap { rest[$0...].firstIndex(of: "%") }
            }
            guard let end else {
                throw .invalid(path: "", message: "`\(text)` has a % without an end (write %% for one)")
            }
            if !literal.isEmpty { parts.append(.text(literal)) }
            literal = []
            parts.append(.command(try FormatCommand(rest[..<end], in: text)))
            rest = rest[rest.index(after: end)...]
        }
        literal += rest.utf8
        if !literal.isEmpty { parts.append(.text(literal)) }
    }

    /// What it is for every record; nil if that differs.
    var constant: [UInt8]? {
        var constant: [UInt8] = []
        for part in parts {
            guard case .text(let text) = part else { return nil }
            constant += text
        }
        return constant
    }

    /// - Parameter omitsEmpty: what is not there is left out, not written as `-`.
    func append(
        _ record: AccessRecord, _ scratch: inout FormatScratch, omitsEmpty: Bool, to output: inout [UInt8]
    ) {
        for part in parts {
            switch part {
            case .text(let text): output += text
            case .command(let command):
                if !command.append(record, &scratch, to: &output), !omitsEmpty { output.append(UInt8(ascii: "-")) }
            }
        }
    }
}
