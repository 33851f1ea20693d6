import Glibc
import Reactor

/// The authority's files below the data directory: `ca/ID.key`, one for each private key, and `ca/root-cert.pem`, the
/// trust bundle for clients on this machine to start with.
///
/// A file is written whole or not at all: into another one, which is synchronised with the disk, renamed, and the
/// directory synchronised too. What a call has written when it returns is there after `kill -9` and a torn write.
struct AuthorityFiles: Sendable {
    /// `DATA/ca`.
    let directory: String

    /// Bytes of the largest file that is read: keys and bundles are far smaller.
    static let largestFile = 1 << 20

    /// Makes the directory where it is missing, for this user alone.
    init(dataDirectory: String) throws(AuthorityFileError) {
        directory = dataDirectory + "/ca"
        guard mkdir(directory, 0o700) == 0 || errno == EEXIST else {
            throw .cannotWrite(directory, SystemError(call: "mkdir", number: errno))
        }
    }

    var bundlePath: String { directory + "/root-cert.pem" }

    /// Where the key of an authority, or another secret with a name of its own, is.
    func keyPath(_ name: String) -> String { "\(directory)/\(name).key" }

    /// Writes a secret, readable for this user alone.
    /// - Parameter name: hexadecimal digits, letters, hyphens: what we make ourselves.
    func writeKey(_ name: String, _ bytes: [UInt8]) throws(AuthorityFileError) {
        precondition(Self.isName(name), "a name that is no file's name")
        try write(bytes, to: keyPath(name), mode: 0o600)
    }

    /// - Throws: `.missing`, `.tooOpen` and `.foreignOwner` for a file that others could have read or written.
    func readKey(_ name: String) throws(AuthorityFileError) -> [UInt8] {
        precondition(Self.isName(name), "a name that is no file's name")
        return try Self.read(secret: keyPath(name))
    }

    /// Destroys a key. That there is none is no error: a crash may have come between this and its record.
    func removeKey(_ name: String) throws(AuthorityFileError) {
        precondition(Self.isName(name), "a name that is no file's name")
        let path = keyPath(name)
        guard unlink(path) == 0 || errno == ENOENT else {
            throw .cannotWrite(path, SystemError(call: "unlink", number: errno))
        }
        try synchroniseDirectory()
    }

