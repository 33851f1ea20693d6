import Glibc
import HTTP

/// One direction of an HTTP/1.1 connection, bytes in, events out. Bodies are not copied; of a head at most one line is
/// held back. However the bytes are cut, the events are the same but for the places where bodies are cut.
/// Source: RFC 9112; where it leaves a choice that an attacker could use, the strict one.
public struct HTTP1Receiver {
    enum State {
        /// Before a request or status line.
        case start
        case fields
        /// `remaining` bytes of a body, or of a chunk.
        case body
        case chunkSize, chunk, chunkReturn, chunkLineFeed
        case trailers
        case untilClose
        /// A message is whole; a server takes no more, to a client no more may come.
        case ended
        case failed
    }

    let role: HTTP1Role
    let limits: HTTP1Limits
    let scheme: HTTP1Scheme
    var state: State
    /// The beginning of a line.
    var partial: [UInt8] = []
    var builder = HeaderListBuilder()
    var underway = HeadUnderway()
    var remaining: UInt64 = 0
    var extensionBytes = 0
    /// Of a client: what the response answers.
    var method = HTTP1Method.other
    var mayUpgrade = false
    var informationalCount = 0

    /// - Parameters:
    ///   - role: A server takes requests at once, a client responses after `expectResponse`.
    ///   - scheme: of the requests on this connection.
    public init(role: HTTP1Role, limits: HTTP1Limits = HTTP1Limits(), scheme: HTTP1Scheme = .http) {
        (self.role, self.limits, self.scheme) = (role, limits, scheme)
        state = role == .server ? .start : .ended
    }

    /// Whether nothing of a message has arrived yet: the connection may be closed without a word.
    public var isBetweenMessages: Bool {
        switch state {
        case .start: partial.isEmpty && underway.emptyLines == 0
        case .ended: true
        case .fields, .body, .chunkSize, .chunk, .chunkReturn, .chunkLineFeed, .trailers, .untilClose, .failed: false
        }
    }

    /// Whether a head has begun and is not whole: what a header timeout is for.
    public var isInHead: Bool {
        switch state {
        case .start: !isBetweenMessages
        case .fields: true
        case .body, .chunkSize, .chunk, .chunkReturn, .chunkLineFeed, .trailers, .untilClose, .ended, .failed: false
        }
    }

    /// Of a server, after `.end`: takes the next request.
    public mutating func startNext() {
        precondition(role == .server, "a client says what it expects")
        if state == .failed { return }
        precondition(state == .ended, "the next message before the end of this one")
        begin()
    }

    /// Of a client: a request was sent, whose response is next.
    /// - Parameter upgrade: whether it asks to change the protocol.
    public mutating func expectResponse(to method: HTTP1Method, upgrade: Bool = false) {
        precondition(role == .client, "a server gets no responses")
        if state == .failed { return }
        precondition(state == .ended, "the next message before the end of this one")
        (self.method, mayUpgrade, informationalCount) = (method, upgrade, 0)
        begin()
    }

    /// Of a server, after `.end`: it agreed to an upgrade or to CONNECT; what follows is data until the peer closes.
    public mutating func becomeOpaque() {
        if state == .failed { return }
        precondition(state == .ended, "an upgrade before the end of the request")
        state = .untilClose
    }

    mutating func begin() {
        state = .start
        underway = HeadUnderway()
        extensionBytes = 0
    }

