import Certificates
import Foundation
import Identity
import Store
import Time

/// What an authority finds when its process starts: the state that was kept last, with certificates and keys that fit.
struct AuthorityStart {
    var machine: AuthorityMachine
    var kept: [AuthorityID: KeptAuthority] = [:]
    /// Of the state in the database; 0: there is none.
    var revision: Int64 = 0
    /// Nothing was there.
    var isFirst: Bool

    /// - Throws: ``StartProblem`` for what does not fit together, ``StoreError``, ``AuthorityFileError``.
    init(
        store: Store, files: AuthorityFiles, passphrase: [UInt8]?, trustDomain: TrustDomain, policy: AuthorityPolicy
    ) throws {
        guard let rotation = try store.rotation() else {
            machine = AuthorityMachine(policy: policy)
            isFirst = true
            return
        }
        isFirst = false
        revision = rotation.revision
        let state: AuthorityState
        var holders: [HolderRecord] = []
        do {
            let decoder = JSONDecoder()
            state = try decoder.decode(AuthorityState.self, from: rotation.body)
            holders = try store.holders().map { try decoder.decode(HolderRecord.self, from: $0.body) }
        } catch let error as DecodingError {
            throw StartProblem(
                "the authority's state in \(store.path) cannot be read: \(error)",
                hint: "put back a backup of the data directory")
        }
        let rows = Dictionary(try store.authorities().map { ($0.id, $0) }) { first, _ in first }
        for authority in state.authorities {
            guard let row = rows[authority.id.text] else {
                throw StartProblem(
                    "the certificate of the \(authority.tier.rawValue) \(authority.id) is not in \(store.path)",
                    hint: "put back a backup of the data directory")
            }
            kept[authority.id] = try Self.read(row, authority, files, passphrase, trustDomain)
        }
        machine = AuthorityMachine(policy: policy, restoring: state, holders: holders)
    }

    private static func read(
        _ row: StoredAuthority, _ authority: Authority, _ files: AuthorityFiles, _ passphrase: [UInt8]?,
        _ trustDomain: TrustDomain
    ) throws -> KeptAuthority {
        let what = "the \(authority.tier.rawValue) \(authority.id)"
        let path = files.keyPath(row.id)
        do {
            let certificates = try Certificate.list(pem: Array(row.certificates.utf8), source: what)
            if let owner = certificates.first?.trustDomain, owner != trustDomain {
                throw StartProblem(
                    "this data directory belongs to the trust domain \(owner), and \(trustDomain) is asked for",
                    hint: "pass --trust-domain \(owner), or another --data")
            }
            let crossSigned =
                row.crossSigned.isEmpty ? [] : try Certificate.list(pem: Array(row.crossSigned.utf8), source: what)
            var key: PrivateKey?
            if !row.keyFile.isEmpty {
                let bytes: [UInt8]
                do throws(AuthorityFileError) {
                    bytes = try files.readKey(row.keyFile)
                } catch .missing(_) {
                    throw StartProblem.keyMissing(authority.id, files)
                }
                key = try PrivateKey(pem: bytes, passphrase: passphrase, source: path)
            }
            return try KeptAuthority(
                tier: authority.tier, certificates: certificates, crossSigned: crossSigned, key: key,
                createdAt: row.createdAt)
        } catch let error as CertificateError {
            throw StartProblem("\(what): \(error)", hint: Self.hint(error, path))
        }
    }

    private static func hint(_ error: CertificateError, _ path: String) -> String {
        switch error {
        case .passphraseMissing: "pass --ca-passphrase-file with the passphrase that the keys were encrypted with"
        case .passphraseWrong: "pass --ca-passphrase-file with the passphrase that the keys were encrypted with"
        case .keyUnreadable, .keyInvalid, .keyDoesNotMatch: "put \(path) back from a backup of the data directory"
        default: error.hint
        }
    }
}
