import CProtobufTestMessages
import Protobuf
import Testing

@Suite struct WireGuardTests {
    @Test func aNestedStructThatWouldOverflowTheStackIsRefused() {
        // 33 kB of Struct in Value in Struct crash protobuf-c without a guard.
        var bomb = Wire()
        for _ in 0..<5_000 {
            bomb = Wire().message(1, Wire().string(1, "k").message(2, Wire().message(5, bomb)))
        }
        let error = refusal(bomb, as: TestStruct.descriptor)
        #expect(error?.problem == .tooDeep(limit: 100))
        #expect(error?.path.hasPrefix("fields[0].value.struct_value.fields[0].value.struct_value.") == true)
    }

    @Test func aHundredLevelsAreAcceptedAndOneMoreIsNot() throws {
        func nested(_ levels: Int) -> Wire {
            (1..<levels).reduce(Wire()) { wire, _ in Wire().message(17, wire) }
        }
        _ = try Arena().decode(Everything.self, from: nested(100).bytes)
        #expect(refusal(nested(101))?.problem == .tooDeep(limit: 100))
        #expect(refusal(nested(4), limits: DecodingLimits(depth: 3))?.path == "child.child.child")
    }

    @Test func theDepthGoesOnInsideAnAny() throws {
        func nested(_ levels: Int) -> Wire {
            var wire = Wire()
            for _ in 0..<levels { wire = Wire().message(100, Wire.any("martinet.test.Everything", wire)) }
            return wire
        }
        _ = try Arena().decode(Everything.self, from: nested(49).bytes, types: testTypes)
        #expect(refusal(nested(50))?.problem == .tooDeep(limit: 100))
        // Unknown types stay opaque.
        _ = try Arena().decode(Everything.self, from: nested(200).bytes)
    }

    @Test func theErrorNamesPathOffsetAndMend() throws {
        let content = Wire().message(36, Wire()).message(36, Wire().message(17, Wire().string(14, "a\u{0}b")))
        let wire = Wire().varint(3, 1).message(118, Wire()).message(118, Wire.any("martinet.test.Everything", content))
        let error = try #require(refusal(wire))
        #expect(error.type == "martinet.test.Everything")
        #expect(error.path == "anys[1].children[1].child.a_string")
        #expect(wire.bytes[error.offset] == 0)
        #expect(error.problem == .embeddedNUL)
        #expect(
            error.description
                == "martinet.test.Everything: anys[1].children[1].child.a_string, byte \(error.offset): "
                + "a string with a NUL")
        #expect(error.hint == "remove the NUL, or use a bytes field")
    }

    @Test(
        arguments: [
            [0x80], [0xC0, 0xAF], [0xC1, 0xBF], [0xE0, 0x80, 0x80], [0xE0, 0x9F, 0xBF], [0xED, 0xA0, 0x80],
            [0xED, 0xBF, 0xBF], [0xF0, 0x80, 0x80, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xFF],
            [0xE2, 0x82], [0xF0, 0x9F, 0x98], [0xC3], [0xC3, 0x28], [0xE2, 0x28, 0xA1], [0xF0, 0x9F, 0x28, 0x80],
        ] as [[UInt8]])
    func textThatIsNotUTF8IsRefusedWhereverItIs(_ bad: [UInt8]) {
        for prefix in ["", "a", "1234567", "12345678", "ä2345678€"] {
            let wire = Wire().bytes(14, Array(prefix.utf8) + bad + Array("tail of text".utf8))
            #expect(refusal(wire)?.problem == .notUTF8)
            #expect(refusal(wire)?.offset == 2 + prefix.utf8.count)
            #expect(refusal(Wire().bytes(33, Array(prefix.utf8) + bad))?.path == "many_string[0]")
        }
    }

    @Test(arguments: [
        "", "\u{7F}", "\u{80}", "\u{7FF}", "\u{800}", "\u{D7FF}", "\u{E000}", "\u{FFFF}", "\u{10000}", "\u{10FFFF}",
    ])
    func everyEdgeOfUTF8IsAccepted(_ text: String) throws {
        let arena = Arena()
        let message = try arena.decode(Everything.self, from: Wire().string(14, "1234567\(text)12345678").bytes)
        #expect(DynamicMessage(message).string("a_string") == "1234567\(text)12345678")
    }

    @Test func bytesAndUnknownFieldsMayHoldAnything() throws {
        let wire = Wire().bytes(15, [0, 0xFF]).bytes(900, [0, 0xFF])
        let arena = Arena()
        #expect(try encode(arena.decode(Everything.self, from: wire.bytes)) == wire.bytes)
    }

    @Test func aKeyOfAMapIsCheckedToo() {
        let wire = Wire().message(40, Wire().bytes(1, [0xFF]).string(2, "v"))
        #expect(refusal(wire)?.path == "labels[0].key")
    }

    @Test func everyTruncationIsRefusedOrAWholeMessage() throws {
        let arena = Arena()
        let message = try arena.decodeJSON(Everything.descriptor, richJSON, types: testTypes)
        let bytes = encode(message)
        #expect(bytes.count > 500)
        var accepted = 0
        for length in 0..<bytes.count {
            // Exactly sized, so that the address sanitizer sees a read past the end.
            let isAccepted = [UInt8](bytes[..<length]).withUnsafeBytes {
                fuzzWire($0, as: Everything.descriptor, types: testTypes)
            }
            if isAccepted { accepted += 1 }
        }
        // Cuts between top-level fields leave a message, all others do not.
        #expect(accepted > 10 && accepted < bytes.count / 4)
    }

    @Test func randomBitFlipsNeverGetPastTheGuardAndCrash() throws {
        let arena = Arena()
        let bytes = encode(try arena.decodeJSON(Everything.descriptor, richJSON, types: testTypes))
        var random = SeededGenerator(seed: 1)
        var accepted = 0
        for _ in 0..<500 {
            var flipped = bytes
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                flipped[Int.random(in: 0..<bytes.count, using: &random)] ^= 1 << UInt8.random(in: 0...7, using: &random)
            }
            if flipped.withUnsafeBytes({ fuzzWire($0, as: Everything.descriptor, types: testTypes) }) { accepted += 1 }
        }
        #expect(accepted > 0 && accepted < 500)
    }

    @Test func randomBytesNeverCrash() {
        var random = SeededGenerator(seed: 2)
        for _ in 0..<5_000 {
            let bytes = (0..<Int.random(in: 0...60, using: &random)).map { _ in
                // Small numbers make valid tags often.
                UInt8.random(in: 0...(Bool.random(using: &random) ? 63 : 255), using: &random)
            }
            bytes.withUnsafeBytes { _ = fuzzWire($0, as: Everything.descriptor, types: testTypes) }
        }
    }
}

