import Certificates
import Foundation
import Identity
import Store
import Time

// What operators order.
extension CertificateAuthority: AuthorityOperations {
    func rotate(_ order: RotationOrder, now: Timestamp) throws(AuthorityRefusal) -> [AuthorityReport.Rotation] {
        try checkStorage(now: now)
        do throws(OrderRefusal) {
            let isUnderWay = machine.state.rootRotation != nil || machine.state.intermediateRotation != nil
            if let patience = order.forceAfter, isUnderWay {
                actions += try machine.force(after: patience, now: now)
            } else {
                actions += try machine.rotate(
                    order.root ? .root : .intermediate, forceAfter: order.forceAfter, now: now)
            }
        } catch {
            throw AuthorityRefusal(error)
        }
        return try finishOrder(now: now)
    }

    func abort(now: Timestamp) throws(AuthorityRefusal) -> [AuthorityReport.Rotation] {
        try checkStorage(now: now)
        do throws(OrderRefusal) {
            actions += try machine.abort(now: now)
        } catch {
            throw AuthorityRefusal(error)
        }
        return try finishOrder(now: now)
    }

    private func finishOrder(now: Timestamp) throws(AuthorityRefusal) -> [AuthorityReport.Rotation] {
        settle(now: now)
        workSoon()
        if let failure = storageFailure {
            throw AuthorityRefusal(
                .storage, "\(failure.reason); the order stands and is carried out when it can be written",
                hint: failure.reason.hint)
        }
        return report(now: now).rotations
    }

    /// An order that cannot be kept is not taken.
    private func checkStorage(now: Timestamp) throws(AuthorityRefusal) {
        guard storageFailure != nil else { return }
        settle(now: now)
        if let failure = storageFailure {
            throw AuthorityRefusal(.storage, "\(failure.reason)", hint: failure.reason.hint)
        }
    }

    // MARK: An outside root

    func signingRequest(now: Timestamp) throws(AuthorityRefusal) -> String {
        do {
            let key = try requestKey ?? readRequestKey() ?? makeRequestKey()
            requestKey = key
            let name = try DistinguishedName(
                commonName: "Martinet intermediate \("\(key.publicKey.identifier)".prefix(8))",
                organization: String(configuration.trustDomain.name.prefix(64)))
            let request = try SigningRequest.make(
                key: key, names: AlternativeNames(uris: ["\(configuration.trustDomain.id)"]), subject: name,
                isAuthority: true)
            return String(decoding: SigningRequest.pem(der: request), as: UTF8.self)
        } catch let error as AuthorityFileError {
            throw AuthorityRefusal(.storage, "\(error)", hint: error.hint)
        } catch let error as CertificateError {
            throw AuthorityRefusal(.storage, "\(error)", hint: error.hint)
        } catch {
            throw AuthorityRefusal(.storage, "\(error)", hint: "see the reason above")
        }
    }

    private func readRequestKey() throws -> PrivateKey? {
        do throws(AuthorityFileError) {
            let bytes = try files.readKey(Self.requestKeyName)
            return try? PrivateKey(pem: bytes, passphrase: passphrase)
        } catch .missing(_) {
            return nil
        }
    }

    private func makeRequestKey() throws -> PrivateKey {
        let key = try PrivateKey.generate(.ecdsaP256)
        try files.writeKey(Self.requestKeyName, try key.pem(passphrase: passphrase))
        return key
    }

    func take(_ material: AuthorityMaterial, now: Timestamp) throws(AuthorityRefusal) -> [String] {
        try checkStorage(now: now)
        do {
            let given = try ImportedAuthority(
                material, requestKey: try requestKey ?? readRequestKey(), trustDomain: configuration.trustDomain,
                policy: configuration.policy, now: now)
            return try take(given, now: now)
        } catch let refusal as AuthorityRefusal {
            throw refusal
        } catch let error as CertificateError {
            throw AuthorityRefusal(.invalid, "\(error)", hint: error.hint)
        } catch let error as OrderRefusal {
            throw AuthorityRefusal(error)
        } catch let error as AuthorityFileError {
            throw AuthorityRefusal(.storage, "\(error)", hint: error.hint)
        } catch {
            throw AuthorityRefusal(.storage, "\(error)", hint: "see the reason above")
        }
    }

    private func take(_ given: ImportedAuthority, now: Timestamp) throws -> [String] {
        // Checked on a copy first: what the rotation refuses leaves no trace on disk.
        var trial = machine
        let new = try trial.importing(
            root: given.rootGiven, intermediate: given.intermediateGiven, under: given.rootID, now: now)
        if kept[given.rootID] == nil {
            try keep(.root, [given.root], key: given.intermediate == nil ? given.key : nil)
        }
        if let intermediate = given.intermediate {
            try keep(.intermediate, [intermediate] + given.above, key: given.key)
        }
        machine = trial
        actions += new
        if given.usesRequestKey { requestKey = nil }
        _ = try finishOrder(now: now)
        if given.usesRequestKey { try files.removeKey(Self.requestKeyName) }
        return given.words
    }

    // MARK: What is known

    func bundle(now: Timestamp) throws(AuthorityRefusal) -> PublishedBundle {
        let roots = machine.bundle.sorted().compactMap { kept[$0]?.certificate }
        let document = SPIFFEBundle(
            trustDomain: configuration.trustDomain, x509Authorities: roots, jwtAuthorities: tokens.authorities,
            sequence: machine.revision, refreshHint: Federation.usualPause)
        do throws(CertificateError) {
            return PublishedBundle(
                pem: String(decoding: bundle, as: UTF8.self),
                spiffe: String(decoding: try document.json(), as: UTF8.self))
        } catch {
            throw AuthorityRefusal(.failedPrecondition, "\(error)", hint: error.hint)
        }
    }

    func journal(_ order: JournalOrder) throws(AuthorityRefusal) -> [IssuedEntry] {
        do throws(StoreError) {
            return try store.issued(to: order.spiffeID.isEmpty ? nil : order.spiffeID, limit: order.limit)
                .map { line in
                    IssuedEntry(
                        serial: line.serial, spiffeID: line.spiffeID, validity: line.validity,
                        authority: line.authority, holder: line.holder, reason: line.reason, issuedAt: line.issuedAt)
                }
        } catch {
            throw AuthorityRefusal(.storage, "\(error)", hint: error.hint)
        }
    }
}

extension AuthorityRefusal {
    init(_ refusal: OrderRefusal) { self.init(.failedPrecondition, "\(refusal)", hint: refusal.hint) }
}
