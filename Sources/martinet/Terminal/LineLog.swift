import Documents
import Foundation
import Logging
import Synchronization

/// Writes one line per event to standard error: for people as text, for machines as JSON.
struct LineLog: LogHandler {
    enum Format: String, CaseIterable, Sendable {
        case text, json
    }

    /// Where a level is shared, that one: it can be changed while the program runs.
    var logLevel: Logger.Level {
        get { shared?.value ?? own }
        set { own = newValue }
    }
    var metadata: Logger.Metadata = [:]
    private var own: Logger.Level
    private let shared: SharedLevel?
    private let label: String
    private let format: Format
    private let write: @Sendable (String) -> Void

    /// The level of all loggers of the process.
    final class SharedLevel: Sendable {
        private let level: Mutex<Logger.Level>

        init(_ level: Logger.Level) { self.level = Mutex(level) }

        var value: Logger.Level { level.withLock { $0 } }
        func set(_ new: Logger.Level) { level.withLock { $0 = new } }
    }

    init(
        label: String, format: Format, level: Logger.Level, shared: SharedLevel? = nil,
        write: @escaping @Sendable (String) -> Void
    ) {
        self.label = label
        self.format = format
        own = level
        self.shared = shared
        self.write = write
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let fields = event.metadata.map { metadata.merging($0) { $1 } } ?? metadata
        let text = "\(event.message)"
        switch format {
        case .text: write(Self.text(Self.now(), event.level, label, text, fields))
        case .json: write(Self.json(Self.now(), event.level, label, text, fields))
        }
    }

    /// `2026-11-23T08:17:00.123Z info  martinet: proxy connected node=web peer=127.0.0.1:5123`
    static func text(
        _ time: String, _ level: Logger.Level, _ label: String, _ message: String, _ fields: Logger.Metadata
    ) -> String {
        var line = time + " " + level.rawValue.padding(toLength: 8, withPad: " ", startingAt: 0)
        line += " " + label + ": " + escaped(message)
        for (key, value) in fields.sorted(by: { $0.key < $1.key }) { line += " " + key + "=" + quoted("\(value)") }
        return line + "\n"
    }

    /// `{"time":…,"level":…,"logger":…,"message":…,` and the fields, each a text.
    static func json(
        _ time: String, _ level: Logger.Level, _ label: String, _ message: String, _ fields: Logger.Metadata
    ) -> String {
        var members = [("time", time), ("level", level.rawValue), ("logger", label), ("message", message)]
        for (key, value) in fields.sorted(by: { $0.key < $1.key }) {
            let isTaken = ["time", "level", "logger", "message"].contains(key)
            members.append((isTaken ? "field_" + key : key, "\(value)"))
        }
        return "{" + members.map { quotedText($0.0) + ":" + quotedText($0.1) }.joined(separator: ",") + "}\n"
    }

    /// In quotes where a reader could not tell where it ends.
    private static func quoted(_ value: String) -> String {
        let isPlain =
            !value.isEmpty
            && value.unicodeScalars.allSatisfy {
                $0.value > 0x20 && $0 != "\"" && $0 != "=" && !(0x7F...0x9F).contains($0.value)
            }
        return isPlain ? value : quotedText(value)
    }

    /// What a peer said stays on its line.
    private static func escaped(_ text: String) -> String {
        text.unicodeScalars.contains { $0.value < 0x20 } ? String(quotedText(text).dropFirst().dropLast()) : text
    }

    private static func now() -> String {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        var parts = tm()
        gmtime_r(&time.tv_sec, &parts)
        func pad(_ number: Int32, _ width: Int = 2) -> String {
            let digits = "\(number)"
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        let date = "\(pad(parts.tm_year + 1900, 4))-\(pad(parts.tm_mon + 1))-\(pad(parts.tm_mday))"
        let clock = "\(pad(parts.tm_hour)):\(pad(parts.tm_min)):\(pad(parts.tm_sec))"
        return "\(date)T\(clock).\(pad(Int32(time.tv_nsec / 1_000_000), 3))Z"
    }
}
