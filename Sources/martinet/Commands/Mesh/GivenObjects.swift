import ControlPlane
import Documents
import Foundation
import Mesh

/// What files hold that a user names with -f: objects of the mesh or raw Envoy resources, by what they say.
struct GivenFiles {
    enum Content {
        /// Documents with `apiVersion` and `kind`.
        case objects([MeshRequest.Document])
        /// Anything else: Envoy's own form.
        case resources
    }

    let content: Content

    /// - Throws: a ``CommandProblem`` for files that cannot be read, and for objects beside raw resources.
    init(_ arguments: [String]) throws {
        var documents: [MeshRequest.Document] = []
        var raw: String?
        for argument in arguments {
            for entry in try InputFiles(at: argument).entries {
                let file = entry.path == "-" ? "stdin" : entry.path
                let bytes: [UInt8]
                do {
                    bytes = try InputFiles.bytes(of: entry.path)
                } catch {
                    throw CommandProblem(
                        "\(file): \(error.localizedDescription)", hint: "give this user read permission on it")
                }
                switch Self.kind(of: bytes, file) {
                case .empty: break
                case .objects: documents.append(MeshRequest.Document(file: file, bytes: bytes))
                case .resources: raw = raw ?? file
                case .both: throw Self.mixture("\(file) holds both")
                }
            }
        }
        if let raw, let document = documents.first {
            throw Self.mixture("\(document.file ?? "one file") holds objects, \(raw) holds Envoy resources")
        }
        content = raw == nil && !documents.isEmpty ? .objects(documents) : .resources
    }

    private static func mixture(_ words: String) -> CommandProblem {
        CommandProblem(
            "objects of the mesh and raw Envoy resources are not changed in one step: \(words)",
            hint: "nothing was changed; name them in two calls")
    }

    private enum Kind { case empty, objects, resources, both }

    private static func kind(of bytes: [UInt8], _ file: String) -> Kind {
        do throws(TextFormatError) {
            let isJSON = file.hasSuffix(".json") || bytes.first { $0 > 0x20 } == UInt8(ascii: "{")
            let documents =
                isJSON
                ? [try DocumentNode.parseJSON(bytes: bytes)]
                : try DocumentNode.parseYAML(String(decoding: bytes, as: UTF8.self))
            let objects = documents.count { $0["apiVersion"] != nil || $0["kind"] != nil }
            if documents.isEmpty { return .empty }
            return objects == documents.count ? .objects : objects == 0 ? .resources : .both
        } catch {
            // What cannot be read is told by whoever it looks like it is for.
            return Data(bytes).range(of: Data("apiVersion".utf8)) == nil ? .resources : .objects
        }
    }
}

extension [MeshRequest.Document] {
    /// Reads them as the control plane will: its answer has room for less words.
    /// - Throws: a ``CommandProblem`` with everything that is wrong in them.
    func checked(namespace: String) throws -> [MeshObject] {
        var objects: [MeshObject] = []
        var problems: [String] = []
        for document in self {
            do throws(ObjectErrors) {
                objects += try ObjectText(document.bytes, file: document.file, namespace: namespace).objects
            } catch {
                problems += error.findings.map { "\($0)".printable }
                if error.omitted > 0 { problems.append("\(document.file ?? "stdin"): and \(error.omitted) more") }
            }
        }
        problems += MeshState.repeated(objects).map { "\($0)".printable }
        guard problems.isEmpty else {
            throw CommandProblem(lines: problems, hint: "nothing was changed; mend what is named above")
        }
        return objects
    }
}

/// A kind and names as people write them: `vs reviews ratings`, `virtualservice/reviews`, `svc,vs`.
struct ObjectArguments {
    var kinds: [ObjectKind]
    /// Empty: all.
    var names: [String]

    /// - Throws: a ``CommandProblem`` for what is no kind.
    init(_ kind: String, _ names: [String]) throws {
        var (text, names) = (kind, names)
        if let slash = kind.firstIndex(of: "/") {
            text = String(kind[..<slash])
            names.insert(String(kind[kind.index(after: slash)...]), at: 0)
        }
        guard text.lowercased() != "all" else {
            (kinds, self.names) = ([], names)
            return
        }
        kinds = try text.split(separator: ",").flatMap { try Self.kinds(String($0)) }
        guard !kinds.isEmpty else { throw Self.unknown(text) }
        self.names = names
    }

    private static func kinds(_ word: String) throws -> [ObjectKind] {
        let kinds = ObjectKind.kinds(written: word)
        if kinds.isEmpty { throw unknown(word) }
        return kinds
    }

    private static func unknown(_ word: String) -> CommandProblem {
        CommandProblem("`\(word.printable)` is no kind of object", hint: hint(word))
    }

    private static func hint(_ word: String) -> String {
        if ResourceArguments.isType(word) { return "for raw Envoy resources write --raw \(word)" }
        let words = ObjectKind.allCases.flatMap { [$0.name.lowercased(), $0.plural] }
        if let near = suggestion(for: word.lowercased(), among: words) { return "did you mean `\(near)`?" }
        return "write one of " + kindList
    }

    /// For help and errors.
    static let kindList = ObjectKind.allCases.map { kind in
        kind.plural + (kind.shortName.map { " (\($0))" } ?? "")
    }.sorted().reduce(into: [String]()) { if $0.last != $1 { $0.append($1) } }.joined(separator: ", ")
}
