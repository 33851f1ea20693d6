import Testing
import Time

@testable import XDS

@Suite("Client, connections and servers")
struct ClientConnectionTests {
    @Test func attemptsBackOffAndAResponseResetsThem() throws {
        try expectTranscript(
            .delta,
            """
            subscribe CDS *
              open one
            closed: connection refused
              failed one: connection refused
              unreachable one: connection refused
            wait 1
              at 1 open one
            closed: connection refused
              failed one: connection refused
            next
              2.6
            wait 1.6
              at 2.6 open one
            closed: connection refused
              failed one: connection refused
            next
              5.16
            wait 2.56
              at 5.16 open one
            opened
              send one CDS node
            respond CDS s n1: a@1=x
              using one
              update CDS a 1 x
              send one CDS nonce=n1
              ack CDS s n1
            closed: bye
              ended one: bye
            next
              6.16
            """)
    }

    @Test func aConnectionThatDoesNotComeAboutIsGivenUp() throws {
        try expectTranscript(
            .delta,
            """
            subscribe CDS *
              open one
            wait 41
              at 20 close one
              at 20 failed one: not connected within 20 s
              at 20 open one
              at 20 unreachable one: not connected within 20 s
              at 40 close one
              at 40 failed one: not connected within 20 s
              at 40 open one
            """)
    }

