import CLinux
import TLS
import Time

/// Names one connection of one loop. The generation tells it from earlier connections in the same slot, so an ID
/// that outlives its connection names nothing: calls with it do nothing.
public struct ConnectionID: Hashable, Sendable, CustomStringConvertible {
    public let index: UInt32
    public let generation: UInt32

    /// Names no connection, ever.
    public static let none = ConnectionID(index: .max, generation: .max)

    public var description: String { "\(index).\(generation)" }

    /// What epoll hands back with each event; the top bit tells connections from the loop's own descriptors.
    var label: UInt64 { UInt64(generation) << 32 | UInt64(index) }

    init(index: UInt32, generation: UInt32) {
        self.index = index
        self.generation = generation
    }

    init(label: UInt64) {
        self.init(index: UInt32(truncatingIfNeeded: label), generation: UInt32(label >> 32))
    }
}

/// What the loop keeps of one connection: nothing of a connection's input, and of its output only what is blocked.
struct Connection {
    struct State: OptionSet {
        let rawValue: UInt32
        static let open = State(rawValue: 1 << 0)
        static let connecting = State(rawValue: 1 << 1)
        static let established = State(rawValue: 1 << 2)
        static let readingPaused = State(rawValue: 1 << 3)
        /// The kernel may hold more input than was read.
        static let mayHaveMore = State(rawValue: 1 << 4)
        static let queuedForReading = State(rawValue: 1 << 5)
        /// epoll reported the end of input: read until it is reached.
        static let endInSight = State(rawValue: 1 << 6)
        /// The end of input was read.
        static let peerClosed = State(rawValue: 1 << 7)
        /// `halfClose` was called; the socket is shut once the output is flushed.
        static let halfCloseWanted = State(rawValue: 1 << 8)
        static let writingShut = State(rawValue: 1 << 9)
        /// `closeAfterFlush` was called: the handler hears no more but `closed`.
        static let closeWanted = State(rawValue: 1 << 10)
        /// Sending failed; what the peer sent before is read, then the connection is closed.
        static let writingFailed = State(rawValue: 1 << 11)
        static let queuedForWriting = State(rawValue: 1 << 12)
        /// A callback of its handler is running.
        static let inCallback = State(rawValue: 1 << 13)
        static let endDelivered = State(rawValue: 1 << 14)
        /// Accepted for TLS, and nothing was read yet.
        static let unheard = State(rawValue: 1 << 15)
        /// One of those whose first bytes wait for their turn.
        static let queuedForGreeting = State(rawValue: 1 << 16)
        /// Bytes that came before TLS wait for its engine.
        static let inputHeld = State(rawValue: 1 << 17)
        /// It does not wait for the peer's end.
        static let closesOnceFlushed = State(rawValue: 1 << 18)
    }

    static let noScratch = UInt8.max

    var descriptor: Int32 = -1
    var generation: UInt32 = 0
    var state: State = []
    /// `ListenerID`'s number; 0 for connections that this side opened.
    var listener: UInt32 = 0
    var blocked = BlockedOutput()
    var tls: TLSEngine?
    /// Bytes sent in the loop's turn `turn`, for the write budget.
    var sentInTurn: UInt32 = 0
    var turn: UInt32 = 0
    /// Why sending failed, as in errno.h.
    var failure: Int32 = 0
    var nextFree: UInt32 = 0
    /// Which output scratch holds output of this connection.
    var scratch = Connection.noScratch
}

/// Output that the kernel did not take. Memory is held only while there is any.
struct BlockedOutput {
    private var base: UnsafeMutableRawPointer?
    private var start: UInt32 = 0
    private var end: UInt32 = 0
    private var capacity: UInt32 = 0

    var count: Int { Int(end - start) }

    /// Valid until the next mutation.
    var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: base.map { UnsafeRawPointer($0) + Int(start) }, count: count)
    }

    mutating func append(_ more: UnsafeRawBufferPointer) {
        guard more.count > 0 else { return }
        if more.count > Int(capacity - end) { makeRoom(for: more.count) }
        (base! + Int(end)).copyMemory(from: more.baseAddress!, byteCount: more.count)
        end += UInt32(more.count)
    }

    mutating func removeFirst(_ count: Int) {
        start += UInt32(count)
        if start == end { release() }
    }

    mutating func release() {
        base?.deallocate()
        self = BlockedOutput()
    }

    private mutating func makeRoom(for more: Int) {
        let held = count
        if held + more <= Int(capacity) {
            base!.copyMemory(from: base! + Int(start), byteCount: held)
        } else {
            var wanted = max(4096, Int(capacity))
            while wanted < held + more { wanted *= 2 }
            let larger = UnsafeMutableRawPointer.allocate(byteCount: wanted, alignment: 16)
            if held > 0 { larger.copyMemory(from: base! + Int(start), byteCount: held) }
            base?.deallocate()
            base = larger
            capacity = UInt32(wanted)
        }
        start = 0
        end = UInt32(held)
    }
}

/// The slots of a loop's connections. Slots never move, so a pointer to one stays good while handlers run.
struct ConnectionSlab {
    static let chunkShift: UInt32 = 9
    static let chunkSize = 1 << Int(chunkShift)
    private static let none = UInt32.max

    private var chunks: ContiguousArray<UnsafeMutablePointer<Connection>> = []
    private var firstFree = ConnectionSlab.none
    /// Slots ever used: the peak of open connections.
    private(set) var count: UInt32 = 0

    subscript(index: UInt32) -> UnsafeMutablePointer<Connection> {
        chunks[Int(index >> Self.chunkShift)] + Int(index & UInt32(Self.chunkSize - 1))
    }

    /// The slot of an open connection; nil for an ID whose connection has ended.
    func find(_ id: ConnectionID) -> UnsafeMutablePointer<Connection>? {
        guard id.index < count else { return nil }
        let slot = self[id.index]
        return slot.pointee.generation == id.generation && slot.pointee.state.contains(.open) ? slot : nil
    }

    mutating func take() -> ConnectionID {
        if firstFree == Self.none {
            precondition(count < 1 << 31, "a loop holds at most 2^31 connections")
            if Int(count) == chunks.count << Int(Self.chunkShift) {
                let chunk = UnsafeMutablePointer<Connection>.allocate(capacity: Self.chunkSize)
                chunk.initialize(repeating: Connection(), count: Self.chunkSize)
                chunks.append(chunk)
            }
            count += 1
            return ConnectionID(index: count - 1, generation: 0)
        }
        let index = firstFree
        firstFree = self[index].pointee.nextFree
        return ConnectionID(index: index, generation: self[index].pointee.generation)
    }

    /// The slot's next connection has another generation.
    mutating func giveBack(_ index: UInt32) {
        let slot = self[index]
        let generation = slot.pointee.generation &+ 1
        slot.pointee.blocked.release()
        slot.pointee = Connection()
        slot.pointee.generation = generation
        slot.pointee.nextFree = firstFree
        firstFree = index
    }

    /// Call once, when the loop goes.
    func deallocate() {
        for index in 0..<count { self[index].pointee.blocked.release() }
        for chunk in chunks {
            chunk.deinitialize(count: Self.chunkSize)
            chunk.deallocate()
        }
    }
}
