import Testing
import XDS

@testable import Discovery

private func acknowledgement(_ nonce: String) -> [UInt8] {
    Array(frame(DeltaDiscoveryRequest(typeURL: ResourceType.cluster.typeURL, responseNonce: nonce)).dropFirst(5))
}

@Test func theSameAnswerFromManyStreamsIsDecodedOnce() throws {
    let decoded = DecodedRequests()
    let bytes = acknowledgement("7")
    for _ in 0..<3 {
        let request = try bytes.withUnsafeBytes { try decoded.delta($0) }
        #expect(request.responseNonce == "7")
    }
    #expect(decoded.counts == (1, 0))
    let other = try acknowledgement("8").withUnsafeBytes { try decoded.delta($0) }
    #expect(other.responseNonce == "8")
    #expect(decoded.counts == (2, 0))
}

@Test func aRequestWithANodeIsNotKept() throws {
    let decoded = DecodedRequests()
    let request = DeltaDiscoveryRequest(node: Node(id: "proxy-1"), typeURL: ResourceType.cluster.typeURL)
    let bytes = Array(frame(request).dropFirst(5))
    let read = try bytes.withUnsafeBytes { try decoded.delta($0) }
    #expect(read.node?.id == "proxy-1")
    #expect(decoded.counts == (0, 0))
}

@Test func fewRequestsAreKeptAndNoneThatIsLong() {
    var memo = RequestMemo<Int>()
    for number in 0..<100 {
        withUnsafeBytes(of: number) { memo.keep($0, number) }
    }
    #expect(memo.count == RequestMemo<Int>.capacity)
    #expect(withUnsafeBytes(of: 99) { memo[$0] } == 99)
    #expect(withUnsafeBytes(of: 0) { memo[$0] } == nil)
    let long = [UInt8](repeating: 1, count: RequestMemo<Int>.longestMessage + 1)
    long.withUnsafeBytes { memo.keep($0, 1) }
    #expect(long.withUnsafeBytes { memo[$0] } == nil)
}
