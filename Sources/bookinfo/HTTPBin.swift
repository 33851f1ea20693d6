import ArgumentParser
import Foundation
import Hummingbird

struct HTTPBin: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "httpbin", abstract: "Show what a request looks like when it arrives, and answer as asked.",
        discussion: """
            GET /headers, /ip, /user-agent, /cookies, and any method on /anything: what came, as JSON
            any method on /status/CODE: that status
            GET /delay/SECONDS: /anything, but later (at most 10)
            GET /cookies/set?NAME=VALUE: sets cookies, and redirects to /cookies
            """)

    @OptionGroup var serving: ServingOptions

    func run() async throws {
        try await serving.serve("httpbin") { router, replica in
            router.get("headers") { request, _ in
                Response.json(try text(of: ["headers": Arrived(request, replica).headers]))
            }
            router.get("ip") { request, _ in
                Response.json(try text(of: ["origin": request.headers.value("x-forwarded-for") ?? ""]))
            }
            router.get("user-agent") { request, _ in
                Response.json(try text(of: ["user-agent": request.headers.value("user-agent") ?? ""]))
            }
            router.get("cookies") { request, _ in
                let cookies = (request.headers.value("cookie") ?? "").split(separator: ";").map {
                    $0.trimmingCharacters(in: .whitespaces).split(separator: "=", maxSplits: 1)
                }
                let pairs = cookies.filter { $0.count == 2 }.map { (String($0[0]), String($0[1])) }
                return Response.json(try text(of: ["cookies": Dictionary(pairs) { first, _ in first }]))
            }
            router.get("cookies/set") { request, _ in
                var response = Response.redirect(to: "/cookies", type: .found)
                for (name, value) in request.uri.queryParameters {
                    if let cookie = try? Cookie.validated(name: String(name), value: String(value), path: "/") {
                        response.setCookie(cookie)
                    }
                }
                return response
            }
            router.get("delay/:seconds") { request, context in
                let seconds = min(max(0, try context.parameters.require("seconds", as: Double.self)), 10)
                try await Task.sleep(for: .seconds(seconds))
                return Response.json(try text(of: Arrived(request, replica)))
            }
            for method in [HTTPRequest.Method.get, .post, .put, .delete, .patch, .head, .options] {
                router.on("status/:code", method: method) { _, context in
                    let code = try context.parameters.require("code", as: Int.self)
                    guard (200...599).contains(code) else {
                        throw HTTPError(.badRequest, message: "a status is a number from 200 to 599")
                    }
                    return Response(status: .init(code: code))
                }
                for path in ["anything", "anything/**"] {
                    router.on(RouterPath(path), method: method) { request, _ in
                        Response.json(try text(of: Arrived(request, replica)))
                    }
                }
            }
        }
    }

    /// A request as it arrived.
    private struct Arrived: Encodable {
        var method: String
        var path: String
        var headers: [String: String]
        var version: String
        var podname: String

        init(_ request: Request, _ replica: Replica) {
            method = request.method.rawValue
            path = request.uri.string
            headers = Dictionary(
                request.headers.map { ($0.name.canonicalName, $0.value) }, uniquingKeysWith: { $0 + ", " + $1 })
            headers["host"] = request.head.authority
            version = replica.version
            podname = replica.pod
        }
    }
}
