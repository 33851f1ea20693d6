import CProtobufC
import Documents

// The walk over outside bytes before protobuf-c sees them. protobuf-c 1.4.1 recurses without limit, does not check
// UTF-8, cuts strings at NUL, reads a bool from any wire type, and loses fields when it merges a message that is given
// twice. The walk is iterative and led by the descriptors; on the good path it allocates one block, for the levels.

/// Checks that the bytes are a message that ``Arena/decode(_:from:limits:types:)-(MessageDescriptor,_,_,_)`` accepts.
/// - Throws: the first thing that is wrong.
func guardWire(
    _ bytes: UnsafeRawBufferPointer, as descriptor: MessageDescriptor, limits: DecodingLimits, types: TypeRegistry
) throws(ProtobufError) {
    guard let start = bytes.baseAddress, !bytes.isEmpty else { return }
    var failure: ProtobufError?
    withUnsafeTemporaryAllocation(of: GuardFrame.self, capacity: limits.depth) { frames in
        guard let frames = frames.baseAddress else { return }
        var walk = WireGuard(
            bytes: start.assumingMemoryBound(to: UInt8.self), count: bytes.count, limits: limits, types: types,
            frames: frames)
        do throws(WireGuard.Failure) {
            try walk.run(descriptor.pointer)
        } catch {
            failure = ProtobufError(
                type: descriptor.fullName, path: walk.path(to: error), offset: error.offset, problem: error.problem)
        }
    }
    if let failure { throw failure }
}

/// One message that the walk is in.
private struct GuardFrame {
    var descriptor: UnsafePointer<ProtobufCMessageDescriptor>
    /// The field of the parent that holds this message; nil for the outermost one and for the content of an `Any`.
    var field: UnsafePointer<ProtobufCFieldDescriptor>?
    /// Where the tag of that field is.
    var tag: Int
    var start: Int
    var end: Int
    /// Where the parent goes on: `end`, but for the content of an `Any` the end of the `Any`.
    var resume: Int
    /// Message fields that were seen, by their index, the first 128 of them.
    var seen: (UInt64, UInt64) = (0, 0)
    var isAny: Bool
    var typeURL: Range<Int>?
    var value: Range<Int>?
}

private struct WireGuard {
    struct Failure: Error {
        var problem: ProtobufError.Problem
        var offset: Int
        /// The field at fault, or nil if the message itself is, and where its tag is.
        var field: FieldDescriptor?
        var tag: Int

        init(
            problem: ProtobufError.Problem, offset: Int, field: UnsafePointer<ProtobufCFieldDescriptor>? = nil,
            tag: Int = 0
        ) {
            self.problem = problem
            self.offset = offset
            self.field = field.map { FieldDescriptor($0) }
            self.tag = tag
        }
    }

    let bytes: UnsafePointer<UInt8>
    let count: Int
    let limits: DecodingLimits
    let types: TypeRegistry
    /// Room for `limits.depth` of them.
    let frames: UnsafeMutablePointer<GuardFrame>
    var depth = 0
    var at = 0
    var elements = 0
    var memory = 0

    mutating func run(_ descriptor: UnsafePointer<ProtobufCMessageDescriptor>) throws(Failure) {
        try enter(descriptor, field: nil, tag: 0, start: 0, end: count, resume: count)
        while depth > 0 {
            let top = frames + (depth - 1)
            if at < top.pointee.end {
                try readField(top)
            } else if let content = takeAnyContent(top) {
                try enter(
                    content.descriptor, field: nil, tag: top.pointee.tag, start: content.range.lowerBound,
                    end: content.range.upperBound, resume: top.pointee.end)
                at = content.range.lowerBound
            } else {
                at = top.pointee.resume
                depth -= 1
            }
        }
    }

    private mutating func enter(
        _ descriptor: UnsafePointer<ProtobufCMessageDescriptor>, field: UnsafePointer<ProtobufCFieldDescriptor>?,
        tag: Int, start: Int, end: Int, resume: Int
    ) throws(Failure) {
        guard depth < limits.depth else {
            throw Failure(problem: .tooDeep(limit: limits.depth), offset: start, field: field, tag: tag)
        }
        let isAny = descriptor.pointee.n_fields == 2 && isNamedAny(descriptor)
        (frames + depth).initialize(
            to: GuardFrame(
                descriptor: descriptor, field: field, tag: tag, start: start, end: end, resume: resume, isAny: isAny))
        depth += 1
        try charge(Int(descriptor.pointee.sizeof_message) + 32, at: start, field, tag)
    }

