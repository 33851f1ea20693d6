import Documents

@testable import Protobuf

/// Documents that fit a message type, made up by reflection from a seed.
struct RandomDocument {
    var random: SeededGenerator

    init(seed: UInt64) {
        random = SeededGenerator(seed: seed)
    }

    mutating func message(_ descriptor: MessageDescriptor, depth: Int = 0) -> DocumentNode {
        if let type = WellKnownType(descriptor) { return wellKnown(type, descriptor, depth: depth) }
        return .mapping(members(descriptor, depth: depth), at: place)
    }

    private let place = SourcePosition(line: 1, column: 1)

    private mutating func members(_ descriptor: MessageDescriptor, depth: Int) -> [DocumentNode.Member] {
        var members: [DocumentNode.Member] = []
        var oneofs: Set<UInt32> = []
        for field in descriptor.fields.shuffled(using: &random) where chance(depth == 0 ? 3 : 8) {
            if let oneof = field.oneofIdentity, !oneofs.insert(oneof).inserted { continue }
            let value: DocumentNode
            if let entry = field.mapEntry(in: descriptor) {
                value = map(entry, depth: depth)
            } else if field.isRepeated {
                value = .sequence(
                    (0..<Int.random(in: 0...3, using: &random)).map { _ in single(field, depth) }, at: place)
            } else {
                value = single(field, depth)
            }
            let name = chance(2) ? field.name : field.jsonName
            members.append(.init(key: DocumentScalar(name, .quoted), value: value))
        }
        return members
    }

    private mutating func map(_ entry: MapEntry, depth: Int) -> DocumentNode {
        var keys: [String: DocumentNode] = [:]
        for _ in 0..<Int.random(in: 0...3, using: &random) {
            let key: String
            switch entry.key.kind {
            case .bool: key = chance(2) ? "true" : "false"
            case .string: key = text()
            case .uint32, .uint64: key = String(UInt32.random(in: .min ... .max, using: &random))
            default: key = String(Int32.random(in: .min ... .max, using: &random))
            }
            keys[key] = single(entry.value, depth)
        }
        return .mapping(
            keys.sorted { Array($0.key.utf8).lexicographicallyPrecedes(Array($1.key.utf8)) }
                .map { .init(key: DocumentScalar($0.key, .quoted), value: $0.value) }, at: place)
    }

    private mutating func single(_ field: FieldDescriptor, _ depth: Int) -> DocumentNode {
        switch field.kind {
        case .int32: return number("\(Int32.random(in: .min ... .max, using: &random))")
        case .uint32: return number("\(UInt32.random(in: .min ... .max, using: &random))")
        case .int64: return number("\(Int64.random(in: .min ... .max, using: &random))")
        case .uint64: return number("\(UInt64.random(in: .min ... .max, using: &random))")
        case .float: return float(Float(bitPattern: UInt32.random(in: .min ... .max, using: &random)))
        case .double: return float(Double(bitPattern: random.next()))
        case .bool: return .scalar(DocumentScalar(chance(2) ? "true" : "false", .keyword))
        case .string: return quoted(text())
        case .bytes:
            return quoted(
                base64(
                    (0..<Int.random(in: 0...9, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }))
        case .enumeration(let type):
            if type.fullName == "google.protobuf.NullValue" { return .scalar(DocumentScalar("null", .keyword)) }
            return chance(2)
                ? quoted(type.names.randomElement(using: &random) ?? "")
                : number("\(Int32.random(in: -9...9, using: &random))")
        case .message(let type):
            return depth > 6 && WellKnownType(type) == nil ? .mapping([], at: place) : message(type, depth: depth + 1)
        }
    }

    private mutating func wellKnown(_ type: WellKnownType, _ descriptor: MessageDescriptor, depth: Int) -> DocumentNode
    {
        switch type {
        case .any:
            guard depth < 5, let content = testTypes.descriptors.randomElement(using: &random) else {
                return .mapping([], at: place)
            }
            let url = DocumentNode.Member(key: DocumentScalar("@type", .quoted), value: quoted(content.typeURL))
            if WellKnownType(content) != nil {
                return .mapping(
                    [url, .init(key: DocumentScalar("value", .quoted), value: message(content, depth: depth + 1))],
                    at: place)
            }
            return .mapping(members(content, depth: depth + 1) + [url], at: place)
        case .structure:
            return .mapping(
                (0..<(depth > 6 ? 0 : 3)).map {
                    .init(key: DocumentScalar("\($0)\(text())", .quoted), value: value(depth + 1))
                }, at: place)
        case .listValue: return .sequence((0..<(depth > 6 ? 0 : 3)).map { _ in value(depth + 1) }, at: place)
        case .value: return value(depth)
        case .duration:
            return quoted(
                SecondsAndNanos(seconds: 0, nanos: Int32.random(in: -999_999_999...999_999_999, using: &random))
                    .durationText)
        case .timestamp:
            let seconds = Int64.random(in: SecondsAndNanos.timestampRange, using: &random)
            return quoted(
                SecondsAndNanos(seconds: seconds, nanos: Int32.random(in: 0...999_999_999, using: &random))
                    .timestampText)
        case .fieldMask:
            return quoted(["", "fooBar", "a.b,cD.e", "foo__bar", "x_1"].randomElement(using: &random) ?? "")
        case .wrapper: return descriptor.field(number: 1).map { single($0, depth) } ?? .mapping([], at: place)
        }
    }

    private mutating func value(_ depth: Int) -> DocumentNode {
        switch Int.random(in: 0...(depth > 6 ? 3 : 5), using: &random) {
        case 0: .scalar(DocumentScalar("null", .keyword))
        case 1: .scalar(DocumentScalar(chance(2) ? "true" : "false", .keyword))
        case 2: number("\(Double.random(in: -1e9...1e9, using: &random))")
        case 3: quoted(text())
        case 4: .sequence((0..<2).map { _ in value(depth + 1) }, at: place)
        default: .mapping([.init(key: DocumentScalar(text(), .quoted), value: value(depth + 1))], at: place)
        }
    }

    private mutating func float<F: BinaryFloatingPoint & LosslessStringConvertible>(_ value: F) -> DocumentNode {
        value.isFinite
            ? number(jsonText(value)) : quoted(["NaN", "Infinity", "-Infinity"].randomElement(using: &random) ?? "")
    }

    /// Texts that a writer of YAML or JSON may get wrong.
    private mutating func text() -> String {
        let pieces = [
            "true", "null", "~", "yes", "0644", "1e3", ".5", "-", "- a", "*a", "&b", "!c", "a: b", "a #b", "#", ":",
            "---", "...",
            "%", "@", "`", "'", "\"", "\\", "{", "}", "[", "]", ",", "|", ">", "?", " ", "  ", "\n", "\n\n", "\t", "\r",
            "\u{1}",
            "\u{7F}", "\u{85}", "\u{A0}", "\u{2028}", "\u{FEFF}", "\u{FFFE}", "\u{E000}", "é", "e\u{301}", "\u{301}",
            "😀", "<<", "=",
            "word", "two words", "a/b.c", "x=1", String(repeating: "long ", count: 60),
        ]
        return (0..<Int.random(in: 0...4, using: &random)).map { _ in pieces.randomElement(using: &random) ?? "" }
            .joined()
    }

    private func quoted(_ text: String) -> DocumentNode { .scalar(DocumentScalar(text, .quoted)) }
    private func number(_ text: String) -> DocumentNode { .scalar(DocumentScalar(text, .number)) }
    private mutating func chance(_ oneIn: Int) -> Bool { Int.random(in: 0..<oneIn, using: &random) == 0 }
}
