import Synchronization

/// Tells whoever waits for answers of xDS clients that one has come, once for each time it was armed: what is not
/// waited for costs a load. Safe to use from any thread.
public final class AnswerBell: Sendable {
    private let isArmed = Atomic(false)
    private let ring = Mutex<(@Sendable () -> Void)?>(nil)

    public init() {}

    /// - Parameter ring: called on a loop's thread after the next ACK or NACK since ``arm()``.
    public func onAnswer(_ ring: @escaping @Sendable () -> Void) { self.ring.withLock { $0 = ring } }

    /// Arm it first and look at the answers then: none falls between.
    public func arm() { isArmed.store(true, ordering: .sequentiallyConsistent) }

    func note() {
        guard isArmed.load(ordering: .relaxed), isArmed.exchange(false, ordering: .sequentiallyConsistent) else {
            return
        }
        ring.withLock { $0 }?()
    }
}
