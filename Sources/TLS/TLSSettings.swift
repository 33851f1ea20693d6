import COpenSSL
import Certificates
import Synchronization

/// A checked ``TLSConfiguration``, made ready once and used by any number of connections on any thread.
/// It does not change: to swap a certificate, make new settings and hand them to a ``TLSSource``.
public final class TLSSettings: Sendable {
    public let configuration: TLSConfiguration
    /// A server's settings for the names that clients ask for (SNI), by lower-case name or `*.` pattern.
    let byServerName: [String: TLSSettings]
    /// Client: sessions to resume.
    let sessions: SessionStore
    /// ALPN names as they go over the wire, without lengths.
    let protocolNames: [[UInt8]]
    fileprivate let shared: LibraryContext
    var context: OpaquePointer { shared.pointer }

    /// - Parameter byServerName: a server's other settings by server name: `web.example.org`, or
    ///   `*.example.org` for one label more. An exact name wins over a pattern. Everything is taken from
    ///   the chosen settings, except ticket keys and limits, which are those of `configuration`.
    /// - Throws: ``TLSError/settingInvalid(_:)``.
    public convenience init(
        _ configuration: TLSConfiguration, byServerName: [String: TLSConfiguration] = [:]
    ) throws(TLSError) {
        var table: [String: TLSSettings] = [:]
        for (name, nested) in byServerName.sorted(by: { $0.key < $1.key }) {
            let key = name.lowercased()
            guard isHostName(key.hasPrefix("*.") ? String(key.dropFirst(2)) : key) else {
                throw .settingInvalid(.serverNameInvalid(name))
            }
            guard configuration.role == .server, nested.role == .server else {
                throw .settingInvalid(.nestedRoleMismatch(serverName: name))
            }
            var nested = nested
            nested.ticketKeys = configuration.ticketKeys
            table[key] = try TLSSettings(nested, scope: key, byServerName: [:])
        }
        try self.init(configuration, scope: "", byServerName: table)
    }

    fileprivate init(
        _ configuration: TLSConfiguration, scope: String, byServerName: [String: TLSSettings],
        context: LibraryContext? = nil
    ) throws(TLSError) {
        if let problem = configuration.problem { throw .settingInvalid(problem) }
        self.configuration = configuration
        self.byServerName = byServerName
        if let context {
            shared = context
        } else {
            shared = try LibraryContext(configuration, scope: scope)
        }
        sessions = SessionStore(capacity: configuration.storedSessions)
        protocolNames = configuration.applicationProtocols.map { Array($0.utf8) }
    }

    /// The settings for the name that a client asked for, which is lower-case; nil: refuse.
    func chosen(forServerName name: String?) -> TLSSettings? {
        if let name {
            if let exact = byServerName[name] { return exact }
            if let dot = name.firstIndex(of: "."), let pattern = byServerName["*" + name[dot...]] { return pattern }
        }
        return configuration.unknownServerName == .refuse ? nil : self
    }
}

/// libssl's part of settings, some tens of kB.
private final class LibraryContext: Sendable {
    // libssl counts references to an SSL_CTX atomically and only reads it once connections use it.
    nonisolated(unsafe) let pointer: OpaquePointer
    let configuration: TLSConfiguration

    init(_ configuration: TLSConfiguration, scope: String) throws(TLSError) {
        _ = CurveKeys.areDecodedDirectly
        ERR_clear_error()
        let method = configuration.role == .server ? TLS_server_method() : TLS_client_method()
        guard let context = SSL_CTX_new(method) else {
            throw .libraryFailure(operation: "SSL_CTX_new", reason: libraryReason())
        }
        do throws(TLSError) {
            try configuration.apply(to: context, scope: scope)
        } catch {
            SSL_CTX_free(context)
            throw error
        }
        pointer = context
        self.configuration = configuration
    }

    deinit {
        SSL_CTX_free(pointer)
    }
}

/// Makes settings of many clients that have much in common: what is large of them is there once for all that agree in
/// certificates, anchors, protocols and versions, for as long as one of them lives. The names that they accept, and the
/// sessions that stand for their check, are each one's own.
public struct TLSClientFamily: Sendable {
    private struct Kept: Sendable { weak var context: LibraryContext? }

