import Mesh
import Testing
import XDS

@testable import Translation

/// Our matchers must decide as Envoy does, or `explain` would tell stories: random rules, random requests, one verdict.
struct EnvoyAgreementTests {
    @Test(arguments: [1, 2, 3])
    func ourMatchersAndEnvoyTakeTheSameRule(seed: UInt64) throws {
        var random = SmallRandom(state: seed)
        let rules = (0..<40).map { index in
            var rule = RouteRule(
                origin: nil, name: "\(index)", match: random.match(),
                action: .respond(status: 200, body: Array("\(index)".utf8)))
            rule.statPrefix = nil
            return rule
        }
        let plan = VirtualHostPlan(name: "all", domains: ["*"], rules: rules)
        let mesh = translator([])
        let configuration = mesh.routeConfiguration(
            named: "80", virtualHosts: [mesh.pack(plan, for: .gateway)], for: .gateway)
        let questions = (0..<400).map { _ in random.question() }
        let answers = try EnvoyPeer.answers(configuration, to: questions)
        var taken: Set<String> = []
        for (question, answer) in zip(questions, answers) {
            let request = RoutedRequest(
                authority: question.host, method: question.method, path: question.path, headers: question.headers)
            let name = plan.rule(for: request)?.name ?? ""
            #expect(answer == EnvoyPeer.Answer(status: name.isEmpty ? 404 : 200, body: name), "\(question)")
            taken.insert(name)
        }
        #expect(answers.count == 400 && taken.count > 8)
    }
}

/// A small generator with a seed; not for secrets.
private struct SmallRandom: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        var mixed = state
        mixed = (mixed ^ (mixed >> 33)) &* 0xFF51_AFD7_ED55_8CCD
        return mixed ^ (mixed >> 33)
    }

    mutating func pick<T>(_ items: [T]) -> T { items[Int.random(in: 0..<items.count, using: &self)] }

    mutating func condition() -> TextCondition {
        pick([
            .exact("a"), .exact(""), .prefix("a"), .prefix("b,"), .regex("a|b+"), .regex("[ab].*"), .regex(""),
            .present,
        ])
    }

    mutating func match() -> RequestMatch {
        let text = pick(["/a", "/a/b", "/A", "/ab", "/b"])
        var match = RequestMatch()
        switch pick([0, 0, 1, 2, 3]) {
        case 0: match.path = .exact(text)
        case 1: match.path = .prefix(text)
        case 2: match.path = .separatedPrefix(text)
        default: match.path = .regex(pick(["/a.*", "/[ab]", "/(a|b)/.", "/.*b"]))
        }
        if case .regex = match.path {} else { match.ignoresCase = pick([true, false, false]) }
        for _ in 0..<pick([0, 1, 1, 2]) {
            let name = pick(["x", "y", "x-long", ":method", ":authority"])
            let condition = name == ":method" ? TextCondition.exact(pick(["GET", "POST"])) : condition()
            match.headers.append(.init(name, condition, isInverted: pick([true, false, false])))
        }
        if pick([true, false, false]) {
            match.parameters.append(.init(name: pick(["q", "r"]), condition: condition()))
        }
        return match
    }

    mutating func question() -> EnvoyPeer.Question {
        var path = pick(["/", "/a", "/a/", "/a/b", "/A/b", "/ab", "/AB", "/b", "/b/a", "/abc"])
        path += pick(["", "", "?q=a", "?q", "?r=b&q=ab", "?q=a&q=b", "?Q=a", "?x=/a"])
        var question = EnvoyPeer.Question(
            method: pick(["GET", "GET", "POST"]), path: path, host: pick(["a", "b", "ab.example.com"]))
        for name in ["x", "y", "x-long"] where pick([true, false]) {
            question.headers[name] = pick(["", "a", "b", "bb", "ab", "b,a", "A"])
        }
        if question.method == "POST" { question.headers["content-length"] = "0" }
        return question
    }
}
