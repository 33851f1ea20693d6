import CProtobufC

/// The messages of a repeated field, as pointers: `for cluster in resources.static_clusters_list`.
/// Valid as long as the arena of the message that they are in.
public struct Repeated<Message>: RandomAccessCollection {
    private let array: UnsafeMutablePointer<UnsafeMutablePointer<Message>?>?
    public let count: Int

    init(_ count: Int, _ array: UnsafeMutablePointer<UnsafeMutablePointer<Message>?>?) {
        self.array = array
        self.count = count
    }

    public var startIndex: Int { 0 }
    public var endIndex: Int { count }

    public subscript(position: Int) -> UnsafeMutablePointer<Message> {
        precondition(position >= 0 && position < count, "index \(position) of \(count) messages")
        guard let message = array?[position] else { preconditionFailure("a repeated field with a null message") }
        return message
    }
}

/// The strings of a repeated field. Each access makes a new `String`.
public struct RepeatedStrings: RandomAccessCollection {
    private let array: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
    public let count: Int

    init(_ count: Int, _ array: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?) {
        self.array = array
        self.count = count
    }

    public var startIndex: Int { 0 }
    public var endIndex: Int { count }

    public subscript(position: Int) -> String {
        precondition(position >= 0 && position < count, "index \(position) of \(count) strings")
        return array?[position].string ?? ""
    }
}

/// The byte strings of a repeated field, without copies.
public struct RepeatedBytes: RandomAccessCollection {
    private let array: UnsafeMutablePointer<ProtobufCBinaryData>?
    public let count: Int

    init(_ count: Int, _ array: UnsafeMutablePointer<ProtobufCBinaryData>?) {
        self.array = array
        self.count = count
    }

    public var startIndex: Int { 0 }
    public var endIndex: Int { count }

    public subscript(position: Int) -> UnsafeRawBufferPointer {
        precondition(position >= 0 && position < count, "index \(position) of \(count) byte strings")
        return array?[position].buffer ?? UnsafeRawBufferPointer(start: nil, count: 0)
    }
}

extension UnsafeMutablePointer where Pointee == CChar {
    /// The C string of a message's field as a Swift string.
    public var string: String { String(cString: self) }
}

extension Optional where Wrapped == UnsafeMutablePointer<CChar> {
    /// The C string of a message's field as a Swift string; empty if the field was never set.
    public var string: String { self.map { String(cString: $0) } ?? "" }
}

extension ProtobufCBinaryData {
    /// The bytes of a message's field, without a copy. Not public: a message has `x_bytes` for each such field `x`,
    /// so that readers do not touch the C type.
    var buffer: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: data, count: len) }
}
