import Testing

@Suite("Client, state of the world")
struct ClientStateOfTheWorldTests {
    @Test func firstRequestsComeInOrderAndOnlyTheFirstNamesTheNode() throws {
        try expectTranscript(
            .stateOfTheWorld,
            """
            subscribe RDS routes
              open one
            subscribe LDS * outbound
            subscribe EDS b a
            subscribe CDS *
            opened
              send one CDS [] node
              send one EDS [a b]
              send one LDS [* outbound]
              send one RDS [routes]
            """)
    }

    @Test func absenceFromAFullSetRemoves() throws {
        try expectTranscript(
            .stateOfTheWorld,
            """
            subscribe CDS *
              open one
            opened
              send one CDS [] node
            respond CDS v1 n1: web=x api=y
              using one
              update CDS web v1 x
              update CDS api v1 y
              send one CDS [] version=v1 nonce=n1
              ack CDS v1 n1
            respond CDS v2 n2: web=x new=z
              update CDS new v2 z
              removed CDS api removedByServer
              send one CDS [] version=v2 nonce=n2
              ack CDS v2 n2
            respond CDS v3 n3:
              removed CDS new removedByServer
              removed CDS web removedByServer
              send one CDS [] version=v3 nonce=n3
              ack CDS v3 n3
            """)
    }

    @Test func absenceOfEndpointsChangesNothing() throws {
        try expectTranscript(
            .stateOfTheWorld,
            """
            subscribe EDS a b
              open one
            opened
              send one EDS [a b] node
            respond EDS v1 n1: a=x b=y
              using one
              update EDS a v1 x
              update EDS b v1 y
              send one EDS [a b] version=v1 nonce=n1
              ack EDS v1 n1
            respond EDS v2 n2: a=z
              update EDS a v2 z
              send one EDS [a b] version=v2 nonce=n2
              ack EDS v2 n2
            respond EDS v3 n3:
              send one EDS [a b] version=v3 nonce=n3
              ack EDS v3 n3
            status EDS
              a ACKED v2 z from one at 0
              b ACKED v1 y from one at 0
            """)
    }

    @Test func aRejectedVersionIsNotClaimedAndItsValidPartsAreUsed() throws {
        try expectTranscript(
            .stateOfTheWorld,
            """
            subscribe CDS *
              open one
            opened
              send one CDS [] node
            respond CDS v1 n1: web=x api=y
              using one
              update CDS web v1 x
              update CDS api v1 y
              send one CDS [] version=v1 nonce=n1
              ack CDS v1 n1
            respond CDS v2 n2: web=bad new=z
              update CDS new v2 z
              removed CDS api removedByServer
              rejected CDS web v2: it is bad
              send one CDS [] version=v1 nonce=n2 NACK: web: it is bad
              nack CDS v2 n2
            status CDS
              new ACKED v2 z from one at 0
              web NACKED v1 x from one at 0 failed v2 at 0: it is bad
            wait 2
            closed: bye
              ended one: bye
              open one
            opened
              send one CDS [] node
            """)
    }

    @Test func nothingIsRemovedWhileAResourceCannotBeIdentified() throws {
        try expectTranscript(
            .stateOfTheWorld,
            """
            subscribe CDS *
              open one
            opened
              send one CDS [] node
            respond CDS v1 n1: web=x api=y
              using one
              update CDS web v1 x
              update CDS api v1 y
              send one CDS [] version=v1 nonce=n1
              ack CDS v1 n1
            respond CDS v2 n2: web=z ?
              update CDS web v2 z
              rejected CDS ? v2: undecodable
              send one CDS [] version=v1 nonce=n2 NACK: a resource without a name: undecodable
              nack CDS v2 n2
            status CDS
              api ACKED v1 y from one at 0
              web ACKED v2 z from one at 0
            """)
    }

    @Test func aNewNameIsAskedForWithTheLastVersionAndNonce() throws {
        try expectTranscript(
            .stateOfTheWorld,
            """
            subscribe EDS a
              open one
            opened
              send one EDS [a] node
            subscribe EDS b
              send one EDS [a b]
            respond EDS v1 n1: a=x
              using one
              update EDS a v1 x
              send one EDS [a b] version=v1 nonce=n1
              ack EDS v1 n1
            subscribe EDS c
              send one EDS [a b c] version=v1 nonce=n1
            unsubscribe EDS a
              removed EDS a unsubscribed
              send one EDS [b c] version=v1 nonce=n1
            """)
    }

