import Foundation
import Glibc

/// A directory that goes with its owner.
final class TemporaryDirectory {
    let path: String

    init(_ name: String = "resources") throws {
        path = NSTemporaryDirectory() + "martinet-\(name)-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }

    subscript(_ file: String) -> String { path + "/" + file }

    /// Writes in place; folders are made.
    func write(_ file: String, _ text: String) throws {
        let target = self[file]
        let folder = String(target[..<target.lastIndex(of: "/")!])
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try Data(text.utf8).write(to: URL(fileURLWithPath: target))
    }

    /// Writes another file and moves it into place.
    func replace(_ file: String, _ text: String) throws {
        try write(file + ".tmp", text)
        precondition(rename(self[file] + ".tmp", self[file]) == 0)
    }

    func remove(_ file: String) throws {
        try FileManager.default.removeItem(atPath: self[file])
    }

    /// Makes the file look as if it was last touched long ago: its time is settled.
    func settle(_ file: String) {
        // The change time cannot be set, so wait until it is old enough for `isSettled`.
        var status = stat()
        while stat(self[file], &status) == 0 {
            var now = timespec()
            clock_gettime(CLOCK_REALTIME, &now)
            let age = (now.tv_sec - status.st_ctim.tv_sec) * 1_000_000_000 + (now.tv_nsec - status.st_ctim.tv_nsec)
            if age > 110_000_000 { return }
            usleep(10_000)
        }
    }
}
