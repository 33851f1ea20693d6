import CLinux
import Glibc
import Synchronization

/// Several loops, each on its own thread.
public final class EventLoopGroup<Handler: ConnectionHandler>: Sendable {
    /// One per loop.
    public let mailboxes: [Mailbox<Handler>]
    private let threads = Mutex<[pthread_t]>([])

    /// Builds the loops, lets `setUp` give each its listeners and timers, and starts the threads.
    ///
    /// - Parameters:
    ///   - count: at least 1. For listeners on one TCP address in each, set `reusePort`.
    ///   - name: of the threads, at most 12 bytes; the loop's number follows.
    ///   - setUp: runs on the calling thread, for one loop after the other. What it captures is shared by the loops.
    /// - Throws: what `setUp` throws, before any thread runs; `.cannotStart`.
    public init(
        count: Int, name: String = "loop", configuration: LoopConfiguration = LoopConfiguration(),
        setUp: @Sendable (EventLoop<Handler>, Int) throws -> Void
    ) throws {
        precondition(count > 0, "a group has at least one loop")
        var loops: [EventLoop<Handler>] = []
        for number in 0..<count {
            let loop = try EventLoop<Handler>(configuration)
            try setUp(loop, number)
            loops.append(loop)
        }
        mailboxes = loops.map(\.mailbox)
        for (number, loop) in loops.enumerated() {
            // From here on the loop belongs to its thread.
            let start = Unmanaged.passRetained(ThreadStart(name: "\(name.prefix(12))-\(number)") { loop.run() })
            var thread = pthread_t()
            let result = pthread_create(&thread, nil, threadMain, start.toOpaque())
            guard result == 0 else {
                start.release()
                stop()
                join()
                throw ReactorError.cannotStart(SystemError(call: "pthread_create", number: result))
            }
            threads.withLock { $0.append(thread) }
        }
    }

    /// Asks every loop to stop now; their connections are closed.
    public func stop() {
        for mailbox in mailboxes { mailbox.stop() }
    }

    /// Asks every loop to stop listening, to run `begin` (which says goodbye to the peers), and to stop when its
    /// last connection has ended or after `grace`.
    public func drain(grace: Duration, begin: @escaping @Sendable (EventLoop<Handler>) -> Void) {
        for mailbox in mailboxes {
            _ = mailbox.enqueue(
                { loop in
                    loop.drain(grace: grace)
                    begin(loop)
                }, isBounded: false)
        }
    }

    /// Threads that nobody has joined give back what they hold when they end.
    deinit {
        for thread in threads.withLock({ $0 }) { pthread_detach(thread) }
    }

    /// Waits until every loop has ended. Not from a loop's thread.
    public func join() {
        let waiting = threads.withLock { list in
            let taken = list
            list = []
            return taken
        }
        for thread in waiting { pthread_join(thread, nil) }
    }
}

private final class ThreadStart {
    let name: String
    let body: () -> Void

    init(name: String, body: @escaping () -> Void) {
        self.name = name
        self.body = body
    }
}

private func threadMain(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let argument else { return nil }
    let start = Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue()
    linux_name_thread(start.name)
    start.body()
    return nil
}
