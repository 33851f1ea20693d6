/// The page that people see: the book, what readers say, and who answered.
struct ProductPageHTML {
    var user: String?
    var details: ForwardingCaller.Outcome<BookDetails>
    var reviews: ForwardingCaller.Outcome<BookReviews>
    var replica: Replica

    var text: String {
        """
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>Bookinfo</title>
        <style>\(Self.style)</style>
        </head>
        <body>
        <header><strong>Bookinfo</strong>\(signing)</header>
        <main>
        \(book)
        <h2>Readers say</h2>
        \(readers)
        </main>
        <footer><h2>Who answered</h2>
        <table><tr><th>service</th><th>version</th><th>pod</th></tr>
        \(answerers)
        </table></footer>
        </body>
        </html>

        """
    }

    private var signing: String {
        if let user { return "<span>signed in as <b>\(escaped(user))</b> · <a href=\"/logout\">sign out</a></span>" }
        return """
            <form method="post" action="/login"><input name="username" aria-label="user name" placeholder="jason" \
            maxlength="64" required><button>Sign in</button></form>
            """
    }

    private var book: String {
        switch details {
        case .failed(_, let words):
            return "<h1>A book</h1>\n<p class=\"problem\">Its details cannot be had: \(escaped(words)).</p>"
        case .answered(let details):
            let facts = [
                ("Author", details.author), ("First printed", "\(details.year)"), ("Binding", details.type),
                ("Pages", "\(details.pages)"), ("Publisher", details.publisher), ("Language", details.language),
                ("ISBN-10", details.isbn10), ("ISBN-13", details.isbn13),
            ]
            let rows = facts.map { "<dt>\($0)</dt><dd>\(escaped($1))</dd>" }.joined()
            return "<h1>\(escaped(details.title))</h1>\n<dl>\(rows)</dl>"
        }
    }

    private var readers: String {
        switch reviews {
        case .failed(_, let words):
            return "<p class=\"problem\">The reviews cannot be had: \(escaped(words)).</p>"
        case .answered(let reviews):
            return reviews.reviews.map { review in
                "<blockquote><p>\(escaped(review.text))</p>\(stars(review.rating))"
                    + "<cite>\(escaped(review.reviewer))</cite></blockquote>"
            }.joined(separator: "\n")
        }
    }

    private func stars(_ rating: BookReviews.Rating?) -> String {
        guard let rating else { return "" }
        guard let count = rating.stars else {
            return "<p class=\"problem\">No stars: \(escaped(rating.error ?? "ratings said nothing")).</p>"
        }
        let full = min(max(0, count), 5)
        let color = rating.color == "red" ? "red" : "black"
        return "<p class=\"stars \(color)\" title=\"\(full) of 5\">"
            + String(repeating: "★", count: full) + String(repeating: "☆", count: 5 - full) + "</p>"
    }

    private var answerers: String {
        var rows = [row("productpage", replica.version, replica.pod)]
        switch details {
        case .answered(let details): rows.append(row("details", details.version, details.podname))
        case .failed: rows.append(row("details", "–", "no answer"))
        }
        switch reviews {
        case .answered(let reviews):
            rows.append(row("reviews", reviews.version, reviews.podname))
            if let version = reviews.ratingsVersion {
                rows.append(row("ratings", version, reviews.ratingsPod ?? ""))
            } else {
                let wasAsked = reviews.reviews.contains { $0.rating != nil }
                rows.append(row("ratings", "–", wasAsked ? "no answer" : "not asked"))
            }
        case .failed: rows.append(row("reviews", "–", "no answer"))
        }
        return rows.joined(separator: "\n")
    }

    private func row(_ service: String, _ version: String, _ pod: String) -> String {
        "<tr><td>\(service)</td><td>\(escaped(version))</td><td>\(escaped(pod))</td></tr>"
    }

    private static let style = """
        :root { color-scheme: light dark; font: 16px/1.5 Georgia, serif; }
        body { max-width: 44rem; margin: 0 auto; padding: 1rem; }
        header { display: flex; justify-content: space-between; align-items: center; font-family: system-ui; }
        dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.5rem; }
        dt { opacity: .7; } dd { margin: 0; }
        blockquote { margin: 1rem 0; padding: .2rem 1rem; border-left: 3px solid #8884; }
        .stars { font-size: 1.6rem; letter-spacing: .15rem; margin: 0; }
        .red { color: #c8102e; } .black { color: CanvasText; }
        .problem { color: #b35900; }
        footer { margin-top: 3rem; font: .85rem/1.5 system-ui; } footer h2 { font-size: 1rem; }
        td, th { text-align: left; padding-right: 2rem; font-weight: normal; } th { opacity: .7; }
        """
}

/// Text as HTML shows it.
private func escaped(_ text: String) -> String {
    text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
        .replacing("\"", with: "&quot;")
}
