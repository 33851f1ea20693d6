import ArgumentParser
import ControlPlane
import EnvoyAPI
import Mesh
import Time

struct Get: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the objects of the mesh, or raw Envoy resources, that are in force.",
        discussion: """
            Lists objects with the revision that changed them last and how many warnings there are about them; of \
            all namespaces, unless one is named. As yaml or json it prints what their users wrote: `martinet apply \
            -f -` takes it back. The values of Secrets are left out.

            With --raw it lists resources in Envoy's own form instead, with the scope they are for, the version that \
            proxies see, and where they come from.

            KINDS
              all, or one or more with commas between: \(ObjectArguments.kindList)

            TYPES OF RAW RESOURCES
              all, or one of \(ResourceArguments.typeList)

            EXAMPLES
              martinet get all
              martinet get virtualservices -n shop
              martinet get vs,dr -l app=reviews -o wide
              martinet get vs reviews -o yaml
              martinet get vs/reviews --revision 41 -o yaml
              martinet get --raw clusters
              martinet get --raw EDS reviews -o yaml

            EXIT CODES
              0   Shown.
              1   Something is wrong, or what was named is not there.
              64  The command line is wrong.
            """)

    enum Form: String, ExpressibleByArgument, CaseIterable {
        case table, wide, yaml, json, name
    }

    @Argument(help: ArgumentHelp("Kinds, or KIND/NAME, or all; with --raw, a type.", valueName: "kind"))
    var kind: String

    @Argument(help: ArgumentHelp("Only those with these names.", valueName: "name"))
    var names: [String] = []

    @Option(
        name: .shortAndLong, help: ArgumentHelp("How to print: table, wide, yaml, json or name.", valueName: "form"))
    var output: Form = .table

    @Option(name: .shortAndLong, help: ArgumentHelp("Only in this one. (default: all)", valueName: "namespace"))
    var namespace: String?

    @Option(name: [.customShort("l"), .long], help: ArgumentHelp("Only with these labels.", valueName: "key=value,…"))
    var selector: String?

    @Option(help: ArgumentHelp("As it was in this revision. (default: what is in force)", valueName: "revision"))
    var revision: Int64?

    @Flag(help: "Show raw Envoy resources.")
    var raw = false

    @Option(
        help: ArgumentHelp(
            """
            With --raw: those for these proxies only: all (in no scope), node-cluster=NAME or node-id=ID. (default: \
            every scope)
            """, valueName: "scope"))
    var scope: String?

    @OptionGroup var target: ControlTarget

    func validate() throws {
        if let revision, revision < 1 { throw ValidationError("--revision is a number of `martinet history`") }
        if raw {
            let foreign = [
                namespace.map { _ in "--namespace" }, selector.map { _ in "--selector" },
                revision.map { _ in "--revision" },
            ]
            if let option = foreign.compactMap({ $0 }).first {
                throw ValidationError("\(option) has no use with --raw")
            }
            if names.count > 1 { throw ValidationError("name one resource, or none for all") }
            if output == .wide || output == .name {
                throw ValidationError("--raw prints table, yaml or json")
            }
        } else if scope != nil {
            throw ValidationError("--scope is for raw Envoy resources: add --raw")
        }
    }

    func run() throws {
        guard !raw else { return try RawListing(type: kind, name: names.first, scope: scope).print(output, target) }
        let arguments = try ObjectArguments(kind, names)
        var query = ObjectQuery()
        (query.kinds, query.names) = (arguments.kinds, arguments.names)
        (query.namespace, query.selector, query.revision) = (namespace ?? "", selector ?? "", revision ?? 0)
        let objects = try ObjectPrinter.ask(query, target).objects
        let missing = arguments.names.filter { name in !objects.contains { $0.name.name == name } }
        guard missing.isEmpty else {
            throw CommandProblem(
                lines: missing.map { name in
                    "there is no \(kind.split(separator: "/")[0]) \"\(name)\"".printable
                        + (namespace.map { " in \($0)" } ?? "")
                }, hint: "`martinet get \(kind.split(separator: "/")[0])` lists what there is")
        }
        switch output {
        case .table, .wide:
            Terminal.output.write(
                ObjectPrinter.table(objects, now: Timestamp.ofThisMachine(), isWide: output == .wide))
            guard output == .wide || !arguments.names.isEmpty else { break }
            for finding in objects.flatMap(\.findings) {
                Terminal.output.line(
                    Terminal.output.paint("\(finding.severity.rawValue):", .yellow) + " "
                        + "\(finding)".printable)
            }
        case .yaml: Terminal.output.write(ObjectPrinter.yamlWithStatus(objects))
        case .json: Terminal.output.write(try ObjectPrinter.json(objects))
        case .name:
            for object in objects { Terminal.output.line("\(object.name.kind)/\(object.name.name)".printable) }
        }
    }
}
