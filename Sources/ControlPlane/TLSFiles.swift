import Certificates
import Glibc
import Logging
import Reactor
import TLS
import Time

/// The PEM files of the TLS port, read again when they change.
///
/// Looked at every second by their place, size and times: that also sees what is swapped behind symbolic links, as in
/// Kubernetes' volumes, and on network file systems, where inotify tells nothing. Belongs to the control thread.
final class TLSFiles {
    /// Where the files are. All are PEM.
    struct Paths: Hashable, Sendable {
        /// The leaf first, then the intermediates.
        var certificate: String
        var key: String
        /// The anchors that client certificates must lead to.
        var clientAuthorities: String
    }

    let source: TLSSource
    private let paths: Paths
    private let logger: Logger
    private var seen: [FileState?]
    private var ticketKeys: TLSTicketKeys
    private var authorities: [Certificate]

    /// What tells one content of a file from another without reading it.
    private struct FileState: Equatable {
        var device: UInt64
        var inode: UInt64
        var size: Int64
        var modified: [Int]

        init?(_ path: String) {
            var status = stat()
            guard stat(path, &status) == 0 else { return nil }
            device = UInt64(status.st_dev)
            inode = UInt64(status.st_ino)
            size = Int64(status.st_size)
            modified = [
                status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_ctim.tv_sec, status.st_ctim.tv_nsec,
            ]
        }
    }

    /// Reads the files.
    init(_ paths: Paths, logger: Logger) throws(TLSError) {
        self.paths = paths
        self.logger = logger
        seen = Self.states(paths)
        ticketKeys = try TLSTicketKeys()
        let (configuration, authorities) = try Self.read(paths, ticketKeys)
        self.authorities = authorities
        source = TLSSource(try TLSSettings(configuration))
        logger.info("TLS certificate read", metadata: Self.describe(configuration))
    }

    /// The moment at which the certificate in force expires.
    var notAfter: Timestamp? { source.current.configuration.identity?.leaf.notAfter }

    /// Takes new files into force if there are any: for new connections, those under way go on. Files that do not
    /// fit together, as in the moment between two renames, leave what was in force.
    /// - Parameter isForced: read them even if they look unchanged.
    func reload(isForced: Bool = false) {
        let states = Self.states(paths)
        guard isForced || states != seen else { return }
        seen = states
        do throws(TLSError) {
            var (configuration, newAuthorities) = try Self.read(paths, ticketKeys)
            if newAuthorities != authorities {
                // A ticket stands for a verified certificate: what the old anchors vouched for is asked again.
                ticketKeys = try TLSTicketKeys()
                configuration.ticketKeys = ticketKeys
            }
            let settings = try TLSSettings(configuration)
            authorities = newAuthorities
            source.replace(with: settings)
            logger.info("TLS certificate replaced", metadata: Self.describe(configuration))
        } catch {
            logger.error(
                "TLS files changed and cannot be used; the ones before stay in force",
                metadata: ["reason": "\(error)", "hint": "\(error.hint)"])
        }
    }

    /// Looks for changes every second, from now on.
    func watch(on loop: EventLoop<NoConnections>) {
        loop.schedule(after: .seconds(1)) { [self] loop in
            reload()
            watch(on: loop)
        }
    }

    private static func states(_ paths: Paths) -> [FileState?] {
        [paths.certificate, paths.key, paths.clientAuthorities].map { FileState($0) }
    }

    private static func read(
        _ paths: Paths, _ keys: TLSTicketKeys
    ) throws(TLSError) -> (TLSConfiguration, [Certificate]) {
        let identity = try TLSIdentity(chainFile: paths.certificate, keyFile: paths.key)
        let anchors = try TrustAnchors(file: paths.clientAuthorities)
        var configuration = TLSConfiguration.mutualServer(
            identity, trusting: anchors, applicationProtocols: ["h2"])
        configuration.requiresApplicationProtocol = true
        configuration.ticketKeys = keys
        return (configuration, anchors.certificates)
    }

    private static func describe(_ configuration: TLSConfiguration) -> Logger.Metadata {
        guard let identity = configuration.identity else { return [:] }
        return ["certificate": "\(identity)"]
    }
}
