import Synchronization

/// Carries the agent through closures that run on its own thread.
///
/// Unchecked, because the compiler cannot see the rule that makes it sound: a doorbell's action runs on the thread of
/// the runner's loop only, and nothing else opens the box.
struct OnAgentThread: @unchecked Sendable {
    private(set) unowned var value: Agent

    init(_ value: Agent) { self.value = value }
}

/// How a command ended, on its way between two threads.
final class CommandOutcome: Sendable {
    private let state = Mutex<String?>(nil)

    var problem: String? { state.withLock { $0 } }
    func set(_ problem: String?) { state.withLock { $0 = problem } }
}
