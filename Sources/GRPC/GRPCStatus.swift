import HTTP
import HTTP2

/// How a call ended. Source: gRPC, "Status codes and their use in gRPC".
public enum GRPCStatusCode: UInt8, Sendable, CaseIterable {
    case ok, cancelled, unknown, invalidArgument, deadlineExceeded, notFound, alreadyExists, permissionDenied
    case resourceExhausted, failedPrecondition, aborted, outOfRange, unimplemented, internalError, unavailable
    case dataLoss, unauthenticated
}

extension GRPCStatusCode: CustomStringConvertible {
    /// The name that gRPC gives it, for example `RESOURCE_EXHAUSTED`.
    public var description: String {
        switch self {
        case .ok: "OK"
        case .cancelled: "CANCELLED"
        case .unknown: "UNKNOWN"
        case .invalidArgument: "INVALID_ARGUMENT"
        case .deadlineExceeded: "DEADLINE_EXCEEDED"
        case .notFound: "NOT_FOUND"
        case .alreadyExists: "ALREADY_EXISTS"
        case .permissionDenied: "PERMISSION_DENIED"
        case .resourceExhausted: "RESOURCE_EXHAUSTED"
        case .failedPrecondition: "FAILED_PRECONDITION"
        case .aborted: "ABORTED"
        case .outOfRange: "OUT_OF_RANGE"
        case .unimplemented: "UNIMPLEMENTED"
        case .internalError: "INTERNAL"
        case .unavailable: "UNAVAILABLE"
        case .dataLoss: "DATA_LOSS"
        case .unauthenticated: "UNAUTHENTICATED"
        }
    }
}

/// The status that ends a call.
public struct GRPCStatus: Error, Hashable, Sendable {
    public var code: GRPCStatusCode
    /// Words for people; travels percent-encoded.
    public var message: String
    /// An encoded `google.rpc.Status`, or empty (`grpc-status-details-bin`).
    public var details: [UInt8]

    public init(_ code: GRPCStatusCode, _ message: String = "", details: [UInt8] = []) {
        self.code = code
        self.message = message
        self.details = details
    }

    public static let ok = GRPCStatus(.ok)
}

extension GRPCStatus: CustomStringConvertible {
    public var description: String { message.isEmpty ? "\(code)" : "\(code): \(message)" }
}

extension GRPCStatus {
    /// The most bytes of a message that are sent: header lists are bounded at both ends.
    static let longestMessage = 4096

    /// Source: gRPC, "HTTP to gRPC Status Code Mapping".
    static func forHTTPStatus(_ status: String) -> GRPCStatus {
        let code: GRPCStatusCode =
            switch status {
            case "400": .internalError
            case "401": .unauthenticated
            case "403": .permissionDenied
            case "404": .unimplemented
            case "429", "502", "503", "504": .unavailable
            default: .unknown
            }
        return GRPCStatus(code, "the server answered with HTTP status \(status) and without grpc-status")
    }

    /// Source: gRPC over HTTP2, "Errors": RST_STREAM to status.
    static func forReset(_ code: HTTP2ErrorCode) -> GRPCStatus {
        let status: GRPCStatusCode =
            switch code {
            case .refusedStream: .unavailable
            case .cancel: .cancelled
            case .enhanceYourCalm: .resourceExhausted
            case .inadequateSecurity: .permissionDenied
            case .streamClosed: .unknown
            default: .internalError
            }
        return GRPCStatus(status, "the stream was reset: \(code)")
    }

    /// The fields that carry the status.
    func append(to trailers: inout HeaderList) {
        trailers.append("grpc-status", "\(code.rawValue)")
        if !message.isEmpty {
            trailers.append("grpc-message", PercentEncoding.encode(message.utf8.prefix(Self.longestMessage)))
        }
        if !details.isEmpty { trailers.append("grpc-status-details-bin", Base64.encode(details)) }
    }

    /// The status that trailers carry; nil without `grpc-status`.
    init?(_ trailers: HeaderList) {
        guard let text = trailers["grpc-status"] else { return nil }
        let message = trailers["grpc-message"].map(PercentEncoding.decode) ?? ""
        guard let number = UInt8(text), let code = GRPCStatusCode(rawValue: number) else {
            self.init(.unknown, "grpc-status \(text) is not known; \(message)")
            return
        }
        self.init(code, message, details: trailers["grpc-status-details-bin"].flatMap(Base64.decode) ?? [])
    }
}