    @Test func waitsGrowToTheirLimitAndJitterStaysWithinItsShare() {
        let backoff = Backoff()
        #expect(
            (1...4).map { backoff.wait(after: $0) } == [
                .seconds(1), .milliseconds(1600), .milliseconds(2560), .milliseconds(4096),
            ])
        #expect(backoff.wait(after: 11) == .nanoseconds(109_951_162_777))
        #expect(backoff.wait(after: 12) == .seconds(120))
        #expect(backoff.wait(after: .max) == .seconds(120))
        var generator = SeededGenerator(seed: 7)
        let waits = (0..<1000).map { _ in backoff.wait(after: 12, using: &generator) }
        #expect(waits.allSatisfy { .seconds(96) <= $0 && $0 <= .seconds(144) })
        #expect(waits.min()! < .seconds(97) && waits.max()! > .seconds(143))
        var again = SeededGenerator(seed: 7)
        #expect(waits == (0..<1000).map { _ in backoff.wait(after: 12, using: &again) })
    }

    @Test func aStreamThatWasSilentForLongIsNoFailure() throws {
        try expectTranscript(
            .delta,
            """
            subscribe CDS *
              open one
            opened
              send one CDS node
            wait 120
            closed: max connection age
              ended one: max connection age
              open one
            """)
    }

    @Test func aFallBackServerIsAskedOnlyForWhatIsMissing() throws {
        try expectTranscript(
            .delta, servers: ["one", "two"],
            """
            subscribe CDS *
              open one
            opened
              send one CDS node
            respond CDS s n1: a@1=x
              using one
              update CDS a 1 x
              send one CDS nonce=n1
              ack CDS s n1
            closed: bye
              ended one: bye
            wait 1
              at 1 open one
            closed: connection refused
              failed one: connection refused
              unreachable one: connection refused
            subscribe EDS e
              open two
            opened two
              send two CDS has(a@) node
              send two EDS +e
            respond two EDS s m1: e@1=y
              using two
              update EDS e 1 y
              send two EDS nonce=m1
              ack EDS s m1
            respond two CDS s m2: a@1=x b@1=x
              update CDS b 1 x
              send two CDS nonce=m2
              ack CDS s m2
            wait 1
              at 2 open one
            opened one
              send one CDS has(a@ b@) node
              send one EDS +e has(e@)
            respond one CDS s n1: a@1=x -b
              close two
              using one
              removed CDS b removedByServer
              send one CDS nonce=n1
              ack CDS s n1
            status CDS
              a ACKED 1 x from one at 2
            next
              never
            """)
    }

    @Test func eachServerOfTheListIsTriedAndOnlyThenAllCountAsUnreachable() throws {
        try expectTranscript(
            .stateOfTheWorld, servers: ["one", "two", "three"],
            """
            subscribe LDS a
              open one
            closed one: refused
              failed one: refused
              open two
            opened two
              send two LDS [a] node
            closed two: reset
              failed two: reset
              open three
            closed three: no route
              failed three: no route
              unreachable one: refused; two: reset; three: no route
            wait 1
              at 1 open one
              at 1 open two
              at 1 open three
            opened three
              send three LDS [a] node
            respond three LDS v1 n1: a=x
              using three
              update LDS a v1 x
              send three LDS [a] version=v1 nonce=n1
              ack LDS v1 n1
            opened two
              send two LDS [a] node
            respond two LDS v1 n1: a=y
              close three
              using two
              update LDS a v1 y
              send two LDS [a] version=v1 nonce=n1
              ack LDS v1 n1
            closed one: refused
              failed one: refused
            next
              2.6
            """)
    }

    @Test func namesThatWaitedForTheFallBackServerWaitForTheFirstOneAgain() throws {
        try expectTranscript(
            .stateOfTheWorld, servers: ["one", "two"],
            """
            subscribe EDS a b
              open one
            closed one: refused
              failed one: refused
              open two
            opened two
              send two EDS [a b] node
            wait 1
              at 1 open one
            opened one
              send one EDS [a b] node
            wait 2
            respond one EDS v1 n1: a=x
              close two
              using one
              update EDS a v1 x
              send one EDS [a b] version=v1 nonce=n1
              ack EDS v1 n1
            wait 20
              at 18 absent EDS b
            """)
    }

    @Test func aServerThatIsConnectedIsGivenTimeToAnswer() throws {
        try expectTranscript(
            .delta, servers: ["one", "two"],
            """
            subscribe CDS *
              open one
            opened
              send one CDS node
            respond CDS s n1: a@1=x
              using one
              update CDS a 1 x
              send one CDS nonce=n1
              ack CDS s n1
            wait 1
            closed: bye
              ended one: bye
              open one
            closed: refused
              failed one: refused
              unreachable one: refused
            wait 1
              at 2 open one
            opened
              send one CDS has(a@1) node
            subscribe EDS e
              send one EDS +e
            closed: reset
              failed one: reset
              open two
            """)
    }

    @Test func theLastSubscriptionClosesTheStreams() throws {
        try expectTranscript(
            .delta, servers: ["one", "two"],
            """
            subscribe CDS *
              open one
            subscribe EDS a
            closed: refused
              failed one: refused
              open two
            opened two
              send two CDS node
              send two EDS +a
            unsubscribe CDS *
              send two CDS -*
            unsubscribe EDS a
              close two
            next
              never
            closed two: late
            opened two
            respond two EDS s n: a@1=x
            subscribe EDS a
              open one
            """)
    }

    @Test func whatComesFromAnOldStreamIsIgnored() throws {
        var client = try DiscoveryClient(
            configuration: .init(node: Node(id: "node"), servers: ["one"]), seed: 1, validate: transcriptValidator)
        let start = Instant(nanoseconds: 0)
        let later = start.advanced(by: .seconds(5))
        let first = StreamID(server: 0, attempt: 1)
        #expect(try client.subscribe(.cluster, to: ["*"], now: start) == [.openStream(first)])
        _ = client.streamOpened(first, now: start)
        _ = client.streamClosed(first, reason: "reset", now: start)
        let second = StreamID(server: 0, attempt: 2)
        #expect(client.tick(now: later) == [.openStream(second)])
        let response = DeltaDiscoveryResponse(typeURL: ResourceType.cluster.typeURL, nonce: "old")
        #expect(client.receive(response, on: first, now: later) == [])
        #expect(client.streamClosed(first, reason: "again", now: later) == [])
        #expect(client.streamOpened(first, now: later) == [])
        #expect(client.streamOpened(second, now: later).count == 1)
        #expect(client.receive(response, on: second, now: later).count == 3)
    }
}
