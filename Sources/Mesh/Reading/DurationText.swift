import Documents

/// How durations are written.
enum DurationForm {
    /// As Go writes them (`1h30m`, `250ms`, `1.5s`), which includes protobuf's form (`5s`, `0.250s`).
    case istio
    /// Up to four whole numbers with units: h, m, s, ms. Source: Gateway API, GEP-2257.
    case gatewayAPI

    var mend: String {
        switch self {
        case .istio: "write it like 5s, 250ms or 1h30m"
        case .gatewayAPI: "write it like 5s, 250ms or 1h30m, in whole numbers of up to five digits"
        }
    }
}

/// - Returns: nil if the text is no duration of that form, or longer than 10,000 years.
func parseDuration(_ text: String, _ form: DurationForm) -> Duration? {
    var rest = Substring(text)
    var isNegative = false
    if form == .istio {
        if text == "0" { return .zero }
        if rest.first == "-" || rest.first == "+" {
            isNegative = rest.first == "-"
            rest.removeFirst()
        }
    }
    var total = Duration.zero
    var parts = 0
    repeat {
        guard let part = takePart(&rest, form) else { return nil }
        total += part
        parts += 1
    } while !rest.isEmpty && parts < 32
    guard rest.isEmpty, form == .istio || parts <= 4, total <= .seconds(SecondsAndNanos.durationRange.upperBound)
    else { return nil }
    return isNegative ? .zero - total : total
}

private func takePart(_ rest: inout Substring, _ form: DurationForm) -> Duration? {
    let whole = rest.prefix { $0.isASCII && $0.isNumber }
    rest = rest[whole.endIndex...]
    var fraction: Substring = ""
    if form == .istio, rest.first == "." {
        rest.removeFirst()
        fraction = rest.prefix { $0.isASCII && $0.isNumber }
        rest = rest[fraction.endIndex...]
    }
    guard !(whole.isEmpty && fraction.isEmpty), whole.count <= (form == .istio ? 15 : 5), fraction.count <= 9
    else { return nil }
    let unit = rest.prefix { $0.isLetter }
    rest = rest[unit.endIndex...]
    let nanoseconds: Int64
    switch (unit, form) {
    case ("h", _): nanoseconds = 3_600_000_000_000
    case ("m", _): nanoseconds = 60_000_000_000
    case ("s", _): nanoseconds = 1_000_000_000
    case ("ms", _): nanoseconds = 1_000_000
    case ("us", .istio), ("µs", .istio), ("μs", .istio): nanoseconds = 1000
    case ("ns", .istio): nanoseconds = 1
    default: return nil
    }
    // Up to 15 digits times an hour in nanoseconds needs more than 64 bits; Duration has 128.
    let units = Int64(whole) ?? 0
    var part = Duration.nanoseconds(nanoseconds) * units
    if let digits = Int64(fraction) {
        let divisor = (0..<fraction.count).reduce(Int64(1)) { power, _ in power * 10 }
        part += Duration.nanoseconds(nanoseconds) * digits / divisor
    }
    return part
}

/// `1h30m`, `250ms`, `0s`: a text that reads back as the same duration.
func durationText(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    if attoseconds != 0, seconds == 0, attoseconds % 1_000_000_000_000_000 == 0 {
        return "\(attoseconds / 1_000_000_000_000_000)ms"
    }
    return SecondsAndNanos(seconds: seconds, nanos: Int32(attoseconds / 1_000_000_000)).durationText
}
