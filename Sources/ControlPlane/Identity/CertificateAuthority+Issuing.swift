import Certificates
import Discovery
import GRPC
import Identity
import Logging
import Store
import Time

// What holders ask for and say, and their certificates' renewal.
extension CertificateAuthority {
    /// How long a holder that is to take the trust bundle first waits for its certificate if it never takes it.
    static let bundlePatience = Duration.seconds(30)

    /// First, what was heard of holders: it may move a rotation on.
    func note(_ errand: AuthorityDesk.Errand, now: Timestamp) {
        switch errand {
        case .connected(let holder):
            let id = HolderID(holder)
            if served[id] == nil { served[id] = ServedHolder() }
            tell(id) { .connected($0) }
        case .disconnected(let holder):
            let id = HolderID(holder)
            served[id] = nil
            tell(id) { .disconnected($0) }
        case .asked(let holder, let stream, let takesBundle):
            note(stream, takesBundle: takesBundle, of: HolderID(holder))
        case .answered(let holder, let stream, let answer): note(answer, on: stream, of: HolderID(holder))
        case .left(let holder, let stream):
            let id = HolderID(holder)
            guard served[id]?.streams.removeValue(forKey: stream) != nil else { break }
            // Those that are left may agree now.
            noteAgreement(of: id)
        case .demanded(let holder, _):
            let id = HolderID(holder)
            if served[id] == nil {
                served[id] = ServedHolder()
                tell(id) { .connected($0) }
            }
        case .sign, .signToken: break
        }
    }

    /// What a node says of its stream goes for the key that it keeps itself too.
    private func tell(_ id: HolderID, _ event: (HolderID) -> AuthorityMachine.Event) {
        events.append(event(id))
        if machine.record(of: id.keepingKey) != nil { events.append(event(id.keepingKey)) }
    }

    private func note(_ stream: StreamToken, takesBundle: Bool, of id: HolderID) {
        guard takesBundle, var holder = served[id] else { return }
        defer { served[id] = holder }
        let isBesideAnother = holder.streams.contains { $0.key != stream && $0.value.takesBundle }
        holder.streams[stream, default: StreamSecrets()].takesBundle = true
        tell(id) { .bundleRequested($0) }
        guard isBesideAnother, holder.acknowledgedBundle != nil else { return }
        // Whatever reads this stream has no bundle yet; what the other one has acknowledged is not the node's any more.
        holder.acknowledgedBundle = nil
        tell(id) { .bundleAcknowledged($0, roots: []) }
    }

    private func note(_ answer: SecretAnswer, on stream: StreamToken, of id: HolderID) {
        guard var holder = served[id] else { return }
        holder.refusal = answer.refusal.map { String($0.message.prefix(300)) }
        let own = answer.agreedVersion(of: [SecretDirectory.certificateName, "\(id.identity)"])
        let shared = answer.agreedVersion(of: [SecretDirectory.bundleName, "\(configuration.trustDomain.id)"])
        holder.streams[stream] = StreamSecrets(
            takesBundle: shared.isTaken, bundle: shared.version, takesCertificate: own.isTaken,
            certificate: own.version)
        served[id] = holder
        noteAgreement(of: id)
    }

    /// What a node has is what all of its streams have.
    private func noteAgreement(of id: HolderID) {
        guard var holder = served[id] else { return }
        defer { served[id] = holder }
        if let version = holder.agreedCertificate, version == holder.version, let serial = holder.serial,
            holder.installedSerial != serial
        {
            holder.installedSerial = serial
            events.append(.leafInstalled(id, serial: serial))
        }
        guard let version = holder.agreedBundle, version != holder.acknowledgedBundle,
            let roots = bundleVersions.last(where: { $0.version == version })?.roots
        else { return }
        holder.acknowledgedBundle = version
        tell(id) { .bundleAcknowledged($0, roots: roots) }
        // It may have waited for this, or not have been allowed a renewal before.
        if holder.waitsUntil != nil || holder.schedule != nil {
            calendar.add(id, at: configuration.clock())
        }
    }

    /// Then, what is to be signed.
    func issue(_ errand: AuthorityDesk.Errand, now: Timestamp) {
        switch errand {
        case .demanded(let holder, let ready): issue(to: HolderID(holder), now: now, ready)
        case .sign(let order): sign(order, now: now)
        case .signToken(let order): signToken(order, now: now)
        case .connected, .asked, .answered, .left, .disconnected: break
        }
    }

    private func issue(to id: HolderID, now: Timestamp, _ ready: @escaping @Sendable (GRPCStatus?) -> Void) {
        guard served[id] != nil else {
            return ready(GRPCStatus(.unavailable, "the stream has ended"))
        }
        guard machine.mayReceiveLeaf(id) || hasNothing(id) else {
            // Its request goes on without: the trust bundle is in the answer, and after its ACK comes the certificate.
            served[id]?.waitsUntil = now + Self.bundlePatience
            calendar.add(id, at: now + Self.bundlePatience)
            return ready(nil)
        }
        give(id, reason: "first", now: now, ready)
    }

    /// Whether a holder has nothing of an older root: it gets its first certificate together with the trust bundle.
    private func hasNothing(_ id: HolderID) -> Bool {
        guard let record = machine.record(of: id) else { return true }
        return record.leaves.isEmpty && record.bundle?.isEmpty ?? true
    }

