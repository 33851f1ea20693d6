import CLinux
import Glibc
import Synchronization

/// The way into a loop from other threads: the only part of it that may be shared.
///
/// Unchecked, because `box` is guarded by a POSIX mutex: the thread sanitizer does not see the standard library's
/// `Mutex` in a generic class, and would take all that a job carries from one thread to another for a race.
public final class Mailbox<Handler: ConnectionHandler>: @unchecked Sendable {
    /// Runs on the loop's thread.
    public typealias Job = @Sendable (EventLoop<Handler>) -> Void

    private struct Box {
        var jobs: [Job] = []
        var isClosed = false
    }

    private var box = Box()
    private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let limit: Int
    let descriptor: Int32

    init(limit: Int) throws(ReactorError) {
        self.limit = limit
        do {
            descriptor = try SystemError.check(linux_wake_open(), "eventfd")
        } catch { throw .cannotStart(error) }
        pthread_mutex_init(lock, nil)
    }

    deinit {
        _ = linux_close(descriptor)
        pthread_mutex_destroy(lock)
        lock.deallocate()
    }

    /// Hands a job to the loop, and wakes it. Jobs run in the order of submission, outside every handler.
    /// - Returns: false, and the job will not run, if `mailboxLimit` jobs wait or the loop has stopped.
    public func submit(_ job: @escaping Job) -> Bool {
        enqueue(job, isBounded: true)
    }

    /// Makes a doorbell: however often it is rung before the loop answers, `action` runs once. For "there is
    /// something new" from busy threads.
    public func doorbell(_ action: @escaping Job) -> Doorbell<Handler> {
        Doorbell(self, action)
    }

    /// Stops the loop; never refused for lack of room.
    public func stop() {
        _ = enqueue({ $0.stop() }, isBounded: false)
    }

    func enqueue(_ job: @escaping Job, isBounded: Bool) -> Bool {
        let (isTaken, isFirst) = withBox { box -> (Bool, Bool) in
            guard !box.isClosed, !isBounded || box.jobs.count < limit else { return (false, false) }
            box.jobs.append(job)
            return (true, box.jobs.count == 1)
        }
        // One wake-up per batch: the loop takes all jobs at once. It cannot fail but by a full counter, which wakes.
        if isFirst { _ = linux_wake(descriptor) }
        return isTaken
    }

    private func withBox<Result>(_ body: (inout Box) -> Result) -> Result {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        return body(&box)
    }

    func takeJobs() -> [Job] {
        withBox { box in
            let jobs = box.jobs
            box.jobs = []
            return jobs
        }
    }

    func close() -> [Job] {
        withBox { box in
            let jobs = box.jobs
            box = Box(isClosed: true)
            return jobs
        }
    }
}

/// A coalescing wake-up: see ``Mailbox/doorbell(_:)``.
public final class Doorbell<Handler: ConnectionHandler>: Sendable {
    private let mailbox: Mailbox<Handler>
    private let isRung = Atomic(false)
    private let action: Mailbox<Handler>.Job

    init(_ mailbox: Mailbox<Handler>, _ action: @escaping Mailbox<Handler>.Job) {
        self.mailbox = mailbox
        self.action = action
    }

    /// From any thread. At most one ring of a doorbell waits in the mailbox, so it is never refused for lack of room.
    public func ring() {
        guard !isRung.exchange(true, ordering: .acquiringAndReleasing) else { return }
        _ = mailbox.enqueue(
            { [self] loop in
                // Cleared first: a ring during the action is not lost.
                isRung.store(false, ordering: .sequentiallyConsistent)
                action(loop)
            }, isBounded: false)
    }
}

/// The descriptor that wakes a loop for its mailbox.
final class WakeSource: EventSource {
    private let descriptor: Int32

    init(_ descriptor: Int32) { self.descriptor = descriptor }

    override func ready(_ loop: Loop) {
        _ = linux_wake_clear(descriptor)
        loop.runMailbox()
    }

    /// The mailbox owns the descriptor: other threads may still hold it.
    override func cancel() {}
}
