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
            var answer: JSON = ["status": random.pick([200, 201, 302, 404, 503])]
            switch random.pick([0, 0, 1, 2, 3]) {
            case 0: answer["body"] = ["inline_string": name]
            case 1: answer["body"] = ["inline_bytes": Data("<\(name)>\n".utf8).base64EncodedString()]
            case 2: answer["body"] = ["inline_string": ""]
            default: break
            }
            route["direct_response"] = answer
        case 1: route["redirect"] = redirect(isTemplate: isTemplate)
        default: route["route"] = forward(isTemplate: isTemplate)
        }
        add(operations("route"), to: &route)
        // So that an answer tells where it comes from.
        if !random.once(in: 5) {
            for (side, key) in [("request", "x-route"), ("response", "r-route")] {
                route["\(side)_headers_to_add"] =
                    (route["\(side)_headers_to_add"] as? [JSON] ?? []) + [["header": ["key": key, "value": name]]]
            }
        }
        return route
    }

    private mutating func text() -> JSON {
        var text: JSON = random.pick([
            ["exact": "a"], ["exact": "B"], ["exact": ""], ["prefix": "a"], ["prefix": "A,"], ["suffix": "b"],
            ["suffix": "B"], ["contains": "a,b"], ["contains": "A"], ["contains": ","],
            ["safe_regex": ["regex": "a|b+"]], ["safe_regex": ["regex": "[ab].*"]],
            ["safe_regex": ["regex": "(?i)AB?"]], ["safe_regex": ["regex": ".*,.*"]],
            ["safe_regex": ["regex": "^a$"]], ["safe_regex": ["regex": "\\d+|\\w\\W\\w"]],
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
                    "regex": random.pick([
                        "/a.*", "/[ab]", "/(a|b)/.*", "/.*b", "/a\\.b", "/a/b?", "/a|/b", "^/ab?c*", "(?i)/A/B",
                        "/a;.*", "/[^/]*", "/\\w+/\\w+$", ".*", "/a%20b|/a.b",
                    ])
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
                ["name": random.pick(["q", "r", "Q", "q r", "a%62"]), "string_match": self.text()] as JSON,
                ["name": random.pick(["q", "x"]), "present_match": random.pick([true, true, false])],
            ].shuffled(using: &random).prefix(random.pick([1, 2])).map { $0 }
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
        var header: JSON = [
            "name": random.pick([
                "x-a", "x-a", "x-b", "x-b", "X-C", "x-n", "x-n", ":method", ":authority", ":path", ":scheme", "cookie",
                "x-long",
            ])
        ]
        switch random.pick([0, 0, 0, 1, 1, 2, 2, 3, 4]) {
        case 0: header["string_match"] = text()
        case 1: header["present_match"] = random.pick([true, true, false])
        case 2:
            let start = random.pick([0, 5, -5, 12, -9_000_000_000_000_000_000])
            header["range_match"] = [
                "start": "\(start)", "end": "\(start < -9_000 ? 7 : start + random.pick([0, 1, 10]))",
            ]
        case 3:
            let (key, value) = random.pick([
                ("exact_match", "a"), ("exact_match", "a,b"), ("prefix_match", "b"), ("suffix_match", "b"),
                ("contains_match", ","),
            ])
            header[key] = value
        default: break
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
        if random.once(in: 2) { redirect["host_redirect"] = random.pick(["new.test", "new.test:90", "[::2]"]) }
        if random.once(in: 3) { redirect["port_redirect"] = random.pick([8443, 80, 443]) }
        if random.once(in: 3) { redirect["strip_query"] = true }
        switch random.pick([0, 1, 2, 3, 4]) {
        case 0: redirect["path_redirect"] = random.pick(["/moved", "/moved#there", ""])
        case 1: redirect["path_redirect"] = "/moved?to=here"
        case 2 where !isTemplate: redirect["prefix_rewrite"] = random.pick(["/p", "/p/", "/", "/p?x=1", ""])
        case 3:
            let (pattern, substitution) = random.pick([
                ("/(\\w)", "/\\1\\1"), ("^/a", "/n?r=1"), ("[^/]+$", "\\0-\\0"), ("b", ""), ("^.*$", "/whole"),
                (";.*", ""), ("(?i)/A(/.*)?", "/z\\1"),
            ])
            redirect["regex_rewrite"] = ["pattern": ["regex": pattern], "substitution": substitution]
        default: break
        }
        return redirect
    }

    private mutating func forward(isTemplate: Bool) -> JSON {
        var action: JSON = [:]
        switch random.pick([0, 0, 1, 2, 3]) {
        case 0: action["cluster"] = random.pick(RouterPeer.clusters)
        case 1: action["cluster_header"] = "x-cluster"
        case let kind:
            // A number in a header chooses, or the hash of what every request has.
            var chooser: JSON = ["header_name": "x-weight"]
            if kind == 3 {
                chooser = ["use_hash_policy": true]
                action["hash_policy"] = [hash(), hash(), ["connection_properties": ["source_ip": true]]]
            }
            chooser.merge(
                [
                    "clusters": RouterPeer.clusters.map { name -> JSON in
                        var cluster: JSON = ["name": name, "weight": random.pick([1, 3, 5])]
                        add(operations("cluster"), to: &cluster)
                        if random.once(in: 3) { cluster["host_rewrite_literal"] = "weighted.test" }
                        return cluster
                    }
                ] as JSON
            ) { $1 }
            action["weighted_clusters"] = chooser
        }
        if action["hash_policy"] == nil, random.once(in: 4) {
            action["hash_policy"] = [
                [
                    "cookie": [
                        "name": random.pick(["k", "made"]), "ttl": random.pick(["0s", "90s"]),
                        "path": random.pick(["", "/a"]),
                        "attributes": random.pick([[], [["name": "SameSite", "value": "Lax"], ["name": "Secure"]]]),
                    ]
                ] as JSON
            ]
        }
        switch random.pick([0, 1, 2, 3, 3]) {
        case 0 where !isTemplate: action["prefix_rewrite"] = random.pick(["/", "/new", "/new/", "/new?n=1"])
        case 1:
            action["regex_rewrite"] = [
                "pattern": ["regex": random.pick(["^/a", "b", "/(.)/(.)", "$", "(?i)A", ";.*$", "x*"])],
                "substitution": random.pick(["/z", "/\\0", "/z?s=1"]),
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

    private mutating func hash() -> JSON {
        var policy: JSON = random.pick([
            ["header": ["header_name": "x-b"]], ["header": ["header_name": "X-A"]],
            ["query_parameter": ["name": "q"]], ["cookie": ["name": "k"]],
            [
                "header": [
                    "header_name": "x-a", "regex_rewrite": ["pattern": ["regex": "^."], "substitution": "-\\0-"],
                ]
            ],
        ])
        if random.once(in: 4) { policy["terminal"] = true }
        return policy
    }

    /// Changes of headers, with values that tell who made them.
    private mutating func operations(_ level: String) -> JSON {
        var result: JSON = [:]
        for (side, letter) in [("request", "x"), ("response", "r")] {
            if random.once(in: 3) {
                result["\(side)_headers_to_add"] = (0..<random.pick([1, 2, 3])).map { _ -> JSON in
                    var option: JSON = [
                        "header": [
                            "key": "\(letter)-\(random.pick(["a", "b", "B", "new", "d"]))",
                            "value": random.pick([
                                level, level, "%REQ(x-b)%", "%REQ(nope?x-a)%-\(level)", "", "100%%", "%REQ(x-long):3%",
                                "%PROTOCOL%", "%REQ(:METHOD)%", "%RESPONSE_CODE%", "%REQ(:path)%", "%RESP(r-b)%",
                                "%REQ(Host)%|%ROUTE_NAME%", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):4%",
                                "%UPSTREAM_CLUSTER%",
                                "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%-%RESPONSE_FLAGS%", "%RESP(x-nope)%",
                                "%REQUESTED_SERVER_NAME%", "%PATH(NQ)%", "%QUERY_PARAM(q)%",
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
            "/a;v=1/b", "/a/;x", "/ABC/d", "/a//b", "/a;", "/;a", "/a%20b", "/a/b;c?q=;", "/b/A/x", "/a/b/",
            "/ab/c;d/e",
        ])
        path += random.pick([
            "", "", "", "", "", "?q=a", "?q", "?r=b&q=ab", "?q=a&q=b", "?Q=a", "?x=/a", "?r=a%2Cb", "?q=a,b",
            "?q=", "?q=b&q=a&", "?&&q=A", "?q=a=b", "?=a", "?q;r=a", "??q=a", "?q+r=a", "?ab=b&a%62=a", "?q=%61", "?",
        ])
        var question = RouterPeer.Question(
            method: random.pick(["GET", "GET", "POST"]), path: path,
            host: random.pick([
                "a.test", "A.TEST", "x.a.test", "a.example", "b.test:8080", "b.test", "n-x.test", "a.b.c", "z.b.a.test",
                "c.test", "other", "a.test:80", "a.test:443", "[::1]:80", "b.test:99", ".a.test",
                "[::1]", "a.test:", "-x.test", "y.b.a.test:80",
            ]))
        for name in ["x-a", "X-B", "x-c", "x-n", "x-b", "x-A"] where random.once(in: 3) {
            question.headers.append([
                name,
                random.pick([
                    "a", "b", "B", "ab", "ba", "a,b", "7", "12", "-3", "", "5x", "+6", "007", "99999999999999999999",
                    "a, b", "aB",
                ]),
            ])
        }
        if random.once(in: 4) {
            question.headers.append(["cookie", random.pick(["k=a", "z=1; k=b; k=c", "k=\"a\"", "k=", "kk=a;k"])])
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
