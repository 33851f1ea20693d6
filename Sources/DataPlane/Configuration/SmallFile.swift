import Glibc

/// Files that are read and written as a whole.
enum SmallFile {
    /// - Returns: nil if it cannot be read, or is longer than `limit` bytes; `errno` says why.
    static func read(_ path: String, limit: Int) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        while true {
            let chunk = [UInt8](unsafeUninitializedCapacity: 64 << 10) { buffer, count in
                count = max(0, Glibc.read(descriptor, buffer.baseAddress, buffer.count))
            }
            if chunk.isEmpty { return bytes }
            bytes += chunk
            guard bytes.count <= limit else {
                errno = EFBIG
                return nil
            }
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
