/// What is wrong with a regular expression, as far as can be told without compiling it: its length, brackets, braces,
/// parentheses, a backslash at the end, and what RE2 does not have (look-around, back references, atomic groups).
///
/// Not checked: the names of classes (`\p{…}`, `[[:alpha:]]`), ranges that run backwards, repetition of a repetition,
/// and the size of the program. A proxy that refuses such a one says so in its NACK.
/// - Returns: nil if nothing is.
func regexFault(_ text: String) -> String? {
    guard text.utf8.count <= ObjectLimits.regex else { return "a regular expression of \(text.utf8.count) bytes" }
    let bytes = Array(text.utf8)
    var depth = 0
    var at = 0
    var canRepeat = false
    func next(_ offset: Int) -> UInt8? { at + offset < bytes.count ? bytes[at + offset] : nil }
    while at < bytes.count {
        switch bytes[at] {
        case UInt8(ascii: "\\"):
            guard let letter = next(1) else { return "a backslash at the end" }
            if (UInt8(ascii: "1")...UInt8(ascii: "9")).contains(letter) { return "a back reference, which RE2 lacks" }
            at += 2
            canRepeat = true
        case UInt8(ascii: "["):
            at += 1
            if next(0) == UInt8(ascii: "^") { at += 1 }
            if next(0) == UInt8(ascii: "]") { at += 1 }
            while let byte = next(0), byte != UInt8(ascii: "]") {
                if byte == UInt8(ascii: "["), next(1) == UInt8(ascii: ":"), let end = classEnd(bytes, from: at + 2) {
                    at = end
                } else {
                    at += byte == UInt8(ascii: "\\") ? 2 : 1
                }
            }
            guard at < bytes.count else { return "a [ without its ]" }
            at += 1
            canRepeat = true
        case UInt8(ascii: "("):
            depth += 1
            at += 1
            canRepeat = false
            guard next(0) == UInt8(ascii: "?") else { continue }
            switch (next(1), next(2)) {
            case (UInt8(ascii: "="), _), (UInt8(ascii: "!"), _), (UInt8(ascii: "<"), UInt8(ascii: "=")),
                (UInt8(ascii: "<"), UInt8(ascii: "!")):
                return "look-around, which RE2 lacks"
            case (UInt8(ascii: ">"), _): return "an atomic group, which RE2 lacks"
            default: at += 1
            }
        case UInt8(ascii: ")"):
            depth -= 1
            if depth < 0 { return "a ) without its (" }
            at += 1
            canRepeat = true
        case UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: "?"):
            guard canRepeat else { return "nothing before \(Character(Unicode.Scalar(bytes[at]))) to repeat" }
            at += 1
            if next(0) == UInt8(ascii: "?") { at += 1 }
            if next(0) == UInt8(ascii: "+") { return "a possessive repetition, which RE2 lacks" }
        case UInt8(ascii: "|"), UInt8(ascii: "^"):
            at += 1
            canRepeat = false
        case UInt8(ascii: "{"):
            if let (bound, end) = repetition(bytes, from: at + 1) {
                if bound > 1000 { return "more than 1000 repetitions" }
                if !canRepeat { return "nothing before { to repeat" }
                at = end
            } else {
                at += 1
            }
            canRepeat = true
        default:
            at += 1
            canRepeat = true
        }
    }
    return depth > 0 ? "a ( without its )" : nil
}

/// Behind `:]`.
private func classEnd(_ bytes: [UInt8], from start: Int) -> Int? {
    var at = start
    while at + 1 < bytes.count, bytes[at] != UInt8(ascii: "]") {
        if bytes[at] == UInt8(ascii: ":"), bytes[at + 1] == UInt8(ascii: "]") { return at + 2 }
        at += 1
    }
    return nil
}

/// `n}`, `n,}` or `n,m}`: the larger number, and where it ends. Anything else is a plain brace.
private func repetition(_ bytes: [UInt8], from start: Int) -> (bound: Int, end: Int)? {
    guard let close = bytes[start...].prefix(12).firstIndex(of: UInt8(ascii: "}")) else { return nil }
    let parts = bytes[start..<close].split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count), !parts[0].isEmpty else { return nil }
    let numbers = parts.filter { !$0.isEmpty }.map { Int(String(decoding: $0, as: UTF8.self)) }
    guard numbers.allSatisfy({ $0 != nil && $0! >= 0 }) else { return nil }
    return (numbers.compactMap { $0 }.max() ?? 0, close + 1)
}
