import Patterns
import Testing

@Suite struct PatternTests {
    @Test(arguments: [
        ("/v[12]/.*", "/v1/x", true), ("/v[12]/.*", "/v3/x", false),
        ("^(.*?;)?(user=jason)(;.*)?$", "a=b;user=jason", true),
        ("a", "ab", false), (#"\d+"#, "123", true), ("(?i)host", "HOST", true), ("", "", true), ("x*", "", true),
    ])
    func theWholeTextIsMatched(expression: String, text: String, isMatched: Bool) throws {
        #expect(try Pattern(expression).matchesWhole(text) == isMatched)
    }

    @Test func aPartIsMatchedAnywhere() throws {
        #expect(try Pattern("b+").matchesPart("abbc"))
        #expect(try !Pattern("b+").matchesPart("ac"))
    }

    @Test func groupsAreFoundAndReplaced() throws {
        let pattern = try Pattern("^/service/([^/]+)(/x)?(/.*)$")
        let text = Array("/service/foo/v1".utf8)
        text.withUnsafeBytes { text in
            #expect(pattern.firstMatch(in: text) == [0..<15, 9..<12, nil, 12..<15])
            #expect(pattern.replacingMatches(in: text, with: #"\3/instance/\1"#) == Array("/v1/instance/foo".utf8))
            #expect(pattern.replacingMatches(in: text, with: #"\4"#) == nil)
        }
    }

    @Test func bytesThatAreNoTextAreMatched() throws {
        let pattern = try Pattern("a.*")
        #expect([UInt8(0x61), 0x62].withUnsafeBytes { pattern.matchesWhole($0) })
        #expect([UInt8(0x61), 0xff].withUnsafeBytes { !pattern.matchesWhole($0) })
    }

    @Test(arguments: ["(", "a{1001}", "[b-a]", #"(\1)"#, "(?=x)"])
    func whatIsNoExpressionIsRefusedWithItsReason(expression: String) {
        #expect {
            try Pattern(expression)
        } throws: { error in
            guard case .malformed(expression, let problem)? = error as? PatternError else { return false }
            return !problem.isEmpty
        }
    }

    @Test func anExpressionThatWouldCostTooMuchIsRefused() {
        #expect(throws: PatternError.self) { try Pattern("((a{100}){10}){3}") }
    }

    /// A backtracking engine would take longer than the test machine lives.
    @Test func timeIsLinear() throws {
        let text = String(repeating: "a", count: 100_000)
        #expect(try !Pattern("(a*)*b").matchesWhole(text))
    }
}
