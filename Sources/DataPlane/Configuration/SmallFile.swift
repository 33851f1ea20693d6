import Glibc

/// Files that are read and written as a whole.
enum SmallFile {
    /// Why a file is not read, in words.
    struct Unreadable: Error, Hashable {
        var reason: String
    }

    /// Reads a regular file whole. Nothing else is read: a pipe that nobody writes to would hold up the caller, who has
    /// a control loop to run.
    /// - Throws: also for one that is longer than `limit` bytes.
    static func read(_ path: String, limit: Int) throws(Unreadable) -> [UInt8] {
        func unreadable() -> Unreadable { Unreadable(reason: String(cString: strerror(errno))) }
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw unreadable() }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw unreadable() }
        guard status.st_mode & S_IFMT == S_IFREG else { throw Unreadable(reason: "it is no regular file") }
        var bytes: [UInt8] = []
        while true {
            var count = 0
            let chunk = [UInt8](unsafeUninitializedCapacity: 64 << 10) { buffer, filled in
                repeat {
                    count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
                } while count < 0 && errno == EINTR
                filled = max(0, count)
            }
            guard count >= 0 else { throw unreadable() }
            if chunk.isEmpty { return bytes }
            bytes += chunk
            guard bytes.count <= limit else { throw Unreadable(reason: "it is longer than \(limit) bytes") }
        }
    }

    /// Puts `bytes` in the place of a file in one step, readable by its owner alone.
    /// - Returns: whether it is done; `errno` says why not.
    static func replace(_ path: String, with bytes: [UInt8]) -> Bool {
        let beside = path + ".new"
        unlink(beside)
        let descriptor = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return false }
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress! + done, bytes.count - done) }
            guard count > 0 else { break }
            done += count
        }
        let isWhole = done == bytes.count && fsync(descriptor) == 0
        close(descriptor)
        guard isWhole, rename(beside, path) == 0 else {
            unlink(beside)
            return false
        }
        return true
    }
}
