import Discovery
import GRPC
import Identity
import Time
import XDS

/// A holder that is connected, and what it was given by this process. Its key is in the secret directory alone.
struct ServedHolder {
    /// nil until it has a certificate.
    var schedule: LeafSchedule?
    /// Of the newest certificate.
    var serial: String?
    /// The intermediate that signed it.
    var issuer: AuthorityID?
    var notAfter: Timestamp?
    /// As proxies acknowledge it.
    var version: String?
    /// What each of its streams holds.
    var streams: [StreamToken: StreamSecrets] = [:]
    /// What was acknowledged last, so that it is told once.
    var installedSerial: String?
    var acknowledgedBundle: String?
    /// It asked, and gets its certificate once it knows the root in force; or then, if that never comes.
    var waitsUntil: Timestamp?
    /// A certificate is signed, and not on disk yet: it stands in the calendar more than once.
    var isBeingServed = false
    /// The next renewal is for the sake of a rotation.
    var isForRotation = false
    /// Why the last renewal failed.
    var failure: String?
    /// The proxy's words when it refused secrets.
    var refusal: String?
}

/// What one stream of a holder takes of the authority's secrets, and which versions it has acknowledged.
struct StreamSecrets {
    var takesBundle = false
    var bundle: String?
    var takesCertificate = false
    var certificate: String?
}

extension ServedHolder {
    /// The version of the trust bundle that every stream has acknowledged that takes it.
    var agreedBundle: String? { Self.agreed(streams.values.lazy.filter(\.takesBundle).map(\.bundle)) }

    /// The version of the certificate that every stream has acknowledged that takes it.
    var agreedCertificate: String? { Self.agreed(streams.values.lazy.filter(\.takesCertificate).map(\.certificate)) }

    private static func agreed(_ versions: some Sequence<String?>) -> String? {
        var iterator = versions.makeIterator()
        guard let first = iterator.next(), let first else { return nil }
        while let next = iterator.next() { if next != first { return nil } }
        return first
    }
}

extension SecretAnswer {
    /// Whether the stream asked for one of these names that is there, and the version under which all of those stand, if
    /// it has acknowledged them all.
    func agreedVersion(of names: [String]) -> (isTaken: Bool, version: String?) {
        let relevant = entries.filter { names.contains($0.name) && $0.state != .missing }
        guard let first = relevant.first else { return (false, nil) }
        let isAgreed = relevant.allSatisfy { $0.state == .acknowledged && $0.version == first.version }
        return (true, isAgreed ? first.version : nil)
    }
}
