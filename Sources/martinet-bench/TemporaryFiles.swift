import Foundation

/// A directory that goes with this object, and all that is in it.
final class TemporaryFiles {
    let path: String

    init() {
        var template = Array("/tmp/martinet-bench-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { preconditionFailure("/tmp cannot be written") }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    subscript(name: String) -> String { path + "/" + name }

    func write(_ name: String, _ bytes: [UInt8]) throws(BenchFailure) {
        let descriptor = open(self[name], O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        guard descriptor >= 0 else { throw .system(name) }
        defer { close(descriptor) }
        guard Foundation.write(descriptor, bytes, bytes.count) == bytes.count else { throw .system(name) }
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// What a shell command prints.
func shell(_ command: String) throws(BenchFailure) -> String {
    guard let pipe = popen(command, "r") else { throw .system(command) }
    var text: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
        let count = fread(&buffer, 1, buffer.count, pipe)
        if count == 0 { break }
        text += buffer[..<count]
    }
    pclose(pipe)
    return String(decoding: text, as: UTF8.self)
}
