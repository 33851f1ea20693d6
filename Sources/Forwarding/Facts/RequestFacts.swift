import EnvoyAPI
import HTTP

/// What is known of a request when policies are asked about it.
public struct RequestFacts: Sendable {
    public var connection: ConnectionFacts
    /// With pseudo-header fields first, names in lower case; the path is normalised.
    public var head: HeaderList
    /// Who called, as far as the connection manager believes `x-forwarded-for`.
    public var remote: NetworkAddress
    /// What filters before this one left.
    public var metadata: FilterMetadata
    /// What stands in the route that the request takes.
    public var routeMetadata: FilterMetadata

    /// - Parameter remote: nil: whoever connected.
    public init(
        connection: ConnectionFacts, head: HeaderList, remote: NetworkAddress? = nil,
        metadata: FilterMetadata = FilterMetadata(), routeMetadata: FilterMetadata = FilterMetadata()
    ) {
        self.connection = connection
        self.head = head
        self.remote = remote ?? connection.source
        self.metadata = metadata
        self.routeMetadata = routeMetadata
    }
}

/// Structured values under the names of the filters that left them (or of whatever wrote them into a resource).
/// Source: Envoy, `config.core.v3.Metadata`.
public struct FilterMetadata: Equatable, Sendable {
    public typealias Field = StructureValue.Field

    /// In the order in which they came; each name once.
    public private(set) var filters: [(name: String, fields: [Field])] = []

    public init() {}

    public var isEmpty: Bool { filters.isEmpty }

    public subscript(filter: String) -> [Field]? {
        for other in filters where other.name == filter { return other.fields }
        return nil
    }

    /// The value under a filter's name and a path of keys; nil where there is none.
    public func value(_ filter: String, at path: [String]) -> StructureValue? {
        guard let key = path.first, var value = self[filter]?.value(key) else { return nil }
        for key in path.dropFirst() {
            guard case .object(let fields) = value, let next = fields.value(key) else { return nil }
            value = next
        }
        return value
    }

    /// Adds fields under a filter's name: one of the same name is replaced as a whole, as Envoy merges dynamic
    /// metadata.
    public mutating func merge(_ filter: String, _ fields: [Field]) {
        if let index = filters.firstIndex(where: { $0.name == filter }) {
            filters[index].fields.merge(fields)
        } else {
            filters.append((filter, fields))
        }
    }

    public static func == (left: FilterMetadata, right: FilterMetadata) -> Bool {
        left.filters.elementsEqual(right.filters) { $0.name == $1.name && $0.fields == $1.fields }
    }
}

extension [StructureValue.Field] {
    /// The field of that name.
    public func value(_ name: String) -> StructureValue? {
        for field in self where field.name == name { return field.value }
        return nil
    }

    mutating func merge(_ others: [StructureValue.Field]) {
        for other in others {
            if let index = firstIndex(where: { $0.name == other.name }) {
                self[index].value = other.value
            } else {
                append(other)
            }
        }
    }
}
