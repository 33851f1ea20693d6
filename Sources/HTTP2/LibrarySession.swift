import CNghttp2
import HTTP

/// What a stream has to send when the library asks.
enum NextData {
    /// There is no room for a sensible frame now.
    case pause
    /// So many bytes; the last ones for now, or for ever.
    case bytes(Int, drained: Bool, endStream: Bool)
}

/// The library's session: the only file with its names, besides ``SessionMemory``.
///
/// It calls back into the ``HTTP2Connection`` that owns it, from `feed` and `nextFrame` only.
struct LibrarySession {
    private let session: OpaquePointer

    /// - Parameter owner: lives at least as long as the session.
    init(role: HTTP2Role, limits: HTTP2Limits, memory: SessionMemory, owner: HTTP2Connection) {
        var options: OpaquePointer?
        var created: OpaquePointer?
        var allocator = memory.allocator
        let user = Unmanaged.passUnretained(owner).toOpaque()
        var result = nghttp2_option_new(&options)
        precondition(result == 0, "out of memory")
        nghttp2_option_set_no_auto_window_update(options, 1)
        nghttp2_option_set_no_recv_client_magic(options, 1)
        nghttp2_option_set_max_deflate_dynamic_table_size(options, limits.sendingHeaderTableSize)
        // Ours, with a clock that tests can hold, stands before the library's.
        nghttp2_option_set_stream_reset_rate_limit(options, 1 << 40, 1 << 40)
        nghttp2_option_set_max_continuations(options, limits.continuations)
        nghttp2_option_set_max_outbound_ack(options, limits.queuedControlFrames)
        switch role {
        case .server: result = nghttp2_session_server_new3(&created, Self.callbacks, user, options, &allocator)
        case .client: result = nghttp2_session_client_new3(&created, Self.callbacks, user, options, &allocator)
        }
        nghttp2_option_del(options)
        guard result == 0, let created else { preconditionFailure("out of memory") }
        session = created
        submitSettings(role: role, limits: limits)
    }

    func delete() {
        nghttp2_session_del(session)
    }

    private func submitSettings(role: HTTP2Role, limits: HTTP2Limits) {
        var entries: [nghttp2_settings_entry] = []
        func add(_ id: nghttp2_settings_id, _ value: Int, unless initial: Int? = nil) {
            guard value != initial else { return }
            entries.append(.init(settings_id: Int32(id.rawValue), value: UInt32(clamping: value)))
        }
        switch role {
        case .server:
            add(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.concurrentStreams)
            // Spares the dependency tree of RFC 7540. Source: RFC 9218, section 2.1.
            add(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1)
            if limits.takesExtendedConnect { add(NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1) }
        case .client:
            add(NGHTTP2_SETTINGS_ENABLE_PUSH, 0)
        }
        add(NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, limits.receivingHeaderTableSize, unless: 4096)
        add(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.streamWindow, unless: 65_535)
        add(NGHTTP2_SETTINGS_MAX_FRAME_SIZE, limits.frameSize, unless: 16_384)
        add(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits.headerListSize)
        let submitted = nghttp2_submit_settings(session, 0, entries, entries.count)
        precondition(submitted == 0, "HTTP2Limits out of the ranges of RFC 9113, section 6.5.2")
        if limits.connectionWindow > 65_535 {
            let widened = nghttp2_session_set_local_window_size(session, 0, 0, Int32(clamping: limits.connectionWindow))
            precondition(widened == 0, "connectionWindow out of range")
        }
    }

    // MARK: Bytes

    /// Hands bytes to the library.
    /// - Returns: nil, or the library's words for what is wrong beyond repair.
    func feed(_ bytes: UnsafeRawBufferPointer) -> String? {
        let pointer = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
        let result = nghttp2_session_mem_recv(session, pointer, bytes.count)
        return result < 0 ? String(cString: nghttp2_strerror(Int32(result))) : nil
    }

    /// The next frame to send, valid until the next call; empty when there is none, or when DATA was written
    /// through the owner; nil if the library failed.
    func nextFrame() -> UnsafeRawBufferPointer? {
        var pointer: UnsafePointer<UInt8>?
        let count = nghttp2_session_mem_send(session, &pointer)
        return count < 0 ? nil : UnsafeRawBufferPointer(start: pointer, count: count)
    }

