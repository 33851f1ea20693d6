import Testing
import Time

@testable import XDS

private let now = Instant(nanoseconds: 0)

private func cluster(_ number: Int, _ body: String) -> Resource {
    Resource(.cluster, name: "cluster-\(number)", body: Array(body.utf8))
}

private func responses(_ actions: [StreamAction]) -> [PreparedResponse] {
    actions.compactMap { if case .send(let response) = $0 { response } else { nil } }
}

/// A stream of a node that wants all clusters, and has acknowledged them.
private func syncedDelta(_ number: Int, _ snapshot: Snapshot) -> DeltaStream {
    var stream = DeltaStream()
    let request = DeltaDiscoveryRequest(node: Node(id: "n\(number)"), typeURL: ResourceType.cluster.typeURL)
    _ = stream.receive(request, now: now)
    let sent = responses(stream.publish(snapshot, now: now))
    _ = stream.receive(
        DeltaDiscoveryRequest(typeURL: ResourceType.cluster.typeURL, responseNonce: sent[0].nonce), now: now)
    return stream
}

@Suite struct FanOutTests {
    /// What a view shows is not with a client because nothing is under way to it.
    @Test func whoeverHasNotAnsweredToAllThatItsViewShowsIsBehind() throws {
        let first = try Snapshot([cluster(1, "one")])
        let second = try Snapshot([cluster(1, "two")])
        let third = try Snapshot([cluster(1, "three")])
        var stream = syncedDelta(1, first)
        func isBehind(_ shown: Snapshot) -> Bool { stream.status(in: nil, showing: shown).types[0].isBehind }
        #expect(!isBehind(first) && isBehind(second))
        #expect(stream.status(in: nil, showing: second).types[0].pendingSince == nil)
        let sent = responses(stream.publish(second, now: now))
        #expect(sent.count == 1 && isBehind(second))
        // It does not read: what comes later waits for its answer.
        #expect(responses(stream.publish(third, now: now)).isEmpty)
        func answer(_ response: PreparedResponse) -> [PreparedResponse] {
            responses(
                stream.receive(
                    DeltaDiscoveryRequest(typeURL: ResourceType.cluster.typeURL, responseNonce: response.nonce),
                    now: now))
        }
        let last = answer(sent[0])
        #expect(last.count == 1 && isBehind(third))
        #expect(answer(last[0]).isEmpty && !isBehind(third))
    }

    @Test func oneChangeForTenThousandDeltaStreamsIsComputedAndEncodedOnce() throws {
        let cache = SnapshotCache()
        let first = try cache.publish((0..<5000).map { cluster($0, "one") })
        var streams = (0..<10_000).map { syncedDelta($0, first) }
        // All got the one prepared response.
        #expect(first[.cluster].memos.withLock { $0.statistics.transitions } == 1)

        let second = try cache.update(setting: [cluster(7, "two")])
        var encodings = 0
        var bytes = 0
        var nonces: Set<String> = []
        for index in streams.indices {
            let sent = responses(streams[index].publish(second, now: now))
            #expect(sent.count == 1)
            for response in sent {
                nonces.insert(response.nonce)
                bytes +=
                    response.encoded { response in
                        encodings += 1
                        return response.resources.flatMap(\.body)
                    }.count
            }
        }
        #expect(nonces.count == 1)
        #expect(encodings == 1)
        #expect(bytes == 10_000 * "two".utf8.count)
        let statistics = second[.cluster].memos.withLock { $0.statistics }
        #expect(statistics.transitions == 1)
        #expect(statistics.differences == 1)
        #expect(statistics.fullComparisons == 0)
        #expect(statistics.unions == 0)
        // What is left of the first set is its content: no prepared response, no bytes.
        #expect(first[.cluster].memos.withLock { $0.transitions.count } == 0)
    }

    @Test func oneChangeForTenThousandStateOfTheWorldStreamsIsEncodedOnce() throws {
        let names = (0..<100).map { "e-\($0)" }
        let cache = SnapshotCache()
        let first = try cache.publish(names.map { Resource(.endpoints, name: $0, body: [1]) })
        let url = ResourceType.endpoints.typeURL
        var streams: [StateOfTheWorldStream] = []
        for number in 0..<10_000 {
            var stream = StateOfTheWorldStream()
            let request = DiscoveryRequest(node: Node(id: "n\(number)"), resourceNames: names, typeURL: url)
            _ = stream.receive(request, now: now)
            let nonce = responses(stream.publish(first, now: now))[0].nonce
            _ = stream.receive(DiscoveryRequest(resourceNames: names, typeURL: url, responseNonce: nonce), now: now)
            streams.append(stream)
        }
        let second = try cache.update(setting: [Resource(.endpoints, name: "e-3", body: [2, 3])])
        var encodings = 0
        var bytes = 0
        for index in streams.indices {
            for response in responses(streams[index].publish(second, now: now)) {
                bytes +=
                    response.encoded { response in
                        encodings += 1
                        return response.resources.flatMap(\.body)
                    }.count
            }
        }
        #expect(encodings == 1)
        #expect(bytes == 10_000 * 2)
        #expect(second[.endpoints].memos.withLock { $0.statistics.transitions } == 1)
    }

    @Test func aStreamWithFourTypesTakesAboutAKilobyte() throws {
        let cache = SnapshotCache()
        let snapshot = try cache.publish([cluster(1, "one")])
        var stream = syncedDelta(1, snapshot)
        for type in [ResourceType.endpoints, .listener, .route] {
            _ = stream.receive(
                DeltaDiscoveryRequest(typeURL: type.typeURL, resourceNamesSubscribe: ["x"]), now: now)
        }
        // The states' array, with its header and the room it has grown to; the stream itself; nothing else is its own.
        let states = 32 + stream.core.states.capacity * MemoryLayout<TypeState>.stride
        #expect(stream.core.states.count == 4)
        #expect(MemoryLayout<DeltaStream>.size + states <= 1280)
        #expect(stream.core.states.allSatisfy { $0.owed.names.isEmpty && $0.claim == nil && $0.rejection == nil })
    }

    @Test func equalSubscriptionsAreOneObject() throws {
        let snapshot = try Snapshot([cluster(1, "one")])
        let streams = (0..<100).map { syncedDelta($0, snapshot) }
        let subscriptions = Set(streams.map { ObjectIdentifier($0.core.states[0].subscription!) })
        #expect(subscriptions.count == 1)
    }

    @Test func aThousandClientsThatNeverReadHoldNoCopiesOfResponses() throws {
        let cache = SnapshotCache()
        var snapshot = try cache.publish((0..<50).map { cluster($0, "0") })
        var stuck: [DeltaStream] = []
        var sets: [ResourceSet] = [snapshot[.cluster]]
        for round in 1...1000 {
            // Each is stuck at another generation, with a response that it never answers.
            var stream = DeltaStream()
            _ = stream.receive(
                DeltaDiscoveryRequest(node: Node(id: "slow"), typeURL: ResourceType.cluster.typeURL), now: now)
            _ = stream.publish(snapshot, now: now)
            stuck.append(stream)
            snapshot = try cache.update(setting: [cluster(round % 50, "\(round)")])
            sets.append(snapshot[.cluster])
            for index in stuck.indices.suffix(3) {
                // Nothing queues: the slot is taken.
                #expect(stuck[index].publish(snapshot, now: now).isEmpty)
            }
        }
        let kept = sets.dropLast().map { set in set.memos.withLock { $0.transitions.count + $0.unions.count } }
        #expect(kept.allSatisfy { $0 == 0 })
        #expect(sets.allSatisfy { $0.history.count <= ResourceSet.historyLimit })
    }
}
