import Foundation
import Testing

/// "Never silently ignored", held against the sources: what a table of supported fields lets pass is read by somebody,
/// or the table itself says that nobody misses it; and what is read is used by somebody who did not read it.
struct FieldTableTests {
    /// Where what a request meets is read: the connection, the route, the filters.
    private static let folders = ["Listeners/", "Logs/", "Policies/", "Routes/", "Reading/", "Traces/", "Upstreams/"]
        .map { "Sources/Forwarding/" + $0 }

    private enum Token: Equatable {
        case word(String)
        case text(String)
        case sign(Character)
    }

    private struct Source {
        var path: String
        var tokens: [Token]
        /// Words behind a dot, and texts that are one word: who reads fields by name writes them so.
        var mentions: Set<String> = []
    }

    private static func sources(_ folder: String) throws -> [Source] {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let base = root.appendingPathComponent(folder)
        let walk = try #require(FileManager.default.enumerator(at: base, includingPropertiesForKeys: nil))
        return try walk.compactMap { $0 as? URL }.filter { $0.pathExtension == "swift" }.map { url in
            let tokens = tokens(try String(contentsOf: url, encoding: .utf8))
            var source = Source(path: String(url.path.dropFirst(root.path.count + 1)), tokens: tokens)
            for (index, token) in tokens.enumerated() {
                if case .word(let word) = token, index > 0, tokens[index - 1] == .sign(".") {
                    source.mentions.insert(word)
                } else if case .text(let text) = token, !text.contains(" ") {
                    source.mentions.insert(text)
                }
            }
            return source
        }
    }

    /// Words, texts and signs; comments and spaces are left out.
    private static func tokens(_ text: String) -> [Token] {
        var tokens: [Token] = []
        var rest = Array(text.unicodeScalars)[...]
        func take(while condition: (Unicode.Scalar) -> Bool) -> String {
            let part = rest.prefix(while: condition)
            rest = rest.dropFirst(part.count)
            var text = String.UnicodeScalarView()
            text.append(contentsOf: part)
            return String(text)
        }
        let quotes: [Unicode.Scalar] = ["\"", "\"", "\""]
        while let first = rest.first {
            if first.properties.isAlphabetic || first == "_" {
                tokens.append(.word(take { $0.properties.isAlphabetic || $0 == "_" || ("0"..."9").contains($0) }))
            } else if rest.starts(with: ["/", "/"] as [Unicode.Scalar]) {
                _ = take { $0 != "\n" }
            } else if rest.starts(with: quotes) {
                rest = rest.dropFirst(3)
                var inner = String.UnicodeScalarView()
                while !rest.isEmpty, !rest.starts(with: quotes) {
                    let scalar = rest.removeFirst()
                    inner.append(scalar == "\\" ? " " : scalar)
                }
                rest = rest.dropFirst(3)
                tokens.append(.text(String(inner)))
            } else if first == "\"" {
                rest = rest.dropFirst()
                var inner = String.UnicodeScalarView()
                while let scalar = rest.popFirst(), scalar != "\"" {
                    inner.append(scalar)
                    if scalar == "\\", let escaped = rest.popFirst() { inner.append(escaped) }
                }
                tokens.append(.text(String(inner)))
            } else {
                rest = rest.dropFirst()
                if !first.properties.isWhitespace { tokens.append(.sign(Character(first))) }
            }
        }
        return tokens
    }

    /// The entries of tables: `"envoy.config.route.v3.Route": "name match"`.
    private static func tables(_ tokens: [Token]) -> [(message: String, fields: [Substring])] {
        var result: [(message: String, fields: [Substring])] = []
        for index in tokens.indices {
            guard case .text(var message) = tokens[index], message.hasPrefix("envoy."),
                index == 0 || tokens[index - 1] != .sign("+")
            else { continue }
            var place = index + 1
            while place + 1 < tokens.count, tokens[place] == .sign("+"), case .text(let more) = tokens[place + 1] {
                message += more
                place += 2
            }
            guard place + 1 < tokens.count, tokens[place] == .sign(":"), case .text(let fields) = tokens[place + 1]
            else { continue }
            result.append((message, fields.split(whereSeparator: \.isWhitespace)))
        }
        return result
    }

