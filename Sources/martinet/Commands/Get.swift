import ArgumentParser
import ControlPlane
import Documents
import EnvoyAPI
import Protobuf
import XDS

struct Get: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the resources that are in force.",
        discussion: """
            Lists resources with the scope they are for, the version that proxies see, and where they come from. As \
            yaml or json it prints them in Envoy's own form: `martinet apply -f -` takes it back, and Envoy reads it \
            from a file.

            TYPES
              all, or one of \(ResourceType.writtenList)

            EXAMPLES
              martinet get all
              martinet get clusters
              martinet get EDS reviews -o yaml
              martinet get listeners --scope node-cluster=edge -o json

            EXIT CODES
              0   Shown.
              1   Something is wrong, or a resource that was named is not there.
              64  The command line is wrong.
            """)

    enum Form: String, ExpressibleByArgument, CaseIterable {
        case table, yaml, json
    }

    @Argument(help: ArgumentHelp("The type of the resources, or all.", valueName: "type"))
    var type: String

    @Argument(help: ArgumentHelp("The name of one.", valueName: "name"))
    var name: String?

    @Option(name: .shortAndLong, help: ArgumentHelp("How to print: table, yaml or json.", valueName: "form"))
    var output: Form = .table

    @Option(
        help: ArgumentHelp(
            "Those for these proxies only: all (in no scope), node-cluster=NAME or node-id=ID. (default: every scope)",
            valueName: "scope"))
    var scope: String?

    @OptionGroup var target: ControlTarget

    func run() throws {
        var order = ListOrder()
        if type.lowercased() != "all" { order.typeURL = try ResourceType.parse(type).typeURL }
        order.name = name ?? ""
        if let scope { order.scope = try Scope.parse(scope).text }
        let answer = try target.call(ControlControl.list, order.encoded())
        let resources: [ListedResource]
        do {
            resources = try ListedResource.list(decoding: answer)
        } catch {
            throw CommandProblem(
                "the control plane's answer cannot be read: \(error)", hint: "use the same version here and there")
        }
        if let name, resources.isEmpty {
            throw CommandProblem(
                "there is no \(type) \"\(name)\"" + (scope.map { " for \($0)" } ?? ""),
                hint: "`martinet get \(type)` lists what there is")
        }
        switch output {
        case .table: Terminal.output.write(table(resources))
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
