import CEnvoyAPI
import EnvoyAPI
import HTTP

/// Changes of heads and trailers, one after the other. Source: Envoy, `extensions.filters.http.header_mutation.v3`.
public struct HeaderMutations: Sendable {
    private enum Step: Sendable {
        case remove([UInt8])
        case removeMatching(TextMatcher)
        case add(HeaderOperations)
    }

    private let request: [Step]
    private let response: [Step]
    private let requestTrailers: [Step]
    private let responseTrailers: [Step]
    /// Whether what the most special level says comes last. Of the filter's own message.
    public let mostSpecialComesLast: Bool

    public init(_ message: Mutations?, mostSpecialComesLast: Bool = false) throws(ConfigurationError) {
        self.mostSpecialComesLast = mostSpecialComesLast
        guard let message else {
            (request, response, requestTrailers, responseTrailers) = ([], [], [], [])
            return
        }
        request = try Self.steps(message.request_mutations_list, "request_mutations")
        response = try Self.steps(message.response_mutations_list, "response_mutations")
        requestTrailers = try Self.steps(message.request_trailers_mutations_list, "request_trailers_mutations")
        responseTrailers = try Self.steps(message.response_trailers_mutations_list, "response_trailers_mutations")
    }

    init(_ message: HttpHeaderMutation) throws(ConfigurationError) {
        let wins = message.most_specific_header_mutations_wins != 0
        self = try at("mutations") { () throws(ConfigurationError) in
            try HeaderMutations(message.mutations?.pointee, mostSpecialComesLast: wins)
        }
    }

    private static func steps(
        _ messages: Repeated<HeaderMutation>, _ field: String
    ) throws(ConfigurationError) -> [Step] {
        try messages.read(field) { (message) throws(ConfigurationError) in
            switch message.pointee.action {
            case .remove(let name):
                return .remove(
                    try at("remove") { () throws(ConfigurationError) in try HeaderOperations.Addition.checked(name) })
            case .append(let option):
                let addition = try at("append") { () throws(ConfigurationError) in
                    try HeaderOperations.Addition(option.pointee)
                }
                return .add(HeaderOperations([HeaderOperations.Step(removals: [], additions: [addition])]))
            case .remove_on_match(let match):
                let text = try match.pointee.key_matcher.required("remove_on_match.key_matcher")
                return .removeMatching(
                    try at("remove_on_match.key_matcher") { () throws(ConfigurationError) in try TextMatcher(text) })
            case nil: throw .invalid(path: "", message: "a change that does nothing")
            }
        }
    }

    public func applyToRequest(_ head: inout HeaderList, _ facts: () -> AccessRecord) {
        Self.apply(request, &head, isResponse: false, facts)
    }

    public func applyToResponse(_ head: inout HeaderList, _ facts: () -> AccessRecord) {
        Self.apply(response, &head, isResponse: true, facts)
    }

    public func applyToRequestTrailers(_ trailers: inout HeaderList, _ facts: () -> AccessRecord) {
        Self.apply(requestTrailers, &trailers, isResponse: false, facts)
    }

    public func applyToResponseTrailers(_ trailers: inout HeaderList, _ facts: () -> AccessRecord) {
        Self.apply(responseTrailers, &trailers, isResponse: true, facts)
    }

    /// Whether it has anything to do with trailers.
    public var changesTrailers: Bool { !requestTrailers.isEmpty || !responseTrailers.isEmpty }

    private static func apply(
        _ steps: [Step], _ head: inout HeaderList, isResponse: Bool, _ facts: () -> AccessRecord
    ) {
        for step in steps {
            switch step {
            case .remove(let name): name.withUnsafeBytes { _ = head.remove(bytes: $0) }
            case .removeMatching(let text):
                head.removeAll { name, _ in name.first != UInt8(ascii: ":") && text.matches(name) }
            case .add(let operations): operations.apply(to: &head, isResponse: isResponse, facts)
            }
        }
    }

    static let fields =
        SupportedFields([
            "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation":
                "mutations most_specific_header_mutations_wins",
            "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute": "mutations",
            "envoy.extensions.filters.http.header_mutation.v3.Mutations": """
            request_mutations response_mutations request_trailers_mutations response_trailers_mutations
            """,
            "envoy.config.common.mutation_rules.v3.HeaderMutation": "remove append remove_on_match",
            "envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch": "key_matcher",
        ]) + .common
}

/// The most that a request's body may have; it is passed on when all of it is there. A larger one is answered with 413.
/// Source: Envoy, `extensions.filters.http.buffer.v3`.
public struct BodyLimit: Hashable, Sendable {
    public let bytes: Int

    public init(_ message: Buffer) throws(ConfigurationError) {
        guard let most = message.max_request_bytes.number, most > 0 else {
            throw .invalid(path: "max_request_bytes", message: "a number above 0 is needed")
        }
        bytes = Int(most)
    }

    static let fields =
        SupportedFields([
            "envoy.extensions.filters.http.buffer.v3.Buffer": "max_request_bytes",
            "envoy.extensions.filters.http.buffer.v3.BufferPerRoute": "disabled buffer",
        ])
}

/// Metadata that every request gets. Source: Envoy,
/// `extensions.filters.http.set_metadata.v3`.
public struct FixedMetadata: Equatable, Sendable {
    let entries: [(name: String, overwrites: Bool, fields: [StructureValue.Field])]

    public init(_ message: SetMetadataConfig) throws(ConfigurationError) {
        var entries: [(String, Bool, [StructureValue.Field])] = []
        if !message.metadata_namespace.string.isEmpty, let value = message.value {
            entries.append((message.metadata_namespace.string, true, StructureValue.fields(value.pointee)))
        }
        for entry in message.metadata_list {
            guard !entry.pointee.metadata_namespace.string.isEmpty else {
                throw .invalid(path: "metadata.metadata_namespace", message: "missing")
            }
            let fields = entry.pointee.value.map { StructureValue.fields($0.pointee) } ?? []
            entries.append((entry.pointee.metadata_namespace.string, entry.pointee.allow_overwrite != 0, fields))
        }
        self.entries = entries
    }

    /// What is there stays, where the entry does not overwrite.
    public func apply(to metadata: inout FilterMetadata) {
        for entry in entries where entry.overwrites || metadata[entry.name] == nil {
            metadata.merge(entry.name, entry.fields)
        }
    }

    public static func == (left: FixedMetadata, right: FixedMetadata) -> Bool {
        left.entries.elementsEqual(right.entries) {
            $0.name == $1.name && $0.overwrites == $1.overwrites && $0.fields == $1.fields
        }
    }

    static let fields = SupportedFields([
        "envoy.extensions.filters.http.set_metadata.v3.Config": "metadata_namespace value metadata",
        "envoy.extensions.filters.http.set_metadata.v3.Metadata": "metadata_namespace allow_overwrite value",
    ])
}
