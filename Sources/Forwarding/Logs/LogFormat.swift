import CEnvoyAPI
import EnvoyAPI
import HTTP
import Time

/// What a log writes of each record, compiled: a line of text, or an object of JSON.
/// Source: Envoy, `config.core.v3.SubstitutionFormatString`.
public struct LogFormat: Sendable {
    indirect enum Value: Sendable, Equatable {
        case template(FormatTemplate)
        case object([(name: [UInt8], value: Value)])
        case list([Value])
        /// What is the same in every line, as JSON.
        case literal([UInt8])

        static func == (left: Value, right: Value) -> Bool {
            switch (left, right) {
            case (.template(let left), .template(let right)): left == right
            case (.list(let left), .list(let right)): left == right
            case (.literal(let left), .literal(let right)): left == right
            case (.object(let left), .object(let right)):
                left.elementsEqual(right) { $0.name == $1.name && $0.value == $1.value }
            default: false
            }
        }
    }

    enum Shape: Sendable, Equatable {
        case text(FormatTemplate)
        case json(Value)
    }

    let shape: Shape
    /// Whether what is not there is left out, not written as `-` or null.
    let omitsEmpty: Bool

    /// What Envoy writes if nothing else is asked for.
    public static let standard: String =
        "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% "
        + "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
        + "\"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" "
        + "\"%UPSTREAM_HOST%\"\n"

    /// - Parameter text: with its line end, if lines are wanted.
    public init(text: String, omitsEmpty: Bool = false) throws(ConfigurationError) {
        shape = .text(try FormatTemplate(text))
        self.omitsEmpty = omitsEmpty
    }

    /// - Parameter fields: of a JSON object; each text in them is a template. One line for each record.
    public init(
        json fields: [StructureValue.Field], omitsEmpty: Bool = false, sortsNames: Bool = false
    ) throws(ConfigurationError) {
        shape = .json(try Self.compile(.object(fields), sortsNames, "json_format"))
        self.omitsEmpty = omitsEmpty
    }

    private static func compile(
        _ value: StructureValue, _ sortsNames: Bool, _ path: String
    ) throws(ConfigurationError) -> Value {
        switch value {
        case .string(let text):
            return .template(try at(path) { () throws(ConfigurationError) in try FormatTemplate(text) })
        case .object(let fields):
            var compiled: [(name: [UInt8], value: Value)] = []
            for field in sortsNames ? fields.sorted(by: { $0.name < $1.name }) : fields {
                let value = try compile(field.value, sortsNames, "\(path).\(field.name)")
                compiled.append((Array(StructureValue.string(field.name).json.utf8), value))
            }
            return .object(compiled)
        case .list(let items):
            var compiled: [Value] = []
            for (index, item) in items.enumerated() {
                compiled.append(try compile(item, sortsNames, "\(path)[\(index)]"))
            }
            return .list(compiled)
        case .null, .bool, .number: return .literal(Array(value.json.utf8))
        }
    }

    // MARK: Writing

    /// Appends what is written of a record.
    public func append(_ record: AccessRecord, _ scratch: inout FormatScratch, to output: inout [UInt8]) {
        switch shape {
        case .text(let template): template.append(record, &scratch, omitsEmpty: omitsEmpty, to: &output)
        case .json(let value):
            if !append(value, record, &scratch, to: &output) { output += [UInt8(ascii: "{"), UInt8(ascii: "}")] }
            output.append(UInt8(ascii: "\n"))
        }
    }

    /// - Returns: false where there is nothing and nothing is to be written.
    private func append(
        _ value: Value, _ record: AccessRecord, _ scratch: inout FormatScratch, to output: inout [UInt8]
    ) -> Bool {
        switch value {
        case .literal(let bytes): output += bytes
        case .template(let template): return append(template, record, &scratch, to: &output)
        case .list(let items):
            output.append(UInt8(ascii: "["))
            var isFirst = true
            for item in items {
                let before = output.count
                if !isFirst { output.append(UInt8(ascii: ",")) }
                if append(item, record, &scratch, to: &output) {
                    isFirst = false
                } else {
                    output.removeLast(output.count - before)
                }
            }
            output.append(UInt8(ascii: "]"))
        case .object(let fields):
            output.append(UInt8(ascii: "{"))
            var isFirst = true
            for field in fields {
                let before = output.count
                if !isFirst { output.append(UInt8(ascii: ",")) }
                output += field.name
                output.append(UInt8(ascii: ":"))
                if append(field.value, record, &scratch, to: &output) {
                    isFirst = false
                } else {
                    output.removeLast(output.count - before)
                }
            }
            output.append(UInt8(ascii: "}"))
        }
        return true
    }

    /// A command alone keeps its type; with text around it, it is a string.
    private func append(
        _ template: FormatTemplate, _ record: AccessRecord, _ scratch: inout FormatScratch,
        to output: inout [UInt8]
    ) -> Bool {
        if template.parts.count == 1, case .command(let command) = template.parts[0] {
            if command.isNumber {
                if command.append(record, &scratch, to: &output) { return true }
            } else {
                let start = output.count
                if command.append(record, &scratch, to: &output) {
                    output.quoteJSON(from: start)
                    return true
                }
            }
            if omitsEmpty { return false }
            output += [0x6e, 0x75, 0x6c, 0x6c]
            return true
        }
        let start = output.count
        template.append(record, &scratch, omitsEmpty: omitsEmpty, to: &output)
        output.quoteJSON(from: start)
        return true
    }
}

extension [UInt8] {
    /// Makes a JSON string of the bytes from `start` on; what is no UTF-8 becomes replacement characters.
    fileprivate mutating func quoteJSON(from start: Int) {
        let isPlain = self[start...].allSatisfy {
            $0 >= 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\")
        }
        if isPlain {
            insert(UInt8(ascii: "\""), at: start)
            append(UInt8(ascii: "\""))
        } else {
            let quoted = StructureValue.string(String(decoding: self[start...], as: UTF8.self)).json
            removeLast(count - start)
            append(contentsOf: quoted.utf8)
        }
    }
}
