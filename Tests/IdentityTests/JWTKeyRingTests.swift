import Identity
import Testing
import Time

@Suite struct JWTKeyRingTests {
    private let start = Timestamp(seconds: 1_000_000)

    @Test func theFirstKeySignsAtOnce() {
        var ring = JWTKeyRing()
        #expect(ring.tick(now: start) == [.make])
        ring.made("a", now: start)
        #expect(ring.tick(now: start) == [])
        #expect(ring.signing(now: start)?.id == "a")
    }

    @Test func aKeyIsPublishedBeforeItSignsAndAfterItHasSigned() {
        var ring = JWTKeyRing()
        ring.made("a", now: start)
        let day = Duration.seconds(86_400)
        let announced = start + day * 6
        #expect(ring.nextDeadline == announced)
        #expect(ring.tick(now: announced) == [.make])
        ring.made("b", now: announced)
        #expect(ring.keys.map(\.id) == ["a", "b"])
        #expect(ring.signing(now: announced)?.id == "a")
        let signs = announced + day
        #expect(ring.signing(now: signs)?.id == "b")
        #expect(ring.tick(now: signs) == [])
        let past = signs + (ring.policy.longestToken + ring.policy.skew)
        #expect(ring.nextDeadline == past)
        #expect(ring.tick(now: past) == [.forget("a")])
        #expect(ring.keys.map(\.id) == ["b"])
    }

    @Test func afterALongSleepTheOldKeySignsUntilTheNewOneIsKnown() {
        var ring = JWTKeyRing()
        ring.made("a", now: start)
        let late = start + .seconds(400 * 86_400)
        #expect(ring.tick(now: late) == [.make])
        ring.made("b", now: late)
        #expect(ring.signing(now: late)?.id == "a")
        #expect(ring.tick(now: late) == [])
    }
}
