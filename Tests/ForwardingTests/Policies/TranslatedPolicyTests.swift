import Addresses
import EnvoyAPI
import HTTP
import Identity
import Mesh
import Protobuf
import Testing

@testable import Forwarding
@testable import Translation

/// Policies of users, as the translation makes filters of them: each is taken, and what it is said to do it does.
struct TranslatedPolicyTests {
    private let proxy = ProxyClass(namespace: "shop", labels: ["app": "web"], serviceAccount: "web")

    private func translator(_ text: String) throws -> Translator {
        let index = MeshIndex(try ObjectText(Array(text.utf8)).objects)
        return Translator(
            MeshReader(index), settings: TranslationSettings(trustDomain: try TrustDomain("cluster.local")))
    }

    private func policy(_ name: String, _ action: String, _ rules: String, annotations: String = "") -> String {
        """
        ---
        apiVersion: security.istio.io/v1
        kind: AuthorizationPolicy
        metadata: {name: \(name), namespace: shop\(annotations)}
        spec: {selector: {matchLabels: {app: web}}, action: \(action), rules: [\(rules)]}

        """
    }

    private func chain(_ translator: Translator) throws -> [HTTPFilter] {
        let settings = try translator.httpPolicyFilters(of: proxy, port: 8080).map { filter in
            guard case .typed_config(let any) = filter.pointee.config_type else { throw CancellationError() }
            return ExtensionSetting(filter.pointee.name.string, any.pointee)
        }
        return try HTTPFilterChain(settings).applying(.none)
    }

    private func isAllowed(_ filters: [HTTPFilter], _ facts: RequestFacts) -> Bool {
        filters.allSatisfy { filter in
            if case .accessControl(let control?) = filter { control.decide(facts).isAllowed } else { true }
        }
    }

    private struct Picks {
        var dice: SeededDice

        mutating func list(_ values: [String]) -> String {
            "["
                + (0..<Int.random(in: 1...2, using: &dice)).map { _ in "\"\(dice.pick(values))\"" }.joined(
                    separator: ", ")
                + "]"
        }

        mutating func rule() -> String {
            var operation: [String] = []
            let operations = [
                ("methods", ["GET", "P*", "*T", "*"]), ("hosts", ["web", "Web.shop", "*.shop", "web*"]),
                ("paths", ["/a", "/a*", "*b", "*.js", "/{*}", "/a/{**}", "/{*}/b", "/a/{**}/c", "*"]),
                ("ports", ["8080", "80"]),
            ]
            for (name, values) in operations {
                if dice.chance(35) { operation.append("\(name): \(list(values))") }
                if dice.chance(12) {
                    operation.append("not\(name.prefix(1).uppercased())\(name.dropFirst()): \(list(values))")
                }
            }
            var source: [String] = []
            let sources = [
                ("principals", ["cluster.local/ns/shop/sa/cart", "cluster.local/ns/shop/*", "*/sa/pay", "*"]),
                ("namespaces", ["shop", "p*", "*-test"]), ("serviceAccounts", ["cart", "prod/pay"]),
                ("ipBlocks", ["10.0.0.0/8", "10.1.2.3", "20.0.0.0/8"]),
                ("remoteIpBlocks", ["30.0.0.0/8", "10.0.0.0/8"]),
                ("requestPrincipals", ["joe/ann", "joe/*", "*", "*nn"]),
            ]
            // Accounts are named in one way or in the other.
            let left = dice.chance(50) ? ["serviceAccounts"] : ["principals", "namespaces"]
            for (name, values) in sources where !left.contains(name) {
                if dice.chance(20) { source.append("\(name): \(list(values))") }
                if dice.chance(6) {
                    source.append("not\(name.prefix(1).uppercased())\(name.dropFirst()): \(list(values))")
                }
            }
            let conditions = [
                ("request.headers[x-token]", ["a", "a*", "*c", "*"]), ("request.auth.claims[group]", ["dev", "o*"]),
                ("connection.sni", ["web.example", "*.example"]), ("destination.port", ["8080", "1"]),
                ("source.namespace", ["shop", "prod"]), ("destination.ip", ["10.0.0.0/24", "10.9.9.9"]),
                ("source.principal", ["cluster.local/ns/shop/sa/cart", "*"]),
            ]
            var when: [String] = []
            if dice.chance(35) {
                let (key, values) = dice.pick(conditions)
                when.append("{key: \"\(key)\", \(dice.pick(["values", "notValues"])): \(list(values))}")
            }
            var parts: [String] = []
            if !source.isEmpty { parts.append("from: [{source: {\(source.joined(separator: ", "))}}]") }
            if !operation.isEmpty { parts.append("to: [{operation: {\(operation.joined(separator: ", "))}}]") }
            if !when.isEmpty { parts.append("when: [\(when.joined())]") }
            return "{\(parts.joined(separator: ", "))}"
        }
    }

