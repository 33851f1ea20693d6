import Foundation
import Testing

/// Where the program under test and the foreign parts are.
enum Installation {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path

    /// Beside the test bundle, so that sanitized and release builds test themselves.
    static let martinet = program("martinet")

    /// The demo application.
    static let bookinfo = program("bookinfo")

    private static func program(_ name: String) -> String {
        let bundle = URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath()
        var directory = bundle.deletingLastPathComponent()
        while directory.path != "/" {
            let candidate = directory.appendingPathComponent(name).path
            if FileManager.default.isExecutableFile(atPath: candidate),
                !candidate.hasSuffix("Sources/\(name)")
            {
                var isDirectory: ObjCBool = false
                FileManager.default.fileExists(atPath: candidate, isDirectory: &isDirectory)
                if !isDirectory.boolValue { return candidate }
            }
            directory.deleteLastPathComponent()
        }
        return root + "/.build/debug/\(name)"
    }

    static let python = root + "/.build/venv/bin/python"

    /// The newest Envoy that is tested, and the oldest.
    enum EnvoyVersion: String, CaseIterable, CustomTestStringConvertible {
        case newest = "1.40.0"
        case oldest = "1.36.4"

        var testDescription: String { "Envoy \(rawValue)" }

        func binary() throws -> String {
            let venv = root + "/.build/venv"
            let places =
                self == .oldest
                ? [venv + "/oldest"]
                : try FileManager.default.contentsOfDirectory(atPath: venv + "/lib").map {
                    venv + "/lib/\($0)/site-packages"
                }
            let found = places.map { $0 + "/envoy/_bin/envoy" }.first(where: FileManager.default.isExecutableFile)
            return try #require(found, "no Envoy \(rawValue) under \(venv): run `make setup`")
        }
    }
}
