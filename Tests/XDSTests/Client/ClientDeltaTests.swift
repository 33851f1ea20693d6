import Testing

@Suite("Client, delta")
struct ClientDeltaTests {
    @Test func firstRequestsComeInOrderAndOnlyTheFirstNamesTheNode() throws {
        try expectTranscript(
            .delta,
            """
            subscribe RDS routes
              open one
            subscribe LDS *
            subscribe EDS b a
            subscribe CDS *
            opened
              send one CDS node
              send one EDS +a +b
              send one LDS
              send one RDS +routes
            """)
    }

    @Test func aResourceIsUsedAndAcknowledged() throws {
        try expectTranscript(
            .delta,
            """
            subscribe CDS *
              open one
            opened
              send one CDS node
            respond CDS s1 n1: web@1=x api@1=y
              using one
              update CDS web 1 x
              update CDS api 1 y
              send one CDS nonce=n1
              ack CDS s1 n1
            respond CDS s2 n2: web@2=z
              update CDS web 2 z
              send one CDS nonce=n2
              ack CDS s2 n2
            respond CDS s3 n3: -api
              removed CDS api removedByServer
              send one CDS nonce=n3
              ack CDS s3 n3
            status CDS
              web ACKED 2 z from one at 0
            """)
    }

    @Test func whatIsSentAgainUnchangedIsAcknowledgedButNoUpdate() throws {
        try expectTranscript(
            .delta,
            """
            subscribe EDS a
              open one
            opened
              send one EDS +a node
            respond EDS s n1: a@1=x
              using one
              update EDS a 1 x
              send one EDS nonce=n1
              ack EDS s n1
            respond EDS s n2: a@1=x
              send one EDS nonce=n2
              ack EDS s n2
            """)
    }

    @Test func validPartsOfARejectedResponseAreUsed() throws {
        try expectTranscript(
            .delta,
            """
            subscribe CDS *
              open one
            opened
              send one CDS node
            respond CDS s1 n1: web@1=x api@1=y
              using one
              update CDS web 1 x
              update CDS api 1 y
              send one CDS nonce=n1
              ack CDS s1 n1
            wait 3
            respond CDS s2 n2: web@2=bad api@2=z new@2=bad2 ?
              update CDS api 2 z
              rejected CDS web 2: it is bad
              rejected CDS new 2: it is bad2
              rejected CDS ? : undecodable
              send one CDS nonce=n2 NACK: web: it is bad; new: it is bad2; a resource without a name: undecodable
              nack CDS s2 n2
            status CDS
              api ACKED 2 z from one at 3
              new NACKED failed 2 at 3: it is bad2
              web NACKED 1 x from one at 0 failed 2 at 3: it is bad
            respond CDS s3 n3: web@3=w -new
              update CDS web 3 w
              send one CDS nonce=n3
              ack CDS s3 n3
            status CDS
              api ACKED 2 z from one at 3
              web ACKED 3 w from one at 3
            """)
    }

    @Test func subscriptionsChangeWithoutANonce() throws {
        try expectTranscript(
            .delta,
            """
            subscribe EDS a b
              open one
            opened
              send one EDS +a +b node
            respond EDS s n1: a@1=x b@1=y
              using one
              update EDS a 1 x
              update EDS b 1 y
              send one EDS nonce=n1
              ack EDS s n1
            subscribe EDS c a
              send one EDS +c
            unsubscribe EDS a d
              removed EDS a unsubscribed
              send one EDS -a
            """)
    }

    @Test func theWildcardCoversANameThatIsUnsubscribed() throws {
        try expectTranscript(
            .delta,
            """
            subscribe CDS * a
              open one
            opened
              send one CDS +* +a node
            respond CDS s n1: a@1=x b@1=y
              using one
              update CDS a 1 x
              update CDS b 1 y
              send one CDS nonce=n1
              ack CDS s n1
            unsubscribe CDS a
              send one CDS -a
            respond CDS s n2: -a
              removed CDS a removedByServer
              send one CDS nonce=n2
              ack CDS s n2
            subscribe CDS b
              send one CDS +b
            unsubscribe CDS *
              send one CDS -*
            status CDS
              b ACKED 1 y from one at 0
            """)
    }

