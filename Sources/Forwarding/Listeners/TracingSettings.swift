import CEnvoyAPI
import EnvoyAPI
import HTTP

/// Source: Envoy, `HttpConnectionManager.Tracing`.
public struct TracingSettings: Sendable, Equatable {
    public struct Tag: Sendable, Equatable {
        public enum Source: Sendable, Equatable {
            case text(String)
            case environment(name: String, standard: String)
            case header(name: [UInt8], standard: String)
            /// With command operators.
            case format(String)
        }
        public let name: String
        public let source: Source
    }

    /// Percent of the requests that ask for it, of all, and of both at most.
    public let client: Double
    public let random: Double
    public let overall: Double
    public let isVerbose: Bool
    public let longestPath: Int
    public let tags: [Tag]
    /// Where spans go; nil: as the proxy is started.
    public let provider: ExtensionSetting?
    public let spansUpstream: Bool

    init(_ message: HttpConnectionManagerTracing) throws(ConfigurationError) {
        client = message.client_sampling?.pointee.value ?? 100
        random = message.random_sampling?.pointee.value ?? 100
        overall = message.overall_sampling?.pointee.value ?? 100
        isVerbose = message.verbose != 0
        longestPath = Int(message.max_path_tag_length.number ?? 256)
        tags = try message.custom_tags_list.read("custom_tags") { (tag) throws(ConfigurationError) in
            let source: Tag.Source
            switch tag.pointee.type {
            case .literal(let text): source = .text(text.pointee.value.string)
            case .environment(let from):
                source = .environment(name: from.pointee.name.string, standard: from.pointee.default_value.string)
            case .request_header(let from):
                source = .header(
                    name: from.pointee.name.string.utf8.map(\.lowerCased), standard: from.pointee.default_value.string)
            case .value(let format): source = .format(format)
            case .metadata: throw .unsupported(path: "metadata", message: "tags from metadata are not supported")
            case nil: throw .invalid(path: "", message: "a tag without a value")
            }
            return Tag(name: tag.pointee.tag.string, source: source)
        }
        provider = message.provider.map { ExtensionSetting($0.pointee.name.string, $0.pointee.typed_config?.pointee) }
        spansUpstream = message.spawn_upstream_span.flag ?? false
    }
}
