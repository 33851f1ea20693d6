import ArgumentParser

enum TextOrJSON: String, ExpressibleByArgument, CaseIterable {
    case text, json
}

enum TableOrDocument: String, ExpressibleByArgument, CaseIterable {
    case table, yaml, json
}

enum TableOrJSON: String, ExpressibleByArgument, CaseIterable {
    case table, json
}

/// Reads what the control plane has answered.
/// - Throws: a ``CommandProblem`` for what is no such answer.
func readAnswer<Answer>(_ read: () throws -> Answer) throws -> Answer {
    do {
        return try read()
    } catch {
        throw unreadableAnswer(": \(error)")
    }
}

func unreadableAnswer(_ reason: String = "") -> CommandProblem {
    CommandProblem("the control plane's answer cannot be read\(reason)", hint: "use the same version here and there")
}
