import HTTP
import HTTP1

/// What a receiver makes of bytes, as text: one line per event, the pieces of a body joined.
struct Transcript {
    private(set) var lines: [String] = []
    private var receiver: HTTP1Receiver
    private let role: HTTP1Role
    private let method: HTTP1Method
    private let upgrades: Bool
    private var body: [UInt8]?

    init(
        _ role: HTTP1Role, to method: HTTP1Method = .other, upgrades: Bool = false, limits: HTTP1Limits = HTTP1Limits(),
        scheme: HTTP1Scheme = .http
    ) {
        (self.role, self.method, self.upgrades) = (role, method, upgrades)
        receiver = HTTP1Receiver(role: role, limits: limits, scheme: scheme)
        if role == .client { receiver.expectResponse(to: method, upgrade: upgrades) }
    }

    /// All of the bytes, cut into these parts, and the end of the input. A server takes one request after the other; it
    /// agrees to upgrades and to CONNECT.
    mutating func run(_ parts: [ArraySlice<UInt8>]) -> [String] {
        for part in parts { receive(part) }
        var events: [HTTP1Event] = []
        receiver.endOfInput(events: &events)
        note(events)
        flush()
        return lines
    }

    private mutating func receive(_ part: ArraySlice<UInt8>) {
        var rest = part
        while !rest.isEmpty {
            var events: [HTTP1Event] = []
            // A copy, so that a read beyond the part meets other memory.
            let bytes = Array(rest)
            let taken = bytes.withUnsafeBytes { bytes in
                let taken = receiver.receive(bytes, events: &events)
                note(events)
                return taken
            }
            rest = rest.dropFirst(taken)
        }
    }

    private var tunnels = false

    private mutating func note(_ events: [HTTP1Event]) {
        for event in events {
            if case .data(let bytes) = event {
                precondition(!bytes.isEmpty, "an empty piece of a body")
                body = (body ?? []) + bytes
                continue
            }
            flush()
            switch event {
            case .data: break
            case .head(let list, let head):
                lines.append("head" + Self.text(list))
                lines.append(Self.text(head))
                tunnels = role == .server && (head.upgrade != nil || head.isConnect)
            case .informational(let list): lines.append("informational" + Self.text(list))
            case .end(let trailers):
                lines.append("end" + (trailers.map(Self.text) ?? ""))
                if role == .server {
                    if tunnels { receiver.becomeOpaque() } else { receiver.startNext() }
                    tunnels = false
                }
            case .failed(let failure): lines.append("failed \(failure.problem.rawValue) \(failure.status)")
            }
        }
    }

    private mutating func flush() {
        guard let body else { return }
        lines.append(
            "data " + String(decoding: body, as: UTF8.self).replacing("\r\n", with: "\\r\\n"))
        self.body = nil
    }

    private static func text(_ list: HeaderList) -> String {
        list.fields.map { " \($0.name)=\($0.value)" }.joined()
    }

    private static func text(_ head: HTTP1Head) -> String {
        var words = ["  \(head.framing)", head.keepsAlive ? "keeps alive" : "closes"]
        if let upgrade = head.upgrade { words.append("upgrade \(upgrade)") }
        if head.expectsContinue { words.append("expects continue") }
        if head.method != .other { words.append("\(head.method)") }
        if head.isHTTP10 { words.append("1.0") }
        return words.joined(separator: ", ")
    }
}

/// Messages as text: `\r`, `\n`, `\t`, `\xHH` and `\\` mean what they do in C; the ends of the lines mean nothing.
func unescaped(_ text: some StringProtocol) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = Substring(text).utf8
    while let byte = rest.popFirst() {
        if byte == UInt8(ascii: "\n") { continue }
        guard byte == UInt8(ascii: "\\"), let letter = rest.popFirst() else {
            bytes.append(byte)
            continue
        }
        switch letter {
        case UInt8(ascii: "r"): bytes.append(0x0d)
        case UInt8(ascii: "n"): bytes.append(0x0a)
        case UInt8(ascii: "t"): bytes.append(0x09)
        case UInt8(ascii: "x"):
            bytes.append(UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) ?? 0)
            rest = rest.dropFirst(2)
        default: bytes.append(letter)
        }
    }
    return bytes
}

/// The bytes whole, cut in two at each place, and byte by byte.
func allCuts(_ bytes: [UInt8]) -> [[ArraySlice<UInt8>]] {
    var cuts: [[ArraySlice<UInt8>]] = [[bytes[...]], bytes.indices.map { bytes[$0...$0] }]
    for place in bytes.indices.dropFirst() { cuts.append([bytes[..<place], bytes[place...]]) }
    return cuts
}
