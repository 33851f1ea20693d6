import HTTP

/// A request's place in its trace, as headers tell it from hop to hop.
/// Source: W3C Trace Context; openzipkin/b3-propagation.
public struct TraceContext: Sendable, Equatable {
    /// The first half of the trace's identifier; 0 where it is of 64 bits.
    public var high: UInt64
    public var low: UInt64
    public var span: UInt64
    /// The span that this one is a part of; 0: it is the first.
    public var parent: UInt64
    /// Whether anybody keeps the spans of this trace.
    public var isSampled: Bool
    /// The caller's span is this one too: both sides tell of it under one identifier.
    public var isShared = false

    public init(high: UInt64, low: UInt64, span: UInt64, parent: UInt64 = 0, isSampled: Bool) {
        (self.high, self.low, self.span, self.parent, self.isSampled) = (high, low, span, parent, isSampled)
    }

    /// The trace's identifier in digits.
    public var traceID: [UInt8] { high == 0 ? low.hexadecimalDigits : wideTraceID }
    /// With all 32 digits.
    var wideTraceID: [UInt8] { high.hexadecimalDigits + low.hexadecimalDigits }

    /// A part of the same trace under this one.
    public func child(_ random: inout some RandomNumberGenerator) -> TraceContext {
        TraceContext(high: high, low: low, span: random.identifier(), parent: span, isSampled: isSampled)
    }
}

extension RandomNumberGenerator {
    /// Zero names nothing.
    mutating func identifier() -> UInt64 { next(upperBound: UInt64.max) + 1 }
}

/// Which headers tell of traces.
public enum TracePropagation: Sendable, Equatable {
    case w3c
    case b3
    /// Where a request has none of B3, those of W3C are taken; both are written.
    case b3AndW3C
}

/// What the headers of a request say of its trace.
enum ToldTrace: Equatable {
    /// - Parameter isSampled: nil: nothing is said of that either.
    case nothing(isSampled: Bool?)
    /// - Parameter isSampled: as in the context, or nil where nothing is said.
    case context(TraceContext, isSampled: Bool?)
    /// It cannot be read: no span is made, and what is there goes on as it is.
    case unreadable

    init(_ head: HeaderList, _ propagation: TracePropagation) {
        switch propagation {
        case .w3c: self = Self.w3c(head)
        case .b3: self = Self.b3(head)
        case .b3AndW3C:
            self = Self.b3(head)
            if case .nothing(nil) = self, case .context(let context, let sampled) = Self.w3c(head) {
                self = .context(context, isSampled: sampled)
            }
        }
    }

    /// `00-TRACE-SPAN-FLAGS`.
    static func w3c(_ head: HeaderList) -> ToldTrace {
        let read = head.withValue(of: "traceparent") { value -> ToldTrace in
            let dash = UInt8(ascii: "-")
            guard value.count == 55, value[2] == dash, value[35] == dash, value[52] == dash,
                UInt64(hexadecimal: value[..<2]) != nil, let high = UInt64(hexadecimal: value[3..<19]),
                let low = UInt64(hexadecimal: value[19..<35]), let span = UInt64(hexadecimal: value[36..<52]),
                let flags = UInt64(hexadecimal: value[53...]), high | low != 0, span != 0
            else { return .unreadable }
            let isSampled = flags & 1 != 0
            return .context(
                TraceContext(high: high, low: low, span: span, isSampled: isSampled), isSampled: isSampled)
        }
        return read ?? .nothing(isSampled: nil)
    }

    /// The one header if it is there, else the many.
    static func b3(_ head: HeaderList) -> ToldTrace {
        if let read = head.withValue(of: "b3", { single($0) }) { return read }
        let sampled: Bool? = head.withValue(of: "x-b3-sampled") {
            $0.equals(("1" as StaticString).bytes) || $0.equals(("true" as StaticString).bytes)
        }
        func number(_ name: StaticString) -> UInt64?? { head.withValue(of: name) { UInt64(hexadecimal: $0) } }
        guard let span = number("x-b3-spanid"),
            let trace = head.withValue(of: "x-b3-traceid", { halves($0) })
        else { return .nothing(isSampled: sampled) }
        var parent: UInt64 = 0
        if let told = head.withValue(of: "x-b3-parentspanid", { $0.isEmpty ? 0 : UInt64(hexadecimal: $0) }) {
            guard let told else { return .unreadable }
            parent = told
        }
        guard let span, let trace else { return .unreadable }
        return .context(
            TraceContext(high: trace.0, low: trace.1, span: span, parent: parent, isSampled: sampled ?? false),
            isSampled: sampled)
    }