    @Test func everyFieldOfATableIsReadOrSaidToBeHarmless() throws {
        let sources = try Self.sources("Sources/Forwarding")
        let mentions = sources.reduce(into: Set<String>()) { $0.formUnion($1.mentions) }
        var count = 0
        for source in sources where Self.folders.contains(where: { source.path.hasPrefix($0) }) {
            for (message, fields) in Self.tables(source.tokens) {
                for field in fields where !field.hasSuffix("~") {
                    count += 1
                    // One of whose values all but some are refused needs no reader.
                    if field.contains("=") { continue }
                    let name = field.hasSuffix("*") ? field.dropLast() : field
                    let isRead = ["\(name)", "n_\(name)", "\(name)_list", "\(name)_bytes"].contains {
                        mentions.contains($0)
                    }
                    #expect(isRead, "\(source.path): `\(field)` of \(message) is let pass and read by nobody")
                }
            }
        }
        #expect(count > 300)
    }

    @Test func whatIsReadOfAResourceIsUsed() throws {
        let sources = try Self.sources("Sources/Forwarding") + Self.sources("Sources/DataPlane")
        var count = 0
        for source in sources where Self.folders.contains(where: { source.path.hasPrefix($0) }) {
            // What a listener says of TLS is held against what connections do by tests of its own.
            if source.path.hasSuffix("TLSRules.swift") { continue }
            let tokens = source.tokens
            for index in tokens.indices.dropFirst().dropLast(2) {
                guard case .word(let name) = tokens[index], tokens[index - 1] == .word("let"), index > 1,
                    tokens[index - 2] == .word("public"), tokens[index + 1] == .sign(":")
                else { continue }
                count += 1
                let isUsedElsewhere = sources.contains { $0.path != source.path && $0.mentions.contains(name) }
                #expect(
                    isUsedElsewhere || Self.isRead(name, tokens),
                    "\(source.path): `\(name)` is read from the resource and used by nobody")
            }
        }
        #expect(count > 80)
    }

    /// Settings of clusters are values that their readers fill: of each, somebody else must speak.
    @Test func whatIsReadOfAClusterIsUsed() throws {
        let sources = try Self.sources("Sources/Forwarding") + Self.sources("Sources/DataPlane")
        let users = sources.filter { !$0.path.hasSuffix("Reading.swift") && !$0.path.hasSuffix("Extensions.swift") }
        let words = users.map { source in
            source.tokens.reduce(into: Set<String>()) { if case .word(let word) = $1 { $0.insert(word) } }
        }
        var count = 0
        for source in sources where source.path.contains("/Upstreams/Configuration/") {
            let tokens = source.tokens
            for index in tokens.indices.dropFirst(2) {
                guard case .word(let name) = tokens[index], tokens[index - 1] == .word("var"),
                    tokens[index - 2] == .word("public")
                else { continue }
                count += 1
                let isUsed = zip(users, words).contains { $0.path != source.path && $1.contains(name) }
                #expect(
                    isUsed || Self.isRead(name, tokens),
                    "\(source.path): `\(name)` is read from the resource and used by nobody")
            }
        }
        #expect(count > 60)
    }

    /// Whether a file does more with a name than declare it, write it or name an argument so.
    private static func isRead(_ name: String, _ tokens: [Token]) -> Bool {
        tokens.indices.contains { index in
            guard tokens[index] == .word(name), index > 0, index + 1 < tokens.count else { return false }
            switch (tokens[index - 1], tokens[index + 1]) {
            case (.word("let"), _), (.word("var"), _), (_, .sign(":")): return false
            case (_, .sign("=")): return index + 2 < tokens.count && tokens[index + 2] == .sign("=")
            // A list of what is written at once: (a, b) = (c, d).
            case (.sign("("), .sign(",")), (.sign(","), .sign(",")), (.sign(","), .sign(")")): return false
            default: return true
            }
        }
    }
}
