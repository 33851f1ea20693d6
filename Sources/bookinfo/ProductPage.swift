import ArgumentParser
import Foundation
import Hummingbird

struct ProductPage: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "productpage",
        abstract: "Serve the page that people see, and its parts as JSON.",
        discussion: """
            GET /productpage: the page. POST /login with username=NAME signs in, which is but a cookie; the name then \
            goes with every call in the header --user-header. GET /logout signs out.
            GET /api/v1/products, /api/v1/products/0, …/0/reviews, …/0/ratings: JSON. A part that cannot be had \
            answers with the status of the service that failed, or 503.
            """)

    @OptionGroup var serving: ServingOptions

    @Option(help: ArgumentHelp("The details service.", valueName: "url"))
    var details = ServiceURL("details", 9080)

    @Option(help: ArgumentHelp("The reviews service.", valueName: "url"))
    var reviews = ServiceURL("reviews", 9080)

    @Option(help: ArgumentHelp("The ratings service.", valueName: "url"))
    var ratings = ServiceURL("ratings", 9080)

    @OptionGroup var calling: CallingOptions

    private static let cookie = "bookinfo-user"

    func run() async throws {
        try await serving.serve("productpage") { router, replica in
            router.get("/") { _, _ in Response.redirect(to: "/productpage", type: .found) }
            router.get("productpage") { request, _ in await page(for: request, by: replica) }
            router.post("login") { request, _ in try await signIn(request) }
            router.get("logout") { _, _ in
                var response = Response.redirect(to: "/productpage", type: .normal)
                response.setCookie(Cookie(name: Self.cookie, value: "", maxAge: 0, path: "/", sameSite: .lax))
                return response
            }
            router.get("api/v1/products") { _, _ in
                Response.json("[{\"id\": 0, \"title\": \"\(BookDetails(id: 0, by: replica).title)\"}]\n")
            }
            router.get("api/v1/products/:id") { request, context in
                try await part("/details/", of: details, request, context)
            }
            router.get("api/v1/products/:id/reviews") { request, context in
                try await part("/reviews/", of: reviews, request, context)
            }
            router.get("api/v1/products/:id/ratings") { request, context in
                try await part("/ratings/", of: ratings, request, context)
            }
        }
    }

    /// A caller for the user that the cookie names, if the request does not name one itself.
    private func caller(for request: Request) -> ForwardingCaller {
        var caller = calling.caller(for: request)
        if caller.forwarded.user == nil, let name = request.cookies[Self.cookie]?.value, !name.isEmpty {
            caller.forwarded.user = name
        }
        return caller
    }

    private func page(for request: Request, by replica: Replica) async -> Response {
        let caller = caller(for: request)
        async let details = caller.get(BookDetails.self, "/details/0", of: details)
        async let reviews = caller.get(BookReviews.self, "/reviews/0", of: reviews)
        let page = ProductPageHTML(
            user: caller.forwarded.user, details: await details, reviews: await reviews, replica: replica)
        return Response.text(page.text, type: "text/html; charset=utf-8")
    }

    private func part(
        _ path: String, of service: ServiceURL, _ request: Request, _ context: BasicRequestContext
    ) async throws -> Response {
        // It becomes part of a path.
        let id = try context.parameters.require("id", as: Int.self)
        switch await caller(for: request).get("\(path)\(id)", of: service) {
        case .answered(let answer):
            return Response(
                status: .init(code: answer.status),
                headers: [.contentType: answer.headers.first { $0.name == "content-type" }?.value ?? "text/plain"],
                body: .init(byteBuffer: ByteBuffer(bytes: answer.body)))
        case .failed(_, let words):
            return Response.json(try text(of: ["error": words]), status: .serviceUnavailable)
        }
    }

    private func signIn(_ request: Request) async throws -> Response {
        let form = String(buffer: try await request.body.collect(upTo: 4_096))
        let names = form.split(separator: "&").filter { $0.hasPrefix("username=") }
            .compactMap { $0.dropFirst(9).replacing("+", with: " ").removingPercentEncoding }
        // It becomes the value of a cookie and of a header.
        guard let name = names.first, (1...64).contains(name.utf8.count),
            name.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || "-_.@".contains($0)) })
        else {
            throw HTTPError(.badRequest, message: "a user's name is 1 to 64 letters, digits and - _ . @")
        }
        var response = Response.redirect(to: "/productpage", type: .normal)
        response.setCookie(Cookie(name: Self.cookie, value: name, path: "/", sameSite: .lax))
        return response
    }
}
