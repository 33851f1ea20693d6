import Testing
import Time

@testable import XDS

@Suite("Client, bounds")
struct ClientBoundTests {
    @Test func moreResourcesThanTheLimitAreRejectedInWords() throws {
        try expectTranscript(
            .stateOfTheWorld, limits: .init(resources: 2),
            """
            subscribe CDS *
              open one
            opened
              send one CDS [] node
            respond CDS v1 n1: a=x b=x c=x
              using one
              update CDS a v1 x
              update CDS b v1 x
              rejected CDS c v1: the client keeps 2 resources at most (limits.resources)
              send one CDS [] nonce=n1 NACK: c: the client keeps 2 resources at most (limits.resources)
              nack CDS v1 n1
            respond CDS v2 n2: c=x d=x
              update CDS c v2 x
              update CDS d v2 x
              removed CDS a removedByServer
              removed CDS b removedByServer
              send one CDS [] version=v2 nonce=n2
              ack CDS v2 n2
            """)
    }

    @Test func moreBytesThanTheLimitAreRejectedInWords() throws {
        // a, its version 1 and its body a|xx make 6 bytes.
        try expectTranscript(
            .delta, limits: .init(bytes: 14),
            """
            subscribe CDS *
              open one
            opened
              send one CDS node
            respond CDS s n1: a@1=xx b@1=xx c@1=xx
              using one
              update CDS a 1 xx
              update CDS b 1 xx
              rejected CDS c 1: the client keeps 14 bytes at most (limits.bytes)
              send one CDS nonce=n1 NACK: c: the client keeps 14 bytes at most (limits.bytes)
              nack CDS s n1
            respond CDS s n2: a@2=xxxx
              update CDS a 2 xxxx
              send one CDS nonce=n2
              ack CDS s n2
            respond CDS s n3: b@2=xxx
              rejected CDS b 2: the client keeps 14 bytes at most (limits.bytes)
              send one CDS nonce=n3 NACK: b: the client keeps 14 bytes at most (limits.bytes)
              nack CDS s n3
            respond CDS s n4: -a c@1=xx
              update CDS c 1 xx
              removed CDS a removedByServer
              send one CDS nonce=n4
              ack CDS s n4
            """)
    }

    @Test func aServerThatSendsWithoutReadingLosesTheStream() throws {
        try expectTranscript(
            .delta, limits: .init(waitingReplies: 2),
            """
            subscribe CDS *
              open one
            opened
              send one CDS node
            paused
            respond CDS s n1: a@1=x
              using one
              update CDS a 1 x
            respond CDS s n2: a@2=x
              update CDS a 2 x
            respond CDS s n3: a@3=x
              update CDS a 3 x
              close one
              ended one: the server sends, but does not read: 3 replies wait (limits.waitingReplies)
            wait 1
              at 1 open one
            opened
              send one CDS has(a@3) node
            """)
    }

