import Forwarding
import HTTP
import HTTP1

/// Who answers in place of an upstream.
enum ReplyAuthor {
    /// Clients may learn how many tries there were. Also the filters before it: there was no try then.
    case router
    case manager
    /// A filter that sends a head of its own, unchanged by the route.
    case filterAlone
}

// Responses that this proxy makes itself.
extension Exchange {
    /// Answers in place of an upstream, in Envoy's words. For gRPC the status becomes `grpc-status` and the body
    /// `grpc-message`.
    /// - Parameters:
    ///   - body: of text; empty: none.
    ///   - details: as `%RESPONSE_CODE_DETAILS%` has it.
    ///   - author: who answers; it decides what else is said.
    ///   - change: of the head, once the route has changed it and before it goes through the response filters.
    func reply(
        _ status: Int, _ body: String, flag: ResponseFlag = [], _ details: String,
        grpcStatus: Int? = nil, by author: ReplyAuthor = .router, change: ((inout HeaderList) -> Void)? = nil
    ) {
        reply(
            status, bytes: Array(body.utf8), flag: flag, details, grpcStatus: grpcStatus, by: author,
            change: change)
    }

    func reply(
        _ status: Int, bytes: [UInt8], type: String = "text/plain", flag: ResponseFlag = [], _ details: String,
        grpcStatus: Int? = nil, by author: ReplyAuthor = .router, change: ((inout HeaderList) -> Void)? = nil
    ) {
        guard stage != .ended else { return }
        record.flags.formUnion(flag)
        record.details = details
        guard stage != .responding else {
            // Too late for another head.
            downstream?.abort(self)
            return finish()
        }
        var head = HeaderList([(":status", self.head.isGRPC ? "200" : "\(status)")])
        if author != .filterAlone { finishReply(&head) }
        change?(&head)
        if author == .router, tries > 0, route?.countsAttempts.response == true {
            head.set("x-envoy-attempt-count", "\(tries)")
        }
        var body = bytes
        if self.head.isGRPC {
            head.remove("content-length")
            head.set("content-type", "application/grpc")
            head.set("grpc-status", "\(grpcStatus ?? Self.grpcStatus(of: status))")
            if !body.isEmpty { head.set("grpc-message", Self.percentEncoded(body)) }
            body = []
        } else if body.isEmpty {
            head.remove("content-length")
            head.remove("content-type")
        } else {
            head.set("content-length", "\(body.count)")
            if !head.contains("content-type") { head.append("content-type", type) }
        }
        stage = .responding
        record.status = status
        let framing: HTTP1Framing =
            body.isEmpty ? (self.head.isGRPC ? .none : .length(0)) : .length(UInt64(body.count))
        respond(head, shape.method == .head || Self.isBodiless(status) ? .none : framing, isLocal: true)
        guard stage == .responding else { return }
        if !body.isEmpty, shape.method != .head {
            record.bytesSent += UInt64(body.count)
            body.withUnsafeBytes { downstream?.sendData($0, for: self) }
        }
        if case .length = framing, shape.method != .head { downstream?.sendEnd(nil, for: self) }
        finish()
    }

    /// What the route changes in responses it changes in whatever is answered in place of its upstream, be it by a
    /// filter; routes that answer themselves have no such word on what filters answer.
    /// Source: Envoy, `DownstreamFilterManager::sendLocalReply`, `StreamInfo::route()->routeEntry()`.
    private func finishReply(_ head: inout HeaderList) {
        switch routing {
        case .forward(let route, let forward): route.finish(&head, forward, isLocal: true) { accessRecord() }
        case .nothing(let route): route.finish(&head, nil) { accessRecord() }
        case .redirect, .direct, .none: break
        }
    }

    private static func isBodiless(_ status: Int) -> Bool { status < 200 || status == 204 || status == 304 }

    /// Source: Envoy, `Grpc::Utility::httpToGrpcStatus`.
    private static func grpcStatus(of status: Int) -> Int {
        switch status {
        case 400: 13
        case 401: 16
        case 403: 7
        case 404: 12
        case 429, 502, 503, 504: 14
        default: 2
        }
    }

    /// Source: gRPC over HTTP2, "Percent-Encoded".
    private static func percentEncoded(_ bytes: [UInt8]) -> String {
        var text = ""
        for byte in bytes {
            if (0x20...0x7E).contains(byte), byte != UInt8(ascii: "%") {
                text.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                text += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
        return text
    }

    // MARK: The response's head

    /// Sends the head of the response, an upstream's or our own, through the filters and to the client.
    func respond(_ head: consuming HeaderList, _ framing: HTTP1Framing, isLocal: Bool) {
        for cookie in cookies { cookie.withUnsafeBytes { head.append("set-cookie", value: $0) } }
        changeResponse(&head, isLocal: isLocal)
        if service.spans != nil { nameOperation(in: &head) }
        service.finish(&head, isLocal: isLocal, request: self.head)
        record.responded = now
        record.response = head
        downstream?.sendHead(head, framing, for: self)
    }
}
