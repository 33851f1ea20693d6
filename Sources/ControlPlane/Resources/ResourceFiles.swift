import Glibc
import XDS

/// Reads the directory of resources, and reads again what changed. It keeps what each file said when it was last read
/// without an error only until that is taken: the catalog holds the last good state.
struct ResourceFiles {
    let root: String
    let limits: ResourceLimits
    var tree = FileTree()

    /// What came out of one look.
    struct Outcome {
        /// Read anew, without an error in themselves.
        var parsed: [ParsedFile] = []
        /// Gone.
        var removed: [String] = []
        /// Read, or not readable, with an error: what was read before of them is not what they are any more.
        var broken: [String] = []
        /// Told once each: files that are not looked at.
        var warnings: [ResourceProblem] = []
    }

    private struct KnownFile {
        var signature: FileSignature?
        var problems: [ResourceProblem] = []
    }

    private var known: [String: KnownFile] = [:]
    private var directoryProblems: [String: ResourceProblem] = [:]
    private var warned: Set<String> = []
    /// How many files were read and parsed: what the tests count.
    private(set) var readCount = 0

    init(root: String, limits: ResourceLimits) {
        var root = root[...]
        while root.count > 1 && root.hasSuffix("/") { root.removeLast() }
        self.root = String(root)
        self.limits = limits
    }

    /// By path and place. They are gone when they are mended.
    var problems: [ResourceProblem] {
        let files = known.sorted { $0.key < $1.key }.flatMap(\.value.problems)
        return directoryProblems.sorted { $0.key < $1.key }.map(\.value) + files
    }

    /// Notes a directory that cannot be watched.
    mutating func noteUnwatched(_ path: String, _ problem: ResourceProblem) {
        directoryProblems[path] = problem
    }

    /// What keeps the directory itself from being read.
    var rootProblem: ResourceProblem? {
        var status = stat()
        guard stat(root, &status) == 0 else {
            return errno == ENOENT
                ? ResourceProblem(file: root, "the directory is not there", mend: "create it again")
                : Self.unreadable(root, errno: errno)
        }
        if status.st_mode & S_IFMT == S_IFDIR { return nil }
        return ResourceProblem(file: root, "is no directory", mend: "put a directory there")
    }

    // MARK: Looking

    /// Looks at everything: for the start, and after changes were missed.
    mutating func scan() -> Outcome {
        var outcome = Outcome()
        if let problem = rootProblem {
            directoryProblems = [root: problem]
            return outcome
        }
        directoryProblems = [:]
        var seen: Set<String> = []
        lookAt(directory: root, &outcome, &seen)
        for path in known.keys.sorted() where !seen.contains(path) && !isBelowUnreadable(path) {
            known[path] = nil
            outcome.removed.append(path)
        }
        return outcome
    }

    /// Looks at some paths: files or directories that came, changed or went.
    mutating func look(at paths: some Sequence<String>) -> Outcome {
        var outcome = Outcome()
        var seen: Set<String> = []
        for path in Set(paths).sorted() where !seen.contains(path) {
            guard path == root || path.hasPrefix(root + "/"), !isInsideHidden(path) else { continue }
            directoryProblems[path] = nil
            look(at: path, &outcome, &seen)
            forgetMissing(below: path, &outcome, seen)
        }
        return outcome
    }

    /// What was below a path and is not any more.
    private mutating func forgetMissing(below path: String, _ outcome: inout Outcome, _ seen: Set<String>) {
        for problem in directoryProblems.keys where problem.hasPrefix(path + "/") {
            if case .nothing = tree.kind(of: problem) { directoryProblems[problem] = nil }
        }
        let gone = known.keys.filter { ($0 == path || $0.hasPrefix(path + "/")) && !seen.contains($0) }
        for file in gone.sorted() {
            // A directory that cannot be listed tells nothing about what is in it.
            switch tree.kind(of: file) {
            case .nothing, .directory, .directoryLink:
                known[file] = nil
                outcome.removed.append(file)
            case .file, .other, .unreadable: break
            }
        }
    }

    private func isBelowUnreadable(_ path: String) -> Bool {
        directoryProblems.keys.contains { path.hasPrefix($0 + "/") || $0 == root && path != root }
            && !isGone(path)
    }

    private func isGone(_ path: String) -> Bool {
        if case .nothing = tree.kind(of: path) { true } else { false }
    }

    private func isInsideHidden(_ path: String) -> Bool {
        path.dropFirst(root.count).split(separator: "/").dropLast().contains { $0.hasPrefix(".") }
    }

    private mutating func lookAt(directory: String, _ outcome: inout Outcome, _ seen: inout Set<String>) {
        switch tree.names(in: directory) {
        case .success(let names):
            for name in names where !name.hasPrefix(".") { look(at: directory + "/" + name, &outcome, &seen) }
        case .failure(.gone): break
        case .failure(.unreadable(let number)):
            directoryProblems[directory] = Self.unreadable(directory, errno: number)
        case .failure(.tooLarge), .failure(.restless): preconditionFailure("a directory is not read whole")
        }
    }

