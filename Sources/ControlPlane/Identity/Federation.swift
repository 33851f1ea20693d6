import Certificates
import Foundation
import Glibc
import Identity
import Logging
import Reactor
import Store
import Synchronization
import TLS
import Time

/// Where the bundle of another trust domain comes from.
public struct FederationSource: Hashable, Sendable, CustomStringConvertible {
    public let trustDomain: TrustDomain
    let place: Place

    enum Place: Hashable, Sendable {
        case file(String)
        case https(HTTPSDownload.Address)
    }

    /// Reads `DOMAIN=FILE` or `DOMAIN=https://HOST/PATH`.
    /// - Throws: ``StartProblem`` with what is wrong.
    public init(parsing text: String) throws(StartProblem) {
        let hint = "write for example --federate other.example=https://spiffe.other.example/bundle.json"
        guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
            throw StartProblem("`\(text)` is not DOMAIN=FILE or DOMAIN=https://…", hint: hint)
        }
        do throws(SPIFFEIDError) {
            trustDomain = try TrustDomain(String(text[..<equals]))
        } catch {
            throw StartProblem("\(error)", hint: error.hint)
        }
        let rest = String(text[text.index(after: equals)...])
        if rest.hasPrefix("https://") {
            guard let address = HTTPSDownload.Address(rest) else {
                throw StartProblem("`\(rest)` is no address of a bundle", hint: hint)
            }
            place = .https(address)
        } else {
            guard !rest.isEmpty, !rest.hasPrefix("http://") else {
                throw StartProblem("`\(rest)` is no file and no https address", hint: hint)
            }
            place = .file(rest)
        }
    }

    public var description: String {
        switch place {
        case .file(let path): path
        case .https(let address): "\(address)"
        }
    }
}

/// The bundles of other trust domains, read again on schedule. The last good one of each stays in force, and is kept
/// in the database. Belongs to the control thread; reads on a thread of its own.
final class Federation {
    private var domains: [TrustDomain: Domain] = [:]
    /// Domains in the database that are not asked for any more.
    let forgotten: [String]
    private let webAnchorsFile: String
    private let logger: Logger
    private var reader: EventLoopGroup<NoConnections>?

    private struct Domain {
        let source: FederationSource
        var document: [UInt8] = []
        var bundle: SPIFFEBundle?
        var refreshedAt: Timestamp?
        var nextRefresh: Timestamp?
        /// When the database last heard of it.
        var keptAt: Timestamp?
        var problem = ""
        var failures = 0
    }

    /// How often a bundle is read again where it gives no hint.
    static let usualPause = Duration.seconds(300)
    /// The shortest and the longest pause. Source: SPIFFE Federation, 4.1.
    static let shortestPause = Duration.seconds(60)
    static let longestPause = Duration.seconds(86_400)
    /// How often files are looked at.
    static let filePause = Duration.seconds(5)

    init(
        _ sources: [FederationSource], own: TrustDomain, stored: [StoredBundle], webAnchorsFile: String, logger: Logger
    ) throws(StartProblem) {
        self.webAnchorsFile = webAnchorsFile
        self.logger = logger
        for source in sources {
            guard source.trustDomain != own else {
                throw StartProblem("\(own) is this mesh's own trust domain", hint: "leave it out of --federate")
            }
            guard domains[source.trustDomain] == nil else {
                throw StartProblem("--federate names \(source.trustDomain) twice", hint: "leave one of them out")
            }
            domains[source.trustDomain] = Domain(source: source)
        }
        var forgotten: [String] = []
        for row in stored {
            guard let domain = try? TrustDomain(row.trustDomain), domains[domain] != nil else {
                forgotten.append(row.trustDomain)
                continue
            }
            // What was good when it was kept; if it is not any more, the next refresh says so.
            guard let bundle = try? SPIFFEBundle(json: row.document, trustDomain: domain) else { continue }
            domains[domain]?.bundle = bundle
            domains[domain]?.document = Array(row.document)
            domains[domain]?.refreshedAt = row.refreshedAt
        }
        self.forgotten = forgotten
    }

    /// PEM, by domain: those that have a bundle.
    var anchors: [TrustDomain: [UInt8]] {
        domains.compactMapValues { domain in
            guard let authorities = domain.bundle?.x509Authorities, !authorities.isEmpty else { return nil }
            return Array(KeptAuthority.text(authorities).utf8)
        }
    }

    /// Whether no other trust domain was asked for.
    var isEmpty: Bool { domains.isEmpty }

    /// JWKS of those that sign JWT-SVIDs, by domain.
    var tokenKeys: [TrustDomain: [UInt8]] {
        domains.compactMapValues { domain in
            guard let bundle = domain.bundle, !bundle.jwtAuthorities.isEmpty else { return nil }
            return try? bundle.jwks()
        }
    }

    var report: [AuthorityReport.FederatedBundle] {
        domains.values.sorted { $0.source.trustDomain < $1.source.trustDomain }.map { domain in
            AuthorityReport.FederatedBundle(
                trustDomain: domain.source.trustDomain.name, source: "\(domain.source)",
                sequence: domain.bundle?.sequence ?? 0, refreshedAt: domain.refreshedAt,
                nextRefreshAt: domain.nextRefresh, x509Authorities: domain.bundle?.x509Authorities.count ?? 0,
                jwtAuthorities: domain.bundle?.jwtAuthorities.count ?? 0, problem: domain.problem)
        }
    }

