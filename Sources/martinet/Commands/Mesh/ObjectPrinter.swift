import ControlPlane
import Documents
import EnvoyAPI
import Foundation
import Mesh
import Time

/// Objects that are in force, for people.
enum ObjectPrinter {
    static func ask(_ query: ObjectQuery, _ target: ControlTarget) throws -> ObjectsReport {
        let answer = try target.call(ControlMesh.get, query.encoded())
        let report = try readAnswer { try ObjectsReport(decoding: answer) }
        for problem in report.problems {
            Terminal.errors.line(Terminal.errors.paint("warning:", .yellow) + " " + problem.printable)
        }
        return report
    }

    static func yaml(_ objects: [StandingObject]) -> String {
        objects.map { $0.yaml.hasSuffix("\n") ? $0.yaml : $0.yaml + "\n" }.joined(separator: "---\n")
    }

    /// As ``yaml(_:)``, with the `status` that this controller gives an object in place of one that was written.
    static func yamlWithStatus(_ objects: [StandingObject]) -> String {
        yaml(
            objects.map { object in
                guard !object.status.isEmpty, (try? DocumentNode.parseYAML(object.yaml).first?["status"]) == .some(nil)
                else { return object }
                var shown = object
                let lines = object.status.split(separator: "\n").map { "  " + $0 }
                shown.yaml +=
                    (shown.yaml.hasSuffix("\n") ? "" : "\n") + "status:\n" + lines.joined(separator: "\n") + "\n"
                return shown
            })
    }

    /// One object, or a List of them, as kubectl prints them, with the `status` that this controller gives.
    static func json(_ objects: [StandingObject]) throws -> String {
        let nodes = try objects.map { object -> DocumentNode in
            do throws(TextFormatError) {
                guard let node = try DocumentNode.parseYAML(yamlWithStatus([object])).first else { throw unreadable }
                return node
            } catch {
                throw unreadableAnswer(": \(error)")
            }
        }
        if nodes.count == 1, let node = nodes.first { return node.json() }
        return DocumentNode.object([
            ("apiVersion", .string("v1")), ("kind", .string("List")), ("items", .list(nodes)),
        ]).json()
    }

    private static let unreadable = TextFormatError(file: nil, position: nil, path: "", problem: .syntax("no object"))

    static func table(_ objects: [StandingObject], now: Timestamp, isWide: Bool) -> String {
        guard !objects.isEmpty else { return "there are none\n" }
        var header = ["KIND", "NAMESPACE", "NAME", "AGE", "REVISION", "WARNINGS"]
        if isWide { header += ["AUTHOR", "LABELS", "FILE"] }
        var table = TextTable(header)
        for object in objects {
            let age = object.changedAt.map { Duration.nanoseconds(now.nanoseconds - $0.nanoseconds).brief }
            var row: [TextTable.Cell] = [
                .init(object.name.kind), .init(object.name.namespace.isEmpty ? "-" : object.name.namespace),
                .init(object.name.name), .init(age ?? "-"), .init(object.revision.map(String.init) ?? "-"),
                object.findings.isEmpty ? .init("0") : .init("\(object.findings.count)", .yellow),
            ]
            if isWide {
                let labels = labels(of: object).sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
                row += [
                    .init(object.author.isEmpty ? "-" : object.author),
                    .init(labels.isEmpty ? "-" : labels.joined(separator: ",")),
                    .init(object.file.isEmpty ? "-" : object.file),
                ]
            }
            table.add(row)
        }
        return table.render(on: Terminal.output)
    }

    static func labels(of object: StandingObject) -> [String: String] {
        metadata(of: object)?.labels ?? [:]
    }

    static func metadata(of object: StandingObject) -> ObjectMetadata? {
        do throws(ObjectErrors) {
            return try ObjectText(Array(object.yaml.utf8), namespace: object.name.namespace).objects.first?.metadata
        } catch {
            return nil
        }
    }
}
