import CProtobufTestMessages
import Documents
import Protobuf
import Testing

/// Every type of the test protos.
let testTypes = TypeRegistry(
    descriptors: (0..<UInt32(test_descriptor_count)).compactMap { test_descriptor($0) }
        .map { MessageDescriptor($0) })

private func descriptor(_ fullName: String) -> MessageDescriptor {
    guard let descriptor = testTypes[fullName] else { preconditionFailure("no test type \(fullName)") }
    return descriptor
}

typealias Everything = Martinet__Test__Everything
typealias Older = Martinet__Test__Older
typealias Wide = Martinet__Test__Wide
typealias TestAny = TestGoogle__Protobuf__Any
typealias TestStruct = TestGoogle__Protobuf__Struct
typealias TestDuration = TestGoogle__Protobuf__Duration

extension Everything: ProtobufMessage {
    public static let descriptor = ProtobufTests.descriptor("martinet.test.Everything")
}
extension Older: ProtobufMessage {
    public static let descriptor = ProtobufTests.descriptor("martinet.test.Older")
}
extension Wide: ProtobufMessage {
    public static let descriptor = ProtobufTests.descriptor("martinet.test.Wide")
}
extension TestAny: ProtobufMessage {
    public static let descriptor = ProtobufTests.descriptor("google.protobuf.Any")
}
extension TestStruct: ProtobufMessage {
    public static let descriptor = ProtobufTests.descriptor("google.protobuf.Struct")
}
extension TestDuration: ProtobufMessage {
    public static let descriptor = ProtobufTests.descriptor("google.protobuf.Duration")
}

/// Bytes of a message, written by hand.
struct Wire {
    var bytes: [UInt8] = []

    static func varint(_ value: UInt64) -> [UInt8] {
        var value = value
        var bytes: [UInt8] = []
        while value >= 0x80 {
            bytes.append(UInt8(value & 0x7F) | 0x80)
            value >>= 7
        }
        return bytes + [UInt8(value)]
    }

    func adding(_ number: Int, _ wireType: Int, _ value: [UInt8]) -> Wire {
        Wire(bytes: bytes + Wire.varint(UInt64(number << 3 | wireType)) + value)
    }

    func varint(_ number: Int, _ value: UInt64) -> Wire { adding(number, 0, Wire.varint(value)) }
    func bytes(_ number: Int, _ value: [UInt8]) -> Wire {
        adding(number, 2, Wire.varint(UInt64(value.count)) + value)
    }
    func string(_ number: Int, _ value: String) -> Wire { bytes(number, Array(value.utf8)) }
    func message(_ number: Int, _ value: Wire) -> Wire { bytes(number, value.bytes) }

    static func any(_ typeName: String, _ content: Wire) -> Wire {
        Wire().string(1, "type.googleapis.com/" + typeName).message(2, content)
    }
}

/// The error of refused bytes; fails the test if they are accepted.
func refusal(
    _ wire: Wire, as descriptor: MessageDescriptor = Everything.descriptor, limits: DecodingLimits = .standard,
    types: TypeRegistry = testTypes, sourceLocation: SourceLocation = #_sourceLocation
) -> ProtobufError? {
    do {
        _ = try Arena().decode(descriptor, from: wire.bytes, limits: limits, types: types)
        Issue.record("the bytes were accepted", sourceLocation: sourceLocation)
        return nil
    } catch {
        return error
    }
}

/// The error of a refused text; fails the test if it is accepted.
func textRefusal(
    yaml: String? = nil, json: String? = nil, as descriptor: MessageDescriptor = Everything.descriptor,
    sourceLocation: SourceLocation = #_sourceLocation
) -> TextFormatError? {
    do throws(TextFormatError) {
        if let yaml { _ = try Arena().decodeYAML(descriptor, yaml, types: testTypes, file: "web.yaml") }
        if let json { _ = try Arena().decodeJSON(descriptor, json, types: testTypes, file: "web.json") }
        Issue.record("the text was accepted", sourceLocation: sourceLocation)
        return nil
    } catch {
        return error
    }
}

/// JSON of what a JSON text is read as.
func reread(_ json: String, as descriptor: MessageDescriptor = Everything.descriptor) throws -> String {
    let arena = Arena()
    let message = try arena.decodeJSON(descriptor, json, types: testTypes)
    return try Protobuf.json(of: message, types: testTypes, isPretty: false)
}

/// JSON of what a YAML text is read as.
func reread(yaml: String, as descriptor: MessageDescriptor = Everything.descriptor) throws -> String {
    let arena = Arena()
    let message = try arena.decodeYAML(descriptor, yaml, types: testTypes)
    return try Protobuf.json(of: message, types: testTypes, isPretty: false)
}

/// SplitMix64: the same numbers for the same seed on every machine.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
