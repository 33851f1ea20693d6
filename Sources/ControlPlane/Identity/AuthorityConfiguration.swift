import Glibc
import Identity
import Time

/// How the certificate authority of a control plane is set up.
public struct AuthorityConfiguration: Sendable {
    public var trustDomain: TrustDomain
    public var policy: AuthorityPolicy
    /// Keys at rest are encrypted with the first line of this file.
    public var passphraseFile: String?
    /// DNS names of the TLS port's certificate, beside those that it has anyway.
    public var serverNames: [String] = []
    /// Other trust domains.
    public var federation: [FederationSource] = []
    /// PEM: who vouches for the servers that bundles are fetched from.
    public var webAnchorsFile = "/etc/ssl/certs/ca-certificates.crt"
    /// This machine's clock.
    public var clock: @Sendable () -> Timestamp = { .systemClock() }

    public init(trustDomain: TrustDomain, policy: AuthorityPolicy = AuthorityPolicy()) {
        self.trustDomain = trustDomain
        self.policy = policy
    }

    /// DNS names of the TLS port's certificate.
    var allServerNames: [String] {
        var names = ["localhost", "martinet", "martinet.martinet-system.svc"]
        if let host = Self.hostName, !names.contains(host) { names.append(host) }
        for name in serverNames where !names.contains(name) { names.append(name) }
        return names
    }

    private static var hostName: String? {
        var bytes = [CChar](repeating: 0, count: 256)
        guard gethostname(&bytes, bytes.count - 1) == 0 else { return nil }
        let name = String(decoding: bytes.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self).lowercased()
        let isName =
            !name.isEmpty
            && name.utf8.allSatisfy { byte in
                (97...122).contains(byte) || (48...57).contains(byte) || byte == 45 || byte == 46
            }
        return isName ? name : nil
    }
}