    /// `TRACE-SPAN`, `TRACE-SPAN-SAMPLED`, `TRACE-SPAN-SAMPLED-PARENT`, or the decision alone.
    private static func single(_ value: UnsafeRawBufferPointer) -> ToldTrace {
        let parts = value.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        func decision(_ part: Slice<UnsafeRawBufferPointer>) -> Bool? {
            guard part.count == 1, let byte = part.first else { return nil }
            switch byte {
            case UInt8(ascii: "0"): return false
            case UInt8(ascii: "1"), UInt8(ascii: "d"): return true
            default: return nil
            }
        }
        if parts.count == 1 {
            guard let decided = decision(parts[0]) else { return .unreadable }
            return .nothing(isSampled: decided)
        }
        guard parts.count <= 4, parts[0].count == 16 || parts[0].count == 32, parts[1].count == 16,
            let trace = halves(parts[0]), let span = UInt64(hexadecimal: parts[1])
        else { return .unreadable }
        var sampled: Bool?
        if parts.count > 2 {
            guard let decided = decision(parts[2]) else { return .unreadable }
            sampled = decided
        }
        var parent: UInt64 = 0
        if parts.count > 3 {
            guard parts[3].count == 16, let told = UInt64(hexadecimal: parts[3]) else { return .unreadable }
            parent = told
        }
        return .context(
            TraceContext(high: trace.0, low: trace.1, span: span, parent: parent, isSampled: sampled ?? false),
            isSampled: sampled)
    }

    /// An identifier of 64 or 128 bits.
    private static func halves(_ digits: some Collection<UInt8>) -> (UInt64, UInt64)? {
        guard digits.count == 32 else { return UInt64(hexadecimal: digits).map { (0, $0) } }
        guard let high = UInt64(hexadecimal: digits.prefix(16)), let low = UInt64(hexadecimal: digits.dropFirst(16))
        else { return nil }
        return (high, low)
    }
}

extension TraceContext {
    /// Writes it into a request.
    public func write(_ propagation: TracePropagation, to head: inout HeaderList) {
        switch propagation {
        case .w3c: writeW3C(to: &head)
        case .b3: writeB3(to: &head)
        case .b3AndW3C:
            writeB3(to: &head)
            writeW3C(to: &head)
        }
    }

    private func writeW3C(to head: inout HeaderList) {
        withUnsafeTemporaryAllocation(byteCount: 55, alignment: 1) { text in
            text.copyBytes(from: "00-".utf8)
            high.writeHexadecimal(to: text, at: 3)
            low.writeHexadecimal(to: text, at: 19)
            text[35] = UInt8(ascii: "-")
            span.writeHexadecimal(to: text, at: 36)
            text[52] = UInt8(ascii: "-")
            text[53] = UInt8(ascii: "0")
            text[54] = isSampled ? UInt8(ascii: "1") : UInt8(ascii: "0")
            head.set("traceparent", value: UnsafeRawBufferPointer(text))
        }
    }

    /// Who sent the one header is answered with it. Source: Envoy, `Zipkin::Span::injectContext`.
    private func writeB3(to head: inout HeaderList) {
        if head.contains("b3") { return writeSingleB3(to: &head) }
        withUnsafeTemporaryAllocation(byteCount: 32, alignment: 1) { text in
            let start = high == 0 ? 0 : 16
            if high != 0 { high.writeHexadecimal(to: text, at: 0) }
            low.writeHexadecimal(to: text, at: start)
            head.set("x-b3-traceid", value: UnsafeRawBufferPointer(rebasing: text[..<(start + 16)]))
            span.writeHexadecimal(to: text, at: 0)
            head.set("x-b3-spanid", value: UnsafeRawBufferPointer(rebasing: text[..<16]))
            if parent != 0 {
                parent.writeHexadecimal(to: text, at: 0)
                head.set("x-b3-parentspanid", value: UnsafeRawBufferPointer(rebasing: text[..<16]))
            } else {
                head.remove("x-b3-parentspanid")
            }
        }
        head.set("x-b3-sampled", value: isSampled ? ("1" as StaticString).bytes : ("0" as StaticString).bytes)
    }

    private func writeSingleB3(to head: inout HeaderList) {
        let dash = UInt8(ascii: "-")
        var text = traceID + [dash] + span.hexadecimalDigits
        text += [dash, isSampled ? UInt8(ascii: "1") : UInt8(ascii: "0")]
        if parent != 0 { text += [dash] + parent.hexadecimalDigits }
        text.withUnsafeBytes { head.set("b3", value: $0) }
    }
}
