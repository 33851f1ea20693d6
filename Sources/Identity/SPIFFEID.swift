/// The name of an authority over identities. Source: SPIFFE-ID, 2.1.
public struct TrustDomain: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// For example `cluster.local`.
    public let name: String

    /// - Parameter name: lower-case letters, digits, dots, hyphens and underscores, at most 255.
    public init(_ name: String) throws(SPIFFEIDError) {
        guard !name.isEmpty else { throw .noTrustDomain }
        guard name.utf8.count <= 255 else { throw .tooLong(bytes: name.utf8.count, allowed: 255) }
        let isAllowed = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."),
                UInt8(ascii: "-"), UInt8(ascii: "_"):
                true
            default: false
            }
        }
        guard isAllowed else { throw .badTrustDomain(name) }
        self.name = name
    }

    /// The SPIFFE ID of the trust domain itself, for example `spiffe://cluster.local`.
    public var id: SPIFFEID { SPIFFEID(trustDomain: self, path: "") }

    public var description: String { name }
    public static func < (left: TrustDomain, right: TrustDomain) -> Bool { left.name < right.name }
}

/// The name of a workload, or of a trust domain: `spiffe://TRUST-DOMAIN/PATH`. Source: SPIFFE-ID, 2.
public struct SPIFFEID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let trustDomain: TrustDomain
    /// With its leading slash; empty for the trust domain itself.
    public let path: String

    /// Bytes of the longest URI. Source: SPIFFE-ID, 2.3.
    public static let longestURI = 2048

    fileprivate init(trustDomain: TrustDomain, path: String) {
        self.trustDomain = trustDomain
        self.path = path
    }

    /// - Parameter uri: compared byte for byte, as peers do: nothing is normalised.
    public init(_ uri: String) throws(SPIFFEIDError) {
        guard uri.utf8.count <= Self.longestURI else {
            throw .tooLong(bytes: uri.utf8.count, allowed: Self.longestURI)
        }
        guard uri.hasPrefix("spiffe://") else { throw .notSPIFFE(uri) }
        let rest = uri.dropFirst("spiffe://".count)
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        trustDomain = try TrustDomain(String(rest[..<slash]))
        path = String(rest[slash...])
        if path.isEmpty { return }
        for segment in path.dropFirst().split(separator: "/", omittingEmptySubsequences: false) {
            guard Self.isAllowed(segment) else { throw .badSegment(String(segment), in: uri) }
        }
    }

    /// `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`.
    public init(_ trustDomain: TrustDomain, namespace: String, serviceAccount: String) throws(SPIFFEIDError) {
        for segment in [namespace, serviceAccount] where !Self.isAllowed(segment[...]) {
            throw .badSegment(segment, in: "namespace \(namespace), service account \(serviceAccount)")
        }
        try self.init("spiffe://\(trustDomain)/ns/\(namespace)/sa/\(serviceAccount)")
    }

    private static func isAllowed(_ segment: Substring) -> Bool {
        guard !segment.isEmpty, segment != ".", segment != ".." else { return false }
        return segment.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
                true
            default: false
            }
        }
    }

    /// The namespace and the service account, if the path has the form of a workload of a mesh.
    public var workload: (namespace: String, serviceAccount: String)? {
        let parts = path.split(separator: "/")
        guard parts.count == 4, parts[0] == "ns", parts[2] == "sa" else { return nil }
        return (String(parts[1]), String(parts[3]))
    }

    public var description: String { "spiffe://\(trustDomain)\(path)" }
    public static func < (left: SPIFFEID, right: SPIFFEID) -> Bool {
        (left.trustDomain, left.path) < (right.trustDomain, right.path)
    }
}

/// The URI as a single text.
extension SPIFFEID: Codable {
    public init(from decoder: any Decoder) throws {
        try self.init(decoder.singleValueContainer().decode(String.self))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// What is wrong with a SPIFFE ID or with the name of a trust domain.
public enum SPIFFEIDError: Error, Hashable, Sendable, CustomStringConvertible {
    case notSPIFFE(String)
    case noTrustDomain
    case badTrustDomain(String)
    case badSegment(String, in: String)
    case tooLong(bytes: Int, allowed: Int)

    public var description: String {
        switch self {
        case .notSPIFFE(let uri): "`\(uri)` is no SPIFFE ID: it does not begin with spiffe://"
        case .noTrustDomain: "the trust domain is empty"
        case .badTrustDomain(let name): "`\(name)` is no trust domain"
        case .badSegment(let segment, let whole): "`\(segment)` is not allowed in a SPIFFE ID's path (\(whole))"
        case .tooLong(let bytes, let allowed): "\(bytes) bytes, and \(allowed) are allowed"
        }
    }

    public var hint: String {
        switch self {
        case .notSPIFFE: "write spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT"
        case .noTrustDomain, .badTrustDomain:
            "use lower-case letters, digits, dots, hyphens and underscores, for example cluster.local"
        case .badSegment: "use letters, digits, dots, hyphens and underscores; `.`, `..` and nothing are not allowed"
        case .tooLong: "use shorter names"
        }
    }
}
