import Glibc

/// Key, chain and trust bundle as files in a directory, of which a reader sees one set or the next.
///
/// `key.pem`, `cert-chain.pem` and `root-cert.pem` are links through `..data`, which names a directory with one set;
/// a new set becomes valid by one rename of that link. Source: Kubernetes, how it updates volumes of secrets.
struct SVIDDirectory: Sendable {
    /// One set, all PEM.
    struct Contents: Equatable, Sendable {
        /// The leaf first.
        var chain: [UInt8]
        /// PKCS#8.
        var key: [UInt8]
        var bundle: [UInt8]
    }

    static let keyName = "key.pem"
    static let chainName = "cert-chain.pem"
    static let bundleName = "root-cert.pem"
    private static let dataName = "..data"

    let path: String

    /// Makes the directory if it is missing.
    init(_ path: String) throws(AgentError) {
        self.path = path
        if mkdir(path, 0o755) != 0 && errno != EEXIST { throw unwritable(path) }
        for name in [Self.keyName, Self.chainName, Self.bundleName, Self.dataName] {
            var status = stat()
            if lstat("\(path)/\(name)", &status) == 0, status.st_mode & S_IFMT != S_IFLNK {
                throw .notOurs(path: "\(path)/\(name)")
            }
        }
    }

    private func unwritable(_ place: String) -> AgentError {
        .fileUnwritable(path: place, reason: errorWords(errno))
    }

    /// What is there; nil if a file is missing.
    func read() -> Contents? {
        // Through one resolved directory: a set is never mixed with the next.
        guard let base = realpath("\(path)/\(Self.dataName)", nil) else { return nil }
        defer { free(base) }
        let directory = String(cString: base)
        guard let chain = try? readFile("\(directory)/\(Self.chainName)"),
            let key = try? readFile("\(directory)/\(Self.keyName)"),
            let bundle = try? readFile("\(directory)/\(Self.bundleName)")
        else { return nil }
        return Contents(chain: chain, key: key, bundle: bundle)
    }

    /// Puts a new set in the place of the old one, at once and durably, and removes the old one.
    /// - Throws: ``AgentError/fileUnwritable(path:reason:)``; the old set stays then.
    func write(_ contents: Contents) throws(AgentError) {
        let old = currentSet()
        let name = "..set-\(unusedNumber(after: old))"
        let set = "\(path)/\(name)"
        guard mkdir(set, 0o755) == 0 else { throw unwritable(set) }
        do throws(AgentError) {
            try writeFile("\(set)/\(Self.keyName)", contents.key, mode: 0o600)
            try writeFile("\(set)/\(Self.chainName)", contents.chain, mode: 0o644)
            try writeFile("\(set)/\(Self.bundleName)", contents.bundle, mode: 0o644)
            try synchronize(set)
            try link(to: name, as: Self.dataName)
            for file in [Self.keyName, Self.chainName, Self.bundleName] {
                try link(to: "\(Self.dataName)/\(file)", as: file)
            }
            try synchronize(path)
        } catch {
            if currentSet() != name { remove(set) }
            throw error
        }
        removeSets(but: name)
    }

    /// The directory of the set in force.
    private func currentSet() -> String? {
        var buffer = [CChar](repeating: 0, count: 256)
        let count = readlink("\(path)/\(Self.dataName)", &buffer, buffer.count)
        return count > 0 ? String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self) : nil
    }

    private func unusedNumber(after current: String?) -> Int {
        var number = current.flatMap { Int($0.drop { !$0.isNumber }) } ?? 0
        var status = stat()
        repeat { number += 1 } while lstat("\(path)/..set-\(number)", &status) == 0
        return number
    }

    private func link(to target: String, as name: String) throws(AgentError) {
        let (place, temporary) = ("\(path)/\(name)", "\(path)/..new-\(name)")
        unlink(temporary)
        guard symlink(target, temporary) == 0, rename(temporary, place) == 0 else { throw unwritable(place) }
    }

    private func writeFile(_ place: String, _ bytes: [UInt8], mode: mode_t) throws(AgentError) {
        let descriptor = open(place, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw unwritable(place) }
        defer { close(descriptor) }
        // The umask may have taken away what others need to read.
        guard fchmod(descriptor, mode) == 0 else { throw unwritable(place) }
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + written, $0.count - written) }
            guard count > 0 else { throw unwritable(place) }
            written += count
        }
        guard fsync(descriptor) == 0 else { throw unwritable(place) }
    }

    private func synchronize(_ directory: String) throws(AgentError) {
        let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw unwritable(directory) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw unwritable(directory) }
    }

    /// Old sets, and those that a crash has left behind: nobody needs their keys.
    private func removeSets(but current: String) {
        guard let directory = opendir(path) else { return }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name.hasPrefix("..set-"), name != current { names.append(name) }
        }
        for name in names { remove("\(path)/\(name)") }
    }

    private func remove(_ set: String) {
        for name in [Self.keyName, Self.chainName, Self.bundleName] { unlink("\(set)/\(name)") }
        rmdir(set)
    }
}

/// A whole file.
/// - Parameter limit: bytes that it may have.
func readFile(_ path: String, limit: Int = 1 << 20) throws(AgentError) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .fileUnreadable(path: path, reason: errorWords(errno)) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16 << 10)
    while true {
        let count = read(descriptor, &chunk, chunk.count)
        guard count >= 0 else { throw .fileUnreadable(path: path, reason: errorWords(errno)) }
        if count == 0 { return bytes }
        bytes += chunk[..<count]
        guard bytes.count <= limit else {
            throw .fileUnreadable(path: path, reason: "it has more than \(limit) bytes")
        }
    }
}
