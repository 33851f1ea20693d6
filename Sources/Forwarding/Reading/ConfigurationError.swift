import Protobuf

/// Why a resource is refused. Its text becomes the NACK, so it names the place in the resource and the mend.
public enum ConfigurationError: Error, Hashable, Sendable {
    /// Envoy may do this; this proxy does not.
    case unsupported(path: String, message: String)
    /// What is written means nothing.
    case invalid(path: String, message: String)
    /// The bytes are no message of the type.
    case undecodable(path: String, message: String)

    /// Where in the resource: `virtual_hosts[0].routes[3].route`; empty for the resource itself.
    public var path: String {
        switch self {
        case .unsupported(let path, _), .invalid(let path, _), .undecodable(let path, _): path
        }
    }

    /// What is wrong there.
    public var problem: String {
        switch self {
        case .unsupported(_, let message), .invalid(_, let message), .undecodable(_, let message): message
        }
    }

    /// How it is mended.
    public var hint: String {
        switch self {
        case .unsupported: "remove the field, or let Envoy serve what needs it"
        case .invalid: "correct the value"
        case .undecodable: "send a message of the type that the resource names"
        }
    }

    public init(_ error: ProtobufError) {
        self = .undecodable(path: error.path, message: "\(error)")
    }

    /// The same error, seen from the message that has this one in `field`.
    public func under(_ field: String) -> ConfigurationError {
        func join(_ path: String) -> String {
            if field.isEmpty || path.isEmpty { return field + path }
            return path.hasPrefix("[") ? field + path : field + "." + path
        }
        switch self {
        case .unsupported(let path, let message): return .unsupported(path: join(path), message: message)
        case .invalid(let path, let message): return .invalid(path: join(path), message: message)
        case .undecodable(let path, let message): return .undecodable(path: join(path), message: message)
        }
    }
}

extension ConfigurationError: CustomStringConvertible {
    /// `virtual_hosts[0].domains[1]: "*.*" is no domain (correct the value)`.
    public var description: String {
        path.isEmpty ? "\(problem) (\(hint))" : "\(path): \(problem) (\(hint))"
    }
}
