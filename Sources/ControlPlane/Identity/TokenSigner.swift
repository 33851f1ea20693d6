import Certificates
import Foundation
import GRPC
import Identity
import Store
import Time

/// Signs JWT-SVIDs, with keys that change on a schedule of their own. Belongs to the control thread.
struct TokenSigner {
    private let trustDomain: TrustDomain
    private let files: AuthorityFiles
    private let passphrase: [UInt8]?
    private var ring: JWTKeyRing
    private var keys: [String: PrivateKey] = [:]

    /// Of the names of their files.
    private static let prefix = "jwt-"

    /// Reads the keys that are on record. One that cannot be read signs no more: its tokens are short-lived, and
    /// another one is made.
    init(_ trustDomain: TrustDomain, store: Store, files: AuthorityFiles, passphrase: [UInt8]?) throws {
        self.trustDomain = trustDomain
        self.files = files
        self.passphrase = passphrase
        var found: [JWTKeyRing.Key] = []
        for row in try store.jwtKeys() {
            let key: PrivateKey
            do {
                key = try PrivateKey(
                    pem: try files.readKey(row.keyFile), passphrase: passphrase, source: files.keyPath(row.keyFile))
            } catch let error as AuthorityFileError {
                throw StartProblem("\(error)", hint: error.hint)
            } catch let error as CertificateError {
                throw StartProblem("\(files.keyPath(row.keyFile)): \(error)", hint: error.hint)
            }
            keys[row.id] = key
            found.append(JWTKeyRing.Key(id: row.id, madeAt: row.createdAt, signsFrom: row.signs.lowerBound))
        }
        ring = JWTKeyRing(keys: found)
    }

    var nextDeadline: Timestamp { ring.nextDeadline }

    /// The longest validity of a token.
    var longest: Duration { ring.policy.longestToken }

    /// Whether a key file is one of these.
    func owns(_ name: String) -> Bool {
        name.hasPrefix(Self.prefix) && keys[String(name.dropFirst(Self.prefix.count))] != nil
    }

    /// Makes and forgets keys, as is due.
    /// - Returns: whether the published keys are others than before.
    mutating func update(now: Timestamp, _ change: inout IdentityChange) throws -> Bool {
        let due = ring.tick(now: now)
        for action in due {
            switch action {
            case .make:
                let key = try PrivateKey.generate(.ecdsaP256)
                let id = "\(key.publicKey.identifier)"
                try files.writeKey(Self.prefix + id, try key.pem(passphrase: passphrase))
                ring.made(id, now: now)
                keys[id] = key
                guard let made = ring.keys.last else { continue }
                let end = made.signsFrom + ring.policy.signing
                change.jwtKeys.append(
                    StoredJWTKey(
                        id: id, publicKey: Data(key.publicKey.spki), keyFile: Self.prefix + id, createdAt: now,
                        signs: made.signsFrom..<end,
                        publishedUntil: end + (ring.policy.longestToken + ring.policy.skew)))
            case .forget(let id):
                try files.removeKey(Self.prefix + id)
                keys[id] = nil
                change.forgettingJWTKeys.append(id)
            }
        }
        return !due.isEmpty
    }

    /// What verifiers need, the oldest key first.
    var authorities: [JWTAuthority] {
        ring.keys.compactMap { key in
            keys[key.id].map { JWTAuthority(keyID: key.id, publicKey: $0.publicKey) }
        }
    }

    /// - Parameter wanted: nil: five minutes.
    func sign(
        _ identity: SPIFFEID, audience: [String], wanted: Duration?, now: Timestamp
    ) throws -> JWTSVID {
        guard let current = ring.signing(now: now), let key = keys[current.id] else {
            throw SigningProblem("there is no key for JWT-SVIDs")
        }
        let life = min(max(wanted ?? .seconds(300), .seconds(1)), ring.policy.longestToken)
        return try JWTSVID.sign(
            identity, audience: audience, validity: now..<(now + life), key: key, keyID: current.id)
    }
}

extension CertificateAuthority {
    /// Makes and forgets keys of JWT-SVIDs, as is due; what changed is published once it is on disk.
    func updateTokenKeys(now: Timestamp) {
        guard storageFailure == nil, tokens.nextDeadline <= now else { return }
        do {
            if try tokens.update(now: now, &unsaved) {
                deliveries.append(Delivery(deliver: { [self] in publishShared() }, fail: { _ in }))
            }
        } catch {
            metrics.failures.increment()
            logger.error("the keys of JWT-SVIDs cannot be changed", metadata: ["reason": "\(error)"])
        }
    }

    /// Secrets for everybody: the JWT keys, those of other trust domains as `JWKS/DOMAIN`, and whose certificates are
    /// current.
    func publishShared() {
        var secrets: [String: [UInt8]] = [:]
        if let issuing { secrets["AUTHORITY"] = Array(issuing.id.text.utf8) }
        let bundle = SPIFFEBundle(trustDomain: configuration.trustDomain, jwtAuthorities: tokens.authorities)
        if let document = try? bundle.jwks() { secrets["JWKS"] = document }
        for (domain, keys) in federation.tokenKeys { secrets["JWKS/\(domain)"] = keys }
        guard secrets != shared else { return }
        shared = secrets
        self.secrets.setShared(secrets)
    }

    func signToken(_ order: TokenOrder, now: Timestamp) {
        do {
            let token = try tokens.sign(order.identity, audience: order.audience, wanted: order.wanted, now: now)
            order.call.reply(IdentityService.answer(token))
        } catch let refusal as JWTRefusal {
            order.call.finish(GRPCStatus(.invalidArgument, "\(refusal); \(refusal.hint)"))
        } catch {
            order.call.finish(GRPCStatus(.unavailable, "\(error)"))
        }
    }
}
