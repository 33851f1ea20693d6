import Forwarding
import Glibc

/// What a resource only points to: files and variables of this machine.
enum GivenFiles {
    /// Bytes of the longest file.
    static let longest = 1 << 20

    static func read(_ given: GivenBytes) throws(ConfigurationError) -> [UInt8] {
        switch given {
        case .inline(let bytes): return bytes
        case .file(let path):
            do throws(SmallFile.Unreadable) {
                return try SmallFile.read(path, limit: longest)
            } catch {
                throw .invalid(path: "filename", message: "\(path) cannot be read: \(error.reason)")
            }
        case .environment(let name):
            guard let value = getenv(name) else {
                throw .invalid(path: "environment_variable", message: "\(name) is not set")
            }
            return Array(String(cString: value).utf8)
        }
    }
}