    /// One field: its tag, its value and, for a message, the way in.
    private mutating func readField(_ frame: UnsafeMutablePointer<GuardFrame>) throws(Failure) {
        let tag = at
        let end = frame.pointee.end
        let (number, wireType) = try readTag(end: end)
        let field = protobuf_c_message_descriptor_get_field(frame.pointee.descriptor, number)
        elements += 1
        guard elements <= limits.elements else {
            throw Failure(problem: .tooManyElements(limit: limits.elements), offset: tag, field: field, tag: tag)
        }
        // Twice protobuf-c's note of a scanned member (its slabs double), and an array slot.
        try charge(field == nil ? 128 : 80, at: tag, field, tag)

        let value: Range<Int>
        switch wireType {
        case 0:
            let start = at
            try skipVarint(end: end, field, tag)
            value = start..<at
        case 1: value = try take(8, end: end, field, tag)
        case 2:
            let length = try readLength(end: end, field, tag)
            value = try take(length, end: end, field, tag)
        case 5: value = try take(4, end: end, field, tag)
        default: throw Failure(problem: .wireTypeUnsupported(wireType), offset: tag, field: field, tag: tag)
        }
        guard let field else {
            try charge(value.count + 16, at: tag, nil, tag)
            return
        }
        if wireType == 2 {
            try readLengthPrefixed(field, value, frame, tag)
        } else if expectedWireType(field) != wireType {
            throw Failure(problem: .wireTypeMismatch(found: wireType), offset: tag, field: field, tag: tag)
        }
    }

    private mutating func readLengthPrefixed(
        _ field: UnsafePointer<ProtobufCFieldDescriptor>, _ value: Range<Int>,
        _ frame: UnsafeMutablePointer<GuardFrame>, _ tag: Int
    ) throws(Failure) {
        switch field.pointee.type {
        case PROTOBUF_C_TYPE_STRING:
            try charge(value.count + 16, at: tag, field, tag)
            if let bad = firstUnacceptableByte(in: bytes + value.lowerBound, count: value.count) {
                let problem: ProtobufError.Problem =
                    switch bad.fault {
                    case .notUTF8: .notUTF8
                    case .embeddedNUL: .embeddedNUL
                    }
                throw Failure(problem: problem, offset: value.lowerBound + bad.offset, field: field, tag: tag)
            }
            if frame.pointee.isAny && field.pointee.id == 1 { frame.pointee.typeURL = value }
        case PROTOBUF_C_TYPE_BYTES:
            try charge(value.count + 16, at: tag, field, tag)
            if frame.pointee.isAny && field.pointee.id == 2 { frame.pointee.value = value }
        case PROTOBUF_C_TYPE_MESSAGE:
            if field.pointee.label != PROTOBUF_C_LABEL_REPEATED && !isFirst(field, frame, tag) {
                throw Failure(problem: .givenTwice, offset: tag, field: field, tag: tag)
            }
            try enter(
                field.pointee.descriptor.assumingMemoryBound(to: ProtobufCMessageDescriptor.self), field: field,
                tag: tag, start: value.lowerBound, end: value.upperBound, resume: value.upperBound)
            at = value.lowerBound
        default:
            guard field.pointee.label == PROTOBUF_C_LABEL_REPEATED else {
                throw Failure(problem: .wireTypeMismatch(found: 2), offset: tag, field: field, tag: tag)
            }
            try readPacked(field, value, tag)
        }
    }

