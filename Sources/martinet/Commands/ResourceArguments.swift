import ControlPlane
import Foundation
import XDS

/// The resources that a user names by files, directories or `-`.
struct ResourceArguments {
    /// By scope and then in the order in which they were given.
    private(set) var resources: [Entry] = []
    /// How many files were read.
    private(set) var fileCount = 0

    struct Entry {
        var scope: Scope
        var key: ResourceReference
        /// As the control service takes it.
        var packed: ApplyRequest.PackedResource
    }

    /// Reads all of them.
    /// - Parameters:
    ///   - scope: for what a directory's folders say nothing about; with a scope, they must say nothing.
    /// - Throws: a ``CommandProblem`` with everything that is wrong in the files.
    init(_ paths: [String], scope: Scope) throws {
        var problems: [String] = []
        for path in paths {
            for (file, fileScope) in try Self.files(at: path, scope) {
                do throws(ResourceProblems) {
                    let parsed = try ParsedFile(
                        try Self.bytes(of: file), path: file == "-" ? "stdin" : file, scope: fileScope)
                    resources += parsed.resources.map { Entry(scope: fileScope, key: $0.key, packed: $0.packed) }
                    fileCount += 1
                } catch {
                    problems += error.problems.map(\.description)
                }
            }
        }
        guard problems.isEmpty else {
            throw CommandProblem(lines: problems, hint: "nothing was changed; mend what is named above")
        }
    }

    /// The files of one argument, each with its scope.
    private static func files(at argument: String, _ scope: Scope) throws -> [(String, Scope)] {
        try InputFiles(at: argument).entries.map { ($0.path, try folderScope($0.folders, $0.path, scope)) }
    }

    private static func folderScope(_ folders: [String], _ entry: String, _ scope: Scope) throws -> Scope {
        let meant = folders.filter { $0.hasPrefix("node-cluster=") || $0.hasPrefix("node-id=") }
        guard let first = meant.first else { return scope }
        guard scope == .all else {
            throw CommandProblem(
                "\(entry) is in a folder for \(first), and --scope says \(scope)",
                hint: "leave out --scope, or name the folder itself after -f")
        }
        guard meant.count == 1, let found = Scope(text: first) else {
            throw CommandProblem("\(entry): its folders are no scope", hint: Scope.mend)
        }
        return found
    }

    /// Whether a word names a type of raw resources.
    static func isType(_ word: String) -> Bool { ResourceType(written: word) != nil }

    /// For help.
    static let typeList = ResourceType.writtenList

    private static func bytes(of path: String) throws(ResourceProblems) -> [UInt8] {
        do {
            return try InputFiles.bytes(of: path)
        } catch {
            throw ResourceProblems([
                ResourceProblem(file: path, "cannot be read", mend: "give this user read permission on it")
            ])
        }
    }

    /// By scope; each with what the control service takes.
    var requests: [(scope: Scope, resources: [ApplyRequest.PackedResource])] {
        byScope.map { ($0.scope, $0.entries.map(\.packed)) }
    }

    /// The entries of each scope, in order.
    var byScope: [(scope: Scope, entries: [Entry])] {
        Dictionary(grouping: resources) { $0.scope }.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }
}

extension ResourceType {
    /// Reads what people write: `cds`, `cluster`, `clusters`, `envoy.config.cluster.v3.Cluster`, or the type URL.
    init?(written text: String) {
        if let type = ResourceType(shortName: text) ?? ResourceType(typeURL: text)
            ?? ResourceType(typeURL: "type.googleapis.com/" + text)
        {
            self = type
            return
        }
        let bare = text.lowercased().filter { $0 != "-" && $0 != "_" }
        guard let found = Self.writtenNames.first(where: { $0.names.contains(bare) }) else { return nil }
        self = found.type
    }

    /// The names that people use, the plural first.
    static let writtenNames: [(type: ResourceType, names: [String])] = [
        (.listener, ["listeners", "listener"]), (.route, ["routes", "route", "routeconfiguration"]),
        (.scopedRoute, ["scopedroutes", "scopedroute", "scopedrouteconfiguration"]),
        (.virtualHost, ["virtualhosts", "virtualhost"]), (.cluster, ["clusters", "cluster"]),
        (.endpoints, ["endpoints", "endpoint", "clusterloadassignment"]), (.secret, ["secrets", "secret"]),
        (.runtime, ["runtimes", "runtime"]),
        (.extensionConfig, ["extensionconfigs", "extensionconfig", "typedextensionconfig"]),
    ]

    /// For help and errors.
    static let writtenList =
        "listeners (LDS), routes (RDS), scopedroutes (SRDS), virtualhosts (VHDS), clusters (CDS), endpoints (EDS), "
        + "secrets (SDS), runtimes (RTDS), extensionconfigs (ECDS)"

    static func parse(_ text: String) throws -> ResourceType {
        guard let type = ResourceType(written: text) else {
            throw CommandProblem("`\(text)` is no type of resource", hint: "write one of \(writtenList)")
        }
        return type
    }

    /// `CDS`, or the type URL of a type that this program does not know.
    static func shortName(ofURL url: String) -> String { ResourceType(typeURL: url)?.shortName ?? url }
}

extension Scope {
    static func parse(_ text: String) throws -> Scope {
        guard let scope = Scope(text: text == "all" ? "" : text) else {
            throw CommandProblem("`\(text)` is no scope", hint: "write all, node-cluster=NAME, or node-id=ID")
        }
        return scope
    }
}