    @Test func aMissingNameIsKnownAtOnceAndMayComeLater() throws {
        try expectTranscript(
            .delta,
            """
            subscribe EDS a
              open one
            opened
              send one EDS +a node
            respond EDS s n1: -a
              using one
              absent EDS a
              send one EDS nonce=n1
              ack EDS s n1
            next
              never
            respond EDS s n2: -a
              send one EDS nonce=n2
              ack EDS s n2
            respond EDS s n3: a@1=x
              update EDS a 1 x
              send one EDS nonce=n3
              ack EDS s n3
            """)
    }

    @Test func aNewStreamSaysWhatIsHeld() throws {
        try expectTranscript(
            .delta,
            """
            subscribe CDS *
              open one
            subscribe EDS a b
            opened
              send one CDS node
              send one EDS +a +b
            respond CDS s n1: web@7=x api@3=y
              using one
              update CDS web 7 x
              update CDS api 3 y
              send one CDS nonce=n1
              ack CDS s n1
            respond EDS s n2: a@2=z
              update EDS a 2 z
              send one EDS nonce=n2
              ack EDS s n2
            wait 1
            closed: max connection age
              ended one: max connection age
              open one
            opened
              send one CDS has(api@3 web@7) node
              send one EDS +a +b has(a@2)
            respond CDS s n1: -api
              removed CDS api removedByServer
              send one CDS nonce=n1
              ack CDS s n1
            """)
    }

    @Test func aNameTwiceInOneResponseIsAnError() throws {
        try expectTranscript(
            .delta,
            """
            subscribe CDS *
              open one
            opened
              send one CDS node
            respond CDS s n1: a@1=x b@1=y a@2=z
              using one
              update CDS b 1 y
              rejected CDS a s: it occurs 2 times in one response
              send one CDS nonce=n1 NACK: a: it occurs 2 times in one response
              nack CDS s n1
            respond CDS s n2: b@2=x -b
              rejected CDS b s: it occurs 2 times in one response
              send one CDS nonce=n2 NACK: b: it occurs 2 times in one response
              nack CDS s n2
            respond CDS s n3: b@2=x !b:2:also_an_error
              rejected CDS b s: it occurs 2 times in one response
              send one CDS nonce=n3 NACK: b: it occurs 2 times in one response
              nack CDS s n3
            """)
    }

    @Test func whatNobodyAskedForIsNotAnswered() throws {
        try expectTranscript(
            .delta,
            """
            subscribe EDS a
              open one
            opened
              send one EDS +a node
            respond CDS s n1: web@1=x
              using one
              ignored CDS n1: not subscribed to CDS
            respond type.googleapis.com/odd s n2: web@1=x
              ignored type.googleapis.com/odd n2: unknown type URL
            respond EDS s n3: b@1=x
              send one EDS nonce=n3
              ack EDS s n3
            status EDS
              a REQUESTED
            """)
    }

    @Test func aBodyOfAnotherTypeIsRejected() throws {
        try expectTranscript(
            .delta,
            """
            subscribe EDS a
              open one
            opened
              send one EDS +a node
            respond EDS s n1: a@1=alien
              using one
              rejected EDS a 1: it is a type.googleapis.com/alien, expected type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
              send one EDS nonce=n1 NACK: a: it is a type.googleapis.com/alien, expected type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
              nack EDS s n1
            next
              never
            """)
    }

    @Test func anAliasIsAnsweredUnderTheCanonicalName() throws {
        try expectTranscript(
            .delta,
            """
            subscribe VHDS routes/a.com routes/b.com
              open one
            opened
              send one VHDS +routes/a.com +routes/b.com node
            respond VHDS s n1: routes/host@1=x(routes/a.com,routes/c.com)
              using one
              update VHDS routes/host 1 x
              send one VHDS nonce=n1
              ack VHDS s n1
            status VHDS
              routes/b.com REQUESTED
              routes/host ACKED 1 x from one at 0
            respond VHDS s n2: routes/b.com@(routes/b.com)
              absent VHDS routes/b.com
              send one VHDS nonce=n2
              ack VHDS s n2
            next
              never
            respond VHDS s n3: -routes/a.com
              removed VHDS routes/host removedByServer
              send one VHDS nonce=n3
              ack VHDS s n3
            status VHDS
              routes/a.com DOES_NOT_EXIST
              routes/b.com DOES_NOT_EXIST
            """)
    }

