/// What one message from outside may cost. The bounds hold for the whole message, nested ones and known contents of
/// `Any` included.
public struct DecodingLimits: Hashable, Sendable {
    /// Levels of messages in messages; the outermost is level 1. protobuf-c unpacks and packs recursively, so this
    /// bounds the stack.
    public var depth: Int
    /// Fields on the wire, and elements of packed lists.
    public var elements: Int
    /// Bytes that the decoded message may take. Two bytes on the wire may make a struct of several hundred.
    public var memory: Int

    public init(depth: Int = 100, elements: Int = 1_000_000, memory: Int = 64 << 20) {
        precondition(depth >= 1 && depth <= 200, "the stack of a thread bounds the depth")
        self.depth = depth
        self.elements = elements
        self.memory = memory
    }

    /// 100 levels, a million elements, 64 MiB.
    public static let standard = DecodingLimits()
}

/// Why bytes are not a message, or not one that is accepted.
public struct ProtobufError: Error, Hashable, Sendable {
    public enum Problem: Hashable, Sendable {
        /// The message ends inside a tag, a number or a fixed-size value.
        case truncated
        /// A length goes past the end of the message that holds it.
        case lengthPastEnd(length: UInt64, left: Int)
        /// A tag or varint is longer than its type allows (5 and 10 bytes).
        case varintTooLong
        /// Field numbers go from 1 to 2^29 - 1.
        case fieldNumberInvalid
        /// The field's wire type is not the one of its type.
        case wireTypeMismatch(found: UInt8)
        /// A group, or a wire type that does not exist.
        case wireTypeUnsupported(UInt8)
        /// A packed list of fixed-size elements that ends inside an element.
        case packedLengthUneven(length: Int, elementSize: Int)
        case notUTF8
        case embeddedNUL
        /// A message field that is not a list is there more than once. Other libraries merge the copies; protobuf-c
        /// would lose fields doing so.
        case givenTwice
        case tooDeep(limit: Int)
        case tooManyElements(limit: Int)
        case tooMuchMemory(limit: Int)
        /// protobuf-c refuses bytes that the guard let pass.
        case undecodable
    }

    /// The full name of the outermost message's type.
    public var type: String
    /// Where: `resources[3].load_assignment.endpoints[0]`, empty for the outermost message.
    public var path: String
    /// Bytes from the start of the outermost message.
    public var offset: Int
    public var problem: Problem

    public init(type: String, path: String, offset: Int, problem: Problem) {
        self.type = type
        self.path = path
        self.offset = offset
        self.problem = problem
    }
}

extension ProtobufError: CustomStringConvertible {
    public var description: String {
        "\(type)\(path.isEmpty ? "" : ": " + path), byte \(offset): \(reason)"
    }

    private var reason: String {
        switch problem {
        case .truncated: "the message ends in the middle of a field"
        case .lengthPastEnd(let length, let left): "a length of \(length) bytes where \(left) are left"
        case .varintTooLong: "a varint that does not end"
        case .fieldNumberInvalid: "an invalid field number"
        case .wireTypeMismatch(let found): "wire type \(found) is not the one of this field's type"
        case .wireTypeUnsupported(let found): "wire type \(found) is not supported"
        case .packedLengthUneven(let length, let size): "a packed list of \(length) bytes with elements of \(size)"
        case .notUTF8: "a string that is not UTF-8"
        case .embeddedNUL: "a string with a NUL"
        case .givenTwice: "the field is given twice"
        case .tooDeep(let limit): "messages nested more than \(limit) deep"
        case .tooManyElements(let limit): "more than \(limit) elements"
        case .tooMuchMemory(let limit): "the decoded message would take more than \(limit) bytes"
        case .undecodable: "the message cannot be unpacked"
        }
    }

    /// What to do about it.
    public var hint: String {
        switch problem {
        case .truncated, .lengthPastEnd, .varintTooLong, .fieldNumberInvalid, .undecodable:
            "check that the bytes are one whole \(type), and neither compressed nor cut off"
        case .wireTypeMismatch: "check that the sender's definition of the field is the same as ours"
        case .wireTypeUnsupported: "groups are not part of proto3: send a nested message"
        case .packedLengthUneven: "send whole elements"
        case .notUTF8: "send text as UTF-8, or use a bytes field"
        case .embeddedNUL: "remove the NUL, or use a bytes field"
        case .givenTwice: "send the field once, merged"
        case .tooDeep: "flatten the message"
        case .tooManyElements, .tooMuchMemory: "send it in several smaller messages, or raise the limit"
        }
    }
}
