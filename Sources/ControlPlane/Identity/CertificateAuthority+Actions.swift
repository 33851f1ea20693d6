import Certificates
import Foundation
import Identity
import Logging
import Store
import TLS
import Time

// What the rotation decides, done. Everything here may be done twice: after a crash it is.
extension CertificateAuthority {
    func perform(_ action: AuthorityMachine.Action, now: Timestamp) {
        switch action {
        case .make(let making, let validity): make(making, validity)
        case .publishBundle(let roots): publishBundle(roots)
        case .issueUnder(let id, let signature): issueUnder(id, signature)
        case .renewLeaves(let issuers): renewLeaves(of: issuers, now: now)
        case .forget(let id): forget(id)
        case .warn(let warning): logger.warning("\(describe(warning))")
        case .note(let note): logger.notice("\(describe(note))")
        }
    }

    // MARK: Making

    private func make(_ making: AuthorityMachine.Making, _ validity: Range<Timestamp>) {
        do {
            switch making {
            case .root: try makeRoot(validity)
            case .intermediate(let root): try makeIntermediate(under: root, validity)
            case .crossSignature(let root, let by): try crossSign(root, by: by, validity)
            }
        } catch {
            metrics.failures.increment()
            logger.error("\(describe(making)) cannot be made", metadata: ["reason": "\(error)"])
            events.append(.makingFailed(making, reason: "\(error)"))
        }
    }

