import Glibc

/// Which processes may use the Workload API: all of its conditions must hold.
public struct CallerSelector: Hashable, Sendable, CustomStringConvertible {
    enum Condition: Hashable, Sendable {
        case user(UInt32)
        case group(UInt32)
        /// The program's file, absolute.
        case path(String)
    }

    let conditions: [Condition]
    /// As it was written.
    public let description: String

    /// Reads `uid:1000`, `user:NAME`, `gid:1000` or `path:/usr/bin/x`, or several with commas between them.
    /// - Throws: ``AgentError/badSelector(_:problem:)``.
    public init(parsing text: String) throws(AgentError) {
        var conditions: [Condition] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            conditions.append(try Self.condition(part, in: text))
        }
        self.conditions = conditions
        description = text
    }

    /// The processes of one user.
    public init(user: UInt32) {
        conditions = [.user(user)]
        description = "uid:\(user)"
    }

    private static func condition(_ part: Substring, in text: String) throws(AgentError) -> Condition {
        guard let colon = part.firstIndex(of: ":") else {
            throw .badSelector(text, problem: "`\(part)` has no colon")
        }
        let value = String(part[part.index(after: colon)...])
        switch part[..<colon] {
        case "uid":
            guard let number = UInt32(value) else {
                throw .badSelector(text, problem: "`\(value)` is no user's number")
            }
            return .user(number)
        case "gid":
            guard let number = UInt32(value) else {
                throw .badSelector(text, problem: "`\(value)` is no group's number")
            }
            return .group(number)
        case "user":
            guard let number = userNumber(value) else {
                throw .badSelector(text, problem: "this machine has no user `\(value)`")
            }
            return .user(number)
        case "path":
            guard value.hasPrefix("/") else { throw .badSelector(text, problem: "`\(value)` is no absolute path") }
            return .path(value)
        default:
            throw .badSelector(text, problem: "`\(part[..<colon])` is no kind of condition")
        }
    }

    private static func userNumber(_ name: String) -> UInt32? {
        var entry = passwd()
        var found: UnsafeMutablePointer<passwd>?
        var buffer = [CChar](repeating: 0, count: 16 << 10)
        guard getpwnam_r(name, &entry, &buffer, buffer.count, &found) == 0, found != nil else { return nil }
        return entry.pw_uid
    }

    /// Whether a process is meant.
    func matches(_ caller: CallerProcess) -> Bool {
        conditions.allSatisfy { condition in
            switch condition {
            case .user(let number): caller.user == number
            case .group(let number): caller.group == number
            // The file, not its name: another file system may have the same name for another program.
            case .path(let path): caller.program != nil && caller.program == FileIdentity(path)
            }
        }
    }

    var asksForProgram: Bool {
        conditions.contains { condition in
            switch condition {
            case .path: true
            case .user, .group: false
            }
        }
    }
}

/// What tells a file from every other one.
struct FileIdentity: Hashable, Sendable {
    let device: UInt64
    let inode: UInt64

    /// - Returns: nil if there is no such file, or we may not look.
    init?(_ path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
    }
}
