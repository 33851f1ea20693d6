import Hummingbird
import Synchronization

/// What a service is told to do badly, and how often it was asked.
final class Trouble: Sendable {
    private struct State {
        var rate: Double
        var next = 0
        var status = 503
        var delay: Duration
        var requests = 0
        var failures = 0
    }

    private let state: Mutex<State>

    init(rate: Double, delay: Duration) {
        state = Mutex(State(rate: rate, delay: delay))
    }

    /// Counts a request, and says how long to wait before it is answered and with what status to fail it.
    func request() -> (delay: Duration, failure: Int?) {
        state.withLock { state in
            state.requests += 1
            let isFailing = state.next > 0 || (state.rate > 0 && Double.random(in: 0..<1) < state.rate)
            if state.next > 0 { state.next -= 1 }
            if isFailing { state.failures += 1 }
            return (state.delay, isFailing ? state.status : nil)
        }
    }

    func addRoutes(to router: Router<BasicRequestContext>) {
        router.get("health") { _, _ in "ok\n" }
        router.get("admin/requests") { _, _ in
            let (requests, failures) = self.state.withLock { ($0.requests, $0.failures) }
            return Response.json("{\"requests\": \(requests), \"failures\": \(failures)}\n")
        }
        router.post("admin/fail") { request, _ in
            let query = request.uri.queryParameters
            let status = Int(query["status"] ?? "503") ?? 0
            guard (400...599).contains(status) else {
                throw HTTPError(.badRequest, message: "status is a code from 400 to 599")
            }
            if let count = query["next"] {
                guard let count = Int(count), count >= 0 else {
                    throw HTTPError(.badRequest, message: "next is a number of requests")
                }
                self.state.withLock { ($0.next, $0.status) = (count, status) }
            } else {
                guard let rate = Double(query["rate"] ?? ""), (0...1).contains(rate) else {
                    throw HTTPError(.badRequest, message: "rate is a share from 0 to 1")
                }
                self.state.withLock { ($0.rate, $0.status) = (rate, status) }
            }
            return "ok\n"
        }
        router.post("admin/delay") { request, _ in
            guard let delay = DelayArgument(argument: String(request.uri.queryParameters["by"] ?? "")) else {
                throw HTTPError(.badRequest, message: "by is a duration: 2s, 300ms, 0s")
            }
            self.state.withLock { $0.delay = delay.duration }
            return "ok\n"
        }
    }
}

/// Signs every answer, and fails or delays what it is told to.
struct TroubleMiddleware: RouterMiddleware {
    typealias Context = BasicRequestContext

    let replica: Replica

    func handle(
        _ request: Request, context: Context, next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        let path = request.uri.path
        if path == "/health" || path.hasPrefix("/admin/") { return try await next(request, context) }
        let (delay, failure) = replica.trouble.request()
        if delay > .zero { try await Task.sleep(for: delay) }
        var response: Response
        if let failure {
            response = Response.text("\(replica.pod) fails as it was told to\n", status: .init(code: failure))
        } else {
            response = try await next(request, context)
        }
        response.headers.set("x-served-by", replica.pod)
        response.headers.set("x-version", replica.version)
        return response
    }
}

extension Response {
    static func text(_ text: String, type: String = "text/plain; charset=utf-8", status: HTTPResponse.Status = .ok)
        -> Response
    {
        Response(status: status, headers: [.contentType: type], body: .init(byteBuffer: ByteBuffer(string: text)))
    }

    static func json(_ text: String, status: HTTPResponse.Status = .ok) -> Response {
        .text(text, type: "application/json", status: status)
    }
}

extension HTTPFields {
    /// The value of a header; several are joined by commas.
    func value(_ name: String) -> String? {
        let values = filter { $0.name.canonicalName == name }.map(\.value)
        return values.isEmpty ? nil : values.joined(separator: ", ")
    }

    /// - Parameter name: one of ours, which is a token.
    mutating func set(_ name: String, _ value: String) {
        guard let name = Element.Name(name) else { return }
        self[name] = value
    }
}
