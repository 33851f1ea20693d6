import Testing

@testable import Forwarding

/// Each path as the real Envoy 1.40 writes it for the same settings.
struct PathNormalisationTests {
    private func result(_ path: String, _ rules: PathNormalisation) -> String {
        let bytes = Array(path.utf8)
        return switch bytes.withUnsafeBytes({ rules.apply(to: $0) }) {
        case .unchanged: path
        case .changed(let new): String(decoding: new, as: UTF8.self)
        case .redirect(let new): "-> " + String(decoding: new, as: UTF8.self)
        case .rejected: "400"
        }
    }

    @Test(arguments: [
        ("/", "/"), ("//", "//"), ("/a//b", "/a//b"), ("/a/../b", "/b"), ("/..", "/"), ("/../..", "/"), ("/a/..", "/"),
        ("/a/.", "/a/"), ("/a/./b", "/a/b"), ("/a/%2e%2E/b", "/b"), ("/a/.%2e/b", "/b"), ("/.a", "/.a"),
        ("/a/...", "/a/..."), ("/a//../b", "/a/b"), ("//../b", "/b"), ("/a/..//b", "//b"), ("/a%2fb", "/a%2fb"),
        ("/a%5Cb", "/a%5Cb"), ("/a\\b\\..", "/a/"), ("/a?x=/../y//z%2f", "/a?x=/../y//z%2f"), ("/a%", "/a%"),
        ("/a%zz", "/a%zz"), ("/a%2", "/a%2"), ("/%252e%252e/a", "/%252e%252e/a"), ("/a#f", "400"), ("/a/?#", "400"),
        ("/a%23", "/a%23"), ("/a;x/../b", "/b"), ("/a/%2e", "/a/"), ("/a/..%2fb", "/a/..%2fb"),
        ("/a/b/../../../c", "/c"), ("/a<b", "/a%3Cb"), ("/a|b^", "/a%7Cb%5E"), ("/%61%7e%2D", "/a~-"),
        ("/a{b}", "/a%7Bb%7D"), ("/a%00b", "400"), ("/a..", "/a.."), ("/a../b", "/a../b"), ("/a.b", "/a.b"),
        ("/caf\u{E9}", "/caf\u{E9}"), ("/a%2x/../b", "/b"), ("/a/..;x/b", "/b"), ("/.;/~", "/~"), ("/..;", "/"),
        ("/a.;b", "/a.;b"), ("/%2e;", "/.;"), ("/a/..;x\\y/z", "/z"), ("/a/.%3bx/b", "/a/.%3bx/b"),
        ("//%%41bb", "//%25Abb"), ("/%4%31x", "/%2541x"), ("/%%41", "/%A"), ("/%%7A1", "/%z1"),
    ])
    func pathsAreMadeCanonical(path: String, expected: String) {
        #expect(result(path, PathNormalisation(normalises: true)) == expected)
    }

    @Test(arguments: [
        ("//", "//"), ("///", "//"), ("/a//b", "/a/b"), ("//a//", "/a/"), ("/a/..//b", "/b"), ("/a?b//c", "/a?b//c"),
        ("/a//../b", "/a/b"),
    ])
    func slashesInARowBecomeOne(path: String, expected: String) {
        #expect(result(path, PathNormalisation(normalises: true, mergesSlashes: true)) == expected)
    }

    @Test func escapedSlashesAreRefusedRedirectedOrPassedOn() {
        func results(_ path: String) -> [String] {
            [.reject, .redirect, .forward].map {
                result(path, PathNormalisation(normalises: true, escapedSlashes: $0))
            }
        }
        #expect(results("/a%2fb") == ["400", "-> /a/b", "/a/b"])
        #expect(results("/a%5Cb") == ["400", "-> /a/b", "/a/b"])
        #expect(results("/a/..%2fb") == ["400", "-> /b", "/b"])
        #expect(results("/a%2F..%2fb") == ["400", "-> /b", "/b"])
        #expect(results("/a?x=%2f") == ["/a?x=%2f", "/a?x=%2f", "/a?x=%2f"])
        #expect(results("/a%252f") == ["/a%252f", "/a%252f", "/a%252f"])
    }

    @Test func nothingIsDoneWhereNothingIsAskedFor() {
        let rules = PathNormalisation(normalises: false)
        for path in ["/a/../b", "//", "/a\\b", "*", "/a%2e"] { #expect(result(path, rules) == path) }
        #expect(result("/a#b", rules) == "400")
    }

    @Test func whatIsCanonicalStaysSo() {
        var dice = SeededDice(seed: 11)
        let pieces = ["/", "/", ".", "..", "a", "%2e", "%2F", "%5c", "\\", "%41", "%", "?", "b", "//", "%00", ";"]
        var changed = 0
        for _ in 0..<3_000 {
            let path = "/" + (0..<Int.random(in: 0...8, using: &dice)).map { _ in dice.pick(pieces) }.joined()
            let rules = PathNormalisation(
                normalises: true, mergesSlashes: dice.chance(50),
                escapedSlashes: dice.pick([.keep, .forward]))
            let once = result(path, rules)
            if once == "400" { continue }
            if once != path { changed += 1 }
            // What was escaped, or a backslash, may be a dot segment or its end only afterwards: Envoy looks once.
            #expect(!once.contains("/../") || once.contains("?"), "\(path) became \(once)")
            if !path.contains(where: { "%\\".contains($0) }) {
                #expect(result(once, rules) == once, "\(path) became \(once)")
            }
        }
        #expect(changed > 500)
    }
}
