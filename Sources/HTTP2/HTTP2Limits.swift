/// What a connection grants its peer, and how long it waits for it.
///
/// Rates are counted over ``floodInterval``: the counters start again at zero after it. Where a limit is
/// exceeded the connection ends with GOAWAY and an event that names the limit, the count and what is allowed.
public struct HTTP2Limits: Sendable, Equatable {
    // MARK: Sizes

    /// Streams that the peer may have open at a time (SETTINGS_MAX_CONCURRENT_STREAMS).
    public var concurrentStreams = 100
    /// Bytes of one header list as RFC 9113, section 6.5.2 counts them. More resets the stream
    /// (ENHANCE_YOUR_CALM); four times as many end the connection.
    public var headerListSize = 16 * 1024
    /// CONTINUATION frames of one header block. Source: CVE-2024-27316.
    public var continuations = 8
    /// Bytes that the peer may send on a stream before they are consumed (SETTINGS_INITIAL_WINDOW_SIZE).
    public var streamWindow = 65_535
    /// The same for all streams together; at least 65,535.
    public var connectionWindow = 1024 * 1024
    /// Bytes of a frame's payload that are accepted, 16,384 to 16,777,215 (SETTINGS_MAX_FRAME_SIZE).
    public var frameSize = 16_384
    /// Bytes of the HPACK table for what is received (SETTINGS_HEADER_TABLE_SIZE): memory per connection
    /// against bytes on the wire. Zero suits connections with few, long streams.
    public var receivingHeaderTableSize = 4096
    /// Bytes of the HPACK table for what is sent.
    public var sendingHeaderTableSize = 0
    /// Unsent bytes on one stream from which on `send` refuses more. A queue that is empty takes one
    /// message of any size.
    public var unsentBytesPerStream = 1024 * 1024
    /// Clients may ask for other protocols on a stream by extended CONNECT (SETTINGS_ENABLE_CONNECT_PROTOCOL).
    /// Source: RFC 8441, section 3.
    public var takesExtendedConnect = false
    /// Control frames that wait because the peer does not read.
    public var queuedControlFrames = 2_000

    // MARK: Rates, per interval

    /// The time over which the counters below count.
    public var floodInterval = Duration.seconds(30)
    /// Streams that the peer reset or made us reset. Source: CVE-2023-44487, CVE-2025-8671.
    public var streamResets = 1_000
    /// SETTINGS frames. Source: CVE-2019-9515.
    public var settingsFrames = 100
    /// PING frames since DATA or HEADERS were last sent. Source: CVE-2019-9512.
    public var pingFrames = 1_000
    /// DATA, HEADERS and CONTINUATION frames that carry nothing and end nothing. Source: CVE-2019-9518.
    public var emptyFrames = 100
    /// PRIORITY frames. Source: CVE-2019-9513.
    public var priorityFrames = 1_000
    /// GOAWAY frames, and frames of types that are not known.
    public var extensionFrames = 1_000
    /// WINDOW_UPDATE frames, beyond ten for each DATA frame sent.
    public var windowUpdateFrames = 1_000
    /// DATA and HEADERS frames on streams that are closed.
    public var closedStreamFrames = 1_000
    /// DATA frames under 64 bytes that the peer's tiny windows force on us. Source: CVE-2019-9511, CVE-2019-9517.
    public var tinyFrames = 1_000

    // MARK: Times

    /// Until the peer's preface and its acknowledgement of our SETTINGS.
    public var handshakeTimeout = Duration.seconds(10)
    /// From the first byte of a frame or header block to its last.
    public var frameTimeout = Duration.seconds(30)
    /// Silence after which a PING asks whether the peer is there; nil for never.
    public var keepaliveInterval: Duration? = .seconds(60)
    /// How long the PING's answer may take.
    public var keepaliveTimeout = Duration.seconds(20)
    /// Time without a stream after which the connection drains; nil for never.
    public var idleTimeout: Duration? = .seconds(900)
    /// Time in which the peer must take some of the DATA that waits for it; nil for ever.
    public var stallTimeout: Duration? = .seconds(120)
    /// Between the two GOAWAY frames of a drain, if the peer does not answer the PING between them.
    public var drainNotice = Duration.seconds(1)
    /// From the start of a drain to the end of the streams that are left.
    public var drainTimeout = Duration.seconds(30)

    // MARK: Keepalive enforcement (gRPC A8)

    /// A peer's PINGs must be this far apart unless we sent DATA or HEADERS between them; nil to allow any.
    public var minimumPingInterval: Duration?
    /// PINGs that may come too early before the connection ends with `too_many_pings`.
    public var pingStrikes = 2

    public init() {}
}

/// The name of a limit, as logs and error texts have it.
public enum HTTP2Limit: String, Sendable, CaseIterable {
    case headerListSize, continuations, queuedControlFrames
    case streamResets, settingsFrames, pingFrames, emptyFrames, priorityFrames, extensionFrames, windowUpdateFrames
    case closedStreamFrames, tinyFrames, pingStrikes
}

/// The name of a time limit, as logs and error texts have it.
public enum HTTP2Timeout: String, Sendable, CaseIterable {
    case handshakeTimeout, frameTimeout, keepaliveTimeout, stallTimeout, drainTimeout
}