    private func makeRoot(_ validity: Range<Timestamp>) throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let certificate = try Issuer.selfSigned(
            subject: try name("root", key), trustDomain: configuration.trustDomain, key: key, validity: validity,
            serial: try .random())
        let authority = try keep(.root, [certificate], key: key)
        events.append(.madeRoot(authority.id, validity: certificate.validity))
    }

    private func makeIntermediate(under root: AuthorityID, _ validity: Range<Timestamp>) throws {
        guard let above = kept[root], let signer = above.issuer else {
            throw StartProblem.keyMissing(root, files)
        }
        let key = try PrivateKey.generate(.ecdsaP256)
        let certificate = try signer.issueAuthority(
            subject: try name("intermediate", key), trustDomain: configuration.trustDomain, validity: validity,
            serial: try .random(), for: key.publicKey)
        let authority = try keep(.intermediate, [certificate] + above.certificates, key: key)
        events.append(.madeIntermediate(authority.id, under: root, validity: certificate.validity))
    }

    /// So many roots back a proxy that was not started again since may know.
    private static let mostCrossSigned = 4

    private func crossSign(_ root: AuthorityID, by: AuthorityID, _ validity: Range<Timestamp>) throws {
        guard let signer = kept[by]?.issuer, var authority = kept[root] else {
            throw StartProblem.keyMissing(by, files)
        }
        let certificate = try signer.crossSign(
            authority.certificate, trustDomain: configuration.trustDomain, validity: validity, serial: try .random())
        authority.crossSigned = Array(([certificate] + (kept[by]?.crossSigned ?? [])).prefix(Self.mostCrossSigned))
        kept[root] = authority
        unsaved.authorities.append(authority.stored)
        events.append(.crossSigned(CrossSignature(root: root, by: by, validity: certificate.validity)))
    }

    /// The key is on disk before its authority is on record: a key without a record is harmless, the other way round
    /// it would be lost.
    @discardableResult
    func keep(_ tier: AuthorityTier, _ certificates: [Certificate], key: PrivateKey?) throws -> KeptAuthority {
        let authority = try KeptAuthority(
            tier: tier, certificates: certificates, key: key, createdAt: configuration.clock())
        if let key { try files.writeKey(authority.id.text, try key.pem(passphrase: passphrase)) }
        kept[authority.id] = authority
        unsaved.authorities.append(authority.stored)
        return authority
    }

    private func name(_ tier: String, _ key: PrivateKey) throws -> DistinguishedName {
        // A name of its own for each key: chains are found by name.
        try DistinguishedName(
            commonName: "Martinet \(tier) \("\(key.publicKey.identifier)".prefix(8))",
            organization: String(configuration.trustDomain.name.prefix(64)))
    }

    // MARK: Giving out

    private func publishBundle(_ roots: Set<AuthorityID>) {
        let certificates = roots.sorted().compactMap { kept[$0]?.certificate }
        guard !certificates.isEmpty else { return }
        bundle = Array(KeptAuthority.text(certificates).utf8)
        let version = publishSecrets()
        bundleVersions.removeAll { $0.version == version }
        bundleVersions.append((version, roots))
        // A proxy acknowledges what it was sent, which may not be the last: a few steps are enough.
        if bundleVersions.count > 32 { bundleVersions.removeFirst() }
        do throws(AuthorityFileError) {
            try files.publishBundle(bundle)
        } catch {
            logger.error(
                "the trust bundle's file is out of date", metadata: ["reason": "\(error)", "hint": "\(error.hint)"])
        }
        if port != nil { portSchedule?.hasten(now: configuration.clock()) }
        logger.info(
            "trust bundle published", metadata: ["roots": "\(roots.sorted().map(\.text).joined(separator: ","))"])
    }

    /// - Returns: the version of the trust bundle.
    @discardableResult
    func publishSecrets() -> String {
        secrets.setBundle(bundle, federated: federation.anchors, isFederated: !federation.isEmpty)
    }

    private func issueUnder(_ id: AuthorityID, _ signature: CrossSignature?) {
        guard let authority = kept[id], let issuer = authority.issuer else {
            logger.error("the intermediate \(id) cannot sign: its key is not here")
            return
        }
        // Towards the root, which peers have; and the root certified by the one before it, for those who know only that.
        var chain = authority.certificates.filter { !$0.isSelfSigned }
        if let signature, let crossSigned = kept[signature.root]?.crossSigned.first {
            chain.append(crossSigned)
        }
        issuing = Issuing(id: id, issuer: issuer, chain: Array(KeptAuthority.text(chain).utf8))
        portSchedule?.hasten(now: configuration.clock())
        publishShared()
        logger.info("issuing", metadata: ["issuer": "\(id)", "subject": "\(authority.certificate.subject)"])
    }

    private func renewLeaves(of issuers: Set<AuthorityID>, now: Timestamp) {
        for (id, holder) in served where holder.issuer.map(issuers.contains) ?? false {
            served[id]?.schedule?.hasten(now: now)
            served[id]?.isForRotation = true
            calendar.add(id, at: now)
        }
        if let portIssuer, issuers.contains(portIssuer) { portSchedule?.hasten(now: now) }
        workSoon()
    }

    // MARK: Giving up

    private func forget(_ id: AuthorityID) {
        do throws(AuthorityFileError) {
            try files.removeKey(id.text)
            kept[id] = nil
            unsaved.forgettingAuthorities.append(id.text)
            events.append(.forgotten(id))
            logger.notice("key destroyed", metadata: ["authority": "\(id)"])
        } catch {
            logger.error(
                "a key that is not needed any more cannot be destroyed",
                metadata: ["authority": "\(id)", "reason": "\(error)", "hint": "\(error.hint)"])
        }
    }

    /// Keys that a crash left between their making and their record: nothing is signed by them.
    func removeStrayKeys() {
        do throws(AuthorityFileError) {
            for name in try files.keyNames() where kept[AuthorityID(name)] == nil {
                if name == Self.requestKeyName || tokens.owns(name) { continue }
                try files.removeKey(name)
                logger.notice("a key that no record names was removed", metadata: ["file": "\(files.keyPath(name))"])
            }
        } catch {
            logger.warning("\(error)", metadata: ["hint": "\(error.hint)"])
        }
    }

    /// The file of the key of a signing request.
    static let requestKeyName = "request"

    // MARK: The TLS port's own certificate

    /// The name under which this control plane shows itself.
    var portIdentity: SPIFFEID? {
        try? SPIFFEID(configuration.trustDomain, namespace: "martinet-system", serviceAccount: "martinet")
    }

    /// Makes the port's certificate, or another one.
    func makePort(now: Timestamp) throws {
        guard let identity = portIdentity else { return }
        guard let issuing, let leaf = machine.leafValidity(now: now) else {
            throw SigningProblem("the authority has nothing valid to sign with; see `martinet ca status`")
        }
        let key = try PrivateKey.generate(.ecdsaP256)
        let certificate = try issuing.issuer.issue(
            LeafTemplate(
                spiffeID: identity, dnsNames: configuration.allServerNames, ipAddresses: ["127.0.0.1", "::1"],
                validity: leaf.validity, serial: try .random()),
            for: key.publicKey)
        let chain = certificate.pem + issuing.chain + linksToEarlierRoots(besides: issuing.chain, now: now)
        let keyPEM = try key.pem()
        let anchors = bundle
        let schedule = LeafSchedule(
            issuedAt: now, notAfter: certificate.notAfter, jitter: configuration.policy.renewalJitter,
            chance: .random(in: 0...1))
        unsaved.issued.append(
            IssuedCertificate(
                serial: certificate.serial, spiffeID: "\(identity)", validity: certificate.validity,
                authority: issuing.id.text, holder: "martinet", reason: "server", issuedAt: now))
        let issuer = issuing.id
        deliveries.append(
            Delivery(
                deliver: { [self] in
                    do throws(TLSError) {
                        if let port {
                            try port.replace(chain: chain, key: keyPEM, anchors: anchors)
                        } else {
                            port = try PortCertificate(chain: chain, key: keyPEM, anchors: anchors)
                        }
                        portSchedule = schedule
                        portIssuer = issuer
                    } catch {
                        portFailed("\(error)", now: now)
                    }
                }, fail: { [self] in portFailed($0.message, now: now) }))
    }

    /// The root in force certified by the one before it, and so on, PEM. A proxy that reads its trust for this port once,
    /// as it starts, comes back after roots have changed.
    private func linksToEarlierRoots(besides chain: [UInt8], now: Timestamp) -> [UInt8] {
        guard let root = machine.activeRoot, let links = kept[root.id]?.crossSigned else { return [] }
        let given = Set((try? Certificate.list(pem: chain, source: "the issuer's chain")) ?? [])
        return Array(KeptAuthority.text(links.filter { $0.notAfter > now && !given.contains($0) }).utf8)
    }

    func portFailed(_ reason: String, now: Timestamp) {
        metrics.failures.increment()
        portSchedule?.failed(now: now, chance: .random(in: 0...1))
        logger.error(
            "the certificate of the TLS port was not renewed; the one before stays in force",
            metadata: [
                "reason": "\(reason)", "notAfter": "\(port?.notAfter?.utcText ?? "none")",
            ])
    }
}

extension StartProblem {
    static func keyMissing(_ id: AuthorityID, _ files: AuthorityFiles) -> StartProblem {
        StartProblem(
            "the key of the authority \(id) is not here (\(files.keyPath(id.text)))",
            hint: "put the key back from a backup of the data directory, or have the authority signed outside: "
                + "`martinet ca csr`, then `martinet ca import`")
    }
}