    private mutating func readPacked(
        _ field: UnsafePointer<ProtobufCFieldDescriptor>, _ value: Range<Int>, _ tag: Int
    ) throws(Failure) {
        let wireType = expectedWireType(field)
        var packed = 0
        if wireType == 0 {
            at = value.lowerBound
            while at < value.upperBound {
                let start = at
                try skipVarint(end: value.upperBound, field, tag)
                // protobuf-c counts the bytes of a packed bool list, not its varints: it would reserve more than it
                // fills, which is harmless, so longer forms of true pass here too.
                packed += field.pointee.type == PROTOBUF_C_TYPE_BOOL ? at - start : 1
            }
        } else {
            let size = wireType == 5 ? 4 : 8
            guard value.count % size == 0 else {
                throw Failure(
                    problem: .packedLengthUneven(length: value.count, elementSize: size), offset: value.lowerBound,
                    field: field, tag: tag)
            }
            packed = value.count / size
        }
        elements += packed
        guard elements <= limits.elements else {
            throw Failure(problem: .tooManyElements(limit: limits.elements), offset: tag, field: field, tag: tag)
        }
        try charge(packed * 8, at: tag, field, tag)
    }

    /// Whether a message field that is not a list is there for the first time in its message.
    private func isFirst(
        _ field: UnsafePointer<ProtobufCFieldDescriptor>, _ frame: UnsafeMutablePointer<GuardFrame>, _ tag: Int
    ) -> Bool {
        let index = field - frame.pointee.descriptor.pointee.fields
        let bit: UInt64 = 1 << UInt64(index & 63)
        switch index {
        case 0..<64:
            defer { frame.pointee.seen.0 |= bit }
            return frame.pointee.seen.0 & bit == 0
        case 64..<128:
            defer { frame.pointee.seen.1 |= bit }
            return frame.pointee.seen.1 & bit == 0
        default:
            // Looks back over the message: once per field at most, as the second time is an error.
            return occurrences(of: field.pointee.id, in: frame.pointee.start..<tag) == 0
        }
    }

    /// The content of an `Any` whose bytes have all been read, the first time that it is asked for.
    private func takeAnyContent(
        _ frame: UnsafeMutablePointer<GuardFrame>
    ) -> (descriptor: UnsafePointer<ProtobufCMessageDescriptor>, range: Range<Int>)? {
        guard frame.pointee.isAny, let typeURL = frame.pointee.typeURL,
            let descriptor = types.descriptor(
                typeURLBytes: UnsafeRawBufferPointer(start: bytes + typeURL.lowerBound, count: typeURL.count))
        else { return nil }
        frame.pointee.isAny = false
        // Without a value the content is an empty message, which is a level too.
        return (descriptor.pointer, frame.pointee.value ?? frame.pointee.end..<frame.pointee.end)
    }

    private mutating func charge(
        _ cost: Int, at offset: Int, _ field: UnsafePointer<ProtobufCFieldDescriptor>?, _ tag: Int
    ) throws(Failure) {
        memory += cost
        guard memory <= limits.memory else {
            throw Failure(problem: .tooMuchMemory(limit: limits.memory), offset: offset, field: field, tag: tag)
        }
    }
}

// MARK: - Numbers on the wire

extension WireGuard {
    private mutating func readTag(end: Int) throws(Failure) -> (number: UInt32, wireType: UInt8) {
        let start = at
        var value: UInt64 = 0
        for index in 0..<5 {
            guard at < end else { throw Failure(problem: .truncated, offset: start) }
            let byte = bytes[at]
            at += 1
            value |= UInt64(byte & 0x7F) << UInt64(7 * index)
            guard byte & 0x80 == 0 else { continue }
            let number = value >> 3
            guard number != 0, number < 1 << 29 else {
                throw Failure(problem: .fieldNumberInvalid, offset: start)
            }
            return (UInt32(number), UInt8(value & 7))
        }
        throw Failure(problem: .varintTooLong, offset: start)
    }

    private mutating func skipVarint(
        end: Int, _ field: UnsafePointer<ProtobufCFieldDescriptor>?, _ tag: Int
    ) throws(Failure) {
        let start = at
        while at < end {
            guard at - start < 10 else {
                throw Failure(problem: .varintTooLong, offset: start, field: field, tag: tag)
            }
            at += 1
            if bytes[at - 1] & 0x80 == 0 { return }
        }
        let problem: ProtobufError.Problem = at - start < 10 ? .truncated : .varintTooLong
        throw Failure(problem: problem, offset: start, field: field, tag: tag)
    }

