import Discovery
import Reactor
import Synchronization
import XDS

/// Tells the control thread of streams that begin and end, in order and without loss. There are at most three events for
/// each stream that a server takes.
final class StreamEvents: Sendable {
    enum Event: Sendable {
        case began(StreamToken, Node)
        /// Its proxy has listeners.
        case listening(StreamToken)
        case ended(StreamToken)
    }

    private struct State {
        var events: [Event] = []
        var ring: (@Sendable () -> Void)?
    }

    private let state = Mutex(State())

    /// - Parameter handle: called on the loop's thread.
    func open(_ mailbox: Mailbox<NoConnections>, _ handle: OnControlThread<(Event) -> Void>) {
        let doorbell = mailbox.doorbell { [self] _ in
            let events = state.withLock { state in
                defer { state.events = [] }
                return state.events
            }
            for event in events { handle.value(event) }
        }
        state.withLock { $0.ring = { doorbell.ring() } }
        doorbell.ring()
    }

    func note(_ event: Event) {
        let ring = state.withLock { state in
            state.events.append(event)
            return state.ring
        }
        ring?()
    }
}
