import Patterns

/// Reads an expression from its text, by descent; the depth is bounded.
struct ExpressionReader {
    typealias Node = LogExpression.Node

    private enum Token: Equatable {
        case word(String)
        case number(Double)
        case text([UInt8])
        case sign(String)
        case end
    }

    private static let deepest = 64

    private let source: String
    private var rest: Substring
    private var token = Token.end
    private var depth = 0

    init(_ text: String) {
        source = text
        rest = text[...]
    }

    mutating func whole() throws(ConfigurationError) -> Node {
        try advance()
        let node = try choice()
        guard token == .end else { throw refuse("something follows the expression") }
        return node
    }

    private func refuse(_ why: String) -> ConfigurationError {
        .unsupported(path: "", message: "\(why), before `\(rest.prefix(20))` in `\(source.prefix(200))`")
    }

    // MARK: Tokens

    private mutating func advance() throws(ConfigurationError) {
        rest = rest.drop(while: \.isWhitespace)
        guard let first = rest.first else {
            token = .end
            return
        }
        if first == "\"" || first == "'" { return try readText(first) }
        if first.isASCII, first.isNumber { return try readNumber() }
        if first.isASCII, first.isLetter || first == "_" {
            let word = rest.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
            rest = rest[word.endIndex...]
            token = .word(String(word))
            return
        }
        for sign in ["==", "!=", "<=", ">=", "&&", "||"] where rest.hasPrefix(sign) {
            rest = rest.dropFirst(2)
            token = .sign(sign)
            return
        }
        guard "<>!()[].,?:-".contains(first) else { throw refuse("`\(first)` means nothing here") }
        rest = rest.dropFirst()
        token = .sign(String(first))
    }

    private mutating func readNumber() throws(ConfigurationError) {
        let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        guard let number = Double(digits) else { throw refuse("`\(digits)` is no number") }
        rest = rest[digits.endIndex...]
        if rest.first == "u" { rest = rest.dropFirst() }
        token = .number(number)
    }

    private mutating func readText(_ quote: Character) throws(ConfigurationError) {
        rest = rest.dropFirst()
        var bytes: [UInt8] = []
        while let next = rest.popFirst() {
            if next == quote {
                token = .text(bytes)
                return
            }
            guard next == "\\" else {
                bytes += next.utf8
                continue
            }
            switch rest.popFirst() {
            case "n": bytes.append(0x0a)
            case "r": bytes.append(0x0d)
            case "t": bytes.append(0x09)
            case "\\": bytes.append(0x5c)
            case "\"": bytes.append(0x22)
            case "'": bytes.append(0x27)
            default: throw refuse("an escape that is not supported")
            }
        }
        throw refuse("a text without an end")
    }

    private mutating func take(_ sign: String) throws(ConfigurationError) -> Bool {
        guard token == .sign(sign) else { return false }
        try advance()
        return true
    }

    private mutating func require(_ sign: String) throws(ConfigurationError) {
        guard try take(sign) else { throw refuse("`\(sign)` is missing") }
    }

    // MARK: Grammar

    private mutating func choice() throws(ConfigurationError) -> Node {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.deepest else { throw refuse("nested deeper than \(Self.deepest)") }
        let condition = try disjunction()
        guard try take("?") else { return condition }
        let first = try choice()
        try require(":")
        return .choice(condition, first, try choice())
    }

    private mutating func disjunction() throws(ConfigurationError) -> Node {
        var node = try conjunction()
        while try take("||") { node = .or(node, try conjunction()) }
        return node
    }

    private mutating func conjunction() throws(ConfigurationError) -> Node {
        var node = try relation()
        while try take("&&") { node = .and(node, try relation()) }
        return node
    }

    private mutating func relation() throws(ConfigurationError) -> Node {
        let left = try unary()
        if case .sign(let sign) = token, let comparison = LogExpression.Comparison(rawValue: sign) {
            try advance()
            return .compare(comparison, left, try unary())
        }
        if token == .word("in") {
            try advance()
            return .contained(left, in: try unary())
        }
        return left
    }

    private mutating func unary() throws(ConfigurationError) -> Node {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.deepest else { throw refuse("nested deeper than \(Self.deepest)") }
        if try take("!") { return .not(try unary()) }
        if try take("-") {
            guard case .number(let number) = token else { throw refuse("a number is missing") }
            try advance()
            return .constant(.number(-number))
        }
        return try members(of: try primary())
    }

    private mutating func primary() throws(ConfigurationError) -> Node {
        switch token {
        case .number(let number):
            try advance()
            return .constant(.number(number))
        case .text(let bytes):
            try advance()
            return .constant(.text(bytes))
        case .sign("("):
            try advance()
            let node = try choice()
            try require(")")
            return node
        case .sign("["):
            try advance()
            var nodes: [Node] = []
            while try !take("]") {
                nodes.append(try choice())
                if try !take(",") {
                    try require("]")
                    break
                }
            }
            return .list(nodes)
        case .word("true"), .word("false"):
            let flag = token == .word("true")
            try advance()
            return .constant(.bool(flag))
        case .word(let name):
            try advance()
            return try named(name)
        case .sign, .end: throw refuse("a value is missing")
        }
    }

    /// A function, or an attribute of two words.
    private mutating func named(_ name: String) throws(ConfigurationError) -> Node {
        if try take("(") {
            let argument = try choice()
            try require(")")
            switch name {
            case "has": return .has(argument)
            case "size": return .size(argument)
            // Numbers and texts are compared by value.
            case "int", "uint", "double": return argument
            default: throw refuse("the function `\(name)` is not supported")
            }
        }
        try require(".")
        guard case .word(let second) = token else { throw refuse("a name is missing") }
        try advance()
        guard let attribute = LogExpression.Attribute(rawValue: "\(name).\(second)") else {
            throw refuse("the attribute `\(name).\(second)` is not supported")
        }
        return .attribute(attribute)
    }

    private mutating func members(of node: Node) throws(ConfigurationError) -> Node {
        var node = node
        while true {
            if try take("[") {
                guard case .attribute(let map) = node, map.isMap else { throw refuse("only headers have members") }
                let name = try choice()
                try require("]")
                node = .header(map, name)
            } else if try take(".") {
                guard case .word(let name) = token else { throw refuse("a name is missing") }
                try advance()
                if case .attribute(let map) = node, map.isMap, token != .sign("(") {
                    node = .header(map, .constant(.text(Array(name.utf8))))
                    continue
                }
                node = try call(name, of: node)
            } else {
                return node
            }
        }
    }

    private mutating func call(_ name: String, of target: Node) throws(ConfigurationError) -> Node {
        try require("(")
        if name == "size" {
            try require(")")
            return .size(target)
        }
        let argument = try choice()
        try require(")")
        if let function = LogExpression.Function(rawValue: name) { return .call(function, target, argument) }
        guard name == "matches", case .constant(.text(let text)) = argument else {
            throw refuse("the function `\(name)` is not supported")
        }
        do {
            return .matches(target, try Pattern(String(decoding: text, as: UTF8.self)))
        } catch {
            throw .invalid(path: "", message: "\(error)")
        }
    }
}
