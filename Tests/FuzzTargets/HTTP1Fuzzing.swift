import HTTP
import HTTP1

/// Requests, whole and in parts of as many bytes as the first one says: both ways the same messages come out, and a head
/// that was taken can be written, and read again as the same.
func fuzzHTTP1Requests(_ bytes: UnsafeRawBufferPointer) {
    fuzzHTTP1(bytes) { HTTP1Receiver(role: .server) }
}

/// Responses, with a first byte that says what they answer too.
func fuzzHTTP1Responses(_ bytes: UnsafeRawBufferPointer) {
    let first = bytes.first ?? 0
    let method: HTTP1Method = first & 0x40 != 0 ? .head : first & 0x20 != 0 ? .connect : .other
    fuzzHTTP1(bytes) {
        var receiver = HTTP1Receiver(role: .client)
        receiver.expectResponse(to: method, upgrade: first & 0x80 != 0)
        return receiver
    }
}

private func fuzzHTTP1(_ bytes: UnsafeRawBufferPointer, _ make: () -> HTTP1Receiver) {
    guard let first = bytes.first else { return }
    let message = UnsafeRawBufferPointer(rebasing: bytes.dropFirst())
    let whole = HTTP1Notes(message, partSize: message.count, make())
    let parts = HTTP1Notes(message, partSize: max(1, Int(first) & 0x1f), make())
    precondition(whole == parts, "cuts make a difference: \(whole) and \(parts)")
}

/// What came out, comparable.
private struct HTTP1Notes: Equatable {
    var heads: [HeaderList] = []
    var framings: [HTTP1Head] = []
    var data: [UInt8] = []
    var trailers: [HeaderList?] = []
    var failure: HTTP1Failure?
    private var open: HTTP1Head?

    init(_ message: UnsafeRawBufferPointer, partSize: Int, _ receiver: HTTP1Receiver) {
        var receiver = receiver
        var rest = message
        while !rest.isEmpty {
            var part = UnsafeRawBufferPointer(rebasing: rest.prefix(partSize))
            rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(part.count))
            while !part.isEmpty {
                var events: [HTTP1Event] = []
                let taken = receiver.receive(part, events: &events)
                precondition(taken > 0 || !events.isEmpty, "nothing taken and nothing said")
                part = UnsafeRawBufferPointer(rebasing: part.dropFirst(taken))
                for event in events { note(event, &receiver) }
            }
        }
        var events: [HTTP1Event] = []
        receiver.endOfInput(events: &events)
        for event in events { note(event, &receiver) }
        precondition(open == nil || failure != nil, "neither an end nor a failure")
    }

    private mutating func note(_ event: HTTP1Event, _ receiver: inout HTTP1Receiver) {
        precondition(failure == nil, "an event after the last one")
        switch event {
        case .head(let list, let head):
            precondition(open == nil, "a head within a message")
            open = head
            heads.append(list)
            framings.append(head)
            Self.expectReadBack(list, head)
        case .informational(let list): heads.append(list)
        case .data(let bytes):
            precondition(
                open != nil && open?.framing != HTTP1Framing.none || open?.upgrade != nil || open?.isConnect == true)
            data += bytes
        case .end(let last):
            trailers.append(last)
            let isRequest = open?.status == 0
            if isRequest, open?.upgrade != nil || open?.isConnect == true {
                if open?.framing == .untilClose {
                    open = nil
                } else {
                    // The tunnel's end is one more.
                    open?.framing = .untilClose
                    receiver.becomeOpaque()
                }
            } else {
                open = nil
                if isRequest { receiver.startNext() }
            }
        case .failed(let failure): self.failure = failure
        }
    }

    private static func expectReadBack(_ list: HeaderList, _ head: HTTP1Head) {
        var output: [UInt8] = []
        let isRequest = head.status == 0
        do {
            if isRequest {
                try HTTP1Writer.appendRequest(list, framing: .none, to: &output)
            } else {
                try HTTP1Writer.appendResponse(list, framing: .none, to: &output)
            }
        } catch {
            preconditionFailure("what was read cannot be written: \(error)")
        }
        if head.status == 101 { return }
        var receiver = HTTP1Receiver(role: isRequest ? .server : .client)
        if !isRequest { receiver.expectResponse(to: .head) }
        var events: [HTTP1Event] = []
        _ = output.withUnsafeBytes { receiver.receive($0, events: &events) }
        guard case .head(var again, _)? = events.first else { preconditionFailure("what was written is not read") }
        var list = list
        for name: StaticString in ["content-length", "te"] {
            list.remove(name)
            again.remove(name)
        }
        precondition(list == again, "what was written is read as something else")
    }
}
