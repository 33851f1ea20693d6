import Time

@testable import Identity

/// What goes between the control plane and the workloads: each message late, some lost with their stream.
extension RotationSimulation {
    func streamBegan(_ index: Int) {
        let id = workloads[index].id
        tell(.connected(id), isDurable: chance.percent(50))
        tell(.bundleRequested(id), isDurable: chance.percent(50))
        guard isUp, workloads[index].isConnected else { return }
        if workloads[index].tellsWhatItHas, !workloads[index].bundle.isEmpty {
            tell(.bundleAcknowledged(id, roots: workloads[index].bundle), isDurable: chance.percent(50))
        }
        guard isUp, workloads[index].isConnected else { return }
        sendBundle(index)
        let last = machine.record(of: id)?.leaves.last
        if let leaf = workloads[index].leaf, last?.serial == leaf.serial, !machine.wantsRenewal(of: leaf.issuer) {
            // The schedule goes on where it was.
            plan(index, issuedAt: leaf.issuedAt, notAfter: leaf.validity.upperBound)
        } else {
            renew(index)
        }
    }

    func sendBundle(_ index: Int) {
        let roots = machine.bundle
        guard !workloads[index].isBundleInFlight, workloads[index].sentBundle != roots, !roots.isEmpty else { return }
        workloads[index].isBundleInFlight = true
        workloads[index].sentBundle = roots
        after(
            .milliseconds(1), upTo: arrival(index), .bundleArrives(index, epoch: workloads[index].epoch, roots: roots))
    }

    /// A slow one may read late, too.
    private func arrival(_ index: Int) -> Duration { chance.percent(50) ? .seconds(5) : workloads[index].slowness }

    func bundleArrives(_ index: Int, _ epoch: Int, _ roots: Set<AuthorityID>) {
        guard workloads[index].epoch == epoch else { return }
        workloads[index].bundle = roots
        reclassify(index)
        after(
            .milliseconds(1), upTo: workloads[index].slowness, .bundleAcknowledged(index, epoch: epoch, roots: roots))
    }

    func bundleIsAcknowledged(_ index: Int, _ epoch: Int, _ roots: Set<AuthorityID>) {
        guard workloads[index].epoch == epoch, isUp else { return }
        workloads[index].isBundleInFlight = false
        tell(.bundleAcknowledged(workloads[index].id, roots: roots), isDurable: chance.percent(50))
        guard isUp, workloads[index].epoch == epoch else { return }
        sendBundle(index)
        if workloads[index].awaitsLeaf { renew(index) }
    }

    // MARK: Certificates on streams

    private func plan(_ index: Int, issuedAt: Timestamp, notAfter: Timestamp) {
        let schedule = LeafSchedule(
            issuedAt: issuedAt, notAfter: notAfter, jitter: policy.renewalJitter, chance: unit())
        workloads[index].schedule = schedule
        queue.insert(.renew(index, at: schedule.nextAttempt), at: schedule.nextAttempt)
    }

    func hastenRenewal(_ index: Int) {
        guard workloads[index].schedule != nil else { return renew(index) }
        workloads[index].schedule?.hasten(now: now)
        guard let next = workloads[index].schedule?.nextAttempt else { return }
        queue.insert(.renew(index, at: next), at: now)
    }

    private func retry(_ index: Int, _ happening: (Timestamp) -> Happening) {
        if workloads[index].schedule == nil {
            workloads[index].schedule = LeafSchedule(
                issuedAt: now, notAfter: now + policy.leafValidity, jitter: 0, chance: 0.5)
        }
        let chance = unit()
        workloads[index].schedule?.failed(now: now, chance: chance)
        guard var next = workloads[index].schedule?.nextAttempt else { return }
        if (workloads[index].schedule?.failures ?? 0) > 5 {
            // Ten minutes at most are many attempts in ten years: more patience saves events.
            next = now + policy.leafValidity / 100
            workloads[index].schedule?.wait(until: next)
        }
        queue.insert(happening(next), at: next)
    }

