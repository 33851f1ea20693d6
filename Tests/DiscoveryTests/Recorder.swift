import CoreMetrics
import Foundation
import Logging
import Synchronization

/// Keeps what a server counts and logs, for one test alone.
final class Recorder: MetricsFactory, Sendable {
    private let values = Mutex<[String: Double]>([:])
    private let lines = Mutex<[String]>([])

    /// The sum of what a label was given in all; dimensions as `label{name=value,…}`.
    subscript(key: String) -> Double { values.withLock { $0[key, default: 0] } }

    /// `level message key=value …`, keys in ascending order.
    var log: [String] { lines.withLock { $0 } }

    var logger: Logger {
        Logger(label: "test") { _ in LogLines(recorder: self) }
    }

    fileprivate func add(_ value: Double, to key: String) { values.withLock { $0[key, default: 0] += value } }
    fileprivate func set(_ value: Double, of key: String) { values.withLock { $0[key] = value } }
    fileprivate func add(line: String) { lines.withLock { $0.append(line) } }

    func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        Series(self, label, dimensions)
    }
    func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler { Series(self, label, dimensions) }
    func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        Series(self, label, dimensions)
    }
    func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        Series(self, label, dimensions)
    }
    func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        Series(self, label, dimensions)
    }
    func destroyCounter(_ handler: any CounterHandler) {}
    func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
    func destroyRecorder(_ handler: any RecorderHandler) {}
    func destroyMeter(_ handler: any MeterHandler) {}
    func destroyTimer(_ handler: any TimerHandler) {}
}

private final class Series: CounterHandler, FloatingPointCounterHandler, RecorderHandler, MeterHandler, TimerHandler {
    private let recorder: Recorder
    private let key: String

    init(_ recorder: Recorder, _ label: String, _ dimensions: [(String, String)]) {
        self.recorder = recorder
        let text = dimensions.map { "\($0.0)=\($0.1)" }.joined(separator: ",")
        key = text.isEmpty ? label : "\(label){\(text)}"
    }

    func increment(by amount: Int64) { recorder.add(Double(amount), to: key) }
    func increment(by amount: Double) { recorder.add(amount, to: key) }
    func decrement(by amount: Double) { recorder.add(-amount, to: key) }
    func set(_ value: Int64) { recorder.set(Double(value), of: key) }
    func set(_ value: Double) { recorder.set(value, of: key) }
    // How often, not how much.
    func record(_ value: Int64) { recorder.add(1, to: key) }
    func record(_ value: Double) { recorder.add(1, to: key) }
    func recordNanoseconds(_ duration: Int64) { recorder.add(1, to: key) }
    func reset() {}
}

private struct LogLines: LogHandler {
    let recorder: Recorder
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    init(recorder: Recorder) { self.recorder = recorder }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let fields = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
        recorder.add(line: "\(event.level) \(event.message)\(fields)")
    }
}