    @Test func anAliasMovesFromOneResourceToAnother() throws {
        try expectTranscript(
            .delta,
            """
            subscribe VHDS r/a
              open one
            opened
              send one VHDS +r/a node
            respond VHDS s n1: r/one@1=x(r/a)
              using one
              update VHDS r/one 1 x
              send one VHDS nonce=n1
              ack VHDS s n1
            respond VHDS s n2: r/two@1=y(r/a)
              removed VHDS r/one removedByServer
              update VHDS r/two 1 y
              send one VHDS nonce=n2
              ack VHDS s n2
            respond VHDS s n3: r/a@1=z
              removed VHDS r/two removedByServer
              update VHDS r/a 1 z
              send one VHDS nonce=n3
              ack VHDS s n3
            unsubscribe VHDS r/a
              removed VHDS r/a unsubscribed
              close one
            """)
    }

    @Test func spellingsOfOneXdstpNameAreOne() throws {
        try expectTranscript(
            .delta,
            """
            subscribe EDS xdstp://auth/type/id?b=2&a=1#entry
              open one
            subscribe EDS xdstp://auth/type/id?a=1&b=2
            opened
              send one EDS +xdstp://auth/type/id?a=1&b=2 node
            respond EDS s n1: xdstp://auth/type/id?b=2&a=1@1=x
              using one
              update EDS xdstp://auth/type/id?a=1&b=2 1 x
              send one EDS nonce=n1
              ack EDS s n1
            """)
    }

    @Test func aDroppedResourceIsAskedForAnewEvenIfTheTransportWasBusy() throws {
        try expectTranscript(
            .delta,
            """
            subscribe EDS a b
              open one
            opened
              send one EDS +a +b node
            respond EDS s n1: a@1=x b@1=y
              using one
              update EDS a 1 x
              update EDS b 1 y
              send one EDS nonce=n1
              ack EDS s n1
            paused
            unsubscribe EDS a
              removed EDS a unsubscribed
            subscribe EDS a c
            unsubscribe EDS c
            respond EDS s n2: b@2=z
              update EDS b 2 z
            resumed
              send one EDS -a nonce=n2
              ack EDS s n2
              send one EDS +a
            """)
    }

    @Test func resourceErrorsAreShownAndTheLastGoodStays() throws {
        try expectTranscript(
            .delta,
            """
            subscribe EDS a b
              open one
            opened
              send one EDS +a +b node
            respond EDS s n1: a@1=x !b:7:not_yours
              using one
              update EDS a 1 x
              error EDS b 7: not yours
              send one EDS nonce=n1
              ack EDS s n1
            respond EDS s n2: !a:5:gone !stranger:5:gone
              error EDS a 5: gone
              send one EDS nonce=n2
              ack EDS s n2
            status EDS
              a RECEIVED_ERROR 1 x from one at 0 failed s at 0: gone
              b RECEIVED_ERROR failed s at 0: not yours
            next
              never
            """)
    }

    @Test func dataErrorsDropTheLastGoodWhereThePolicySaysSo() throws {
        try expectTranscript(
            .delta, policy: .drop,
            """
            subscribe EDS a b c
              open one
            opened
              send one EDS +a +b +c node
            respond EDS s n1: a@1=x b@1=y c@1=z
              using one
              update EDS a 1 x
              update EDS b 1 y
              update EDS c 1 z
              send one EDS nonce=n1
              ack EDS s n1
            respond EDS s n2: a@2=bad !b:5:gone !c:14:busy
              removed EDS b dataError
              error EDS b 5: gone
              error EDS c 14: busy
              removed EDS a dataError
              rejected EDS a 2: it is bad
              send one EDS nonce=n2 NACK: a: it is bad
              nack EDS s n2
            status EDS
              a NACKED failed 2 at 0: it is bad
              b RECEIVED_ERROR failed s at 0: gone
              c RECEIVED_ERROR 1 z from one at 0 failed s at 0: busy
            """)
    }
}
