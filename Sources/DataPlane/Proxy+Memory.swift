import Reactor

extension Proxy {
    /// Reading a configuration takes several times what it comes to: the system gets the rest back. At once after the
    /// start, and at most every five seconds: it holds up who asks for memory meanwhile.
    func returnMemorySoon() {
        guard !returnsMemory, phase == .live, let runner else { return }
        returnsMemory = true
        runner.schedule(after: hasReturnedMemory ? .seconds(5) : .milliseconds(200)) { [unowned self] in
            (returnsMemory, hasReturnedMemory) = (false, true)
            returnFreeMemory()
        }
    }
}
