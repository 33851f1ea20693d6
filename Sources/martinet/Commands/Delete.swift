import ArgumentParser
import ControlPlane
import EnvoyAPI
import XDS

struct Delete: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Remove resources that were applied.",
        discussion: """
            Removes resources by type and name, or those that are defined in files, in one step: all of them, or, if \
            one is not there, none. Proxies lose what refers to a resource before the resource itself, if that is \
            removed in the same step.

            A resource that a file below the server's --resources defines cannot be removed here: change the file.

            TYPES
              \(ResourceType.writtenList)

            EXAMPLES
              martinet delete clusters reviews ratings
              martinet delete -f shop.yaml
              martinet delete RDS edge --scope node-cluster=edge

            EXIT CODES
              0   They are gone; or with --dry-run, they would be.
              1   Something is wrong, and nothing has changed.
              64  The command line is wrong.
            """)

    @Argument(help: ArgumentHelp("The type of the resources.", valueName: "type"))
    var type: String?

    @Argument(help: ArgumentHelp("Their names.", valueName: "name"))
    var names: [String] = []

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "Remove the resources that are defined there; may be repeated.", valueName: "file|dir|-"))
    var file: [String] = []

    @Option(help: ArgumentHelp("Of which proxies: all, node-cluster=NAME or node-id=ID.", valueName: "scope"))
    var scope = "all"

    @Flag(help: "A reference that dangles afterwards is an error, not a warning.")
    var strict = false

    @Flag(help: "Say what would change, and change nothing.")
    var dryRun = false

    @Flag(name: .shortAndLong, help: "Print nothing but errors and warnings.")
    var quiet = false

    @OptionGroup var target: ControlTarget

    func validate() throws {
        if file.isEmpty {
            guard type != nil, !names.isEmpty else {
                throw ValidationError("name what to remove: TYPE NAME…, or -f FILE")
            }
        } else if type != nil {
            throw ValidationError("either TYPE NAME… or -f, not both")
        }
    }

    func run() throws {
        let given = try Scope.parse(scope)
        var steps: [(scope: Scope, removing: [ApplyRequest.NamedResource])] = []
        if let type {
            let url = try ResourceType.parse(type).typeURL
            steps = [(given, names.map { ApplyRequest.NamedResource(typeURL: url, name: $0) })]
        } else {
            steps = try ResourceArguments(file, scope: given).byScope.map { scope, entries in
                (scope, entries.map { ApplyRequest.NamedResource(typeURL: $0.key.type.typeURL, name: $0.key.name) })
            }
        }
        for (scope, removing) in steps {
            let request = ApplyRequest(
                scope: scope.text, removing: removing, isStrict: strict, isDryRun: dryRun)
            let answer = try target.call(ControlControl.apply, request.encoded(), timeout: .seconds(300))
            try ChangeReport(answer, scope: scope, isDryRun: dryRun).tell(isQuiet: quiet)
        }
    }
}
