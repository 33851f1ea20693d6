import Testing
import Time

@testable import DataPlane

struct ResourceStoreTests {
    @Test func aClusterServesOnceItsEndpointsAndSecretsAreThere() throws {
        try expectTranscript(
            """
            update CDS web v1 eds=web secret=default
                subscribe SDS default
                subscribe EDS web
            update EDS web e1
            update SDS default s1
                serve SDS default=s1, CDS web=v1, EDS web=e1
            update EDS web e2
                serve EDS web=e2
            """)
    }

    @Test func aListenerServesOnceItsRoutesAreThereAndThoseOnceTheirClustersAreWarm() throws {
        try expectTranscript(
            """
            update CDS web v1 eds=web
                subscribe EDS web
            update LDS in v1 route=in
                subscribe RDS in
            update RDS in r1 cluster=web
            update EDS web e1
                serve CDS web=v1, EDS web=e1, LDS in=v1, RDS in=r1
            """)
    }

    @Test func whatServesGoesOnWhileItsReplacementWarms() throws {
        try expectTranscript(
            """
            update CDS web v1
                serve CDS web=v1
            update CDS web v2 eds=web
                subscribe EDS web
            update EDS web e1
                serve CDS web=v2, EDS web=e1
            """)
    }

    @Test func routesWaitForClustersThatAreOnTheirWayButNotForUnknownOnes() throws {
        try expectTranscript(
            """
            update CDS v1 c1 + update LDS in l1 route=in + update RDS in r1 cluster=v1
                subscribe RDS in
                serve CDS v1=c1, LDS in=l1, RDS in=r1
            update CDS v2 c1 eds=v2
                subscribe EDS v2
            update RDS in r2 cluster=v2
            update EDS v2 e1
                serve CDS v2=c1, EDS v2=e1, RDS in=r2
            update RDS in r3 cluster=nobody
                serve RDS in=r3
            """)
    }

    @Test func aClusterGoesAfterTheRoutesThatReplaceItsUse() throws {
        try expectTranscript(
            """
            update CDS old c1 + update LDS in l1 route=in + update RDS in r1 cluster=old
                subscribe RDS in
                serve CDS old=c1, LDS in=l1, RDS in=r1
            update CDS new c1 eds=new
                subscribe EDS new
            update RDS in r2 cluster=new + remove CDS old
            update EDS new e1
                serve CDS new=c1, -CDS old, EDS new=e1, RDS in=r2
            remove CDS new
                unsubscribe EDS new
                serve -CDS new, -EDS new
            """)
    }

    @Test func timeEndsEveryWait() throws {
        try expectTranscript(
            """
            update CDS web v1 eds=web secret=default
                subscribe SDS default
                subscribe EDS web
            update LDS in v1 route=in
                subscribe RDS in
            after 14s
            update CDS web v2 eds=web
                unsubscribe SDS default
            after 1s
                CDS web serves without endpoints web
                LDS in serves without routes in
                serve CDS web=v2, LDS in=v1
            update EDS web e1
                serve EDS web=e1
            update RDS in r1 cluster=web
                serve RDS in=r1
            """)
    }

    @Test func whatTheControlPlaneSaysIsNotThereIsNotWaitedFor() throws {
        try expectTranscript(
            """
            update CDS web v1 eds=web
                subscribe EDS web
            absent EDS web
                serve CDS web=v1
            """)
    }

    @Test func removalsOfEndpointsAndRoutesAloneBreakNothing() throws {
        try expectTranscript(
            """
            update CDS web v1 eds=web + update EDS web e1 + update LDS in l1 route=in + update RDS in r1 cluster=web
                subscribe EDS web
                subscribe RDS in
                serve CDS web=v1, EDS web=e1, LDS in=l1, RDS in=r1
            remove EDS web
            remove RDS in
            remove LDS in
                unsubscribe RDS in
                serve -LDS in, -RDS in
            remove CDS web
                unsubscribe EDS web
                serve -CDS web, -EDS web
            """)
    }

    @Test func ownSecretsAreNotAskedFor() throws {
        try expectTranscript(
            own: ["default", "ROOTCA"],
            """
            update CDS web v1 secret=default secret=ROOTCA
            update SDS ROOTCA a1
            update SDS default s1
                serve SDS ROOTCA=a1, SDS default=s1, CDS web=v1
            update LDS in l1 secret=default secret=other
                subscribe SDS other
            update SDS other o1
                serve SDS other=o1, LDS in=l1
            remove LDS in
                unsubscribe SDS other
                serve -SDS other, -LDS in
            update SDS default s2
                serve SDS default=s2
            """)
    }

    @Test func theCacheServesUntilTheControlPlaneSaysOtherwise() throws {
        try expectTranscript(
            """
            cached CDS old c1 + cached CDS web c1 eds=web + cached EDS web e1 + cached LDS in l1 cluster=web
                subscribe EDS web
                serve CDS old=c1, CDS web=c1, EDS web=e1, LDS in=l1
            update CDS web c2 eds=web + answered CDS
                serve CDS web=c2
            answered LDS
            after 5s
                serve -CDS old, -LDS in
            """)
    }

    @Test func anUpdateThatComesTogetherWithItsNeedsServesAtOnce() throws {
        try expectTranscript(
            """
            update LDS tcp l1 cluster=db
                serve LDS tcp=l1
            update CDS db c1 eds=db + update EDS db e1
                subscribe EDS db
                serve CDS db=c1, EDS db=e1
            """)
    }

    @Test func theCacheOnlyFillsWhatNobodyHasSpokenOf() {
        var store = ResourceStore<String>()
        let now = Instant(nanoseconds: 0)
        #expect(store.lacks(.cluster, "web"))
        store.update(.cluster, name: "web", version: "2", references: ResourceReferences(), value: "2", now: now)
        #expect(!store.lacks(.cluster, "web") && store.lacks(.cluster, "old"))
        store.noteAnswer(.cluster, now: now)
        #expect(!store.lacks(.cluster, "old") && store.lacks(.listener, "in"))
    }

    @Test func itWaitsAsLongAsTheResourceSays() throws {
        try expectTranscript(
            """
            update CDS web v1 eds=web wait=2s
                subscribe EDS web
            after 1s
            after 1s
                CDS web serves without endpoints web
                serve CDS web=v1
            """)
        // No timeout: as long as it takes. Clusters hold up nothing for longer than usual.
        try expectTranscript(
            """
            update LDS in v1 route=in wait=0s + update CDS web v1 eds=web wait=0s
                subscribe EDS web
                subscribe RDS in
            after 100s
            update RDS in r1 cluster=web
            after 15s
                RDS in serves without cluster web
                serve LDS in=v1, RDS in=r1
            """)
    }
}
