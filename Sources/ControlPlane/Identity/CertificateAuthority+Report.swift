import Certificates
import Identity
import Time

// The state, for operators.
extension CertificateAuthority {
    func report(now: Timestamp) -> AuthorityReport {
        let status = machine.status(now: now, limit: AuthorityReport.Rotation.awaitedLimit)
        var report = AuthorityReport(trustDomain: configuration.trustDomain.name, now: now)
        let outstanding = machine.outstandingLeaves(now: now)
        report.authorities = status.authorities.map { authority in
            AuthorityReport.Authority(
                id: authority.id.text, tier: authority.tier.rawValue, issuer: authority.issuer.text,
                state: authority.state.rawValue, subject: kept[authority.id]?.certificate.subject ?? "",
                validity: authority.validity, hasKey: authority.hasKey,
                outstandingLeaves: outstanding.byIssuer[authority.id] ?? 0)
        }
        report.outstandingLeaves = outstanding.byIssuer.values.reduce(0, +)
        report.earliestLeafExpiry = served.values.compactMap(\.notAfter).min() ?? outstanding.earliest
        report.serverExpiry = port?.notAfter
        report.timeline = timeline(status, now: now)
        report.rotations = status.progress.map(rotation)
        report.problems = problems(status, now: now)
        report.federatedBundles = federation.report
        report.clockSkews = clocks.list.prefix(100).map { peer, entry in
            "\(peer): \(words(entry.skew)) (heard \(entry.heardAt.utcText))"
        }
        return report
    }

    private func rotation(_ progress: AuthorityStatus.Progress) -> AuthorityReport.Rotation {
        AuthorityReport.Rotation(
            tier: progress.rotation.tier.rawValue, phase: words(progress.rotation.phase),
            phaseSince: progress.rotation.since,
            awaited: progress.awaited.map { holder in
                AuthorityReport.AwaitedHolder(
                    nodeID: holder.id.node, spiffeID: "\(holder.id.identity)", isConnected: holder.isConnected,
                    holds: words(holder), until: holder.until)
            }, awaitedCount: progress.awaitedCount, forcedAt: progress.forcedAt)
    }

    private func words(_ holder: AwaitedHolder) -> String {
        switch holder.want {
        case .knows(let root):
            "a trust bundle without the root \(root)"
                + (served[holder.id]?.refusal.map { "; it refused secrets: \($0)" } ?? "")
        case .forgets(let root): "a trust bundle that still has the root \(root)"
        case .replaces(let issuer, _): "a certificate of the intermediate \(issuer)"
        }
    }

    private func timeline(_ status: AuthorityStatus, now: Timestamp) -> [AuthorityReport.TimelineEvent] {
        var events = status.timeline.map { AuthorityReport.TimelineEvent(at: $0.at, what: describe($0.what)) }
        if let next = calendar.next, next > now {
            events.append(.init(at: next, what: "the next workload certificate is renewed"))
        }
        if let portSchedule {
            events.append(.init(at: portSchedule.nextAttempt, what: "the TLS port's certificate is renewed"))
        }
        events.append(.init(at: tokens.nextDeadline, what: "the keys that sign JWT-SVIDs change"))
        return events.sorted { ($0.at, $0.what) < ($1.at, $1.what) }
    }

    private func problems(_ status: AuthorityStatus, now: Timestamp) -> [String] {
        var problems = status.warnings.map(describe)
        if let storageFailure {
            problems.append("nothing can be issued: \(storageFailure.reason); \(storageFailure.reason.hint)")
        }
        if let portSchedule, portSchedule.failures > 0 {
            problems.append("the TLS port's certificate was not renewed \(portSchedule.failures) times")
        }
        for (peer, entry) in clocks.list where entry.skew.exceeds(configuration.policy.clockAllowance) {
            if problems.count < 100 { problems.append("the clock of \(peer) is off: \(words(entry.skew)); set it") }
        }
        for (id, holder) in served.sorted(by: { $0.key < $1.key }) where problems.count < 100 {
            if let failure = holder.failure {
                problems.append("the certificate of \(id) cannot be renewed: \(failure)")
            } else if let schedule = holder.schedule, schedule.isLate(now: now) {
                problems.append("the certificate of \(id) expires \(schedule.notAfter.utcText) and was not renewed")
            }
        }
        return problems
    }

    /// Sets what has a level.
    func refreshMetrics(now: Timestamp) {
        func left(_ end: Timestamp?) -> Double? { end.map { Double(($0 - now).nanoseconds) / 1e9 } }
        metrics.setExpiry("root", left(machine.activeRoot?.validity.upperBound))
        metrics.setExpiry("intermediate", left(machine.issuer?.validity.upperBound))
        // Looks at every holder: not in each turn of a storm.
        if lastLeafExpiry.map({ now - $0 >= .seconds(1) || now < $0 }) ?? true {
            lastLeafExpiry = now
            metrics.setExpiry("leaf", left(served.values.lazy.compactMap(\.notAfter).min()))
        }
        metrics.setExpiry("server", left(port?.notAfter))
        metrics.setPhase(machine.state.rootRotation?.phase, of: .root)
        metrics.setPhase(machine.state.intermediateRotation?.phase, of: .intermediate)
        metrics.holders.record(served.count)
        // Who renews is heard twice in a certificate's life.
        clocks.forget(heardBefore: now - configuration.policy.leafValidity)
        metrics.setSkew(clocks.largest, peers: clocks.entries.count)
    }
}
