import ArgumentParser
import ControlPlane
import EnvoyAPI
import XDS

struct Apply: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Add and change objects of the mesh, or raw Envoy resources, of a running control plane.",
        discussion: """
            Takes the YAML or JSON that mesh users already have: Kubernetes, Istio and Gateway API objects, which say \
            `apiVersion` and `kind`; or resources in Envoy's own form. One call takes one of the two. Everything in \
            it is checked and put into force in one step: all of it, or, if anything is wrong, nothing.

            OBJECTS
              Each call that changes something makes a revision with its author, time and message. `martinet history` \
            lists them, `martinet show` tells what one changed, `martinet rollback` goes back to one. An object that \
            says the same as before is unchanged, whatever its comments and its order.
              With --base nothing is changed if somebody else has made a revision since the one that is named.
              With --canary a part of the proxies gets it first; `martinet rollout --help` tells more. Without, one \
            proxy of each class that has several tries it before the others get it.
              With --prune every object goes that is not in the files: they are the whole mesh then.

            RAW RESOURCES
              Of a directory, folders named node-cluster=NAME or node-id=ID make a scope, and each scope is a step of \
            its own. A resource that a file below the server's --resources defines cannot be replaced here: change \
            the file.

            EXAMPLES
              martinet apply -f virtual-service-reviews-80-20.yaml
              martinet apply -f mesh/ -m "reviews v2 for everybody" --wait
              kubectl get vs,dr -A -o yaml | martinet apply -f - --dry-run
              martinet apply -f mesh/ --canary 5%,25%,100% --hold 5m --wait
              martinet apply -f mesh/ --prune --base 41
              martinet apply -f cluster.yaml --scope node-cluster=edge
              martinet apply -f shop/ --replace-all --version 2026-11-23

            EXIT CODES
              0   It is in force; or with --dry-run, it would be.
              1   Something is wrong, and nothing has changed; or with --wait, a proxy rejects it or does not answer.
              64  The command line is wrong.
            """)

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("What to apply; may be repeated. - stands for standard input.", valueName: "file|dir|-"))
    var file: [String]

    @Flag(help: "A reference to something that is not there is an error, not a warning.")
    var strict = false

    @Flag(help: "Say what would change, and change nothing.")
    var dryRun = false

    @Flag(name: .shortAndLong, help: "Print nothing but errors and warnings.")
    var quiet = false

    @OptionGroup(title: "Objects") var objects: ObjectOptions
    @OptionGroup(title: "Objects") var change: ChangeOptions
    @OptionGroup(title: "Objects") var waiting: WaitOptions
    @OptionGroup(title: "Objects") var canary: CanaryOptions
    @OptionGroup(title: "Raw resources") var raw: RawOptions
    @OptionGroup var target: ControlTarget

    struct ObjectOptions: ParsableArguments {
        @Option(name: .shortAndLong, help: ArgumentHelp("Of objects that name none.", valueName: "namespace"))
        var namespace: String?

        @Flag(help: "Remove every object that is not in the files.")
        var prune = false
    }

    struct RawOptions: ParsableArguments {
        @Option(
            help: ArgumentHelp(
                "The proxies that it is for: all, node-cluster=NAME or node-id=ID. (default: all)", valueName: "scope"))
        var scope: String?

        @Option(
            help: ArgumentHelp(
                "The version that proxies see for what changes. (default: a hash of the content)", valueName: "text"))
        var version: String?

        @Flag(help: "Remove what was applied to the scope before and is not applied now.")
        var replaceAll = false
    }

    func validate() throws {
        if file.isEmpty { throw ValidationError("name what to apply: -f FILE, -f DIR or -f -") }
        if file.count(where: { $0 == "-" }) > 1 { throw ValidationError("standard input can be read once only") }
    }

    func run() throws {
        Terminal.errors.progress("reading…")
        defer { Terminal.errors.progress("") }
        switch try GivenFiles(file).content {
        case .objects(let documents): try apply(documents)
        case .resources: try applyResources()
        }
    }

    // MARK: Objects

    private func apply(_ documents: [MeshRequest.Document]) throws {
        let foreign = [
            raw.scope.map { _ in "--scope" }, raw.version.map { _ in "--version" },
            raw.replaceAll ? "--replace-all" : nil,
        ]
        if let option = foreign.compactMap({ $0 }).first {
            throw CommandProblem(
                "\(option) is for raw Envoy resources, and these are objects of the mesh",
                hint: option == "--replace-all" ? "write --prune" : "leave it out")
        }
        var request = change.request(isDryRun: dryRun, isStrict: strict)
        request.rollout = canary.order
        request.namespace = objects.namespace ?? "default"
        let read = try documents.checked(namespace: request.namespace)
        (request.documents, request.prunes) = (documents, objects.prune)
        Terminal.errors.progress("applying \(read.count) objects…")
        let answer = try target.call(ControlMesh.apply, request.encodedAsApply(), timeout: .seconds(300))
        Terminal.errors.progress("")
        let plan = try PlanText(answer, isDryRun: dryRun, removal: "pruned", rollout: canary.order)
        plan.tell(isQuiet: quiet)
        if dryRun { return }
        if canary.order == nil || plan.report.revision == plan.report.base {
            try waiting.follow(plan.report.revision, target, isQuiet: quiet)
        } else if waiting.wait {
            try RolloutText.follow(plan.report.revision, target, isQuiet: quiet)
        }
    }

    // MARK: Raw resources

    private func applyResources() throws {
        let foreign = [
            objects.namespace.map { _ in "--namespace" }, objects.prune ? "--prune" : nil, change.given,
            waiting.wait ? "--wait" : nil, canary.given,
        ]
        if let option = foreign.compactMap({ $0 }).first {
            throw CommandProblem(
                "\(option) is for objects of the mesh, and these are raw Envoy resources",
                hint: option == "--prune" ? "write --replace-all" : "leave it out")
        }
        let given = try Scope.parse(raw.scope ?? "all")
        let arguments = try ResourceArguments(file, scope: given)
        var requests = arguments.requests
        // Nothing in the files is everything gone, where that is asked for.
        if requests.isEmpty && raw.replaceAll { requests = [(given, [])] }
        guard !requests.isEmpty else {
            throw CommandProblem("there are no resources in \(file.joined(separator: ", "))", hint: "check the files")
        }
        for (scope, resources) in requests {
            let request = ApplyRequest(
                scope: scope.text, resources: resources, replacesAll: raw.replaceAll, version: raw.version ?? "",
                isStrict: strict, isDryRun: dryRun)
            Terminal.errors.progress("applying \(resources.count) resources for \(scope)…")
            let answer = try target.call(ControlControl.apply, request.encoded(), timeout: .seconds(300))
            Terminal.errors.progress("")
            try ChangeReport(answer, scope: scope, isDryRun: dryRun).tell(isQuiet: quiet)
        }
    }
}
