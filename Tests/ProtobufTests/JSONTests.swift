import Documents
import Protobuf
import Testing

@Suite struct JSONTests {
    @Test func aMessageWithEveryKindOfFieldReadsBackAsItWas() throws {
        let arena = Arena()
        let message = try arena.decodeJSON(Everything.descriptor, richJSON, types: testTypes)
        let text = try json(of: message, types: testTypes)
        let again = try arena.decodeJSON(Everything.descriptor, text, types: testTypes)
        #expect(try json(of: again, types: testTypes) == text)
        #expect(encode(again) == encode(message))
        let camel = try json(of: message, types: testTypes, fieldNames: .lowerCamelCase)
        #expect(camel.contains("\"chosenNumber\": 0"))
        #expect(!camel.contains("chosen_number"))
        let fromCamel = try arena.decodeJSON(Everything.descriptor, camel, types: testTypes)
        #expect(encode(fromCamel) == encode(message))
        // The strings and numbers of the source are there, not defaults.
        for part in ["\"Grüße 😀\"", "\"18446744073709551615\": true", "\"-0.250s\"", "99", "\"in any\""] {
            #expect(text.contains(part), "\(part)")
        }
    }

    @Test(arguments: [
        (#"{"a_int32":1}"#, #"{"a_int32":1}"#), (#"{"aInt32":"1"}"#, #"{"a_int32":1}"#),
        (#"{"a_int32":1.5e1}"#, #"{"a_int32":15}"#), (#"{"a_int32":-2147483648}"#, #"{"a_int32":-2147483648}"#),
        (#"{"a_int64":9223372036854775807}"#, #"{"a_int64":"9223372036854775807"}"#),
        (#"{"a_int64":"-9223372036854775808"}"#, #"{"a_int64":"-9223372036854775808"}"#),
        (#"{"a_uint64":1.8446744073709551615e19}"#, #"{"a_uint64":"18446744073709551615"}"#),
        (#"{"a_double":1e400}"#, ""), (#"{"a_float":3.5e38}"#, ""), (#"{"a_float":"NaN"}"#, #"{"a_float":"NaN"}"#),
        (#"{"a_double":"-Infinity"}"#, #"{"a_double":"-Infinity"}"#), (#"{"a_double":"1.5"}"#, #"{"a_double":1.5}"#),
        (#"{"a_double":0.1}"#, #"{"a_double":0.1}"#), (#"{"a_float":0.1}"#, #"{"a_float":0.1}"#),
        (#"{"a_double":5e-324}"#, #"{"a_double":5e-324}"#), (#"{"a_double":100}"#, #"{"a_double":100}"#),
        (#"{"a_color":"DARK_GREEN"}"#, #"{"a_color":"DARK_GREEN"}"#), (#"{"a_color":2}"#, #"{"a_color":"DARK_GREEN"}"#),
        (#"{"a_color":77}"#, #"{"a_color":77}"#), (#"{"a_bytes":"-_8"}"#, #"{"a_bytes":"+/8="}"#),
        (#"{"a_bytes":"AQ"}"#, #"{"a_bytes":"AQ=="}"#), (#"{"a_string":null,"child":null,"children":null}"#, "{}"),
        (#"{"chosen_number":0}"#, #"{"chosen_number":0}"#), (#"{"chosen_text":""}"#, #"{"chosen_text":""}"#),
        (#"{"chosen_number":null,"chosen_text":"x"}"#, #"{"chosen_text":"x"}"#),
        (#"{"maybe":0}"#, #"{"maybe":0}"#), (#"{"a_int32":0,"a_string":"","a_bool":false}"#, "{}"),
        (
            #"{"by_int32":{"10":"a","-1":"b","2":"c","-10":"d"}}"#,
            #"{"by_int32":{"-10":"d","-1":"b","2":"c","10":"a"}}"#
        ),
        (#"{"wrapped_uint64":0}"#, #"{"wrapped_uint64":"0"}"#), (#"{"wrapped_uint64":null}"#, "{}"),
        (#"{"wrapped_bool":false}"#, #"{"wrapped_bool":false}"#), (#"{"value":null}"#, #"{"value":null}"#),
        (#"{"values":[null]}"#, #"{"values":[null]}"#), (#"{"value":-0}"#, #"{"value":-0}"#),
        (#"{"any":{}}"#, #"{"any":{}}"#), (#"{"empty":{}}"#, #"{"empty":{}}"#),
        (#"{"named":{"k":{}}}"#, #"{"named":{"k":{}}}"#), (#"{"null_value":null}"#, "{}"),
        (#"{"any":{"@type":"t/google.protobuf.Empty","value":{}}}"#, #"{"any":{"@type":"t/google.protobuf.Empty"}}"#),
        (
            #"{"any":{"value":null,"@type":"t/google.protobuf.Value"}}"#,
            #"{"any":{"@type":"t/google.protobuf.Value","value":null}}"#
        ),
        (
            #"{"any":{"@type":"t/google.protobuf.Any","value":{"@type":"t/google.protobuf.BoolValue","value":true}}}"#,
            #"{"any":{"@type":"t/google.protobuf.Any","value":{"@type":"t/google.protobuf.BoolValue","value":true}}}"#
        ),
        (#"{"field_mask":"a_b,cD"}"#, #"{"field_mask":"aB,cD"}"#), (#"{"field_mask":""}"#, #"{"field_mask":""}"#),
    ])
    func theProto3MappingHolds(_ written: String, _ read: String) throws {
        if read.isEmpty {
            #expect(textRefusal(json: written) != nil)
        } else {
            #expect(try reread(written) == read)
        }
    }

    @Test(
        arguments: [
            ("1s", "1s"), ("0s", "0s"), ("1.5s", "1.500s"), ("-0.250s", "-0.250s"), ("-1.000000001s", "-1.000000001s"),
            ("0.000001s", "0.000001s"), ("315576000000s", "315576000000s"), ("-315576000000s", "-315576000000s"),
            ("315576000001s", nil), ("315576000000.1s", nil), ("1", nil), ("1.s", nil), (".5s", nil),
            ("1.0000000001s", nil),
            ("+1s", nil), ("1 s", nil), ("s", nil), ("--1s", nil), ("1e3s", nil), ("99999999999999999999s", nil),
            ("١s", nil),
        ] as [(String, String?)])
    func aDurationIsSecondsWithAnS(_ written: String, _ read: String?) throws {
        if let read {
            #expect(try reread("\"\(written)\"", as: TestDuration.descriptor) == "\"\(read)\"")
        } else {
            #expect(textRefusal(json: "\"\(written)\"", as: TestDuration.descriptor) != nil)
        }
    }

    @Test(
        arguments: [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"), ("2024-02-29T12:34:56.5Z", "2024-02-29T12:34:56.500Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"),
            ("1969-12-31T23:59:59.75Z", "1969-12-31T23:59:59.750Z"),
            ("2000-03-01T01:00:00+02:30", "2000-02-29T22:30:00Z"),
            ("1900-02-28T23:59:59-00:01", "1900-03-01T00:00:59Z"), ("2025-06-01t00:00:00z", "2025-06-01T00:00:00Z"),
            ("2023-02-29T00:00:00Z", nil), ("1900-02-29T00:00:00Z", nil), ("2023-13-01T00:00:00Z", nil),
            ("2023-01-00T00:00:00Z", nil), ("2023-01-01T24:00:00Z", nil), ("2023-01-01T00:60:00Z", nil),
            ("2023-01-01T00:00:60Z", nil), ("2023-01-01T00:00:00", nil), ("2023-01-01T00:00:00.Z", nil),
            ("2023-01-01T00:00:00.1234567890Z", nil), ("2023-01-01 00:00:00Z", nil), ("0000-12-31T00:00:00Z", nil),
            ("0001-01-01T00:00:00+00:01", nil), ("9999-12-31T23:59:59-00:01", nil), ("2023-01-01T00:00:00+24:00", nil),
            ("2023-01-01T00:00:00Zx", nil), ("", nil),
        ] as [(String, String?)])
    func aTimestampIsRFC3339(_ written: String, _ read: String?) throws {
        let text = "{\"timestamp\":\"\(written)\"}"
        if let read {
            #expect(try reread(text) == "{\"timestamp\":\"\(read)\"}")
        } else {
            #expect(textRefusal(json: text) != nil)
        }
    }

    @Test func everyDayOfFourCenturiesReadsBack() throws {
        let arena = Arena()
        for day in stride(from: -719_162, to: 2_932_896, by: 733) {
            let wire = Wire().message(105, Wire().varint(1, UInt64(bitPattern: Int64(day) * 86400 + 1)))
            let message = try arena.decode(Everything.descriptor, from: wire.bytes)
            let text = try json(of: message, types: testTypes, isPretty: false)
            #expect(try encode(arena.decodeJSON(Everything.descriptor, text, types: testTypes)) == encode(message))
        }
    }

    @Test(arguments: [
        "", " ", "{", "[", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "[1,]", "[,1]", "{,}", "{a:1}", "{'a':1}", "01", "1.",
        ".5",
        "+1", "-", "1e", "0x10", "NaN", "Infinity", "nul", "True", "\"", "\"\\", "\"\\u12\"", "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"", "\"\\x41\"", "\"\t\"", "{} {}", "{}x", "[1 2]", "{\"a\":1 \"b\":2}", "// c\n1",
        "\u{FEFF}1",
    ])
    func whatIsNotStrictlyJSONIsRefused(_ text: String) {
        #expect(throws: TextFormatError.self) { try DocumentNode.parseJSON(text) }
    }

    @Test func escapesAndSurrogatePairsAreRead() throws {
        let node = try DocumentNode.parseJSON(#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é😀""#)
        #expect(node.text == "\"\\/\u{8}\u{C}\n\r\té😀é😀")
        #expect(node.json(isPretty: false) == #""\"\\/\u0008\u000c\n\r\té😀é😀""#)
    }

    @Test func positionsCountUnicodeScalars() throws {
        let node = try DocumentNode.parseJSON("{\n  \"é😀\": {\"k\": 1},\n  \"b\": [1,\n 2]}")
        #expect(node["é😀"]?.position == SourcePosition(line: 2, column: 9))
        #expect(node["é😀"]?["k"]?.position == SourcePosition(line: 2, column: 15))
        #expect(node["b"]?.elements?[1].position == SourcePosition(line: 4, column: 2))
        #expect(node.members?[1].key.position == SourcePosition(line: 3, column: 3))
    }

    @Test func jsonDepthNodesAndLengthAreBounded() {
        let deep = String(repeating: "[", count: 100_000)
        #expect(throws: TextFormatError.self) { try DocumentNode.parseJSON(deep) }
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        #expect(throws: Never.self) { try DocumentNode.parseJSON(nested(200)) }
        #expect(throws: TextFormatError.self) { try DocumentNode.parseJSON(nested(201)) }
        #expect(throws: Never.self) { try DocumentNode.parseJSON("[1,2]", limits: TextLimits(nodes: 3)) }
        #expect(throws: TextFormatError.self) { try DocumentNode.parseJSON("[1,2,3]", limits: TextLimits(nodes: 3)) }
        #expect(throws: TextFormatError.self) { try DocumentNode.parseJSON("[1,2,3]", limits: TextLimits(bytes: 6)) }
    }

    @Test func whatTextMakesPassesTheGuard() throws {
        func structures(_ depth: Int) -> String {
            "{\"structure\":" + String(repeating: "{\"k\":", count: depth) + "1"
                + String(repeating: "}", count: depth + 1)
        }
        let arena = Arena()
        let message = try arena.decodeJSON(Everything.descriptor, structures(33), types: testTypes)
        _ = try arena.decode(Everything.descriptor, from: encode(message))
        #expect(textRefusal(json: structures(34))?.problem == .tooDeep(limit: 100))
    }

    @Test func aShortTextThatWouldTakeMuchMemoryIsRefused() {
        let text = "{\"children\":[" + Array(repeating: "{}", count: 200_000).joined(separator: ",") + "]}"
        #expect(textRefusal(json: text)?.problem == .tooMuchMemory(limit: 64 << 20))
    }

    @Test func nestedAnysThatWouldTakeMuchMemoryTogetherAreRefused() throws {
        // Each level holds all that is in it: 45 levels of 2 MiB.
        var wire = Wire().bytes(15, [UInt8](repeating: 1, count: 2 << 20))
        for _ in 0..<45 { wire = Wire().message(100, Wire.any("martinet.test.Everything", wire)) }
        let arena = Arena()
        // With the types known, the guard counts them at once.
        #expect(refusal(wire)?.problem == .tooMuchMemory(limit: 64 << 20))
        let message = try arena.decode(Everything.descriptor, from: wire.bytes, limits: DecodingLimits(memory: 1 << 30))
        do throws(TextFormatError) {
            _ = try json(of: message, types: testTypes)
            Issue.record("a message that takes more than the limit")
        } catch {
            let limit = ProtobufError.Problem.tooMuchMemory(limit: 64 << 20)
            guard case .malformedAny(let words, _) = error.problem else { throw error }
            #expect(words.contains("\(64 << 20)"), "\(words) is not \(limit)")
        }
        do throws(ProtobufError) {
            try walk(message, types: testTypes) { _, _ in }
            Issue.record("a message that takes more than the limit")
        } catch {
            #expect(error.problem == .tooMuchMemory(limit: 64 << 20))
        }
    }

    @Test func aMessageWithoutAJSONFormSaysWhy() throws {
        func problem(_ wire: Wire) throws -> TextFormatError? {
            let arena = Arena()
            let message = try arena.decode(Everything.descriptor, from: wire.bytes)
            do throws(TextFormatError) { _ = try json(of: message, types: testTypes) } catch { return error }
            return nil
        }
        let nan = Wire().adding(2, 1, [0, 0, 0, 0, 0, 0, 0xF8, 0x7F])
        #expect(
            try problem(Wire().message(119, nan))?.description
                == "values[0]: a google.protobuf.Value of nan has no JSON form")
        #expect(try problem(Wire().message(102, Wire()))?.path == "value")
        #expect(
            try problem(Wire().message(104, Wire().varint(1, 1).varint(2, UInt64(bitPattern: -1))))?.path == "duration")
        #expect(try problem(Wire().message(105, Wire().varint(2, 1_000_000_000)))?.path == "timestamp")
        #expect(try problem(Wire().message(106, Wire().string(1, "a,b")))?.path == "field_mask")
        let unknown = Wire().message(100, Wire.any("no.such.Type", Wire()))
        #expect(try problem(unknown)?.problem == .unknownType("type.googleapis.com/no.such.Type", suggestion: nil))
        let broken = Wire().message(118, Wire().string(1, "t/martinet.test.Older").bytes(2, [0x08]))
        #expect(try problem(broken)?.path == "anys[0]")
    }

    @Test func anUnknownTypeIsShownWhereThatIsAsked() throws {
        let arena = Arena()
        let message = try arena.decode(
            Everything.descriptor, from: Wire().message(100, Wire.any("no.Type", Wire().varint(1, 1))).bytes)
        let text = try text(of: message, TextStyle(.compactJSON, showsUnknownTypes: true), types: testTypes)
        #expect(text == #"{"any":{"@type":"type.googleapis.com/no.Type","value":"CAE="}}"#)
    }

    @Test func theLastOfTwoMapEntriesWithOneKeyCounts() throws {
        let arena = Arena()
        let wire = Wire().message(40, Wire().string(1, "k").string(2, "old")).message(
            40, Wire().string(1, "k").string(2, "new"))
        let message = try arena.decode(Everything.descriptor, from: wire.bytes)
        #expect(try json(of: message, types: testTypes, isPretty: false) == #"{"labels":{"k":"new"}}"#)
    }
}
