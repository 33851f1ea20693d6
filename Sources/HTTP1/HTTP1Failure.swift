/// Why a connection is given up.
public struct HTTP1Failure: Error, Equatable, Sendable, CustomStringConvertible {
    public var problem: HTTP1Problem
    public var role: HTTP1Role

    public init(_ problem: HTTP1Problem, _ role: HTTP1Role) {
        (self.problem, self.role) = (problem, role)
    }

    /// The status to answer with: what the request deserves, or 502 for a response that cannot be passed on.
    public var status: Int { role == .client ? 502 : problem.status }

    /// For the log.
    public var description: String { "HTTP/1: \(problem.text)" }
}

/// What is wrong with a message.
public enum HTTP1Problem: String, Error, CaseIterable, Sendable {
    case bareLineFeed, control, emptyLine, targetTooLong, lineTooLong, headTooLarge, tooManyFields
    case malformedRequestLine, unknownMethod, malformedTarget, malformedAuthority, unsupportedVersion, http10
    case schemeMismatch
    case malformedStatusLine, malformedStatus, unexpectedResponse, unaskedUpgrade, tooManyInformational
    case foldedLine, spaceBeforeColon, malformedName, missingColon
    case malformedLength, repeatedLength, lengthAndEncoding, unsupportedEncoding, encodingInHTTP10, bodyOfConnect
    case missingHost, repeatedHost, hostMismatch
    case malformedConnection, protectedConnectionOption, unsupportedExpectation
    case malformedChunkSize, chunkTooLarge, chunkExtensionsTooLarge, malformedChunkEnd
    case closedEarly, timeout

    /// What a server answers.
    public var status: Int {
        switch self {
        case .targetTooLong: 414
        case .lineTooLong, .headTooLarge, .tooManyFields: 431
        case .unsupportedVersion: 505
        case .http10: 426
        case .unsupportedEncoding: 501
        case .unsupportedExpectation: 417
        case .chunkTooLarge: 413
        case .timeout: 408
        case .malformedStatusLine, .malformedStatus, .unexpectedResponse, .unaskedUpgrade, .tooManyInformational: 502
        case .bareLineFeed, .control, .emptyLine, .malformedRequestLine, .unknownMethod, .malformedTarget,
            .malformedAuthority, .schemeMismatch, .foldedLine, .spaceBeforeColon, .malformedName, .missingColon,
            .malformedLength, .repeatedLength, .lengthAndEncoding, .encodingInHTTP10, .bodyOfConnect, .missingHost,
            .repeatedHost, .hostMismatch, .malformedConnection, .protectedConnectionOption, .malformedChunkSize,
            .chunkExtensionsTooLarge, .malformedChunkEnd, .closedEarly:
            400
        }
    }

    /// What happened, and where.
    public var text: String {
        switch self {
        case .bareLineFeed: "a line ends without a carriage return"
        case .control: "a control character in a head"
        case .emptyLine: "empty lines before a message"
        case .targetTooLong: "the request line is too long"
        case .lineTooLong: "a line is too long"
        case .headTooLarge: "the head or the trailers are too large"
        case .tooManyFields: "too many header fields"
        case .malformedRequestLine: "the request line is not METHOD TARGET HTTP/1.1 with single spaces"
        case .unknownMethod: "the method is none that is known"
        case .malformedTarget: "the request target is malformed"
        case .malformedAuthority: "the host is malformed"
        case .unsupportedVersion: "the version is not HTTP/1.1"
        case .http10: "HTTP/1.0 is not accepted here"
        case .schemeMismatch: "the target's scheme is not that of the connection"
        case .malformedStatusLine: "the status line is not HTTP/1.1 STATUS REASON"
        case .malformedStatus: "the status is not three digits from 100 on"
        case .unexpectedResponse: "bytes of a response that nobody asked for"
        case .unaskedUpgrade: "the protocol changes without being asked to"
        case .tooManyInformational: "too many informational responses"
        case .foldedLine: "a header field goes on in the next line"
        case .spaceBeforeColon: "white space between a field's name and the colon"
        case .malformedName: "a field's name is not a token"
        case .missingColon: "a header line without a colon"
        case .malformedLength: "content-length is not a number"
        case .repeatedLength: "content-length is there more than once"
        case .lengthAndEncoding: "both content-length and transfer-encoding"
        case .unsupportedEncoding: "transfer-encoding is not chunked"
        case .encodingInHTTP10: "transfer-encoding in HTTP/1.0"
        case .bodyOfConnect: "CONNECT with a body"
        case .missingHost: "no host"
        case .repeatedHost: "host is there more than once"
        case .hostMismatch: "host is not that of the request target"
        case .malformedConnection: "connection is not a list of tokens, or too long"
        case .protectedConnectionOption: "connection names a field that must reach the other end"
        case .unsupportedExpectation: "the expectation is not 100-continue"
        case .malformedChunkSize: "a chunk's size is malformed"
        case .chunkTooLarge: "a chunk's size is beyond 63 bits"
        case .chunkExtensionsTooLarge: "too many chunk extensions"
        case .malformedChunkEnd: "a chunk does not end with its size"
        case .closedEarly: "the connection closed before the message was whole"
        case .timeout: "the message did not arrive in time"
        }
    }
}
