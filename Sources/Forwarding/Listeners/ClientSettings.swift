import Addresses
import CEnvoyAPI
import EnvoyAPI
import Protobuf

/// Who the client is held to be. Source: Envoy, "x-forwarded-for".
public struct ClientSettings: Sendable, Equatable {
    /// The connection's own address counts, and is added to `x-forwarded-for`: for the first proxy of a mesh.
    public let usesRemoteAddress: Bool
    /// So many entries of `x-forwarded-for`, from its end, are of proxies that are believed.
    public let trustedHops: Int
    public let skipsAppend: Bool
    /// `x-forwarded-port` gets the port that the client connected to.
    public let appendsPort: Bool
    /// Addresses that count as inside. Without a word about it none does: Envoy's default too, since it trusted private
    /// ones once and regretted it.
    public let internalBlocks: [AddressBlock]
    public let socketsAreInternal: Bool

    init(_ message: HttpConnectionManager, in arena: Arena) throws(ConfigurationError) {
        usesRemoteAddress = message.use_remote_address.flag ?? false
        var hops = message.xff_num_trusted_hops
        var skips = message.skip_xff_append != 0
        for (index, detection) in message.original_ip_detection_extensions_list.enumerated() {
            let place = "original_ip_detection_extensions[\(index)]"
            let any = try detection.pointee.typed_config.required(place + ".typed_config")
            let config = try at(place + ".typed_config") { () throws(ConfigurationError) in
                try FieldAudit.decode(XffConfig.self, any, in: arena, .managers)
            }
            if usesRemoteAddress {
                throw .invalid(path: place, message: "use_remote_address says already who the client is")
            }
            hops = config.pointee.xff_num_trusted_hops
            skips = config.pointee.skip_xff_append.flag ?? true
        }
        (trustedHops, skipsAppend) = (Int(hops), skips)
        appendsPort = message.append_x_forwarded_port != 0
        internalBlocks =
            try message.internal_address_config.read("internal_address_config") {
                (config) throws(ConfigurationError) in
                try config.cidr_ranges_list.read("cidr_ranges") { (range) throws(ConfigurationError) in
                    try AddressBlock(range.pointee)
                }
            } ?? []
        socketsAreInternal = message.internal_address_config.map { $0.pointee.unix_sockets != 0 } ?? false
    }
}

extension ClientSettings {
    /// Whether requests from there may bring what only clients inside may.
    public func isInternal(_ address: NetworkAddress) -> Bool {
        switch address {
        case .ip(let ip, _): internalBlocks.contains { $0.contains(ip) }
        case .pipe: socketsAreInternal
        }
    }
}

/// What becomes of `x-forwarded-client-cert`. Source: Envoy, "x-forwarded-client-cert".
public struct ForwardedCertificate: Sendable, Equatable {
    public enum Action: Sendable { case remove, forward, append, replace, alwaysForward }

    public let action: Action
    /// What is told of the client's certificate besides the certificate's own hash and our URI.
    public let subject: Bool
    public let certificate: Bool
    public let dns: Bool
    public let uri: Bool

    init(_ message: HttpConnectionManager) throws(ConfigurationError) {
        switch message.forward_client_cert_details {
        case .SANITIZE: action = .remove
        case .FORWARD_ONLY: action = .forward
        case .APPEND_FORWARD: action = .append
        case .SANITIZE_SET: action = .replace
        case .ALWAYS_FORWARD_ONLY: action = .alwaysForward
        default: throw .invalid(path: "forward_client_cert_details", message: "unknown value")
        }
        let details = message.set_current_client_cert_details?.pointee
        subject = details?.subject.flag ?? false
        certificate = details.map { $0.cert != 0 } ?? false
        dns = details.map { $0.dns != 0 } ?? false
        uri = details.map { $0.uri != 0 } ?? false
    }
}

/// What is made of `:authority` before routing.
public struct HostNormalisation: Sendable, Equatable {
    public enum Port: Sendable { case keep, stripListeners, stripAny }
    public let port: Port
    public let stripsTrailingDot: Bool

    init(_ message: HttpConnectionManager) {
        if case .strip_any_host_port(true)? = message.strip_port_mode {
            port = .stripAny
        } else {
            port = message.strip_matching_host_port != 0 ? .stripListeners : .keep
        }
        stripsTrailingDot = message.strip_trailing_host_dot != 0
    }
}

/// Source: Envoy, `HttpConnectionManager.generate_request_id` and what is around it.
public struct RequestIDSettings: Sendable, Equatable {
    public let generates: Bool
    /// One that comes from outside is kept.
    public let keepsExternal: Bool
    public let answersWithIt: Bool
    /// Whether a request is traced stands in it.
    public let packsTraceReason: Bool
    /// Its number decides on that; otherwise all requests are traced.
    public let decidesTraces: Bool

    init(_ message: HttpConnectionManager, in arena: Arena) throws(ConfigurationError) {
        generates = message.generate_request_id.flag ?? true
        keepsExternal = message.preserve_external_request_id != 0
        answersWithIt = message.always_set_request_id_in_response != 0
        let uuid = try message.request_id_extension.read("request_id_extension") {
            (extra) throws(ConfigurationError) in
            let any = try extra.typed_config.required("typed_config")
            return try at("typed_config") { () throws(ConfigurationError) in
                try FieldAudit.decode(UuidRequestIdConfig.self, any, in: arena, .managers)
            }
        }
        packsTraceReason = uuid?.pointee.pack_trace_reason.flag ?? true
        decidesTraces = uuid?.pointee.use_request_id_for_trace_sampling.flag ?? true
    }
}
