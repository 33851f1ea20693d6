import Testing

@Suite("Client, time")
struct ClientTimeTests {
    @Test func aNameCountsAsAbsentAfterItsTimeoutAndMayComeLater() throws {
        try expectTranscript(
            .stateOfTheWorld,
            """
            subscribe EDS a b
              open one
            next
              20
            wait 4
            opened
              send one EDS [a b] node
            next
              19
            wait 1
            subscribe EDS c
              send one EDS [a b c]
            respond EDS v1 n1: a=x
              using one
              update EDS a v1 x
              send one EDS [a b c] version=v1 nonce=n1
              ack EDS v1 n1
            wait 60
              at 19 absent EDS b
              at 20 absent EDS c
            next
              never
            respond EDS v2 n2: b=y
              update EDS b v2 y
              send one EDS [a b c] version=v2 nonce=n2
              ack EDS v2 n2
            status EDS
              a ACKED v1 x from one at 5
              b ACKED v2 y from one at 65
              c DOES_NOT_EXIST
            """)
    }

    @Test func theWaitForANameBeginsAnewOnANewStream() throws {
        try expectTranscript(
            .stateOfTheWorld,
            """
            subscribe EDS a b
              open one
            opened
              send one EDS [a b] node
            wait 10
            respond EDS v1 n1: a=x
              using one
              update EDS a v1 x
              send one EDS [a b] version=v1 nonce=n1
              ack EDS v1 n1
            closed: bye
              ended one: bye
              open one
            wait 7
            opened
              send one EDS [a b] node
            next
              32
            wait 16
              at 32 absent EDS b
            closed: bye
              failed one: bye
              open one
              unreachable one: bye
            opened
              send one EDS [a b] node
            next
              never
            """)
    }

    @Test func aNameThatWasRejectedIsNotAwaited() throws {
        try expectTranscript(
            .stateOfTheWorld,
            """
            subscribe EDS a
              open one
            opened
              send one EDS [a] node
            respond EDS v1 n1: a=bad
              using one
              rejected EDS a v1: it is bad
              send one EDS [a] nonce=n1 NACK: a: it is bad
              nack EDS v1 n1
            next
              never
            """)
    }

    @Test func aTransportThatIsBusyDelaysTheWaitForANewName() throws {
        try expectTranscript(
            .delta,
            """
            subscribe EDS a
              open one
            opened
              send one EDS +a node
            wait 1
            paused
            subscribe EDS b
            wait 1
            resumed
              send one EDS +b
            wait 20
              at 15 absent EDS a
              at 17 absent EDS b
            """)
    }

    @Test func aResourceExpiresWithoutAHeartbeat() throws {
        try expectTranscript(
            .delta,
            """
            subscribe EDS a b
              open one
            opened
              send one EDS +a +b node
            respond EDS s n1: a@1=x~10 b@1=y~10
              using one
              update EDS a 1 x
              update EDS b 1 y
              send one EDS nonce=n1
              ack EDS s n1
            wait 6
            respond EDS s n2: a@1~10
              send one EDS nonce=n2
              ack EDS s n2
            wait 6
              at 10 removed EDS b expired
            next
              16
            respond EDS s n3: a@1=x
              send one EDS nonce=n3
              ack EDS s n3
            next
              never
            status EDS
              a ACKED 1 x from one at 12
              b DOES_NOT_EXIST
            respond EDS s n4: a@1~0
              rejected EDS a 1: its ttl is 0.0 seconds, must be above zero
              send one EDS nonce=n4 NACK: a: its ttl is 0.0 seconds, must be above zero
              nack EDS s n4
            """)
    }

    @Test func aTimeToLiveOfThousandsOfYearsIsForEver() throws {
        try expectTranscript(
            .delta,
            """
            subscribe EDS a
              open one
            opened
              send one EDS +a node
            respond EDS s n1: a@1=x~315576000000
              using one
              update EDS a 1 x
              send one EDS nonce=n1
              ack EDS s n1
            next
              3155760000
            """)
    }

    @Test func aHeartbeatMustFitWhatIsHeld() throws {
        try expectTranscript(
            .delta,
            """
            subscribe EDS a b
              open one
            opened
              send one EDS +a +b node
            respond EDS s n1: a@1=x~10
              using one
              update EDS a 1 x
              send one EDS nonce=n1
              ack EDS s n1
            respond EDS s n2: a@2~10 b@1~10
              rejected EDS a 2: a heartbeat for version 2, but version 1 is held
              rejected EDS b 1: a heartbeat for a resource that is not held
              send one EDS nonce=n2 NACK: a: a heartbeat for version 2, but version 1 is held; b: a heartbeat for a resource that is not held
              nack EDS s n2
            next
              10
            """)
    }

    @Test func timeToLivePassesWhileTheServerIsAway() throws {
        try expectTranscript(
            .delta,
            """
            subscribe CDS *
              open one
            opened
              send one CDS node
            respond CDS s n1: a@1=x~10 b@1=y
              using one
              update CDS a 1 x
              update CDS b 1 y
              send one CDS nonce=n1
              ack CDS s n1
            wait 9
            closed: bye
              ended one: bye
              open one
            wait 1
              at 10 removed CDS a expired
            opened
              send one CDS has(b@1) node
            """)
    }

    @Test func heartbeatsInAStateOfTheWorldResponseRemoveNothing() throws {
        try expectTranscript(
            .stateOfTheWorld,
            """
            subscribe CDS *
              open one
            opened
              send one CDS [] node
            respond CDS v1 n1: a=x~10 b=y
              using one
              update CDS a v1 x
              update CDS b v1 y
              send one CDS [] version=v1 nonce=n1
              ack CDS v1 n1
            wait 5
            respond CDS v1 n2: a~10
              send one CDS [] version=v1 nonce=n2
              ack CDS v1 n2
            wait 20
              at 15 removed CDS a expired
            closed: bye
              ended one: bye
              open one
            opened
              send one CDS [] node
            """)
    }
}
