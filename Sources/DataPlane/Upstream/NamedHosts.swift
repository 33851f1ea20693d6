import Addresses
import Forwarding
import Reactor
import Time

/// The hosts that requests name, looked up when they do. Source: Envoy, dynamic forward proxy.
final class NamedHosts {
    private struct Entry {
        /// Those that were found last; they serve while they are looked up again.
        var addresses: [IPAddress] = []
        var lastUse: Instant
        var nextLookup: Instant
        var isAsking = false
        var waiting: [(IPAddress?) -> Void] = []
    }

    private unowned let worker: Worker
    private let settings: ClusterConfiguration.ForwardProxy
    private var entries: [String: Entry] = [:]
    /// Of names in DNS.
    private static let longestName = 253

    init(_ worker: Worker, _ settings: ClusterConfiguration.ForwardProxy) {
        (self.worker, self.settings) = (worker, settings)
    }

    /// The name and the port of an authority.
    static func parts(of authority: String) -> (name: String, port: UInt16?) {
        let isBracketed = authority.hasPrefix("[")
        let colons = authority.utf8.reduce(0) { $1 == UInt8(ascii: ":") ? $0 + 1 : $0 }
        guard isBracketed || colons == 1 else { return (authority, nil) }
        guard isBracketed else {
            let parts = authority.split(separator: ":", omittingEmptySubsequences: false)
            return (String(parts[0]), UInt16(parts[1]))
        }
        guard let end = authority.firstIndex(of: "]") else { return (authority, nil) }
        let rest = authority[authority.index(after: end)...]
        return (String(authority[..<end].dropFirst()), rest.hasPrefix(":") ? UInt16(rest.dropFirst()) : nil)
    }

    /// - Parameter take: called once, from within this call if the answer is known; nil: there is none.
    func find(_ name: String, _ take: @escaping (IPAddress?) -> Void) {
        if let literal = IPAddress(name) { return take(literal) }
        guard !name.isEmpty, name.utf8.count <= Self.longestName else { return take(nil) }
        let now = worker.loop.now
        var entry: Entry
        if let known = entries[name] {
            entry = known
        } else {
            guard hasRoom(now) else { return take(nil) }
            entry = Entry(lastUse: now, nextLookup: now)
        }
        entry.lastUse = now
        let address = entry.addresses.first
        if address == nil { entry.waiting.append(take) }
        let isDue = !entry.isAsking && entry.nextLookup <= now
        if isDue { entry.isAsking = true }
        entries[name] = entry
        if isDue { ask(name) }
        if let address { take(address) }
    }

    private func ask(_ name: String) {
        worker.lookups.ask(name, settings.resolution.family, for: worker) { [weak self] answer in
            self?.take(answer, of: name, isFinal: true)
        }
        worker.loop.schedule(after: settings.queryTimeout) { [weak self] _ in
            self?.take(nil, of: name, isFinal: false)
        }
    }

    /// - Parameter isFinal: false: nobody waits any longer, the answer is still to come.
    private func take(_ answer: [IPAddress]?, of name: String, isFinal: Bool) {
        guard var entry = entries[name] else { return }
        let waiting = entry.waiting
        entry.waiting = []
        if isFinal {
            entry.isAsking = false
            if let answer, !answer.isEmpty {
                entry.addresses = answer
                entry.nextLookup = worker.loop.now.advanced(by: settings.resolution.interval)
            }
        }
        entries[name] = entry
        for take in waiting { take(entry.addresses.first) }
    }

    private func hasRoom(_ now: Instant) -> Bool {
        if entries.count < settings.maximumHosts { return true }
        entries = entries.filter {
            $0.value.isAsking || !$0.value.waiting.isEmpty
                || $0.value.lastUse.duration(to: now) < settings.hostLifetime
        }
        return entries.count < settings.maximumHosts
    }
}
