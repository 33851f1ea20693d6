/// A method that a server offers.
public struct GRPCMethod: Hashable, Sendable {
    /// `/package.Service/Method`.
    public var path: String
    /// Whether the client may send more, or fewer, than one message.
    public var clientStreams: Bool
    /// Whether the server may.
    public var serverStreams: Bool

    public init(_ path: String, clientStreams: Bool = false, serverStreams: Bool = false) {
        self.path = path
        self.clientStreams = clientStreams
        self.serverStreams = serverStreams
    }
}

/// The methods that a server offers; shared by all its connections.
public final class GRPCMethods: Sendable {
    private let byPath: [String: GRPCMethod]

    public init(_ methods: [GRPCMethod]) {
        byPath = Dictionary(methods.map { ($0.path, $0) }) { first, _ in first }
    }

    /// - Throws: UNIMPLEMENTED, with what is wrong with the path.
    func find(_ path: String) throws(GRPCStatus) -> GRPCMethod {
        if let method = byPath[path] { return method }
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0].isEmpty, !parts[1].isEmpty, !parts[2].isEmpty else {
            throw GRPCStatus(.unimplemented, "malformed path \(path): it must be /SERVICE/METHOD")
        }
        if byPath.keys.contains(where: { $0.hasPrefix("/\(parts[1])/") }) {
            throw GRPCStatus(.unimplemented, "service \(parts[1]) has no method \(parts[2])")
        }
        throw GRPCStatus(.unimplemented, "there is no service \(parts[1])")
    }
}

/// What a client asks for.
public struct GRPCRequest: Sendable {
    public let method: GRPCMethod
    /// `:authority`.
    public let authority: String
    public let metadata: GRPCMetadata
    /// When the client stops to wait.
    public let timeout: Duration?
    /// `user-agent`, for logs.
    public var userAgent: String { metadata["user-agent"] ?? "" }
}
