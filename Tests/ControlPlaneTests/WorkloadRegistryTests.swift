import Discovery
import Identity
import Mesh
import Testing
import Time
import Translation

@testable import ControlPlane

/// Who is there, and for how long.
struct WorkloadRegistryTests {
    private let start = Instant(nanoseconds: 1_000_000_000_000)
    private let proxy = ProxyClass(namespace: "shop", labels: ["app": "reviews"], serviceAccount: "reviews")

    private func workload(_ name: String = "reviews-1", account: String = "reviews") -> Workload {
        Workload(
            id: Workload.ID(namespace: "shop", name: name), labels: ["app": "reviews"], serviceAccount: account,
            addresses: ["127.1.0.1"])
    }

    private func identity(_ account: String = "reviews") throws -> SPIFFEID {
        try SPIFFEID("spiffe://cluster.local/ns/shop/sa/\(account)")
    }

    @Test func aWorkloadStaysForItsGraceAndLeavesThen() throws {
        var registry = WorkloadRegistry(grace: .seconds(5))
        let (ads, second) = (StreamToken(), StreamToken())
        let entered = registry.enter(ads, proxy, workload(), identity: try identity())
        #expect(entered.changes.mesh.isEmpty && entered.changes.begun == [proxy] && entered.refusal == nil)
        #expect(registry.serve(ads).mesh.count == 1, "others hear of it once it has listeners")
        #expect(registry.serve(ads).isEmpty)
        #expect(registry.enter(second, proxy, workload(), identity: try identity()).changes.isEmpty)
        #expect(registry.leave(ads, now: start).isEmpty)
        #expect(registry.deadline == nil, "one stream is left")
        #expect(registry.leave(second, now: start).ended == [proxy])
        #expect(registry.deadline == start.advanced(by: .seconds(5)))
        #expect(registry.tick(now: start.advanced(by: .milliseconds(4999))).isEmpty)
        #expect(registry.tick(now: start.advanced(by: .seconds(5))).mesh.count == 1)
        #expect(registry.workloads.isEmpty)
    }

    @Test func whoComesBackInTimeNeverLeft() throws {
        var registry = WorkloadRegistry(grace: .seconds(5))
        let (before, after) = (StreamToken(), StreamToken())
        _ = registry.enter(before, proxy, workload(), identity: try identity())
        _ = registry.serve(before)
        _ = registry.leave(before, now: start)
        let back = registry.enter(after, proxy, workload(), identity: try identity())
        #expect(back.changes.mesh.isEmpty && back.changes.begun == [proxy])
        #expect(registry.tick(now: start.advanced(by: .seconds(60))).isEmpty)
    }

    @Test func whoGoesBeforeItServesIsForgottenAtOnce() throws {
        var registry = WorkloadRegistry()
        let stream = StreamToken()
        _ = registry.enter(stream, proxy, workload(), identity: try identity())
        #expect(registry.leave(stream, now: start).mesh.isEmpty)
        #expect(registry.workloads.isEmpty && registry.deadline == nil && registry.serve(stream).isEmpty)
    }

    @Test func nobodyIsAnEndpointWithoutAnIdentity() {
        var registry = WorkloadRegistry()
        let entered = registry.enter(StreamToken(), proxy, workload(), identity: nil)
        #expect(entered.changes.mesh.isEmpty && entered.changes.begun == [proxy])
        #expect(registry.workloads.isEmpty)
    }

    @Test func aNameBelongsToWhoHasItUntilItLeaves() throws {
        var registry = WorkloadRegistry(grace: .seconds(5))
        let (owner, thief) = (StreamToken(), StreamToken())
        _ = registry.enter(owner, proxy, workload(), identity: try identity())
        _ = registry.serve(owner)
        let refused = registry.enter(thief, proxy, workload(account: "thief"), identity: try identity("thief"))
        #expect(refused.refusal == .nameTaken(workload().id, by: try identity()))
        #expect(registry.workloads.map(\.identity) == [try identity()])
        _ = registry.leave(thief, now: start)
        #expect(registry.deadline == nil, "the owner is still there")
        _ = registry.leave(owner, now: start)
        _ = registry.tick(now: start.advanced(by: .seconds(5)))
        let heir = registry.enter(StreamToken(), proxy, workload(account: "thief"), identity: try identity("thief"))
        #expect(heir.refusal == nil)
    }

    /// Labels decide which Service a workload is an endpoint of: an identity of the namespace alone is not enough.
    @Test func whoSaysTheLabelsOfOthersIsNoEndpoint() throws {
        var registry = WorkloadRegistry()
        let refused = registry.enter(
            StreamToken(), proxy, workload(account: "thief"), identity: try identity("thief"), expected: ["reviews"])
        #expect(refused.refusal != nil && refused.changes.mesh.isEmpty)
    }

    @Test func whatWasThereBeforeARestartIsMissedByNobodyUntilTheDeadline() throws {
        var registry = WorkloadRegistry(grace: .seconds(5))
        let known = [WorkloadRegistry.Known(workload: workload(), identity: try identity())]
        #expect(registry.expect(known, until: start.advanced(by: .seconds(60))).mesh.count == 1)
        #expect(registry.tick(now: start.advanced(by: .seconds(59))).isEmpty)
        #expect(registry.tick(now: start.advanced(by: .seconds(60))).mesh.count == 1)
    }

    @Test func thereIsABound() throws {
        var registry = WorkloadRegistry(limit: 1)
        _ = registry.enter(StreamToken(), proxy, workload(), identity: try identity())
        let refused = registry.enter(StreamToken(), proxy, workload("reviews-2"), identity: try identity())
        #expect(refused.refusal == .tooMany(limit: 1))
    }
}
