import ArgumentParser
import Foundation
import Mesh
import Translation

struct Analyze: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Find mistakes in Kubernetes, Istio and Gateway API objects, without a control plane.",
        discussion: """
            Reads objects as strictly as a control plane must: an unknown field, a wrong type, a value that \
            contradicts another is an error with file, line, path and the mend. Then holds them against each other: \
            hosts that no service has, subsets that no DestinationRule defines, hosts that two objects claim, rules \
            that an earlier one shadows, delegates in a circle, gateways that nobody runs, references that are not \
            granted, policies that lock everybody out or select nobody. What one of the files does not hold is \
            looked for in the others: name all files of a mesh at once.

            EXAMPLES
              martinet analyze -f mesh/
              martinet analyze -f services.yaml -f routes.yaml --strict
              kubectl get virtualservices,destinationrules,services -A -o yaml | martinet analyze -f -

            EXIT CODES
              0   There is no error; there may be warnings.
              1   There are errors, or a file cannot be read.
              64  The command line is wrong.
            """)

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("What to read; may be repeated.", valueName: "file|dir|-"))
    var file: [String]

    @Option(help: ArgumentHelp("Of objects that name none.", valueName: "namespace"))
    var namespace = "default"

    @Flag(help: "What an object refers to and is not there is an error, not a warning.")
    var strict = false

    @Option(name: .shortAndLong, help: ArgumentHelp("How to print findings: text or json.", valueName: "format"))
    var output: Format = .text

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case text, json
    }

    func run() throws {
        var findings: [MeshFinding] = []
        var objects: [MeshObject] = []
        for argument in file {
            for entry in try InputFiles(at: argument).entries {
                let bytes: [UInt8]
                do {
                    bytes = try InputFiles.bytes(of: entry.path)
                } catch {
                    throw CommandProblem(
                        "\(entry.path): \(error.localizedDescription)", hint: "give this user read permission on it")
                }
                do throws(ObjectErrors) {
                    objects += try ObjectText(
                        bytes, file: entry.path == "-" ? "stdin" : entry.path, namespace: namespace
                    ).objects
                } catch {
                    findings += error.findings
                }
            }
        }
        findings += Self.repeated(objects)
        findings += MeshIndex(objects).findings() + objects.flatMap { EnvoyFilterCheck.findings($0) }
        if strict {
            for index in findings.indices where findings[index].kind.isReference { findings[index].severity = .error }
        }
        findings.sort()
        switch output {
        case .text: tell(findings, objects.count)
        case .json: try print(findings)
        }
        if findings.contains(where: { $0.severity == .error }) { throw ExitCode(1) }
    }

    /// The objects of some files, for commands that need all of them right.
    static func objects(of files: [String], namespace: String) throws -> [MeshObject] {
        var objects: [MeshObject] = []
        for entry in try files.flatMap({ try InputFiles(at: $0).entries }) {
            let bytes: [UInt8]
            do {
                bytes = try InputFiles.bytes(of: entry.path)
            } catch {
                throw CommandProblem(
                    "\(entry.path): \(error.localizedDescription)", hint: "give this user read permission on it")
            }
            do throws(ObjectErrors) {
                objects += try ObjectText(
                    bytes, file: entry.path == "-" ? "stdin" : entry.path, namespace: namespace
                ).objects
            } catch {
                throw CommandProblem(lines: error.findings.map(\.description))
            }
        }
        return objects
    }

    /// Objects that an earlier one of another file has the name of: the index keeps the last.
    private static func repeated(_ objects: [MeshObject]) -> [MeshFinding] {
        var first: [ObjectKey: MeshObject] = [:]
        return objects.compactMap { object in
            guard let other = first[object.key] else {
                first[object.key] = object
                return nil
            }
            let place = "\(other.source.file ?? "another file"):\(other.source.line)"
            return object.finding(
                .error, .duplicateObject, at: "", "there is another one at \(place)", mend: "remove or rename one")
        }
    }

    private func tell(_ findings: [MeshFinding], _ objects: Int) {
        for finding in findings { Terminal.output.line("\(finding.severity.rawValue): \(finding)") }
        let errors = findings.count { $0.severity == .error }
        func count(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }
        Terminal.errors.line(
            "\(count(objects, "object")), \(count(errors, "error")), \(count(findings.count - errors, "warning"))")
    }

    private struct Printed: Encodable {
        var severity: String
        var kind: String
        var object: String?
        var file: String?
        var line: Int?
        var column: Int?
        var path: String
        var problem: String
        var mend: String
    }

    private func print(_ findings: [MeshFinding]) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        let printed = findings.map {
            Printed(
                severity: $0.severity.rawValue, kind: $0.kind.rawValue, object: $0.object.map { "\($0)" },
                file: $0.file, line: $0.position?.line, column: $0.position?.column, path: $0.path,
                problem: $0.words, mend: $0.mend)
        }
        Terminal.output.line(String(decoding: try encoder.encode(printed), as: UTF8.self))
    }
}
