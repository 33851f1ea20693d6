import Discovery
import Glibc
import Reactor
import TLS
import XDS

/// The role `server`: Martinet's discovery server, which pushes when it is told to.
struct ServerRole {
    private let cache = SnapshotCache()
    private let server: DiscoveryServer
    private let clusters: Int
    private var changes = 0

    /// - Parameter certificate: path of a chain and of its key, for TLS; nil for plaintext.
    init(port: UInt16, clusters: Int, certificate: (chain: String, key: String)?) throws {
        self.clusters = clusters
        try cache.publish(MeshResources.all(clusters: clusters))
        let tls = try certificate.map { files in
            let identity = try TLSIdentity(chainFile: files.chain, keyFile: files.key)
            return TLSSource(try TLSSettings(.server(identity, applicationProtocols: ["h2"])))
        }
        var configuration = DiscoveryServer.Configuration()
        configuration.logger.logLevel = .critical
        server = try DiscoveryServer(
            cache, on: [.init(.loopback(port: port), tls: tls)], configuration: configuration)
        Reply("serving").say()
    }

    /// Answers until the one who asks has gone.
    mutating func run() throws {
        while let line = readLine() {
            switch line {
            case "push":
                changes += 1
                let resource = MeshResources.endpoints(of: changes % clusters, change: changes)
                let processorTime = Clock.processorTime
                let start = Clock.now
                try cache.update(setting: [resource])
                Reply("pushed", ["start": start, "cpu": processorTime]).say()
            case "cpu": Reply("cpu", ["cpu": Clock.processorTime]).say()
            default: throw BenchFailure("the server does not know \(line)")
            }
        }
    }
}
