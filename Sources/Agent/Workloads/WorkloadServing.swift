import Discovery
import Reactor
import XDS

extension WorkloadService {
    /// Serves on the Unix socket until the server is drained.
    /// - Returns: nil: no socket is wanted.
    func serve(_ configuration: Agent.Configuration) throws(AgentError) -> DiscoveryServer? {
        guard let path = configuration.socketPath else { return nil }
        var serving = DiscoveryServer.Configuration()
        serving.logger = configuration.logger
        serving.servesDiscovery = false
        serving.connectionsPerLoop = 2 * Self.mostStreams
        serving.grpc.messageSize = 64 << 10
        let listener = DiscoveryServer.Listener(.unix(path: path), unixMode: configuration.socketMode)
        do {
            let server = try DiscoveryServer(
                SnapshotCache(), on: [listener], configuration: serving, services: [self])
            configuration.logger.info(
                "serving the Workload API",
                metadata: [
                    "socket": "\(path)",
                    "callers": "\(configuration.selectors.map(\.description).joined(separator: " or "))",
                ])
            return server
        } catch let error as ReactorError {
            throw .cannotServe("\(error)", hint: error.hint)
        } catch {
            throw .cannotServe("\(error)", hint: "name another --socket")
        }
    }
}
