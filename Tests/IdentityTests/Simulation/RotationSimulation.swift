import FoundationEssentials
import Time

@testable import Identity

/// A control plane and its workloads through ten years, on a virtual clock, from a seed.
final class RotationSimulation {
    enum Happening {
        case bundleArrives(Int, epoch: Int, roots: Set<AuthorityID>)
        case bundleAcknowledged(Int, epoch: Int, roots: Set<AuthorityID>)
        case leafArrives(Int, epoch: Int, ModelWorkload.Leaf)
        case leafAcknowledged(Int, epoch: Int, serial: String)
        case answerArrives(Int, ModelWorkload.Leaf, roots: Set<AuthorityID>)
        /// The control plane renews a stream's certificate, if `number` still is its schedule.
        case renew(Int, at: Timestamp)
        case signingRequest(Int, at: Timestamp)
        case connect(Int, epoch: Int)
        case lifeChanges(Int)
        case leafPast(Int)
        case leafNearsEnd(Int, serial: String)
        case authorityEnds(AuthorityID)
        case made(AuthorityMachine.Making, Range<Timestamp>, incarnation: Int)
        case tick(at: Timestamp)
        case recheck
        case crash, restart, order, abort
        case signingBreaks, signingHeals
        case operatorImports(isRoot: Bool)
    }

    static let start = Timestamp(seconds: 1_700_000_000)

    let policy: AuthorityPolicy
    let isExternal: Bool
    let forces: Bool
    let mutant: Mutant?
    let allowance: Duration
    let end: Timestamp
    var chance: Chance
    var now = RotationSimulation.start
    var queue = EventQueue<Happening>()
    var workloads: [ModelWorkload] = []

    // The control plane.
    var machine: AuthorityMachine
    var isUp = true
    var canSign = true
    var incarnation = 0
    var lastTrouble = RotationSimulation.start
    var nextTick: Timestamp?
    var serials = 0
    /// On disk.
    var keys: Set<AuthorityID> = []
    var durable = AuthorityState()
    var durableRevision: UInt64 = 0
    var durableHolders: [HolderID: HolderRecord] = [:]

    // The truth, for the judgement.
    var certificates: [AuthorityID: Authority] = [:]
    var classOf: [ModelClass?] = []
    var members: [ModelClass: Int] = [:]
    var recheckAt: Timestamp?
    var warnedOf: Set<AuthorityID> = []
    var hasForced = false

    private(set) var violations: [String] = []
    var trace: [String]?
    var kinds: [String: Int] = [:]
    var checkedPairs = 0
    var counts = Counts()

    struct Counts {
        var events = 0, leaves = 0, rootRotations = 0, intermediateRotations = 0, aborts = 0, forced = 0, crashes = 0
        var sleptThrough = 0
    }

    init(seed: UInt64, workloadCount: Int, keepsTrace: Bool = false, mutant: Mutant? = nil) {
        var chance = Chance(seed: seed)
        let leafDays = [14, 30, 60, 90][chance.below(4)]
        let intermediateDays = leafDays * (4 + chance.below(4))
        var policy = AuthorityPolicy(
            rootValidity: .days(intermediateDays * (3 + chance.below(4))),
            intermediateValidity: .days(intermediateDays), leafValidity: .days(leafDays),
            backdate: .seconds([0, 300, 3600][chance.below(3)]), renewalJitter: 0.05)
        isExternal = (mutant == nil && chance.percent(20)) || mutant == .takesBundlesForGranted
        forces = mutant == nil && chance.percent(25)
        if forces { policy.forceAfter = .days(leafDays) / (1 + chance.below(40)) }
        if mutant == .forcesEverything { policy.forceAfter = .zero }
        self.policy = policy
        self.mutant = mutant
        allowance = policy.clockAllowance
        end = Self.start + .days(3650)
        trace = keepsTrace ? [] : nil
        machine = AuthorityMachine(policy: policy)
        self.chance = chance
        makeWorkloads(workloadCount)
    }

    private func makeWorkloads(_ count: Int) {
        classOf = Array(repeating: nil, count: count)
        for index in 0..<count {
            let isCSR = chance.percent(25)
            let keepsOne = !isExternal && chance.percent(50)
            let isFarOff = chance.percent(5)
            let most = isFarOff ? Duration.seconds(7200) : allowance
            let skew = chance.percent(40) ? portion(of: most) - portion(of: most) : .zero
            workloads.append(
                ModelWorkload(
                    id: HolderID(
                        node: "node\(index)",
                        identity: try! SPIFFEID("spiffe://cluster.local/ns/n/sa/s\(index % 7)")),
                    kind: isCSR ? .csr(keepsOneRoot: keepsOne) : .stream, skew: skew,
                    slowness: chance.percent(10) ? policy.leafValidity / (1 + chance.below(20)) : .seconds(5),
                    tellsWhatItHas: chance.percent(50)))
        }
    }

    // MARK: Chance

    /// 0 ..< whole.
    func portion(of whole: Duration) -> Duration {
        whole <= .zero ? .zero : .nanoseconds(Int64(chance.next() % UInt64(whole.nanoseconds)))
    }

    func unit() -> Double { Double(chance.below(1 << 20)) / Double(1 << 20) }

    func after(_ least: Duration, upTo most: Duration, _ happening: Happening) {
        queue.insert(happening, at: now + least + portion(of: most - least))
    }

