import Time

/// Who hears of timers of its own, where each would else need a closure.
public protocol TimerTarget: AnyObject {
    func timerFired(_ token: UInt64)
}

/// What a timer that belongs to no connection is for.
enum TimerWork {
    case closure((Loop) -> Void)
    case target(any TimerTarget, UInt64)
}

// Timers of handlers, of the loop's owner, and the loop's own deadlines.
extension Loop {
    /// The handler of `id` gets `timerFired(token)` at the first turn after `deadline`; millisecond resolution,
    /// never early. Timers fire in the order of their deadlines, and end with their connection.
    /// - Returns: an ID for `cancelTimer`; one that names nothing if the connection has ended.
    @discardableResult
    public func setTimer(at deadline: Instant, for id: ConnectionID, token: UInt64) -> TimerID {
        guard let connection = slab.find(id), !connection.pointee.state.contains(.closeWanted) else {
            return TimerID(index: .max, generation: 0)
        }
        return wheel.set(at: deadline, owner: id.index, purpose: .token(token))
    }

    /// ``setTimer(at:for:token:)`` counted from this turn's `now`.
    @discardableResult
    public func setTimer(after delay: Duration, for id: ConnectionID, token: UInt64) -> TimerID {
        setTimer(at: now.advanced(by: delay), for: id, token: token)
    }

    /// `target` hears at the first turn after the delay, and is kept until then or until the timer is cancelled.
    public func setTimer(after delay: Duration, for target: some TimerTarget, token: UInt64) -> TimerID {
        setWork(at: now.advanced(by: delay), .target(target, token))
    }

    /// A timer that is cancelled does not fire, even if it was due in this very turn.
    /// - Returns: false if it had fired or been cancelled.
    @discardableResult
    public func cancelTimer(_ timer: TimerID) -> Bool {
        guard wheel.cancel(timer) else { return false }
        _ = takeWork(of: timer.index)
        return true
    }

    /// Timers that are set, the loop's own included.
    public var timerCount: Int { wheel.count }

    func setWork(at deadline: Instant, _ new: TimerWork) -> TimerID {
        let timer = wheel.set(at: deadline, owner: nil, purpose: .work)
        while work.count <= Int(timer.index) { work.append(nil) }
        work[Int(timer.index)] = new
        return timer
    }

    private func takeWork(of index: UInt32) -> TimerWork? {
        // Timers of connections have none, and the highest ones perhaps no place for it.
        guard work.indices.contains(Int(index)) else { return nil }
        return work[Int(index)].take()
    }

    func setDeadline(_ limit: Duration, for id: ConnectionID) {
        cancelDeadline(id.index)
        let timer = wheel.set(at: now.advanced(by: limit), owner: id.index, purpose: .deadline)
        deadlines[id.index] = (timer, limit)
    }

    func cancelDeadline(_ index: UInt32) {
        guard let deadline = deadlines.removeValue(forKey: index) else { return }
        wheel.cancel(deadline.timer)
    }

    func fireTimers() {
        wheel.advance(to: now)
        while let fired = wheel.popDue() {
            statistics.timersFired += 1
            switch fired.purpose {
            case .token(let token):
                deliverTimer(owner(of: fired), token: token)
            case .deadline:
                deadlinePassed(owner(of: fired))
            case .work:
                switch takeWork(of: fired.id.index) {
                case .closure(let body): body(self)
                case .target(let target, let token): target.timerFired(token)
                case nil: break
                }
            }
        }
    }

    private func owner(of fired: TimerWheel.Fired) -> ConnectionID {
        // A connection's timers end with it, so the slot is still the one that set them.
        guard let index = fired.owner else { preconditionFailure("a connection's timer has an owner") }
        return ConnectionID(index: index, generation: slab[index].pointee.generation)
    }

    private func deadlinePassed(_ id: ConnectionID) {
        guard let limit = deadlines.removeValue(forKey: id.index)?.limit, let connection = slab.find(id) else { return }
        if connection.pointee.state.contains(.connecting) {
            close(id, reason: .connectTimedOut(after: limit))
        } else if !connection.pointee.state.contains(.established) {
            close(id, reason: .handshakeTimedOut(after: limit))
        } else if connection.pointee.state.contains(.closeWanted) {
            close(id)
        }
    }
}
