import Discovery
import Foundation
import Reactor
import Testing

@testable import Agent

struct CallerTests {
    @Test(arguments: [
        "", "uid", "uid:", "uid:-1", "uid:4294967296", "gid:x", "user:no-such-user-here", "path:relative", "name:x",
        "uid:0,", ",uid:0", "uid:0,,gid:0",
    ])
    func aSelectorThatSaysNothingClearIsRefused(text: String) {
        #expect(throws: AgentError.self) { try CallerSelector(parsing: text) }
    }

    private func origin(_ user: UInt32, _ group: UInt32, startTime: UInt64? = nil) -> CallOrigin {
        CallOrigin(
            transport: .unix, peer: "unix", isLoopback: true, userID: user,
            credentials: PeerCredentials(process: getpid(), user: user, group: group, startTime: startTime))
    }

    private func isAdmitted(_ origin: CallOrigin, _ selectors: String...) throws -> Bool {
        CallerPolicy(selectors: try selectors.map { try CallerSelector(parsing: $0) }).refusal(of: origin) == nil
    }

    @Test func oneSelectorMustMatchWithAllItsConditions() throws {
        #expect(try isAdmitted(origin(5, 6), "uid:5"))
        #expect(try isAdmitted(origin(5, 6), "uid:9", "gid:6"))
        #expect(try isAdmitted(origin(5, 6), "uid:5,gid:6"))
        #expect(try !isAdmitted(origin(5, 6), "uid:5,gid:7"))
        #expect(try !isAdmitted(origin(5, 6), "uid:6", "gid:5"))
        #expect(try isAdmitted(origin(0, 6), "user:root"))
        #expect(try !isAdmitted(origin(5, 6)))
    }

    /// This very process, once as it connected, and once as a later one of the same number would look.
    @Test func aProgramCountsOnlyForTheProcessThatConnected() throws {
        let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let start = try #require(PeerCredentials.startTime(of: getpid()))
        #expect(try isAdmitted(origin(1, 1, startTime: start), "path:\(program)"))
        #expect(try !isAdmitted(origin(1, 1, startTime: start + 1), "path:\(program)"))
        #expect(try !isAdmitted(origin(1, 1, startTime: nil), "path:\(program)"))
        #expect(try !isAdmitted(origin(1, 1, startTime: start), "path:/bin/sh"))
        #expect(try !isAdmitted(origin(1, 1, startTime: start), "path:/no/such/file"))
    }

    @Test func onlyProcessesOfThisMachineAreAsked() throws {
        let remote = CallOrigin(transport: .mtls, peer: "10.0.0.1:5", userID: nil)
        #expect(try !isAdmitted(remote, "uid:0"))
        #expect(try !isAdmitted(CallOrigin(transport: .unix, peer: "unix"), "uid:0"))
    }
}
