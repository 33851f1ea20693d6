import GRPC
import Synchronization
import Testing
import Time

@testable import Agent

struct TokenTableTests {
    private let start = Timestamp(seconds: 1_000_000)

    private func token(_ text: String, life: Duration = .seconds(100)) -> IssuedToken {
        IssuedToken(text: text, spiffeID: "spiffe://x/y", issuedAt: start, expiresAt: start + life)
    }

    private func word(_ outcome: TokenTable.Outcome) -> String {
        switch outcome {
        case .cached(let token): "cached \(token.text)"
        case .begins: "begins"
        case .waits: "waits"
        case .refused(let status): "refused \(status.code)"
        }
    }

    @Test func aTokenIsSignedOnceAndKeptForHalfItsLife() {
        var table = TokenTable()
        func ask(_ audience: String, _ now: Timestamp) -> String { word(table.ask([audience], now: now) { _ in }) }
        #expect(ask("a", start) == "begins")
        #expect(ask("a", start) == "waits")
        #expect(ask("b", start) == "begins")
        #expect(table.answer(["a"], .success(token("one")), now: start).count == 2)
        #expect(ask("a", start + .seconds(49)) == "cached one")
        #expect(ask("a", start + .seconds(50)) == "begins")
        #expect(table.answer(["a"], .failure(GRPCStatus(.unavailable)), now: start).count == 1)
        #expect(ask("a", start + .seconds(51)) == "begins")
    }

    @Test func tokensAndCallersThatWaitAreBounded() {
        var table = TokenTable()
        for number in 0..<3000 {
            _ = table.ask(["audience \(number)"], now: start) { _ in }
            _ = table.answer(["audience \(number)"], .success(token("t", life: .seconds(100 + number))), now: start)
        }
        #expect(table.counts.tokens == TokenTable.mostTokens)
        for number in 0..<TokenTable.mostWaiting { _ = table.ask(["w \(number)"], now: start) { _ in } }
        #expect(word(table.ask(["w"], now: start) { _ in }) == "refused RESOURCE_EXHAUSTED")
        #expect(table.counts.waiting == TokenTable.mostWaiting)
        #expect(word(table.ask(["audience 2999"], now: start) { _ in }) == "cached t")
        table.forgetTokens()
        #expect(table.counts.tokens == 0)
    }
}
