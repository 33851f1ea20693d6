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
    @Test(arguments: [1, 2])
    func requestsGoWhereEnvoySendsThemAndLookTheSameThere(seed: UInt64) throws {
        var random = RandomRoutes(seed: seed)
        let configuration = try random.configuration()
        let table = try RouteTable(json: configuration)
        let questions = (0..<300).map { _ in random.question() }
        let answers = try RouterPeer.answers(configuration, to: questions)
        #expect(answers.count == questions.count)
        var kinds: [String: Int] = [:]
        for (question, answer) in zip(questions, answers) {
            let ours = Outcome(question, table)
            let theirs = Outcome(answer)
            #expect(ours == theirs, "\(question)\nroute \(ours.route)")
            kinds[ours.kind, default: 0] += 1
        }
        // Every way to answer was taken.
        #expect(["direct", "forward", "redirect"].allSatisfy { kinds[$0, default: 0] > 5 }, "\(kinds)")
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
    /// Of ours only.
    var route = ""
    var kind = ""

    static func == (left: Outcome, right: Outcome) -> Bool { left.description == right.description }

    var description: String {
        """
        \(status) \(location) \(body) \(cluster) \(target)
          request \(request.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" })
          response \(response.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" })
        """
    }

    private static let requestNames = [
        "x-a", "x-b", "x-c", "x-d", "x-new", "x-envoy-original-path", "x-envoy-original-host", "x-forwarded-host",
        "host",
        "x-envoy-expected-rq-timeout-ms",
    ]
    private static let responseNames = ["r-a", "r-b", "r-new", "r-d"]

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
        var facts = HeaderFacts(connection: connection, request: head, start: Timestamp(seconds: 0))
        func fields(_ list: HeaderList) -> [[String]] { list.fields.map { [$0.name, $0.value] } }
        var answer = HeaderList()
        switch routing {
        case .none:
            (status, kind) = (404, "none")
            if head.isGRPC { answersAsGRPC() }
            return
        case .nothing:
            (status, kind) = (500, "nothing")
            return
        case .redirect(let route, let code, let location):
            (status, kind) = (Int(code), "redirect")
            self.location = String(decoding: location, as: UTF8.self)
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
                if head.isGRPC { answersAsGRPC() }
                return
            }
            _ = route.forwarded?.timeouts.limits(&head, retries: route.forwarded?.retries)
            let before = facts
            route.prepare(&head, for: forward) { before }
            facts.request = head
            (status, cluster, target) = (200, forward.cluster, head[":path"] ?? "")
            var got = fields(head)
            got.append(["host", head[":authority"] ?? ""])
            request = Self.joined(got, Self.requestNames)
            answer = HeaderList([(":status", "200"), ("r-a", "up"), ("r-b", "up1"), ("r-b", "up2")])
            route.finish(&answer, forward) { facts }
        }
        response = Self.joined(fields(answer), Self.responseNames)
        if kind == "direct" { location = answer["location"] ?? "" }
        if kind != "forward", head.isGRPC { self.answersAsGRPC() }
    }

    /// What a proxy answers itself it tells gRPC clients in their own way; that is not the routes' part.
    private mutating func answersAsGRPC() { (status, body) = (200, "") }
}