@Suite struct WireFormTests {
    @Test func wrongWireTypesAreRefusedForEveryKindOfField() {
        let right: [Int: Int] = [
            1: 1, 2: 5, 3: 0, 4: 0, 5: 0, 6: 0, 7: 0, 8: 0, 9: 5, 10: 1, 11: 5, 12: 1, 13: 0, 14: 2, 15: 2, 16: 0,
            17: 2,
        ]
        let values: [Int: [UInt8]] = [0: [0], 1: .init(repeating: 0, count: 8), 2: [0], 5: [0, 0, 0, 0]]
        for (number, wireType) in right {
            for (other, value) in values where other != wireType {
                let wire = Wire().adding(number, other, value)
                #expect(refusal(wire)?.problem == .wireTypeMismatch(found: UInt8(other)), "field \(number)")
            }
        }
    }

    @Test func groupsAreRefused() {
        for wireType in [3, 4, 6, 7] {
            #expect(refusal(Wire().adding(3, wireType, []))?.problem == .wireTypeUnsupported(UInt8(wireType)))
            #expect(refusal(Wire().adding(999, wireType, []))?.problem == .wireTypeUnsupported(UInt8(wireType)))
        }
    }

    @Test func fieldNumbersAreWithinTheirRange() throws {
        #expect(refusal(Wire(bytes: [0x00, 0x00]))?.problem == .fieldNumberInvalid)
        #expect(refusal(Wire(bytes: [0x80, 0x00, 0x00]))?.problem == .fieldNumberInvalid)
        #expect(refusal(Wire(bytes: [0xF8, 0xFF, 0xFF, 0xFF, 0x1F, 0]))?.problem == .fieldNumberInvalid)
        #expect(refusal(Wire(bytes: [0x80, 0x80, 0x80, 0x80, 0x80, 0]))?.problem == .varintTooLong)
        _ = try Arena().decode(Everything.self, from: Wire().varint((1 << 29) - 1, 5).bytes)
        // An overlong form of a field number is still that number, here and in protobuf-c.
        let arena = Arena()
        let overlong = try arena.decode(Everything.self, from: [0x98, 0x00, 0x07])
        #expect(overlong.pointee.a_int32 == 7)
    }

    @Test func varintsAreAtMostTenBytes() throws {
        let nine = [UInt8](repeating: 0xFF, count: 9)
        let arena = Arena()
        let minusOne = try arena.decode(Everything.self, from: [0x18] + nine + [0x01])
        #expect(minusOne.pointee.a_int32 == -1)
        #expect(refusal(Wire(bytes: [0x18] + nine + [0xFF, 0x01]))?.problem == .varintTooLong)
        #expect(refusal(Wire(bytes: [0x18] + nine))?.problem == .truncated)
        #expect(refusal(Wire().bytes(22, nine + [0xFF, 0x01]))?.problem == .varintTooLong)
        #expect(refusal(Wire().bytes(22, [0x80]))?.problem == .truncated)
    }

