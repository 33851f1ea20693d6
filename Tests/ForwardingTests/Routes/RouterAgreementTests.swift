import Addresses
import EnvoyAPI
import Foundation
import HTTP
import Protobuf
import Testing
import Time

@testable import Forwarding

/// Routes must lead where Envoy leads, with the same changes: random tables, random requests, one answer.
struct RouterAgreementTests {
    /// All that ever disagreed stays, beside some that do not: `AGREEMENT_SEEDS=1-200` asks about more.
    private static let seeds: [UInt64] = {
        let words = ProcessInfo.processInfo.environment["AGREEMENT_SEEDS"]?.split(separator: "-") ?? []
        let ends = words.compactMap { UInt64($0) }
        return ends.count == 2 ? Array(ends[0]...ends[1]) : [1, 2, 3, 4, 6, 14, 26, 28, 35, 61]
    }()

    @Test func requestsGoWhereEnvoySendsThemAndLookTheSameThere() throws {
        let tables = try Self.seeds.map { seed -> RouterPeer.Table in
            var random = RandomRoutes(seed: seed)
            let configuration = try random.configuration()
            return .init(configuration: configuration, questions: (0..<100).map { _ in random.question() })
        }
        let answers = try RouterPeer.answers(tables)
        var kinds: [String: Int] = [:]
        for (seed, (asked, told)) in zip(Self.seeds, zip(tables, answers)) {
            let table = try RouteTable(json: asked.configuration)
            #expect(told.count == asked.questions.count)
            var disagreements = 0
            for (question, answer) in zip(asked.questions, told) {
                let ours = Outcome(question, table)
                let theirs = Outcome(answer)
                kinds[ours.kind, default: 0] += 1
                if ours == theirs { continue }
                disagreements += 1
                guard disagreements < 4 else { continue }
                let names = theirs.named.union([ours.route])
                Issue.record(
                    """
                    seed \(seed): \(question)
                    ours \(ours.route): \(ours)
                    Envoy \(theirs.named.sorted()): \(theirs)
                    \(Self.excerpt(asked.configuration, names))
                    """)
            }
            #expect(disagreements == 0, "seed \(seed)")
        }
        // Every way to answer was taken.
        #expect(["direct", "forward", "redirect"].allSatisfy { kinds[$0, default: 0] > 5 }, "\(kinds)")
    }

    /// The routes of these names, and what their table and hosts say besides routes.
    private static func excerpt(_ configuration: String, _ names: Set<String>) -> String {
        guard var table = try? JSONSerialization.jsonObject(with: Data(configuration.utf8)) as? [String: Any] else {
            return ""
        }
        table["virtual_hosts"] = (table["virtual_hosts"] as? [[String: Any]])?.compactMap { host -> [String: Any]? in
            let routes = (host["routes"] as? [[String: Any]])?.filter { names.contains($0["name"] as? String ?? "") }
            guard let routes, !routes.isEmpty else { return nil }
            return host.merging(["routes": routes]) { $1 }
        }
        let data =
            (try? JSONSerialization.data(withJSONObject: table, options: [.sortedKeys, .prettyPrinted])) ?? Data()
        return String(decoding: data, as: UTF8.self)
    }
}

extension RouteTable {
    /// A `RouteConfiguration` as JSON.
    convenience init(json: String) throws {
        let arena = Arena()
        let message = try arena.decodeJSON(RouteConfiguration.self, json, types: envoyTypes)
        try self.init(encode(message))
    }

    /// A `RouteConfiguration` as YAML.
    convenience init(yaml: String) throws {
        let arena = Arena()
        let message = try arena.decodeYAML(RouteConfiguration.self, yaml, types: envoyTypes)
        try self.init(encode(message))
    }
}

/// What can be seen of an answer, as far as routes decide it.
private struct Outcome: Equatable, CustomStringConvertible {
    var status: Int
    var location = ""
    var body = ""
    var cluster = ""
    var target = ""
    var request: [String: String] = [:]
    var response: [String: String] = [:]
    var cookies: [String] = []
    /// Of ours only.
    var route = ""
    var kind = ""
    /// Routes that Envoy's answer names: those above every level of header operations say their name.
    var named: Set<String> = []

    static func == (left: Outcome, right: Outcome) -> Bool { left.description == right.description }

    var description: String {
        """
        \(status) \(location) \(body) \(cluster) \(target) \(cookies)
          request \(request.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" })
          response \(response.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" })
        """
    }

    private static let requestNames = [
        "x-a", "x-b", "x-c", "x-d", "x-new", "x-envoy-original-path", "x-envoy-original-host", "x-forwarded-host",
        "host",
        "x-envoy-expected-rq-timeout-ms", "x-route",
    ]
    private static let responseNames = ["r-a", "r-b", "r-new", "r-d", "content-type", "r-route"]

    /// The value of a cookie that is made comes from ports.
    private static func blurred(_ cookie: String) -> String {
        let parts = cookie.split(separator: "\"", omittingEmptySubsequences: false)
        return parts.count == 3 ? "\(parts[0])\"…(\(parts[1].count))\"\(parts[2])" : cookie
    }

