import CEnvoyAPI
import EnvoyAPI
import HTTP
import Protobuf

// Smaller rules of a route, each as a value.

/// A copy of requests goes to another cluster, whose answers nobody waits for.
/// Source: Envoy, `RouteAction.RequestMirrorPolicy`.
public struct MirrorRule: Sendable {
    /// Empty: the first value of `clusterHeader` says it.
    public let cluster: String
    /// In lower case.
    public let clusterHeader: [UInt8]
    public let share: Fraction
    /// `-shadow` is added to the copy's authority.
    public let appendsShadow: Bool
    public let authority: [UInt8]?
    /// The copy belongs to the trace of its request, if that is kept; otherwise it says that nobody keeps it.
    public let isSampled: Bool

    init(_ message: RouteActionRequestMirrorPolicy) throws(ConfigurationError) {
        cluster = message.cluster.string
        clusterHeader = message.cluster_header.string.utf8.map(\.lowerCased)
        guard cluster.isEmpty != clusterHeader.isEmpty else {
            throw .invalid(path: "", message: "one of cluster and cluster_header is needed")
        }
        share =
            try message.runtime_fraction.read("runtime_fraction") { (fraction) throws(ConfigurationError) in
                try Fraction(fraction)
            } ?? .all
        isSampled = message.trace_sampled.flag ?? true
        appendsShadow = message.disable_shadow_host_suffix_append == 0
        let host = message.host_rewrite_literal.string
        authority = host.isEmpty ? nil : try FieldText.value(host, "host_rewrite_literal")
    }

    /// The authority of a copy. Source: Envoy, `FilterUtility`, `Http::Utility::appendShadow`: before the port.
    public func authority(of original: [UInt8]) -> [UInt8] {
        if let authority { return authority }
        guard appendsShadow else { return original }
        let port = original.withUnsafeBytes { $0.portStart } ?? original.count
        return original[..<port] + Array("-shadow".utf8) + original[port...]
    }

    /// The cluster for one request; nil: there is none, so nothing is copied.
    public func cluster(for head: HeaderList) -> String? {
        if !cluster.isEmpty { return cluster }
        let name = clusterHeader.withUnsafeBytes { head.withValue(ofBytes: $0) { $0.text } }
        return name.flatMap { $0.isEmpty ? nil : $0 }
    }
}

/// Which protocols a connection may change to, on a route or for all of a connection manager.
/// Source: Envoy, `RouteAction.UpgradeConfig`, `HttpConnectionManager.UpgradeConfig`.
public struct UpgradeRules: Sendable {
    /// By name in lower case (`websocket`, `connect`): whether it may.
    public var isEnabled: [String: Bool] = [:]
    /// How CONNECT ends here; nil: it is passed on.
    public private(set) var ending: TunnelEnding?

    /// The bytes that follow go to the host as they are. Source: Envoy, `UpgradeConfig.ConnectConfig`.
    public struct TunnelEnding: Sendable {
        /// What follows a POST does too.
        public let takesPOST: Bool
    }

    public init() {}

    /// What this says, else what `others` say.
    public func allows(_ name: String, else others: UpgradeRules? = nil) -> Bool {
        isEnabled[name] ?? others?.isEnabled[name] ?? false
    }

    init(_ messages: Repeated<RouteActionUpgradeConfig>) throws(ConfigurationError) {
        for (index, upgrade) in messages.enumerated() {
            let name = upgrade.pointee.upgrade_type.string.lowercased()
            guard isEnabled.updateValue(upgrade.pointee.enabled.flag ?? true, forKey: name) == nil else {
                throw .invalid(path: "upgrade_configs[\(index)]", message: "`\(name)` is there twice")
            }
            guard let config = upgrade.pointee.connect_config?.pointee else { continue }
            let place = "upgrade_configs[\(index)].connect_config"
            switch name {
            case "connect": ending = TunnelEnding(takesPOST: config.allow_post != 0)
            case "connect-udp": throw .unsupported(path: place, message: "tunnels for datagrams do not end here")
            default: throw .invalid(path: place, message: "`\(name)` is not CONNECT")
            }
        }
    }
}

/// What a route (or virtual host, table, cluster) says to one HTTP filter. Source: Envoy, `typed_per_filter_config`.
public struct FilterSetting: Sendable {
    /// The full name of the message; empty: there is none.
    public let typeName: String
    public let bytes: [UInt8]
    /// The filter does nothing here.
    public let isDisabled: Bool
    /// The setting does not count where the filter is not known.
    public let isOptional: Bool
    /// What it says, compiled; nil: nothing, as it is optional and not known.
    public let policy: RoutePolicy?

    /// - Parameter any: the filter's own message, or a `FilterConfig` around it.
    init(_ any: ProtobufAny, in arena: Arena) throws(ConfigurationError) {
        let name = FieldAudit.typeName(any)
        guard name == RouteFilterConfig.descriptor.fullName else {
            (typeName, bytes, isDisabled, isOptional) = (name, Array(any.value_bytes), false, false)
            policy = try RoutePolicy.read(typeName, bytes, isOptional: false)
            return
        }
        let wrapper = try FieldAudit.decode(RouteFilterConfig.self, any, in: arena, Self.fields).pointee
        isDisabled = wrapper.disabled != 0
        isOptional = wrapper.is_optional != 0
        typeName = wrapper.config.map { FieldAudit.typeName($0.pointee) } ?? ""
        bytes = wrapper.config.map { Array($0.pointee.value_bytes) } ?? []
        if isDisabled {
            policy = .disabled
        } else if typeName.isEmpty {
            policy = .enabled
        } else {
            do {
                policy = try RoutePolicy.read(typeName, bytes, isOptional: isOptional)
            } catch {
                throw error.under("config")
            }
        }
    }

    private static let fields = SupportedFields([
        "envoy.config.route.v3.FilterConfig": "config* is_optional disabled"
    ])
}

/// What all levels say to HTTP filters, by the filter's name, the most general level first.
public struct FilterSettings: Sendable {
    public private(set) var byName: [String: [FilterSetting]] = [:]

    public static let none = FilterSettings()

    public var isEmpty: Bool { byName.isEmpty }

    /// These, and after them those of a level that is more special.
    func adding(_ others: [(name: String, setting: FilterSetting)]) -> FilterSettings {
        var result = self
        for (name, setting) in others { result.byName[name, default: []].append(setting) }
        return result
    }
}
