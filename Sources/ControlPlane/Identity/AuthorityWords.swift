import Identity
import Time

// What the rotation says, in words for people.
extension CertificateAuthority {
    func describe(_ making: AuthorityMachine.Making) -> String {
        switch making {
        case .root: "a root"
        case .intermediate(let root): "an intermediate under the root \(root)"
        case .crossSignature(let root, let by): "the certificate of the root \(root) by the root \(by)"
        }
    }

    func describe(_ warning: AuthorityMachine.Warning) -> String {
        switch warning {
        case .makingFails(let making, let reason, let attempts, let retryAt):
            "\(describe(making)) could not be made (\(attempts) attempts, next \(retryAt.utcText)): \(reason)"
        case .expires(let id, let tier, let at, let needsImport):
            "the \(tier.rawValue) \(id) expires \(at.utcText) and has no successor: "
                + (needsImport
                    ? "run `martinet ca csr`, have the request signed, and give the answer to `martinet ca import`"
                    : "see the other problems for the reason")
        case .expired(let id, let tier, let at):
            "the \(tier.rawValue) \(id) expired \(at.utcText): import another one with `martinet ca import`"
        case .waitsLong(let tier, let phase, let since, let holders):
            "the rotation of the \(tier.rawValue) waits for \(holders) holders since \(since.utcText) (\(phase.rawValue)); "
                + "see `martinet ca status`, and decide with `martinet ca rotate --force-after` if they will not come"
        case .leafUnderUnknownIssuer(let holder, let id):
            "a certificate for \(holder) was issued under \(id), which signs no more"
        }
    }

    func describe(_ note: AuthorityMachine.Note) -> String {
        switch note {
        case .began(let tier, let reason): "rotation of the \(tier.rawValue) begins: \(words(reason))"
        case .reached(let tier, let phase): "rotation of the \(tier.rawValue): \(words(phase))"
        case .forced(let tier, let phase, let count):
            "rotation of the \(tier.rawValue): \(words(phase)) goes on without \(count) holders, as was ordered"
        case .finished(let tier, let id): "rotation of the \(tier.rawValue) is finished: \(id) is in force"
        case .aborted(let tier, let phase):
            "rotation of the \(tier.rawValue) is aborted in the step \(words(phase)): it goes back"
        }
    }

    func describe(_ what: AuthorityStatus.Moment.What) -> String {
        switch what {
        case .begins(let id, let tier): "the \(tier.rawValue) \(id) becomes valid"
        case .rotationBegins(let tier, let id): "the rotation of the \(tier.rawValue) \(id) begins"
        case .stepIsForced(let tier, let phase):
            "the rotation of the \(tier.rawValue) leaves \(words(phase)) without those it waits for"
        case .lastAwaitedIsPast(let tier):
            "the last certificate that the rotation of the \(tier.rawValue) waits for is past"
        case .ends(let id, let tier): "the \(tier.rawValue) \(id) expires"
        }
    }

    func words(_ skew: ClockSkew) -> String {
        "\(skew.size.brief) \(skew.estimate < .zero ? "behind" : "ahead") at least, certificates begin "
            + "\(configuration.policy.clockAllowance.brief) early"
    }

    func words(_ phase: Rotation.Phase) -> String {
        switch phase {
        case .making: "make"
        case .preparing: "prepare"
        case .activating: "activate"
        case .retiring: "retire"
        }
    }

    private func words(_ reason: Rotation.Reason) -> String {
        switch reason {
        case .firstStart: "the first start"
        case .schedule: "on schedule"
        case .order: "by hand"
        case .imported: "another authority was imported"
        case .abort: "back from an aborted one"
        }
    }
}