    var wantsRead: Bool { nghttp2_session_want_read(session) != 0 }
    var wantsWrite: Bool { nghttp2_session_want_write(session) != 0 }
    /// Frames that wait to be sent, DATA apart.
    var queuedFrames: Int { nghttp2_session_get_outbound_queue_size(session) }
    /// The highest stream of the peer that was worked on.
    var lastProcessedStream: HTTP2StreamID { nghttp2_session_get_last_proc_stream_id(session) }
    var mayOpenStreams: Bool { nghttp2_session_check_request_allowed(session) != 0 }
    /// Bytes of DATA that the peer allows now, for all streams together.
    var remoteConnectionWindow: Int { Int(nghttp2_session_get_remote_window_size(session)) }

    var peerConcurrentStreams: Int {
        Int(nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS))
    }

    var peerTakesExtendedConnect: Bool {
        nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1
    }

    // MARK: Orders

    /// HEADERS of an informational response, which open nothing.
    func submitInformational(_ headers: HeaderList, on stream: HTTP2StreamID) -> Bool {
        submitHeaders(headers, on: stream, endStream: false) != nil
    }

    /// - Parameter stream: nil opens one (client).
    /// - Returns: the stream, nil if it cannot be.
    func submitHeaders(_ headers: HeaderList, on stream: HTTP2StreamID?, endStream: Bool) -> HTTP2StreamID? {
        var fields: [nghttp2_nv] = []
        fields.reserveCapacity(headers.count)
        // The library copies: the pointers are good for the call because `headers` is.
        let result: Int32 = withExtendedLifetime(headers) {
            headers.withFields { name, value in
                fields.append(
                    nghttp2_nv(
                        name: .init(mutating: name.baseAddress?.assumingMemoryBound(to: UInt8.self)),
                        value: .init(mutating: value.baseAddress?.assumingMemoryBound(to: UInt8.self)),
                        namelen: name.count, valuelen: value.count, flags: 0))
            } then: {
                nghttp2_submit_headers(
                    session, endStream ? UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) : 0, stream ?? -1, nil, fields,
                    fields.count, nil)
            }
        }
        guard result >= 0 else { return nil }
        return stream ?? result
    }

    /// Says that a stream has DATA; the library asks for it when the windows allow.
    func submitData(on stream: HTTP2StreamID) -> Bool {
        var provider = nghttp2_data_provider(source: .init(), read_callback: Self.readData)
        return nghttp2_submit_data(session, UInt8(NGHTTP2_FLAG_END_STREAM.rawValue), stream, &provider) == 0
    }

    func submitReset(_ stream: HTTP2StreamID, _ code: HTTP2ErrorCode) {
        nghttp2_submit_rst_stream(session, 0, stream, code.rawValue)
    }

    func submitShutdownNotice() {
        nghttp2_submit_shutdown_notice(session)
    }

    func submitGoAway(last: HTTP2StreamID) {
        nghttp2_submit_goaway(session, 0, last, HTTP2ErrorCode.noError.rawValue, nil, 0)
    }

    func consumeStream(_ count: Int, on stream: HTTP2StreamID) {
        nghttp2_session_consume_stream(session, stream, count)
    }

    func consumeConnection(_ count: Int) {
        nghttp2_session_consume_connection(session, count)
    }

    /// Equal shares for all streams of a connection: by default the library serves them one after the other.
    private static func shareFairly(_ session: OpaquePointer?, _ stream: HTTP2StreamID) {
        var priority = nghttp2_extpri(urgency: UInt32(NGHTTP2_EXTPRI_DEFAULT_URGENCY), inc: 1)
        nghttp2_session_change_extpri_stream_priority(session, stream, &priority, 1)
    }

    // MARK: Callbacks

    private static func owner(_ user: UnsafeMutableRawPointer?) -> HTTP2Connection {
        Unmanaged<HTTP2Connection>.fromOpaque(user!).takeUnretainedValue()
    }

    private static let readData: nghttp2_data_source_read_callback = { _, stream, _, length, flags, _, user in
        switch LibrarySession.owner(user).nextData(on: stream, atMost: length) {
        case .pause:
            return Int(NGHTTP2_ERR_PAUSE.rawValue)
        case .bytes(let count, let drained, let endStream):
            var set = NGHTTP2_DATA_FLAG_NO_COPY.rawValue
            if drained { set |= NGHTTP2_DATA_FLAG_EOF.rawValue }
            if !endStream { set |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue }
            flags?.pointee |= set
            return count
        }
    }

    /// Written once, before the first session, and only read by the library.
    nonisolated(unsafe) private static let callbacks: OpaquePointer = {
        var made: OpaquePointer?
        guard nghttp2_session_callbacks_new(&made) == 0, let callbacks = made else {
            preconditionFailure("out of memory")
        }
        nghttp2_session_callbacks_set_send_data_callback(callbacks) { _, frame, header, length, _, user in
            LibrarySession.owner(user)
                .writeData(
                    header: UnsafeRawBufferPointer(start: header, count: FrameHeader.size), length,
                    on: frame!.pointee.hd.stream_id)
            return 0
        }
        nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks) { session, frame, user in
            guard frame!.pointee.hd.type == FrameHeader.Kind.headers.rawValue else { return 0 }
            let opens = frame!.pointee.headers.cat == NGHTTP2_HCAT_REQUEST
            LibrarySession.owner(user).headerBlockBegan(on: frame!.pointee.hd.stream_id, opens: opens)
            if opens { LibrarySession.shareFairly(session, frame!.pointee.hd.stream_id) }
            return 0
        }
        nghttp2_session_callbacks_set_on_header_callback(callbacks) { _, _, name, nameLength, value, length, _, user in
            LibrarySession.owner(user)
                .headerReceived(
                    UnsafeRawBufferPointer(start: name, count: nameLength),
                    UnsafeRawBufferPointer(start: value, count: length))
            return 0
        }
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) { _, _, stream, bytes, length, user in
            LibrarySession.owner(user).dataReceived(UnsafeRawBufferPointer(start: bytes, count: length), on: stream)
            return 0
        }
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, user in
            LibrarySession.received(frame!, LibrarySession.owner(user))
            return 0
        }
        nghttp2_session_callbacks_set_on_frame_send_callback(callbacks) { _, frame, user in
            LibrarySession.sent(frame!, LibrarySession.owner(user))
            return 0
        }
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { _, stream, code, user in
            LibrarySession.owner(user).streamEnded(stream, HTTP2ErrorCode(rawValue: code))
            return 0
        }
        return callbacks
    }()

    private static func received(_ frame: UnsafePointer<nghttp2_frame>, _ owner: HTTP2Connection) {
        let header = frame.pointee.hd
        let last = header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
        switch FrameHeader.Kind(rawValue: header.type) {
        case .headers: owner.headersReceived(on: header.stream_id, endStream: last)
        case .data: if last { owner.dataEnded(on: header.stream_id) }
        case .resetStream: owner.resetReceived(on: header.stream_id)
        case .settings: owner.settingsReceived(acknowledgement: last)
        case .goAway:
            let goAway = frame.pointee.goaway
            owner.goAwayReceived(
                last: goAway.last_stream_id, HTTP2ErrorCode(rawValue: goAway.error_code),
                UnsafeRawBufferPointer(start: goAway.opaque_data, count: goAway.opaque_data_len))
        case .priority, .pushPromise, .ping, .windowUpdate, .continuation, nil: break
        }
    }

    private static func sent(_ frame: UnsafePointer<nghttp2_frame>, _ owner: HTTP2Connection) {
        let header = frame.pointee.hd
        let last = header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
        switch FrameHeader.Kind(rawValue: header.type) {
        case .headers:
            owner.headersSent(
                on: header.stream_id, opens: frame.pointee.headers.cat == NGHTTP2_HCAT_REQUEST, endStream: last)
        case .data: if last { owner.endStreamSent(on: header.stream_id) }
        case .goAway:
            let goAway = frame.pointee.goaway
            owner.goAwaySent(
                HTTP2ErrorCode(rawValue: goAway.error_code),
                UnsafeRawBufferPointer(start: goAway.opaque_data, count: goAway.opaque_data_len))
        case .priority, .resetStream, .settings, .pushPromise, .ping, .windowUpdate, .continuation, nil: break
        }
    }
}