    private var kept: [Kept] = []

    public init() {}

    /// How many different ones there are.
    var contextCount: Int { kept.count { $0.context != nil } }

    public mutating func settings(_ configuration: TLSConfiguration) throws(TLSError) -> TLSSettings {
        precondition(configuration.role == .client)
        let found = kept.lazy.compactMap(\.context).first { configuration.hasContext(of: $0.configuration) }
        let made = try TLSSettings(configuration, scope: "", byServerName: [:], context: found)
        if found == nil {
            kept.removeAll { $0.context == nil }
            kept.append(Kept(context: made.shared))
        }
        return made
    }
}

/// The settings in force, for listeners and connectors: each new connection takes ``current``. After a
/// replacement new connections use the new settings, and those under way go on with theirs.
public final class TLSSource: Sendable {
    private let settings: Mutex<TLSSettings>

    public init(_ settings: TLSSettings) {
        self.settings = Mutex(settings)
    }

    public var current: TLSSettings {
        settings.withLock { $0 }
    }

    /// Settings of the same role. Keep the same `ticketKeys` in them, and clients go on resuming.
    public func replace(with new: TLSSettings) {
        // The old settings may go with this call: not under the lock.
        let old = settings.withLock { current in
            let old = current
            current = new
            return old
        }
        precondition(old.configuration.role == new.configuration.role, "a server's settings replaced by a client's")
    }
}

extension TLSConfiguration {
    /// What cannot work in these settings.
    fileprivate var problem: TLSError.SettingProblem? {
        switch role {
        case .server:
            if identity == nil { return .serverWithoutIdentity }
            if clientAuthentication != .none, !knowsWhomToBelieve {
                return .clientAuthenticationWithoutTrustAnchors
            }
            if acceptedPeers == .serverName { return .serverNameMissing }
        case .client:
            if !knowsWhomToBelieve { return .clientWithoutTrustAnchors }
            if acceptedPeers == .serverName, serverName == nil { return .serverNameMissing }
        }
        if let serverName, !isHostName(serverName), !isAddress(serverName) { return .serverNameInvalid(serverName) }
        if case .named(let names) = acceptedPeers {
            if names.isEmpty { return .acceptedPeersEmpty }
            if let name = names.first(where: { !$0.isWellFormed }) { return .acceptedNameInvalid("\(name)") }
        }
        if let name = applicationProtocols.first(where: { !(1...255).contains($0.utf8.count) }) {
            return .applicationProtocolInvalid(name)
        }
        if requiresApplicationProtocol, applicationProtocols.isEmpty { return .applicationProtocolsEmpty }
        let unknown = cipherSuites.first { !Self.offeredCipherSuites.contains($0) }
        if let name = unknown ?? groups.first(where: { !Self.offeredGroups.contains($0) }) { return .notOffered(name) }
        if minimumVersion > maximumVersion {
            return .versionsReversed(minimum: minimumVersion, maximum: maximumVersion)
        }
        return nil
    }

    private var knowsWhomToBelieve: Bool {
        trustAnchors != nil || trustDomains != nil || !pins.isEmpty || acceptedPeers == .anybody
    }

    /// Whether a client's SSL_CTX for `other` serves these settings too: what is not compared here is each
    /// connection's, or is asked of the settings themselves.
    fileprivate func hasContext(of other: TLSConfiguration) -> Bool {
        role == other.role && identity === other.identity && trustAnchors === other.trustAnchors
            && revocations === other.revocations && applicationProtocols == other.applicationProtocols
            && minimumVersion == other.minimumVersion && maximumVersion == other.maximumVersion
            && cipherSuites == other.cipherSuites && groups == other.groups && limits == other.limits
            && (storedSessions > 0) == (other.storedSessions > 0)
    }

    /// The names that a peer may have, if they matter.
    var expectedNames: [PeerName]? {
        switch acceptedPeers {
        case .anybody, .anyTrusted: nil
        case .serverName: serverName.map { [.host($0)] } ?? []
        case .named(let names): names
        }
    }
}

extension TLSVersion {
    /// The number on the wire.
    var code: Int32 {
        switch self {
        case .tls12: TLS1_2_VERSION
        case .tls13: TLS1_3_VERSION
        }
    }
}