    /// Reads from now on.
    /// - Parameter changed: gets what is to be kept, on the control thread.
    func start(on loop: EventLoop<NoConnections>, changed: @escaping ([StoredBundle]) -> Void) {
        guard !domains.isEmpty else { return }
        do {
            reader = try EventLoopGroup<NoConnections>(count: 1, name: "federation") { _, _ in }
        } catch {
            return logger.error("bundles of other trust domains are not read", metadata: ["reason": "\(error)"])
        }
        for domain in domains.keys.sorted() { refresh(domain, on: loop, changed) }
    }

    /// Ends the reading; a download under way ends with the process.
    func stop() {
        reader?.stop()
        reader = nil
    }

    private func refresh(
        _ name: TrustDomain, on loop: EventLoop<NoConnections>, _ changed: @escaping ([StoredBundle]) -> Void
    ) {
        guard let domain = domains[name], let reader else { return }
        let box = OnControlThread((federation: self, changed: changed))
        let (source, webAnchorsFile, mailbox) = (domain.source, webAnchorsFile, loop.mailbox)
        let isTaken = reader.mailboxes[0].submit { _ in
            let outcome = Self.read(source, webAnchorsFile: webAnchorsFile)
            _ = mailbox.submit { loop in
                box.value.federation.take(outcome, for: name, now: .systemClock(), box.value.changed)
                box.value.federation.scheduleRefresh(of: name, on: loop, box.value.changed)
            }
        }
        if !isTaken { scheduleRefresh(of: name, on: loop, changed) }
    }

    private func scheduleRefresh(
        of name: TrustDomain, on loop: EventLoop<NoConnections>, _ changed: @escaping ([StoredBundle]) -> Void
    ) {
        guard let domain = domains[name] else { return }
        let pause = Self.pause(domain.source, hint: domain.bundle?.refreshHint, failures: domain.failures)
        domains[name]?.nextRefresh = Timestamp.systemClock() + pause
        loop.schedule(after: pause) { [weak self] loop in self?.refresh(name, on: loop, changed) }
    }

    /// Until the next reading.
    static func pause(_ source: FederationSource, hint: Duration?, failures: Int) -> Duration {
        if case .file = source.place { return filePause }
        let usual = min(max(hint ?? usualPause, shortestPause), longestPause)
        // After a failure sooner than usual, and not more often than the shortest pause.
        return failures == 0 ? usual : min(usual, shortestPause * (1 << min(failures - 1, 6)))
    }

    private func take(
        _ outcome: Result<[UInt8], FederationProblem>, for name: TrustDomain, now: Timestamp,
        _ changed: ([StoredBundle]) -> Void
    ) {
        guard var domain = domains[name] else { return }
        defer { domains[name] = domain }
        var isNew = false
        do {
            let document = try outcome.get()
            if document != domain.document || domain.bundle == nil {
                let bundle = try SPIFFEBundle(json: document, trustDomain: name)
                guard !bundle.x509Authorities.isEmpty || !bundle.jwtAuthorities.isEmpty else {
                    throw FederationProblem("the bundle has no keys")
                }
                domain.bundle = bundle
                domain.document = document
                isNew = true
                logger.notice(
                    "bundle of another trust domain",
                    metadata: [
                        "trust-domain": "\(name)", "source": "\(domain.source)",
                        "roots": "\(bundle.x509Authorities.count)",
                    ])
            }
            domain.refreshedAt = now
            domain.problem = ""
            domain.failures = 0
        } catch {
            domain.failures += 1
            let words = "\(error)"
            if words != domain.problem {
                logger.error(
                    "the bundle of another trust domain was not refreshed; the last good one stays in force",
                    metadata: ["trust-domain": "\(name)", "source": "\(domain.source)", "reason": "\(words)"])
            }
            domain.problem = words
            return
        }
        // That it is still the same need not be on disk at once.
        guard isNew || domain.keptAt.map({ now - $0 > .seconds(3600) }) ?? true else { return }
        domain.keptAt = now
        domains[name] = domain
        changed([
            StoredBundle(
                trustDomain: name.name, source: "\(domain.source)", document: Data(domain.document),
                refreshedAt: now)
        ])
    }

    /// On the reader's thread.
    private static func read(
        _ source: FederationSource, webAnchorsFile: String
    ) -> Result<[UInt8], FederationProblem> {
        do {
            switch source.place {
            case .file(let path): return .success(try readFile(path))
            case .https(let address):
                let anchors = try TrustAnchors(file: webAnchorsFile)
                return .success(
                    try HTTPSDownload.get(address, trusting: anchors, largestBody: SPIFFEBundle.maximumBytes))
            }
        } catch {
            return .failure((error as? FederationProblem) ?? FederationProblem("\(error)"))
        }
    }

    private static func readFile(_ path: String) throws(FederationProblem) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            throw FederationProblem("cannot read \(path): \(SystemError(call: "open", number: errno))")
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            guard count >= 0 else {
                throw FederationProblem("cannot read \(path): \(SystemError(call: "read", number: errno))")
            }
            if count == 0 { return bytes }
            bytes += buffer[..<count]
            guard bytes.count <= SPIFFEBundle.maximumBytes else {
                throw FederationProblem("\(path) is larger than \(SPIFFEBundle.maximumBytes) bytes")
            }
        }
    }
}

/// Why a bundle was not read.
struct FederationProblem: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) { self.description = description }
}

extension CertificateAuthority {
    /// Bundles were read: kept, and shown if they differ.
    func federationChanged(_ bundles: [StoredBundle]) {
        unsaved.bundles += bundles
        deliveries.append(
            Delivery(
                deliver: { [self] in
                    publishSecrets()
                    publishShared()
                }, fail: { _ in }))
        settle(now: configuration.clock())
    }
}
