/// Reads one HTTP/1.1 response from the bytes of a connection: as a value, with bounds.
/// Source: RFC 9112, sections 4 to 7.
struct HTTPResponseReader {
    /// Bytes that the status line and the fields may have.
    static let largestHead = 16 << 10
    /// Bytes that the body may have.
    let largestBody: Int

    private(set) var status = 0
    private(set) var body: [UInt8] = []
    private var state = State.head
    private var waiting: [UInt8] = []

    private enum State {
        case head
        case body(left: Int)
        case untilClose
        case chunkSize
        case chunk(left: Int)
        case chunkEnd
        case trailers
        case finished
    }

    init(largestBody: Int) { self.largestBody = largestBody }

    var isFinished: Bool { if case .finished = state { true } else { false } }

    /// - Throws: what the server may not send.
    mutating func receive(_ bytes: some Sequence<UInt8>) throws(HTTPProblem) {
        waiting.append(contentsOf: bytes)
        while try step() {}
    }

    /// The server has closed the connection.
    /// - Throws: `.cutShort` if more was to come.
    mutating func connectionClosed() throws(HTTPProblem) {
        if case .untilClose = state { state = .finished }
        guard isFinished else { throw .cutShort }
    }

    /// - Returns: false when more bytes are needed, or none.
    private mutating func step() throws(HTTPProblem) -> Bool {
        switch state {
        case .head:
            guard let end = Self.headEnd(waiting) else {
                guard waiting.count <= Self.largestHead else { throw .tooLarge("head", limit: Self.largestHead) }
                return false
            }
            let head = Array(waiting[..<end])
            waiting.removeFirst(end + 4)
            try readHead(head)
        case .body(let left):
            let taken = try take(left)
            state = taken == left ? .finished : .body(left: left - taken)
            return taken == left
        case .untilClose:
            _ = try take(waiting.count)
            return false
        case .chunkSize:
            guard let line = try takeLine() else { return false }
            let digits = line.prefix { $0 != ";" && $0 != " " }
            guard digits.count <= 8, let size = Int(digits, radix: 16), size >= 0 else {
                throw .malformed("chunk size")
            }
            state = size == 0 ? .trailers : .chunk(left: size)
        case .chunk(let left):
            let taken = try take(left)
            state = taken == left ? .chunkEnd : .chunk(left: left - taken)
            return taken == left
        case .chunkEnd:
            guard let line = try takeLine() else { return false }
            guard line.isEmpty else { throw .malformed("end of a chunk") }
            state = .chunkSize
        case .trailers:
            guard let line = try takeLine() else { return false }
            if line.isEmpty { state = .finished }
        case .finished:
            return false
        }
        return true
    }

    private mutating func take(_ most: Int) throws(HTTPProblem) -> Int {
        let count = min(most, waiting.count)
        guard body.count + count <= largestBody else { throw .tooLarge("body", limit: largestBody) }
        body.append(contentsOf: waiting[..<count])
        waiting.removeFirst(count)
        return count
    }

    private mutating func takeLine() throws(HTTPProblem) -> String? {
        guard let end = waiting.firstIndex(of: UInt8(ascii: "\n")) else {
            guard waiting.count <= 1024 else { throw .tooLarge("line", limit: 1024) }
            return nil
        }
        var line = waiting[..<end]
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        let text = String(decoding: line, as: UTF8.self)
        waiting.removeFirst(end + 1)
        return text
    }

    private mutating func readHead(_ bytes: [UInt8]) throws(HTTPProblem) {
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\r\n", omittingEmptySubsequences: false)
        let words = lines[0].split(separator: " ")
        guard words.count >= 2, words[0].hasPrefix("HTTP/1."), words[1].count == 3, let code = Int(words[1]) else {
            throw .malformed("status line")
        }
        status = code
        var length: Int?
        var isChunked = false
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { throw .malformed("field") }
            let value = line[line.index(after: colon)...].filter { $0 != " " && $0 != "\t" }
            switch line[..<colon].lowercased() {
            case "content-length":
                guard let number = Int(value), number >= 0, length == nil || length == number else {
                    throw .malformed("content-length")
                }
                length = number
            case "transfer-encoding":
                guard value.lowercased() == "chunked" else { throw .malformed("transfer-encoding") }
                isChunked = true
            default: break
            }
        }
        if (100..<200).contains(code) {
            state = .head
            return
        }
        if isChunked {
            state = .chunkSize
            return
        }
        guard let length else {
            state = .untilClose
            return
        }
        guard length <= largestBody else { throw .tooLarge("body", limit: largestBody) }
        state = length == 0 ? .finished : .body(left: length)
    }

    private static func headEnd(_ bytes: [UInt8]) -> Int? {
        guard bytes.count >= 4 else { return nil }
        let limit = min(bytes.count, largestHead)
        return (0...(limit - 4)).first { start in
            bytes[start] == 13 && bytes[start + 1] == 10 && bytes[start + 2] == 13 && bytes[start + 3] == 10
        }
    }
}

/// Why a download failed.
enum HTTPProblem: Error, Hashable, Sendable, CustomStringConvertible {
    case malformed(String)
    case tooLarge(String, limit: Int)
    case cutShort
    case status(Int)
    case notReached(String)

    var description: String {
        switch self {
        case .malformed(let part): "the answer is not HTTP: its \(part) cannot be read"
        case .tooLarge(let part, let limit): "the answer's \(part) is larger than \(limit) bytes"
        case .cutShort: "the answer ends before it is whole"
        case .status(let code): "the server answers with status \(code)"
        case .notReached(let reason): "the server cannot be reached: \(reason)"
        }
    }
}