    func say(_ line: @autoclosure () -> String) {
        if trace != nil { trace?.append("\((now - Self.start).nanoseconds / 1_000_000_000)s \(line())") }
    }

    func violate(_ line: String) {
        say("VIOLATION \(line)")
        if violations.count < 20 {
            violations.append("day \((now - Self.start).nanoseconds / 86_400_000_000_000): \(line)")
        }
    }

    // MARK: Time

    func run() {
        bootstrap()
        let life = policy.leafValidity
        for index in workloads.indices {
            after(.seconds(60), upTo: life / 4, .connect(index, epoch: 0))
            after(life / 8, upTo: life * 4, .lifeChanges(index))
        }
        after(life, upTo: life * 8, .crash)
        after(life, upTo: life * 12, .order)
        after(life, upTo: life * 20, .signingBreaks)
        while let next = queue.removeFirst(), next.at < end {
            now = max(now, next.at)
            counts.events += 1
            if trace != nil { kinds[String("\(next.event)".prefix { $0 != "(" }), default: 0] += 1 }
            happen(next.event)
            if !violations.isEmpty && trace == nil { return }
        }
    }

    private func happen(_ happening: Happening) {
        switch happening {
        case .bundleArrives(let index, let epoch, let roots): bundleArrives(index, epoch, roots)
        case .bundleAcknowledged(let index, let epoch, let roots): bundleIsAcknowledged(index, epoch, roots)
        case .leafArrives(let index, let epoch, let leaf): leafArrives(index, epoch, leaf)
        case .leafAcknowledged(let index, let epoch, let serial): leafIsAcknowledged(index, epoch, serial)
        case .answerArrives(let index, let leaf, let roots): answerArrives(index, leaf, roots)
        case .renew(let index, let at):
            if workloads[index].schedule?.nextAttempt == at { renew(index) }
        case .signingRequest(let index, let at):
            if workloads[index].schedule?.nextAttempt == at { requestSigning(index) }
        case .connect(let index, let epoch):
            if workloads[index].epoch == epoch { connect(index) }
        case .lifeChanges(let index): changeLife(of: index)
        case .leafPast(let index): reclassify(index)
        case .leafNearsEnd(let index, let serial): judgeSuccession(index, serial: serial)
        case .authorityEnds(let id): judgeEnd(of: id)
        case .made(let making, let validity, let incarnation): madeOnDisk(making, validity, incarnation)
        case .tick(let at):
            if nextTick == at, isUp {
                nextTick = nil
                tell(.tick)
            }
        case .recheck: judgeAll()
        case .crash: crash()
        case .restart: restart()
        case .order: order()
        case .abort: abort()
        case .signingBreaks:
            canSign = false
            lastTrouble = now
            after(.seconds(600), upTo: policy.leafValidity / 8, .signingHeals)
        case .signingHeals:
            canSign = true
            lastTrouble = now
            after(policy.leafValidity, upTo: policy.leafValidity * 20, .signingBreaks)
        case .operatorImports(let isRoot): operatorImports(isRoot: isRoot)
        }
    }

    // MARK: Workloads come, go and sleep

    private func connect(_ index: Int) {
        guard workloads[index].isAwake, !workloads[index].isConnected else { return }
        guard case .stream = workloads[index].kind else {
            // Asks when its certificate wants it, or has none.
            workloads[index].connectedSince = now
            return requestSigning(index)
        }
        guard isUp else {
            return after(.seconds(5), upTo: policy.leafValidity / 200, .connect(index, epoch: workloads[index].epoch))
        }
        workloads[index].epoch += 1
        workloads[index].isConnected = true
        workloads[index].connectedSince = now
        workloads[index].sentBundle = nil
        workloads[index].isBundleInFlight = false
        workloads[index].isLeafInFlight = false
        streamBegan(index)
    }

    func disconnect(_ index: Int) {
        guard workloads[index].isConnected else { return }
        workloads[index].isConnected = false
        workloads[index].epoch += 1
        workloads[index].schedule = nil
        workloads[index].awaitsLeaf = false
        if isUp { tell(.disconnected(workloads[index].id), isDurable: chance.percent(50)) }
    }

    private func changeLife(of index: Int) {
        let life = policy.leafValidity
        after(life / 8, upTo: life * 6, .lifeChanges(index))
        if !workloads[index].isAwake {
            workloads[index].isAwake = true
            say("\(workloads[index].id.node) wakes")
            if machine.rootForSingleRootHolders.map({ !workloads[index].bundle.contains($0) }) ?? false {
                counts.sleptThrough += 1
            }
            reclassify(index)
            // It talks to others before it finds the control plane, for a while.
            return after(
                .seconds(1), upTo: chance.percent(70) ? .seconds(60) : life / 2,
                .connect(index, epoch: workloads[index].epoch))
        }
        disconnect(index)
        workloads[index].epoch += 1
        if case .csr = workloads[index].kind {
            workloads[index].schedule = nil
            workloads[index].connectedSince = end
        }
        let epoch = workloads[index].epoch
        switch chance.below(3) {
        case 0: after(.seconds(1), upTo: .seconds(600), .connect(index, epoch: epoch))
        case 1: after(.seconds(600), upTo: life * 2, .connect(index, epoch: epoch))
        default:
            say("\(workloads[index].id.node) sleeps")
            workloads[index].isAwake = false
            reclassify(index)
        }
    }
}