    /// Takes bytes of the peer.
    /// - Returns: how many were taken: all but what follows the end of a request, which is to be given again after
    ///   `startNext` or `becomeOpaque`.
    public mutating func receive(_ bytes: UnsafeRawBufferPointer, events: inout [HTTP1Event]) -> Int {
        var rest = bytes
        do throws(HTTP1Problem) {
            while !rest.isEmpty {
                switch state {
                case .start, .fields, .chunkSize, .trailers: try receiveLine(&rest, &events)
                case .body:
                    receiveData(&rest, &events)
                    if remaining == 0 { end(nil, &events) }
                case .chunk:
                    receiveData(&rest, &events)
                    if remaining == 0 { state = .chunkReturn }
                case .chunkReturn:
                    guard rest[0] == 0x0d else { throw .malformedChunkEnd }
                    state = .chunkLineFeed
                    rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst())
                case .chunkLineFeed:
                    guard rest[0] == 0x0a else { throw .malformedChunkEnd }
                    state = .chunkSize
                    rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst())
                case .untilClose:
                    events.append(.data(rest))
                    return bytes.count
                case .ended:
                    guard role == .server else { throw .unexpectedResponse }
                    return bytes.count - rest.count
                case .failed: return bytes.count
                }
            }
        } catch {
            fail(error, &events)
        }
        return bytes.count
    }

    /// The peer closed its side.
    public mutating func endOfInput(events: inout [HTTP1Event]) {
        switch state {
        case .untilClose: end(nil, &events)
        case .start where role == .server && isBetweenMessages: state = .ended
        case .start, .fields, .body, .chunkSize, .chunk, .chunkReturn, .chunkLineFeed, .trailers:
            fail(.closedEarly, &events)
        case .ended, .failed: break
        }
    }

    mutating func fail(_ problem: HTTP1Problem, _ events: inout [HTTP1Event]) {
        state = .failed
        partial = []
        builder = HeaderListBuilder()
        events.append(.failed(HTTP1Failure(problem, role)))
    }

    mutating func end(_ trailers: HeaderList?, _ events: inout [HTTP1Event]) {
        state = .ended
        events.append(.end(trailers: trailers))
    }

    private mutating func receiveData(_ rest: inout UnsafeRawBufferPointer, _ events: inout [HTTP1Event]) {
        let count = Int(min(UInt64(rest.count), remaining))
        events.append(.data(UnsafeRawBufferPointer(rebasing: rest[..<count])))
        remaining -= UInt64(count)
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
    }

    // MARK: Lines

    /// The most that the line may have, its end included.
    private var lineLimit: Int {
        switch state {
        case .chunkSize: 18 + limits.chunkExtensionBytes - extensionBytes
        default: min(limits.lineBytes, limits.headBytes - underway.bytes)
        }
    }

    private var lineProblem: HTTP1Problem {
        switch state {
        case .start: role == .server ? .targetTooLong : .lineTooLong
        case .chunkSize: .chunkExtensionsTooLarge
        default: limits.lineBytes < limits.headBytes - underway.bytes ? .lineTooLong : .headTooLarge
        }
    }

    @inline(__always)
    private mutating func receiveLine(
        _ rest: inout UnsafeRawBufferPointer, _ events: inout [HTTP1Event]
    ) throws(HTTP1Problem) {
        let allowed = lineLimit - partial.count
        guard allowed > 0, let base = rest.baseAddress else { throw lineProblem }
        let window = min(rest.count, allowed)
        guard let found = memchr(base, 0x0a, window) else {
            if window == allowed { throw lineProblem }
            partial.append(contentsOf: rest)
            rest = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        let count = UnsafeRawPointer(found) - base + 1
        let line = UnsafeRawBufferPointer(start: base, count: count)
        rest = UnsafeRawBufferPointer(start: base + count, count: rest.count - count)
        if partial.isEmpty {
            try take(line, followedBy: rest.count, &events)
        } else {
            var held: [UInt8] = []
            swap(&held, &partial)
            held.append(contentsOf: line)
            let following = rest.count
            var problem: HTTP1Problem?
            held.withUnsafeBytes { bytes in
                do throws(HTTP1Problem) {
                    try take(bytes, followedBy: following, &events)
                } catch {
                    problem = error
                }
            }
            if let problem { throw problem }
        }
    }

    /// - Parameters:
    ///   - line: with its line feed.
    ///   - following: bytes that are there already: an estimate of what the head will take.
    @inline(__always)
    private mutating func take(
        _ line: UnsafeRawBufferPointer, followedBy following: Int, _ events: inout [HTTP1Event]
    ) throws(HTTP1Problem) {
        guard line.count >= 2, line[line.count - 2] == 0x0d else { throw .bareLineFeed }
        let content = UnsafeRawBufferPointer(start: line.baseAddress, count: line.count - 2)
        switch state {
        case .fields:
            underway.bytes += line.count
            if content.isEmpty { try endHead(&events) } else { try takeField(content) }
        case .start:
            underway.bytes += line.count
            if role == .server, content.isEmpty {
                // Some clients end a body with one. Source: RFC 9112, section 2.2.
                guard underway.emptyLines == 0 else { throw .emptyLine }
                underway.emptyLines = 1
                return
            }
            builder.reserve(line.count + 64 + min(following + following / 4, 2048))
            if role == .server { try takeRequestLine(content) } else { try takeStatusLine(content) }
            state = .fields
        case .chunkSize: try takeChunkSize(content)
        case .trailers:
            underway.bytes += line.count
            if content.isEmpty {
                let trailers = builder.finish()
                end(trailers.isEmpty ? nil : trailers, &events)
            } else {
                try takeTrailer(content)
            }
        case .body, .chunk, .chunkReturn, .chunkLineFeed, .untilClose, .ended, .failed:
            preconditionFailure("a line where none is")
        }
    }

    /// Source: RFC 9112, section 7.1.
    private mutating func takeChunkSize(_ line: UnsafeRawBufferPointer) throws(HTTP1Problem) {
        var size: UInt64 = 0
        var index = 0
        while index < line.count {
            let byte = line[index].lowerCased
            let digit: UInt8
            switch byte {
            case 0x30...0x39: digit = byte - 0x30
            case 0x61...0x66: digit = byte - 0x61 + 10
            default: digit = 0xff
            }
            if digit == 0xff { break }
            guard index < 16 else { throw .chunkTooLarge }
            size = size << 4 | UInt64(digit)
            index += 1
        }
        guard index > 0 else { throw .malformedChunkSize }
        guard size <= UInt64(Int64.max) else { throw .chunkTooLarge }
        if index < line.count {
            let rest = UnsafeRawBufferPointer(rebasing: line[index...])
            guard rest[0] == UInt8(ascii: ";"), Characters.areFieldBytes(rest) else { throw .malformedChunkSize }
            extensionBytes += rest.count
            guard extensionBytes <= limits.chunkExtensionBytes else { throw .chunkExtensionsTooLarge }
        }
        if size == 0 {
            underway = HeadUnderway()
            state = .trailers
        } else {
            remaining = size
            state = .chunk
        }
    }
}
