import Time

extension Timestamp {
    /// - Parameter format: of strftime, with `%f` (and `%3f`) for fractions of a second, `%s` for Unix seconds; empty:
    ///   `2026-11-23T16:39:51.123Z`. UTC. Source: Envoy, `START_TIME`.
    func formatted(_ format: String) -> String {
        let (days, second) = seconds.quotientAndRemainder(flooringBy: 86_400)
        let date = CivilDate(day: days)
        func padded(_ number: Int64, _ width: Int = 2) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
        }
        let nanos = nanoseconds - seconds * 1_000_000_000
        func fraction(_ digits: Int) -> String { String(padded(nanos, 9).prefix(digits)) }
        var result = ""
        var letters = (format.isEmpty ? "%Y-%m-%dT%H:%M:%S.%3fZ" : format)[...]
        while let letter = letters.popFirst() {
            guard letter == "%", let next = letters.popFirst() else {
                result.append(letter)
                continue
            }
            switch next {
            case "Y": result += padded(date.year, 4)
            case "m": result += padded(date.month)
            case "d": result += padded(date.day)
            case "H": result += padded(second / 3_600)
            case "M": result += padded(second / 60 % 60)
            case "S": result += padded(second % 60)
            case "F": result += "\(padded(date.year, 4))-\(padded(date.month))-\(padded(date.day))"
            case "T": result += "\(padded(second / 3_600)):\(padded(second / 60 % 60)):\(padded(second % 60))"
            case "s": result += String(seconds)
            case "f": result += fraction(9)
            case "1", "2", "3", "4", "5", "6", "7", "8", "9":
                if letters.first == "f" {
                    letters.removeFirst()
                    result += fraction(next.wholeNumberValue ?? 9)
                }
            case "b": result += CivilDate.months[Int(date.month) - 1]
            case "a": result += CivilDate.weekdays[Int((days % 7 + 11) % 7)]
            case "e": result += date.day < 10 ? " \(date.day)" : "\(date.day)"
            case "y": result += padded(date.year % 100)
            case "z": result += "+0000"
            case "Z": result += "UTC"
            case "%": result += "%"
            default: result += "%\(next)"
            }
        }
        return result
    }
}

/// A day of the Gregorian calendar. Source: Hinnant, "chrono-Compatible Low-Level Date Algorithms".
private struct CivilDate {
    static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    static let weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    var year: Int64
    var month: Int64
    var day: Int64

    /// - Parameter day: since 1970-01-01.
    init(day: Int64) {
        let shifted = day + 719_468
        let era = shifted.quotientAndRemainder(flooringBy: 146_097)
        let ofEra = era.remainder
        let yearOfEra = (ofEra - ofEra / 1_460 + ofEra / 36_524 - ofEra / 146_096) / 365
        let ofYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * ofYear + 2) / 153
        self.day = ofYear - (153 * shiftedMonth + 2) / 5 + 1
        month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        year = yearOfEra + era.quotient * 400 + (month <= 2 ? 1 : 0)
    }
}

extension Int64 {
    fileprivate func quotientAndRemainder(flooringBy divisor: Int64) -> (quotient: Int64, remainder: Int64) {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }
}
