import ControlPlane
import Documents
import EnvoyAPI
import Protobuf
import XDS

/// Raw resources that are in force, for people.
struct RawListing {
    /// Or `all`.
    var type: String
    /// nil: all.
    var name: String?
    /// nil: every scope.
    var scope: String?

    func print(_ form: Get.Form, _ target: ControlTarget) throws {
        var order = ListOrder()
        if type.lowercased() != "all" { order.typeURL = try ResourceType.parse(type).typeURL }
        order.name = name ?? ""
        if let scope { order.scope = try Scope.parse(scope).text }
        let answer = try target.call(ControlControl.list, order.encoded())
        let resources = try readAnswer { try ListedResource.list(decoding: answer) }
        if let name, resources.isEmpty {
            throw CommandProblem(
                "there is no \(type) \"\(name)\"" + (scope.map { " for \($0)" } ?? ""),
                hint: "`martinet get --raw \(type)` lists what there is")
        }
        switch form {
        case .table, .wide, .name: Terminal.output.write(table(resources))
        case .yaml: Terminal.output.write(try document(resources).yaml())
        case .json: Terminal.output.write(try document(resources).json())
        }
    }

    private func table(_ resources: [ListedResource]) -> String {
        guard !resources.isEmpty else { return "there are none\n" }
        var table = TextTable(["TYPE", "NAME", "SCOPE", "VERSION", "SOURCE", "WARNINGS"])
        for resource in resources {
            table.add([
                .init(ResourceType.shortName(ofURL: resource.resource.typeURL)), .init(resource.name),
                .init(resource.scope.isEmpty ? "all" : resource.scope), .init(shortVersion(resource.version)),
                .init(resource.file.isEmpty ? "applied" : resource.file),
                resource.warnings.isEmpty ? .init("") : .init("\(resource.warnings.count)", .yellow),
            ])
        }
        var text = table.render(on: Terminal.output)
        for warning in Set(resources.flatMap(\.warnings)).sorted() {
            text += Terminal.output.paint("warning:", .yellow) + " " + warning.printable + "\n"
        }
        return text
    }

    private func document(_ resources: [ListedResource]) throws -> DocumentNode {
        .object([("resources", .list(try resources.map { try resourceDocument($0.resource) }))])
    }
}

/// A resource in Envoy's own form, with `@type`.
/// - Throws: a ``CommandProblem`` for bytes that are no message.
func resourceDocument(_ resource: RawResource) throws -> DocumentNode {
    let arena = Arena()
    guard let descriptor = envoyTypes.descriptor(typeURL: resource.typeURL) else {
        throw CommandProblem("`\(resource.typeURL)` is not known here", hint: "use the same version here and there")
    }
    do {
        let message = try arena.decode(descriptor, from: resource.body)
        let style = TextStyle(.yaml, showsUnknownTypes: true)
        let body = try Protobuf.document(of: message, style, types: envoyTypes)
        return .object([("@type", .string(resource.typeURL))] + (body.members ?? []).map { ($0.key.text, $0.value) })
    } catch {
        throw CommandProblem("a resource of \(resource.typeURL) cannot be shown: \(error)")
    }
}

/// Hashes are told by their first digits; labels in full.
func shortVersion(_ version: String) -> String {
    let isHash = version.utf8.count == 32 && version.allSatisfy { $0.isHexDigit && !$0.isUppercase }
    return isHash ? String(version.prefix(12)) : version
}

extension DocumentNode {
    private static let start = SourcePosition(line: 1, column: 1)

    static func string(_ text: String) -> DocumentNode { .scalar(DocumentScalar(text, .quoted)) }
    static func number(_ number: Int) -> DocumentNode { .scalar(DocumentScalar("\(number)", .number)) }
    static func list(_ elements: [DocumentNode]) -> DocumentNode { .sequence(elements, at: start) }
    static func object(_ members: [(String, DocumentNode)]) -> DocumentNode {
        .mapping(members.map { Member(key: DocumentScalar($0.0, .quoted), value: $0.1) }, at: start)
    }
}
