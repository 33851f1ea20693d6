import ArgumentParser
import ControlPlane
import EnvoyAPI
import Mesh
import XDS

struct Delete: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Remove objects of the mesh, or raw Envoy resources that were applied.",
        discussion: """
            Removes objects by kind and name, or those that files name, in one step: all of them, or, if one is not \
            there, none. It is a revision that `martinet rollback` can take back.

            With --raw, or with files in Envoy's own form, it removes resources that were applied. Proxies lose what \
            refers to a resource before the resource itself, if that is removed in the same step. A resource that a \
            file below the server's --resources defines cannot be removed here: change the file.

            EXAMPLES
              martinet delete virtualservice reviews ratings -n shop
              martinet delete vs/reviews
              martinet delete -f virtual-service-reviews-80-20.yaml
              martinet delete --raw clusters reviews ratings
              martinet delete --raw RDS edge --scope node-cluster=edge

            EXIT CODES
              0   They are gone; or with --dry-run, they would be.
              1   Something is wrong, and nothing has changed; or with --wait, a proxy rejects it or does not answer.
              64  The command line is wrong.
            """)

    @Argument(help: ArgumentHelp("A kind, or KIND/NAME; with --raw, a type.", valueName: "kind"))
    var kind: String?

    @Argument(help: ArgumentHelp("Their names.", valueName: "name"))
    var names: [String] = []

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "Remove what is defined there; may be repeated. - stands for standard input.", valueName: "file|dir|-"))
    var file: [String] = []

    @Flag(help: "Say what would change, and change nothing.")
    var dryRun = false

    @Flag(help: "What refers to something that goes is an error, not a warning.")
    var strict = false

    @Flag(name: .shortAndLong, help: "Print nothing but errors and warnings.")
    var quiet = false

    @OptionGroup(title: "Objects") var objects: ObjectOptions
    @OptionGroup(title: "Objects") var change: ChangeOptions
    @OptionGroup(title: "Objects") var waiting: WaitOptions
    @OptionGroup(title: "Raw resources") var rawOptions: RawOptions
    @OptionGroup var target: ControlTarget

    struct ObjectOptions: ParsableArguments {
        @Option(
            name: .shortAndLong,
            help: ArgumentHelp("Where they are, if nothing else says it. (default: default)", valueName: "namespace"))
        var namespace: String?

        @Flag(help: "What is not there is no error.")
        var ignoreNotFound = false
    }

    struct RawOptions: ParsableArguments {
        @Flag(help: "Remove raw Envoy resources.")
        var raw = false

        @Option(
            help: ArgumentHelp(
                "Of which proxies: all, node-cluster=NAME or node-id=ID. (default: all)", valueName: "scope"))
        var scope: String?
    }

    func validate() throws {
        if file.isEmpty {
            guard let kind, !names.isEmpty || (kind.contains("/") && !rawOptions.raw) else {
                throw ValidationError("name what to remove: KIND NAME…, or -f FILE")
            }
        } else if kind != nil {
            throw ValidationError("either KIND NAME… or -f, not both")
        }
    }

    func run() throws {
        if let kind {
            if rawOptions.raw { return try removeResources(kind) }
            let arguments = try ObjectArguments(kind, names)
            guard arguments.kinds.count == 1, let kind = arguments.kinds.first else {
                let words = arguments.kinds.map(\.resourceName).joined(separator: " or ")
                throw CommandProblem(
                    "`\(kind)` is more than one kind", hint: words.isEmpty ? "name one" : "write \(words)")
            }
            let namespace = kind.isNamespaced ? objects.namespace ?? "default" : ""
            return try remove(arguments.names.map { ObjectKey(kind, namespace, $0) })
        }
        switch try GivenFiles(file).content {
        case .objects(let documents):
            guard !rawOptions.raw else {
                throw CommandProblem("these are objects of the mesh", hint: "leave out --raw")
            }
            try remove(try documents.checked(namespace: objects.namespace ?? "default").map(\.key))
        case .resources: try removeResources(nil)
        }
    }

    private func remove(_ keys: [ObjectKey]) throws {
        if rawOptions.scope != nil {
            throw CommandProblem("--scope is for raw Envoy resources", hint: "write --raw, or leave it out")
        }
        var request = change.request(isDryRun: dryRun, isStrict: strict)
        (request.removing, request.ignoresMissing) = (keys, objects.ignoreNotFound)
        let answer = try target.call(ControlMesh.delete, request.encodedAsDelete(), timeout: .seconds(300))
        let plan = try PlanText(answer, isDryRun: dryRun)
        plan.tell(isQuiet: quiet)
        if !dryRun { try waiting.follow(plan.report.revision, target, isQuiet: quiet) }
    }

    private func removeResources(_ type: String?) throws {
        let foreign = [
            objects.namespace.map { _ in "--namespace" }, objects.ignoreNotFound ? "--ignore-not-found" : nil,
            change.given, waiting.wait ? "--wait" : nil,
        ]
        if let option = foreign.compactMap({ $0 }).first {
            throw CommandProblem(
                "\(option) is for objects of the mesh, and these are raw Envoy resources", hint: "leave it out")
        }
        let given = try Scope.parse(rawOptions.scope ?? "all")
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