    /// Renews what is due, some at a time.
    func renewDue(now: Timestamp) {
        for id in calendar.take(now: now, limit: Self.renewalsPerTurn) {
            guard let holder = served[id], !holder.isBeingServed else { continue }
            if let patience = holder.waitsUntil {
                guard machine.mayReceiveLeaf(id) || now >= patience else { continue }
                if now >= patience, !machine.mayReceiveLeaf(id) {
                    logger.warning(
                        "a proxy takes no trust bundle; it gets its certificate all the same",
                        metadata: ["node": "\(id.node)", "identity": "\(id.identity)"])
                }
                give(id, reason: "first", now: now) { _ in }
                continue
            }
            guard let schedule = holder.schedule, schedule.nextAttempt <= now else { continue }
            guard machine.mayReceiveLeaf(id) || schedule.isLate(now: now) else { continue }
            give(id, reason: holder.isForRotation ? "rotation" : "renewal", now: now) { _ in }
        }
        if let portSchedule, portSchedule.nextAttempt <= now {
            do {
                try makePort(now: now)
            } catch {
                portFailed("\(error)", now: now)
            }
        }
        if let next = calendar.next, next <= now { workSoon() }
    }

    /// Makes a key and a certificate for a holder; it gets them when the journal has them.
    private func give(
        _ id: HolderID, reason: String, now: Timestamp, _ ready: @escaping @Sendable (GRPCStatus?) -> Void
    ) {
        do {
            let key = try PrivateKey.generate(.ecdsaP256)
            let made = try sign(
                for: id.identity, holder: id, key: key.publicKey, wanted: nil, reason: reason, roots: nil, now: now)
            let keyPEM = try key.pem()
            served[id]?.isBeingServed = true
            deliveries.append(
                Delivery(
                    deliver: { [self] in
                        deliver(made, key: keyPEM, to: id, now: now)
                        ready(nil)
                    },
                    fail: { [self] status in
                        failed(id, status.message, now: now)
                        ready(status)
                    }))
        } catch {
            let words = (error as? SigningProblem)?.description ?? "\(error)"
            failed(id, words, now: now)
            ready(GRPCStatus(.unavailable, words))
        }
    }

    private func deliver(_ made: MadeLeaf, key: [UInt8], to id: HolderID, now: Timestamp) {
        guard var holder = served[id] else { return }
        holder.version = secrets.setIdentity(
            SecretHolder(node: id.node, identity: id.identity), chain: made.chain, key: key)
        holder.serial = made.certificate.serial
        holder.issuer = made.issuer
        holder.notAfter = made.certificate.notAfter
        holder.waitsUntil = nil
        holder.isBeingServed = false
        holder.isForRotation = false
        holder.failure = nil
        let schedule = LeafSchedule(
            issuedAt: now, notAfter: made.certificate.notAfter, jitter: configuration.policy.renewalJitter,
            chance: .random(in: 0...1))
        holder.schedule = schedule
        served[id] = holder
        calendar.add(id, at: schedule.nextAttempt)
    }

    private func failed(_ id: HolderID, _ reason: String, now: Timestamp) {
        metrics.failures.increment()
        guard var holder = served[id] else { return }
        holder.failure = reason
        holder.isBeingServed = false
        if var schedule = holder.schedule {
            schedule.failed(now: now, chance: .random(in: 0...1))
            holder.schedule = schedule
            calendar.add(id, at: schedule.nextAttempt)
            logger.error(
                "a certificate was not renewed; the one before stays in force",
                metadata: [
                    "node": "\(id.node)", "identity": "\(id.identity)", "reason": "\(reason)",
                    "attempts": "\(schedule.failures)", "notAfter": "\(schedule.notAfter.utcText)",
                ])
        } else {
            logger.error(
                "a proxy gets no certificate",
                metadata: ["node": "\(id.node)", "identity": "\(id.identity)", "reason": "\(reason)"])
        }
        served[id] = holder
    }

    // MARK: Signing

    struct MadeLeaf {
        var certificate: Certificate
        /// PEM: the leaf, then what leads to a root.
        var chain: [UInt8]
        var issuer: AuthorityID
    }

    /// Signs a leaf, and puts it into the journal of this turn.
    /// - Parameter roots: those that come with it, for a holder that has no stream for them.
    func sign(
        for identity: SPIFFEID, holder: HolderID, key: PublicKey, wanted: Duration?, reason: String,
        roots: Set<AuthorityID>?, now: Timestamp
    ) throws -> MadeLeaf {
        if let storageFailure, now < storageFailure.retryAt {
            throw SigningProblem("\(storageFailure.reason); \(storageFailure.reason.hint)")
        }
        guard let issuing else {
            throw SigningProblem(
                "the authority has no intermediate that signs; see `martinet ca status` for what it waits for")
        }
        guard let leaf = machine.leafValidity(wanted, now: now) else {
            throw SigningProblem(
                "the authority's own certificate has expired; import another one with `martinet ca import`")
        }
        let certificate = try issuing.issuer.issue(
            LeafTemplate(spiffeID: identity, validity: leaf.validity, serial: try .random()), for: key)
        unsaved.issued.append(
            IssuedCertificate(
                serial: certificate.serial, spiffeID: "\(identity)", validity: certificate.validity,
                authority: issuing.id.text, holder: holder.node, reason: reason, issuedAt: now))
        events.append(
            .leafIssued(
                holder,
                OutstandingLeaf(
                    serial: certificate.serial, issuer: issuing.id, notAfter: certificate.notAfter, roots: roots)))
        return MadeLeaf(certificate: certificate, chain: certificate.pem + issuing.chain, issuer: issuing.id)
    }
}

/// Why nothing is signed now, with the mend.
struct SigningProblem: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) { self.description = description }
}

extension HolderID {
    init(_ holder: SecretHolder) { self.init(node: holder.node, identity: holder.identity) }
}
