import Foundation
import Testing

/// `martinet explain` asks the control plane, and what it says is what real Envoys do.
@Suite(.serialized)
struct ExplainScenarios {
    /// Random rules and policies, random requests: every answer of a real mesh is one that explain has told.
    @Test func explainAndTheMeshAgree() throws {
        let shop = try BookinfoMesh()
        let log = shop.mesh.control.directory + "/access.log"
        var random = SeededRandom(state: 20_261_123)
        var outcomes: [String: Int] = [:]
        var asked = 0
        /// What the servers' logs must say of requests that were denied, by the mark of the request.
        var denials: [String: Set<String>] = [:]
        for round in 0..<15 {
            let objects = random.objects(accessLog: log)
            let path = shop.mesh.control.directory + "/round-\(round).yaml"
            try objects.write(toFile: path, atomically: true, encoding: .utf8)
            let (status, output, errors) = try shop.mesh.control.command(
                "apply", "--prune", "--wait", "-f", shop.files.path("bookinfo/kube/bookinfo.yaml"), "-f", path)
            try #require(status == 0, "\(objects)\n\(output)\(errors)\(shop.mesh.state)")
            for _ in 0..<24 {
                let question = random.question()
                let (status, output, errors) = try shop.mesh.control.command(question.explain)
                try #require(status == 0, "\(question): \(output)\(errors)")
                let told = try JSONDecoder().decode(Told.self, from: Data(output.utf8))
                let expected = told.outcomes
                let mark = "q\(asked)"
                asked += 1
                // What a proxy has acknowledged is in force a moment later.
                var seen = ""
                let deadline = Date().addingTimeInterval(5)
                repeat {
                    seen = try Self.outcome(
                        HTTPConnection.exchange(
                            HTTPConnection.Call(
                                address: try shop.mesh[question.caller].outboundAddress, port: 9080,
                                host: question.host, path: question.path, method: question.method,
                                headers: question.headers.merging(["x-mark": mark]) { $1 })))
                    // An application that has no such page says so, and not which version it is.
                    if seen == "reached", let reached = expected.first(where: { $0.hasPrefix("reached") }) {
                        seen = reached
                    }
                    if expected.contains(seen) { break }
                    usleep(100_000)
                } while Date() < deadline
                #expect(
                    expected.contains(seen),
                    "round \(round), \(question.explain.joined(separator: " "))\nseen \(seen), told \(expected)\n\(output)\n\(objects)"
                )
                outcomes[String(seen.prefix { $0 != " " }), default: 0] += 1
                if seen == "denied" { denials[mark] = told.denials }
            }
        }
        #expect(asked >= 300)
        // Every kind of outcome has come up, or the test proves less than it says.
        for kind in ["reached", "denied", "redirected", "status"] {
            #expect(outcomes[kind, default: 0] >= 8, "\(outcomes)")
        }
        // Which policy has denied: Envoy writes its log at least every ten seconds.
        try eventually("the logs of \(denials.count) denials", within: 30) {
            let lines = try String(contentsOfFile: log, encoding: .utf8)
            return denials.keys.allSatisfy { lines.contains("mark=\($0) code=403") } ? true : nil
        }
        let lines = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n")
        for (mark, rules) in denials.sorted(by: { $0.key < $1.key }) {
            let details = lines.filter { $0.hasPrefix("mark=\(mark) code=403 details=rbac") }.last ?? ""
            #expect(rules.contains { details.contains("[\($0)]") }, "\(mark): told \(rules), logged \(details)")
        }
    }

    private static func outcome(_ answer: HTTPConnection.Answer) -> String {
        if let version = answer.headers["x-version"] { return "reached \(version)" }
        if answer.code == 403, answer.body.contains("RBAC: access denied") { return "denied" }
        if let location = answer.headers["location"] { return "redirected \(answer.code) \(location)" }
        if answer.code == 404, answer.headers["x-envoy-upstream-service-time"] != nil { return "reached" }
        return "status \(answer.code)"
    }

    @Test func whatIsConnectedIsToldWithItsAddressAndWhoIsUnknownByName() throws {
        let shop = try BookinfoMesh(reviews: ["v1"])
        let (status, output, errors) = try shop.mesh.control.command(
            "explain", "--from", "productpage-v1", "--to", "reviews:9080", "--path", "/reviews/0")
        #expect(status == 0, "\(errors)")
        let address = try shop.mesh["reviews-v1"].address
        #expect(output.contains("server     \(address):9080 reviews-v1: mutual TLS"), "\(output)")
        // The Deployments of versions that have not come are expected.
        #expect(output.contains("expected, port 9080 reviews-v2"), "\(output)")
        #expect(output.contains("Service default/reviews") && output.contains("bookinfo.yaml:"), "\(output)")
        // diff says which proxies would get what, before it happens.
        let diff = try shop.mesh.control.command(
            "diff", "-f", "-",
            input: """
                apiVersion: networking.istio.io/v1
                kind: VirtualService
                metadata: { name: reviews }
                spec: { hosts: [reviews], http: [{ timeout: 3s, route: [{ destination: { host: reviews } }] }] }
                """)
        for account in ["productpage", "details", "ratings", "reviews"] {
            let line = diff.output.split(separator: "\n").first {
                $0.hasPrefix("sidecar default/bookinfo-\(account): ")
            }
            #expect(line?.hasSuffix(" 9080") == true && line?.contains(",") == false, "\(diff.output)\(diff.errors)")
        }
        let unknown = try shop.mesh.control.command("explain", "--from", "nobody", "--to", "reviews")
        #expect(unknown.status == 1 && unknown.errors.contains("there is no workload nobody in default"))
        #expect(unknown.errors.contains("there are details-v1"), "\(unknown.errors)")
    }
}

