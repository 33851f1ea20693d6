import Reactor

/// Whether freed memory is to go back to the system soon, and whether it has before.
struct MemoryReturn {
    var isDue = false
    var wasMade = false
}

extension Proxy {
    /// Reading a configuration takes several times what it comes to: the system gets the rest back. At once after the
    /// start, and at most every five seconds: it holds up who asks for memory meanwhile.
    func returnMemorySoon() {
        guard !memoryReturn.isDue, let runner else { return }
        memoryReturn.isDue = true
        runner.schedule(after: memoryReturn.wasMade ? .seconds(5) : .milliseconds(200)) { [unowned self] in
            memoryReturn = MemoryReturn(wasMade: true)
            Allocator.returnFreeMemory()
        }
    }
}
