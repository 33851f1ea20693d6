import Glibc

/// What was measured, and the bars that it is held against.
struct Ledger {
    struct Figure {
        var name: String
        var value: Double
        var unit: String
    }

    struct Bar {
        var name: String
        var value: Double
        var limit: Double
        var unit: String

        var isHeld: Bool { value <= limit }
    }

    private(set) var figures: [Figure] = []
    private(set) var bars: [Bar] = []

    mutating func note(_ name: String, _ value: Double, _ unit: String) {
        figures.append(Figure(name: name, value: value, unit: unit))
    }

    mutating func hold(_ name: String, _ value: Double, atMost limit: Double, _ unit: String) {
        bars.append(Bar(name: name, value: value, limit: limit, unit: unit))
        let bar = bars[bars.count - 1]
        print("  \(bar.isHeld ? "held    " : "NOT HELD")  \(name): \(text(value)) \(unit), at most \(text(limit))")
        fflush(nil)
    }

    /// The bars, one a line.
    var table: String {
        let width = bars.map(\.name.count).max() ?? 0
        return bars.map { bar in
            let name = bar.name + String(repeating: " ", count: width - bar.name.count)
            return
                "\(bar.isHeld ? "held    " : "NOT HELD")  \(name)  \(text(bar.value)) of \(text(bar.limit)) \(bar.unit)"
        }.joined(separator: "\n")
    }

    /// Everything, for programs. Names hold no character that JSON escapes.
    var json: String {
        let figureLines = figures.map {
            "    {\"name\": \"\($0.name)\", \"value\": \($0.value), \"unit\": \"\($0.unit)\"}"
        }
        let barLines = bars.map {
            "    {\"name\": \"\($0.name)\", \"value\": \($0.value), \"limit\": \($0.limit), "
                + "\"unit\": \"\($0.unit)\", \"held\": \($0.isHeld)}"
        }
        return "{\n  \"bars\": [\n\(barLines.joined(separator: ",\n"))\n  ],\n  \"figures\": [\n"
            + "\(figureLines.joined(separator: ",\n"))\n  ]\n}\n"
    }
}

/// A number for people: three digits that count, or all before the point.
func text(_ value: Double) -> String {
    let decimals = abs(value) >= 100 || value == value.rounded() ? 0 : abs(value) >= 10 ? 1 : 2
    var scale = 1.0
    for _ in 0..<decimals { scale *= 10 }
    let scaled = Int((value * scale).rounded())
    guard decimals > 0 else { return "\(scaled)" }
    let digits = String(abs(scaled) % Int(scale))
    let fraction = String(repeating: "0", count: decimals - digits.count) + digits
    return "\(scaled < 0 ? "-" : "")\(abs(scaled) / Int(scale)).\(fraction)"
}

func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return 0 }
    return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
}
