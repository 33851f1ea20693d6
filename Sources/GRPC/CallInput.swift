/// What comes on one call: its messages, and what of the peer's window they hold.
///
/// By hand, a message holds its bytes of the stream's window until the application consumes it; of an
/// incomplete one only so much is let go that the rest can come. The connection's window is let go at once
/// for incomplete messages: calls must not wait for one another.
struct CallInput {
    private var assembler = MessageAssembler()
    /// Bytes of the incomplete message that are not consumed.
    private var held = 0
    /// Bytes of messages that the application has and has not consumed.
    private var owed = 0

    /// What to tell the transport.
    struct Consumption: Equatable {
        /// Bytes of the stream's window, and with it of the connection's.
        var stream = 0
        /// Bytes of the connection's window alone.
        var connection = 0
    }

    var isAtBoundary: Bool { assembler.isAtBoundary }

    /// - Parameters:
    ///   - limits: the size of a message, the window, and who consumes.
    ///   - emit: called with each message that is complete; false stops.
    mutating func receive(
        _ bytes: UnsafeRawBufferPointer, limits: GRPCLimits, _ emit: (GRPCMessage) -> Bool
    ) throws(MessageAssembler.Fault) -> Consumption {
        guard limits.consumesByHand else {
            _ = try assembler.receive(bytes, limit: limits.messageSize, emit)
            return Consumption(stream: bytes.count)
        }
        var (held, owed) = (held, owed)
        let incomplete = try assembler.receive(bytes, limit: limits.messageSize) { message in
            let message = message.holding(held)
            held = 0
            owed += message.windowBytes
            return emit(message)
        }
        self.held = held + incomplete
        self.owed = owed
        return Consumption(stream: letGo(window: limits.http2.streamWindow), connection: incomplete)
    }

    /// The application has consumed messages.
    /// - Returns: bytes to consume of the stream's window.
    mutating func consume(_ windowBytes: Int, limits: GRPCLimits) -> Int {
        let consumed = min(windowBytes, owed)
        owed -= consumed
        return consumed + letGo(window: limits.http2.streamWindow)
    }

    /// Consumes the incomplete message where its rest could not come otherwise: what was consumed before may
    /// be up to half a window for which no WINDOW_UPDATE was worth while, so that the other half is all that
    /// can be counted on. Less than half a window would not make a WINDOW_UPDATE either.
    private mutating func letGo(window: Int) -> Int {
        guard owed == 0, held >= window / 2, !assembler.isAtBoundary else { return 0 }
        defer { held = 0 }
        return held
    }
}
