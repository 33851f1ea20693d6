import HTTP
import Patterns
import Testing

@testable import Forwarding

/// The index must not change which route is the first that matches, and has to leave most of them out.
struct RouteIndexTests {
    private static func condition(_ random: inout SmallRandom) -> PathCondition {
        var text = ""
        for _ in 0..<Int.random(in: 0...5, using: &random) { text += random.pick(["/", "a", "b", "A", "/a", "é"]) }
        let ignoresCase = random.once(in: 3)
        let bytes = ignoresCase ? text.utf8.map(\.lowerCased) : Array(text.utf8)
        switch random.pick([0, 0, 1, 2, 3, 4]) {
        case 0: return .prefix(bytes, ignoresCase: ignoresCase)
        case 1: return .exact(bytes, ignoresCase: ignoresCase)
        case 2: return .separatedPrefix(bytes, ignoresCase: ignoresCase)
        case 3:
            let expression = random.pick([
                "/a.*", "/a|/b", "/ab?", "/(a|b)", ".*", "/a\\.b.*", "^/a/b", "/é*", "(?i)/A",
            ])
            return (try? Pattern(expression)).map { .pattern($0) } ?? .connect
        default: return .connect
        }
    }

    @Test(arguments: [1, 2, 3, 4])
    func theFirstMatchOfTheListIsTheFirstMatchOfTheIndex(seed: UInt64) {
        var random = SmallRandom(state: seed)
        for _ in 0..<60 {
            let conditions = (0..<Int.random(in: 0...40, using: &random)).map { _ in Self.condition(&random) }
            let index = RouteIndex(conditions)
            for _ in 0..<40 {
                var path = ""
                for _ in 0..<Int.random(in: 0...6, using: &random) {
                    path += random.pick(["/", "a", "b", "A", ".", "é"])
                }
                // Other conditions of a route may refuse what its path takes.
                let refused = Set(conditions.indices.filter { _ in random.once(in: 3) })
                let isConnect = random.once(in: 5)
                let expected = conditions.indices.first { number in
                    !refused.contains(number) && path.bytes { conditions[number].matches($0, isConnect: isConnect) }
                }
                let found = path.bytes { path in
                    index.first(path) { !refused.contains($0) && conditions[$0].matches(path, isConnect: isConnect) }
                }
                #expect(found == expected)
            }
        }
    }

    @Test func ofAThousandRoutesAFewAreAsked() {
        var conditions: [PathCondition] = (0..<1_000).map { number in
            switch number % 3 {
            case 0: .exact(Array("/service-\(number)/item".utf8), ignoresCase: false)
            case 1: .prefix(Array("/service-\(number)/".utf8), ignoresCase: number % 2 == 0)
            default: .separatedPrefix(Array("/service-\(number)".utf8), ignoresCase: false)
            }
        }
        conditions.append(.prefix([UInt8(ascii: "/")], ignoresCase: false))
        let index = RouteIndex(conditions)
        for number in stride(from: 0, to: 1_000, by: 37) {
            var asked = 0
            let path = "/service-\(number)/item"
            let found = path.bytes { path in
                index.first(path) {
                    asked += 1
                    return conditions[$0].matches(path, isConnect: false)
                }
            }
            #expect(found == number && asked <= 4)
        }
    }

    @Test func manyPrefixesOfOnePathAreMatchedAllTheSame() {
        let conditions: [PathCondition] = (0..<100).reversed().map {
            .prefix(Array(repeating: UInt8(ascii: "/"), count: $0), ignoresCase: false)
        }
        let index = RouteIndex(conditions)
        let path = String(repeating: "/", count: 60)
        let found = path.bytes { path in index.first(path) { conditions[$0].matches(path, isConnect: false) } }
        #expect(found == 39)
    }

    @Test func theLiteralStartOfAnExpressionIsWhatAllMatchesStartWith() {
        let expected = [
            "/a/b": "/a/b", "/a/.*": "/a/", "^/a": "/a", "/ab*": "/a", "/ab?c": "/a", "/ab+": "/ab", "/a\\.b": "/a.b",
            "/a\\d": "/a", "/a|/b": "", "/(a|b)c": "/", "(?i)/a": "", "/a{2}": "/", "/a[b|c]": "", "/a\\Q|": "",
            "/aé": "/a", "": "", "/a\\|b": "/a|b",
        ]
        for (expression, start) in expected {
            #expect(PathCondition.literalStart(of: expression) == Array(start.utf8), "\(expression)")
        }
    }
}

extension String {
    fileprivate func bytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        var text = self
        return text.withUTF8 { body(UnsafeRawBufferPointer($0)) }
    }
}
