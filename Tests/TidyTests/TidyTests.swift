import Foundation
import Testing

/// Rules of the house that the compiler does not know.
struct TidyTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// Our Swift files below a folder, generated ones left out: path below the top, and text.
    private func swiftFiles(_ folder: String) throws -> [(path: String, text: String)] {
        let base = Self.root.appendingPathComponent(folder)
        let walk = try #require(FileManager.default.enumerator(at: base, includingPropertiesForKeys: nil))
        return try walk.compactMap { $0 as? URL }
            .filter { $0.pathExtension == "swift" && !$0.path.contains("/Generated/") }
            .map { (String($0.path.dropFirst(Self.root.path.count + 1)), try String(contentsOf: $0, encoding: .utf8)) }
            .sorted { $0.0 < $1.0 }
    }

    private func expectNone(_ files: [(path: String, text: String)], match pattern: String, _ rule: String) throws {
        #expect(!files.isEmpty)
        let expression = try Regex(pattern)
        for file in files {
            for (number, line) in file.text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
            where line.contains(expression) {
                Issue.record("\(file.path):\(number + 1): \(rule): \(line)")
            }
        }
    }

    /// Time, sockets and threads belong to the world layer and above.
    @Test(arguments: [
        "Time", "Addresses", "Documents", "Forwarding", "HTTP", "HTTP1", "HTTP2", "GRPC", "Mesh", "Identity",
        "Patterns", "Translation", "XDS", "Protobuf", "Certificates", "TLS",
    ])
    func modulesBelowTheWorldHaveNoClocksSocketsThreadsOrAsync(module: String) throws {
        let files = try swiftFiles("Sources/" + module)
        try expectNone(
            files,
            match: #"\b(ContinuousClock|SuspendingClock|clock_gettime|Date\(\)|Thread\b|Dispatch|pthread_create)"#,
            "no clocks or threads below the world layer")
        try expectNone(files, match: #"\)\s+async\b|\bawait\b|\bTask\s*\{"#, "no async below the world layer")
        // For the JSON of key sets alone.
        let foundation = module == "Certificates" ? #"Foundation\b"# : "Foundation"
        try expectNone(
            files, match: "^import (\(foundation)|Dispatch|Logging|Reactor)", "no such import below the world layer")
        try expectNone(files, match: #"\b(socket|accept4?|connect|bind)\([a-z]+,"#, "no sockets below the world layer")
    }

    @Test(arguments: [
        ("nghttp2_", ["Sources/HTTP2/"]),
        ("SSL_|X509_|EVP_|BIO_|ASN1_", ["Sources/Certificates/", "Sources/TLS/", "Sources/XDS/Resources/ContentHash"]),
        ("cre2_", ["Sources/Patterns/"]),
        ("protobuf_c_", ["Sources/Protobuf/", "Sources/EnvoyAPI/"]),
    ])
    func cNamesStayInTheModuleThatWrapsTheLibrary(prefix: String, homes: [String]) throws {
        let files = try swiftFiles("Sources").filter { file in !homes.contains { file.path.hasPrefix($0) } }
        try expectNone(files, match: #"\b("# + prefix + ")", "C names stay behind the module that wraps them")
    }

    @Test func filesAreShort() throws {
        for file in try swiftFiles("Sources") + swiftFiles("Tests") {
            let lines = file.text.split(separator: "\n", omittingEmptySubsequences: false).count
            #expect(lines <= 450, "\(file.path) has \(lines) lines: is there a subject in it that wants its own file?")
        }
    }

    @Test func nothingIsLeftForLater() throws {
        let files = try swiftFiles("Sources") + swiftFiles("Tests").filter { !$0.path.contains("TidyTests") }
        try expectNone(files, match: #"\b(TODO|FIXME|XXX|HACK)\b"#, "do it, or say it in an issue")
        try expectNone(try swiftFiles("Sources"), match: #"\btry!|\bfatalError\("#, "throw, or state a precondition")
    }

    /// A link that leads nowhere is a promise that is not kept.
    @Test(arguments: ["README.md", "CONTRIBUTING.md"])
    func linksOfThePagesLeadSomewhere(page: String) throws {
        let text = try String(contentsOf: Self.root.appendingPathComponent(page), encoding: .utf8)
        let links = text.matches(of: /\]\(([^)#]+)\)/).map { String($0.1) }.filter { !$0.contains("://") }
        #expect(!links.isEmpty)
        for link in links {
            #expect(
                FileManager.default.fileExists(atPath: Self.root.appendingPathComponent(link).path),
                "\(page) links to \(link)")
        }
    }
}
