import ArgumentParser
import Foundation
import Time

/// A length of time on the command line: `10s`, `90m`, `24h`, `90d`, or several after one another, as in `1h30m`.
struct DurationArgument: ExpressibleByArgument, Hashable, Sendable, CustomStringConvertible {
    let duration: Duration

    init(_ duration: Duration) { self.duration = duration }

    init?(argument: String) {
        var total: Int64 = 0
        var number: Int64?
        for character in argument {
            if let digit = character.wholeNumberValue, character.isASCII {
                let (shifted, overflow) = (number ?? 0).multipliedReportingOverflow(by: 10)
                let (sum, overflow2) = shifted.addingReportingOverflow(Int64(digit))
                guard !overflow, !overflow2 else { return nil }
                number = sum
                continue
            }
            guard let count = number, let unit = Self.units.first(where: { $0.letter == character }) else { return nil }
            let (seconds, overflow) = count.multipliedReportingOverflow(by: unit.seconds)
            let (sum, overflow2) = total.addingReportingOverflow(seconds)
            // What nanoseconds in 64 bits hold: 292 years.
            guard !overflow, !overflow2, sum <= Int64.max / 1_000_000_000 else { return nil }
            (total, number) = (sum, nil)
        }
        guard number == nil, !argument.isEmpty else { return nil }
        duration = .seconds(total)
    }

    private static let units: [(letter: Character, seconds: Int64)] = [
        ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1),
    ]

    var description: String {
        var left = duration.nanoseconds / 1_000_000_000
        var text = ""
        for unit in Self.units where left >= unit.seconds {
            text += "\(left / unit.seconds)\(unit.letter)"
            left %= unit.seconds
        }
        return text.isEmpty ? "0s" : text
    }
}

extension Duration {
    /// The two largest units, for people: `3d4h`, `12m5s`, `-2h`.
    var brief: String {
        let seconds = nanoseconds / 1_000_000_000
        let sign = seconds < 0 ? "-" : ""
        let whole = abs(seconds)
        func pair(_ first: (Int64, String), _ second: (Int64, String)) -> String {
            let rest = whole % first.0 / second.0
            return sign + "\(whole / first.0)\(first.1)" + (rest == 0 ? "" : "\(rest)\(second.1)")
        }
        switch whole {
        case ..<60: return sign + "\(whole)s"
        case ..<3_600: return pair((60, "m"), (1, "s"))
        case ..<86_400: return pair((3_600, "h"), (60, "m"))
        default: return pair((86_400, "d"), (3_600, "h"))
        }
    }
}

extension Timestamp {
    /// Whole seconds as RFC 3339 writes them: `2026-11-23T07:30:00Z`.
    var rfc3339: String {
        var time = time_t(seconds)
        var parts = tm()
        gmtime_r(&time, &parts)
        return String(
            format: "%04d-%02d-%02dT%02d:%02d:%02dZ", Int(parts.tm_year) + 1900, parts.tm_mon + 1, parts.tm_mday,
            parts.tm_hour, parts.tm_min, parts.tm_sec)
    }

    /// This machine's clock, UTC.
    static func ofThisMachine() -> Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }
}
