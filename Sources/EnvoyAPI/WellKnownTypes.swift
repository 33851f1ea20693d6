import CProtobufC
import Protobuf

// Short ways to make the small messages that fields of the API are made of.
extension Arena {
    /// A `google.protobuf.Duration` of whole seconds.
    public func seconds(_ seconds: Int64) -> UnsafeMutablePointer<ProtobufDuration> {
        make { $0.seconds = seconds }
    }

    /// A `google.protobuf.Duration`; what is finer than a nanosecond is cut off.
    public func duration(_ duration: Duration) -> UnsafeMutablePointer<ProtobufDuration> {
        let (seconds, attoseconds) = duration.components
        return make {
            $0.seconds = seconds
            $0.nanos = Int32(attoseconds / 1_000_000_000)
        }
    }

    /// A `google.protobuf.Timestamp`.
    /// - Parameters:
    ///   - seconds: since 1970-01-01T00:00:00Z.
    ///   - nanoseconds: 0 to 999,999,999, also before 1970.
    public func timestamp(seconds: Int64, nanoseconds: Int32 = 0) -> UnsafeMutablePointer<ProtobufTimestamp> {
        precondition((0...999_999_999).contains(nanoseconds), "\(nanoseconds) ns in a timestamp")
        return make {
            $0.seconds = seconds
            $0.nanos = nanoseconds
        }
    }

    /// A `google.protobuf.BoolValue`.
    public func bool(_ value: Bool) -> UnsafeMutablePointer<ProtobufBoolValue> {
        make { $0.set(value: value) }
    }

    /// A `google.protobuf.UInt32Value`.
    public func u32(_ value: UInt32) -> UnsafeMutablePointer<ProtobufUInt32Value> {
        make { $0.value = value }
    }

    /// A `google.protobuf.UInt64Value`.
    public func u64(_ value: UInt64) -> UnsafeMutablePointer<ProtobufUInt64Value> {
        make { $0.value = value }
    }

    /// A `google.protobuf.DoubleValue`.
    public func double(_ value: Double) -> UnsafeMutablePointer<ProtobufDoubleValue> {
        make { $0.value = value }
    }

    /// A `google.protobuf.StringValue`; a string field takes `arena("…")` instead.
    public func string(_ value: String) -> UnsafeMutablePointer<ProtobufStringValue> {
        make { $0.value = self(value) }
    }

    /// A `google.protobuf.Any` with the type URL `type.googleapis.com/` + the message's full name.
    public func any<M: ProtobufMessage>(_ message: UnsafeMutablePointer<M>) -> UnsafeMutablePointer<ProtobufAny> {
        any(typeURL: M.descriptor.typeURL, bytes(encode(message)))
    }

    /// A `google.protobuf.Any` of a message that is serialized already.
    public func any(typeURL: String, _ value: ProtobufCBinaryData) -> UnsafeMutablePointer<ProtobufAny> {
        make {
            $0.type_url = self(typeURL)
            $0.value = value
        }
    }

    /// A `ConfigSource` that says: over the aggregated stream, v3 resources.
    public func ads() -> UnsafeMutablePointer<ConfigSource> {
        make {
            $0.set(ads: make())
            $0.resource_api_version = .V3
        }
    }

    /// The count and the array for a map field with string keys, in the order given:
    /// `(c.n_x, c.x) = arena.map([("key", value)])`.
    public func map<E: StringKeyedEntry>(
        _ pairs: [(String, E.Value)]
    ) -> (Int, UnsafeMutablePointer<UnsafeMutablePointer<E>?>?) {
        list(pairs.map { key, value in make(E.self) { $0.set(key: self(key), value: value) } })
    }
}

/// A JSON value, for `google.protobuf.Struct`: write it as Swift literals.
public indirect enum StructureValue: Equatable, Sendable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case list([StructureValue])
    case object([Field])

    /// One field of an object; the order is kept.
    public struct Field: Equatable, Sendable {
        public var name: String
        public var value: StructureValue

        public init(_ name: String, _ value: StructureValue) {
            self.name = name
            self.value = value
        }
    }
}

extension StructureValue: ExpressibleByBooleanLiteral, ExpressibleByStringLiteral, ExpressibleByFloatLiteral,
    ExpressibleByIntegerLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(stringLiteral value: String) { self = .string(value) }
    public init(floatLiteral value: Double) { self = .number(value) }
    public init(integerLiteral value: Int) { self = .number(Double(value)) }
    public init(arrayLiteral elements: StructureValue...) { self = .list(elements) }
    public init(dictionaryLiteral elements: (String, StructureValue)...) {
        self = .object(elements.map { Field($0.0, $0.1) })
    }
    public init(nilLiteral: ()) { self = .null }
}

extension Arena {
    /// A `google.protobuf.Struct` with the fields in the order given.
    public func structure(_ fields: [StructureValue.Field]) -> UnsafeMutablePointer<ProtobufStruct> {
        make { ($0.n_fields, $0.fields) = map(fields.map { ($0.name, self.value($0.value)) }) }
    }

    /// A `google.protobuf.Struct` from literals: `arena.structure(["NAMESPACE": "default", "weight": 3])`.
    public func structure(_ fields: KeyValuePairs<String, StructureValue>) -> UnsafeMutablePointer<ProtobufStruct> {
        structure(fields.map { StructureValue.Field($0.key, $0.value) })
    }

    /// A `google.protobuf.Value`.
    public func value(_ value: StructureValue) -> UnsafeMutablePointer<ProtobufValue> {
        make {
            switch value {
            case .null: $0.set(null_value: .NULL_VALUE)
            case .bool(let bool): $0.set(bool_value: bool)
            case .number(let number): $0.set(number_value: number)
            case .string(let string): $0.set(string_value: self(string))
            case .list(let items):
                $0.set(list_value: make { ($0.n_values, $0.values) = list(items.map { self.value($0) }) })
            case .object(let fields): $0.set(struct_value: structure(fields))
            }
        }
    }
}
