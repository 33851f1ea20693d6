/// What is known of streams that are not open, to answer late frames as RFC 9113, section 5.1 asks.
/// Bounded: the last closures, and the last gaps in the peer's numbering. What is forgotten counts as reset
/// by us, which is the reading that ignores late frames.
struct ClosedStreams {
    enum Closure: Equatable {
        /// Both sides sent END_STREAM.
        case ended
        /// The peer sent RST_STREAM.
        case resetByPeer
        /// We sent RST_STREAM, or it was refused or is forgotten: the peer may not know yet.
        case resetByUs
        /// The peer used a higher number first. Source: RFC 9113, section 5.1.1.
        case skipped
    }

    static let rememberedClosures = 32
    static let rememberedGaps = 8

    private var closures: [(id: HTTP2StreamID, closure: Closure)] = []
    private var nextClosure = 0
    private var gaps: [ClosedRange<HTTP2StreamID>] = []
    private var nextGap = 0
    /// The highest number that the peer used.
    private(set) var highest: HTTP2StreamID = 0

    /// The peer opens a stream with a number above all before.
    mutating func opened(_ id: HTTP2StreamID) {
        let expected = highest == 0 ? 1 : highest + 2
        if id > expected { Self.remember(expected...(id - 2), in: &gaps, &nextGap, limit: Self.rememberedGaps) }
        highest = id
    }

    mutating func closed(_ id: HTTP2StreamID, _ closure: Closure) {
        guard closure != .resetByUs else { return }
        Self.remember((id, closure), in: &closures, &nextClosure, limit: Self.rememberedClosures)
    }

    /// How a stream that is neither open nor idle ended.
    func closure(of id: HTTP2StreamID) -> Closure {
        if gaps.contains(where: { $0.contains(id) }) { return .skipped }
        return closures.last { $0.id == id }?.closure ?? .resetByUs
    }

    private static func remember<Entry>(_ entry: Entry, in ring: inout [Entry], _ next: inout Int, limit: Int) {
        if ring.count < limit {
            ring.append(entry)
        } else {
            ring[next] = entry
            next = (next + 1) % limit
        }
    }
}
