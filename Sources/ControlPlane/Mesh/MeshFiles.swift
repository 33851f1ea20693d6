import Documents
import Glibc
import Logging
import Mesh
import Reactor

/// A directory of objects: reads it whole, and only those files again that have changed.
struct MeshFiles {
    let root: String
    private let tree = FileTree()
    private var read: [String: (signature: FileSignature, objects: [MeshObject])] = [:]
    /// How many files were read and parsed: what the tests count.
    private(set) var readCount = 0
    static let fileLimit = 50_000

    init(root: String) {
        var root = root[...]
        while root.count > 1 && root.hasSuffix("/") { root.removeLast() }
        self.root = String(root)
    }

    /// What keeps the directory itself from being read.
    var rootProblem: ResourceProblem? {
        switch tree.kind(of: root) {
        case .directory, .directoryLink: nil
        case .nothing: ResourceProblem(file: root, "the directory is not there", mend: "create it")
        case .file, .other: ResourceProblem(file: root, "is no directory", mend: "put a directory there")
        case .unreadable(let number): ResourceFiles.unreadable(root, errno: number)
        }
    }

    /// Reads all files.
    /// - Returns: every object, by the paths of their files; or everything that is wrong, in words.
    mutating func scan() -> Result<[MeshObject], ScanErrors> {
        var errors: [String] = []
        if let problem = rootProblem { return .failure(ScanErrors(words: ["\(problem)"])) }
        var paths: [String] = []
        collect(root, &paths, &errors)
        if paths.count > Self.fileLimit { errors.append("\(root): more than \(Self.fileLimit) files") }
        var objects: [MeshObject] = []
        var next: [String: (signature: FileSignature, objects: [MeshObject])] = [:]
        for path in paths.prefix(Self.fileLimit) {
            guard let entry = look(at: path, &errors) else { continue }
            next[path] = entry
            objects += entry.objects
        }
        read = next
        for finding in MeshState.repeated(objects) { errors.append("\(finding)") }
        return errors.isEmpty ? .success(objects) : .failure(ScanErrors(words: errors))
    }

    struct ScanErrors: Error {
        var words: [String]
    }

    private func collect(_ directory: String, _ paths: inout [String], _ errors: inout [String]) {
        switch tree.names(in: directory) {
        case .failure(.unreadable(let number)): errors.append("\(ResourceFiles.unreadable(directory, errno: number))")
        case .failure: break
        case .success(let names):
            for name in names where !name.hasPrefix(".") {
                let path = directory + "/" + name
                switch tree.kind(of: path) {
                case .directory: collect(path, &paths, &errors)
                case .file where FileRole(name: name) == .resources: paths.append(path)
                case .unreadable(let number) where FileRole(name: name) == .resources:
                    errors.append("\(ResourceFiles.unreadable(path, errno: number))")
                case .file, .unreadable, .nothing, .other, .directoryLink: break
                }
            }
        }
    }

    /// - Returns: nil for a file that is gone, or is wrong.
    private mutating func look(
        at path: String, _ errors: inout [String]
    ) -> (signature: FileSignature, objects: [MeshObject])? {
        if let known = read[path], case .file(let signature) = tree.kind(of: path), signature == known.signature,
            signature.isSettled(by: FileTree.clock())
        {
            return known
        }
        readCount += 1
        do throws(FileReadError) {
            let (bytes, signature) = try tree.read(path, limit: TextLimits.standard.bytes)
            do throws(ObjectErrors) {
                return (signature, try ObjectText(bytes, file: path).objectsOfTheirOwn)
            } catch {
                errors += error.findings.map(\.description)
                if error.omitted > 0 { errors.append("\(path): and \(error.omitted) more") }
                return nil
            }
        } catch {
            switch error {
            case .gone: break
            case .unreadable(let number): errors.append("\(ResourceFiles.unreadable(path, errno: number))")
            case .tooLarge(let bytes):
                errors.append("\(path): has \(bytes) bytes, \(TextLimits.standard.bytes) are allowed; split it")
            case .restless: errors.append("\(path): changes each time that it is read; move it into place instead")
            }
            return nil
        }
    }
}

extension MeshSource {
    /// Who the revisions of a directory are by.
    public static let directoryAuthor = "directory"

    /// Reads the whole directory again: upon SIGHUP.
    public func rescan() {
        if files != nil { scan() }
    }

    /// Reads the directory, and takes all of it, or none if anything is wrong: then what was in force stays.
    func scan() {
        debounce.finish()
        if let timer = clock?.timer { clock?.cancel(timer) }
        clock?.timer = nil
        let before = Set(scanErrors)
        scanErrors = takeDirectory()
        for error in scanErrors.prefix(100) where !before.contains(error) { logger.error("\(error)") }
        if !before.isEmpty && scanErrors.isEmpty { logger.info("the directory is in force again") }
    }

    private func takeDirectory() -> [String] {
        guard let found = files?.scan(), let root = files?.root else { return [] }
        var request = MeshRequest()
        switch found {
        case .failure(let errors): return errors.words
        case .success(let objects): request.objects = objects
        }
        (request.prunes, request.author, request.message) = (true, Self.directoryAuthor, root)
        do throws(MeshRequestError) {
            let (plan, _) = try perform(request)
            if !plan.isEmpty { for finding in plan.findings.prefix(100) { logger.warning("\(finding)") } }
            return []
        } catch .refused(let errors) {
            return errors.findings.map(\.description) + (errors.omitted > 0 ? ["and \(errors.omitted) more"] : [])
        } catch {
            return ["\(root): \(error); \(error.hint)"]
        }
    }

    /// Notes what the watcher has seen.
    func note(_ changes: [DirectoryChange]) {
        for change in changes {
            switch change {
            case .changed, .removed, .rescan: break
            case .unwatched(_, let error): logger.error("\(error); \(error.hint)")
            case .rootRemoved: watchAgain()
            }
        }
        guard var clock else { return }
        if let timer = clock.timer { clock.cancel(timer) }
        let source = WeakMeshSource(self)
        clock.timer = clock.schedule(debounce.note(at: clock.now())) { source.source?.scan() }
        self.clock = clock
    }

    /// The directory is gone, and its watch with it: tries once a second to begin anew.
    private func watchAgain() {
        guard let clock else { return }
        let source = WeakMeshSource(self)
        _ = clock.schedule(clock.now().advanced(by: .seconds(1))) {
            guard let self = source.source else { return }
            do {
                try self.clock?.watch()
                self.scan()
            } catch {
                self.watchAgain()
            }
        }
    }
}
