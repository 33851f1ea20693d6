import Time

// A resource with a time to live is renewed at half of it by a response without bodies.

extension StreamCore {
    /// - Returns: whether a heartbeat went out.
    mutating func sendHeartbeat(_ index: Int, _ now: Instant) -> Bool {
        guard states[index].heartbeatAt <= now, let held = states[index].held,
            var key = states[index].key(form, from: held)
        else { return false }
        states[index].heartbeatAt = .never
        let type = states[index].type
        let refused = states[index].rejection
        // A full list would bring back what the client refused.
        if form != .delta && type.listsEverything && refused != nil { return false }
        // Without a body it is a heartbeat only for what the client holds, at the version that it knows.
        key.owed = Owed(names: refused?.unresolved ?? [])
        key.announcesVersion = false
        key.isTainted = false
        key.heartbeatVersion = form == .delta ? held.version : states[index].acknowledgedVersion
        let beat = held.transition(
            from: held, heldDigest: states[index].digest, key, after: states[index].lastNonce)
        guard let response = beat.response else { return false }
        send(response, index, held, now)
        return true
    }

    /// Sets the time of the next heartbeat once the client holds something that expires.
    mutating func scheduleHeartbeat(_ index: Int, _ now: Instant) {
        guard form != .stateOfTheWorld, let subscription = states[index].subscription,
            let set = states[index].target ?? states[index].held, !set.expiring.isEmpty
        else {
            states[index].heartbeatAt = .never
            return
        }
        let shortest = set.expiring
            .filter { name, _ in set.resources[name].map(subscription.covers) ?? false }
            .values.min()
        guard let shortest else {
            states[index].heartbeatAt = .never
            return
        }
        states[index].heartbeatAt = min(states[index].heartbeatAt, now.advanced(by: shortest / 2))
    }
}
