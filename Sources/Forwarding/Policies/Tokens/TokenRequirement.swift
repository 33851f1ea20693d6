import CEnvoyAPI
import EnvoyAPI

/// Which tokens a request needs. Source: Envoy, `extensions.filters.http.jwt_authn.v3.JwtRequirement`.
indirect enum TokenRequirement: Sendable {
    /// One of this provider, maybe for other audiences than its own.
    case provider(Int, audiences: [String]?)
    /// The first that is met.
    case any([TokenRequirement])
    case all([TokenRequirement])
    /// None, or good ones of any provider.
    case allowMissing
    /// Whatever there is; good ones are read.
    case allowMissingOrFailed

    /// - Parameter providers: numbers by name.
    init(_ message: JwtRequirement, _ providers: [String: Int]) throws(ConfigurationError) {
        func number(_ name: String, _ field: String) throws(ConfigurationError) -> Int {
            guard let number = providers[name] else {
                throw .invalid(path: field, message: "there is no provider `\(name)`")
            }
            return number
        }
        switch message.requires_type {
        case .provider_name(let name): self = .provider(try number(name, "provider_name"), audiences: nil)
        case .provider_and_audiences(let pair):
            self = .provider(
                try number(pair.pointee.provider_name.string, "provider_and_audiences.provider_name"),
                audiences: pair.pointee.audiences_list.map(TokenProvider.bareAudience))
        case .requires_any(let list):
            var children = try list.pointee.requirements_list.read("requires_any.requirements") {
                (child) throws(ConfigurationError) in try TokenRequirement(child.pointee, providers)
            }
            // What lets requests without tokens pass is asked last, however it is written.
            let lenient = children.filter(\.isLenient)
            children.removeAll(where: \.isLenient)
            if let last = lenient.first(where: { if case .allowMissingOrFailed = $0 { true } else { false } })
                ?? lenient.first
            {
                children.append(last)
            }
            self = .any(children)
        case .requires_all(let list):
            self = .all(
                try list.pointee.requirements_list.read("requires_all.requirements") {
                    (child) throws(ConfigurationError) in try TokenRequirement(child.pointee, providers)
                })
        case .allow_missing_or_failed: self = .allowMissingOrFailed
        case .allow_missing: self = .allowMissing
        case nil: throw .invalid(path: "", message: "nothing is required")
        }
    }

    private var isLenient: Bool {
        switch self {
        case .allowMissing, .allowMissingOrFailed: true
        case .provider, .any, .all: false
        }
    }
}
