import Discovery
import GRPC
import Glibc
import Reactor

/// The process that calls, as far as the kernel says who it is.
struct CallerProcess: Hashable, Sendable {
    var process: Int32
    var user: UInt32
    var group: UInt32
    /// The file of its program; nil where nobody asked or we may not look.
    var program: FileIdentity?
    /// For logs.
    var programPath: String?

    var description: String {
        "uid \(user), gid \(group), pid \(process)" + (programPath.map { ", \($0)" } ?? "")
    }
}

/// Decides which callers of the Workload API are let in: by the kernel's word on the socket, never by theirs.
///
/// The user and the group are those that the process had when it connected. The program is looked up when the call
/// comes, in /proc, and only if the process is still the one that connected: numbers of processes are used again. A
/// process can hand its connection to another one; who does not trust the programs of a user with each other must
/// not tell them apart by `path` alone.
struct CallerPolicy: Sendable {
    let selectors: [CallerSelector]

    /// - Returns: nil if the caller is admitted, or the status to end the call with.
    func refusal(of origin: CallOrigin) -> (status: GRPCStatus, caller: String)? {
        guard origin.transport == .unix, let credentials = origin.credentials else {
            return (GRPCStatus(.permissionDenied, "the Workload API is for processes of this machine"), origin.peer)
        }
        var caller = CallerProcess(
            process: credentials.process, user: credentials.user, group: credentials.group)
        if selectors.contains(where: \.asksForProgram) {
            (caller.program, caller.programPath) = Self.program(of: credentials)
        }
        if selectors.contains(where: { $0.matches(caller) }) { return nil }
        return (
            GRPCStatus(
                .permissionDenied,
                "no identity is meant for this process (uid \(caller.user), gid \(caller.group)): no --selector of "
                    + "`martinet agent` matches it"), caller.description
        )
    }

    private static func program(of credentials: PeerCredentials) -> (FileIdentity?, String?) {
        func isStillThere() -> Bool {
            credentials.startTime != nil && PeerCredentials.startTime(of: credentials.process) == credentials.startTime
        }
        guard isStillThere() else { return (nil, nil) }
        let link = "/proc/\(credentials.process)/exe"
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        let count = readlink(link, &buffer, buffer.count - 1)
        let path = count > 0 ? String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self) : nil
        let program = FileIdentity(link)
        // Again: what was read between two looks at one process is of that process.
        return isStillThere() ? (program, path) : (nil, nil)
    }
}
