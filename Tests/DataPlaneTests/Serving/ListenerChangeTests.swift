import EnvoyAPI
import Forwarding
import Protobuf
import Reactor
import Testing
import XDS

@testable import DataPlane

@Suite struct ListenerChangeTests {
    /// A listener that leads one port's connections to `db`; others get `words`.
    private func yaml(_ words: String, port: Int = 0) -> String {
        """
        name: tcp
        address: {socket_address: {address: 127.0.0.1, port_value: \(port)}}
        filter_chains:
        - filter_chain_match: {source_prefix_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}
          filters:
          - name: limit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit
              stat_prefix: test
              max_connections: 1
          - name: tcp
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
              stat_prefix: test
              cluster: db
        default_filter_chain:
          filters:
          - name: answer
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config
              response: {inline_string: "\(words)"}
        """
    }

    private func bytes(_ words: String) throws -> [UInt8] {
        try Resources.bytes("envoy.config.listener.v3.Listener", yaml(words))
    }

    @Test func chainsThatStayTheSameAreTheSameObjects() throws {
        let old = try ListenerConfiguration(bytes("a"))
        let new = try ListenerConfiguration(bytes("b"), replacing: old)
        #expect(new.chains[0] === old.chains[0])
        #expect(new.defaultChain !== old.defaultChain)
        let compiler = ResourceCompiler()
        func taken(_ words: String) throws -> ListenerConfiguration? {
            let body = try bytes(words)
            let received = ReceivedResource(name: "tcp", version: "1", body: body)
            _ = compiler.judge(.listener, received)
            let held = HeldResource(name: "tcp", version: "1", body: body)
            guard case .listener(let listener) = try compiler.take(.listener, held).value else { return nil }
            return listener
        }
        let first = try #require(try taken("a"))
        let second = try #require(try taken("b"))
        #expect(second.chains[0] === first.chains[0])
    }

    @Test func aChangeEndsTheConnectionsOfChainsThatAreGoneAlone() throws {
        let upstream = TestServer.echo()
        let cluster = try Resources.cluster("db", ports: [upstream.port])
        var options = Workers.Options()
        options.drainTime = .milliseconds(1)
        func served(_ bytes: [UInt8], _ old: ServedListener? = nil) throws -> ServedListener {
            ServedListener(
                name: "tcp", configuration: try ListenerConfiguration(bytes, replacing: old?.configuration))
        }
        let first = try served(bytes("a"))
        let stage = try Stage([first], [cluster], options: options)
        let client = stage.connect("tcp")
        func goesOn() -> Bool {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            return client.message()?.status == 200
        }
        #expect(goesOn())
        let second = try served(bytes("b"), first)
        stage.serve([second], [cluster])
        // The drain time is over before the limit's place is asked for.
        #expect(stage.connect("tcp").readToEnd() == "")
        #expect(goesOn())
        // Of another object, though it says the same.
        stage.serve([try served(bytes("b"))], [cluster])
        #expect(client.readToEnd() == "")
    }

    private func listener(_ words: String, _ manager: String = "") throws -> ServedListener {
        try Resources.httpListener(
            routes: "- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: \(words)}}}",
            manager: manager)
    }

    private func ask(_ wire: Wire) -> Message? {
        wire.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n")
        return wire.message()
    }

