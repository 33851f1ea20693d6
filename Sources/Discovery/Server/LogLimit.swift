import Time

/// Lets a few lines of each peer through in a while, and counts the rest: a peer that is refused 10,000 times must not
/// fill the disk.
public struct LogLimit: Sendable {
    private struct Window {
        var start: Instant
        var lines = 0
        var withheld = 0
    }

    /// How long a window is.
    public static let length = Duration.seconds(10)
    /// Lines of one peer in one window.
    public static let lines = 5
    /// Peers that are told apart; those beyond share one window.
    static let mostPeers = 1024

    private var windows: [String: Window] = [:]

    public init() {}

    /// - Parameter peer: without its port.
    /// - Returns: nil: the line is to be withheld. Otherwise how many of the peer were withheld since its last line.
    public mutating func line(of peer: String, now: Instant) -> Int? {
        var key = peer
        if windows[key] == nil, windows.count >= Self.mostPeers {
            windows = windows.filter { $0.value.start.duration(to: now) < Self.length }
            if windows.count >= Self.mostPeers { key = "" }
        }
        var window = windows[key] ?? Window(start: now)
        defer { windows[key] = window }
        if window.start.duration(to: now) >= Self.length {
            window = Window(start: now, withheld: window.withheld)
        }
        guard window.lines < Self.lines else {
            window.withheld += 1
            return nil
        }
        window.lines += 1
        defer { window.withheld = 0 }
        return window.withheld
    }

    /// How many peers are remembered, for tests of the bound.
    var count: Int { windows.count }
}
