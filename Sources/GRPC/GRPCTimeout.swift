import Time

/// The `grpc-timeout` field: at most eight digits and a unit. Source: gRPC over HTTP2, "Timeout".
enum GRPCTimeout {
    private static let units: [(letter: Character, nanoseconds: Int64)] = [
        ("n", 1), ("u", 1_000), ("m", 1_000_000), ("S", 1_000_000_000), ("M", 60_000_000_000), ("H", 3_600_000_000_000),
    ]

    /// - Returns: nil where the text is malformed. What is longer than the clock holds is clamped.
    static func parse(_ text: String) -> Duration? {
        guard let letter = text.last, let unit = units.first(where: { $0.letter == letter }) else { return nil }
        let digits = text.dropLast().utf8
        guard (1...8).contains(digits.count),
            digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        let number = digits.reduce(Int64(0)) { $0 * 10 + Int64($1 - UInt8(ascii: "0")) }
        let (product, overflow) = number.multipliedReportingOverflow(by: unit.nanoseconds)
        // A century: the sum with any clock still fits.
        return .nanoseconds(overflow ? longest : min(product, longest))
    }

    /// The shortest exact text, or the next longer time that eight digits hold.
    static func format(_ timeout: Duration) -> String {
        let nanoseconds = max(0, min(timeout.nanoseconds, longest))
        for unit in units {
            let number = (nanoseconds + unit.nanoseconds - 1) / unit.nanoseconds
            if number <= 99_999_999 { return "\(number)\(unit.letter)" }
        }
        return "99999999H"
    }

    private static let longest: Int64 = 100 * 365 * 24 * 3_600_000_000_000
}
