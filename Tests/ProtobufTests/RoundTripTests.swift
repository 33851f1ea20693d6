import Protobuf
import Testing

@Suite struct RoundTripTests {
    @Test(arguments: 0..<10)
    func randomMessagesSurviveWireJSONAndYAML(_ block: UInt64) throws {
        for seed in block * 20..<block * 20 + 20 {
            var source = RandomDocument(seed: seed)
            let arena = Arena()
            let document = source.message(Everything.descriptor)
            let message = try arena.decode(Everything.descriptor, from: document, types: testTypes)
            let bytes = encode(message)
            // Wire, JSON and YAML there and back; it stops the program where one differs.
            #expect(bytes.withUnsafeBytes { fuzzWire($0, as: Everything.descriptor, types: testTypes) }, "seed \(seed)")
            // The text of the message says the same as the document it came from.
            let text = try json(of: message, types: testTypes)
            #expect(
                try json(
                    of: arena.decodeJSON(Everything.descriptor, document.json(), types: testTypes), types: testTypes)
                    == text)
            guard !text.utf8.contains("\\ufeff".utf8) else { continue }  // Yams: see yaml(of:).
            #expect(
                try json(
                    of: arena.decodeYAML(Everything.descriptor, document.yaml(), types: testTypes), types: testTypes)
                    == text)
        }
    }

    @Test func everyTypeRoundTrips() throws {
        for descriptor in testTypes.descriptors {
            for seed in 0..<5 as Range<UInt64> {
                var source = RandomDocument(seed: seed)
                let arena = Arena()
                let message = try arena.decode(descriptor, from: source.message(descriptor), types: testTypes)
                #expect(
                    encode(message).withUnsafeBytes { fuzzWire($0, as: descriptor, types: testTypes) },
                    "\(descriptor.fullName), seed \(seed)")
            }
        }
    }

    @Test func damagedTextsAreRefusedOrStable() {
        var random = SeededGenerator(seed: 3)
        var accepted = 0
        for seed in 0..<60 as Range<UInt64> {
            var source = RandomDocument(seed: seed)
            let document = source.message(Older.descriptor)
            let rich = source.message(TestStruct.descriptor)
            for (node, descriptor) in [(document, Older.descriptor), (rich, TestStruct.descriptor)] {
                for (text, format) in [(node.json(), TextStyle.Format.json), (node.yaml(), .yaml)] {
                    for _ in 0..<10 {
                        var bytes = Array(text.utf8)
                        for _ in 0..<Int.random(in: 0...2, using: &random) where !bytes.isEmpty {
                            let at = Int.random(in: 0..<bytes.count, using: &random)
                            switch Int.random(in: 0...2, using: &random) {
                            case 0: bytes.remove(at: at)
                            case 1:
                                bytes.insert("{}[],:-*&!|>'\"\\ \n?#~0".utf8.randomElement(using: &random) ?? 0, at: at)
                            default: bytes[at] = UInt8.random(in: 0...255, using: &random)
                            }
                        }
                        if bytes.withUnsafeBytes({ fuzzText($0, format, as: descriptor, types: testTypes) }) {
                            accepted += 1
                        }
                    }
                }
            }
        }
        #expect(accepted > 500 && accepted < 2_400)
    }

    @Test func encodingIsDeterministic() throws {
        var outputs: Set<[UInt8]> = []
        for _ in 0..<5 {
            let arena = Arena()
            outputs.insert(encode(try arena.decodeJSON(Everything.descriptor, richJSON, types: testTypes)))
        }
        #expect(outputs.count == 1)
    }
}
