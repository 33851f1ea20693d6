import FoundationEssentials
import Time

@testable import Identity

/// The control plane around the machine: what it keeps, makes and sends.
extension RotationSimulation {
    /// - Parameter isDurable: acknowledgements need not be kept; a crash may lose them.
    func tell(_ event: AuthorityMachine.Event, isDurable: Bool = true) {
        guard isUp else { return }
        perform(machine.handle(event, now: now), isDurable: isDurable)
    }

    func perform(_ actions: [AuthorityMachine.Action], isDurable: Bool = true) {
        if isDurable || !actions.isEmpty { persist() }
        for action in actions {
            // Decided, whether or not the control plane lives to do it.
            if case .note(.forced(.root, let phase, _)) = action, mutant == nil, phase != .preparing || isExternal {
                hasForced = true
                for index in workloads.indices { reclassify(index) }
            }
        }
        let isWorthACrash = actions.contains { if case .note = $0 { true } else { false } }
        if isWorthACrash, chance.percent(3) { return crashNow() }
        for action in actions { perform(action) }
        scheduleTick()
    }

    private func scheduleTick() {
        guard let deadline = machine.nextDeadline(now: now) else { return }
        let at = max(deadline, now + .seconds(1))
        if let nextTick, nextTick <= at, nextTick > now { return }
        nextTick = at
        queue.insert(.tick(at: at), at: at)
    }

    private func persist() {
        let (kept, dropped) = machine.takeChangedHolders()
        for record in kept {
            if mutant == .forgetsWhatItIssued, durableHolders[record.id] != nil { continue }
            durableHolders[record.id] = record
        }
        for id in dropped { durableHolders[id] = nil }
        if machine.revision != durableRevision {
            durableRevision = machine.revision
            durable = machine.state
        }
    }

    private func perform(_ action: AuthorityMachine.Action) {
        say("\(action)")
        switch action {
        case .make(let making, let validity):
            after(.milliseconds(50), upTo: .seconds(90), .made(making, validity, incarnation: incarnation))
        case .publishBundle(let roots):
            for index in workloads.indices where workloads[index].isConnected { sendBundle(index) }
            if mutant == .takesBundlesForGranted {
                for workload in workloads where machine.record(of: workload.id)?.bundle != nil {
                    tell(.bundleAcknowledged(workload.id, roots: roots))
                }
            }
        case .issueUnder: break
        case .renewLeaves(let issuers):
            for index in workloads.indices where workloads[index].isConnected {
                guard let last = machine.record(of: workloads[index].id)?.leaves.last, issuers.contains(last.issuer)
                else { continue }
                hastenRenewal(index)
            }
            if mutant == .takesLeavesForGranted { takeLeavesForGranted(issuers) }
        case .forget(let id):
            keys.remove(id)
            tell(.forgotten(id))
        case .warn(let warning): heed(warning)
        case .note(let note): count(note)
        }
    }

    private func takeLeavesForGranted(_ issuers: Set<AuthorityID>) {
        guard let issuer = machine.issuer else { return }
        for workload in workloads where machine.record(of: workload.id)?.leaves.isEmpty == false {
            serials += 1
            let made = OutstandingLeaf(serial: "granted\(serials)", issuer: issuer.id, notAfter: now + .seconds(60))
            tell(.leafIssued(workload.id, made))
            tell(.leafInstalled(workload.id, serial: made.serial))
        }
    }

    private func count(_ note: AuthorityMachine.Note) {
        switch note {
        case .began, .reached: break
        case .forced: counts.forced += 1
        case .finished(.root, _): counts.rootRotations += 1
        case .finished: counts.intermediateRotations += 1
        case .aborted: counts.aborts += 1
        }
    }

    private func heed(_ warning: AuthorityMachine.Warning) {
        switch warning {
        case .expires(let id, let tier, let at, let needsImport):
            warnedOf.insert(id)
            if needsImport, isExternal {
                // Most operators do something in time.
                let rest = at - now
                after(
                    .seconds(60), upTo: chance.percent(90) ? rest / 2 : rest * 2,
                    .operatorImports(isRoot: tier == .root))
            }
        case .leafUnderUnknownIssuer(_, let issuer):
            if mutant == nil { violate("a leaf under \(issuer), which does not sign") }
        case .makingFails, .expired, .waitsLong: break
        }
    }

    // MARK: Making

