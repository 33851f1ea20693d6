import HTTP
import HTTP2

/// Whether a request is a call that the server offers.
enum RequestCheck {
    enum Refusal: Error {
        /// It is not gRPC: an HTTP status, and words for the log.
        case http(String, String)
        case grpc(GRPCStatus)
    }

    /// Source: gRPC over HTTP2, "Requests".
    static func check(_ headers: HeaderList, _ methods: GRPCMethods) throws(Refusal) -> GRPCRequest {
        guard headers[":method"] == "POST" else {
            throw .http("405", "the method is \(headers[":method"] ?? "missing"); gRPC uses POST")
        }
        let contentType = headers["content-type"] ?? ""
        guard isGRPC(contentType) else {
            throw .http("415", "the content type is \"\(contentType)\"; gRPC uses application/grpc")
        }
        let method: GRPCMethod
        do { method = try methods.find(headers[":path"] ?? "") } catch { throw .grpc(error) }
        if let encoding = headers["grpc-encoding"], encoding != "identity" {
            throw .grpc(GRPCStatus(.unimplemented, "grpc-encoding \(encoding) is not supported: send uncompressed"))
        }
        var timeout: Duration?
        if let text = headers["grpc-timeout"] {
            guard let parsed = GRPCTimeout.parse(text) else {
                throw .grpc(GRPCStatus(.internalError, "malformed grpc-timeout \(text)"))
            }
            timeout = parsed
        }
        return GRPCRequest(
            method: method, authority: headers[":authority"] ?? headers["host"] ?? "",
            metadata: GRPCMetadata(headers), timeout: timeout)
    }

    /// `application/grpc`, alone or with `+proto` or parameters. Not `application/grpc-web`.
    static func isGRPC(_ contentType: String) -> Bool {
        let lower = contentType.lowercased()
        guard lower.hasPrefix("application/grpc") else { return false }
        let rest = lower.dropFirst("application/grpc".count)
        return rest.isEmpty || rest.hasPrefix("+") || rest.hasPrefix(";")
    }
}
