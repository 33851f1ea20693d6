import Time

extension UpstreamCluster {
    /// When ``tick(now:random:)`` or ``probes(now:random:)`` has something to do; nil: never, by itself.
    public var nextEvent: Instant? {
        [nextOutlierCheck, nextProbe, nextCleanup].compactMap { $0 }.min()
    }

    /// Ends ejections whose time is over, judges the interval that ended, and lets go of destinations that nobody uses.
    /// - Returns: hosts that went.
    public func tick(now: Instant, random: inout SeededRandom) -> [UpstreamHost] {
        checkOutliers(now: now, random: &random)
        return cleanUp(now: now)
    }
}