    private mutating func look(at path: String, _ outcome: inout Outcome, _ seen: inout Set<String>) {
        let name = String(path[(path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex)...])
        let kind = tree.kind(of: path)
        if path != root, FileRole(name: name) == .passedOver { return }
        switch kind {
        case .nothing: break
        case .directory: lookAt(directory: path, &outcome, &seen)
        case .directoryLink:
            warn(path, "a symbolic link to a directory is not followed", "link the files in it", &outcome)
        case .other, .file, .unreadable:
            guard FileRole(name: name) == .resources else {
                if case .file = kind {
                    warn(path, "is no file of resources", "name it .yaml, .yml or .json, or move it away", &outcome)
                }
                return
            }
            seen.insert(path)
            guard known[path] != nil || known.count < limits.files else {
                directoryProblems[root] = ResourceProblem(
                    file: root, "more than \(limits.files) files", mend: "put several resources into each")
                return
            }
            lookAt(file: path, kind, &outcome)
        }
    }

    private mutating func lookAt(file path: String, _ kind: FileKind, _ outcome: inout Outcome) {
        switch kind {
        case .file(let signature):
            let old = known[path]
            if let old, old.signature == signature, signature.isSettled(by: FileTree.clock()) { return }
            read(path, &outcome)
        case .unreadable(let number):
            refuse(path, [Self.unreadable(path, errno: number)], &outcome)
        case .other:
            let problem = ResourceProblem(
                file: path, "is a pipe, a socket or a device", mend: "put a regular file there")
            refuse(path, [problem], &outcome)
        case .nothing, .directory, .directoryLink: preconditionFailure("no file")
        }
    }

    private mutating func read(_ path: String, _ outcome: inout Outcome) {
        readCount += 1
        do throws(FileReadError) {
            let (bytes, signature) = try tree.read(path, limit: limits.fileBytes)
            do throws(ResourceProblems) {
                let scope = try self.scope(of: path)
                outcome.parsed.append(try ParsedFile(bytes, path: path, scope: scope, limits: limits))
                known[path] = KnownFile(signature: signature)
            } catch {
                refuse(path, error.problems, &outcome, signature)
            }
        } catch {
            switch error {
            case .gone:
                if known.removeValue(forKey: path) != nil { outcome.removed.append(path) }
            case .unreadable(let number):
                refuse(path, [Self.unreadable(path, errno: number)], &outcome)
            case .tooLarge(let bytes):
                let words = "the file has \(bytes) bytes, \(limits.fileBytes) are allowed"
                refuse(path, [ResourceProblem(file: path, words, mend: "split it into several")], &outcome)
            case .restless:
                let words = "the file changes each time that it is read"
                let mend = "write another file and move it into place"
                refuse(path, [ResourceProblem(file: path, words, mend: mend)], &outcome)
            }
        }
    }

    private mutating func refuse(
        _ path: String, _ problems: [ResourceProblem], _ outcome: inout Outcome, _ signature: FileSignature? = nil
    ) {
        known[path] = KnownFile(signature: signature, problems: problems)
        outcome.broken.append(path)
    }

    /// The scope that the folders of a path say.
    private func scope(of path: String) throws(ResourceProblems) -> Scope {
        var scope = Scope.all
        for folder in path.dropFirst(root.count + 1).split(separator: "/").dropLast() where Scope.isMeant(by: folder) {
            guard scope == .all else {
                throw ResourceProblems([
                    ResourceProblem(
                        file: path, "the folder \(folder) is inside of \(scope)",
                        mend: "put it beside that one: a proxy in both sees the resources of both")
                ])
            }
            guard let said = Scope(text: String(folder)) else {
                throw ResourceProblems([
                    ResourceProblem(
                        file: path, "the folder \(folder) names no scope",
                        mend: "name it node-cluster=NAME or node-id=ID")
                ])
            }
            scope = said
        }
        return scope
    }

    private mutating func warn(_ path: String, _ words: String, _ mend: String, _ outcome: inout Outcome) {
        guard warned.count < limits.files, warned.insert(path).inserted else { return }
        outcome.warnings.append(ResourceProblem(file: path, words, mend: mend))
    }

    static func unreadable(_ path: String, errno number: Int32) -> ResourceProblem {
        let mend =
            switch number {
            case EACCES, EPERM: "let this user read it"
            case ENOENT: "mend the symbolic link, or remove it"
            case ELOOP: "mend the symbolic link: it leads to itself"
            case EMFILE, ENFILE: "raise the limit of open files"
            default: "make it readable"
            }
        return ResourceProblem(file: path, "cannot be read: \(FileTree.words(for: number))", mend: mend)
    }
}
