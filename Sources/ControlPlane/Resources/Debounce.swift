import Time

/// Waits until changes have come to rest, but not for ever: a save of several files becomes one step.
struct Debounce {
    /// Without a further change.
    var quiet: Duration = .milliseconds(20)
    /// After the first change.
    var longest: Duration = .milliseconds(200)
    private var first: Instant?

    init(quiet: Duration = .milliseconds(20), longest: Duration = .milliseconds(200)) {
        self.quiet = quiet
        self.longest = longest
    }

    /// Notes a change.
    /// - Returns: when to act, in the place of what was said before.
    mutating func note(at now: Instant) -> Instant {
        let first = first ?? now
        self.first = first
        return min(now.advanced(by: quiet), first.advanced(by: longest))
    }

    /// The changes so far are being dealt with.
    mutating func finish() {
        first = nil
    }
}
