import Foundation
import Testing

@testable import DataPlane

struct SmallFileTests {
    @Test func onlyWholeRegularFilesAreRead() throws {
        let folder = NSTemporaryDirectory() + "martinet-file-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let (file, link, pipe) = (folder + "/file", folder + "/link", folder + "/pipe")
        let bytes = [UInt8](repeating: 7, count: 100_000)
        #expect(SmallFile.replace(file, with: bytes))
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: file)
        #expect(try SmallFile.read(link, limit: 100_000) == bytes)
        #expect(mkfifo(pipe, 0o600) == 0)
        // A pipe without a writer would hold up the control loop for ever.
        for (path, limit, reason) in [
            (file, 99_999, "it is longer than 99999 bytes"), (pipe, 10, "it is no regular file"),
            (folder, 10, "it is no regular file"), (folder + "/none", 10, "No such file or directory"),
        ] {
            #expect(throws: SmallFile.Unreadable(reason: reason)) { try SmallFile.read(path, limit: limit) }
        }
    }
}
