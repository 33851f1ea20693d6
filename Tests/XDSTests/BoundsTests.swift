import Testing
import Time

@testable import XDS

private let now = Instant(nanoseconds: 0)

@Suite struct BoundsTests {
    @Test func ahundredThousandNodesThatNeverComeBackLeaveNothing() {
        var table = StatusTable(closedLimit: 1000)
        for number in 0..<100_000 {
            // Each with a subscription that no other has.
            let own = Subscription.interned(isWildcard: false, names: ["only-\(number)"])
            let id = StatusTable.StreamID(UInt64(number))
            let status = StreamStatus(
                node: "n\(own.names[0])", view: nil, isDelta: true, service: .aggregated, types: [])
            table.record(status, for: id)
            table.close(id, now: now)
        }
        #expect(table.connectedCount == 0)
        #expect(table.closedStreams.count == 1000)
        #expect(table.closedStreams.last?.id == StatusTable.StreamID(99_999))
        // Other tests run beside this one; what they use is small.
        #expect(Subscription.tableCount < 20_000)
    }

    @Test func namesAreBoundedByNumberAndByBytes() {
        var limits = StreamLimits()
        limits.nameBytesPerType = 1000
        var stream = DeltaStream(limits: limits)
        let names = (0..<20).map { "\($0)" + String(repeating: "x", count: 60) }
        let actions = stream.receive(
            DeltaDiscoveryRequest(
                node: Node(id: "n"), typeURL: ResourceType.endpoints.typeURL, resourceNamesSubscribe: names),
            now: now)
        guard case .fail(let error)? = actions.last else {
            Issue.record("\(actions)")
            return
        }
        #expect(error.code == .resourceExhausted)
        #expect(error.message.contains("the limit is 1000"))
        #expect(stream.core.states.isEmpty)
        #expect(stream.nextDeadline == nil)
    }

    @Test func aHundredThousandNamesAreServedAndOneMoreIsNot() throws {
        let names = (0..<100_000).map { "e-\($0)" }
        let snapshot = try Snapshot([Resource(.endpoints, name: "e-500", body: [1])])
        var stream = StateOfTheWorldStream()
        let url = ResourceType.endpoints.typeURL
        _ = stream.receive(DiscoveryRequest(node: Node(id: "n"), resourceNames: names, typeURL: url), now: now)
        let actions = stream.publish(snapshot, now: now)
        guard case .send(let response)? = actions.first else {
            Issue.record("\(actions)")
            return
        }
        #expect(response.resources.map(\.name) == ["e-500"])
        let more = stream.receive(
            DiscoveryRequest(resourceNames: names + ["x"], typeURL: url, responseNonce: response.nonce), now: now)
        guard case .fail(let error)? = more.first else {
            Issue.record("\(more.count)")
            return
        }
        #expect(error.code == .resourceExhausted)
    }

    @Test func theWordsOfANackAreCutBetweenCharacters() throws {
        var limits = StreamLimits()
        limits.errorDetailBytes = 10
        var stream = DeltaStream(limits: limits)
        let url = ResourceType.cluster.typeURL
        _ = stream.receive(DeltaDiscoveryRequest(node: Node(id: "n"), typeURL: url), now: now)
        let sent = stream.publish(try Snapshot([Resource(.cluster, name: "c", body: [1])]), now: now)
        guard case .send(let response)? = sent.first else {
            Issue.record("\(sent)")
            return
        }
        _ = stream.receive(
            DeltaDiscoveryRequest(
                typeURL: url, responseNonce: response.nonce, errorDetail: ErrorDetail(message: "123456789éé")),
            now: now)
        #expect(stream.status(in: nil).types[0].rejection?.detail.message == "1234567…")
    }

    @Test func aTextIsCutBetweenScalarsWithAMarkInsideTheLimit() {
        #expect("12345".cut(toBytes: 5) == "12345")
        #expect("123456".cut(toBytes: 5) == "12…")
        #expect("ééééé".cut(toBytes: 8) == "éé…")
        #expect("123456".cut(toBytes: 3) == "…")
        #expect("123456".cut(toBytes: 2) == "12")
        #expect("é1".cut(toBytes: 1) == "")
        // One character, longer than any limit.
        let long = "e" + String(repeating: "\u{301}", count: 5000)
        #expect(long.count == 1 && long.cut(toBytes: 4096).utf8.count == 4096)
    }

    @Test func aMemoForgetsTheOldestAndTheHeavy() {
        var memo = BoundedMemo<Int, String>(capacity: 3, weightLimit: 100)
        for key in 1...4 { memo.insert("\(key)", for: key, weight: 10) }
        #expect(memo[1] == nil)
        #expect(memo.count == 3)
        memo.insert("heavy", for: 5, weight: 95)
        #expect(memo.values == ["heavy"])
        memo.insert("too heavy", for: 6, weight: 1000)
        #expect(memo.values == ["too heavy"])
        memo.insert("light", for: 6, weight: 1)
        #expect(memo.weight == 1)
    }

    @Test func preparedResponsesForManyKindsOfSubscriptionsStayWithinTheMemo() throws {
        let snapshot = try Snapshot(
            (0..<200).map { Resource(.endpoints, name: "e\($0)", body: [UInt8](repeating: 1, count: 100)) })
        for number in 0..<200 {
            var stream = DeltaStream()
            _ = stream.receive(
                DeltaDiscoveryRequest(
                    node: Node(id: "n"), typeURL: ResourceType.endpoints.typeURL,
                    resourceNamesSubscribe: ["e\(number)"]), now: now)
            _ = stream.publish(snapshot, now: now)
        }
        #expect(snapshot[.endpoints].memos.withLock { $0.transitions.count } == 64)
    }
}
