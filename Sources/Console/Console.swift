import Hummingbird
import Logging

/// HTTP for people and for Prometheus, on port 15014 by default: `/metrics`, `/healthz`, `/readyz`.
public struct Console: Sendable {
    /// Whether the control plane serves, and in words why not.
    public enum Readiness: Sendable, Equatable {
        case ready
        case notReady(because: String)
    }

    private let registry: PrometheusRegistry
    private let readiness: @Sendable () -> Readiness
    private let refresh: @Sendable () -> Void

    /// - Parameters:
    ///   - readiness: asked at each `/readyz`.
    ///   - refresh: called before each rendering of `/metrics`, to set the gauges that are read on demand.
    public init(
        registry: PrometheusRegistry, readiness: @escaping @Sendable () -> Readiness,
        refresh: @escaping @Sendable () -> Void
    ) {
        self.registry = registry
        self.readiness = readiness
        self.refresh = refresh
    }

    /// Serves until the task is cancelled.
    /// - Parameter listening: called with the bound port once connections are taken.
    /// - Throws: ``ListenProblem`` when the address cannot be bound.
    public func serve(
        host: String, port: Int, logger: Logger, listening: @escaping @Sendable (Int) async -> Void = { _ in }
    ) async throws {
        let application = Application(
            router: routes(),
            configuration: .init(address: .hostname(host, port: port), serverName: "martinet"),
            onServerRunning: { channel in await listening(channel.localAddress?.port ?? port) },
            logger: logger)
        do {
            try await application.run()
        } catch let error as CancellationError {
            throw error
        } catch {
            throw ListenProblem(error, host: host, port: port)
        }
    }

    /// Why the address of ``serve(host:port:logger:listening:)`` cannot be used.
    public struct ListenProblem: Error, Sendable, CustomStringConvertible {
        public var description: String
        public var hint: String

        /// - Parameter error: what the server threw; its words end in the system's error number.
        init(_ error: any Error, host: String, port: Int) {
            let words = "\(error)"
            let place = "cannot listen on \(host.contains(":") ? "[\(host)]" : host):\(port) for HTTP"
            if words.contains("errno: 98") {
                description = "\(place): the address is in use"
                hint = "stop the other program (ss -ltnp shows it), or pass another --http"
            } else if words.contains("errno: 13") {
                description = "\(place): permission denied"
                hint = "choose a port of 1024 or more"
            } else {
                description = "\(place): \(words)"
                hint = "pass another --http, or --http off"
            }
        }
    }

    private func routes() -> Router<BasicRequestContext> {
        let router = Router()
        router.get("metrics") { _, _ in
            refresh()
            return Response(
                status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8"],
                body: .init(byteBuffer: ByteBuffer(string: registry.exposition())))
        }
        router.get("healthz") { _, _ in "ok\n" }
        router.get("readyz") { _, _ in
            switch readiness() {
            case .ready: Response(status: .ok, body: .init(byteBuffer: ByteBuffer(string: "ready\n")))
            case .notReady(let reason):
                Response(status: .serviceUnavailable, body: .init(byteBuffer: ByteBuffer(string: reason + "\n")))
            }
        }
        return router
    }
}
