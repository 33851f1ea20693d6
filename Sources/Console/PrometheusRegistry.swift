import CoreMetrics
import Synchronization

/// A backend of swift-metrics that renders Prometheus' text exposition format.
///
/// Series are made on first use and live as long as the registry; their number is bounded by ``maximumSeries``,
/// beyond which a new series counts into nothing and ``martinet_metrics_series_refused_total`` says so.
/// Source: Prometheus, "Text-based format", 0.0.4.
public final class PrometheusRegistry: MetricsFactory, Sendable {
    public let maximumSeries: Int
    private let state = Mutex(State())

    private struct State {
        var families: [String: Family] = [:]
        var series = 0
        var refused: Int64 = 0
    }

    private struct Family {
        var kind: Kind
        var series: [[Label]: any Series] = [:]
    }

    private enum Kind: String {
        case counter, gauge, histogram
    }

    struct Label: Hashable {
        var name: String
        var value: String
    }

    public init(maximumSeries: Int = 10_000) {
        self.maximumSeries = maximumSeries
    }

    public func makeCounter(label: String, dimensions: [(String, String)]) -> CounterHandler {
        find(label, dimensions, .counter) { CounterSeries() } ?? CounterSeries()
    }

    public func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> FloatingPointCounterHandler {
        find(label, dimensions, .counter) { GaugeSeries() } ?? GaugeSeries()
    }

    public func makeMeter(label: String, dimensions: [(String, String)]) -> MeterHandler {
        find(label, dimensions, .gauge) { GaugeSeries() } ?? GaugeSeries()
    }

    /// - Parameter aggregate: true for a histogram, false for a gauge of the last value.
    public func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> RecorderHandler {
        aggregate
            ? find(label, dimensions, .histogram) { HistogramSeries(bounds: HistogramSeries.seconds) }
                ?? HistogramSeries(bounds: [])
            : find(label, dimensions, .gauge) { GaugeSeries() } ?? GaugeSeries()
    }

    /// A histogram in seconds.
    public func makeTimer(label: String, dimensions: [(String, String)]) -> TimerHandler {
        find(label, dimensions, .histogram) { HistogramSeries(bounds: HistogramSeries.seconds) }
            ?? HistogramSeries(bounds: [])
    }

    public func destroyCounter(_ handler: CounterHandler) {}
    public func destroyFloatingPointCounter(_ handler: FloatingPointCounterHandler) {}
    public func destroyMeter(_ handler: MeterHandler) {}
    public func destroyRecorder(_ handler: RecorderHandler) {}
    public func destroyTimer(_ handler: TimerHandler) {}

    /// nil where the bound is reached, or where the name already belongs to another kind of metric.
    private func find<S: Series>(
        _ name: String, _ dimensions: [(String, String)], _ kind: Kind, make: () -> S
    ) -> S? {
        let labels = dimensions.map { Label(name: $0.0, value: $0.1) }
        return state.withLock { state in
            var family = state.families[name] ?? Family(kind: kind)
            if let known = family.series[labels] { return known as? S }
            guard family.kind == kind, state.series < maximumSeries else {
                state.refused += 1
                return nil
            }
            let series = make()
            family.series[labels] = series
            state.families[name] = family
            state.series += 1
            return series
        }
    }

    /// All series, families and labels in alphabetical order.
    public func exposition() -> String {
        let (families, refused) = state.withLock { ($0.families, $0.refused) }
        var text = ""
        for (name, family) in families.sorted(by: { $0.key < $1.key }) {
            text += "# TYPE \(name) \(family.kind.rawValue)\n"
            let ordered = family.series.sorted { order($0.key) < order($1.key) }
            for (labels, series) in ordered { series.write(name, labels, to: &text) }
        }
        text += "# TYPE martinet_metrics_series_refused_total counter\n"
        text += "martinet_metrics_series_refused_total \(refused)\n"
        return text
    }

    private func order(_ labels: [Label]) -> String {
        labels.map { "\($0.name)\u{1}\($0.value)" }.joined(separator: "\u{2}")
    }
}
