import Documents
import EnvoyAPI

extension StructureValue {
    /// A text as it is, others as JSON.
    var plainText: String {
        if case .string(let text) = self { text } else { json }
    }

    var json: String {
        switch self {
        case .null: "null"
        case .bool(let flag): flag ? "true" : "false"
        case .number(let number):
            number == number.rounded() && abs(number) < 1e15 ? "\(Int64(number))" : "\(number)"
        case .string(let text): quotedText(text)
        case .list(let items): "[" + items.map(\.json).joined(separator: ",") + "]"
        case .object(let fields):
            "{" + fields.map { quotedText($0.name) + ":" + $0.value.json }.joined(separator: ",") + "}"
        }
    }
}
