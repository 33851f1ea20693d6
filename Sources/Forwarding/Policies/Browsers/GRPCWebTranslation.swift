import Documents
import HTTP

/// One gRPC-Web call as gRPC and back: browsers cannot read trailers, so they come as the last frame of the body, and
/// text forms are Base64. Source: gRPC, PROTOCOL-WEB.md; Envoy, `grpc_web_filter.cc`.
public struct GRPCWebTranslation: Sendable {
    private let requestIsText: Bool
    private let responseIsText: Bool
    /// Letters of the request's text that make no whole group yet.
    private var pending: [UInt8] = []

    /// - Returns: nil for a request that is no gRPC-Web.
    public init?(_ head: HeaderList) {
        guard let form = head.withValue(of: "content-type", { Self.form($0) }) ?? nil else { return nil }
        requestIsText = form == .text
        responseIsText = head.withValue(of: "accept") { Self.form($0) == .text } ?? requestIsText
    }

    private enum Form { case binary, text }

    private static func form(_ value: UnsafeRawBufferPointer) -> Form? {
        let media = value.prefix { $0 != UInt8(ascii: ";") && $0 != UInt8(ascii: ",") && $0 != 0x20 }
        switch String(decoding: media, as: UTF8.self).lowercased() {
        case "application/grpc-web", "application/grpc-web+proto": return .binary
        case "application/grpc-web-text", "application/grpc-web-text+proto": return .text
        default: return nil
        }
    }

    public func translateRequest(_ head: inout HeaderList) {
        head.remove("content-length")
        head.set("content-type", "application/grpc")
        head.set("te", "trailers")
        head.set("grpc-accept-encoding", "identity,deflate,gzip")
    }

    /// - Parameter isLast: nothing follows.
    /// - Returns: nil if the text is no Base64: to be answered with 400.
    public mutating func requestBody(_ bytes: UnsafeRawBufferPointer, isLast: Bool) -> [UInt8]? {
        guard requestIsText else { return Array(bytes) }
        pending += bytes
        let whole = isLast ? pending.count : pending.count / 4 * 4
        let letters = pending[..<whole]
        // Several messages may each end with padding.
        var result: [UInt8] = []
        for group in stride(from: 0, to: letters.count, by: 4) {
            let text = String(decoding: letters[group..<min(group + 4, letters.count)], as: UTF8.self)
            guard let decoded = Documents.bytes(base64: text) else { return nil }
            result += decoded
        }
        pending.removeFirst(whole)
        return result
    }

    public func translateResponse(_ head: inout HeaderList) {
        head.remove("content-length")
        head.set("content-type", responseIsText ? "application/grpc-web-text+proto" : "application/grpc-web+proto")
    }

    public func responseBody(_ bytes: [UInt8]) -> [UInt8] {
        responseIsText && !bytes.isEmpty ? Array(base64(bytes).utf8) : bytes
    }

    /// The frame that stands for the trailers.
    public func responseEnd(_ trailers: HeaderList) -> [UInt8] {
        var lines: [UInt8] = []
        trailers.forEachField { name, value in
            lines += name
            lines.append(UInt8(ascii: ":"))
            lines += value
            lines += [0x0D, 0x0A]
        }
        let length = withUnsafeBytes(of: UInt32(clamping: lines.count).bigEndian) { Array($0) }
        return responseBody([0x80] + length + lines)
    }
}
