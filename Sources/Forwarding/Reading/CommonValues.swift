import Addresses
import CEnvoyAPI
import EnvoyAPI

// Small messages that many resources have: what they mean as Swift values.

extension Duration {
    /// A `google.protobuf.Duration` that is not negative.
    init(_ message: ProtobufDuration) throws(ConfigurationError) {
        guard (0...315_576_000_000).contains(message.seconds), (0...999_999_999).contains(message.nanos) else {
            throw .invalid(path: "", message: "\(message.seconds) s and \(message.nanos) ns are no duration here")
        }
        self = .seconds(message.seconds) + .nanoseconds(Int64(message.nanos))
    }
}

extension Optional where Wrapped == UnsafeMutablePointer<ProtobufDuration> {
    func duration(_ field: String) throws(ConfigurationError) -> Duration? {
        try read(field) { (message) throws(ConfigurationError) in try Duration(message) }
    }
}

extension Optional where Wrapped == UnsafeMutablePointer<ProtobufBoolValue> {
    /// The flag; nil where it is not written.
    var flag: Bool? { self.map { $0.pointee.value != 0 } }
}

extension Optional where Wrapped == UnsafeMutablePointer<ProtobufUInt32Value> {
    /// The number; nil where it is not written.
    var number: UInt32? { self.map { $0.pointee.value } }
}

extension Optional where Wrapped == UnsafeMutablePointer<ProtobufUInt64Value> {
    /// The number; nil where it is not written.
    var number: UInt64? { self.map { $0.pointee.value } }
}

/// A part of the whole, as a fraction: how many requests something is done to. Source: `type.v3.FractionalPercent`.
public struct Fraction: Hashable, Sendable {
    public let numerator: UInt32
    /// 100, 10,000 or 1,000,000.
    public let denominator: UInt32

    public static let all = Fraction(numerator: 100, denominator: 100)

    public init(numerator: UInt32, denominator: UInt32) {
        (self.numerator, self.denominator) = (numerator, denominator)
    }

    public init(_ message: FractionalPercent) throws(ConfigurationError) {
        numerator = message.numerator
        switch message.denominator {
        case .HUNDRED: denominator = 100
        case .TEN_THOUSAND: denominator = 10_000
        case .MILLION: denominator = 1_000_000
        default: throw .invalid(path: "denominator", message: "unknown value")
        }
    }

    /// There is no runtime here that could override the default, so the runtime key does nothing.
    public init(_ message: RuntimeFractionalPercent) throws(ConfigurationError) {
        self =
            try message.default_value.read("default_value") { (value) throws(ConfigurationError) in
                try Fraction(value)
            } ?? .all
    }

    /// Whether a random number falls into the part. Source: Envoy, `ProtobufPercentHelper::evaluateFractionalPercent`.
    public func holds(_ random: UInt64) -> Bool { random % UInt64(denominator) < UInt64(numerator) }
}

extension Optional where Wrapped == UnsafeMutablePointer<FractionalPercent> {
    /// The whole where nothing is written.
    func fraction(_ field: String) throws(ConfigurationError) -> Fraction {
        try read(field) { (message) throws(ConfigurationError) in try Fraction(message) } ?? .all
    }
}

/// Bytes that a resource gives or points to. Source: Envoy, `config.core.v3.DataSource`.
public enum GivenBytes: Hashable, Sendable {
    case inline([UInt8])
    /// Of the file system; the world reads it.
    case file(String)
    case environment(String)

    public init(_ message: DataSource) throws(ConfigurationError) {
        switch message.specifier {
        case .filename(let path): self = .file(path)
        case .inline_bytes(let bytes): self = .inline(Array(bytes))
        case .inline_string(let text): self = .inline(Array(text.utf8))
        case .environment_variable(let name): self = .environment(name)
        case nil: throw .invalid(path: "", message: "no source is given")
        }
    }
}

extension AddressBlock {
    /// - Throws: for what is no address, or has more bits than one.
    public init(_ message: CidrRange) throws(ConfigurationError) {
        let length = message.prefix_len.number ?? 0
        let text = message.address_prefix.string + "/\(length)"
        guard let block = AddressBlock(text) else { throw .invalid(path: "", message: "\(text) is no address block") }
        self = block
    }
}

extension NetworkAddress {
    /// An address to listen on or to connect to: an IP address with its port, or a pipe.
    public init(_ message: EnvoyAPI.Address) throws(ConfigurationError) {
        switch message.address {
        case .socket_address(let socket):
            let text = socket.pointee.address.string
            guard socket.pointee.`protocol` == .TCP else {
                throw .unsupported(path: "socket_address.protocol", message: "only TCP")
            }
            guard let ip = IPAddress(text) else {
                throw .invalid(path: "socket_address.address", message: "`\(text)` is no IP address")
            }
            guard case .port_value(let port) = socket.pointee.port_specifier, let port = UInt16(exactly: port) else {
                throw .invalid(path: "socket_address.port_value", message: "a port from 0 to 65535 is needed")
            }
            self = .ip(ip, port: port)
        case .pipe(let pipe): self = .pipe(pipe.pointee.path.string)
        case .envoy_internal_address:
            throw .unsupported(path: "envoy_internal_address", message: "internal listeners are not supported")
        case nil: throw .invalid(path: "", message: "no address is given")
        }
    }
}