    /// Neither a request that is on its way nor who had a connection before notices, and both are judged by what is in
    /// force.
    @Test func connectionsGoOnUnderTheRulesThatCome() throws {
        let stage = try Stage([try listener("one")], [])
        let unused = stage.connect()
        let (used, multiplexed) = (stage.connect(), HTTP2Peer(stage.connect(), .client))
        #expect(ask(used)?.body == "one")
        #expect(multiplexed.get().text == "one")
        for words in ["two", "three"] {
            stage.serve([try listener(words)], [])
            for wire in [unused, used] {
                let answer = ask(wire)
                #expect(answer?.body == words && answer?["connection"] == nil)
            }
            #expect(multiplexed.get().text == words)
        }
        let denied = """
            - name: access
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
                rules: {}
            """
        let locked = try Resources.httpListener(
            routes: "- {match: {prefix: /}, direct_response: {status: 200}}", filters: denied)
        stage.serve([locked], [])
        for wire in [unused, used] { #expect(ask(wire)?.status == 403) }
        #expect(multiplexed.get().status == "403")
        let open = stage.workers.ask { worker in worker.listeners.values.map(\.connectionCount).reduce(0, +) }
        #expect(open == [3])
    }

    /// Other terms than those that it began on end a connection: at once, but for its first request.
    @Test func connectionsEndWhenTheirTermsChange() throws {
        let other = "common_http_protocol_options: {idle_timeout: 77s}"
        let stage = try Stage([try listener("one")], [])
        let unused = stage.connect()
        let (used, silent) = (stage.connect(), stage.connect())
        #expect(ask(used)?.body == "one")
        stage.serve([try listener("two", other)], [])
        #expect(used.readToEnd() == "")
        let answer = try #require(ask(unused))
        #expect(answer.body == "one" && answer["connection"] == "close")
        #expect(unused.readToEnd() == "")
        #expect(silent.readToEnd() == "")
        #expect(ask(stage.connect())?.body == "two")
    }

    /// Who uses a connection is told with an answer that it ends, and finds none closed; who does not, is not waited for.
    @Test func aConnectionThatIsInUseEndsWithAnAnswer() throws {
        let age = "common_http_protocol_options: {max_connection_duration: 0.2s}"
        let stage = try Stage([try listener("one", age)], [])
        let (used, silent) = (stage.connect(), stage.connect())
        #expect(ask(silent)?.body == "one")
        var last: Message?
        repeat {
            last = ask(used)
            #expect(last?.body == "one")
        } while last != nil && last?["connection"] == nil
        #expect(last?["connection"] == "close")
        #expect(used.readToEnd() == "" && silent.readToEnd() == "")
    }

    private func answering(_ name: String, _ words: String, port: UInt16) throws -> ServedListener {
        try Resources.listener(
            """
            name: \(name)
            address: {socket_address: {address: 127.0.0.1, port_value: \(port)}}
            default_filter_chain:
              filters:
              - name: answer
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config
                  response: {inline_string: "\(words)"}
            """)
    }

    private func freePort() throws -> UInt16 {
        try #require(try ListeningSocket(.loopback(port: 0)).address.port)
    }

    /// - Returns: those that cannot be opened.
    private func serve(_ wanted: [(name: String, words: String, port: UInt16)], _ workers: Workers) throws -> [String] {
        var listeners: [String: ServedListener] = [:]
        for (name, words, port) in wanted { listeners[name] = try answering(name, words, port: port) }
        return workers.serve(ProxyConfiguration(listeners: listeners)).map(\.listener)
    }

    @Test(arguments: [1, 2]) func aListenerOfAnotherNameTakesTheSocketsOver(_ count: Int) throws {
        var options = Workers.Options()
        options.count = count
        let workers = try Workers(options)
        let port = try freePort()
        #expect(try serve([("one", "1", port)], workers) == [])
        let sockets = workers.listeningSockets.map(\.descriptor)
        #expect(Wire(to: port).readToEnd() == "1")
        #expect(try serve([("two", "2", port)], workers) == [])
        #expect(workers.listeningSockets.map(\.descriptor) == sockets)
        #expect(eventually { Wire(to: port).readToEnd() == "2" })
    }

    @Test(arguments: [1, 2]) func aListenerThatIsGoneTakesNoConnectionsAndMayComeBack(_ count: Int) throws {
        var options = Workers.Options()
        options.count = count
        let workers = try Workers(options)
        let port = try freePort()
        #expect(try serve([("one", "1", port)], workers) == [])
        #expect(Wire(to: port).readToEnd() == "1")
        #expect(try serve([], workers) == [])
        // Nobody holds the socket any more: another process could have it.
        #expect(eventually { (try? ListeningSocket(.loopback(port: port))) != nil })
        // Nor does a change that comes at the next moment find it taken.
        for round in 0..<20 {
            #expect(try serve([("one", "\(round)", port)], workers) == [])
            #expect(try serve([], workers) == [])
        }
        #expect(try serve([("one", "last", port)], workers) == [])
        #expect(eventually { Wire(to: port).readToEnd() == "last" })
    }

    @Test func aListenerThatCannotMoveStaysAndMovesWhenItCan() throws {
        let workers = try Workers()
        var other: ListeningSocket? = try ListeningSocket(.loopback(port: 0))
        let taken = try #require(other?.address.port)
        #expect(try serve([("one", "1", 0)], workers) == [])
        let port = try #require(workers.addresses["one"]?.port)
        #expect(try serve([("one", "2", taken)], workers) == ["one"])
        #expect(Wire(to: port).readToEnd() == "1")
        other = nil
        #expect(try serve([("one", "2", taken)], workers) == [])
        #expect(eventually { Wire(to: taken).readToEnd() == "2" })
    }

    @Test func twoListenersDoNotShareAnAddress() throws {
        var options = Workers.Options()
        options.count = 2
        let workers = try Workers(options)
        let port = try freePort()
        #expect(try serve([("one", "1", port), ("two", "2", port)], workers) == ["two"])
        #expect(eventually { Wire(to: port).readToEnd() == "1" })
    }
}
