import Foundation

/// A small generator with a seed; not for secrets.
struct SmallRandom: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        var mixed = state
        mixed = (mixed ^ (mixed >> 33)) &* 0xFF51_AFD7_ED55_8CCD
        return mixed ^ (mixed >> 33)
    }

    mutating func pick<T>(_ items: [T]) -> T { items[Int.random(in: 0..<items.count, using: &self)] }
    /// True once in `count` times.
    mutating func once(in count: Int) -> Bool { Int.random(in: 0..<count, using: &self) == 0 }
}

/// Route configurations and requests by chance, as JSON and as questions to a real Envoy.
struct RandomRoutes {
    typealias JSON = [String: Any]
    var random: SmallRandom

    init(seed: UInt64) { random = SmallRandom(state: seed) }

    mutating func configuration(hosts: Int = 4, routes: Int = 18) throws -> String {
        var domains = [
            "a.test", "*.a.test", "a.*", "*", "b.test:8080", "*-x.test", "b.test", "a.b.*", "*.b.a.test", "C.test",
        ].shuffled(using: &random)
        let perHost = domains.count / hosts
        var table: JSON = [
            "name": "table",
            "virtual_hosts": (0..<hosts).map { index -> JSON in
                var host: JSON = [
                    "name": "h\(index)", "domains": Array(domains.suffix(perHost)),
                    "routes": (0..<routes).map { route("h\(index)r\($0)") },
                ]
                domains.removeLast(perHost)
                add(operations("host"), to: &host)
                return host
            },
        ]
        if random.once(in: 2) { table["most_specific_header_mutations_wins"] = true }
        if random.once(in: 3) { table["ignore_port_in_host_matching"] = true }
        if random.once(in: 3) { table["ignore_path_parameters_in_path_matching"] = true }
        add(operations("table"), to: &table)
        let data = try JSONSerialization.data(withJSONObject: table, options: [.sortedKeys])
        return String(decoding: data, as: UTF8.self)
    }

    private func add(_ more: JSON, to object: inout JSON) { object.merge(more) { $1 } }

    private mutating func route(_ name: String) -> JSON {
        var route: JSON = ["name": name, "match": match()]
        let isTemplate = (route["match"] as? JSON)?["path_match_policy"] != nil
        switch random.pick([0, 0, 1, 2, 2]) {
        case 0:
            route["direct_response"] = [
                "status": random.pick([200, 201, 404, 503]), "body": ["inline_string": name],
            ]
        case 1: route["redirect"] = redirect(isTemplate: isTemplate)
        default: route["route"] = forward(isTemplate: isTemplate)
        }
        add(operations("route"), to: &route)
        return route
    }

    private mutating func text() -> JSON {
        var text: JSON = random.pick([
            ["exact": "a"], ["exact": "B"], ["prefix": "a"], ["suffix": "b"], ["contains": "a,b"], ["contains": "A"],
            ["safe_regex": ["regex": "a|b+"]], ["safe_regex": ["regex": "[ab].*"]],
        ])
        if text["safe_regex"] == nil, random.once(in: 3) { text["ignore_case"] = true }
        return text
    }

    private mutating func match() -> JSON {
        var match: JSON
        let text = random.pick(["/a", "/a/b", "/A", "/ab", "/b", "/a/b/c", "/a.b"])
        switch random.pick([0, 0, 0, 1, 1, 2, 3, 4]) {
        case 0: match = ["prefix": random.pick([text, "/", "", "/a/"])]
        case 1: match = ["path": text]
        case 2: match = ["path_separated_prefix": text]
        case 3:
            match = [
                "safe_regex": [
                    "regex": random.pick(["/a.*", "/[ab]", "/(a|b)/.*", "/.*b", "/a\\.b", "/a/b?", "/a|/b", "^/ab?c*"])
                ]
            ]
        default:
            match = [
                "path_match_policy": [
                    "name": "envoy.path.match.uri_template.uri_template_matcher",
                    "typed_config": [
                        "@type":
                            "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
                        "path_template": random.pick(["/a/{x}", "/{y}/b", "/a/*/c", "/a/{x=**}", "/{x}"]),
                    ],
                ]
            ]
        }
        let takesCase = match["safe_regex"] == nil && match["path_match_policy"] == nil
        if takesCase, random.once(in: 4) { match["case_sensitive"] = false }
        if random.once(in: 2) { match["headers"] = (0..<random.pick([1, 1, 2])).map { _ in header() } }
        if random.once(in: 5) {
            match["query_parameters"] = [
                ["name": random.pick(["q", "r"]), "string_match": self.text()] as JSON,
                ["name": "q", "present_match": true],
            ].prefix(random.pick([1, 2])).map { $0 }
        }
        if random.once(in: 12) { match["grpc"] = JSON() }
        if random.once(in: 12) {
            match["runtime_fraction"] = [
                "default_value": ["numerator": random.pick([0, 100]), "denominator": "HUNDRED"]
            ]
        }
        return match
    }

    private mutating func header() -> JSON {
        var header: JSON = ["name": random.pick(["x-a", "x-b", "X-C", "x-n", ":method", ":authority", ":path"])]
        switch random.pick([0, 0, 1, 1, 2]) {
        case 0: header["string_match"] = text()
        case 1: header["present_match"] = random.pick([true, true, false])
        default: header["range_match"] = ["start": random.pick([0, 5]), "end": 10]
        }
        if random.once(in: 3) { header["invert_match"] = true }
        if random.once(in: 3) { header["treat_missing_header_as_empty"] = true }
        return header
    }

