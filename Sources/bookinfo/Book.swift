/// What the services tell each other of the one book that is for sale.
struct BookDetails: Codable, Sendable {
    var id: Int
    var title: String
    var author: String
    var year: Int
    var type: String
    var pages: Int
    var publisher: String
    var language: String
    var isbn10: String
    var isbn13: String
    var version: String
    var podname: String

    enum CodingKeys: String, CodingKey {
        case id, title, author, year, type, pages, publisher, language, version, podname
        case isbn10 = "ISBN-10"
        case isbn13 = "ISBN-13"
    }

    init(id: Int, by replica: Replica) {
        self.id = id
        title = "The Natural History of Selborne"
        author = "Gilbert White"
        year = 1789
        type = "paperback"
        pages = 304
        publisher = "Penguin Classics"
        language = "English"
        isbn10 = "0140431128"
        isbn13 = "978-0140431124"
        version = replica.version
        podname = replica.pod
    }
}

struct BookRatings: Codable, Sendable {
    var id: Int
    /// Stars by reviewer, 1 to 5.
    var ratings: [String: Int]
    var version: String
    var podname: String
}

struct BookReviews: Codable, Sendable {
    struct Review: Codable, Sendable {
        var reviewer: String
        var text: String
        var rating: Rating?
    }

    /// Stars, or why there are none.
    struct Rating: Codable, Sendable {
        var stars: Int?
        var color: String?
        var error: String?
    }

    var id: String
    var version: String
    var podname: String
    /// Who gave the ratings; nil where nobody was asked or nobody answered.
    var ratingsVersion: String?
    var ratingsPod: String?
    var reviews: [Review]

    /// Without ratings.
    static func written(id: String, by replica: Replica) -> BookReviews {
        BookReviews(
            id: id, version: replica.version, podname: replica.pod,
            reviews: [
                Review(
                    reviewer: "Reviewer1",
                    text: "Letters of a country parson who looked out of his window for forty years. "
                        + "I have not seen a swift without thinking of him since."),
                Review(
                    reviewer: "Reviewer2",
                    text: "The tortoise alone is worth the price. Read it in small portions, "
                        + "in the season that it describes."),
            ])
    }
}