    func renew(_ index: Int) {
        guard isUp, workloads[index].isConnected else { return }
        guard !workloads[index].isLeafInFlight else {
            workloads[index].awaitsLeaf = true
            return
        }
        guard machine.mayReceiveLeaf(workloads[index].id) || mutant == .givesLeavesBeforeBundles else {
            workloads[index].awaitsLeaf = true
            return
        }
        workloads[index].awaitsLeaf = false
        let epoch = workloads[index].epoch
        guard let leaf = issue(index, roots: nil) else {
            guard isUp, workloads[index].epoch == epoch else { return }
            return retry(index) { .renew(index, at: $0) }
        }
        guard isUp, workloads[index].epoch == epoch else { return }
        workloads[index].isLeafInFlight = true
        plan(index, issuedAt: now, notAfter: leaf.validity.upperBound)
        after(.milliseconds(1), upTo: arrival(index), .leafArrives(index, epoch: epoch, leaf))
    }

    private func issue(_ index: Int, roots: Set<AuthorityID>?) -> ModelWorkload.Leaf? {
        guard canSign, let issuer = machine.issuer, let validity = machine.leafValidity(now: now) else { return nil }
        var signer = issuer.id
        if mutant == .signsUnderTheOld, let old = workloads[index].leaf?.issuer { signer = old }
        judgeIssuing(validity.validity, under: signer)
        serials += 1
        counts.leaves += 1
        let leaf = ModelWorkload.Leaf(
            serial: "L\(serials)", issuer: signer,
            crossSignature: mutant == .dropsCrossSignatures ? nil : machine.crossSignature, issuedAt: now,
            validity: validity.validity)
        let outstanding = OutstandingLeaf(
            serial: leaf.serial, issuer: signer, notAfter: validity.validity.upperBound, roots: roots)
        tell(.leafIssued(workloads[index].id, outstanding))
        return leaf
    }

    func leafArrives(_ index: Int, _ epoch: Int, _ leaf: ModelWorkload.Leaf) {
        guard workloads[index].epoch == epoch else { return }
        install(leaf, index)
        after(
            .milliseconds(1), upTo: workloads[index].slowness,
            .leafAcknowledged(index, epoch: epoch, serial: leaf.serial))
    }

    private func install(_ leaf: ModelWorkload.Leaf, _ index: Int) {
        workloads[index].leaf = leaf
        reclassify(index)
        queue.insert(.leafPast(index), at: leaf.validity.upperBound + allowance)
        queue.insert(.leafNearsEnd(index, serial: leaf.serial), at: leaf.validity.upperBound - allowance)
    }

    func leafIsAcknowledged(_ index: Int, _ epoch: Int, _ serial: String) {
        guard workloads[index].epoch == epoch, isUp else { return }
        workloads[index].isLeafInFlight = false
        tell(.leafInstalled(workloads[index].id, serial: serial), isDurable: chance.percent(50))
        guard isUp, workloads[index].epoch == epoch, workloads[index].awaitsLeaf else { return }
        renew(index)
    }

    // MARK: Signing requests

    func requestSigning(_ index: Int) {
        guard workloads[index].isAwake, case .csr(let keepsOne) = workloads[index].kind else { return }
        guard isUp, canSign else { return retry(index) { .signingRequest(index, at: $0) } }
        let id = workloads[index].id
        // It shows its present certificate: so that is what it has.
        if let leaf = workloads[index].leaf, leaf.validity.contains(now), chance.percent(50) {
            tell(.leafInstalled(id, serial: leaf.serial))
        }
        var roots = machine.bundle
        if keepsOne, let one = machine.rootForSingleRootHolders { roots = [one] }
        guard isUp, let leaf = issue(index, roots: roots), isUp else {
            return retry(index) { .signingRequest(index, at: $0) }
        }
        if chance.percent(10) { return retry(index) { .signingRequest(index, at: $0) } }
        after(.milliseconds(1), upTo: .seconds(30), .answerArrives(index, leaf, roots: roots))
        let schedule = LeafSchedule(
            issuedAt: now, notAfter: leaf.validity.upperBound, jitter: policy.renewalJitter, chance: unit())
        workloads[index].schedule = schedule
        queue.insert(.signingRequest(index, at: schedule.nextAttempt), at: schedule.nextAttempt)
    }

    func answerArrives(_ index: Int, _ leaf: ModelWorkload.Leaf, _ roots: Set<AuthorityID>) {
        guard workloads[index].isAwake else { return }
        workloads[index].bundle = roots
        install(leaf, index)
    }
}
