import HTTP

/// Why a request is traced, with the digit that says so in its identifier. Source: Envoy, `Tracing::Reason`,
/// `UUIDRequestIDExtension`.
public enum TraceReason: UInt8, Sendable {
    case notTraced = 0x34
    case sampled = 0x39
    case forcedByService = 0x61
    case forcedByClient = 0x62

    public var isTraced: Bool { self != .notTraced }
}

/// Which requests are traced: shares of those whose client asks for it, of all, and of both at most.
/// Source: Envoy, `ConnectionManagerUtility::mutateTracingRequestHeader`.
public struct TraceSampling: Sendable, Equatable {
    public let client: Fraction
    public let random: Fraction
    public let overall: Fraction

    public init(client: Fraction = .all, random: Fraction = .all, overall: Fraction = .all) {
        (self.client, self.random, self.overall) = (client, random, overall)
    }

    /// Decides, and packs the decision into the request's identifier for the proxies that follow. The number that
    /// decides is the identifier's own, so that all proxies on a request's way decide alike.
    public func decide(
        _ head: inout HeaderList, _ settings: RequestIDSettings, random: inout some RandomNumberGenerator
    ) -> TraceReason {
        guard settings.decidesTraces else { return .sampled }
        guard let id = head.withValue(of: "x-request-id", { RequestID($0) }) ?? nil else { return .notTraced }
        let told = settings.packsTraceReason ? id.reason : .notTraced
        var reason = told
        if reason == .notTraced {
            if head.contains("x-client-trace-id"), client.holds(random.next()) {
                reason = .forcedByClient
            } else if head.contains("x-envoy-force-trace") {
                reason = .forcedByService
            } else if self.random.holds(id.number) {
                reason = .sampled
            }
        }
        if reason.isTraced, !overall.holds(id.number) { reason = .notTraced }
        if reason != told, settings.packsTraceReason { reason.pack(into: &head) }
        return reason
    }
}

extension TraceReason {
    /// Writes it into the identifier of a request, if that is a UUID.
    public func pack(into head: inout HeaderList) {
        withUnsafeTemporaryAllocation(byteCount: RequestID.length, alignment: 1) { text in
            let isUUID = head.withValue(of: "x-request-id") { value in
                guard value.count == RequestID.length, value[RequestID.reasonPlace] != rawValue else { return false }
                text.copyMemory(from: value)
                return true
            }
            guard isUUID == true else { return }
            text[RequestID.reasonPlace] = rawValue
            head.set("x-request-id", value: UnsafeRawBufferPointer(text))
        }
    }
}

/// What an identifier says of traces.
private struct RequestID {
    static let length = 36
    static let reasonPlace = 14

    /// Under 10,000, the same for all who read it.
    let number: UInt64
    let reason: TraceReason

    /// - Returns: nil for what does not begin with a number of eight digits.
    init?(_ value: UnsafeRawBufferPointer) {
        guard value.count >= 8, let start = UInt64(hexadecimal: value.prefix(8)) else { return nil }
        number = start % 10_000
        reason = value.count == Self.length ? TraceReason(rawValue: value[Self.reasonPlace]) ?? .notTraced : .notTraced
    }
}

extension UInt64 {
    /// The number that one to sixteen digits make; nil for anything else.
    init?(hexadecimal digits: some Collection<UInt8>) {
        guard (1...16).contains(digits.count) else { return nil }
        var value: UInt64 = 0
        for digit in digits {
            switch digit {
            case 0x30...0x39: value = value << 4 | UInt64(digit - 0x30)
            case 0x61...0x66: value = value << 4 | UInt64(digit - 0x61 + 10)
            case 0x41...0x46: value = value << 4 | UInt64(digit - 0x41 + 10)
            default: return nil
            }
        }
        self = value
    }

    /// Writes sixteen digits.
    func writeHexadecimal(to text: UnsafeMutableRawBufferPointer, at start: Int) {
        for index in 0..<16 {
            let digit = UInt8(truncatingIfNeeded: self >> UInt64(60 - 4 * index) & 15)
            text[start + index] = digit < 10 ? 0x30 + digit : 0x61 + digit - 10
        }
    }

    /// Sixteen digits.
    var hexadecimalDigits: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 16) { bytes, count in
            writeHexadecimal(to: UnsafeMutableRawBufferPointer(bytes), at: 0)
            count = 16
        }
    }
}