    /// The names of the keys that are there, sorted.
    func keyNames() throws(AuthorityFileError) -> [String] {
        guard let entries = opendir(directory) else {
            throw .cannotRead(directory, SystemError(call: "opendir", number: errno))
        }
        defer { closedir(entries) }
        var names: [String] = []
        while let entry = readdir(entries) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name.hasSuffix(".key") { names.append(String(name.dropLast(4))) }
        }
        return names.sorted()
    }

    /// Puts the trust bundle where clients on this machine may read it.
    func publishBundle(_ pem: [UInt8]) throws(AuthorityFileError) {
        try write(pem, to: bundlePath, mode: 0o644)
    }

    /// Reads a file that is to be secret.
    static func read(secret path: String) throws(AuthorityFileError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            throw errno == ENOENT ? .missing(path) : .cannotRead(path, SystemError(call: "open", number: errno))
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw .cannotRead(path, SystemError(call: "fstat", number: errno))
        }
        guard status.st_mode & S_IFMT == S_IFREG else { throw .notAFile(path) }
        guard status.st_mode & 0o077 == 0 else { throw .tooOpen(path, mode: status.st_mode & 0o7777) }
        guard status.st_uid == geteuid() || status.st_uid == 0 else {
            throw .foreignOwner(path, user: status.st_uid)
        }
        guard status.st_size <= largestFile else { throw .tooLarge(path, bytes: Int(status.st_size)) }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        var filled = 0
        while filled < bytes.count {
            let count = bytes.withUnsafeMutableBytes {
                Glibc.read(descriptor, $0.baseAddress! + filled, $0.count - filled)
            }
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw .cannotRead(path, SystemError(call: "read", number: errno)) }
            if count == 0 { break }
            filled += count
        }
        return Array(bytes[..<filled])
    }

    /// The first line of a file that holds a passphrase, without its end.
    static func passphrase(in path: String) throws(AuthorityFileError) -> [UInt8] {
        let line = Array(try read(secret: path).prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") })
        guard !line.isEmpty else { throw .emptyPassphrase(path) }
        return line
    }

    private static func isName(_ name: String) -> Bool {
        !name.isEmpty
            && name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                    UInt8(ascii: "-"):
                    true
                default: false
                }
            }
    }

    private func write(_ bytes: [UInt8], to path: String, mode: mode_t) throws(AuthorityFileError) {
        let unfinished = path + ".new"
        _ = unlink(unfinished)
        let descriptor = open(unfinished, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw .cannotWrite(unfinished, SystemError(call: "open", number: errno)) }
        do throws(AuthorityFileError) {
            defer { close(descriptor) }
            // The mask may have taken bits that the file is to have.
            guard fchmod(descriptor, mode) == 0 else {
                throw .cannotWrite(unfinished, SystemError(call: "fchmod", number: errno))
            }
            var rest = bytes[...]
            while !rest.isEmpty {
                let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
                if count < 0 && errno == EINTR { continue }
                guard count > 0 else {
                    throw .cannotWrite(unfinished, SystemError(call: "write", number: errno))
                }
                rest = rest.dropFirst(count)
            }
            guard fsync(descriptor) == 0 else {
                throw .cannotWrite(unfinished, SystemError(call: "fsync", number: errno))
            }
        } catch {
            _ = unlink(unfinished)
            throw error
        }
        guard rename(unfinished, path) == 0 else {
            let number = errno
            _ = unlink(unfinished)
            throw .cannotWrite(path, SystemError(call: "rename", number: number))
        }
        try synchroniseDirectory()
    }

    private func synchroniseDirectory() throws(AuthorityFileError) {
        let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .cannotWrite(directory, SystemError(call: "open", number: errno)) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else {
            throw .cannotWrite(directory, SystemError(call: "fsync", number: errno))
        }
    }
}

/// Why a file of the authority cannot be used. Nothing is half written.
enum AuthorityFileError: Error, Hashable, Sendable, CustomStringConvertible {
    case missing(String)
    case cannotRead(String, SystemError)
    case cannotWrite(String, SystemError)
    case notAFile(String)
    case tooLarge(String, bytes: Int)
    /// Permission bits.
    case tooOpen(String, mode: UInt32)
    case foreignOwner(String, user: UInt32)
    case emptyPassphrase(String)

    var description: String {
        switch self {
        case .missing(let path): "\(path) is missing"
        case .cannotRead(let path, let error): "cannot read \(path): \(error)"
        case .cannotWrite(let path, let error): "cannot write \(path): \(error)"
        case .notAFile(let path): "\(path) is no regular file"
        case .tooLarge(let path, let bytes): "\(path) has \(bytes) bytes, which no key has"
        case .tooOpen(let path, let mode):
            "\(path) holds a secret, and others have access to it (mode \(String(mode, radix: 8)))"
        case .foreignOwner(let path, let user):
            "\(path) holds a secret, and belongs to another user (number \(user))"
        case .emptyPassphrase(let path): "the first line of \(path), the passphrase, is empty"
        }
    }

    /// The mend.
    var hint: String {
        switch self {
        case .missing(let path):
            path.hasSuffix(".key")
                ? "put the key back from a backup of the data directory, or import another authority"
                : "check the path"
        case .cannotRead: "check the owner and the mode of the file and of its directory"
        case .cannotWrite: "free some space, and check the owner and the mode of the directory"
        case .notAFile, .tooLarge: "pass the file that holds the secret itself"
        case .tooOpen(let path, _): "chmod 600 \(path); if others have read it, rotate what it protects"
        case .foreignOwner(let path, _): "chown it to the user who runs martinet, if you trust \(path)"
        case .emptyPassphrase: "write the passphrase on the first line"
        }
    }
}
