import XDS

/// Which proxies have a revision that not all have: a value that grows, and gives the same answer for a node in every
/// process.
///
/// Each node draws a number by its ID. A class of proxies has a limit, and the nodes whose number is not above it have
/// the revision; so a larger share takes no node out that was in.
public struct RolloutShare: Hashable, Sendable, Codable {
    /// Nodes draw anew for each roll-out: it is not always the same ones that try what is new.
    public let salt: Int64
    /// Of classes that come to be affected later.
    public private(set) var common: UInt64 = 0
    /// By the name of the view that a class has otherwise.
    private(set) var limits: [String: UInt64] = [:]
    /// Nodes above their limit that have it all the same: where there are few, a limit that takes in one of them would
    /// take in more than its share of those that come later.
    private(set) var chosen: Set<String> = []

    public init(salt: Int64) { self.salt = salt }

    /// A proxy that a revision affects.
    public struct Member: Hashable, Sendable {
        public var node: String
        public var view: ViewName

        public init(_ node: String, _ view: ViewName) { (self.node, self.view) = (node, view) }
    }

    /// Whether a class gets something else by the revision.
    public func affects(_ view: ViewName) -> Bool { limits[view.text] != nil }

    public func contains(_ node: String, _ view: ViewName) -> Bool {
        guard let limit = limits[view.text] else { return false }
        return chosen.contains(node) || limit > 0 && draw(node) <= limit
    }

    /// No proxy is of this class any more.
    mutating func forget(_ view: ViewName) { limits[view.text] = nil }

    /// Notes classes that get something else by the revision.
    mutating func affect(_ views: some Sequence<ViewName>) {
        for view in views where limits[view.text] == nil { limits[view.text] = common }
    }

    /// From 1; 0 belongs to nobody.
    func draw(_ node: String) -> UInt64 {
        // FNV-1a, and the finish of SplitMix64: similar IDs draw numbers that have nothing in common.
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ UInt64(bitPattern: salt)
        for byte in node.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        hash = (hash ^ (hash >> 30)) &* 0xbf58_476d_1ce4_e5b9
        hash = (hash ^ (hash >> 27)) &* 0x94d0_49bb_1331_11eb
        return max(1, hash ^ (hash >> 31))
    }

    // MARK: Growing

    /// Gives it to this share of the proxies that are there, rounded up: at least to one.
    mutating func spread(_ percent: Int, over members: some Collection<Member>) {
        let limit = limit(percent, members)
        common = max(common, min(limit, Self.part(percent)))
        for (view, limit) in limits { limits[view] = max(limit, common) }
        for node in Set(members.map(\.node)) where draw(node) <= limit && draw(node) > common { chosen.insert(node) }
        chosen = chosen.filter { draw($0) > common }
    }

    /// What is drawn by this share of all nodes that there may be.
    private static func part(_ percent: Int) -> UInt64 {
        percent >= 100 ? .max : UInt64.max / 100 * UInt64(max(0, percent))
    }

    /// Gives it to one proxy of each class that has some in the share and none that has it.
    mutating func probe(_ percent: Int, among members: some Collection<Member>) {
        let limit = max(common, limit(percent, members))
        var lowest: [String: (draw: UInt64, node: String)] = [:]
        var tried: Set<String> = []
        for member in members {
            let draw = draw(member.node)
            if contains(member.node, member.view) { tried.insert(member.view.text) }
            if draw < lowest[member.view.text]?.draw ?? .max { lowest[member.view.text] = (draw, member.node) }
        }
        for (view, first) in lowest where first.draw <= limit && !tried.contains(view) {
            guard let own = limits[view] else { continue }
            if first.draw <= Self.part(percent) {
                limits[view] = max(own, first.draw)
            } else {
                chosen.insert(first.node)
            }
        }
    }

    private func limit(_ percent: Int, _ members: some Collection<Member>) -> UInt64 {
        if percent >= 100 { return .max }
        let draws = Set(members.map(\.node)).map(draw).sorted()
        // Nobody is there; who was has what they had.
        guard !draws.isEmpty else { return common }
        return draws[min(draws.count, (draws.count * percent + 99) / 100) - 1]
    }
}