    private mutating func readLength(
        end: Int, _ field: UnsafePointer<ProtobufCFieldDescriptor>?, _ tag: Int
    ) throws(Failure) -> Int {
        let start = at
        var value: UInt64 = 0
        for index in 0..<5 {
            guard at < end else { throw Failure(problem: .truncated, offset: start, field: field, tag: tag) }
            let byte = bytes[at]
            at += 1
            value |= UInt64(byte & 0x7F) << UInt64(7 * index)
            guard byte & 0x80 == 0 else { continue }
            guard value <= UInt64(end - at) else {
                throw Failure(
                    problem: .lengthPastEnd(length: value, left: end - at), offset: start, field: field, tag: tag)
            }
            return Int(value)
        }
        throw Failure(problem: .varintTooLong, offset: start, field: field, tag: tag)
    }

    private mutating func take(
        _ length: Int, end: Int, _ field: UnsafePointer<ProtobufCFieldDescriptor>?, _ tag: Int
    ) throws(Failure) -> Range<Int> {
        guard length <= end - at else { throw Failure(problem: .truncated, offset: at, field: field, tag: tag) }
        at += length
        return (at - length)..<at
    }

    private func expectedWireType(_ field: UnsafePointer<ProtobufCFieldDescriptor>) -> UInt8 {
        switch field.pointee.type {
        case PROTOBUF_C_TYPE_FIXED32, PROTOBUF_C_TYPE_SFIXED32, PROTOBUF_C_TYPE_FLOAT: 5
        case PROTOBUF_C_TYPE_FIXED64, PROTOBUF_C_TYPE_SFIXED64, PROTOBUF_C_TYPE_DOUBLE: 1
        case PROTOBUF_C_TYPE_STRING, PROTOBUF_C_TYPE_BYTES, PROTOBUF_C_TYPE_MESSAGE: 2
        default: 0
        }
    }

    private func isNamedAny(_ descriptor: UnsafePointer<ProtobufCMessageDescriptor>) -> Bool {
        let name: StaticString = "google.protobuf.Any"
        return MessageDescriptor(descriptor).hasName(
            UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
    }
}

// MARK: - The path, worked out only when there is an error to tell

extension WireGuard {
    /// `resources[3].load_assignment.endpoints[0]`. List positions are counted by reading the parents again.
    func path(to failure: Failure) -> String {
        var path = ""
        func append(_ field: UnsafePointer<ProtobufCFieldDescriptor>, _ parent: GuardFrame, tag: Int) {
            if !path.isEmpty { path += "." }
            path += String(cString: field.pointee.name)
            guard field.pointee.label == PROTOBUF_C_LABEL_REPEATED else { return }
            path += "[\(occurrences(of: field.pointee.id, in: parent.start..<tag))]"
        }
        for level in 0..<depth {
            if let field = frames[level].field { append(field, frames[level - 1], tag: frames[level].tag) }
        }
        // A message too deep was not entered, so its field is still missing. One whose frame is there is not.
        if let field = failure.field, depth > 0,
            frames[depth - 1].field != field.pointer || frames[depth - 1].tag != failure.tag
        {
            append(field.pointer, frames[depth - 1], tag: failure.tag)
        }
        return path
    }

    /// How often a field is there in a part of a message that the walk has already passed.
    private func occurrences(of number: UInt32, in range: Range<Int>) -> Int {
        var reader = WireGuard(bytes: bytes, count: count, limits: limits, types: types, frames: frames)
        reader.at = range.lowerBound
        var found = 0
        do throws(Failure) {
            while reader.at < range.upperBound {
                let (other, wireType) = try reader.readTag(end: range.upperBound)
                switch wireType {
                case 0: try reader.skipVarint(end: range.upperBound, nil, 0)
                case 1: reader.at += 8
                case 5: reader.at += 4
                default: reader.at += try reader.readLength(end: range.upperBound, nil, 0)
                }
                if other == number { found += 1 }
            }
        } catch {
            // Cannot be: the walk came through here. The count so far is still the best answer.
        }
        return found
    }
}