    @Test func leavingTheLegacyWildcardNeedsAName() throws {
        try expectTranscript(
            .stateOfTheWorld,
            """
            subscribe CDS *
              open one
            subscribe EDS a
            opened
              send one CDS [] node
              send one EDS [a]
            respond CDS v1 n1: web=x
              using one
              update CDS web v1 x
              send one CDS [] version=v1 nonce=n1
              ack CDS v1 n1
            unsubscribe CDS *
              removed CDS web unsubscribed
              send one CDS [''] version=v1 nonce=n1
            respond CDS v2 n2: web=y
              send one CDS [] version=v2 nonce=n2
              ack CDS v2 n2
            subscribe CDS *
              send one CDS [*] version=v2 nonce=n2
            """)
    }

    @Test func aVersionIsClaimedOnANewStreamOnlyByWhoLacksNothing() throws {
        try expectTranscript(
            .stateOfTheWorld,
            """
            subscribe CDS *
              open one
            subscribe EDS a
            subscribe RDS r s
            opened
              send one CDS [] node
              send one EDS [a]
              send one RDS [r s]
            respond CDS v1 n1: web=x
              using one
              update CDS web v1 x
              send one CDS [] version=v1 nonce=n1
              ack CDS v1 n1
            respond EDS v2 n2: a=x
              update EDS a v2 x
              send one EDS [a] version=v2 nonce=n2
              ack EDS v2 n2
            respond RDS v3 n3: r=x
              update RDS r v3 x
              send one RDS [r s] version=v3 nonce=n3
              ack RDS v3 n3
            wait 1
            closed: bye
              ended one: bye
              open one
            opened
              send one CDS [] version=v1 node
              send one EDS [a] version=v2
              send one RDS [r s]
            """)
    }

    @Test func absenceOfANameThatIsAwaitedProvesNothing() throws {
        try expectTranscript(
            .stateOfTheWorld,
            """
            subscribe LDS a
              open one
            opened
              send one LDS [a] node
            respond LDS v1 n1: a=x
              using one
              update LDS a v1 x
              send one LDS [a] version=v1 nonce=n1
              ack LDS v1 n1
            subscribe LDS b
              send one LDS [a b] version=v1 nonce=n1
            respond LDS v2 n2: a=y
              update LDS a v2 y
              send one LDS [a b] version=v2 nonce=n2
              ack LDS v2 n2
            status LDS
              a ACKED v2 y from one at 0
              b REQUESTED
            wait 20
              at 15 absent LDS b
            respond LDS v3 n3: b=z
              update LDS b v3 z
              removed LDS a removedByServer
              send one LDS [a b] version=v3 nonce=n3
              ack LDS v3 n3
            """)
    }

    @Test func aDroppedResourceIsAskedForAnewEvenIfTheTransportWasBusy() throws {
        try expectTranscript(
            .stateOfTheWorld,
            """
            subscribe EDS a b
              open one
            opened
              send one EDS [a b] node
            respond EDS v1 n1: a=x b=y
              using one
              update EDS a v1 x
              update EDS b v1 y
              send one EDS [a b] version=v1 nonce=n1
              ack EDS v1 n1
            paused
            unsubscribe EDS a
              removed EDS a unsubscribed
            subscribe EDS a
            respond EDS v2 n2: b=z
              update EDS b v2 z
            respond EDS v3 n3: b=bad
              rejected EDS b v3: it is bad
            resumed
              send one EDS [a b] version=v2 nonce=n2
              ack EDS v2 n2
              send one EDS [b] version=v2 nonce=n3 NACK: b: it is bad
              nack EDS v3 n3
              send one EDS [a b] version=v2 nonce=n3
            """)
    }

    @Test func aNameTwiceInOneResponseIsAnErrorAndRemovesNothing() throws {
        try expectTranscript(
            .stateOfTheWorld,
            """
            subscribe CDS *
              open one
            opened
              send one CDS [] node
            respond CDS v1 n1: a=x
              using one
              update CDS a v1 x
              send one CDS [] version=v1 nonce=n1
              ack CDS v1 n1
            respond CDS v2 n2: a=y a=z
              rejected CDS a v2: it occurs 2 times in one response
              send one CDS [] version=v1 nonce=n2 NACK: a: it occurs 2 times in one response
              nack CDS v2 n2
            status CDS
              a NACKED v1 x from one at 0 failed v2 at 0: it occurs 2 times in one response
            """)
    }

    @Test func whatNobodyAskedForIsNotAnswered() throws {
        try expectTranscript(
            .stateOfTheWorld,
            """
            subscribe EDS a
              open one
            opened
              send one EDS [a] node
            respond CDS v1 n1: web=x
              using one
              ignored CDS n1: not subscribed to CDS
            respond EDS v1 n2: stranger=x a=y
              update EDS a v1 y
              send one EDS [a] version=v1 nonce=n2
              ack EDS v1 n2
            """)
    }
}
