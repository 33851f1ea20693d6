import CProtobufTestMessages
import Protobuf
import Testing

@Suite struct ArenaTests {
    @Test func aMessageIsMadeFilledAndEncoded() throws {
        let arena = Arena()
        let message = arena.make(Everything.self) {
            $0.a_int32 = 7
            $0.a_string = arena("läuft")
            $0.a_bytes = arena.bytes([0, 1, 255])
            ($0.n_children, $0.children) = arena.list(
                arena.make(Everything.self) { $0.a_bool = 1 }, arena.make { $0.a_int64 = -1 })
            ($0.n_many_string, $0.many_string) = arena.strings(["a", "", "b"])
            ($0.n_many_int32, $0.many_int32) = arena.values([1, -2, 3])
        }
        let decoded = try arena.decode(Everything.self, from: encode(message))
        #expect(decoded.pointee.a_int32 == 7)
        #expect(String(cString: decoded.pointee.a_string) == "läuft")
        #expect(decoded.pointee.a_bytes.len == 3)
        #expect(decoded.pointee.n_children == 2)
        #expect(decoded.pointee.children[1]?.pointee.a_int64 == -1)
        #expect(DynamicMessage(decoded).strings("many_string") == ["a", "", "b"])
        #expect(decoded.pointee.many_int32[1] == -2)
        #expect(encode(decoded) == encode(message))
    }

    @Test func aSmallMessageTakesOneKibibyte() {
        let arena = Arena()
        #expect(arena.reservedBytes == 0)
        _ = arena.make(TestDuration.self)
        #expect(arena.reservedBytes == 1040)
    }

    @Test func chunksGrowToSixtyFourKibibytesAndNoFurther() {
        let arena = Arena()
        var sizes: Set<Int> = []
        var last = 0
        for _ in 0..<100_000 {
            _ = arena("a text of some forty bytes, all of it here")
            if arena.reservedBytes != last { sizes.insert(arena.reservedBytes - last) }
            last = arena.reservedBytes
        }
        #expect(sizes == [1040, 2064, 4112, 8208, 16400, 32784, 65552])
    }

    @Test func aLargeBlockGetsAChunkOfItsOwn() {
        let arena = Arena()
        _ = arena("x")
        let before = arena.reservedBytes
        _ = arena.bytes([UInt8](repeating: 1, count: 1_000_000))
        #expect(arena.reservedBytes == before + 1_000_016)
        _ = arena("y")
        #expect(arena.reservedBytes == before + 1_000_016)
    }

    @Test func anEmptyListIsNoArray() {
        let arena = Arena()
        let (count, array) = arena.list([UnsafeMutablePointer<Everything>]())
        #expect(count == 0)
        #expect(array == nil)
        #expect(arena.bytes([]).data == nil)
    }

    @Test func anEmptyMessageIsNoBytes() throws {
        let arena = Arena()
        #expect(encode(arena.make(Everything.self)) == [])
        #expect(try encode(arena.decode(Everything.self, from: [UInt8]())) == [])
    }

    @Test func fieldsAreReadByName() throws {
        let arena = Arena()
        let message = try arena.decodeJSON(
            Everything.descriptor,
            """
            {"a_string": "x", "a_int32": -4, "a_uint64": "18446744073709551615", "a_bool": true, "a_color": "RED",
             "child": {"a_bytes": "AQI="}, "children": [{}, {"a_int32": 1}], "many_string": ["p", "q"],
             "labels": {"k": "v"}, "chosen_number": 0}
            """, types: testTypes)
        #expect(message.string("a_string") == "x")
        #expect(message.string("a_int32") == nil)
        #expect(message.string("absent") == nil)
        #expect(message.string("chosen_text") == "")
        #expect(message.integer("a_int32") == -4)
        #expect(message.integer("a_uint64") == nil)
        #expect(message.integer("a_bool") == 1)
        #expect(message.integer("a_color") == 1)
        #expect(message.integer("a_sint32") == 0)
        #expect(message.message("child")?.bytes("a_bytes") == [1, 2])
        #expect(message.message("any") == nil)
        #expect(message.messages("children").map { $0.integer("a_int32") } == [0, 1])
        #expect(message.messages("labels").first?.string("value") == "v")
        #expect(message.strings("many_string") == ["p", "q"])
        #expect(message.has("chosen_number"))
        #expect(!message.has("chosen_text"))
        #expect(!message.has("a_double"))
        #expect(message.cast(to: Everything.self)?.pointee.a_int32 == -4)
        #expect(message.cast(to: Older.self) == nil)
    }

    @Test func aRegistryFindsTypesByNameAndURL() {
        #expect(testTypes["martinet.test.Older"] == Older.descriptor)
        #expect(testTypes["martinet.test.Olde"] == nil)
        #expect(testTypes["martinet.test.Older2"] == nil)
        #expect(testTypes[""] == nil)
        #expect(testTypes.descriptor(typeURL: "type.googleapis.com/martinet.test.Older") == Older.descriptor)
        #expect(testTypes.descriptor(typeURL: "a/b/martinet.test.Older") == Older.descriptor)
        #expect(testTypes.descriptor(typeURL: "martinet.test.Older") == nil)
        #expect(testTypes.descriptors.count == 29)
        #expect(TypeRegistry.empty["martinet.test.Older"] == nil)
    }

    @Test func everyMessageIsVisitedWithItsPath() throws {
        let arena = Arena()
        let message = try arena.decodeJSON(
            Everything.descriptor,
            """
            {"child": {"children": [{}, {}]}, "named": {"n": {"duration": "1s"}},
             "any": {"@type": "type.googleapis.com/martinet.test.Everything", "child": {}}}
            """, types: testTypes)
        var visits: [String] = []
        try walk(message, types: testTypes) { path, message in visits.append("\(path): \(message.descriptor.fullName)")
        }
        #expect(
            visits == [
                ": martinet.test.Everything", "child: martinet.test.Everything",
                "child.children[0]: martinet.test.Everything", "child.children[1]: martinet.test.Everything",
                "named[\"n\"]: martinet.test.Everything", "named[\"n\"].duration: google.protobuf.Duration",
                "any: google.protobuf.Any", "any: martinet.test.Everything", "any.child: martinet.test.Everything",
            ])
    }

    @Test func aWalkStopsAtTheDepthLimitAndAtABrokenAny() throws {
        let arena = Arena()
        var inner = arena.make(Everything.self)
        for _ in 0..<120 { inner = arena.make { $0.child = inner } }
        #expect(throws: ProtobufError.self) { try walk(DynamicMessage(inner), types: testTypes) { _, _ in } }
        let broken = Wire().message(100, Wire().string(1, "type.googleapis.com/martinet.test.Older").bytes(2, [0x08]))
        let message = try arena.decode(Everything.self, from: broken.bytes)
        var problem: ProtobufError?
        do throws(ProtobufError) { try walk(DynamicMessage(message), types: testTypes) { _, _ in } } catch {
            problem = error
        }
        #expect(problem?.path == "any")
        #expect(problem?.problem == .truncated)
    }
}