    @Test func badNamesAreRefusedAndNothingIsDone() throws {
        var client = try makeClient(limits: .init(names: 3))
        let now = Instant(nanoseconds: 0)
        #expect(throws: DiscoveryClientError.emptyName(.cluster)) {
            try client.subscribe(.cluster, to: ["a", ""], now: now)
        }
        #expect(throws: DiscoveryClientError.nulInName(.cluster, name: "a\0b")) {
            try client.subscribe(.cluster, to: ["a\0b"], now: now)
        }
        #expect(throws: DiscoveryClientError.tooManyNames(limit: 3)) {
            try client.subscribe(.cluster, to: ["a", "b", "c", "d"], now: now)
        }
        #expect(client.statuses.isEmpty && client.nextDeadline == nil)
        #expect(try client.subscribe(.cluster, to: ["a", "b", "a"], now: now).count == 1)
        #expect(try client.subscribe(.endpoints, to: ["a"], now: now).isEmpty)
        #expect(throws: DiscoveryClientError.tooManyNames(limit: 3)) {
            try client.subscribe(.route, to: ["a"], now: now)
        }
        _ = client.unsubscribe(.endpoints, from: ["a", "stranger"], now: now)
        #expect(try client.subscribe(.route, to: ["a"], now: now).isEmpty)
        #expect(throws: DiscoveryClientError.noServers) {
            try DiscoveryClient(
                configuration: .init(node: Node(id: "node"), servers: []), seed: 1, validate: transcriptValidator)
        }
    }

    @Test func theWordsOfANackAreBounded() throws {
        var client = try makeClient()
        let now = Instant(nanoseconds: 0)
        let id = try open(&client, now: now)
        let long = String(repeating: "e\u{301}", count: 500)
        let resources = (0..<100).map { index in
            ReceivedResource(
                name: "\(index)\(long)", version: "1", typeURL: ResourceType.cluster.typeURL,
                body: Array("\(index)|bad\(long)".utf8))
        }
        let response = DeltaDiscoveryResponse(
            resources: resources, typeURL: ResourceType.cluster.typeURL, nonce: "n")
        let details = client.receive(response, on: id, now: now).compactMap { action in
            if case .sendDelta(let request, _) = action { request.errorDetail } else { nil }
        }
        #expect(details.count == 1)
        #expect(details[0].message.utf8.count < 6000)
        #expect(details[0].message.hasSuffix("; and 97 more"))
        #expect(client.statuses.allSatisfy { $0.failure!.detail.message.utf8.count < 1100 })
    }

    @Test func rejectedNamesOfAWildcardAreNotNotedWithoutEnd() throws {
        var client = try makeClient(limits: .init(resources: 10, names: 5))
        let now = Instant(nanoseconds: 0)
        let id = try open(&client, now: now)
        for round in 0..<100 {
            let bad = ReceivedResource(
                name: "r\(round)", version: "1", typeURL: ResourceType.cluster.typeURL, body: Array("r|bad".utf8))
            _ = client.receive(
                DeltaDiscoveryResponse(resources: [bad], typeURL: ResourceType.cluster.typeURL, nonce: "\(round)"),
                on: id, now: now)
        }
        #expect(client.statuses.count == 15)
    }

    @Test func heartbeatsDoNotPileUpDeadlines() throws {
        var client = try makeClient()
        var now = Instant(nanoseconds: 0)
        let id = try open(&client, now: now)
        let resources = (0..<50).map { index in
            ReceivedResource(
                name: "r\(index)", version: "1", timeToLive: .seconds(10), typeURL: ResourceType.cluster.typeURL,
                body: Array("r\(index)|x".utf8))
        }
        for round in 0..<500 {
            now = now.advanced(by: .seconds(1))
            _ = client.receive(
                DeltaDiscoveryResponse(resources: resources, typeURL: ResourceType.cluster.typeURL, nonce: "\(round)"),
                on: id, now: now)
            #expect(client.deadlines.count <= 200)
        }
        #expect(client.nextDeadline == now.advanced(by: .seconds(10)))
        let removals = client.tick(now: now.advanced(by: .seconds(10)))
        #expect(removals.count == 50 && client.keptResources == 0 && client.keptBytes == 0)
    }

    @Test(arguments: [DiscoveryClient.Variant.delta, .stateOfTheWorld])
    func manyResourcesAreHeldCountedAndLetGo(variant: DiscoveryClient.Variant) throws {
        // Enough to make anything quadratic show.
        let count = 20_000
        var client = try DiscoveryClient(
            configuration: .init(node: Node(id: "node"), variant: variant, servers: ["one"]), seed: 1,
            validate: { _, resource in .accepted(name: String(decoding: resource.body ?? [], as: UTF8.self)) })
        let (type, now) = (ResourceType.endpoints, Instant(nanoseconds: 0))
        let names = (0..<count).map { "name\($0)" }
        _ = try client.subscribe(type, to: names, now: now)
        let id = StreamID(server: 0, attempt: 1)
        _ = client.streamOpened(id, now: now)
        #expect(client.nextDeadline == now.advanced(by: .seconds(15)))
        let resources = names.map { name in
            ReceivedResource(
                name: variant == .delta ? name : "", version: variant == .delta ? "1" : "", typeURL: type.typeURL,
                body: Array(name.utf8))
        }
        let actions =
            switch variant {
            case .delta:
                client.receive(
                    DeltaDiscoveryResponse(resources: resources, typeURL: type.typeURL, nonce: "n"), on: id, now: now)
            case .stateOfTheWorld:
                client.receive(
                    DiscoveryResponse(versionInfo: "1", resources: resources, typeURL: type.typeURL, nonce: "n"),
                    on: id, now: now)
            }
        #expect(actions.count == count + 3)  // The updates, which server is in use, the request, the ACK.
        #expect(client.keptResources == count && client.nextDeadline == nil)
        #expect(client.unsubscribe(type, from: names, now: now).count == count + 1)
        #expect(client.keptResources == 0 && client.keptBytes == 0 && client.statuses.isEmpty)
    }

    @Test func deadlinesComeInOrder() {
        var queue = DeadlineQueue()
        var generator = SeededGenerator(seed: 3)
        let moments = (0..<500).map { _ in Int64.random(in: 0..<100, using: &generator) }
        for (index, moment) in moments.enumerated() {
            queue.insert(
                .init(deadline: Instant(nanoseconds: moment), kind: .absence, type: .cluster, name: "\(index)"))
        }
        queue.removeAll { $0.deadline.nanoseconds % 2 == 1 }
        var drained: [Int64] = []
        while queue.first != nil { drained.append(queue.removeFirst().deadline.nanoseconds) }
        #expect(drained == moments.filter { $0 % 2 == 0 }.sorted())
    }

    @Test(arguments: [
        ("plain?b=1&a=2", "plain?b=1&a=2"), ("xdstp://a/t/id", "xdstp://a/t/id"),
        ("xdstp://a/t/id?b=2&a=1", "xdstp://a/t/id?a=1&b=2"), ("xdstp://a/t/id?b=2&a=1#d,e", "xdstp://a/t/id?a=1&b=2"),
        ("xdstp:///t/id#d", "xdstp:///t/id"), ("xdstp://a/t/id?", "xdstp://a/t/id"),
        ("xdstp://a/t/id?aa=1&a=2&a-b=3", "xdstp://a/t/id?a=2&a-b=3&aa=1"),
    ])
    func xdstpNamesHaveOneForm(name: String, canonical: String) {
        #expect(canonicalResourceName(name) == canonical)
    }

    private func makeClient(limits: DiscoveryClient.Limits = .init()) throws -> DiscoveryClient {
        try DiscoveryClient(
            configuration: .init(node: Node(id: "node"), servers: ["one"], limits: limits), seed: 1,
            validate: transcriptValidator)
    }

    private func open(_ client: inout DiscoveryClient, now: Instant) throws -> StreamID {
        _ = try client.subscribe(.cluster, to: ["*"], now: now)
        let id = StreamID(server: 0, attempt: 1)
        #expect(client.streamOpened(id, now: now).count == 1)
        return id
    }
}