/// What explain told, as far as the test asks.
private struct Told: Decodable {
    struct Rule: Decodable { var name: String }
    struct Fault: Decodable {
        var abort: String?
        var abortPercent: Double?
    }
    struct Server: Decodable {
        var workload: String?
        var address: String?
        var verdict: String
        var decidedBy: Rule?
    }
    struct Share: Decodable {
        var percent: Double
        var servers: [Server]
    }
    var outcome: String
    var status: Int?
    var location: String?
    var fault: Fault?
    var shares: [Share]?

    /// Everything that may be seen of the request.
    var outcomes: Set<String> {
        if outcome == "redirected" { return ["redirected \(status ?? 0) \(location ?? "")"] }
        if let abort = fault?.abort, fault?.abortPercent == 100 { return ["status \(abort)"] }
        if outcome != "forwarded" { return ["status \(status ?? 0)"] }
        var all: Set<String> = []
        for share in shares ?? [] where share.percent > 0 {
            let servers = share.servers.filter { $0.address != nil }
            if servers.isEmpty { all.insert("status 503") }
            for server in servers {
                switch server.verdict {
                case "allowed", "unasked": all.insert("reached \(server.workload?.suffix(2) ?? "")")
                case "denied": all.insert("denied")
                default: all.insert("status 503")
                }
            }
        }
        return all
    }

    /// The names of rules by which servers may deny it.
    var denials: Set<String> {
        Set((shares ?? []).flatMap(\.servers).filter { $0.verdict == "denied" }.map { $0.decidedBy?.name ?? "none" })
    }
}

extension ControlPlaneProcess {
    fileprivate func command(_ arguments: [String]) throws -> (status: Int32, output: String, errors: String) {
        try ChildProcess.run(Installation.martinet, arguments + ["--data", data])
    }
}

private struct AskedRequest {
    var caller: String
    var host: String
    var method: String
    var path: String
    var headers: [String: String]

    var explain: [String] {
        ["explain", "--from", caller, "--to", host, "--method", method, "--path", path, "-o", "json"]
            + headers.sorted { $0.key < $1.key }.flatMap { ["--header", "\($0.key)=\($0.value)"] }
    }
}

