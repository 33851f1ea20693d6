/// `app=reviews,version!=v1,canary,!old`: which labels an object must have, as kubectl takes it.
struct LabelExpression {
    private enum Requirement {
        case equals(String, String)
        case differs(String, String)
        case present(String)
        case absent(String)
    }

    private let requirements: [Requirement]

    /// - Returns: nil for what is no such expression.
    init?(_ text: String) {
        var found: [Requirement] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let part = Self.trimmed(part)
            if part.isEmpty {
                guard text.allSatisfy(\.isWhitespace) else { return nil }
                continue
            }
            if let sign = part.firstRange(of: "!=") {
                found.append(
                    .differs(Self.trimmed(part[..<sign.lowerBound]), Self.trimmed(part[sign.upperBound...])))
            } else if let sign = part.firstRange(of: "==") ?? part.firstRange(of: "=") {
                found.append(.equals(Self.trimmed(part[..<sign.lowerBound]), Self.trimmed(part[sign.upperBound...])))
            } else if part.hasPrefix("!") {
                found.append(.absent(Self.trimmed(part.dropFirst())))
            } else {
                found.append(.present(part))
            }
        }
        requirements = found
        guard requirements.allSatisfy({ !Self.key($0).isEmpty && !Self.key($0).contains(" ") }) else { return nil }
    }

    func matches(_ labels: [String: String]) -> Bool {
        requirements.allSatisfy { requirement in
            switch requirement {
            case .equals(let key, let value): labels[key] == value
            case .differs(let key, let value): labels[key] != value
            case .present(let key): labels[key] != nil
            case .absent(let key): labels[key] == nil
            }
        }
    }

    private static func key(_ requirement: Requirement) -> String {
        switch requirement {
        case .equals(let key, _), .differs(let key, _), .present(let key), .absent(let key): key
        }
    }

    private static func trimmed(_ text: some StringProtocol) -> String {
        String(text.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
    }
}
