import Foundation
import Hummingbird

/// The headers of a request that go on with the calls it causes: of traces (W3C Trace Context; B3; Envoy's request id)
/// and of the signed-in user.
struct ForwardedHeaders: Sendable {
    private static let traced = [
        "x-request-id", "traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid",
        "x-b3-sampled", "x-b3-flags", "x-ot-span-context", "x-cloud-trace-context", "grpc-trace-bin", "authorization",
    ]

    let userHeader: String
    var fields: [(name: String, value: String)]

    init(of headers: HTTPFields, userHeader: String) {
        self.userHeader = userHeader.lowercased()
        fields = (Self.traced + [self.userHeader]).compactMap { name in headers.value(name).map { (name, $0) } }
    }

    var user: String? {
        get { fields.first { $0.name == userHeader }?.value }
        set {
            fields.removeAll { $0.name == userHeader }
            if let newValue { fields.append((userHeader, newValue)) }
        }
    }
}

/// Calls other services on behalf of one request.
struct ForwardingCaller: Sendable {
    let through: String?
    let timeout: Duration
    var forwarded: ForwardedHeaders

    /// What a call came to: an answer, or in words why there is none.
    enum Outcome<Value: Sendable>: Sendable {
        case answered(Value)
        case failed(status: Int?, String)
    }

    /// The answer as it came.
    func get(_ path: String, of service: ServiceURL) async -> Outcome<Caller.Answer> {
        let place = through.map { SocketPlace(host: $0, port: service.place.port) } ?? service.place
        do {
            return .answered(
                try await Caller.shared.get(
                    path, at: place, host: "\(service.place)", headers: forwarded.fields, timeout: timeout))
        } catch {
            return .failed(status: nil, "\(service.place.host) cannot be reached: \(error)")
        }
    }

    /// The answer's JSON.
    func get<Value: Decodable & Sendable>(_: Value.Type, _ path: String, of service: ServiceURL) async
        -> Outcome<Value>
    {
        switch await get(path, of: service) {
        case .failed(let status, let words): return .failed(status: status, words)
        case .answered(let answer) where answer.status == 200:
            guard let value = try? JSONDecoder().decode(Value.self, from: Data(answer.body)) else {
                return .failed(status: answer.status, "\(service.place.host) answered something else than JSON")
            }
            return .answered(value)
        case .answered(let answer):
            return .failed(status: answer.status, "\(service.place.host) answered \(answer.status)")
        }
    }
}
