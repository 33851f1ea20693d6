import Testing

@testable import DataPlane

struct WorkerCountersTests {
    @Test func namesThatNobodyHasAreForgotten() throws {
        let counters = WorkerCounters()
        // Connections of a listener that is gone go on.
        var held: HTTPCounters? = counters.http("held")
        held?.requests = 1
        counters.http("test").requests = 7
        _ = (counters.http("gone"), counters.tcp("gone"), counters.cluster("gone"), counters.listener("gone"))
        let configuration = ProxyConfiguration(listeners: [
            "http": try Resources.httpListener(
                routes: "- {match: {prefix: /}, direct_response: {status: 200}}")
        ])
        counters.forget(but: configuration)
        #expect(Set(counters.statistics.map(\.scope)) == [.http("held"), .http("test")])
        #expect(counters.http("test").requests == 7)
        held = nil
        counters.forget(but: configuration)
        #expect(Set(counters.statistics.map(\.scope)) == [.http("test")])
    }
}
