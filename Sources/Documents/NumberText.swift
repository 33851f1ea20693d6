// Numbers as JSON and YAML write them.

/// Whether the whole text is a number of JSON. Source: RFC 8259, section 6.
package func isJSONNumber(_ text: String) -> Bool {
    var rest = Substring(text)
    if rest.first == "-" { rest.removeFirst() }
    guard let whole = takeDigits(&rest), whole == "0" || whole.first != "0" else { return false }
    if rest.first == "." {
        rest.removeFirst()
        guard takeDigits(&rest) != nil else { return false }
    }
    if rest.first == "e" || rest.first == "E" {
        rest.removeFirst()
        if rest.first == "+" || rest.first == "-" { rest.removeFirst() }
        guard takeDigits(&rest) != nil else { return false }
    }
    return rest.isEmpty
}

private func takeDigits(_ rest: inout Substring) -> Substring? {
    let digits = rest.prefix { $0.isASCII && $0.isNumber }
    guard !digits.isEmpty else { return nil }
    rest = rest[digits.endIndex...]
    return digits
}

/// A number as it was written, in JSON's form.
package enum NumberLiteral: Equatable {
    case number(String)
    /// `0644`: decimal for some readers, octal for others.
    case ambiguous
    case notANumber

    /// A plain YAML scalar: also `+1`, `.5`, `1.`, `0x1F`, `0o17`. Source: YAML 1.2 core schema, except that numbers
    /// with leading zeros are ambiguous here, because YAML 1.1 reads them as octal.
    package init(plain text: String) {
        var rest = Substring(text)
        var sign = ""
        if rest.first == "+" || rest.first == "-" {
            if rest.first == "-" { sign = "-" }
            rest.removeFirst()
        }
        if sign.isEmpty, text.first != "+", let radix = ["0x": 16, "0o": 8][rest.prefix(2)],
            rest.dropFirst(2).first?.isHexDigit == true
        {
            self = UInt64(rest.dropFirst(2), radix: radix).map { .number(String($0)) } ?? .notANumber
            return
        }
        if rest.first == ".", rest.dropFirst().first?.isNumber == true { rest = "0" + rest }
        if let dot = rest.firstIndex(of: "."), rest[rest.index(after: dot)...].first?.isNumber != true,
            dot != rest.startIndex
        {
            rest.insert("0", at: rest.index(after: dot))
        }
        let candidate = sign + rest
        if isJSONNumber(candidate) {
            self = .number(candidate)
        } else if rest.first == "0", isJSONNumber(String(rest.drop { $0 == "0" })) {
            self = .ambiguous
        } else {
            self = .notANumber
        }
    }
}

/// A JSON number read as an integer, without the rounding of floating point: `1.5e3` is 1500.
package enum IntegerReading: Equatable {
    case integer(isNegative: Bool, magnitude: UInt64)
    case fraction
    case tooLarge

    /// - Parameter number: a JSON number; anything else is a bug of the caller.
    package init(_ number: String) {
        precondition(isJSONNumber(number), "no JSON number")
        let isNegative = number.first == "-"
        let parts = number.drop { $0 == "-" }.split(omittingEmptySubsequences: false) { $0 == "e" || $0 == "E" }
        let mantissa = parts[0].split(separator: ".", omittingEmptySubsequences: false)
        var digits = mantissa.joined().drop { $0 == "0" }
        // An exponent past what Int holds is as good as a billion.
        let written = parts.count > 1 ? Int(parts[1]) ?? (parts[1].first == "-" ? -1_000_000_000 : 1_000_000_000) : 0
        var exponent = max(-1_000_000_000, min(1_000_000_000, written)) - (mantissa.count > 1 ? mantissa[1].count : 0)
        while exponent < 0, digits.last == "0" {
            digits.removeLast()
            exponent += 1
        }
        if digits.isEmpty {
            self = .integer(isNegative: isNegative, magnitude: 0)
        } else if exponent < 0 {
            self = .fraction
        } else if digits.count + exponent > 20 {
            self = .tooLarge
        } else {
            self =
                UInt64(digits + String(repeating: "0", count: exponent))
                .map { .integer(isNegative: isNegative, magnitude: $0) } ?? .tooLarge
        }
    }

    /// As a fixed-width integer; nil if it does not fit or has a fraction.
    package func converted<T: FixedWidthInteger>(to type: T.Type) -> T? {
        guard case .integer(let isNegative, let magnitude) = self else { return nil }
        if !isNegative { return T(exactly: magnitude) }
        if magnitude == 1 << 63 { return T(exactly: Int64.min) }
        return Int64(exactly: magnitude).flatMap { T(exactly: -$0) }
    }
}

/// The shortest JSON number that reads back as the same value; whole numbers without `.0`.
package func jsonText<F: BinaryFloatingPoint & LosslessStringConvertible>(_ value: F) -> String {
    precondition(value.isFinite, "JSON has no number for it")
    let text = String(value)
    return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
}
