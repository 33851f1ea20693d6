import Foundation
import Synchronization

/// The files that a user means by one argument: a file, a directory with files below it, or `-`.
struct InputFiles {
    struct Entry {
        /// `-` for standard input.
        var path: String
        /// Names of the folders between the directory that was named and the file.
        var folders: [String]
    }

    /// In the order of their paths.
    let entries: [Entry]

    /// - Throws: a ``CommandProblem`` for what is not there, or holds no file with a fitting ending.
    init(at argument: String) throws(CommandProblem) {
        var isDirectory: ObjCBool = false
        guard argument != "-" else {
            entries = [Entry(path: "-", folders: [])]
            return
        }
        guard FileManager.default.fileExists(atPath: argument, isDirectory: &isDirectory) else {
            throw CommandProblem("\(argument): no such file or directory", hint: "check the path that follows -f")
        }
        guard isDirectory.boolValue else {
            entries = [Entry(path: argument, folders: [])]
            return
        }
        guard let names = FileManager.default.enumerator(atPath: argument) else {
            throw CommandProblem("\(argument): cannot be read", hint: "give this user read permission on it")
        }
        var found: [Entry] = []
        for case let name as String in names {
            guard ["yaml", "yml", "json"].contains((name as NSString).pathExtension) else { continue }
            let parts = name.split(separator: "/").map(String.init)
            // As editors and version control leave them.
            if parts.contains(where: { $0.hasPrefix(".") }) { continue }
            found.append(Entry(path: argument + "/" + name, folders: parts.dropLast()))
        }
        guard !found.isEmpty else {
            throw CommandProblem(
                "\(argument): no files that end in .yaml, .yml or .json", hint: "name a file, or another directory")
        }
        entries = found.sorted { $0.path < $1.path }
    }

    /// - Throws: the system's error.
    static func bytes(of path: String) throws -> [UInt8] {
        guard path == "-" else { return Array(try Data(contentsOf: URL(fileURLWithPath: path))) }
        return try standardInput.withLock { known in
            if let known { return known }
            let bytes = Array(try FileHandle.standardInput.readToEnd() ?? Data())
            known = bytes
            return bytes
        }
    }

    /// It can be read once, and is asked for to see what it holds and again to take it.
    private static let standardInput = Mutex<[UInt8]?>(nil)
}
