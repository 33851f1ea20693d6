/// The virtual hosts of one port as clients see them about whom nothing is special: packed, put together once, and taken
/// over in long runs by every namespace's route configuration, which differs from it in its own hosts alone. Repeated
/// fields of a packed message may be put together from pieces. Source: Protocol Buffers, Encoding.
struct RouteFrame: Sendable {
    /// Sorted.
    private(set) var hosts: [String] = []
    /// Where each host's field ends in ``bytes``.
    private(set) var ends: [Int] = []
    /// Fields 2 of RouteConfiguration, with their tags and lengths.
    private(set) var bytes: [UInt8] = []
    /// Which host has a domain, in lower case.
    private(set) var owners: [String: Int] = [:]
    /// Whether no domain is of two hosts: Envoy refuses that, and what is to be left out depends on all hosts.
    private(set) var isDistinct = true

    /// - Parameter packed: the `VirtualHost`, if the service has one.
    mutating func append(_ host: String, _ packed: [[UInt8]]) {
        precondition(hosts.last.map { $0 < host } ?? true, "hosts are sorted")
        for one in packed {
            PackedVirtualHost.append(one, to: &bytes)
            for domain in PackedVirtualHost.domains(one) where owners.updateValue(hosts.count, forKey: domain) != nil {
                isDistinct = false
            }
        }
        hosts.append(host)
        ends.append(bytes.count)
    }

    /// Where a host's field begins.
    func start(of index: Int) -> Int { index == 0 ? 0 : ends[index - 1] }
}

extension RouteFrame: Equatable {
    // The rest follows from these.
    static func == (left: RouteFrame, right: RouteFrame) -> Bool {
        left.hosts == right.hosts && left.ends == right.ends && left.bytes == right.bytes
    }
}

/// A namespace's virtual hosts while they are taken over from a frame.
struct FramedHosts {
    private let frame: RouteFrame
    /// Fields 2 of RouteConfiguration.
    private(set) var bytes: [UInt8] = []
    private var place = 0
    private var run: Range<Int>?
    private var own: [String] = []
    private(set) var isDistinct: Bool
    /// Hosts of the frame that are replaced or left out, by their places.
    private var missing: Set<Int> = []

    init(_ frame: RouteFrame) {
        self.frame = frame
        isDistinct = frame.isDistinct
        bytes.reserveCapacity(frame.bytes.count + 4096)
    }

    /// Takes the next host over. Hosts come sorted.
    /// - Returns: false where the frame does not have it.
    mutating func take(_ host: String) -> Bool {
        skip(to: host)
        guard place < frame.hosts.count, frame.hosts[place] == host else { return false }
        let field = frame.start(of: place)..<frame.ends[place]
        run = run.map { $0.lowerBound..<field.upperBound } ?? field
        place += 1
        return true
    }

    /// Puts packed virtual hosts in the next host's place.
    mutating func replace(_ host: String, by packed: [[UInt8]]) {
        skip(to: host)
        if place < frame.hosts.count, frame.hosts[place] == host {
            missing.insert(place)
            place += 1
        }
        flush()
        append(packed)
    }

    /// Puts further ones behind all others, and ends.
    mutating func finish(_ packed: [[UInt8]]) {
        while place < frame.hosts.count { leaveOut() }
        flush()
        append(packed)
        var seen: Set<String> = []
        for domain in own {
            if !seen.insert(domain).inserted { isDistinct = false }
            if let owner = frame.owners[domain], !missing.contains(owner) { isDistinct = false }
        }
    }

    private mutating func append(_ packed: [[UInt8]]) {
        for one in packed {
            PackedVirtualHost.append(one, to: &bytes)
            own += PackedVirtualHost.domains(one)
        }
    }

    private mutating func skip(to host: String) {
        while place < frame.hosts.count, frame.hosts[place] < host { leaveOut() }
    }

    private mutating func leaveOut() {
        flush()
        missing.insert(place)
        place += 1
    }

    private mutating func flush() {
        guard let run else { return }
        bytes += frame.bytes[run]
        self.run = nil
    }
}
