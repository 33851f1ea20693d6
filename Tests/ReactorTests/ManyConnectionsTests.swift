import Glibc
import Testing
import Time

@testable import Reactor

/// Small enough to show what the loop itself holds.
private struct Counter: ConnectionHandler {
    /// Of the test that runs in this process: it has the process for itself.
    nonisolated(unsafe) static var established = 0
    nonisolated(unsafe) static var received = 0
    nonisolated(unsafe) static var closed = 0

    mutating func established(_ peer: Peer, loop: EventLoop<Counter>, id: ConnectionID) { Self.established += 1 }
    mutating func received(_ bytes: UnsafeRawBufferPointer, loop: EventLoop<Counter>, id: ConnectionID) {
        Self.received += bytes.count
    }
    mutating func readyToWrite(loop: EventLoop<Counter>, id: ConnectionID) {}
    mutating func peerClosedWriting(loop: EventLoop<Counter>, id: ConnectionID) { loop.close(id) }
    mutating func timerFired(_ token: UInt64, loop: EventLoop<Counter>, id: ConnectionID) {}
    mutating func closed(_ reason: CloseReason, loop: EventLoop<Counter>, id: ConnectionID) { Self.closed += 1 }
}

/// Resident bytes of this process. Source: proc(5), statm.
func residentBytes() -> Int {
    let file = open("/proc/self/statm", O_RDONLY)
    defer { close(file) }
    var text = [UInt8](repeating: 0, count: 256)
    let count = read(file, &text, text.count)
    let fields = String(decoding: text.prefix(max(0, count)), as: UTF8.self).split(separator: " ")
    return (Int(fields[1]) ?? 0) * sysconf(Int32(_SC_PAGESIZE))
}

/// Sanitizers keep freed memory and pad what is allocated: sizes say nothing under them.
let isSanitized = dlsym(nil, "__asan_init") != nil || dlsym(nil, "__tsan_init") != nil

func raiseDescriptorLimit() {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
}

@Suite struct ManyConnectionsTests {
    @Test func fiveThousandConnectionsAreServedAndCostUnderAKilobyteEach() async {
        let result = await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
            raiseDescriptorLimit()
            let count = 5000
            let loop = try EventLoop<Counter>()
            let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in Counter() }
            let address = try #require(loop.address(of: listener))
            loop.turn(waiting: .zero)
            let before = residentBytes()
            var ids: [ConnectionID] = []
            while ids.count < count {
                // In parts, so that the kernel's queue of the listener is not overrun.
                for _ in 0..<250 { ids.append(loop.connect(to: address, handler: Counter())) }
                loop.turn { Counter.established == 2 * ids.count }
            }
            let each = (residentBytes() - before) / (2 * count)
            print("resident per idle connection: \(each) bytes; slot: \(MemoryLayout<Connection>.stride) bytes")
            try #require(isSanitized || each < 512)
            try #require(loop.connections(of: listener) == count)
            // A fan-out to all: one send each.
            let sends = loop.statistics.sends
            loop.forEachHandler { _, id in loop.write([1, 2, 3], to: id) }
            loop.turn { Counter.received == 6 * count }
            try #require(Int(loop.statistics.sends - sends) == 2 * count)
            for id in ids { loop.close(id) }
            loop.turn { Counter.closed == 2 * count }
            try #require(loop.statistics.connections == 0 && loop.timerCount == 0)
            fflush(nil)
            exit(0)
        }
        print(String(decoding: result?.standardOutputContent ?? [], as: UTF8.self))
    }

    @Test func memoryComesBackAfterManyConnectionsOneAfterTheOther() async {
        await #expect(processExitsWith: .success) {
            let loop = try EventLoop<Counter>()
            let listener = try loop.listen(.loopback(port: 0)) { _, _, _ in Counter() }
            let address = try #require(loop.address(of: listener))
            func round() {
                let goal = Counter.closed + 2
                let id = loop.connect(to: address, handler: Counter())
                loop.setTimer(after: .seconds(3600), for: id, token: 1)
                loop.write([1], to: id)
                loop.turn { Counter.established % 2 == 0 && Counter.established == goal }
                loop.closeAfterFlush(id)
                loop.turn { Counter.closed == goal }
            }
            for _ in 0..<200 { round() }
            let before = residentBytes()
            for _ in 0..<5000 { round() }
            try #require(isSanitized || residentBytes() - before < 512 << 10)
            try #require(loop.slab.count <= 4)
            exit(0)
        }
    }
}
