// Durations and timestamps as text. Source: proto3 JSON mapping, RFC 3339.

/// Seconds and nanoseconds as `google.protobuf.Duration` and `Timestamp` hold them.
package struct SecondsAndNanos: Equatable {
    package var seconds: Int64
    package var nanos: Int32

    /// 10,000 years.
    package static let durationRange: ClosedRange<Int64> = -315_576_000_000...315_576_000_000
    /// 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z.
    package static let timestampRange: ClosedRange<Int64> = -62_135_596_800...253_402_300_799

    package var isDuration: Bool {
        Self.durationRange.contains(seconds) && abs(Int64(nanos)) < 1_000_000_000
            && (seconds == 0 || nanos == 0 || (seconds < 0) == (nanos < 0))
            && !(abs(seconds) == 315_576_000_000 && nanos != 0)
    }

    package var isTimestamp: Bool { Self.timestampRange.contains(seconds) && (0..<1_000_000_000).contains(nanos) }

    /// `1.5s`, `-0.250s`: 0, 3, 6 or 9 digits after the point.
    package var durationText: String {
        let sign = seconds < 0 || nanos < 0 ? "-" : ""
        return "\(sign)\(seconds.magnitude)\(fraction(nanos.magnitude))s"
    }

    /// `1972-01-01T10:00:20.021Z`
    package var timestampText: String {
        let day = seconds >= 0 ? seconds / 86400 : (seconds - 86399) / 86400
        let second = seconds - day * 86400
        let (year, month, dayOfMonth) = civil(day: day)
        return padded(year, 4) + "-" + padded(month, 2) + "-" + padded(dayOfMonth, 2) + "T" + padded(second / 3600, 2)
            + ":" + padded(second / 60 % 60, 2) + ":" + padded(second % 60, 2) + fraction(nanos.magnitude) + "Z"
    }

    /// - Returns: nil if the text is no duration; values out of range are left to the caller.
    package init?(durationText text: String) {
        var rest = Substring(text)
        guard rest.popLast() == "s" else { return nil }
        let isNegative = rest.first == "-"
        if isNegative { rest.removeFirst() }
        let parts = rest.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard let seconds = digits(parts[0], 1...18), let nanos = Self.nanos(parts.dropFirst().first)
        else { return nil }
        self.seconds = isNegative ? -seconds : seconds
        self.nanos = isNegative ? -nanos : nanos
    }

    /// - Returns: nil if the text is no RFC 3339 time of the years 1 to 9999.
    package init?(timestampText text: String) {
        let bytes = Array(text.utf8)
        guard bytes.count >= 20, bytes[4] == UInt8(ascii: "-"), bytes[7] == UInt8(ascii: "-"),
            bytes[10] | 0x20 == UInt8(ascii: "t"), bytes[13] == UInt8(ascii: ":"), bytes[16] == UInt8(ascii: ":")
        else { return nil }
        func number(_ range: Range<Int>) -> Int64? {
            digits(Substring(String(decoding: bytes[range], as: UTF8.self)), range.count...range.count)
        }
        guard let year = number(0..<4), let month = number(5..<7), let dayOfMonth = number(8..<10),
            let hour = number(11..<13), let minute = number(14..<16), let second = number(17..<19),
            (1...12).contains(month), dayOfMonth >= 1, dayOfMonth <= daysIn(month: month, year: year), hour < 24,
            minute < 60, second < 60
        else { return nil }
        var rest = Substring(String(decoding: bytes[19...], as: UTF8.self))
        var nanos: Int32 = 0
        if rest.first == "." {
            let part = rest.dropFirst().prefix { $0.isASCII && $0.isNumber }
            guard let value = SecondsAndNanos.nanos(part) else { return nil }
            nanos = value
            rest = rest[part.endIndex...]
        }
        guard let zone = zoneOffset(rest) else { return nil }
        self.seconds = day(year, month, dayOfMonth) * 86400 + hour * 3600 + minute * 60 + second - zone
        self.nanos = nanos
    }

    package init(seconds: Int64, nanos: Int32) {
        self.seconds = seconds
        self.nanos = nanos
    }

    /// Digits after the point as nanoseconds; none at all is 0.
    private static func nanos(_ text: Substring?) -> Int32? {
        guard let text else { return 0 }
        guard let value = digits(text, 1...9) else { return nil }
        return Int32(value * (0..<(9 - text.count)).reduce(1) { power, _ in power * 10 })
    }
}

private func digits(_ text: Substring, _ count: ClosedRange<Int>) -> Int64? {
    guard count.contains(text.count), text.allSatisfy({ $0.isASCII && $0.isNumber }) else { return nil }
    return Int64(text)
}

private func padded(_ number: Int64, _ width: Int) -> String {
    let text = String(number)
    return String(repeating: "0", count: max(0, width - text.count)) + text
}

private func fraction(_ nanos: UInt32) -> String {
    if nanos == 0 { return "" }
    let text = padded(Int64(nanos), 9)
    if text.hasSuffix("000000") { return "." + text.dropLast(6) }
    return "." + (text.hasSuffix("000") ? text.dropLast(3) : text[...])
}

/// `Z` or `±hh:mm`, as seconds east of Greenwich.
private func zoneOffset(_ text: Substring) -> Int64? {
    if text == "Z" || text == "z" { return 0 }
    guard text.utf8.count == 6, let sign = text.first, sign == "+" || sign == "-",
        text.dropFirst(3).first == ":", let hours = digits(text.dropFirst().prefix(2), 2...2),
        let minutes = digits(text.suffix(2), 2...2), hours < 24, minutes < 60
    else { return nil }
    return (hours * 3600 + minutes * 60) * (sign == "-" ? -1 : 1)
}

private func daysIn(month: Int64, year: Int64) -> Int64 {
    switch month {
    case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
    case 4, 6, 9, 11: 30
    default: 31
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, year 1 or later. The year is counted from March, so that
/// the leap day comes last.
private func day(_ year: Int64, _ month: Int64, _ dayOfMonth: Int64) -> Int64 {
    let shifted = month <= 2 ? year - 1 : year
    let monthFromMarch = (month + 9) % 12
    return shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + (monthFromMarch * 153 + 2) / 5 + dayOfMonth
        - 719_469
}

/// The inverse of `day`.
private func civil(day number: Int64) -> (year: Int64, month: Int64, day: Int64) {
    // Days since 0000-03-01; 146,097 of them are 400 years.
    let days = number + 719_468
    let era = days / 146_097
    let dayOfEra = days % 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    let year = era * 400 + yearOfEra + (month <= 2 ? 1 : 0)
    return (year, month, dayOfYear - (153 * monthFromMarch + 2) / 5 + 1)
}
