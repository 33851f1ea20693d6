/// A header's value with `%COMMANDS%` in it, compiled. What is not known when it is made is left out.
/// Source: Envoy, "Custom request/response headers".
public struct HeaderFormat: Sendable {
    private let template: FormatTemplate

    public init(_ text: String) throws(ConfigurationError) {
        template = try FormatTemplate(text)
        for case .command(let command) in template.parts {
            guard case .emitTime = command.kind else { continue }
            throw .unsupported(path: "", message: "EMIT_TIME is when a line of a log is written, not a header")
        }
    }

    /// The value if it is the same for every request.
    var constant: [UInt8]? { template.constant }

    /// The value for one request, as far as it has come. Control characters of what it is made from (a claim of a
    /// token, the path of a socket) are left out: they would end the field.
    public func value(_ record: AccessRecord) -> [UInt8] {
        var value: [UInt8] = []
        var scratch = FormatScratch()
        template.append(record, &scratch, omitsEmpty: true, to: &value)
        if !FieldText.isValue(value) { value.removeAll { !FieldText.isOfValue($0) } }
        return value
    }
}
