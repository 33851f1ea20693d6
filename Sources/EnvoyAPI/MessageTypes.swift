import CEnvoyAPI
import Protobuf

/// Every message that is defined in Protos/, map entries excepted: for the contents of `Any`, and for JSON and YAML.
public let envoyTypes = TypeRegistry(
    descriptors: (0..<Int(envoy_api_message_count)).map { messageDescriptor($0) })

/// - Parameter place: a generated constant, `envoy_api_place_…`.
func messageDescriptor(_ place: Int) -> MessageDescriptor {
    guard let descriptor = envoy_api_message(Int32(place)) else {
        preconditionFailure("the table of descriptors has a hole at \(place): run `make protos`")
    }
    return MessageDescriptor(descriptor)
}

/// An entry of a map whose keys are strings. Generated; ``Protobuf/Arena/map(_:)`` makes lists of them.
public protocol StringKeyedEntry: ProtobufMessage {
    /// What the map holds: a number, a C string, or a pointer to a message.
    associatedtype Value
    mutating func set(key: UnsafeMutablePointer<CChar>, value: Value)
}
