import ArgumentParser
import ControlPlane
import EnvoyAPI
import Foundation
import GRPC
import Mesh

struct Edit: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Change an object of the mesh in an editor.",
        discussion: """
            Opens the object's text in $VISUAL, $EDITOR or vi, and applies what is saved. If somebody else has \
            changed the object meanwhile, nothing is changed; what was written is kept in a file, as it is where \
            something is wrong with it.

            EXAMPLES
              martinet edit virtualservice reviews
              martinet edit vs/reviews -n shop -m "half to v2"

            EXIT CODES
              0   It is in force, or nothing was edited.
              1   Something is wrong, and nothing has changed; or with --wait, a proxy rejects it or does not answer.
              64  The command line is wrong.
            """)

    @Argument(help: ArgumentHelp("A kind, or KIND/NAME.", valueName: "kind"))
    var kind: String

    @Argument(help: ArgumentHelp("The name.", valueName: "name"))
    var name: String?

    @Option(name: .shortAndLong, help: ArgumentHelp("Where it is.", valueName: "namespace"))
    var namespace = "default"

    @Option(name: .shortAndLong, help: ArgumentHelp("Why, for the history.", valueName: "text"))
    var message = ""

    @Flag(name: .shortAndLong, help: "Print nothing but errors and warnings.")
    var quiet = false

    @OptionGroup var waiting: WaitOptions
    @OptionGroup var target: ControlTarget

    func run() throws {
        let arguments = try ObjectArguments(kind, name.map { [$0] } ?? [])
        guard arguments.kinds.count == 1, let objectKind = arguments.kinds.first, arguments.names.count == 1,
            let objectName = arguments.names.first
        else {
            throw CommandProblem("`\(kind)` does not name one object", hint: "write KIND NAME, as in vs reviews")
        }
        let key = ObjectKey(objectKind, objectKind.isNamespaced ? namespace : "", objectName)
        let (original, revision) = try fetch(key)
        let path = try Self.write(original.yaml, for: key)
        try Self.openEditor(path)
        let edited: [UInt8]
        do {
            edited = try InputFiles.bytes(of: path)
        } catch {
            throw CommandProblem("\(path): \(error.localizedDescription)", hint: "nothing was changed")
        }
        guard edited != Array(original.yaml.utf8) else {
            try? FileManager.default.removeItem(atPath: path)
            Terminal.errors.line("nothing was edited")
            return
        }
        do {
            try apply(edited, file: original.file, key, original: original, revision: revision)
        } catch var problem as CommandProblem {
            problem.lines.append("what was edited is in \(path)")
            throw problem
        }
        try? FileManager.default.removeItem(atPath: path)
    }

    private func fetch(_ key: ObjectKey) throws -> (object: StandingObject, revision: Int64) {
        var query = ObjectQuery()
        (query.kinds, query.names, query.namespace) = ([key.kind], [key.name], key.namespace)
        let report = try ObjectPrinter.ask(query, target)
        guard let object = report.objects.first else {
            throw CommandProblem("there is no \(key)", hint: "`martinet get \(key.kind.plural)` lists what there is")
        }
        return (object, report.revision)
    }

    private func apply(
        _ bytes: [UInt8], file: String, _ key: ObjectKey, original: StandingObject, revision: Int64
    ) throws {
        var request = MeshRequest()
        request.documents = [MeshRequest.Document(file: file.isEmpty ? nil : file, bytes: bytes)]
        (request.namespace, request.message, request.base) = (namespace, message, revision)
        let objects = try request.documents.checked(namespace: namespace)
        guard objects.map(\.key) == [key] else {
            throw CommandProblem(
                "this is another object than \(key)", hint: "keep its kind, namespace and name; nothing was changed")
        }
        var attempts = 3
        while true {
            do {
                let answer = try target.call(ControlMesh.apply, request.encodedAsApply())
                let plan = try PlanText(answer, isDryRun: false)
                plan.tell(isQuiet: quiet)
                return try waiting.follow(plan.report.revision, target, isQuiet: quiet)
            } catch let problem as CommandProblem where attempts > 0 {
                attempts -= 1
                // Another object was changed meanwhile: that does not concern this one.
                let (now, current) = try fetch(key)
                guard current != request.base, now.yaml == original.yaml else { throw problem }
                request.base = current
            }
        }
    }

    private static func write(_ text: String, for key: ObjectKey) throws -> String {
        var template = Array((NSTemporaryDirectory() + "/martinet-\(key.name)-XXXXXX.yaml").utf8CString)
        let descriptor = mkstemps(&template, 5)
        let path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        guard descriptor >= 0 else {
            throw CommandProblem("cannot make a file in \(NSTemporaryDirectory())", hint: "set TMPDIR")
        }
        let file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        do {
            try file.write(contentsOf: Data(text.utf8))
        } catch {
            throw CommandProblem("\(path): \(error.localizedDescription)", hint: "free some space")
        }
        return path
    }

    private static func openEditor(_ path: String) throws {
        let environment = ProcessInfo.processInfo.environment
        let editor = [environment["VISUAL"], environment["EDITOR"]].compactMap { $0 }.first { !$0.isEmpty } ?? "vi"
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        // The editor may be a command with arguments.
        process.arguments = ["-c", editor + " \"$1\"", "edit", path]
        do {
            try process.run()
        } catch {
            throw CommandProblem("cannot run \(editor): \(error.localizedDescription)", hint: "set EDITOR")
        }
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw CommandProblem(
                "\(editor) ended with code \(process.terminationStatus); nothing was changed",
                hint: "what was edited is in \(path)")
        }
    }
}
