import Time

@testable import Identity

/// The invariants: each is checked when something happens that could break it.
extension RotationSimulation {
    /// Whether a peer that trusts `bundle` accepts the chain of `shown`, and when. The ends of the chain's own issuers
    /// do not count here: no leaf outlives them (see ``judgeIssuing(_:under:)``).
    private func acceptance(of shown: ModelClass, by bundle: Set<AuthorityID>) -> Range<Timestamp>? {
        guard let intermediate = certificates[shown.issuer], let root = certificates[intermediate.issuer] else {
            return nil
        }
        var best: Range<Timestamp>?
        let start = max(intermediate.validity.lowerBound, root.validity.lowerBound)
        if bundle.contains(root.id) { best = start..<Timestamp(nanoseconds: .max) }
        if let cross = shown.crossSignature, cross.root == root.id, bundle.contains(cross.by),
            let anchor = certificates[cross.by]
        {
            let way =
                max(
                    intermediate.validity.lowerBound, cross.validity.lowerBound, anchor.validity.lowerBound)..<min(
                    cross.validity.upperBound, anchor.validity.upperBound)
            if best.map({ $0.upperBound < way.upperBound }) ?? true { best = way }
        }
        return best
    }

    /// The class of a workload that takes part: awake, with a certificate that some allowed clock takes for valid.
    private func modelClass(of workload: ModelWorkload) -> ModelClass? {
        guard workload.isAwake, workload.exemptSince == nil, isAllowed(workload.skew), let leaf = workload.leaf,
            !workload.bundle.isEmpty, leaf.validity.upperBound + allowance > now
        else { return nil }
        return ModelClass(issuer: leaf.issuer, crossSignature: leaf.crossSignature, bundle: workload.bundle)
    }

    func isAllowed(_ skew: Duration) -> Bool { skew <= allowance && skew >= .zero - allowance }

    /// To be called after each change of a workload.
    func reclassify(_ index: Int) {
        excuse(index)
        let new = modelClass(of: workloads[index])
        let old = classOf[index]
        guard new != old else { return }
        classOf[index] = new
        if let old {
            members[old, default: 0] -= 1
            if members[old] == 0 { members[old] = nil }
        }
        guard let new else { return }
        members[new, default: 0] += 1
        guard members[new] == 1 else { return }
        for other in members.keys.sorted() { judge(new, other) }
    }

    /// All pairs again: an authority that they rely on comes to its end.
    func judgeAll() {
        recheckAt = nil
        let classes = members.keys.sorted()
        for (index, one) in classes.enumerated() {
            for other in classes[index...] { judge(one, other) }
        }
    }

    private func judge(_ one: ModelClass, _ other: ModelClass) {
        checkedPairs += 1
        for (shown, verifier) in [(one, other), (other, one)] {
            guard let range = acceptance(of: shown, by: verifier.bundle) else {
                violate("\(shown.text) is not accepted by \(verifier.text)")
                continue
            }
            // Neither the slowest nor the fastest allowed clock may refuse.
            guard range.lowerBound <= now - allowance else {
                violate("\(shown.text) is not yet valid for \(verifier.text)")
                continue
            }
            guard range.upperBound > now + allowance else {
                violate("\(shown.text) is past for \(verifier.text)")
                continue
            }
            let recheck = range.upperBound - allowance
            if recheck < end, recheckAt.map({ recheck < $0 }) ?? true {
                recheckAt = recheck
                queue.insert(.recheck, at: recheck)
            }
        }
    }

    /// A workload that a forced step went on without counts again when it has a certificate of after that, and the
    /// bundle in force.
    private func excuse(_ index: Int) {
        guard hasForced else { return }
        let workload = workloads[index]
        guard let leaf = workload.leaf, let root = certificates[leaf.issuer]?.issuer, let active = machine.activeRoot
        else { return }
        let isCurrent = machine.bundle.contains(root) && workload.bundle.contains(active.id)
        let knowsByCross = machine.crossSignature.map { workload.bundle.contains($0.by) } ?? false
        if let since = workload.exemptSince {
            let isHealed = leaf.issuedAt > since && isCurrent
            workloads[index].exemptSince = isHealed ? nil : since
        } else if !isCurrent && !(machine.bundle.contains(root) && knowsByCross) {
            workloads[index].exemptSince = now
        }
    }

    /// What is issued lies within its issuers, and its issuer may sign.
    func judgeIssuing(_ validity: Range<Timestamp>, under issuer: AuthorityID) {
        guard let intermediate = certificates[issuer], let root = certificates[intermediate.issuer] else {
            return violate("a leaf under \(issuer), which does not exist")
        }
        if validity.lowerBound < max(intermediate.validity.lowerBound, root.validity.lowerBound)
            || validity.upperBound > min(intermediate.validity.upperBound, root.validity.upperBound)
        {
            violate("a leaf outlives \(issuer)")
        }
        if validity.lowerBound > now - allowance { violate("a leaf begins too late for slow clocks") }
        if !keys.contains(issuer) { violate("a leaf is signed by \(issuer), whose key is destroyed") }
        let state = machine.state.authorities.first { $0.id == issuer }?.state
        if state != .active { violate("a leaf is signed by \(issuer), which is \(state?.rawValue ?? "forgotten")") }
        if !isExternal, validity.upperBound < now + policy.leafValidity { violate("a leaf is shortened") }
    }

    /// Nothing that is in use ends without a warning; and what is made here does not end in use at all.
    func judgeEnd(of id: AuthorityID) {
        let isActive = machine.state.authorities.contains { $0.id == id && $0.state == .active }
        guard isActive else { return }
        if !warnedOf.contains(id) { violate("\(id) ends in use, and nobody was warned") }
        if !isExternal { violate("\(id) ends in use") }
    }

    /// A workload that could have been given a successor in time has one.
    func judgeSuccession(_ index: Int, serial: String) {
        let workload = workloads[index]
        guard workload.leaf?.serial == serial, workload.isAwake, isAllowed(workload.skew) else { return }
        let since = now - policy.leafValidity / 4
        guard isUp, canSign, lastTrouble < since, workload.slowness < policy.leafValidity / 64 else { return }
        guard workload.connectedSince < since, workload.isConnected || workload.kind != .stream else { return }
        // An operator who came too late, for all the warnings: the issuer ended, and the certificate with it.
        if isExternal, let leaf = workload.leaf, leaf.validity.upperBound < leaf.issuedAt + policy.leafValidity {
            return
        }
        violate("\(workload.id.node)'s certificate ends without a successor")
    }
}
