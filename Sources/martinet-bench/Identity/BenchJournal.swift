import Certificates
import Foundation
import Store
import Time

/// The journal as the authority keeps it: what one turn issues is one transaction, with the holders' records.
final class BenchJournal {
    /// Certificates of one transaction: as many as the authority renews in one turn.
    static let batch = 256

    private let directory: String
    private let store: Store
    private var change = IdentityChange()
    private var count = 0

    init() throws {
        directory = NSTemporaryDirectory() + "martinet-bench-journal-\(getpid())"
        store = try Store(directory: directory)
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    func record(_ certificate: Certificate) throws {
        let identity = certificate.uris.first ?? ""
        count += 1
        // A thousand holders, each of them renewed again and again.
        let holder = "web-\(count % 1000)"
        change.issued.append(
            IssuedCertificate(
                serial: certificate.serial, spiffeID: identity, validity: certificate.validity,
                authority: "0123456789abcdef0123456789abcdef01234567", holder: holder, reason: "renewal",
                issuedAt: certificate.notBefore))
        change.holders.append(
            StoredHolder(
                key: StoredHolder.Key(nodeID: holder, spiffeID: identity), lastSeen: certificate.notBefore,
                authority: "0123456789abcdef0123456789abcdef01234567", notAfter: certificate.notAfter,
                body: Data(repeating: 0x20, count: 300)))
        guard change.issued.count == Self.batch else { return }
        try store.commit(change)
        change = IdentityChange()
    }
}
