import CoreMetrics
import Testing

@testable import Console

@Test func countersGaugesAndHistogramsAreRenderedInOrder() {
    let registry = PrometheusRegistry()
    registry.makeCounter(label: "pushes_total", dimensions: [("type", "EDS")]).increment(by: 2)
    registry.makeCounter(label: "pushes_total", dimensions: [("type", "CDS")]).increment(by: 1)
    registry.makeMeter(label: "streams", dimensions: []).set(Int64(3))
    let timer = registry.makeTimer(label: "latency_seconds", dimensions: [])
    timer.recordNanoseconds(1_000_000)
    timer.recordNanoseconds(90_000_000_000)
    let lines = registry.exposition().split(separator: "\n").map(String.init)
    #expect(
        Array(lines.prefix(5)) == [
            "# TYPE latency_seconds histogram", "latency_seconds_bucket{le=\"0.0001\"} 0",
            "latency_seconds_bucket{le=\"0.00025\"} 0", "latency_seconds_bucket{le=\"0.0005\"} 0",
            "latency_seconds_bucket{le=\"0.001\"} 1",
        ])
    #expect(lines.contains("latency_seconds_bucket{le=\"60\"} 1"))
    #expect(lines.contains("latency_seconds_bucket{le=\"+Inf\"} 2"))
    #expect(lines.contains("latency_seconds_sum 90.001"))
    #expect(lines.contains("latency_seconds_count 2"))
    #expect(
        lines.suffix(7) == [
            "# TYPE pushes_total counter", "pushes_total{type=\"CDS\"} 1", "pushes_total{type=\"EDS\"} 2",
            "# TYPE streams gauge", "streams 3", "# TYPE martinet_metrics_series_refused_total counter",
            "martinet_metrics_series_refused_total 0",
        ])
}

@Test func oneNameAndLabelsAreOneSeries() {
    let registry = PrometheusRegistry()
    registry.makeCounter(label: "c", dimensions: [("a", "1")]).increment(by: 1)
    registry.makeCounter(label: "c", dimensions: [("a", "1")]).increment(by: 1)
    #expect(registry.exposition().contains("c{a=\"1\"} 2\n"))
}

@Test func theNumberOfSeriesIsBounded() {
    let registry = PrometheusRegistry(maximumSeries: 2)
    for value in ["1", "2", "3", "4"] {
        registry.makeCounter(label: "c", dimensions: [("a", value)]).increment(by: 1)
    }
    let text = registry.exposition()
    #expect(text.contains("c{a=\"2\"} 1"))
    #expect(!text.contains("c{a=\"3\"}"))
    #expect(text.contains("martinet_metrics_series_refused_total 2"))
}

@Test func labelValuesAreEscaped() {
    let registry = PrometheusRegistry()
    registry.makeCounter(label: "c", dimensions: [("words", "a \"b\"\n\\")]).increment(by: 1)
    #expect(registry.exposition().contains(#"c{words="a \"b\"\n\\"} 1"#))
}
