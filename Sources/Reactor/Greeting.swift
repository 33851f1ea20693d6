import TLS

/// Connections whose TLS handshakes wait to begin, the longest waiting first.
struct GreetingQueue {
    private var waiting: [ConnectionID] = []
    private var next = 0

    var isEmpty: Bool { next == waiting.count }
    var count: Int { waiting.count - next }

    mutating func append(_ id: ConnectionID) { waiting.append(id) }

    mutating func popFirst() -> ConnectionID? {
        guard next < waiting.count else { return nil }
        defer {
            next += 1
            if next == waiting.count {
                (waiting, next) = ([], 0)
            } else if next == 4096 {
                waiting.removeFirst(next)
                next = 0
            }
        }
        return waiting[next]
    }
}

// When many clients come at once, handshakes that have begun are finished before others begin, and work is not spent on
// clients that have given up: else all of them would be begun, and none be finished in time.
extension Loop {
    /// The first bytes of a TLS client are there, or its end.
    func queueForGreeting(_ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>) {
        let state = connection.pointee.state
        if state.contains(.endInSight),
            state.contains(.queuedForGreeting) || greetings.count >= configuration.greetingsPerTurn
        {
            return close(id, reason: .tls(.truncated(duringHandshake: true)))
        }
        guard !state.contains(.queuedForGreeting) else { return }
        connection.pointee.state.insert(.queuedForGreeting)
        greetings.append(id)
    }

    func beginHandshakes() {
        var left = configuration.greetingsPerTurn
        while left > 0, let id = greetings.popFirst() {
            // It may have ended meanwhile.
            guard let connection = slab.find(id) else { continue }
            connection.pointee.state.subtract([.unheard, .queuedForGreeting])
            read(id, connection)
            statistics.greeted += 1
            left -= 1
        }
    }
}
