import CoreMetrics
import Synchronization

/// One line of the exposition, or the lines of one histogram.
protocol Series: Sendable {
    func write(_ name: String, _ labels: [PrometheusRegistry.Label], to text: inout String)
}

final class CounterSeries: Series, CounterHandler {
    private let value = Atomic<Int64>(0)

    func increment(by amount: Int64) { value.add(amount, ordering: .relaxed) }
    func reset() { value.store(0, ordering: .relaxed) }

    func write(_ name: String, _ labels: [PrometheusRegistry.Label], to text: inout String) {
        text += "\(name)\(render(labels)) \(value.load(ordering: .relaxed))\n"
    }
}

/// A number that goes up and down; also a counter of fractions.
final class GaugeSeries: Series, MeterHandler, RecorderHandler, FloatingPointCounterHandler {
    private let value = Mutex(0.0)

    func set(_ value: Int64) { set(Double(value)) }
    func set(_ value: Double) { self.value.withLock { $0 = value } }
    func increment(by amount: Double) { value.withLock { $0 += amount } }
    func decrement(by amount: Double) { increment(by: -amount) }
    func record(_ value: Int64) { set(Double(value)) }
    func record(_ value: Double) { set(value) }
    func reset() { set(0.0) }

    func write(_ name: String, _ labels: [PrometheusRegistry.Label], to text: inout String) {
        text += "\(name)\(render(labels)) \(render(value.withLock { $0 }))\n"
    }
}

/// Cumulative buckets, a sum and a count.
final class HistogramSeries: Series, RecorderHandler, TimerHandler {
    /// Upper bounds in seconds: 100 µs to 60 s.
    static let seconds = [
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
    ]

    private struct State {
        var counts: [Int64]
        var sum = 0.0
    }

    private let bounds: [Double]
    private let state: Mutex<State>

    init(bounds: [Double]) {
        self.bounds = bounds
        state = Mutex(State(counts: Array(repeating: 0, count: bounds.count + 1)))
    }

    func record(_ value: Int64) { record(Double(value)) }
    func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1e9) }

    func record(_ value: Double) {
        let bucket = bounds.firstIndex { value <= $0 } ?? bounds.count
        state.withLock {
            $0.counts[bucket] += 1
            $0.sum += value
        }
    }

    func write(_ name: String, _ labels: [PrometheusRegistry.Label], to text: inout String) {
        let state = state.withLock { $0 }
        var total: Int64 = 0
        for (index, count) in state.counts.enumerated() {
            total += count
            let bound = index < bounds.count ? render(bounds[index]) : "+Inf"
            text += "\(name)_bucket\(render(labels + [.init(name: "le", value: bound)])) \(total)\n"
        }
        text += "\(name)_sum\(render(labels)) \(render(state.sum))\n"
        text += "\(name)_count\(render(labels)) \(total)\n"
    }
}

private func render(_ labels: [PrometheusRegistry.Label]) -> String {
    guard !labels.isEmpty else { return "" }
    return "{" + labels.map { "\($0.name)=\"\(escape($0.value))\"" }.joined(separator: ",") + "}"
}

private func render(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    return value == value.rounded() && abs(value) < 1e15 ? "\(Int64(value))" : "\(value)"
}

private func escape(_ value: String) -> String {
    var escaped = ""
    for character in value {
        switch character {
        case "\\": escaped += "\\\\"
        case "\"": escaped += "\\\""
        case "\n": escaped += "\\n"
        default: escaped.append(character)
        }
    }
    return escaped
}