    private static func joined(_ fields: [[String]], _ names: [String]) -> [String: String] {
        var result: [String: String] = [:]
        for field in fields where names.contains(field[0]) {
            result[field[0]] = result[field[0]].map { "\($0),\(field[1])" } ?? field[1]
        }
        return result
    }

    init(_ answer: RouterPeer.Answer) {
        status = answer.status
        response = Self.joined(answer.headers, Self.responseNames)
        location = answer.headers.first { $0[0] == "location" }?[1] ?? ""
        cookies = answer.headers.filter { $0[0] == "set-cookie" }.map { Self.blurred($0[1]) }
        if let name = response["r-route"] { named = [name] }
        if let echo = try? JSONDecoder().decode(RouterPeer.Echo.self, from: Data(answer.body.utf8)) {
            (cluster, target) = (echo.cluster, echo.path)
            request = Self.joined(echo.headers, Self.requestNames)
        } else {
            body = answer.body
        }
    }

    init(_ question: RouterPeer.Question, _ table: RouteTable) {
        var head = HeaderList([
            (":method", question.method), (":scheme", "http"), (":authority", question.host), (":path", question.path),
        ])
        for field in question.headers { head.append(field[0].lowercased(), field[1]) }
        head.append("x-forwarded-proto", "http")
        let connection = ConnectionFacts(
            source: .ip(IPAddress("127.0.0.1")!, port: 40_000), destination: .ip(IPAddress("127.0.0.1")!, port: 80))
        let routing = table.route(head, connection, random: 42)
        route = routing.route?.name ?? ""
        let facts = AccessRecord(
            .request, connection, start: Timestamp(seconds: 0), began: Instant(nanoseconds: 0))
        (facts.request, facts.protocolName, facts.hostName) = (head, "HTTP/1.1", "here")
        facts.routeName = route
        func fields(_ list: HeaderList) -> [[String]] { list.fields.map { [$0.name, $0.value] } }
        var answer = HeaderList()
        switch routing {
        case .none:
            (status, kind) = (404, "none")
            if head.isGRPC { answersAsGRPC() }
            return
        case .nothing:
            (status, kind) = (503, "nothing")
            return
        case .redirect(let route, let code, let location):
            (status, kind) = (Int(code), "redirect")
            self.location = String(decoding: location, as: UTF8.self)
            route?.noteRedirection(in: &facts.request)
            answer.append(":status", "\(code)")
            route?.finish(&answer, nil) { facts }
        case .direct(let route, let code, let bytes):
            (status, kind) = (Int(code), "direct")
            body = String(decoding: bytes, as: UTF8.self)
            answer.append(":status", "\(code)")
            route.finish(&answer, nil) { facts }
        case .forward(let route, let forward):
            kind = "forward"
            guard RouterPeer.clusters.contains(forward.cluster) else {
                status = Int(route.forwarded?.missingClusterStatus ?? 0)
                answer.append(":status", "\(status)")
                (facts.cluster, facts.flags) = ("", .noCluster)
                route.finish(&answer, forward, isLocal: true) { facts }
                answer.remove("content-type")
                response = Self.joined(fields(answer), Self.responseNames)
                if head.isGRPC { answersAsGRPC() }
                return
            }
            let isHashed = forward.cluster == RouterPeer.hashing
            let hash =
                isHashed ? route.forwarded?.hash.hash(head, source: connection.source, connection: connection) : nil
            cookies = (hash?.cookies ?? []).map { Self.blurred(String(decoding: $0, as: UTF8.self)) }
            _ = route.forwarded?.timeouts.limits(&head, retries: route.forwarded?.retries)
            facts.cluster = forward.cluster
            let before = facts
            route.prepare(&head, for: forward) { before }
            facts.request = head
            (status, cluster, target) = (200, forward.cluster, head[":path"] ?? "")
            var got = fields(head)
            got.append(["host", head[":authority"] ?? ""])
            request = Self.joined(got, Self.requestNames)
            answer = HeaderList([
                (":status", "200"), ("r-a", "up"), ("r-b", "up1"), ("r-b", "up2"), ("content-type", "text/json"),
            ])
            route.finish(&answer, forward) { facts }
        }
        if kind != "forward" {
            // As every proxy's own answer has it.
            if body.isEmpty {
                answer.remove("content-type")
            } else if !answer.contains("content-type") {
                answer.append("content-type", "text/plain")
            }
        }
        response = Self.joined(fields(answer), Self.responseNames)
        if kind == "direct" { location = answer["location"] ?? "" }
        if kind != "forward", head.isGRPC { self.answersAsGRPC() }
    }

    /// What a proxy answers itself it tells gRPC clients in their own way; that is not the routes' part.
    private mutating func answersAsGRPC() {
        (status, body) = (200, "")
        response["content-type"] = "application/grpc"
    }
}
