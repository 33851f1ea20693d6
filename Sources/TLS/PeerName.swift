import Certificates

/// A name that a peer may have; its certificate must carry it as subject alternative name. The common
/// name never counts (RFC 9525, 2).
public enum PeerName: Sendable, Hashable {
    /// A name that passes a test.
    case passing(PeerTest)
    /// A DNS name (a leftmost `*` label in the certificate matches one label), or an IP address.
    case host(String)
    /// Exactly this URI. If it is a SPIFFE ID, the certificate may have no other URI.
    case uri(String)
    /// Any SPIFFE ID `spiffe://DOMAIN/…` of this trust domain (X509-SVID, 2).
    case trustDomain(String)

    var isWellFormed: Bool {
        switch self {
        case .passing: true
        // A leading dot would make X509_check_host accept every name below.
        case .host(let name): isHostName(name) || isAddress(name)
        case .uri(let uri): uri.contains(":") && uri.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != 0x5C }
        case .trustDomain(let domain):
            !domain.isEmpty
                && domain.utf8.allSatisfy { byte in
                    switch byte {
                    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
                    case UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"): true
                    default: false
                    }
                }
        }
    }

    /// Whether a certificate with exactly these URI names is this peer. Hosts are libcrypto's to compare.
    func matches(uris: [String]) -> Bool {
        switch self {
        case .host, .passing: return false
        case .uri(let uri):
            // X509-SVID, 2: a validator must refuse a certificate with more than one URI.
            return uri.hasPrefix("spiffe://") ? uris == [uri] : uris.contains(uri)
        case .trustDomain(let domain):
            let prefix = "spiffe://\(domain)/"
            guard uris.count == 1, let uri = uris.first else { return false }
            return uri.hasPrefix(prefix) && uri.utf8.count > prefix.utf8.count
        }
    }
}

/// A test of a certificate's subject alternative names. Two with the same description are the same.
public struct PeerTest: Sendable, Hashable, CustomStringConvertible {
    public let description: String
    let passes: @Sendable (AlternativeNames) -> Bool

    /// - Parameter description: for errors; it must tell everything that the test asks for.
    public init(_ description: String, passes: @escaping @Sendable (AlternativeNames) -> Bool) {
        (self.description, self.passes) = (description, passes)
    }

    public static func == (left: Self, right: Self) -> Bool { left.description == right.description }

    public func hash(into hasher: inout Hasher) { hasher.combine(description) }
}

extension PeerName: CustomStringConvertible {
    public var description: String {
        switch self {
        case .passing(let test): test.description
        case .host(let name): name
        case .uri(let uri): uri
        case .trustDomain(let domain): "spiffe://\(domain)/*"
        }
    }
}