/// A generator with a seed; not for secrets.
private struct SeededRandom: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        var mixed = state
        mixed = (mixed ^ (mixed >> 33)) &* 0xFF51_AFD7_ED55_8CCD
        return mixed ^ (mixed >> 33)
    }

    mutating func pick<T>(_ items: [T]) -> T { items[Int.random(in: 0..<items.count, using: &self)] }
    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }

    mutating func question() -> AskedRequest {
        let service = pick(["reviews", "reviews", "reviews", "ratings", "details"])
        let host =
            chance(5)
            ? pick(["nobody:9080", "nobody.example.com:9080"])
            : pick([
                "\(service):9080", "\(service):9080", service, "\(service).default:9080",
                "\(service).default.svc.cluster.local:9080", "\(service).default.svc",
            ])
        var headers: [String: String] = [:]
        for name in ["end-user", "x-team"] where chance(50) {
            headers[name] = pick(["jason", "jane", "jas", "", "a,b"])
        }
        var path = pick(["/\(service)/0", "/\(service)/0", "/\(service)/1", "/old/\(service)/0", "/api", "/API/x"])
        path += pick(["", "", "?q=1", "?q=2&r=1"])
        return AskedRequest(
            caller: pick(["productpage-v1", "productpage-v1", "reviews-v1", "details-v1", "ratings-v1"]), host: host,
            method: pick(["GET", "GET", "GET", "POST", "DELETE"]), path: path, headers: headers)
    }

    // MARK: Objects

    mutating func objects(accessLog: String) -> String {
        var all = [
            """
            apiVersion: martinet.dev/v1
            kind: MeshConfig
            metadata: { name: default }
            spec:
              outboundTrafficPolicy: REGISTRY_ONLY
              accessLog:
                file: \(accessLog)
                format: "mark=%REQ(X-MARK)% code=%RESPONSE_CODE% details=%RESPONSE_CODE_DETAILS%"
            """
        ]
        if chance(85) { all.append(destinationRule()) }
        if chance(90) { all.append(virtualService("reviews", subsets: ["v1", "v2", "v3", "v3", "v9"])) }
        if chance(50) { all.append(virtualService(pick(["ratings", "details"]), subsets: [])) }
        if chance(40) { all.append(peerAuthentication("default", selector: nil)) }
        if chance(30) { all.append(peerAuthentication("some", selector: pick(["reviews", "ratings"]))) }
        for index in 0..<pick([0, 1, 2, 3, 4]) { all.append(authorizationPolicy("p\(index)")) }
        return all.joined(separator: "\n---\n") + "\n"
    }

    private mutating func destinationRule() -> String {
        let tls = pick([
            "", "", "", "trafficPolicy: { tls: { mode: DISABLE } }", "trafficPolicy: { tls: { mode: ISTIO_MUTUAL } }",
        ])
        return """
            apiVersion: networking.istio.io/v1
            kind: DestinationRule
            metadata: { name: reviews }
            spec:
              host: reviews
              \(tls)
              subsets:
              - { name: v1, labels: { version: v1 } }
              - { name: v2, labels: { version: v2 } }
              - { name: v3, labels: { version: v3 }\(pick(["", "", ", trafficPolicy: { tls: { mode: DISABLE } }"])) }
              - { name: v9, labels: { version: v9 } }
            """
    }

    private mutating func virtualService(_ host: String, subsets: [String]) -> String {
        let rules = (0..<pick([1, 2, 3, 4])).map { _ in rule(host, subsets) }
        return """
            apiVersion: networking.istio.io/v1
            kind: VirtualService
            metadata: { name: \(host) }
            spec:
              hosts: [\(host)]
              http:
            \(rules.map { "  - \($0)" }.joined(separator: "\n"))
            """
    }

    private mutating func rule(_ host: String, _ subsets: [String]) -> String {
        var parts: [String] = []
        if chance(75) {
            parts.append("match: [\((0..<pick([1, 1, 2])).map { _ in match(host) }.joined(separator: ", "))]")
        }
        switch Int.random(in: 0..<100, using: &self) {
        case 0..<14:
            parts.append(
                "redirect: "
                    + pick([
                        "{ uri: /new }", "{ authority: other.example.com, redirectCode: 302 }",
                        "{ uri: /new, authority: other.example.com:8080 }", "{ scheme: https }", "{ port: 8443 }",
                    ]))
        case 14..<24: parts.append("directResponse: { status: \(pick([200, 404, 418, 503])) }")
        default:
            func destination(_ subset: String) -> String {
                "destination: { host: \(host)\(subset.isEmpty ? "" : ", subset: \(subset)") }"
            }
            let count = subsets.isEmpty ? 1 : pick([1, 1, 2, 3])
            let shares = (0..<count).map { _ in
                "{ \(destination(subsets.isEmpty || chance(20) ? "" : pick(subsets))), weight: \(count == 1 ? 1 : pick([0, 10, 50])) }"
            }
            // All zero is no sum.
            let whole = shares.allSatisfy { $0.contains("weight: 0") } ? ["{ \(destination("")) }"] : shares
            parts.append("route: [\(whole.joined(separator: ", "))]")
            if chance(20) {
                parts.append(
                    "fault: { abort: { percentage: { value: \(pick([0, 100])) }, httpStatus: \(pick([500, 555, 429])) } }"
                )
            }
            if chance(10) { parts.append("timeout: 10s") }
            if chance(20) { parts.append("rewrite: { uri: /\(host)/0 }") }
            if chance(15) {
                parts.append(
                    "headers: { request: { set: { end-user: \(pick(["jason", "jane"])) }, remove: [x-team] } }")
            }
        }
        return "{ " + parts.joined(separator: ", ") + " }"
    }

    private mutating func match(_ host: String) -> String {
        func text(_ value: String) -> String { "\"\(value)\"" }
        var parts: [String] = []
        if chance(50) {
            parts.append(
                pick([
                    "uri: { exact: /\(host)/0 }", "uri: { prefix: /\(host) }", "uri: { prefix: /old/ }",
                    "uri: { regex: \"/(old/)?\(host)/[01]\" }", "uri: { prefix: /api }, ignoreUriCase: true",
                    "uri: { exact: /api }",
                ]))
        }
        if chance(30) { parts.append("method: { \(pick(["exact: GET", "regex: \"P.*\"", "exact: DELETE"])) }") }
        if chance(35) {
            parts.append(
                "headers: { end-user: { \(pick(["exact: jason", "prefix: ja", "regex: \"ja(ne|son)\"", ""])) } }")
        }
        if chance(20) {
            parts.append("withoutHeaders: { x-team: { \(pick(["exact: jane", "regex: \"ja.+\"", ""])) } }")
        }
        if chance(20) { parts.append("queryParams: { q: { \(pick(["exact: \"1\"", "regex: \"[12]\""])) } }") }
        if chance(15) {
            parts.append(
                "authority: { \(pick(["prefix: \(host)", "exact: \"\(host):9080\"", "regex: \".*local.*\""])) }")
        }
        if chance(15) { parts.append("sourceLabels: { app: \(pick(["productpage", "reviews"])) }") }
        if chance(10) { parts.append("port: \(pick([9080, 80]))") }
        return parts.isEmpty ? "{ uri: { prefix: / } }" : "{ \(parts.joined(separator: ", ")) }"
    }

    private mutating func peerAuthentication(_ name: String, selector: String?) -> String {
        let place = selector.map { "selector: { matchLabels: { app: \($0) } }, " } ?? ""
        return """
            apiVersion: security.istio.io/v1
            kind: PeerAuthentication
            metadata: { name: \(name) }
            spec: { \(place)mtls: { mode: \(pick(["STRICT", "STRICT", "PERMISSIVE", "DISABLE"])) } }
            """
    }

    private mutating func authorizationPolicy(_ name: String) -> String {
        let selector =
            chance(70) ? "selector: { matchLabels: { app: \(pick(["reviews", "ratings", "details"])) } }" : ""
        let rules = (0..<pick([1, 1, 2])).map { _ in "  - \(policyRule())" }
        return """
            apiVersion: security.istio.io/v1
            kind: AuthorizationPolicy
            metadata: { name: \(name) }
            spec:
              \(selector)
              action: \(pick(["ALLOW", "ALLOW", "DENY", "AUDIT"]))
              rules:
            \(rules.joined(separator: "\n"))
            """
    }

    private mutating func policyRule() -> String {
        var parts: [String] = []
        if chance(55) {
            let account = pick(["productpage", "reviews", "ratings"])
            parts.append(
                "from: [{ source: { "
                    + pick([
                        "principals: [\"cluster.local/ns/default/sa/bookinfo-\(account)\"]", "namespaces: [default]",
                        "principals: [\"*-\(account)\"]", "notPrincipals: [\"*-\(account)\"]",
                        "notNamespaces: [default]",
                        "principals: [\"*\"]", "serviceAccounts: [bookinfo-\(account)]",
                    ]) + " } }]")
        }
        if chance(60) {
            parts.append(
                "to: [{ operation: { "
                    + pick([
                        "methods: [GET]", "methods: [DELETE, POST]", "notMethods: [GET]",
                        "paths: [\"/reviews/*\", \"/details/0\"]",
                        "paths: [\"*/0\"], methods: [GET]", "notPaths: [\"/old/*\"]",
                        "hosts: [\"reviews*\", \"*.local:9080\"]",
                        "ports: [\"9080\"]", "notPorts: [\"9080\"]", "paths: [\"/{*}/0\"]", "paths: [\"/old/{**}\"]",
                    ]) + " } }]")
        }
        if chance(30) {
            parts.append(
                "when: [{ "
                    + pick([
                        "key: \"request.headers[end-user]\", values: [jason, \"jan*\"]",
                        "key: \"request.headers[end-user]\", notValues: [jason]",
                        "key: \"request.headers[x-team]\", values: [\"*\"]", "key: source.namespace, values: [default]",
                        "key: destination.port, values: [\"9080\"]",
                    ]) + " }]")
        }
        return parts.isEmpty ? "{}" : "{ \(parts.joined(separator: ", ")) }"
    }
}
