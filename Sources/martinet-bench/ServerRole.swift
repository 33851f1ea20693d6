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
            case "push": try push(MeshResources.endpoints(of:change:))
            case "push clusters": try push(MeshResources.cluster(_:change:))
            case "cpu": Reply("cpu", ["cpu": Clock.processorTime]).say()
            default: throw BenchFailure("the server does not know \(line)")
            }
        }
    }

    /// Changes one resource.
    private mutating func push(_ changed: (Int, Int) -> XDS.Resource) throws {
        changes += 1
        let resource = changed(changes % clusters, changes)
        let processorTime = Clock.processorTime
        let start = Clock.now
        try cache.update(setting: [resource])
        Reply("pushed", ["start": start, "cpu": processorTime]).say()
    }
}