    private mutating func redirect(isTemplate: Bool) -> JSON {
        var redirect: JSON = [
            "response_code": random.pick([
                "MOVED_PERMANENTLY", "FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT",
            ])
        ]
        switch random.pick([0, 1, 2]) {
        case 0: redirect["https_redirect"] = true
        case 1: redirect["scheme_redirect"] = "ftp"
        default: break
        }
        if random.once(in: 2) { redirect["host_redirect"] = "new.test" }
        if random.once(in: 3) { redirect["port_redirect"] = 8443 }
        if random.once(in: 3) { redirect["strip_query"] = true }
        switch random.pick([0, 1, 2, 3, 4]) {
        case 0: redirect["path_redirect"] = "/moved"
        case 1: redirect["path_redirect"] = "/moved?to=here"
        case 2 where !isTemplate: redirect["prefix_rewrite"] = "/p"
        case 3:
            redirect["regex_rewrite"] = ["pattern": ["regex": "/(\\w)"], "substitution": "/\\1\\1"]
        default: break
        }
        return redirect
    }

    private mutating func forward(isTemplate: Bool) -> JSON {
        var action: JSON = [:]
        switch random.pick([0, 0, 1, 2]) {
        case 0: action["cluster"] = random.pick(RouterPeer.clusters)
        case 1: action["cluster_header"] = "x-cluster"
        default:
            action["weighted_clusters"] =
                [
                    "header_name": "x-weight",
                    "clusters": RouterPeer.clusters.map { name -> JSON in
                        var cluster: JSON = ["name": name, "weight": random.pick([1, 3, 5])]
                        add(operations("cluster"), to: &cluster)
                        if random.once(in: 3) { cluster["host_rewrite_literal"] = "weighted.test" }
                        return cluster
                    },
                ] as JSON
        }
        switch random.pick([0, 1, 2, 3, 3]) {
        case 0 where !isTemplate: action["prefix_rewrite"] = random.pick(["/", "/new", "/new/"])
        case 1:
            action["regex_rewrite"] = [
                "pattern": ["regex": random.pick(["^/a", "b", "/(.)/(.)", "$"])], "substitution": "/z",
            ]
        default: break
        }
        switch random.pick([0, 1, 2, 3, 3, 3]) {
        case 0: action["host_rewrite_literal"] = "literal.test"
        case 1: action["host_rewrite_header"] = "x-a"
        case 2:
            action["host_rewrite_path_regex"] = [
                "pattern": ["regex": "^/(\\w+).*$"], "substitution": "\\1.test",
            ]
        default: break
        }
        if random.once(in: 3) { action["append_x_forwarded_host"] = true }
        if random.once(in: 3) { action["timeout"] = random.pick(["0s", "3s", "1.5s"]) }
        if random.once(in: 4) { action["retry_policy"] = ["retry_on": "5xx", "per_try_timeout": "2s"] }
        return action
    }

    /// Changes of headers, with values that tell who made them.
    private mutating func operations(_ level: String) -> JSON {
        var result: JSON = [:]
        for (side, letter) in [("request", "x"), ("response", "r")] {
            if random.once(in: 3) {
                result["\(side)_headers_to_add"] = (0..<random.pick([1, 2, 3])).map { _ -> JSON in
                    var option: JSON = [
                        "header": [
                            "key": "\(letter)-\(random.pick(["a", "b", "new", "d"]))",
                            "value": random.pick([
                                level, level, "%REQ(x-b)%", "%REQ(nope?x-a)%-\(level)", "", "100%%", "%REQ(x-long):3%",
                                "%PROTOCOL%", "%REQ(:METHOD)%", "%RESPONSE_CODE%",
                            ]),
                        ],
                        "append_action": random.pick([
                            "APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD",
                            "OVERWRITE_IF_EXISTS",
                        ]),
                    ]
                    if random.once(in: 4) { option["keep_empty_value"] = true }
                    return option
                }
            }
            if random.once(in: 5) {
                result["\(side)_headers_to_remove"] = ["\(letter)-\(random.pick(["a", "b", "c"]))"]
            }
        }
        return result
    }

    mutating func question() -> RouterPeer.Question {
        var path = random.pick([
            "/", "/a", "/a/", "/a/b", "/A/b", "/ab", "/AB", "/b", "/b/a", "/abc", "/a.b", "/axb", "/a/b/c", "/a/x/c",
            "/a;v=1/b", "/a/;x", "/ABC/d", "/a//b",
        ])
        path += random.pick(["", "", "", "?q=a", "?q", "?r=b&q=ab", "?q=a&q=b", "?Q=a", "?x=/a", "?r=a%2Cb", "?q=a,b"])
        var question = RouterPeer.Question(
            method: random.pick(["GET", "GET", "POST"]), path: path,
            host: random.pick([
                "a.test", "A.TEST", "x.a.test", "a.example", "b.test:8080", "b.test", "n-x.test", "a.b.c", "z.b.a.test",
                "c.test", "other", "a.test:80", "a.test:443", "[::1]:80", "b.test:99", ".a.test",
            ]))
        for name in ["x-a", "X-B", "x-c", "x-n", "x-b"] where random.once(in: 3) {
            question.headers.append([name, random.pick(["a", "b", "B", "ab", "ba", "a,b", "7", "12", "-3", "", "5x"])])
        }
        if random.once(in: 5) { question.headers.append(["x-long", "abcdefg"]) }
        if random.once(in: 5) {
            question.headers.append(["content-type", random.pick(["application/grpc", "text/plain"])])
        }
        if random.once(in: 2) { question.headers.append(["x-cluster", random.pick(RouterPeer.clusters + ["none"])]) }
        question.headers.append(["x-weight", "\(Int.random(in: 0..<20, using: &random))"])
        if question.method == "POST" { question.headers.append(["content-length", "0"]) }
        return question
    }
}