    func madeOnDisk(_ making: AuthorityMachine.Making, _ validity: Range<Timestamp>, _ asked: Int) {
        guard isUp, asked == incarnation else { return }
        guard canSign else { return tell(.makingFailed(making, reason: "the disk is full")) }
        serials += 1
        switch making {
        case .root:
            let id = AuthorityID("R\(serials)")
            exists(Authority(id: id, tier: .root, issuer: id, validity: validity, createdAt: now))
            tell(.madeRoot(id, validity: validity))
        case .intermediate(let root):
            guard keys.contains(root) || machine.wantedMakings(now: now).contains(making) else { return }
            let id = AuthorityID("I\(serials)")
            judgeSigning(validity, by: root)
            exists(Authority(id: id, tier: .intermediate, issuer: root, validity: validity, createdAt: now))
            tell(.madeIntermediate(id, under: root, validity: validity))
        case .crossSignature(let root, let by):
            guard keys.contains(by) || machine.wantedMakings(now: now).contains(making) else { return }
            judgeSigning(validity, by: by)
            tell(.crossSigned(CrossSignature(root: root, by: by, validity: validity)))
        }
    }

    private func judgeSigning(_ validity: Range<Timestamp>, by root: AuthorityID) {
        if !keys.contains(root) { violate("\(root) signs, and its key is destroyed") }
        guard let issuer = certificates[root] else { return violate("\(root) signs, and does not exist") }
        if validity.lowerBound < issuer.validity.lowerBound || validity.upperBound > issuer.validity.upperBound {
            violate("an authority outlives \(root)")
        }
        switch machine.state.authorities.first(where: { $0.id == root })?.state {
        case .made, .prepared, .active: break
        case .retiring, .retired, nil: violate("\(root) signs, and is past its phase")
        }
    }

    private func exists(_ authority: Authority) {
        certificates[authority.id] = authority
        if authority.hasKey { keys.insert(authority.id) }
        queue.insert(.authorityEnds(authority.id), at: authority.validity.upperBound)
    }

    func bootstrap() {
        if isExternal { operatorImports(isRoot: true) } else { tell(.tick) }
    }

    func operatorImports(isRoot: Bool) {
        guard isExternal, isUp else { return }
        let needed = machine.status(now: now).warnings
        if machine.activeRoot != nil, !needed.contains(where: { if case .expires = $0 { true } else { false } }),
            !needed.contains(where: { if case .expired = $0 { true } else { false } })
        {
            return
        }
        serials += 1
        let start = now - allowance
        var root = machine.activeRoot.flatMap { certificates[$0.id] }
        let isNew = isRoot || root == nil
        if isNew {
            let id = AuthorityID("R\(serials)")
            root = Authority(
                id: id, tier: .root, issuer: id, validity: start..<(now + policy.rootValidity), hasKey: false,
                isImported: true, createdAt: now)
        }
        guard let root else { return }
        let end = min(now + policy.intermediateValidity, root.validity.upperBound)
        guard end > now else { return }
        let intermediate = Authority(
            id: AuthorityID("I\(serials)"), tier: .intermediate, issuer: root.id, validity: start..<end,
            isImported: true, createdAt: now)
        do {
            let actions = try machine.importing(
                root: isNew ? .init(id: root.id, validity: root.validity, hasKey: false) : nil,
                intermediate: .init(id: intermediate.id, validity: intermediate.validity, hasKey: true),
                under: root.id, now: now)
            if isNew { exists(root) }
            exists(intermediate)
            perform(actions)
        } catch {
            say("refused: \(error)")
        }
    }

    // MARK: Orders

    func order() {
        after(policy.leafValidity / 2, upTo: policy.leafValidity * 8, .order)
        guard isUp else { return }
        do {
            perform(try machine.rotate(chance.percent(60) ? .root : .intermediate, now: now))
            if chance.percent(60) { after(.seconds(1), upTo: policy.leafValidity / 2, .abort) }
        } catch {
            say("refused: \(error)")
        }
    }

    func abort() {
        guard isUp else { return }
        do {
            perform(try machine.abort(now: now))
            if chance.percent(40) { after(.seconds(1), upTo: policy.leafValidity / 2, .abort) }
        } catch {
            say("refused: \(error)")
        }
    }

    // MARK: Crashes

    func crash() {
        after(policy.leafValidity, upTo: policy.leafValidity * 8, .crash)
        if isUp { crashNow() }
    }

    private func crashNow() {
        say("crash")
        isUp = false
        counts.crashes += 1
        lastTrouble = now
        incarnation += 1
        for index in workloads.indices {
            if workloads[index].isConnected {
                disconnect(index)
                after(.seconds(1), upTo: .seconds(300), .connect(index, epoch: workloads[index].epoch))
            }
        }
        after(.seconds(1), upTo: policy.leafValidity / 16, .restart)
    }

    func restart() {
        say("restart")
        isUp = true
        lastTrouble = now
        do {
            let kept = try JSONDecoder().decode(AuthorityState.self, from: JSONEncoder().encode(durable))
            if kept != durable { violate("what is kept is not what was kept") }
            let records = durableHolders.values.sorted { $0.id < $1.id }
            machine = AuthorityMachine(policy: policy, restoring: kept, holders: records)
            durableRevision = machine.revision
        } catch {
            violate("what was kept cannot be read: \(error)")
        }
        perform(machine.pendingActions(now: now))
    }
}
