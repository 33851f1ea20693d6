/// How long things took, counted by buckets: an array of numbers, added to without a search that allocates.
public struct Histogram: Hashable, Sendable {
    /// The upper bounds, in milliseconds. Source: Envoy, `HistogramSettingsImpl::defaultBuckets`.
    public static let bounds: [Double] = [
        0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300_000, 600_000, 1_800_000,
        3_600_000,
    ]

    /// One for each bound, those of lower ones not included, and one for what is beyond.
    public private(set) var counts = [UInt64](repeating: 0, count: bounds.count + 1)
    /// In milliseconds.
    public private(set) var sum: Double = 0

    public init() {}

    public var count: UInt64 { counts.reduce(0, +) }

    public mutating func note(_ duration: Duration) {
        let milliseconds = max(0, Double(duration.nanoseconds) / 1_000_000)
        var place = 0
        while place < Self.bounds.count, milliseconds > Self.bounds[place] { place += 1 }
        counts[place] += 1
        sum += milliseconds
    }

    public mutating func add(_ other: Histogram) {
        for place in counts.indices { counts[place] += other.counts[place] }
        sum += other.sum
    }

    /// In Prometheus' text format: buckets that hold all below their bound, the sum and the count.
    /// - Parameter labels: `envoy_cluster_name="web"`; may be empty.
    func lines(_ name: String, _ labels: String) -> String {
        let before = labels.isEmpty ? "" : labels + ","
        var text = ""
        var all: UInt64 = 0
        for (place, bound) in Self.bounds.enumerated() {
            all += counts[place]
            let shown = bound == bound.rounded() ? "\(Int64(bound))" : "\(bound)"
            text += "\(name)_bucket{\(before)le=\"\(shown)\"} \(all)\n"
        }
        text += "\(name)_bucket{\(before)le=\"+Inf\"} \(count)\n"
        return text + "\(name)_sum{\(labels)} \(sum)\n\(name)_count{\(labels)} \(count)\n"
    }
}
