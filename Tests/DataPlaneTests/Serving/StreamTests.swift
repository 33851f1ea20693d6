import Testing

@testable import DataPlane

@Suite struct StreamTests {
    @Test func bytesPassBothWaysAndEachEndByItself() throws {
        let upstream = TestServer { wire, _ in
            let all = wire.readToEnd()
            wire.send("got \(all)")
        }
        let stage = try Stage(
            [try Resources.tcpListener(cluster: "db")], [try Resources.cluster("db", ports: [upstream.port])])
        let client = stage.connect("tcp")
        client.send("question")
        client.endOutput()
        #expect(client.readToEnd() == "got question")
    }

    @Test func aServerMaySpeakFirst() throws {
        let upstream = TestServer { wire, _ in wire.send("220 ready\r\n") }
        let stage = try Stage(
            [try Resources.tcpListener(cluster: "db")], [try Resources.cluster("db", ports: [upstream.port])])
        #expect(stage.connect("tcp").readToEnd() == "220 ready\r\n")
    }

    @Test func whoReadsNothingHoldsBackWhoSends() throws {
        let size = 64 << 20
        let upstream = TestServer { wire, _ in wire.send([UInt8](repeating: 1, count: size)) }
        let stage = try Stage(
            [try Resources.tcpListener(cluster: "db")], [try Resources.cluster("db", ports: [upstream.port])])
        let client = stage.connect("tcp")
        #expect(client.read(1) == [1])
        #expect(client.count() == size - 1)
        #expect(stage.workers.statistics().map(\.mostBytesHeld).reduce(0, +) < 2 << 20)
    }

    @Test func aClusterWithoutHostsEndsTheConnection() throws {
        let stage = try Stage(
            [try Resources.tcpListener(cluster: "db")], [try Resources.cluster("db", ports: [])])
        #expect(stage.connect("tcp").readToEnd() == "")
    }

    @Test func thePROXYHeaderIsReadAndTakenAway() throws {
        let upstream = TestServer { wire, _ in wire.send("got \(wire.readToEnd())") }
        let stage = try Stage(
            [
                try Resources.tcpListener(
                    cluster: "db",
                    extra: """
                        listener_filters:
                        - name: proxy
                          typed_config:
                            "@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol
                        """)
            ], [try Resources.cluster("db", ports: [upstream.port])])
        let client = stage.connect("tcp")
        client.send("PROXY TCP4 192.0.2.1 192.0.2.2 4000 80\r\nhello")
        client.endOutput()
        #expect(client.readToEnd() == "got hello")
        let other = stage.connect("tcp")
        other.send("hello")
        #expect(other.readToEnd() == "")
    }
}
