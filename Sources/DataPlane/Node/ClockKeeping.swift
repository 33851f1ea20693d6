import CLinux

/// Whether something keeps this machine's clock right: certificates begin and end by it. Source: adjtimex(2).
public enum ClockKeeping: Hashable, Sendable {
    case kept(within: Duration)
    /// In a container the host may keep it all the same.
    case notKept
    case unknown

    public static func now() -> ClockKeeping {
        var error = 0
        return switch linux_clock_is_kept(&error) {
        case 1: .kept(within: .microseconds(error))
        case 0: .notKept
        default: .unknown
        }
    }
}
