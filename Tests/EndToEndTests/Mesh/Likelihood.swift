import Foundation
import Testing

/// Whether a count can be what a share says it should be.
enum Likelihood {
    /// The chance that of `total` draws with the chance `share` each, at most (or at least) `count` succeed, whichever
    /// is the smaller. The binomial distribution, summed in logarithms.
    static func tail(_ count: Int, of total: Int, share: Double) -> Double {
        func sum(_ range: ClosedRange<Int>) -> Double {
            range.reduce(0.0) { sum, hits in
                let ways =
                    lgamma(Double(total + 1)) - lgamma(Double(hits + 1)) - lgamma(Double(total - hits + 1))
                return sum + exp(ways + Double(hits) * log(share) + Double(total - hits) * log(1 - share))
            }
        }
        return min(sum(0...count), sum(count...total))
    }
}

/// Checks a tally against shares: nothing but the keys named, and no count that would come by chance less often than
/// once in a million.
func expectShares(
    _ tally: [String: Int], _ shares: [String: Double], sourceLocation: SourceLocation = #_sourceLocation
) {
    let total = tally.values.reduce(0, +)
    #expect(Set(tally.keys).isSubset(of: shares.keys), "\(tally)", sourceLocation: sourceLocation)
    for (key, share) in shares.sorted(by: { $0.key < $1.key }) {
        let chance = Likelihood.tail(tally[key, default: 0], of: total, share: share)
        #expect(
            chance > 5e-7, "\(tally) of \(total): \(key) should have \(share); by chance once in \(1 / chance)",
            sourceLocation: sourceLocation)
    }
}

struct LikelihoodTests {
    @Test func aTailIsWhatTheBinomialDistributionSays() {
        // One head or none in three throws: 4 of 8.
        #expect(abs(Likelihood.tail(1, of: 3, share: 0.5) - 0.5) < 1e-12)
        #expect(abs(Likelihood.tail(0, of: 10, share: 0.2) - pow(0.8, 10)) < 1e-12)
        // 80 to 20 of a thousand: six standard deviations are 76.
        #expect(Likelihood.tail(200, of: 1_000, share: 0.2) > 0.4)
        #expect(Likelihood.tail(270, of: 1_000, share: 0.2) < 5e-7)
        #expect(Likelihood.tail(140, of: 1_000, share: 0.2) < 5e-6)
    }
}
