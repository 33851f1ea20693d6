import Documents

// JSON that admin pages answer with.
extension DocumentNode {
    private static let nowhere = SourcePosition(line: 1, column: 1)

    static func text(_ text: String) -> DocumentNode { .scalar(DocumentScalar(text, .quoted)) }
    static func number(_ number: some BinaryInteger) -> DocumentNode { .scalar(DocumentScalar("\(number)", .number)) }
    static func flag(_ flag: Bool) -> DocumentNode { .scalar(DocumentScalar("\(flag)", .keyword)) }
    static func list(_ nodes: [DocumentNode]) -> DocumentNode { .sequence(nodes, at: nowhere) }

    /// - Parameter members: each name once; in this order.
    static func object(_ members: [(String, DocumentNode)]) -> DocumentNode {
        .mapping(members.map { Member(key: DocumentScalar($0.0, .quoted), value: $0.1) }, at: nowhere)
    }

    /// On one line.
    var line: String { json(isPretty: false) + "\n" }
}