    @Test func lengthsStayWithinTheMessage() {
        #expect(refusal(Wire(bytes: [0x72, 5, 0x61]))?.problem == .lengthPastEnd(length: 5, left: 1))
        #expect(
            refusal(Wire(bytes: [0x72, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]))?.problem
                == .lengthPastEnd(length: 0x7_FFFF_FFFF, left: 0))
        #expect(refusal(Wire(bytes: [0x72, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]))?.problem == .varintTooLong)
        // Within the message, but past the end of the nested one that holds it.
        let inner = Wire(bytes: [0x72, 3, 0x61])
        #expect(refusal(Wire().message(17, inner).varint(3, 1))?.problem == .lengthPastEnd(length: 3, left: 1))
        #expect(refusal(Wire(bytes: [0x15, 1, 2]))?.problem == .truncated)
        #expect(refusal(Wire().bytes(21, [1, 2, 3]))?.problem == .packedLengthUneven(length: 3, elementSize: 4))
        #expect(refusal(Wire().bytes(29, [1, 2, 3]))?.problem == .packedLengthUneven(length: 3, elementSize: 8))
    }

    @Test func listsArriveInBothForms() throws {
        let wire = Wire().bytes(22, [1, 2]).varint(22, 3).bytes(22, []).bytes(39, [4, 5]).varint(39, 6)
            .bytes(32, [0x81, 0x00, 0]).varint(32, 1)
        let arena = Arena()
        let message = try arena.decode(Everything.self, from: wire.bytes)
        #expect(
            Array(UnsafeBufferPointer(start: message.pointee.many_int32, count: message.pointee.n_many_int32)) == [
                1, 2, 3,
            ])
        #expect(
            Array(UnsafeBufferPointer(start: message.pointee.unpacked, count: message.pointee.n_unpacked)) == [4, 5, 6])
        #expect(
            Array(UnsafeBufferPointer(start: message.pointee.many_bool, count: message.pointee.n_many_bool)) == [
                1, 0, 1,
            ])
        #expect(encode(message).starts(with: [0xB2, 0x01, 3, 1, 2, 3]))
    }

    @Test func aMessageFieldGivenTwiceIsRefusedInsteadOfHalfMerged() {
        let twice = Wire().message(17, Wire().varint(3, 1)).message(17, Wire().varint(4, 2))
        #expect(refusal(twice)?.problem == .givenTwice)
        #expect(refusal(twice)?.path == "child")
        #expect(refusal(Wire().message(52, Wire()).varint(50, 1).message(52, Wire()))?.problem == .givenTwice)
        #expect(
            refusal(Wire().message(41, Wire().string(1, "k").message(2, Wire()).message(2, Wire())))?.path
                == "named[0].value")
        // Past the fields for which the guard keeps bits.
        let late = Wire().message(131, Wire()).varint(1, 1)
        #expect(refusal(late.message(131, Wire()), as: Wide.descriptor)?.problem == .givenTwice)
    }

    @Test func whatMayBeGivenTwiceTakesTheLastValue() throws {
        let wire = Wire().varint(3, 1).varint(3, 2).string(14, "a").string(14, "b")
            .varint(50, 1).string(51, "t").message(52, Wire()).string(51, "last")
            .message(131, Wire())
        let arena = Arena()
        let message = try arena.decode(Everything.self, from: wire.bytes)
        #expect(message.pointee.a_int32 == 2)
        #expect(String(cString: message.pointee.a_string) == "b")
        #expect(DynamicMessage(message).string("chosen_text") == "last")
        let wide = Wire().message(131, Wire().varint(3, 1)).message(132, Wire()).message(132, Wire())
        #expect(try encode(arena.decode(Wide.self, from: wide.bytes)) == wide.bytes)
    }

    @Test func unknownFieldsAreKeptAtEveryLevel() throws {
        let inner = Wire().varint(3, 5).varint(4, 6).adding(1, 1, .init(repeating: 7, count: 8))
        let wire = Wire().varint(3, 1).message(17, inner).string(14, "kept").adding(2, 5, [1, 2, 3, 4])
        let arena = Arena()
        let older = try arena.decode(Older.self, from: wire.bytes)
        #expect(DynamicMessage(older).unknownFieldCount == 2)
        // A build that knows them reads the same message as from the first bytes.
        let newer = try arena.decode(Everything.self, from: encode(older))
        let direct = try arena.decode(Everything.self, from: wire.bytes)
        #expect(encode(newer) == encode(direct))
        #expect(newer.pointee.child.pointee.a_int64 == 6)
    }

    @Test func theNumberOfElementsIsLimited() {
        let limits = DecodingLimits(elements: 10)
        #expect(
            refusal(Wire().bytes(22, .init(repeating: 1, count: 10)), limits: limits)?.problem
                == .tooManyElements(limit: 10))
        #expect(
            refusal((0..<11).reduce(Wire()) { wire, _ in wire.varint(3, 1) }, limits: limits)?.problem
                == .tooManyElements(limit: 10))
        #expect(
            refusal((0..<11).reduce(Wire()) { wire, _ in wire.varint(999, 1) }, limits: limits)?.problem
                == .tooManyElements(limit: 10))
    }

    @Test func shortMessagesThatWouldTakeMuchMemoryAreRefused() {
        // Three bytes on the wire, more than a kilobyte each in memory.
        let wire = Wire(bytes: [[UInt8]](repeating: [0xA2, 0x02, 0x00], count: 200_000).flatMap { $0 })
        let error = refusal(wire)
        #expect(error?.problem == .tooMuchMemory(limit: 64 << 20))
        #expect(error?.path.hasPrefix("children[") == true)
    }

    @Test func whatAMessageTakesIsWithinWhatTheGuardCharged() throws {
        // The smallest limit that the guard lets pass is enough for protobuf-c, or it would fail to unpack.
        let arena = Arena()
        let bytes = encode(try arena.decodeJSON(Everything.descriptor, richJSON, types: testTypes))
        var low = 1
        var high = 1 << 20
        while low < high {
            let middle = (low + high) / 2
            do throws(ProtobufError) {
                _ = try Arena().decode(Everything.self, from: bytes, limits: DecodingLimits(memory: middle))
                high = middle
            } catch {
                #expect(error.problem == .tooMuchMemory(limit: middle))
                low = middle + 1
            }
        }
        #expect(low > bytes.count && low < 200_000)
    }
}

