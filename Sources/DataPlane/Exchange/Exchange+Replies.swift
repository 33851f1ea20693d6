import Forwarding
import HTTP
import HTTP1

// Responses that this proxy makes itself.
extension Exchange {
    /// Answers in place of an upstream, in Envoy's words. For gRPC the status becomes `grpc-status` and the body
    /// `grpc-message`.
    /// - Parameters:
    ///   - body: of text; empty: none.
    ///   - details: as `%RESPONSE_CODE_DETAILS%` has it.
    ///   - change: of the head before it goes through the response filters.
    func reply(
        _ status: Int, _ body: String, flag: ResponseFlag = [], _ details: String,
        grpcStatus: Int? = nil, change: ((inout HeaderList) -> Void)? = nil
    ) {
        reply(status, bytes: Array(body.utf8), flag: flag, details, grpcStatus: grpcStatus, change: change)
    }

    func reply(
        _ status: Int, bytes: [UInt8], type: String = "text/plain", flag: ResponseFlag = [], _ details: String,
        grpcStatus: Int? = nil, change: ((inout HeaderList) -> Void)? = nil
    ) {
        guard stage != .ended else { return }
        record.flags.formUnion(flag)
        record.details = details
        guard stage != .responding else {
            // Too late for another head.
            downstream?.abort(self)
            return finish()
        }
        var head = HeaderList()
        var body = bytes
        if self.head.isGRPC {
            head.append(":status", "200")
            head.append("content-type", "application/grpc")
            head.append("grpc-status", "\(grpcStatus ?? Self.grpcStatus(of: status))")
            if !body.isEmpty { head.append("grpc-message", Self.percentEncoded(body)) }
            body = []
        } else {
            head.append(":status", "\(status)")
            if !body.isEmpty {
                head.append("content-length", "\(body.count)")
                head.append("content-type", type)
            }
        }
        change?(&head)
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
    func respond(_ head: HeaderList, _ framing: HTTP1Framing, isLocal: Bool) {
        var head = head
        for cookie in cookies { cookie.withUnsafeBytes { head.append("set-cookie", value: $0) } }
        changeResponse(&head, isLocal: isLocal)
        if service.spans != nil { nameOperation(in: &head) }
        service.finish(&head, isLocal: isLocal, request: self.head)
        record.responded = now
        record.response = head
        downstream?.sendHead(head, framing, for: self)
    }
}
