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

extension SecretAnswer {
    /// The version under which all of these names stand that the stream asked for, if it has acknowledged them all.
    func agreedVersion(of names: [String]) -> String? {
        let relevant = entries.filter { names.contains($0.name) && $0.state != .missing }
        guard let first = relevant.first else { return nil }
        return relevant.allSatisfy { $0.state == .acknowledged && $0.version == first.version } ? first.version : nil
    }
}
