import HTTP
import HTTP2

/// What travels beside the messages of a call. Names are lower case; names that end in `-bin` hold bytes, all
/// others printable ASCII. Source: gRPC over HTTP2, "Custom-Metadata".
public struct GRPCMetadata: Equatable, Sendable {
    var headers: HeaderList

    public init() {
        headers = HeaderList()
    }

    /// - Parameter entries: names without `-bin` at their end.
    public init(_ entries: [(name: String, value: String)]) {
        headers = HeaderList()
        for entry in entries { append(entry.name, entry.value) }
    }

    init(_ headers: HeaderList) {
        self.headers = headers
    }

    /// - Parameter value: printable ASCII. HTTP would reject anything else and with it the whole call, so that
    ///   what is not printable becomes `?`, and spaces at the ends go.
    public mutating func append(_ name: String, _ value: String) {
        precondition(!name.hasSuffix("-bin"), "binary metadata is appended as bytes")
        let printable = value.utf8.map { (0x20...0x7e).contains($0) ? $0 : UInt8(ascii: "?") }
        let trimmed = printable.drop { $0 == 0x20 }.reversed().drop { $0 == 0x20 }.reversed()
        headers.append(name, String(decoding: trimmed, as: UTF8.self))
    }

    /// - Parameter name: ends in `-bin`.
    public mutating func append(_ name: String, bytes: [UInt8]) {
        precondition(name.hasSuffix("-bin"), "the name of binary metadata ends in -bin")
        headers.append(name, Base64.encode(bytes))
    }

    /// The first text under a name.
    public subscript(name: StaticString) -> String? { headers[name] }

    /// The bytes under a name that ends in `-bin`: joined by commas on the wire, the first of them here.
    /// nil without such an entry, or where it is no base64.
    public func bytes(_ name: StaticString) -> [UInt8]? {
        headers[name].flatMap { $0.split(separator: ",", maxSplits: 1, omittingEmptySubsequences: false).first }
            .flatMap { Base64.decode(String($0)) }
    }

    /// All entries that belong to the application, in order, as they travel.
    public var entries: [(name: String, value: String)] {
        headers.fields.filter { !Self.isReserved($0.name) }
    }

    private static func isReserved(_ name: String) -> Bool {
        name.hasPrefix(":") || name.hasPrefix("grpc-") || name == "content-type" || name == "te"
            || name == "user-agent"
    }

    func append(to list: inout HeaderList) {
        headers.forEachField { list.append(name: $0, value: $1) }
    }
}