    @Test(arguments: UInt64(1)...30)
    func whatIsSaidOfPoliciesIsDone(seed: UInt64) throws {
        var picks = Picks(dice: SeededDice(seed: seed))
        let texts = ["ALLOW", "DENY", "AUDIT", "ALLOW"].enumerated().map { number, action in
            policy("p\(number)", action, (0..<2).map { _ in picks.rule() }.joined(separator: ", "))
        }
        let translator = try translator(texts.joined())
        let filters = try chain(translator)
        #expect(filters.count == 3)
        let rules = translator.authorizationRules(for: proxy)
        for _ in 0..<150 {
            let identity = picks.dice.pick([
                nil, "spiffe://cluster.local/ns/shop/sa/cart", "spiffe://cluster.local/ns/prod/sa/pay",
                "spiffe://other/ns/a-test/sa/pay",
            ])
            let claims: [String: [String]] = picks.dice.pick([
                [:], ["iss": ["joe"], "sub": ["ann"], "group": ["dev", "ops"]], ["iss": ["joe"], "sub": ["bob"]],
            ])
            let remote = picks.dice.pick([nil, "30.1.1.1"])
            var headers: [(String, String)] = picks.dice.pick([[], [("x-token", "a")], [("x-token", "abc")]])
            if let remote { headers.append(("x-forwarded-for", remote)) }
            let serverName = picks.dice.pick(["web.example", "other"])
            let (method, path, host) = (
                picks.dice.pick(["GET", "POST", "PUT"]),
                picks.dice.pick(["/", "/a", "/a/", "/a/b", "/a/b/c", "/x.js", "/a?x=/b", "/b/b"]),
                picks.dice.pick(["web", "web.shop", "WEB", "a.shop"])
            )
            var connection = plain
            if let identity {
                connection = secure(PeerCertificateFacts(uriNames: [identity]), serverName: serverName)
            }
            var facts = request(method, path, host: host, headers, connection: connection)
            facts.remote = remote.map { address($0) } ?? connection.source
            if !claims.isEmpty {
                let fields = claims.sorted { $0.key < $1.key }.map { name, values in
                    StructureValue.Field(
                        name, values.count == 1 ? .string(values[0]) : .list(values.map { .string($0) }))
                }
                facts.metadata.merge(TokenAuthentication.filterName, [.init("claims", .object(fields))])
            }
            let question = AccessQuestion(
                identity: identity, address: IPAddress("10.1.2.3"), claims: claims,
                request: RoutedRequest(
                    authority: host, method: method, path: path,
                    headers: Dictionary(uniqueKeysWithValues: headers)),
                port: 8080, serverAddress: IPAddress("10.0.0.9"), serverName: identity == nil ? nil : serverName)
            var expected = true
            if case .denied = rules.decision(on: question, trustDomain: "cluster.local") { expected = false }
            #expect(isAllowed(filters, facts) == expected, "seed \(seed): \(question)\n\(texts.joined())")
        }
    }

    @Test func everyKindOfPolicyIsTaken() throws {
        let text =
            policy("allow", "ALLOW", "{from: [{source: {namespaces: [shop]}}]}")
            + policy("deny", "DENY", "{to: [{operation: {paths: [\"/admin*\"]}}]}")
            + policy("custom", "CUSTOM, provider: {name: x}", "{to: [{operation: {methods: [PUT]}}]}")
            + policy(
                "tried", "DENY", "{}", annotations: ", annotations: {\"istio.io/dry-run\": \"true\"}") + """
                ---
                apiVersion: security.istio.io/v1
                kind: RequestAuthentication
                metadata: {name: tokens, namespace: shop}
                spec:
                  selector: {matchLabels: {app: web}}
                  jwtRules:
                  - {issuer: joe, jwksUri: "https://keys.example/set", forwardOriginalToken: true}
                  - issuer: ann
                    jwksUri: "http://keys.example:8080/set"
                    fromHeaders: [{name: x-token, prefix: "T "}]
                    fromParams: [t]
                    fromCookies: [c]
                    outputPayloadToHeader: x-payload
                    outputClaimToHeaders: [{header: x-user, claim: sub}]

                """
        let translator = try translator(text)
        let filters = try chain(translator)
        guard case .tokens(let tokens, nil)? = filters.first else {
            Issue.record("no token filter")
            return
        }
        var keys = TokenKeys(tokens, now: instant(0))
        let clusters = keys.due(now: instant(0)).map { errand in
            if case .request(let cluster, _, _) = errand.source { cluster } else { "" }
        }
        #expect(clusters == ["jwks|443||keys.example", "jwks|8080||keys.example"])
        // CUSTOM, DENY (with what is only tried), ALLOW.
        #expect(filters.count == 4)
        let inside = secure(PeerCertificateFacts(uriNames: ["spiffe://cluster.local/ns/shop/sa/a"]))
        let verdicts = filters.compactMap { filter in
            if case .accessControl(let control?) = filter { control.decide(request(connection: inside)) } else { nil }
        }
        #expect(verdicts.map(\.isAllowed) == [true, true, true])
        #expect(verdicts.compactMap(\.shadow) == [.init(isAllowed: false, policy: "ns[shop]-policy[tried]-rule[0]")])
        for filter in translator.networkPolicyFilters(of: proxy, port: 5432) {
            guard case .typed_config(let any) = filter.pointee.config_type else { throw CancellationError() }
            let arena = Arena()
            let message = try FieldAudit.decode(NetworkRBAC.self, any.pointee, in: arena, AccessControl.fields)
            _ = try AccessControl(message.pointee, in: arena)
        }
    }
}
