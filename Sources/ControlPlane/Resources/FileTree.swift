import Glibc

/// What tells whether a file is still the one that was read.
struct FileSignature: Hashable, Sendable {
    var device: UInt64
    var inode: UInt64
    var size: Int64
    /// Nanoseconds since 1970.
    var modified: Int64
    /// Of the content or the mode; nanoseconds since 1970.
    var changed: Int64

    init(_ status: stat) {
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        size = Int64(status.st_size)
        modified = Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec)
        changed = Int64(status.st_ctim.tv_sec) * 1_000_000_000 + Int64(status.st_ctim.tv_nsec)
    }

    /// File systems keep time in steps of some milliseconds: within the same step, a second change may look like none.
    func isSettled(by now: Int64) -> Bool { now - max(changed, modified) > 100_000_000 }
}

/// What is at a path.
enum FileKind {
    case file(FileSignature)
    case directory
    case nothing
    /// A socket, a pipe, a device.
    case other
    /// A symbolic link to a directory: it is not followed.
    case directoryLink
    case unreadable(errno: Int32)
}

/// Why a file was not read.
enum FileReadError: Error {
    case gone
    case unreadable(errno: Int32)
    case tooLarge(bytes: Int64)
    /// It changed each time that it was read.
    case restless
}

/// The directory as the operating system has it.
struct FileTree {
    /// Called between the opening of a file and its last look, in tests.
    var opened: (String) -> Void = { _ in }
    static let attempts = 5

    func kind(of path: String) -> FileKind {
        var status = stat()
        guard lstat(path, &status) == 0 else {
            return errno == ENOENT || errno == ENOTDIR ? .nothing : .unreadable(errno: errno)
        }
        let isLink = status.st_mode & S_IFMT == S_IFLNK
        if isLink, stat(path, &status) != 0 { return .unreadable(errno: errno) }
        switch status.st_mode & S_IFMT {
        case S_IFREG: return .file(FileSignature(status))
        case S_IFDIR: return isLink ? .directoryLink : .directory
        default: return .other
        }
    }

    /// The names in a directory, in order.
    func names(in directory: String) -> Result<[String], FileReadError> {
        guard let listing = opendir(directory) else {
            return .failure(errno == ENOENT || errno == ENOTDIR ? .gone : .unreadable(errno: errno))
        }
        defer { closedir(listing) }
        var names: [String] = []
        errno = 0
        while let entry = readdir(listing) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
            errno = 0
        }
        if errno != 0 { return .failure(.unreadable(errno: errno)) }
        return .success(names.sorted())
    }

    /// Reads a regular file whole. One that is replaced or written meanwhile is read again.
    func read(_ path: String, limit: Int) throws(FileReadError) -> (bytes: [UInt8], signature: FileSignature) {
        for _ in 0..<Self.attempts {
            // O_NONBLOCK: a pipe that took the file's place must not hold us.
            let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
            guard descriptor >= 0 else {
                throw errno == ENOENT || errno == ENOTDIR ? FileReadError.gone : .unreadable(errno: errno)
            }
            defer { close(descriptor) }
            var before = stat()
            guard fstat(descriptor, &before) == 0 else { throw .unreadable(errno: errno) }
            guard before.st_mode & S_IFMT == S_IFREG else { throw .unreadable(errno: EINVAL) }
            guard before.st_size <= limit else { throw .tooLarge(bytes: Int64(before.st_size)) }
            let bytes = try bytes(of: descriptor, expecting: Int(before.st_size), limit: limit)
            opened(path)
            // By the path: it may lead to another file by now.
            var after = stat()
            guard stat(path, &after) == 0 else {
                if errno == ENOENT { throw .gone }
                throw .unreadable(errno: errno)
            }
            let signature = FileSignature(before)
            if signature == FileSignature(after) && bytes.count == signature.size { return (bytes, signature) }
        }
        throw .restless
    }

    private func bytes(
        of descriptor: Int32, expecting count: Int, limit: Int
    ) throws(FileReadError) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        var chunk = [UInt8](repeating: 0, count: min(max(count + 1, 4096), 1 << 20))
        while true {
            let got = Glibc.read(descriptor, &chunk, chunk.count)
            if got < 0 {
                if errno == EINTR { continue }
                throw .unreadable(errno: errno)
            }
            if got == 0 { return bytes }
            bytes += chunk[..<got]
            guard bytes.count <= limit else { throw .tooLarge(bytes: Int64(bytes.count)) }
        }
    }

    /// UTC, for ``FileSignature/isSettled(by:)`` alone.
    static func clock() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    static func words(for number: Int32) -> String {
        guard let text = strerror(number) else { return "error \(number)" }
        return String(cString: text)
    }
}

/// What a name in the directory is for.
enum FileRole: Equatable {
    /// `.yaml`, `.yml`, `.json`
    case resources
    /// Hidden, or what editors leave behind: nobody needs to hear of it.
    case passedOver
    case unknownEnding

    init(name: String) {
        let isHidden = name.hasPrefix(".") || name.hasSuffix("~") || (name.hasPrefix("#") && name.hasSuffix("#"))
        let ending = name.lastIndex(of: ".").map { String(name[name.index(after: $0)...]).lowercased() }
        if isHidden || name == "4913" || name.hasPrefix("___jb_") {
            self = .passedOver
            return
        }
        switch ending {
        case "yaml", "yml", "json": self = .resources
        case "swp", "swo", "swx", "tmp", "temp", "bak", "part", "orig": self = .passedOver
        case .some, .none: self = .unknownEnding
        }
    }
}
