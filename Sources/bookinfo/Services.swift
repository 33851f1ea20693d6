import ArgumentParser
import Foundation
import Hummingbird

struct Details: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve what is printed in the book: GET /details/ID.")

    @OptionGroup var serving: ServingOptions

    func run() async throws {
        try await serving.serve("details") { router, replica in
            router.get("details/:id") { _, context in
                Response.json(
                    try text(of: BookDetails(id: try context.parameters.require("id", as: Int.self), by: replica)))
            }
        }
    }
}

struct Ratings: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve the stars that each reviewer gave: GET /ratings/ID.")

    @OptionGroup var serving: ServingOptions

    func run() async throws {
        try await serving.serve("ratings") { router, replica in
            router.get("ratings/:id") { _, context in
                let ratings = BookRatings(
                    id: try context.parameters.require("id", as: Int.self),
                    ratings: ["Reviewer1": 5, "Reviewer2": 4], version: replica.version, podname: replica.pod)
                return Response.json(try text(of: ratings))
            }
        }
    }
}

struct Reviews: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve what readers say: GET /reviews/ID.",
        discussion: """
            v1 shows no stars; v2 asks ratings and shows black ones, v3 red ones. A rating that cannot be had is told \
            in the place of the stars.
            """)

    @OptionGroup var serving: ServingOptions

    @Option(help: ArgumentHelp("The ratings service.", valueName: "url"))
    var ratings = ServiceURL("ratings", 9080)

    @OptionGroup var calling: CallingOptions

    func run() async throws {
        let color: String? =
            switch serving.version {
            case "v1": nil
            case "v2": "black"
            default: "red"
            }
        try await serving.serve("reviews") { router, replica in
            router.get("reviews/:id") { request, context in
                let id = try context.parameters.require("id")
                var answer = BookReviews.written(id: id, by: replica)
                if let color {
                    answer.rate(
                        await calling.caller(for: request).get(BookRatings.self, "/ratings/\(id)", of: ratings),
                        color: color)
                }
                return Response.json(try text(of: answer))
            }
        }
    }
}

extension BookReviews {
    fileprivate mutating func rate(_ outcome: ForwardingCaller.Outcome<BookRatings>, color: String) {
        switch outcome {
        case .answered(let given):
            (ratingsVersion, ratingsPod) = (given.version, given.podname)
            for index in reviews.indices {
                reviews[index].rating = Rating(stars: given.ratings[reviews[index].reviewer] ?? 0, color: color)
            }
        case .failed(_, let words):
            for index in reviews.indices { reviews[index].rating = Rating(error: words) }
        }
    }
}

struct HelloWorld: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "helloworld", abstract: "Say hello, and which version does: GET /hello.")

    @OptionGroup var serving: ServingOptions

    func run() async throws {
        try await serving.serve("helloworld") { router, replica in
            router.get("hello") { _, _ in "Hello version: \(replica.version), instance: \(replica.pod)\n" }
        }
    }
}

/// JSON with sorted keys and a line end.
func text(of value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
}
