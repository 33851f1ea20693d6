import Testing

@testable import HTTP2

@Suite struct StreamTableTests {
    @Test func holesDoNotOutgrowWhatIsHeld() {
        var table = StreamTable<Int>()
        table.insert(0, at: 1)
        for id in 1..<10_000 {
            table.insert(id, at: HTTP2StreamID(2 * id + 1))
            #expect(table.remove(HTTP2StreamID(2 * id + 1)) == id)
        }
        #expect(table.streams == [1])
        #expect(table.footprint <= 2 * 1 + 9)
    }

    @Test func whatIsRemovedIsGoneAndTheRestStays() {
        var table = StreamTable<String>()
        for id: HTTP2StreamID in [1, 5, 9, 13] { table.insert("\(id)", at: id) }
        #expect(table.remove(5) == "5")
        #expect(table.remove(5) == nil)
        #expect(table[5] == nil && !table.contains(5))
        #expect(table.update(9) { $0 += "!" } != nil)
        #expect(table[9] == "9!")
        #expect(table.update(7) { $0 += "!" } == nil)
        #expect(table.streams == [1, 9, 13] && table.count == 3)
    }

    @Test func closuresAreRememberedUpToABound() {
        var closed = ClosedStreams()
        for id: HTTP2StreamID in stride(from: 1, through: 199, by: 2) {
            closed.opened(id)
            closed.closed(id, id % 4 == 1 ? .ended : .resetByPeer)
        }
        #expect(closed.closure(of: 199) == .resetByPeer)
        #expect(closed.closure(of: 197) == .ended)
        // Forgotten: read as reset by us, which ignores late frames.
        #expect(closed.closure(of: 1) == .resetByUs)
        closed.opened(401)
        #expect(closed.closure(of: 201) == .skipped)
        #expect(closed.closure(of: 399) == .skipped)
        #expect(closed.closure(of: 197) == .ended)
    }
}
