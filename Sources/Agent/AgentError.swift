/// Why the agent cannot do its work: `description` says what is wrong, `hint` the mend.
public enum AgentError: Error, Hashable, Sendable {
    case badSelector(String, problem: String)
    case fileUnreadable(path: String, reason: String)
    case fileUnwritable(path: String, reason: String)
    case notOurs(path: String)
    case badConfiguration(String, hint: String)
    case cannotServe(String, hint: String)
    /// With ``Agent/Configuration/isOnce``.
    case notInTime(seconds: Int64, last: String?)
    case commandFailed(String)
}

extension AgentError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .badSelector(let text, let problem): "the selector `\(text)` is not usable: \(problem)"
        case .fileUnreadable(let path, let reason): "cannot read \(path): \(reason)"
        case .fileUnwritable(let path, let reason): "cannot write \(path): \(reason)"
        case .notOurs(let path): "\(path) is there already, and not a link that this program has made"
        case .badConfiguration(let problem, _): problem
        case .cannotServe(let problem, _): problem
        case .notInTime(let seconds, let last):
            "no certificate and trust bundle within \(seconds) s" + (last.map { ": \($0)" } ?? "")
        case .commandFailed(let how): "the command after the files \(how)"
        }
    }

    public var hint: String {
        switch self {
        case .badSelector: "write uid:N, user:NAME, gid:N or path:/FILE; several with commas between them must all hold"
        case .fileUnreadable: "check the path and its permissions"
        case .fileUnwritable: "check that the directory is there, ours to write and not full"
        case .notOurs: "move it away, or name another directory"
        case .badConfiguration(_, let hint): hint
        case .cannotServe(_, let hint): hint
        case .notInTime:
            "check that `martinet serve` runs at --control, that --root-cert is its root and the token is good"
        case .commandFailed: "run it by hand; the files are written"
        }
    }
}
