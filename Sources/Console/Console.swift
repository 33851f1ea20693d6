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
    /// - Throws: when the address cannot be bound.
    public func serve(
        host: String, port: Int, logger: Logger, listening: @escaping @Sendable (Int) async -> Void = { _ in }
    ) async throws {
        let application = Application(
            router: routes(),
            configuration: .init(address: .hostname(host, port: port), serverName: "martinet"),
            onServerRunning: { channel in await listening(channel.localAddress?.port ?? port) },
            logger: logger)
        try await application.run()
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