/// A message with every kind of field set.
let richJSON = """
    {
      "a_double": 1.5, "a_float": -0.25, "a_int32": -7, "a_int64": "-9000000000", "a_uint32": 4294967295,
      "a_uint64": "18446744073709551615", "a_sint32": -1, "a_sint64": "-2", "a_fixed32": 3, "a_fixed64": "4",
      "a_sfixed32": -5, "a_sfixed64": "-6", "a_bool": true, "a_string": "Grüße \\uD83D\\uDE00", "a_bytes": "AAEC/w==",
      "a_color": "DARK_GREEN", "child": {"a_int32": 1, "child": {"a_string": "deep"}},
      "many_double": [0, 1.25, "NaN", "Infinity", "-Infinity"], "many_float": [3.5], "many_int32": [1, -1, 0],
      "many_int64": ["1", "-1"], "many_uint32": [1], "many_uint64": ["1"], "many_sint32": [-1], "many_sint64": ["-1"],
      "many_fixed32": [1], "many_fixed64": ["1"], "many_sfixed32": [-1], "many_sfixed64": ["-1"],
      "many_bool": [true, false, true], "many_string": ["", "a"], "many_bytes": ["", "AQ=="],
      "many_color": ["RED", "NEGATIVE", "COLOR_UNSPECIFIED", 99], "children": [{}, {"a_bool": true}], "unpacked": [1, 2],
      "labels": {"a": "b", "c": ""}, "named": {"x": {"a_int32": 5}, "y": {}}, "by_int32": {"-1": "m", "2": "p"},
      "by_uint64": {"18446744073709551615": true}, "by_bool": {"false": "RED", "true": "COLOR_UNSPECIFIED"},
      "by_sint64": {"-3": "AQ=="}, "chosen_number": 0, "maybe": 0,
      "any": {"@type": "type.googleapis.com/martinet.test.Everything", "a_int32": 1, "child": {"a_string": "in any"}},
      "structure": {"b": true, "d": 1.5, "l": [1, "2", false, null, [], {}], "n": null, "o": {"i": 1}, "s": "t"},
      "value": "v", "list_value": [1, {"k": "v"}], "duration": "-0.250s", "timestamp": "2024-02-29T23:59:59.999999999Z",
      "field_mask": "fooBar,baz.quxQuux", "empty": {}, "wrapped_double": 0, "wrapped_float": 1.5, "wrapped_int64": "0",
      "wrapped_uint64": "0", "wrapped_int32": 0, "wrapped_uint32": 7, "wrapped_bool": false, "wrapped_string": "",
      "wrapped_bytes": "", "anys": [{}, {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "3s"}],
      "values": [null, 1, "x", true, {}, []], "map_of_values": {"k": null},
      "map_of_anys": {"k": {"@type": "type.googleapis.com/martinet.test.Older", "a_int32": 9}}, "durations": ["1s", "0s"]
    }
    """
